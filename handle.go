package wsctl

import (
	"context"
	"errors"
	"runtime/debug"
)

// target is what will handle a message: the controller of this moment, and its method.
type target struct {
	c           *controller
	r           *route // nil: it has none
	streams     bool   // it runs beside the order
	wantsWorker bool   // it gets a context, and may wait for it
	wantsFlush  bool   // it asks for one itself: what was answered needn't wait for it
}

// lookup finds what will handle a message. A bad one needs nothing but its answer.
func (s *Socket) lookup(e envelope, fault error) target {
	if fault != nil {
		return target{}
	}
	t := target{c: s.current.Load()}
	if t.r = t.c.route(e.typ); t.r != nil {
		t.wantsFlush, t.streams = t.r.ctx, t.r.streams()
	} else {
		t.wantsFlush = t.c != nil && t.c.fallback != nil
	}
	t.wantsWorker = t.wantsFlush || t.streams || s.h.chain != nil
	return t
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
			s.free(e.id)
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
	if err = checked(err); err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = obeyed{err}
	}
	return result, err
}

// obeyed is the error of a method that has ended since its context was canceled.
type obeyed struct{ error }

func (o obeyed) Unwrap() error { return o.error }

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
	if _, hidden := clientError(err, ""); hidden {
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
		seen, hidden := clientError(err, s.id)
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
		s.h.panicked(p, err, "type", string(what), "socket", s.id)
	}
}

func (h *Handler) panicked(p any, err *error, args ...any) {
	h.panics.Add(1)
	h.log().Error("wsctl: panic", append(args, "panic", p, "stack", string(debug.Stack()))...)
	*err = errPanicked
}

// guard runs a hook.
func (s *Socket) guard(hook string, fn func() error) (err error) {
	defer s.recover([]byte(hook), &err)
	return checked(fn())
}

// guard runs a hook that is no socket's.
func (h *Handler) guard(hook string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.panicked(p, &err, "type", hook)
		}
	}()
	return checked(fn())
}
