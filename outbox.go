package wsctl

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// outbox is what is to be sent to a Socket's client. The socket's conn takes from it; a socket that has lost its connection
// has none, and what it is sent waits here for the next one.
type outbox struct {
	s *Socket

	deflated atomic.Bool // conn takes deflated frames; a hint without mu, as is the next
	corked   atomic.Bool // what is queued waits for the end of a burst

	mu         sync.Mutex // guards following, and the writing of conns (outbound.go)
	conn       *conn      // takes from the outbox; nil: there is none
	closed     bool       // the socket has ended: nothing more is taken in
	parked     bool       // its bytes count towards Options.ParkBuffer
	willFlush  bool       // a fan-out is about to flush
	tardy      bool       // it was waited in vain for half; then half isn't nil
	bursts     int32      // handlers at work: the reader's burst, workers
	corkSlot   int32      // index in corks.list, which guards it, from 1; 0: not in it
	queue      []segment
	first      [1]segment    // the memory of queue while it has one segment
	sent       uint64        // messages that were queued
	queued     int           // bytes of queue, but for those that have a number
	pushedUpTo uint64        // number of the last of the hub's messages that is queued here, or isn't to be
	half       chan struct{} // closed when the queue is no more than half full; nil: nobody waits for it
	events     *queuedEvents // of messages with a queue policy; nil: there are none
	log        *sendLog      // of messages that have a number; nil: they get none
}

// segment is a run of whole frames. A shared one belongs to others as well and is never changed. Another one is a
// pooled chunk, or memory of its own if it is larger.
type segment struct {
	b        []byte
	messages int32
	shared   bool
	pooled   bool
	numbered bool       // written before, on another connection
	mark     *eventMark // a message, alone, whose event has a queue policy; or what is left of some
}

// minRefer is the size from which a shared frame is referred to, not copied.
const minRefer = chunkSize / 4

var (
	chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}
	blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}
)

// free gives a segment's memory back to its pool.
func (s segment) free() {
	switch {
	case !s.pooled:
	case cap(s.b) == chunkSize:
		chunks.Put((*[chunkSize]byte)(s.b[:chunkSize]))
	default:
		blocks.Put((*[blockSize]byte)(s.b[:blockSize]))
	}
}

// holds tells whether s can take n bytes more.
func (s *segment) holds(n int) bool {
	return !s.shared && s.mark == nil && cap(s.b)-len(s.b) >= n
}

// newSegment returns a segment with a copy of b.
func newSegment(b []byte, messages int32) segment {
	s := segment{messages: messages, pooled: len(b) <= chunkSize}
	if s.pooled {
		s.b = chunks.Get().(*[chunkSize]byte)[:0]
	}
	s.b = append(s.b, b...)
	return s
}

func (o *outbox) init(s *Socket) {
	o.s = s
	o.queue = o.first[:0]
}

func (o *outbox) limit() int { return o.s.h.opts.SendBuffer }

// waiting is how many bytes count towards SendBuffer. mu is held.
func (o *outbox) waiting() int {
	if o.conn != nil {
		return o.queued + o.conn.left()
	}
	return o.queued
}

// size is how many bytes the outbox keeps in memory. mu is held.
func (o *outbox) size() int {
	if o.log != nil {
		return o.queued + o.log.bytes + o.log.replay
	}
	return o.queued
}

// send queues a message, whose frame stays the caller's, and writes what it can without waiting. ErrSlow: it doesn't fit,
// and the caller is to end the socket.
func (o *outbox) send(frame []byte) error {
	return o.add(func() error {
		err := o.admit(len(frame))
		if err == nil {
			o.enqueue(frame, false, 1)
		}
		return err
	})
}

// sendEvent is send for a message of an event with a queue policy, whose frame is shared.
func (o *outbox) sendEvent(f frames) error {
	return o.add(func() error { return o.offer(f) })
}

// add queues a message by a function that is called with mu held, again if what is queued has to be written first, and writes
// it unless it is to wait for others.
func (o *outbox) add(queue func() error) error {
	o.mu.Lock()
	err := queue()
	for err == errFlushFirst {
		o.flushLocked()
		o.mu.Lock()
		err = queue()
	}
	if err != nil {
		o.mu.Unlock()
		return err
	}
	o.sent++
	if o.corked.Load() && o.queued < corkLimit {
		o.mu.Unlock()
		return nil
	}
	o.flushLocked()
	return nil
}

