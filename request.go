package wsctl

import (
	"bytes"
	"context"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json"
)

// ask is a call to the client that waits for its answer.
type ask struct {
	done chan struct{} // closed when data and err are set
	data []byte
	err  error
}

// Call asks the client and decodes its answer into reply, a pointer, or nil if the answer doesn't matter. It waits until the
// client has answered, or ctx is done: give ctx a deadline. The client's failure is an [*Error], which reaches no other
// client when it is returned from a method; other errors are that of ctx, [ErrClosed] if the socket has ended, an encoding or
// decoding error, and that of a client which doesn't speak wsctl.v1, or whose OnOpen is still being asked. A session that has
// lost its connection is asked when the client is back.
//
// It may be called from a method of the same socket, which keeps its turn: messages that come before the answer wait.
func (s *Socket) Call(ctx context.Context, typ string, data, reply any) error {
	if err := checkType(typ); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	id, a, err := s.startAsk()
	if err != nil {
		return err
	}
	waiting := true
	defer func() {
		if waiting { // a marshaler has panicked
			s.endAsk(id)
		}
	}()
	err = s.sendMessage(typ, id, data)
	waiting = false
	if err == nil {
		s.out.flush()
		select {
		case <-a.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if s.endAsk(id) && err != nil && err == ctx.Err() {
		_ = s.sendMessage("$cancel", id, nil) // a socket that has ended needs none
	}
	switch {
	case err != nil:
		return err
	case a.err != nil:
		return a.err
	case reply == nil || a.data == nil:
		return nil
	}
	if err := json.Unmarshal(a.data, reply); err != nil {
		return fmt.Errorf("wsctl: decoding the client's answer to %q: %w", typ, err)
	}
	return nil
}

var (
	errPlain   = errors.New("wsctl: the client can't be called: it doesn't speak wsctl.v1")
	errOpening = errors.New("wsctl: the client can't be called before OnOpen has returned")
)

// startAsk gives a call to the client its number. If the reader is at work in a method, another one goes on.
func (s *Socket) startAsk() (int64, *ask, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return 0, nil, ErrClosed
	case s.session == nil:
		return 0, nil, errPlain
	case !s.inbox.opened:
		return 0, nil, errOpening
	}
	ss := s.session
	if ss.calls == nil {
		ss.calls = make(map[int64]*ask)
	}
	ss.lastCall++
	a := &ask{done: make(chan struct{})}
	ss.calls[ss.lastCall] = a
	s.inbox.asking++
	s.inbox.wake()
	s.promote()
	return ss.lastCall, a, nil
}

// endAsk forgets a call to the client. It tells whether there was no answer.
func (s *Socket) endAsk(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox.asking--
	_, unanswered := s.session.calls[id]
	delete(s.session.calls, id)
	return unanswered
}

// answered takes the end of a call to the client. One that nobody waits for is ignored.
func (s *Socket) answered(e envelope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.session.calls[e.id]
	if a == nil {
		return
	}
	delete(s.session.calls, e.id)
	if string(e.typ) == "$error" {
		a.err = errorFrom(e.data, s.id)
	} else {
		a.data = bytes.Clone(e.data)
	}
	close(a.done)
}

// errorData is the data of an $error, and of the $end of a stream that broke.
type errorData struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Data    jsonv1.RawMessage `json:"data"`
}

// readError reads what a client has sent as an error. It tells whether it is one.
func readError(data []byte) (v errorData, ok bool) {
	err := json.Unmarshal(data, &v)
	return v, err == nil && v.Code != ""
}

// errorFrom is the error with which a client has answered.
func errorFrom(data []byte, socket string) *Error {
	v, ok := readError(data)
	if !ok {
		v.Code, v.Message = CodeInternal, "the client's error is malformed"
	}
	e := &Error{Code: v.Code, Message: v.Message, from: socket}
	if v.Data != nil {
		e.Data = v.Data
	}
	return e
}

// failCalls fails the calls to a client that is gone.
func (ss *session) failCalls() {
	for id, a := range ss.calls {
		delete(ss.calls, id)
		a.err = ErrClosed
		close(a.done)
	}
}

// Request is a typed [Socket.Call]: the client is sent a Q and answers with an A. Declare it once, as a variable, and list it
// in Options.Events.
type Request[Q, A any] struct {
	typ string
	pc  uintptr // of NewRequest's caller
}

// NewRequest returns a Request whose messages have the type typ. It panics where [NewEvent] does.
func NewRequest[Q, A any](typ string) *Request[Q, A] {
	if fault := eventFault(typ); fault != "" {
		panic("wsctl: NewRequest: " + fault)
	}
	return &Request[Q, A]{typ: typ, pc: callerPC()}
}

// Call asks the client of s, as [Socket.Call].
func (r *Request[Q, A]) Call(ctx context.Context, s *Socket, q Q) (A, error) {
	var a A
	err := s.Call(ctx, r.typ, q, &a)
	return a, err
}

func (r *Request[Q, A]) declaration() declared {
	return declared{typ: r.typ, pc: r.pc, data: reflect.TypeFor[Q](), answer: reflect.TypeFor[A]()}
}
