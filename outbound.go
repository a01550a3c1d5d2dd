package wsctl

import (
	"crypto/tls"
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxTurn   = 256 << 10 // bytes that one turn writes: then a goroutine of its own goes on
	corkLimit = blockSize // corked bytes that are written at once, and the most that small segments are joined to
	blockSize = 16 << 10  // a pooled buffer: of reads, and of frames that are written together
	chunkSize = 4 << 10   // another: of small frames that wait
	headRoom  = 10        // the longest header of a server's frame (RFC 6455, section 5.2)
)

// First bytes of frames (RFC 6455, section 5.2): the opcode and FIN; rsv1 marks a deflated message (RFC 7692).
const (
	frameText  = 0x81
	frameClose = 0x88
	framePing  = 0x89
	framePong  = 0x8a
	rsv1       = 0x40
)

// writing is what a conn writes: first what it has to say itself, then what it takes from the outbox, then the close frame.
// Whoever holds the turn writes; the others queue and leave. Guarded by the outbox's mu.
type writing struct {
	state    connState
	turn     bool    // somebody has the turn to write
	draining bool    // it is the drain goroutine: the network takes no more at once
	hangup   bool    // close the connection when nothing is queued
	first    []byte  // frames of the connection alone: the handshake's answer, pongs, acknowledgments
	under    segment // being written
	offset   int     // bytes of under that are written
	last     []byte  // the close frame
	wrote    uint64  // counts progress
	expiry   *time.Timer
}

type connState uint8

const (
	connOpen    connState = iota
	connClosing           // our close frame is queued: nothing may follow it
	connClosed
)

// maxFirst is how many bytes a conn's own frames may take. More come from a peer that doesn't read.
const maxFirst = 4 << 10

// left is how many bytes of the conn are not written. mu is held.
func (c *conn) left() int { return len(c.first) + len(c.under.b) - c.offset + len(c.last) }

// control writes a frame of the connection's own before what is queued. One that finds many others waiting is left out: its
// peer doesn't read, and the sweeper will see to it.
func (c *conn) control(frame []byte) {
	c.out.mu.Lock()
	c.controlLocked(frame)
	c.flushLocked()
}

// controlLocked is control without the writing. It tells whether the frame was taken. mu is held.
func (c *conn) controlLocked(frame []byte) bool {
	if c.state != connOpen || len(c.first)+len(frame) > maxFirst {
		return false
	}
	c.first = append(c.first, frame...)
	return true
}

// wsPing and pong are control frames of at most 125 bytes of payload.
var wsPing = []byte{framePing, 0}

func (c *conn) pong(payload string) {
	if c.out == nil { // before $welcome
		_, _ = c.Conn.Write(controlFrame(framePong, payload))
		return
	}
	c.control(controlFrame(framePong, payload))
}

func controlFrame(opcode byte, payload string) []byte {
	return append([]byte{opcode, byte(len(payload))}, payload...)
}

// flushLocked takes the turn to write, and a reference with it, unless somebody has it, and writes until nothing is queued.
// What the network doesn't take at once, and what others queue without end meanwhile, is left to a goroutine. mu is held,
// and released.
func (c *conn) flushLocked() {
	o := c.out
	if c.turn || !c.hasMore() && !c.hangup || !o.s.retain() { // nothing is queued where nothing is left
		o.mu.Unlock()
		return
	}
	c.turn = true
	for turn := 0; c.next(); {
		b := c.under.b[c.offset:]
		o.mu.Unlock()
		n, err := c.tryWrite(b)
		o.mu.Lock()
		turn += n
		if !c.advance(n, err) || turn >= maxTurn && c.hasMore() {
			c.draining = true
			o.mu.Unlock()
			go c.drain() // with the turn and its reference
			return
		}
	}
	c.rest()
	o.s.release()
}

// drain waits for the network, with the turn to write, until nothing is queued.
func (c *conn) drain() {
	o := c.out
	defer o.s.release()
	o.mu.Lock()
	for c.next() {
		b := c.under.b[c.offset:]
		o.mu.Unlock()
		n, err := c.waitWrite(b)
		o.mu.Lock()
		c.advance(n, err)
	}
	c.rest()
}

// hasMore tells whether there is something to write. mu is held.
func (c *conn) hasMore() bool {
	return c.left() > 0 || c.out.conn == c && len(c.out.queue) > 0
}

