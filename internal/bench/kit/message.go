package kit

import (
	"encoding/json"
	"fmt"
)

// Line is the data of all messages.
type Line struct {
	Room string `json:"room"`
	Text string `json:"text"`
	Seq  int    `json:"seq"`
}

// Request is a message of a client, for servers that do JSON by hand.
type Request struct {
	Type string          `json:"type"`
	ID   int64           `json:"id"`
	Data json.RawMessage `json:"data"`
}

// Reply answers a Request.
type Reply struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
	Data *Line  `json:"data,omitempty"`
}

// Event is a message that the server sends by itself.
type Event struct {
	Type string `json:"type"`
	Data Line   `json:"data"`
}

// Client is a connection of a server that does JSON by hand.
type Client interface {
	Answer(message []byte)
	Join(room string)
	Leave(room string)
	Say(room string, message []byte) // to all members of room; to everyone if it is empty
}

// Handle does what message, which came from c, asks for. An error says that the message is wrong.
func Handle(c Client, message []byte) error {
	var request Request
	if err := json.Unmarshal(message, &request); err != nil {
		return err
	}
	var line Line
	if err := json.Unmarshal(request.Data, &line); err != nil {
		return err
	}
	reply := Reply{Type: "$reply", ID: request.ID}
	switch request.Type {
	case "Echo":
		reply.Data = &line
	case "Join":
		c.Join(line.Room)
	case "Leave":
		c.Leave(line.Room)
	case "Say":
		said, err := json.Marshal(Event{Type: "Said", Data: line})
		if err != nil {
			return err
		}
		c.Say(line.Room, said)
		return nil
	default:
		return fmt.Errorf("a message of type %q", request.Type)
	}
	answer, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	c.Answer(answer)
	return nil
}
