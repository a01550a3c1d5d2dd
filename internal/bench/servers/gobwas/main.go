// Command gobwas is the benchmark's server on gobwas/ws: each client has a goroutine that reads and one that writes, which
// flushes its buffer when nothing more is queued.
package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

const writeTimeout = 10 * time.Second

type client struct {
	conn  net.Conn
	rooms *kit.Rooms[*client]
	send  chan []byte   // frames
	done  chan struct{} // closed when nothing more is read
	gone  chan struct{} // closed when nothing more is written
}

func (c *client) Answer(message []byte) { c.queue(ws.MustCompileFrame(ws.NewTextFrame(message))) }

// Write queues the frames with which wsutil answers pings and closes.
func (c *client) Write(frame []byte) (int, error) {
	c.queue(append([]byte(nil), frame...))
	return len(frame), nil
}

func (c *client) queue(frame []byte) {
	select {
	case c.send <- frame:
	case <-c.gone:
	}
}

func (c *client) Join(room string)  { c.rooms.Join(room, c) }
func (c *client) Leave(room string) { c.rooms.Leave(room, c) }

func (c *client) Say(room string, message []byte) {
	frame := ws.MustCompileFrame(ws.NewTextFrame(message))
	c.rooms.Each(room, func(member *client) {
		select {
		case member.send <- frame:
		default: // it doesn't keep up
			member.conn.Close()
		}
	})
}

func (c *client) write(w *bufio.Writer) {
	defer func() {
		close(c.gone)
		c.conn.Close()
	}()
	for {
		select {
		case frame := <-c.send:
			if c.drain(w, frame) != nil {
				return
			}
		case <-c.done:
			c.drain(w, nil)
			return
		}
	}
}

// drain writes frame and what is queued. The error is that of any write so far.
func (c *client) drain(w *bufio.Writer, frame []byte) error {
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Write(frame)
	for n := len(c.send); n > 0; n-- {
		w.Write(<-c.send)
	}
	return w.Flush()
}

func (c *client) serve(r *bufio.Reader) {
	c.rooms.Enter(c)
	defer func() {
		c.rooms.Exit(c)
		close(c.done)
	}()
	rw := struct {
		io.Reader
		io.Writer
	}{r, c}
	for {
		message, err := wsutil.ReadClientText(rw)
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
	kit.Parse()
	rooms := kit.NewRooms[*client]()
	kit.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		c := &client{
			conn:  conn,
			rooms: rooms,
			send:  make(chan []byte, 256),
			done:  make(chan struct{}),
			gone:  make(chan struct{}),
		}
		go c.write(rw.Writer)
		go c.serve(rw.Reader)
	}))
}
