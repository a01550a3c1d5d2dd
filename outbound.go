package wsctl

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxTurn   = 256 << 10 // bytes that one turn writes: then a goroutine of its own goes on
	corkLimit = 16 << 10  // corked bytes that are written at once, and the most that small segments are joined to
	chunkSize = 4 << 10   // a pooled buffer: of reads, and of small frames that wait
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

// segment is a run of whole frames. A shared one belongs to others as well and is never changed. Another one is a
// pooled chunk, or memory of its own if it is larger.
type segment struct {
	b      []byte
	shared bool
	pooled bool
}

var (
	chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}
	joins  = sync.Pool{New: func() any { return new([corkLimit]byte) }}
)

// free gives a segment's memory back to its pool.
func (s segment) free() {
	switch {
	case !s.pooled:
	case cap(s.b) == chunkSize:
		chunks.Put((*[chunkSize]byte)(s.b[:chunkSize]))
	default:
		joins.Put((*[corkLimit]byte)(s.b[:corkLimit]))
	}
}

// send queues a frame, which stays the caller's, and writes what it can without waiting. ErrSlow: it doesn't fit, and
// the caller is to end the socket.
func (c *conn) send(frame []byte) error {
	c.mu.Lock()
	if err := c.makeRoom(len(frame)); err != nil {
		c.mu.Unlock()
		return err
	}
	c.enqueue(frame, false)
	c.h.sent.Add(1)
	if c.corked && c.queued < corkLimit {
		c.mu.Unlock()
		return nil
	}
	c.flushLocked()
	return nil
}

// makeRoom is admit, with what is queued written first where that may help. mu is held, but let go of meanwhile.
func (c *conn) makeRoom(n int) error {
	for {
		err := c.admit(n)
		if err != errFlushFirst {
			return err
		}
		c.flushLocked()
		c.mu.Lock()
	}
}

// push queues the messages of a batch that the conn hasn't taken and whose numbers are above since: whole, if it may have
// them all, else one by one. It tells whether the caller has to flush: unlike send it never writes, so that it can be
// called under the hub's lock. After errFlushFirst the caller flushes and pushes again.
func (c *conn) push(b *batch, since uint64, whole frames) (flush bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since = max(since, c.pushedUpTo)
	if f := whole.of(c); f != nil && since < b.first && len(f) <= c.h.opts.SendBuffer {
		err = c.admitShared(f, b.last(), len(b.frames))
	} else {
		for i, f := range b.frames {
			if number := b.first + uint64(i); number > since && err == nil {
				err = c.admitShared(f.of(c), number, 1)
			}
		}
	}
	flush = c.queued > 0 && !c.writing && !c.willFlush && (!c.corked || c.queued >= corkLimit)
	c.willFlush = c.willFlush || flush
	return flush, err
}

// admitShared queues the hub's messages up to a number, if they fit. mu is held.
func (c *conn) admitShared(frame []byte, number uint64, messages int) error {
	err := c.admit(len(frame))
	if err == nil {
		c.enqueue(frame, true)
		c.pushedUpTo = number
		c.h.sent.Add(uint64(messages))
	}
	return err
}

// errFlushFirst says that what is queued has not been tried to be written yet.
var errFlushFirst = errors.New("wsctl: flush first")

// control queues a ping or pong and writes it. One that finds the queue full is left out: its peer doesn't read, and
// the sweeper will see to it.
func (c *conn) control(opcode byte, payload string) {
	c.mu.Lock()
	if c.makeRoom(len(payload)+2) == nil {
		c.enqueueControl(opcode, payload)
	}
	c.flushLocked()
}

// enqueueControl queues a control frame of at most 125 bytes of payload. mu is held.
func (c *conn) enqueueControl(opcode byte, payload string) {
	var b [127]byte
	c.enqueue(append(append(b[:0], opcode, byte(len(payload))), payload...), false)
}

// admit tells whether n bytes more may wait: a message enters an empty queue whatever its size, and one is let through while
// somebody is about to learn whether the network takes more. mu is held.
func (c *conn) admit(n int) error {
	switch {
	case c.state != connOpen:
		return ErrClosed
	case c.queued == 0 || c.queued+n <= c.h.opts.SendBuffer:
		return nil
	case !c.writing:
		return errFlushFirst
	case !c.draining && c.queued <= c.h.opts.SendBuffer:
		return nil
	}
	return ErrSlow
}

// enqueue appends a frame. A shared one is referred to if it is alone or large, else copied beside the others. mu is
// held.
func (c *conn) enqueue(frame []byte, shared bool) {
	c.queued += len(frame)
	last := len(c.queue) - 1
	if shared && (last < 0 || len(frame) > chunkSize/4) {
		c.queue = append(c.queue, segment{b: frame, shared: true})
		return
	}
	if last >= 0 && !c.queue[last].shared && cap(c.queue[last].b)-len(c.queue[last].b) >= len(frame) {
		c.queue[last].b = append(c.queue[last].b, frame...)
		return
	}
	s := segment{pooled: len(frame) <= chunkSize}
	if s.pooled {
		s.b = chunks.Get().(*[chunkSize]byte)[:0]
	}
	s.b = append(s.b, frame...)
	c.queue = append(c.queue, s)
}

// flush writes what is queued, as far as the network takes it.
func (c *conn) flush() {
	c.mu.Lock()
	c.flushLocked()
}

