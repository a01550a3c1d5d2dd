package wsctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// inbox is a Socket's messages between reading and the end of their handling; guarded by the socket's mu.
//
// A message whose method takes no context is handled by the reader itself. One whose method does is handled by a worker,
// a goroutine that goes on with what arrives meanwhile and ends when nothing waits, so that the reader can go on reading
// and notice a close or a $cancel.
type inbox struct {
	opened  bool // OnOpen has agreed
	opening bool // OnOpen is being asked
	inline  bool // the reader handles a burst
	piece   bool // the reader has read what it hasn't taken all of yet
	workers int
	waiting []*inbound
	bytes   int // of waiting
	calls   map[int64]*inbound
	room    chan struct{} // the reader waits for a worker to make room; nil: it doesn't
}

// inbound is a message that waits for its turn, or is a worker's.
type inbound struct {
	envelope
	fault    error // a bad message that is owed an answer
	canceled bool  // by $cancel, before its turn
	cancel   context.CancelFunc
}

// cost is about the bytes of a message on the wire, which the bound counts; a tiny one takes some times as much memory.
func (m *inbound) cost() int { return len(`{"type":"","data":}`) + len(m.typ) + len(m.data) }

// busy tells whether a method of the application may be running, or is going to.
func (in *inbox) busy() bool { return in.opening || in.inline || in.piece || in.workers > 0 }

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

// message takes a message from the reader.
func (s *Socket) message(b *bytes.Buffer) {
	if s.deaf {
		return
	}
	s.h.received.Add(1)
	e, err := scan(b.Bytes())
	switch {
	case err != nil:
		s.bad(e, err)
	case e.typ[0] == '$':
		s.control(e)
	default:
		s.take(e, nil)
	}
}

// take handles a message at once on the reader, or has a worker handle it in its turn. fault is the answer to a bad one.
func (s *Socket) take(e envelope, fault error) {
	in := &s.inbox
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return
	}
	if in.calls[e.id] != nil {
		s.mu.Unlock()
		if fault == nil {
			s.bad(envelope{}, fmt.Errorf("id %d is in use", e.id))
		}
		return
	}
	if e.id != 0 {
		s.h.calls.Add(1)
	}
	limit := s.h.opts.Concurrency
	target := s.target(e, fault)
	if in.workers == 0 && limit == 1 && !target.wantsWorker {
		first := !in.inline
		in.inline = true
		s.mu.Unlock()
		if first {
			s.conn.beginBurst()
		} else {
			s.conn.cork()
		}
		s.handle(context.Background(), target, e, fault)
		return
	}
	s.queueLocked(e, fault)
	if in.workers < limit {
		in.workers++
		m := in.pop()
		s.conn.refs.Add(1)
		s.mu.Unlock()
		go s.work(m)
		return
	}
	for in.bytes > s.h.waitLimit && s.ended == nil {
		room := make(chan struct{})
		in.room = room
		s.mu.Unlock()
		<-room
		s.mu.Lock()
	}
	s.mu.Unlock()
}

// heard begins a piece. What comes after Shutdown has begun isn't taken; what came before is, to its end.
func (s *Socket) heard() {
	s.mu.Lock()
	s.inbox.piece = true
	s.deaf = s.stopping.Load()
	s.mu.Unlock()
}

// idle ends the reader's burst.
func (s *Socket) idle() {
	s.mu.Lock()
	burst := s.inbox.inline
	s.inbox.inline, s.inbox.piece = false, false
	last := s.ended != nil || s.stopping.Load()
	s.mu.Unlock()
	if burst {
		s.endBurst()
	}
	if last {
		s.conclude()
	}
}

// endBurst writes what was sent to the socket, and to rooms, by the methods of a burst.
func (s *Socket) endBurst() {
	s.conn.endBurst()
	s.h.hub.kick()
}

// target is what will handle a message: the controller of this moment, and its method.
type target struct {
	c           *controller
	r           *route // nil: it has none
	wantsWorker bool   // it gets a context, and may wait for it
	wantsFlush  bool   // it asks for one itself: what was answered needn't wait for it
}

// target looks a message up. A bad one needs nothing but its answer.
func (s *Socket) target(e envelope, fault error) target {
	if fault != nil {
		return target{}
	}
	t := target{c: s.current.Load()}
	if t.r = t.c.route(e.typ); t.r != nil {
		t.wantsFlush = t.r.ctx
	} else {
		t.wantsFlush = t.c != nil && t.c.fallback != nil
	}
	t.wantsWorker = t.wantsFlush || s.h.chain != nil
	return t
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
		if in.calls == nil {
			in.calls = make(map[int64]*inbound)
		}
		in.calls[m.id] = m
	}
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
	defer func() {
		if m != nil { // a method has ended the goroutine by runtime.Goexit
			s.end(&CloseError{Code: CloseInternal}, false)
			s.mu.Lock()
			if next := s.inbox.pop(); next != nil { // it had ended before, and keeps what waits
				s.conn.refs.Add(1)
				go s.work(next)
			} else {
				s.inbox.workers--
			}
			s.mu.Unlock()
			s.endBurst()
			s.conclude()
		}
		s.conn.release()
	}()
	s.conn.beginBurst()
	for m != nil {
		s.conn.cork()
		s.handleQueued(m)
		s.mu.Lock()
		if m = s.inbox.pop(); m == nil {
			s.inbox.workers--
		}
		s.mu.Unlock()
	}
	s.endBurst()
	s.conclude()
}

