package wsctl

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
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
	message(c *conn, b *bytes.Buffer) (replaced bool)
	heard(c *conn)                  // on the reader: something has come
	idle(c *conn)                   // on the reader: all that was read is handled; it is about to wait for more
	lost(c *conn, ce *CloseError)   // the peer has closed, or is gone
	fail(c *conn, ce *CloseError)   // the peer has broken the protocol
	exited(c *conn) (replaced bool) // a method has ended the goroutine by runtime.Goexit
	release()                       // the reader is through
}

// conn is the transport below a Socket: the net.Conn that gorilla gets in place of the hijacked one, so that there is
// one way out. Gorilla does the handshake, the reading, masks, fragments, control frames and inflating; frames out are
// made here. Nobody writes while holding the outbox's mu, and nobody but the drain goroutine ever waits for the network.
type conn struct {
	net.Conn // the hijacked one: deadlines and addresses
	ws       *websocket.Conn
	br       *bufio.Reader // gorilla's, between the conn and it
	max      int           // bytes of a message
	owner    owner         // nil before the handshake is over
	out      *outbox       // the same
	raw      rawConn       // reads and writes past the runtime's waiting; not everywhere
	try      tryWriter     // the same for an in-memory pipe
	deflate  bool          // permessage-deflate was agreed on; set in the handshake, constant afterwards
	since    time.Time     // when it became its socket's

	// Of the reader alone.
	chunk  *[chunkSize]byte // pooled; nil while there is nothing to hand over
	unread []byte           // what gorilla hasn't taken of chunk
	whole  bool             // the last message was read to its end: a frame begins
	drowsy bool             // it has been idle, and has got no message since
	woken  bool             // by the watcher: there is something to read
	burst  bool             // it has begun one
	deaf   bool             // what it reads came after Shutdown

	waits     atomic.Int32 // what the reader is at: a waitState
	seen      atomic.Bool  // something was received since the last sweep
	netClosed atomic.Bool

	watching // guarded by the watcher's mu
	writing  // guarded by the outbox's mu
}

func newConn(nc net.Conn, o *Options) *conn {
	c := &conn{Conn: nc, max: o.MaxMessage, whole: true}
	c.br = bufio.NewReaderSize(c, readBuffer)
	c.seen.Store(true)
	if c.try, _ = nc.(tryWriter); c.try == nil {
		c.raw.init(nc)
	}
	return c
}

// begin ties c to its socket. The reader, which the caller starts, has a reference.
func (c *conn) begin(s *Socket) {
	c.owner, c.out, c.since = s, &s.out, time.Now()
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

// Write takes what gorilla writes by itself: the answer to the handshake, and the close frame with its verdict on a
// peer that breaks the protocol.
func (c *conn) Write(p []byte) (int, error) {
	isClose := len(p) >= 4 && p[0] == frameClose
	if !isClose {
		c.deflate = bytes.Contains(p, []byte("permessage-deflate"))
	}
	switch {
	case c.out == nil:
		return c.Conn.Write(p)
	case isClose:
		c.owner.fail(c, &CloseError{Code: int(binary.BigEndian.Uint16(p[2:])), Reason: string(p[4:])})
	default: // it waits until the hub knows the socket
		c.out.mu.Lock()
		c.first = append(c.first, p...)
		c.out.mu.Unlock()
	}
	return len(p), nil
}

// SetWriteDeadline is gorilla's wish for its control frames; the sweeper watches writes.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// read is the reader: it hands every message to the owner, until the connection ends, or another goroutine goes on.
func (c *conn) read() {
	owner := c.owner
	done, watched := false, false
	defer func() {
		if watched { // with the reader's reference; another reader may be at work already
			return
		}
		if !done && !owner.exited(c) {
			c.hangUp(false)
		}
		owner.release()
	}()
	err := c.readMessages()
	if watched = err == errWatched; watched {
		return
	}
	if done = err == errReplaced; done {
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
		_ = c.Conn.SetReadDeadline(time.Time{}) // of rouse
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	c.owner.lost(c, ce)
	c.hangUp(ce.Code == CloseAbnormal)
	done = true
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
)

// readMessages reads until the peer closes or the connection fails. After our own close frame it reads on and discards,
// to find the peer's.
func (c *conn) readMessages() error {
	for {
		if err := c.await(); err != nil {
			return err
		}
		b, err := c.nextMessage()
		c.whole = err == nil
		var ce *CloseError
		switch {
		case err == nil:
			replaced := c.owner.message(c, b)
			putBuffer(b)
			if replaced {
				return errReplaced
			}
		case errors.As(err, &ce):
			c.owner.fail(c, ce)
		default:
			return err
		}
	}
}

// nextMessage reads the next text message, into a buffer that the caller gives back. A *CloseError says how the peer has
// broken the protocol; any other error is the end.
func (c *conn) nextMessage() (*bytes.Buffer, error) {
	for {
		typ, r, err := c.ws.NextReader()
		if err != nil {
			return nil, err
		}
		if c.ending() {
			continue // NextReader skips the message
		}
		if typ == websocket.BinaryMessage {
			return nil, &CloseError{Code: closeUnsupported, Reason: "binary messages are not understood"}
		}
		b := getBuffer() // not before: an idle connection has none
		err = readMessage(b, r, c.max)
		if err == nil {
			return b, nil
		}
		putBuffer(b)
		var corrupt flate.CorruptInputError
		switch {
		case err == errTooBig:
			return nil, &CloseError{Code: closeTooBig, Reason: fmt.Sprintf("a message has at most %d bytes", c.max)}
		case err == io.ErrUnexpectedEOF, errors.As(err, &corrupt):
			return nil, &CloseError{Code: closeProtocol, Reason: "a compressed message doesn't inflate"}
		} // any other error comes back from NextReader
	}
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
