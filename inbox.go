package wsctl

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// inbox is a Socket's messages between reading and the end of their handling; guarded by the socket's mu.
//
// A message whose method takes no context is handled by the reader itself. One whose method does is handled by a worker,
// a goroutine that goes on with what arrives meanwhile and ends when nothing waits, so that the reader can go on reading
// and notice a close or a $cancel. One that streams has a goroutine of its own, beside the order.
type inbox struct {
	opened   bool         // OnOpen has agreed
	opening  bool         // OnOpen is being asked
	piece    bool         // the reader has read what it hasn't taken all of yet
	inline   *conn        // whose reader is the one worker; nil: none is
	inlineID atomic.Int64 // of the call that it handles; set with mu
	workers  int32
	streams  int32
	asking   int32 // calls to the client that wait for its answer
	waiting  []*inbound
	bytes    int // of waiting
	calls    map[int64]*inbound
	received uint64        // messages
	room     chan struct{} // the reader waits for something to change; nil: it doesn't
}

// inbound is a message that waits for its turn, or is a worker's.
type inbound struct {
	envelope
	fault    error // a bad message that is owed an answer
	canceled bool  // by $cancel, before its turn
	cancel   context.CancelCauseFunc
	stream   *stream // nil: it doesn't stream
}

// cost is about the bytes of a message on the wire, which the bound counts; a tiny one takes some times as much memory.
func (m *inbound) cost() int { return len(`{"type":"","data":}`) + len(m.typ) + len(m.data) }

// busy tells whether a method of the application may be running, or is going to.
func (in *inbox) busy() bool { return in.opening || in.piece || in.workers > 0 || in.streams > 0 }

// inUse tells whether a call of that id is in flight.
func (in *inbox) inUse(id int64) bool {
	return id != 0 && (in.inlineID.Load() == id || in.calls[id] != nil)
}

// endInbox drops what waits, unless keep, and wakes the reader. mu is held.
func (s *Socket) endInbox(keep bool) {
	in := &s.inbox
	if !keep {
		for _, m := range in.waiting {
			s.forget(m.id)
		}
		in.waiting, in.bytes = nil, 0
	}
	in.wake()
}

func (in *inbox) wake() {
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
}

// pause lets the reader wait until something changes, or for d. mu is held, but let go of meanwhile.
func (s *Socket) pause(d <-chan time.Time) {
	room := make(chan struct{})
	s.inbox.room = room
	s.mu.Unlock()
	select {
	case <-room:
	case <-d:
	}
	s.mu.Lock()
}

// message takes a message from the reader of c. It is counted and has its place in one step: what another connection of
// the session reads comes after it.
func (s *Socket) message(c *conn, b []byte) (replaced bool) {
	e, err := scan(b)
	if c.deaf && (err != nil || e.typ[0] != '$') { // those of the protocol are for methods that were taken before
		c.missed = true
		return false
	}
	s.mu.Lock()
	if s.conn != c || s.ended != nil { // nothing that still comes from it concerns the session
		s.mu.Unlock()
		return false
	}
	s.inbox.received++
	c.drowsy = c.drowsy && err == nil && uncounted(e.typ) // a client that only shows signs of life sleeps on
	ack := s.session != nil && !c.missed && s.session.count(e, err, len(b))
	switch {
	case err != nil:
		replaced = s.bad(c, e, err)
	case s.session != nil && ofStream(e.typ):
		s.streamed(e)
	case e.typ[0] == '$':
		s.mu.Unlock()
		s.control(c, e)
	default:
		replaced = s.take(c, e, nil)
	}
	if ack {
		s.sendAck(c, !replaced && c.burst)
	}
	if s.h.opts.RateLimit > 0 && !replaced && (err != nil || !uncounted(e.typ)) {
		s.slow(c)
	}
	return replaced
}

