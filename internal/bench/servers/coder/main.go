// Command coder is the benchmark's server on coder/websocket, in the style of its chat example: a channel for each client, and
// the client whose channel is full is closed.
package main

import (
	"context"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

const writeTimeout = 5 * time.Second

type client struct {
	conn  *websocket.Conn
	rooms *kit.Rooms[*client]
	send  chan []byte
	ctx   context.Context // ends with the client
	slow  sync.Once
}

func (c *client) Answer(message []byte) {
	select {
	case c.send <- message:
	case <-c.ctx.Done():
	}
}

func (c *client) Join(room string)  { c.rooms.Join(room, c) }
func (c *client) Leave(room string) { c.rooms.Leave(room, c) }

func (c *client) Say(room string, message []byte) {
	c.rooms.Each(room, func(member *client) {
		select {
		case member.send <- message:
		default:
			member.slow.Do(func() {
				go member.conn.Close(websocket.StatusPolicyViolation, "connection too slow to keep up with messages")
			})
		}
	})
}

// write writes what is sent, until the client ends, which it does if a write fails.
func (c *client) write(cancel context.CancelFunc) {
	defer cancel()
	for {
		select {
		case message := <-c.send:
			if c.writeOne(message) != nil {
				return
			}
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *client) writeOne(message []byte) error {
	ctx, cancel := context.WithTimeout(c.ctx, writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, message)
}

func (c *client) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.ctx = ctx
	c.rooms.Enter(c)
	defer c.rooms.Exit(c)
	go c.write(cancel)
	for {
		_, message, err := c.conn.Read(ctx)
		if err != nil {
			return
		}
		if err := kit.Handle(c, message); err != nil {
			log.Print(err)
			return
		}
	}
}

func main() {
	config := kit.Parse()
	options := &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled}
	if config.Compress {
		options.CompressionMode = websocket.CompressionNoContextTakeover
	}
	rooms := kit.NewRooms[*client]()
	kit.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, options)
		if err != nil {
			log.Print(err)
			return
		}
		defer conn.CloseNow()
		c := &client{conn: conn, rooms: rooms, send: make(chan []byte, 256)}
		c.serve()
	}))
}
