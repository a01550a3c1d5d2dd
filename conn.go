package wsctl

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// owner is what a conn reports to.
type owner interface {
	// message takes a whole text message from the reader; b is lent until it returns. replaced: another goroutine has become
	// the reader meanwhile.
	message(c *conn, b []byte) (replaced bool)
	heard(c *conn)                  // on the reader: something has come
	idle(c *conn)                   // on the reader: all that was read is handled; it is about to wait for more
	lost(c *conn, ce *CloseError)   // the peer has closed, or is gone
	fail(c *conn, ce *CloseError)   // the peer has broken the protocol
	exited(c *conn) (replaced bool) // a method has ended the goroutine by runtime.Goexit
	release()                       // the reader is through
}

// conn is the transport below a Socket: the hijacked net.Conn, with one way out. Frames out are made here. Of those that come in
// it takes the usual ones, and leaves the others to gorilla, by way of an input. Nobody writes while holding the outbox's mu,
// and nobody but the drain goroutine ever waits for the network.
type conn struct {
	net.Conn           // the hijacked one: deadlines and addresses
	owner    owner     // nil before the handshake is over
	out      *outbox   // the same
	raw      rawConn   // reads and writes past the runtime's waiting; not everywhere
	try      tryWriter // the same for an in-memory pipe
	since    instant   // when it became its socket's
	deflate  bool      // permessage-deflate was agreed on; set in the handshake, constant afterwards

	// Of the reader alone; while it is in a method, of who holds the socket's mu (Socket.promote).
	drowsy bool             // it has been idle, and has got no message since
	woken  bool             // by the watcher: there is something to read
	burst  bool             // it has begun one
	deaf   bool             // what it reads came after Shutdown
	missed bool             // a message that it was too late for: no later one is counted, so that no $ack covers it
	block  *[blockSize]byte // pooled; nil while everything that was read is handled
	unread []byte           // what isn't handled of block
	in     *input           // nil while gorilla isn't needed; where reads need a buffer, it always is

	waits     atomic.Int32 // what the reader is at: a waitState
	seen      atomic.Bool  // something was received since the last sweep
	netClosed atomic.Bool

	watching // guarded by the watcher's mu
	writing  // guarded by the outbox's mu
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc}
	c.in = &input{conn: c}
	c.seen.Store(true)
	if c.try, _ = nc.(tryWriter); c.try == nil {
		c.raw.init(nc)
	}
	return c
}

// begin ties c to its socket. The reader, which the caller starts, has a reference.
func (c *conn) begin(s *Socket) {
	c.owner, c.out, c.since = s, &s.out, since(time.Now())
	s.refs.Add(1)
}

// tryWriter is a net.Conn that can write what it has room for without waiting: the in-memory pipe of tests.
type tryWriter interface {
	TryWrite([]byte) (int, error)
}

// tryWrite writes what the network takes without waiting: nothing, where there is no such way (TLS).
func (c *conn) tryWrite(b []byte) (int, error) {
	switch {
	case c.try != nil:
		return c.try.TryWrite(b)
	case c.raw.ok():
		return c.raw.tryWrite(b)
	}
	return 0, nil
}

// waitWrite waits until the network takes some of b. Other conns are given little at a time, so that the sweeper can see
// progress.
func (c *conn) waitWrite(b []byte) (int, error) {
	if c.raw.ok() {
		return c.raw.write(b)
	}
	return c.Conn.Write(b[:min(len(b), chunkSize)])
}

// read is the reader: it hands every message to the owner, until the connection ends, or another goroutine goes on.
func (c *conn) read() {
	owner, err := c.owner, errExited
	defer func() {
		switch {
		case err == errWatched: // c and the reader's reference are the watcher's, and may be another reader's already
			return
		case err == errExited && !owner.exited(c):
			c.hangUp(false)
		}
		owner.release()
	}()
	if err = c.readMessages(); err == errWatched || err == errReplaced {
		return
	}
	if err == websocket.ErrReadLimit { // a length beyond 2^63-1, of which gorilla says nothing to the peer
		c.owner.fail(c, &CloseError{Code: closeTooBig, Reason: "a frame's length is out of range"})
	}
	c.owner.idle(c)
	ce := closeErrorOf(err)
	if ce.Code == CloseAbnormal && c.ending() {
		// Our close frame may be under way to a peer that broke the protocol: a connection closed with bytes unread
		// is reset, and the close frame lost with it.
		for disturbed := true; disturbed; {
			_, err := io.Copy(io.Discard, c.Conn)
			disturbed = err != nil && c.roused(err)
		}
	}
	c.owner.lost(c, ce)
	c.hangUp(ce.Code == CloseAbnormal)
}

// closeErrorOf is how the peer closed.
func closeErrorOf(err error) *CloseError {
	var peer *websocket.CloseError
	if errors.As(err, &peer) && peer.Code != CloseAbnormal { // gorilla's 1006 is the loss of the connection
		return &CloseError{Code: peer.Code, Reason: peer.Text}
	}
	return &CloseError{Code: CloseAbnormal}
}

var (
	errReplaced = errors.New("wsctl: another goroutine reads")
	errWatched  = errors.New("wsctl: the watcher waits for more")
	errExited   = errors.New("wsctl: a method has ended the goroutine")
)

// readMessages reads until the peer closes or the connection fails. After our own close frame it reads on and discards,
// to find the peer's.
func (c *conn) readMessages() error {
	limit := c.out.s.h.opts.MaxMessage
	for {
		b, pooled, err := c.receive(limit)
		var ce *CloseError
		switch {
		case err == nil:
			block := c.block
			replaced := c.owner.message(c, b)
			if pooled != nil {
				putBuffer(pooled)
			}
			if replaced {
				if block != nil { // b may have been in it; what was behind is in another one
					blocks.Put(block)
				}
				return errReplaced
			}
		case errors.As(err, &ce):
			c.owner.fail(c, ce)
		default:
			return err
		}
	}
}
