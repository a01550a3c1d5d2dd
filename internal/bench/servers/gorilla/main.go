// Command gorilla is the benchmark's server on gorilla/websocket, in the style of its chat example: a goroutine is the hub, and
// each client has one that reads and one that writes. Unlike the example's, its messages aren't joined into one.
package main

import (
	"log"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10
	maxMessage = 64 << 10
)

// room is the members of one.
type room map[*client]struct{}

type membership struct {
	client *client
	room   string
}

type broadcast struct {
	room    string // empty: everyone
	message outgoing
}

// hub keeps the clients and their rooms. Its channels have no buffers: what was sent to one of them comes before all that is
// sent afterwards.
type hub struct {
	compress bool

	register, unregister chan *client
	join, leave          chan membership
	broadcast            chan broadcast

	everyone room
	rooms    map[string]room
}

func (h *hub) run() {
	for {
		select {
		case c := <-h.register:
			h.everyone[c] = struct{}{}
		case c := <-h.unregister:
			h.remove(c)
		case m := <-h.join:
			if h.rooms[m.room] == nil {
				h.rooms[m.room] = make(room)
			}
			h.rooms[m.room][m.client] = struct{}{}
			m.client.rooms[m.room] = struct{}{}
		case m := <-h.leave:
			h.removeFrom(m.room, m.client)
			delete(m.client.rooms, m.room)
		case b := <-h.broadcast:
			members := h.everyone
			if b.room != "" {
				members = h.rooms[b.room]
			}
			for c := range members {
				select {
				case c.send <- b.message:
				default: // it doesn't keep up
					h.remove(c)
				}
			}
		}
	}
}

func (h *hub) remove(c *client) {
	if _, ok := h.everyone[c]; !ok {
		return
	}
	for name := range c.rooms {
		h.removeFrom(name, c)
	}
	delete(h.everyone, c)
	close(c.done)
}

func (h *hub) removeFrom(name string, c *client) {
	delete(h.rooms[name], c)
	if len(h.rooms[name]) == 0 {
		delete(h.rooms, name)
	}
}

// outgoing is a message to one client, or to many.
type outgoing struct {
	text     []byte
	prepared *websocket.PreparedMessage // compressed once for all; nil: it isn't compressed, or for one only
}

type client struct {
	hub   *hub
	conn  *websocket.Conn
	send  chan outgoing
	done  chan struct{}       // closed when the hub has removed it
	rooms map[string]struct{} // the hub's
}

func (c *client) readPump() {
	defer func() {
		c.hub.unregister <- c
		c.conn.Close()
	}()
	c.conn.SetReadLimit(maxMessage)
	c.conn.SetReadDeadline(time.Now().Add(pongWait))
	c.conn.SetPongHandler(func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		_, message, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		if err := kit.Handle(c, message); err != nil {
			log.Print(err)
			return
		}
	}
}

func (c *client) Answer(message []byte) {
	select {
	case c.send <- outgoing{text: message}:
	case <-c.done:
	}
}

func (c *client) Join(room string)  { c.hub.join <- membership{c, room} }
func (c *client) Leave(room string) { c.hub.leave <- membership{c, room} }

func (c *client) Say(room string, message []byte) {
	m := outgoing{text: message}
	if c.hub.compress {
		var err error
		if m.prepared, err = websocket.NewPreparedMessage(websocket.TextMessage, message); err != nil {
			log.Print(err)
			return
		}
	}
	c.hub.broadcast <- broadcast{room, m}
}

func (c *client) writePump() {
	ticker := time.NewTicker(pingPeriod)
	defer func() {
		ticker.Stop()
		c.hub.unregister <- c
		c.conn.Close()
	}()
	for {
		select {
		case message := <-c.send:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if c.write(message) != nil {
				return
			}
			for n := len(c.send); n > 0; n-- {
				if c.write(<-c.send) != nil {
					return
				}
			}
		case <-c.done:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			c.conn.WriteMessage(websocket.CloseMessage, nil)
			return
		case <-ticker.C:
			c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if c.conn.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		}
	}
}

func (c *client) write(m outgoing) error {
	if m.prepared != nil {
		return c.conn.WritePreparedMessage(m.prepared)
	}
	return c.conn.WriteMessage(websocket.TextMessage, m.text)
}

func main() {
	config := kit.Parse()
	h := &hub{
		compress:   config.Compress,
		register:   make(chan *client),
		unregister: make(chan *client),
		join:       make(chan membership),
		leave:      make(chan membership),
		broadcast:  make(chan broadcast),
		everyone:   make(room),
		rooms:      make(map[string]room),
	}
	go h.run()
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024, EnableCompression: config.Compress}
	kit.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			log.Print(err)
			return
		}
		c := &client{hub: h, conn: conn, send: make(chan outgoing, 256), done: make(chan struct{}), rooms: make(map[string]struct{})}
		h.register <- c
		go c.writePump()
		go c.readPump()
	}))
}