// next makes c.under[c.offset:] what is to be written next. mu is held.
func (c *conn) next() bool {
	o := c.out
	if c.state == connClosed {
		c.under, c.offset, c.first, c.last = segment{}, 0, nil, nil
		if o.conn == c && o.closed {
			o.drop()
		}
		return false
	}
	for c.under.b == nil {
		switch {
		case o.conn == c && len(o.queue) > 0:
			o.take(c)
		case len(c.first) > 0:
			c.under, c.first = segment{b: c.first}, nil
		case len(c.last) > 0:
			c.under, c.last = segment{b: c.last}, nil
		default:
			return false
		}
	}
	return true
}

// advance accounts for n bytes written, and tells whether the segment needs no waiting for: it is written, or never
// will be. mu is held.
func (c *conn) advance(n int, err error) bool {
	if n > 0 {
		c.offset += n
		c.wrote++
	}
	switch {
	case c.offset == len(c.under.b):
		c.under.free()
		c.under, c.offset = segment{}, 0
		c.out.wakeHalf()
	case err != nil:
		c.state = connClosed
		if c.out.log != nil && !c.out.closed { // what is sent from now on waits for the next connection
			c.out.detach(c)
		}
	default:
		return false
	}
	return true
}

// rest gives the turn back with nothing left to write. mu is held, and released.
func (c *conn) rest() {
	c.turn, c.draining = false, false
	if c.hangup && c.state == connClosing { // while it is open, the socket's end is on its way to close it
		c.state = connClosed
	}
	closed := c.state == connClosed
	c.out.mu.Unlock()
	if closed {
		c.closeNet()
	}
}

// close queues a close frame, after which nothing is sent, and gives the peer PingTimeout to answer. end also ends the outbox:
// what it has is written before the close frame, unless slow; else it stays there.
func (c *conn) close(ce *CloseError, end, slow bool) {
	o := c.out
	o.mu.Lock()
	if end {
		o.end(slow || o.conn == nil)
	} else {
		o.detach(c)
	}
	if c.state != connOpen {
		o.mu.Unlock()
		return
	}
	c.last = closeFrame(ce)
	c.state = connClosing
	c.expiry = time.AfterFunc(o.s.h.opts.closeTimeout(), func() { c.hangUp(true) })
	c.flushLocked()
}

// closeFrame is the close frame that says ce (RFC 6455, section 5.5.1).
func closeFrame(ce *CloseError) []byte {
	payload := ""
	if ce.Code != closeNoStatus {
		payload = string(binary.BigEndian.AppendUint16(nil, uint16(ce.Code))) + cutReason(ce.Reason)
	}
	return controlFrame(frameClose, payload)
}

// cutReason cuts a reason at a rune to the 123 bytes that a close frame has room for (RFC 6455, section 5.5).
func cutReason(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	n := min(len(s), 123)
	for n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// hangUp closes the connection: at once, or when everything queued is written.
func (c *conn) hangUp(now bool) {
	c.out.mu.Lock()
	c.hangup = true
	if now {
		c.state = connClosed
	}
	closed := c.state == connClosed
	if closed && c.turn { // interrupt the write; whoever waits in it cleans up
		c.out.mu.Unlock()
		c.closeNet()
		return
	}
	c.flushLocked()
}

// closeNet closes the network connection. A TLS connection's own Close may wait for a peer that doesn't read; the close frame
// has said what its closing alert would say.
func (c *conn) closeNet() {
	if c.netClosed.Swap(true) {
		return
	}
	nc := c.Conn
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	_ = nc.Close()
	if c.out == nil {
		return
	}
	c.out.mu.Lock()
	if c.expiry != nil {
		c.expiry.Stop()
	}
	c.out.mu.Unlock()
	c.out.s.h.watcher.forget(c)
}

// ending tells whether our close frame is queued, or the connection closed.
func (c *conn) ending() bool {
	if c.out == nil {
		return false
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.state != connOpen
}

// frame makes a frame of b, whose first headRoom bytes are free, and returns it.
func frame(b []byte, first byte) []byte {
	n := len(b) - headRoom
	switch {
	case n < 126:
		b = b[headRoom-2:]
		b[1] = byte(n)
	case n < 1<<16:
		b = b[headRoom-4:]
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
	default:
		b[1] = 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
	}
	b[0] = first
	return b
}

// textFrame returns a frame of a message, in memory of its own.
func textFrame(payload []byte) []byte {
	return frame(append(make([]byte, headRoom, headRoom+len(payload)), payload...), frameText)
}