// handleQueued handles a message on a worker, with a context that $cancel ends.
func (s *Socket) handleQueued(m *inbound) {
	target := s.target(m.envelope, m.fault)
	if target.wantsFlush {
		s.conn.flush()
	}
	ctx := s.Context()
	if m.id != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		s.mu.Lock()
		m.cancel = cancel
		if m.canceled {
			m.fault = &Error{Code: CodeCanceled}
		}
		s.mu.Unlock()
	}
	s.handle(ctx, target, m.envelope, m.fault)
}

// forget ends a call's use of its id. mu is held.
func (s *Socket) forget(id int64) {
	if id != 0 {
		delete(s.inbox.calls, id)
		s.h.calls.Add(-1)
	}
}

// handle handles a message and, if it is a call, answers it.
func (s *Socket) handle(ctx context.Context, t target, e envelope, fault error) {
	result, err := s.invoke(ctx, t, e, fault)
	var ce *CloseError
	switch {
	case errors.As(err, &ce):
		if !s.hasEnded() { // else it may well be the cause of the context's end
			s.end(s.sendable(ce), false)
		}
	case e.id == 0 && err != nil:
		s.logFailure(e, err)
	case e.id != 0:
		s.answer(e, result, err)
	}
}

func (s *Socket) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended != nil
}

// invoke runs the middleware and the method, unless the message is at fault. With its return the call's id is free: the
// client may use it again as soon as it has the answer.
func (s *Socket) invoke(ctx context.Context, t target, e envelope, fault error) (result any, err error) {
	defer func() {
		if e.id != 0 {
			s.mu.Lock()
			s.forget(e.id)
			s.mu.Unlock()
		}
	}()
	defer s.recover(e.typ, &err)
	switch {
	case fault != nil:
		return nil, fault
	case s.h.chain != nil:
		result, err = s.h.chain(ctx, s, Message{Type: string(e.typ), ID: e.id, Data: e.data})
	default:
		result, err = t.dispatch(ctx, s, e, true)
	}
	return result, checked(err)
}

// checked asks err what will be asked of it while a panic is still recovered: an error that is a nil pointer, the oldest trap
// of Go, may panic when it is unwrapped or printed. A nil one of our own says nothing, and becomes an error that does.
func checked(err error) error {
	if err == nil {
		return nil
	}
	if ce, ok := errors.AsType[*CloseError](err); ok && ce == nil {
		return errors.New("wsctl: a nil *CloseError was returned as an error")
	}
	if e, ok := errors.AsType[*Error](err); ok && e == nil {
		return errors.New("wsctl: a nil *Error was returned as an error")
	}
	if _, hidden := clientError(err); hidden {
		_ = err.Error()
	}
	return err
}

// answer sends the end of a call.
func (s *Socket) answer(e envelope, result any, err error) {
	b := getBuffer()
	b.Write(zeros[:headRoom])
	if err == nil {
		err = s.encode(e, func() error { return appendMessage(b, "$reply", e.id, result) })
	}
	if err != nil {
		seen, hidden := clientError(err)
		if hidden {
			s.logFailure(e, err)
		}
		if err := s.encode(e, func() error { return appendError(b, e.id, seen) }); err != nil {
			s.logFailure(e, err)
			b.Truncate(headRoom)
			_ = appendError(b, e.id, &Error{Code: CodeInternal}) // nothing in it can fail
		}
	}
	_ = s.sendPayload(b.Bytes()) // a socket that has ended needs no answer
	putBuffer(b)
}

// encode runs what calls the application's marshalers.
func (s *Socket) encode(e envelope, fn func() error) (err error) {
	defer s.recover(e.typ, &err)
	return fn()
}

// errPanicked stands for a panic, which is logged where it was caught.
var errPanicked = errors.New("wsctl: panic")

// recover, deferred, turns a panic of the application into an error.
func (s *Socket) recover(what []byte, err *error) {
	if p := recover(); p != nil {
		s.h.panics.Add(1)
		s.h.log().Error("wsctl: panic", "type", string(what), "socket", s.id, "panic", p, "stack", string(debug.Stack()))
		*err = errPanicked
	}
}

// guard runs a hook.
func (s *Socket) guard(hook string, fn func() error) (err error) {
	defer s.recover([]byte(hook), &err)
	return checked(fn())
}

// control takes a message of the protocol. At the plain level that is $cancel; the others are ignored, so that the protocol
// can grow.
func (s *Socket) control(e envelope) {
	if string(e.typ) != "$cancel" {
		return
	}
	if e.id == 0 {
		s.bad(e, errors.New("$cancel without an id"))
		return
	}
	s.mu.Lock()
	var cancel context.CancelFunc
	if m := s.inbox.calls[e.id]; m != nil {
		m.canceled = true
		cancel = m.cancel
	}
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
