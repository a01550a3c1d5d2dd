package wsctl

import (
	"bytes"
	"context"
	"iter"
	"math"
	"strconv"
	"sync"
)

// uploadWindow is the most items of a client's stream that may be under way.
const uploadWindow = 32

// stream is a call of a method that streams: its result in items, or an argument. Guarded by the socket's mu, but for what
// grants does.
type stream struct {
	credit  int           // items that the client wants
	changed chan struct{} // the method waits for something to change; nil: it doesn't

	items   [][]byte // of the client's stream, not taken
	granted int      // items that may still come
	ended   bool     // no more items come
	err     *Error   // why the client's stream broke
	fault   *Error   // of the client's: the call's end, whatever the method says

	grants sync.Mutex // held while a $more is sent; guards over
	over   bool       // the call has its end: nothing may follow
}

func (st *stream) wake() {
	if st.changed != nil {
		close(st.changed)
		st.changed = nil
	}
}

// wait waits for something to change, or for ctx. The socket's mu is held, but let go of meanwhile.
func (st *stream) wait(ctx context.Context, s *Socket) error {
	if st.changed == nil {
		st.changed = make(chan struct{})
	}
	changed := st.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	s.out.uncork()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beginStream makes m's stream, unless the client has begun it.
func (m *inbound) beginStream() {
	if m.stream == nil {
		m.stream = &stream{credit: streamWindow}
	}
}

// startStream has a goroutine of its own handle m, whose turn it is, unless it can't stream: then the answer is m's fault.
func (s *Socket) startStream(t target, m *inbound) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch in := &s.inbox; {
	case m.fault != nil || m.canceled:
		return false
	case s.session == nil:
		m.fault = &Error{Code: CodeBadRequest, Message: "a stream needs the subprotocol wsctl.v1"}
		return false
	case m.id == 0:
		m.fault = &Error{Code: CodeBadRequest, Message: "a stream needs an id"}
		return false
	case int(in.streams) >= s.h.opts.MaxStreams:
		m.fault = &Error{Code: CodeTooMany, Message: "at most " + strconv.Itoa(s.h.opts.MaxStreams) + " streams at once"}
		return false
	}
	m.beginStream()
	s.inbox.streams++
	s.refs.Add(1)
	go s.runStream(t, m)
	return true
}

// runStream handles a message that streams.
func (s *Socket) runStream(t target, m *inbound) {
	done := false
	defer func() {
		if !done { // a method has ended the goroutine by runtime.Goexit
			s.end(&CloseError{Code: CloseInternal}, false)
		}
		s.mu.Lock()
		s.inbox.streams--
		s.mu.Unlock()
		s.out.uncork()
		s.h.hub.kick()
		s.conclude()
		s.release()
	}()
	ctx, cancel := s.begin(m)
	defer cancel(nil)
	s.out.cork()
	s.handle(ctx, t, m.envelope, m.fault)
	done = true
}

// stream returns the stream of a call, or nil.
func (s *Socket) stream(id int64) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.inbox.calls[id]; m != nil {
		return m.stream
	}
	return nil
}

// callStream calls a method that streams. It returns when the streams have ended.
func (s *Socket) callStream(ctx context.Context, t target, e envelope) (any, error) {
	st := s.stream(e.id)
	if st == nil { // a middleware has made it another message
		return nil, &Error{Code: CodeBadRequest, Message: "a message that wasn't a stream was made one"}
	}
	var failed error
	emit := func(v any) bool {
		failed = s.emit(ctx, st, e, v)
		return failed == nil
	}
	var items iter.Seq2[[]byte, error]
	if t.r.upload != nil {
		items = s.uploaded(ctx, st, e.id)
	}
	result, err := t.r.callStream(t.c, ctx, s, e.data, items, emit)
	st.grants.Lock()
	st.over = true
	st.grants.Unlock()
	s.mu.Lock()
	fault := st.fault
	s.mu.Unlock()
	switch {
	case fault != nil:
		return nil, fault
	case err == nil && failed != nil:
		err = failed
	}
	return result, err
}

// emit sends an item when the client wants it and there is room for it: the method's loop stands still meanwhile.
func (s *Socket) emit(ctx context.Context, st *stream, e envelope, v any) error {
	s.mu.Lock()
	for st.credit == 0 && ctx.Err() == nil {
		_ = st.wait(ctx, s)
	}
	st.credit--
	s.mu.Unlock()
	s.out.waitHalf(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	s.out.cork()
	return s.encode(e, func() error { return s.sendMessage("$item", e.id, v) })
}

// uploaded is the items of the client's stream as they come. Each is good until the next. The client may send as many as the
// method is ready for.
func (s *Socket) uploaded(ctx context.Context, st *stream, id int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			item, err := s.nextItem(ctx, st, id)
			if item == nil && err == nil || !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// nextItem waits for an item; nil without an error: there are no more.
func (s *Socket) nextItem(ctx context.Context, st *stream, id int64) (item []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if more := uploadWindow - st.granted - len(st.items); more >= uploadWindow/2 && !st.ended {
			st.granted += more
			s.mu.Unlock()
			s.grant(st, id, more)
			s.mu.Lock()
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case len(st.items) > 0:
			item, st.items = st.items[0], st.items[1:]
			return item, nil
		case st.err != nil:
			return nil, st.err
		case st.ended:
			return nil, nil
		}
		if err := st.wait(ctx, s); err != nil {
			return nil, err
		}
	}
}

// grant tells the client how many more items it may send, unless the call has its end.
func (s *Socket) grant(st *stream, id int64, n int) {
	st.grants.Lock()
	defer st.grants.Unlock()
	if !st.over {
		_ = s.sendMessage("$more", id, n) // a socket that has ended takes none
	}
}

// ofStream tells whether streamed takes messages of a type.
func ofStream(typ []byte) bool {
	switch string(typ) {
	case "$item", "$end", "$more":
		return true
	}
	return false
}

// streamed takes $item, $end and $more. For a call that doesn't stream, or not any more, they are ignored. mu is held, and released:
// the order of items is that in which they were counted, whichever connection brings them.
func (s *Socket) streamed(e envelope) {
	m := s.inbox.calls[e.id]
	switch {
	case m != nil && m.stream != nil:
	case m != nil && m.cancel == nil: // its turn hasn't come, and will show whether it streams
		m.beginStream()
	default:
		s.mu.Unlock()
		return
	}
	st, overrun := m.stream, false
	switch string(e.typ) {
	case "$more":
		if n, err := strconv.ParseInt(string(e.data), 10, 64); err == nil && n > 0 {
			st.credit = int(min(int64(st.credit)+min(n, math.MaxInt32), math.MaxInt32))
		}
	case "$item":
		if st.ended {
			break
		}
		if overrun = st.granted == 0; overrun {
			st.fault = &Error{Code: CodeTooMany, Message: "more items than were asked for"}
			st.ended, st.err = true, st.fault
			break
		}
		st.granted--
		item := bytes.Clone(e.data)
		if item == nil {
			item = []byte("null")
		}
		st.items = append(st.items, item)
	case "$end":
		if st.ended {
			break
		}
		st.ended = true
		if e.data != nil {
			st.err = brokenBy(e.data)
		}
	}
	st.wake()
	cancel := m.cancel
	s.mu.Unlock()
	if overrun && cancel != nil {
		cancel(st.fault)
	}
}

// brokenBy is the error with which a client has ended its stream.
func brokenBy(data []byte) *Error {
	v, ok := readError(data)
	if !ok {
		v.Code = CodeCanceled
	}
	return &Error{Code: v.Code, Message: v.Message}
}