// push queues the messages of a batch that the outbox hasn't taken and whose numbers are above since: whole, if it may
// have them all, else one by one. It tells whether the caller has to flush: unlike send it never writes, so that it can be
// called under the hub's lock. After errFlushFirst the caller flushes and pushes again.
func (o *outbox) push(b *batch, since uint64, whole frames) (flush bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	since = max(since, o.pushedUpTo)
	if f := whole.of(o.deflated.Load()); f != nil && since < b.first && len(f) <= o.limit() {
		if err = o.admit(len(f)); err == nil {
			o.enqueue(f, true, int32(len(b.frames)))
			o.pushedUpTo = b.last()
			o.sent += uint64(len(b.frames))
		}
	} else {
		for i, f := range b.frames {
			number := b.first + uint64(i)
			switch {
			case number <= since || err != nil:
			case f.control && o.s.session == nil:
				o.pushedUpTo = number
			default:
				if err = o.offer(f); err == nil {
					o.pushedUpTo = number
					o.sent++
				}
			}
		}
	}
	return o.toFlush(), err
}

// pushOwn is push for frames of so many messages that are this client's alone, and stay the caller's.
func (o *outbox) pushOwn(frames []byte, messages int32) (flush bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err = o.admit(len(frames)); err == nil {
		o.enqueue(frames, false, messages)
		o.sent += uint64(messages)
	}
	return o.toFlush(), err
}

// spare is how many bytes more may wait until the queue is half full; negative: it is fuller.
func (o *outbox) spare() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.limit()/2 - o.waiting()
}

// toFlush tells whether who has queued something has to flush. mu is held.
func (o *outbox) toFlush() bool {
	c := o.conn
	flush := o.queued > 0 && c != nil && !c.turn && !o.willFlush && (!o.corked.Load() || o.queued >= corkLimit)
	o.willFlush = o.willFlush || flush
	return flush
}

// errFlushFirst says that what is queued has not been tried to be written yet.
var errFlushFirst = errors.New("wsctl: flush first")

// admit tells whether n bytes more may wait: a message enters an empty queue whatever its size, and one is let through
// while somebody is about to learn whether the network takes more. mu is held.
func (o *outbox) admit(n int) error {
	waiting, c := o.waiting(), o.conn
	switch {
	case o.closed, c != nil && c.state == connClosed:
		return ErrClosed
	case waiting == 0 || waiting+n <= o.limit():
		return nil
	case c == nil:
		return ErrSlow
	case !c.turn:
		return errFlushFirst
	case !c.draining && waiting <= o.limit():
		return nil
	}
	return ErrSlow
}

// offer queues a message of the hub's or of an event: after admit, or as its queue policy says. mu is held.
func (o *outbox) offer(f frames) error {
	frame := f.of(o.deflated.Load())
	if f.mark != nil {
		return o.offerEvent(frame, f.mark)
	}
	err := o.admit(len(frame))
	if err == nil {
		o.enqueue(frame, true, 1)
	}
	return err
}

// enqueue appends frames of so many messages. A shared one is referred to if it is alone or large, else copied beside the
// others. mu is held.
func (o *outbox) enqueue(frame []byte, shared bool, messages int32) {
	if frame[0]&rsv1 != 0 && !o.deflated.Load() { // the connection has changed since it was chosen
		frame, shared = inflateFrames(frame), false
	}
	o.grow(len(frame))
	last := len(o.queue) - 1
	switch {
	case shared && (last < 0 || len(frame) > minRefer):
		o.queue = append(o.queue, segment{b: frame, shared: true, messages: messages})
	case last >= 0 && !o.queue[last].numbered && o.queue[last].holds(len(frame)):
		o.queue[last].b = append(o.queue[last].b, frame...)
		o.queue[last].messages += messages
	default:
		o.queue = append(o.queue, newSegment(frame, messages))
	}
}

// grow accounts for n bytes more in the queue, or less. mu is held.
func (o *outbox) grow(n int) {
	o.queued += n
	if o.parked {
		o.s.h.parkedBytes(n)
	}
}