// flushLocked takes the turn to write, and a reference with it, unless somebody has it, and writes until nothing is queued.
// What the network doesn't take at once, and what others queue without end meanwhile, is left to a goroutine. mu is held,
// and released.
func (c *conn) flushLocked() {
	c.willFlush = false
	if c.writing || c.queued == 0 && !c.hangup || !c.retain() { // nothing is queued where nothing is left
		c.mu.Unlock()
		return
	}
	c.writing = true
	for turn := 0; c.next(); {
		b := c.under.b[c.offset:]
		c.mu.Unlock()
		n, err := c.tryWrite(b)
		c.mu.Lock()
		turn += n
		if !c.advance(n, err) || turn >= maxTurn && c.queued > 0 {
			c.draining = true
			c.mu.Unlock()
			go c.drain() // with the turn and its reference
			return
		}
	}
	c.rest()
	c.release()
}

// drain waits for the network, with the turn to write, until nothing is queued.
func (c *conn) drain() {
	defer c.release()
	c.mu.Lock()
	for c.next() {
		b := c.under.b[c.offset:]
		c.mu.Unlock()
		n, err := c.waitWrite(b)
		c.mu.Lock()
		c.advance(n, err)
	}
	c.rest()
}

// next makes c.under[c.offset:] what is to be written next: the rest of a segment, or several small ones joined, so that
// they share a system call. mu is held.
func (c *conn) next() bool {
	if c.state == connClosed {
		c.dropQueue()
		c.under, c.offset, c.queued = segment{}, 0, 0
		return false
	}
	if c.under.b != nil {
		return true
	}
	if len(c.queue) == 0 {
		return false
	}
	n, size := 0, 0
	for n < len(c.queue) && (n == 0 || size+len(c.queue[n].b) <= corkLimit) {
		size += len(c.queue[n].b)
		n++
	}
	c.under = c.queue[0]
	if n > 1 {
		c.under = segment{b: joins.Get().(*[corkLimit]byte)[:0], pooled: true}
		for _, s := range c.queue[:n] {
			c.under.b = append(c.under.b, s.b...)
			s.free()
		}
	}
	clear(c.queue[:n])
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = c.first[:0]
	}
	return true
}

// advance accounts for n bytes written, and tells whether the segment needs no waiting for: it is written, or never
// will be. mu is held.
func (c *conn) advance(n int, err error) bool {
	if n > 0 {
		c.queued -= n
		c.offset += n
		c.wrote++
	}
	switch {
	case c.offset == len(c.under.b):
		c.under.free()
		c.under, c.offset = segment{}, 0
	case err != nil:
		c.state = connClosed
	default:
		return false
	}
	return true
}

// rest gives the turn back with nothing left to write. mu is held, and released.
func (c *conn) rest() {
	c.writing, c.draining = false, false
	if c.hangup && c.state == connClosing { // while it is open, the socket's end is on its way to close it
		c.state = connClosed
	}
	closed := c.state == connClosed
	c.mu.Unlock()
	if closed {
		c.closeNet()
	}
}

// dropQueue forgets what isn't under way. mu is held.
func (c *conn) dropQueue() {
	for i, s := range c.queue {
		c.queued -= len(s.b)
		s.free()
		c.queue[i] = segment{}
	}
	c.queue = c.first[:0]
}

// close queues a close frame, after which nothing is sent, and gives the peer PingTimeout to answer. A slow peer's queue
// is dropped, unless the handshake's answer is in it: the peer wouldn't see the frame behind it in time.
func (c *conn) close(code int, reason string, slow bool) {
	c.mu.Lock()
	if c.state != connOpen {
		c.mu.Unlock()
		return
	}
	if slow && c.wrote > 0 {
		c.dropQueue()
	}
	payload := ""
	if code != closeNoStatus {
		payload = string(binary.BigEndian.AppendUint16(nil, uint16(code))) + cutReason(reason)
	}
	c.enqueueControl(frameClose, payload)
	c.state = connClosing
	c.closeBy = time.Now().Add(c.h.opts.closeTimeout())
	c.flushLocked()
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
	c.mu.Lock()
	c.hangup = true
	if now {
		c.state = connClosed
	}
	closed := c.state == connClosed
	if closed && c.writing { // interrupt the write; whoever waits in it cleans up
		c.mu.Unlock()
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
}

// ending tells whether our close frame is queued, or the connection closed.
func (c *conn) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state != connOpen
}

// beginBurst corks the conn: what its handlers send gathers until endBurst, for about a millisecond at the most.
func (c *conn) beginBurst() {
	c.mu.Lock()
	c.bursts++
	c.corkLocked()
	c.mu.Unlock()
}

// startCork lets the timer see a conn that newConn has corked.
func (c *conn) startCork() {
	c.mu.Lock()
	if c.corked {
		c.h.corks.add(c)
	}
	c.mu.Unlock()
}

// cork has what a handler sends gather again, in a burst whose cork was pulled.
func (c *conn) cork() {
	c.mu.Lock()
	c.corkLocked()
	c.mu.Unlock()
}

func (c *conn) corkLocked() {
	if !c.corked {
		c.corked = true
		c.h.corks.add(c)
	}
}

// endBurst writes what has gathered.
func (c *conn) endBurst() {
	c.mu.Lock()
	if c.bursts--; c.bursts == 0 {
		c.uncorkLocked()
	}
	c.flushLocked()
}

// uncork writes what has gathered, and lets the rest of the burst write directly.
func (c *conn) uncork() {
	c.mu.Lock()
	c.uncorkLocked()
	c.flushLocked()
}

func (c *conn) uncorkLocked() {
	if c.corked {
		c.corked = false
		c.h.corks.remove(c)
	}
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