// take handles a message at once on the reader, or has a worker handle it in its turn. fault is the answer to a bad one. mu is
// held, and released.
func (s *Socket) take(c *conn, e envelope, fault error) (replaced bool) {
	in := &s.inbox
	if in.inUse(e.id) {
		if fault == nil {
			return s.bad(c, envelope{}, fmt.Errorf("id %d is in use", e.id))
		}
		s.mu.Unlock()
		return false
	}
	limit := s.h.opts.Concurrency
	target := s.lookup(e, fault)
	if in.workers == 0 && limit == 1 && !target.wantsWorker && in.asking == 0 { // else the reader has an answer to read
		in.workers++
		in.inline = c
		in.inlineID.Store(e.id)
		if c.burst { // under mu, as promote is
			s.out.cork()
		} else {
			c.burst = true
			s.out.beginBurst()
		}
		s.mu.Unlock()
		s.handle(context.Background(), target, e, fault)
		return s.endInline(c)
	}
	s.queueLocked(e, fault)
	if int(in.workers) < limit {
		in.workers++
		m := in.pop()
		s.refs.Add(1)
		s.mu.Unlock()
		go s.work(m)
		return false
	}
	for s.conn == c && s.ended == nil {
		if in.asking > 0 && in.bytes > max(s.h.waitLimit, s.h.opts.SendBuffer) {
			s.mu.Unlock()
			s.end(&CloseError{Code: CloseTooMany, Reason: "too many messages wait for a method"}, false)
			return false
		}
		if in.asking > 0 || in.bytes <= s.h.waitLimit {
			break
		}
		s.pause(nil)
	}
	s.mu.Unlock()
	return false
}

// endInline ends the handling of a message on the reader of c. If that waits elsewhere now, as a method has called the
// client, this goroutine is a worker.
func (s *Socket) endInline(c *conn) (replaced bool) {
	in := &s.inbox
	s.mu.Lock()
	replaced = in.inline != c
	in.inline = nil
	m := in.next()
	left := s.conn != c || s.ended != nil
	s.mu.Unlock()
	if m != nil {
		s.goOn(m)
	}
	if replaced {
		s.endBurst()
	}
	if replaced || left {
		s.conclude()
	}
	return replaced
}

// promote makes the reader that handles a message a worker, and another goroutine the reader, so that the answer of the client
// which the method is about to ask can be read. mu is held.
func (s *Socket) promote() {
	if c := s.inbox.inline; c != nil && s.conn == c { // else it reads for nobody
		s.inbox.inline = nil
		c.burst = false
		c.part()
		s.refs.Add(1)
		go c.read()
	}
}

// exited does the work of endInline after a method has ended the goroutine by runtime.Goexit.
func (s *Socket) exited(c *conn) (replaced bool) {
	s.end(&CloseError{Code: CloseInternal}, false)
	s.mu.Lock()
	replaced = s.inbox.inline != c
	s.inbox.inline = nil
	s.nextWorker()
	if !replaced && s.conn == c {
		s.inbox.piece = false
	}
	s.mu.Unlock()
	s.endBurst()
	s.conclude()
	return replaced
}

// nextWorker has a goroutine take the place of one that has ended by runtime.Goexit: the socket had ended before, and keeps
// what waits. mu is held.
func (s *Socket) nextWorker() {
	if m := s.inbox.next(); m != nil {
		s.refs.Add(1)
		go s.work(m)
	}
}

// heard begins a piece. What comes after Shutdown has begun isn't taken; what came before is, to its end.
func (s *Socket) heard(c *conn) {
	s.mu.Lock()
	if s.conn == c {
		s.inbox.piece = true
	}
	c.deaf = s.stopping.Load()
	s.mu.Unlock()
}

// idle ends the reader's burst.
func (s *Socket) idle(c *conn) {
	s.mu.Lock()
	if s.conn == c {
		s.inbox.piece = false
	}
	last := s.ended != nil || s.stopping.Load()
	s.mu.Unlock()
	s.endBurstOf(c)
	if last {
		s.conclude()
	}
}

