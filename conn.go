package wsctl

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// owner is what a conn reports to.
type owner interface {
	message(b *bytes.Buffer)            // on the reader: a whole text message; b is lent until it returns
	heard()                             // on the reader: something has come
	idle()                              // on the reader: all that was read is handled; it is about to wait for more
	end(ce *CloseError, keep bool) bool // the connection is over; only the first call counts
	gone()                              // nothing of the conn is left
}

// conn is the transport below a Socket: the net.Conn that gorilla gets in place of the hijacked one, so that there is
// one way out. Gorilla does the handshake, the reading, masks, fragments, control frames and inflating; frames out are
// made here, and gather in one queue.
//
// Whoever holds the turn (writing) writes; the others queue and leave. Nobody writes while holding mu, and nobody but
// the drain goroutine ever waits for the network.
type conn struct {
	net.Conn // the hijacked one: deadlines and addresses
	ws       *websocket.Conn
	h        *Handler
	owner    owner
	raw      rawConn   // reads and writes past the runtime's waiting; not everywhere
	try      tryWriter // the same for an in-memory pipe
	deflate  bool      // permessage-deflate was agreed on; set in the handshake, constant afterwards

	// Of the reader alone.
	chunk  *[chunkSize]byte // pooled; nil while there is nothing to hand over
	unread []byte           // what gorilla hasn't taken of chunk

	reading atomic.Bool  // the reader waits for the peer, so silence is the peer's
	seen    atomic.Bool  // something was received since the last sweep
	refs    atomic.Int32 // goroutines and hooks that aren't through; the last one calls owner.gone

	netClosed atomic.Bool

	mu         sync.Mutex // guards following
	state      connState
	writing    bool       // somebody has the turn to write
	draining   bool       // it is the drain goroutine: the network takes no more at once
	willFlush  bool       // a fan-out is about to flush
	corked     bool       // what is queued waits for the end of a burst
	bursts     int        // handlers at work: the reader's burst, workers
	hangup     bool       // close the connection when nothing is queued
	first      [1]segment // the memory of queue while it has one segment
	queue      []segment
	under      segment // being written
	offset     int     // bytes of under that are written
	queued     int     // bytes that are not
	pushedUpTo uint64  // number of the last of the hub's messages that is queued here, or isn't to be
	wrote      uint64  // counts progress
	closeBy    time.Time
	corkSlot   int // index in corks.list, which guards it, from 1; 0: not in it
}

type connState uint8

const (
	connOpen    connState = iota
	connClosing           // our close frame is queued: nothing may follow it
	connClosed
)

// newConn returns a conn that is corked until the first endBurst: so the socket can be made known before the peer hears
// of it.
func newConn(nc net.Conn, h *Handler, o owner) *conn {
	c := &conn{Conn: nc, h: h, owner: o, corked: true, bursts: 1}
	c.refs.Store(1)
	c.queue = c.first[:0]
	c.seen.Store(true)
	if c.try, _ = nc.(tryWriter); c.try == nil {
		c.raw.init(nc)
	}
	return c
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

// Read is gorilla's way to the network. When it asks for more than there is, everything read has been handled.
func (c *conn) Read(p []byte) (n int, err error) {
	if len(c.unread) == 0 {
		c.owner.idle()
		c.reading.Store(true)
		if c.raw.ok() {
			c.chunk, n, err = c.raw.read()
		} else {
			n, err = c.Conn.Read(p)
		}
		c.reading.Store(false)
		if n > 0 {
			c.seen.Store(true)
			c.owner.heard()
		}
		if err == io.ErrUnexpectedEOF { // a TLS record is cut: not to be taken for a message that doesn't inflate
			err = io.EOF
		}
		if c.chunk == nil || err != nil {
			return n, err
		}
		c.unread = c.chunk[:n]
	}
	n = copy(p, c.unread)
	if c.unread = c.unread[n:]; len(c.unread) == 0 {
		chunks.Put(c.chunk)
		c.chunk, c.unread = nil, nil
	}
	return n, nil
}

// Write takes what gorilla writes by itself: the answer to the handshake, and the close frame with its verdict on a
// peer that breaks the protocol.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) >= 4 && p[0] == frameClose {
		c.fail(int(binary.BigEndian.Uint16(p[2:])), string(p[4:]))
		return len(p), nil
	}
	c.deflate = bytes.Contains(p, []byte("permessage-deflate"))
	c.mu.Lock()
	c.enqueue(p, false)
	c.mu.Unlock()
	return len(p), nil
}