// take moves what comes next into c.under: a segment, or several small ones joined, so that they share a system call. From
// then on messages of a session have numbers. mu is held.
func (o *outbox) take(c *conn) {
	n, size := 0, len(c.first)
	for ; n < len(o.queue); n++ {
		o.settle(n)
		if size += len(o.queue[n].b); size > corkLimit && (n > 0 || len(c.first) > 0) {
			break
		}
	}
	switch {
	case n == 0:
		c.under, c.first = segment{b: c.first}, nil
		return
	case n == 1 && len(c.first) == 0:
		c.under = o.queue[0]
		o.number(c.under)
	default:
		c.under = segment{b: blocks.Get().(*[blockSize]byte)[:0], pooled: true}
		c.under.b = append(c.under.b, c.first...)
		c.first = nil
		for _, s := range o.queue[:n] {
			o.number(s)
			c.under.b = append(c.under.b, s.b...)
			s.free()
		}
	}
	clear(o.queue[:n])
	o.events.advance(n)
	if o.queue = o.queue[n:]; len(o.queue) == 0 {
		o.queue, o.events = o.first[:0], nil
	}
}

// wakeHalf wakes who waits for a half empty queue, if it is. mu is held.
func (o *outbox) wakeHalf() {
	if o.half != nil && (o.closed || o.waiting() <= o.limit()/2) {
		close(o.half)
		o.half, o.tardy = nil, false
	}
}

// number accounts for a segment that leaves the queue. mu is held.
func (o *outbox) number(s segment) {
	switch {
	case o.log == nil:
		o.queued -= len(s.b)
	case s.numbered:
		o.log.replay -= len(s.b)
		o.log.keep(s, o.limit())
	default:
		o.queued -= len(s.b)
		o.log.sent += uint64(s.messages)
		o.log.keep(s, o.limit())
	}
}

// drop forgets what is queued. mu is held.
func (o *outbox) drop() {
	for i, s := range o.queue {
		s.free()
		o.queue[i] = segment{}
	}
	o.grow(-o.queued)
	o.queue, o.events = o.first[:0], nil
	if o.log != nil {
		o.log.replay = 0
	}
	o.wakeHalf()
}

// waitHalf waits until the queue is no more than half full, or ctx is done: what may wait waits for what can't.
func (o *outbox) waitHalf(ctx context.Context) {
	o.mu.Lock()
	if o.waiting() <= o.limit()/2 || o.closed {
		o.mu.Unlock()
		return
	}
	if o.half == nil {
		o.half = make(chan struct{})
	}
	half := o.half
	o.flushLocked()
	select {
	case <-half:
	case <-ctx.Done():
	}
}

// waitHalfOnce is waitHalf, unless the queue hasn't been half empty since that was last in vain.
func (o *outbox) waitHalfOnce(ctx context.Context) {
	o.mu.Lock()
	tardy := o.tardy
	o.mu.Unlock()
	if tardy {
		return
	}
	o.waitHalf(ctx)
	o.mu.Lock()
	o.tardy = o.half != nil
	o.mu.Unlock()
}

// flush writes what is queued, as far as the network takes it.
func (o *outbox) flush() {
	o.mu.Lock()
	o.flushLocked()
}

// flushLocked is flush with mu held, and releases it.
func (o *outbox) flushLocked() {
	o.willFlush = false
	if o.conn == nil {
		o.mu.Unlock()
		return
	}
	o.conn.flushLocked()
}

// attach gives the outbox a connection. mu is held.
func (o *outbox) attach(c *conn) {
	o.conn = c
	o.deflated.Store(c.deflate)
	if c.deflate {
		o.s.h.hub.deflating.Add(1)
	}
}

// detach takes the connection away, if it is c. What is queued stays. mu is held.
func (o *outbox) detach(c *conn) {
	if o.conn != c || c == nil {
		return
	}
	o.conn = nil
	o.wakeHalf()
	if o.deflated.Swap(false) {
		o.s.h.hub.deflating.Add(-1)
	}
}

// park has what waits count towards Options.ParkBuffer.
func (o *outbox) park() {
	o.mu.Lock()
	if !o.parked && o.conn == nil && !o.closed {
		o.parked = true
		o.s.h.parkedBytes(o.size())
	}
	o.mu.Unlock()
}

// unpark ends that. mu is held.
func (o *outbox) unpark() {
	if o.parked {
		o.parked = false
		o.s.h.parkedBytes(-o.size())
	}
}

// end takes nothing more. What is queued is dropped, or waits for its connection. mu is held.
func (o *outbox) end(drop bool) {
	o.closed = true
	if o.deflated.Swap(false) {
		o.s.h.hub.deflating.Add(-1)
	}
	o.unpark()
	if drop {
		o.drop()
	}
	if o.log != nil {
		o.log.free()
	}
}

// toWrite is how many bytes are to be written. mu is held.
func (o *outbox) toWrite() int {
	if o.log != nil {
		return o.waiting() + o.log.replay
	}
	return o.waiting()
}