// endBurstOf ends the burst of c's reader, if it has begun one.
func (s *Socket) endBurstOf(c *conn) {
	if c.burst {
		c.burst = false
		s.endBurst()
	}
}

// endBurst writes what was sent to the socket, and to rooms, by the methods of a burst.
func (s *Socket) endBurst() {
	s.out.endBurst()
	s.h.hub.kick()
}

// queueLocked puts a copy of a message behind the others.
func (s *Socket) queueLocked(e envelope, fault error) {
	in := &s.inbox
	n := len(e.typ)
	mem := append(make([]byte, 0, n+len(e.data)), e.typ...)
	mem = append(mem, e.data...)
	m := &inbound{envelope: envelope{typ: mem[:n:n], id: e.id}, fault: fault}
	if e.data != nil {
		m.data = mem[n:]
	}
	in.waiting = append(in.waiting, m)
	in.bytes += m.cost()
	if m.id != 0 {
		in.register(m)
	}
}

// register makes a call known by its id, which isn't in use.
func (in *inbox) register(m *inbound) {
	if in.calls == nil {
		in.calls = make(map[int64]*inbound)
	}
	in.calls[m.id] = m
}

// next takes what a worker is to handle next; nil: there is nothing, and the worker is off the books.
func (in *inbox) next() *inbound {
	m := in.pop()
	if m == nil {
		in.workers--
	}
	return m
}

// pop takes the next message, or nil.
func (in *inbox) pop() *inbound {
	if len(in.waiting) == 0 {
		in.waiting = nil
		return nil
	}
	m := in.waiting[0]
	in.waiting[0] = nil
	in.waiting = in.waiting[1:]
	in.bytes -= m.cost()
	in.wake()
	return m
}

// work is a worker: it handles m, then what waits.
func (s *Socket) work(m *inbound) {
	done := false
	defer func() {
		if !done { // a method has ended the goroutine by runtime.Goexit
			s.end(&CloseError{Code: CloseInternal}, false)
			s.mu.Lock()
			s.nextWorker()
			s.mu.Unlock()
			s.endBurst()
			s.conclude()
		}
		s.release()
	}()
	s.out.beginBurst()
	s.goOn(m)
	s.endBurst()
	s.conclude()
	done = true
}

// goOn handles m, then what waits, and takes the worker off the books.
func (s *Socket) goOn(m *inbound) {
	for m != nil {
		s.out.cork()
		s.handleQueued(m)
		s.mu.Lock()
		m = s.inbox.next()
		s.mu.Unlock()
	}
}

// handleQueued handles a message on a worker, with a context that $cancel ends; or has a goroutine of its own handle one that
// streams.
func (s *Socket) handleQueued(m *inbound) {
	target := s.lookup(m.envelope, m.fault)
	if target.streams && s.startStream(target, m) {
		return
	}
	if target.wantsFlush {
		s.out.flush()
	}
	ctx, cancel := s.begin(m)
	defer cancel(nil)
	s.handle(ctx, target, m.envelope, m.fault)
}

// begin returns the context of a message whose turn has come, and what ends it.
func (s *Socket) begin(m *inbound) (context.Context, context.CancelCauseFunc) {
	ctx := s.Context()
	if m.id == 0 && m.stream == nil {
		return ctx, func(error) {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	m.cancel = cancel
	if m.canceled {
		m.fault = &Error{Code: CodeCanceled}
	}
	s.mu.Unlock()
	return ctx, cancel
}

// free is forget, without mu: a call on the reader needs none.
func (s *Socket) free(id int64) {
	if s.inbox.inlineID.CompareAndSwap(id, 0) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
}

// forget ends a call's use of its id. mu is held.
func (s *Socket) forget(id int64) {
	if id == 0 {
		return
	}
	if !s.inbox.inlineID.CompareAndSwap(id, 0) {
		delete(s.inbox.calls, id)
	}
}