// SetWriteDeadline is gorilla's wish for its control frames; the sweeper watches writes.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// queuedBytes adds what is to be written to n, and tells whether the conn is open.
func (c *conn) queuedBytes(n *int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n += c.queued
	return c.state == connOpen
}

// read is the reader: it hands every message to the owner, until the connection ends.
func (c *conn) read() {
	finished := false
	defer func() {
		if !finished { // a method has ended the goroutine by runtime.Goexit, as testing.T.FailNow does
			c.owner.idle()
			c.owner.end(&CloseError{Code: CloseInternal}, false)
			c.hangUp(false)
		}
		c.release()
	}()
	err := c.readMessages()
	if err == websocket.ErrReadLimit { // a length beyond 2^63-1, of which gorilla says nothing to the peer
		c.fail(closeTooBig, "a frame's length is out of range")
	}
	c.owner.idle()
	ce := &CloseError{Code: CloseAbnormal}
	var peer *websocket.CloseError
	if errors.As(err, &peer) && peer.Code != CloseAbnormal { // gorilla's 1006 is the loss of the connection
		ce = &CloseError{Code: peer.Code, Reason: peer.Text}
	} else if c.ending() {
		// Our close frame may be under way to a peer that broke the protocol: a connection closed with bytes unread
		// is reset, and the close frame lost with it.
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	c.owner.end(ce, true)
	c.hangUp(ce.Code == CloseAbnormal)
	finished = true
}

// readMessages reads until the peer closes or the connection fails. After our own close frame it reads on and discards,
// to find the peer's.
func (c *conn) readMessages() error {
	for {
		typ, r, err := c.ws.NextReader()
		if err != nil {
			return err
		}
		if c.ending() {
			continue // NextReader skips the message
		}
		if typ == websocket.BinaryMessage {
			c.fail(closeUnsupported, "binary messages are not understood")
			continue
		}
		b := getBuffer()
		var corrupt flate.CorruptInputError
		switch err := readMessage(b, r, c.h.opts.MaxMessage); {
		case err == nil:
			c.owner.message(b)
		case err == errTooBig:
			c.fail(closeTooBig, fmt.Sprintf("a message has at most %d bytes", c.h.opts.MaxMessage))
		case err == io.ErrUnexpectedEOF, errors.As(err, &corrupt):
			c.fail(closeProtocol, "a compressed message doesn't inflate")
		} // any other error comes back from NextReader
		putBuffer(b)
	}
}

// fail ends the socket for a fault that the reader found.
func (c *conn) fail(code int, reason string) {
	c.owner.end(&CloseError{Code: code, Reason: reason}, false)
}

var errTooBig = errors.New("message too big")

// readMessage reads a message of at most limit bytes into b. The limit holds for the inflated message, while gorilla's
// own limit counts what travelled.
func readMessage(b *bytes.Buffer, r io.Reader, limit int) error {
	for {
		b.Grow(bytes.MinRead)
		p := b.AvailableBuffer()
		if room := limit - b.Len(); room < cap(p) {
			p = p[:room+1]
		} else {
			p = p[:cap(p)]
		}
		n, err := r.Read(p)
		b.Write(p[:n])
		switch {
		case b.Len() > limit:
			return errTooBig
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// retain takes a reference, unless nothing of the conn is left.
func (c *conn) retain() bool {
	for {
		n := c.refs.Load()
		if n == 0 {
			return false
		}
		if c.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release drops a reference to the conn; whoever holds the last one reports it gone.
func (c *conn) release() {
	if c.refs.Add(-1) == 0 {
		c.owner.gone()
	}
}
