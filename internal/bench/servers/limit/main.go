// Command limit is what a server can be at best on goroutines and net.Conn: frames made by hand, no JSON, no HTTP server. It
// relies on the order of a message's members. With -mode frame it writes each frame by itself, with -mode coalesced those that
// are ready together at once.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/wsctl/wsctl/internal/bench/kit"
)

const bufferSize = 4 << 10

// Beginnings of messages.
var (
	echo  = []byte(`{"type":"Echo"`)
	reply = []byte(`{"type":"$reply"`)
	join  = []byte(`{"type":"Join"`)
	leave = []byte(`{"type":"Leave"`)
	say   = []byte(`{"type":"Say"`)
	said  = []byte(`{"type":"Said"`)
)

// conn is a connection. All but Write is its reading goroutine's.
type conn struct {
	net.Conn
	hub       *hub
	coalesced bool
	r         *bufio.Reader
	out       []byte // frames to be written
	said      bool   // messages wait in the hub
}

func main() {
	config := kit.Parse("frame", "coalesced")
	h := newHub()
	coalesced := config.Mode == "coalesced"
	if coalesced {
		go h.fanOut()
	}
	kit.ServeConns(func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReaderSize(c, bufferSize)
		if upgrade(c, r) != nil {
			return
		}
		(&conn{Conn: c, hub: h, coalesced: coalesced, r: r}).serve()
	})
}

func upgrade(c net.Conn, r *bufio.Reader) error {
	request, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	return err
}

func (c *conn) serve() {
	c.hub.enter(c)
	defer c.hub.exit(c)
	for {
		f, err := c.next()
		if err != nil {
			return
		}
		switch f.opcode {
		case opText:
			if err := c.handle(f.payload); err != nil {
				log.Print(err)
				return
			}
		case opPing:
			c.out = appendFrame(c.out, opPong, f.payload)
		case opClose:
			c.out = appendFrame(c.out, opClose, f.payload)
			c.flush()
			return
		}
		if _, err := c.r.Discard(f.size); err != nil {
			return
		}
		if !c.coalesced {
			if err := c.flush(); err != nil {
				return
			}
		}
	}
}

// next returns the next frame, whose payload is valid until it is discarded. Before it waits, it writes what there is.
func (c *conn) next() (frame, error) {
	buffered, _ := c.r.Peek(c.r.Buffered())
	f, missing, err := parse(buffered)
	if err != nil || missing == 0 {
		return f, err
	}
	if err := c.flush(); err != nil {
		return f, err
	}
	for missing > 0 {
		if _, err := c.r.Peek(len(buffered) + missing); err != nil {
			return f, err
		}
		buffered, _ = c.r.Peek(c.r.Buffered())
		if f, missing, err = parse(buffered); err != nil {
			return f, err
		}
	}
	return f, nil
}

// flush writes what there is, and lets the hub write.
func (c *conn) flush() error {
	if c.said {
		c.said = false
		c.hub.wake()
	}
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *conn) handle(message []byte) error {
	switch {
	case bytes.HasPrefix(message, echo):
		c.out = appendFrame(c.out, opText, reply, message[len(echo):])
	case bytes.HasPrefix(message, join):
		c.hub.join(room(message), c)
		c.confirm(message[len(join):])
	case bytes.HasPrefix(message, leave):
		c.hub.leave(room(message), c)
		c.confirm(message[len(leave):])
	case bytes.HasPrefix(message, say):
		if c.coalesced {
			c.hub.queue(room(message), message[len(say):])
			c.said = true
		} else {
			c.hub.say(room(message), message[len(say):])
		}
	default:
		return fmt.Errorf("%.100q is no message", message)
	}
	return nil
}

// confirm answers a message that goes on with rest, without data.
func (c *conn) confirm(rest []byte) {
	id, _, _ := bytes.Cut(rest, []byte(`,"data"`))
	c.out = appendFrame(c.out, opText, reply, id, []byte("}"))
}

// room returns the room of a message.
func room(message []byte) []byte {
	_, rest, _ := bytes.Cut(message, []byte(`"room":"`))
	name, _, _ := bytes.Cut(rest, []byte(`"`))
	return name
}
