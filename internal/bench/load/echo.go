//go:build linux

package main

import (
	"bytes"
	"fmt"
	"time"
)

const (
	firstID  = 100 // ids have three digits, so that the request with "hello, world" has 83 bytes
	maxDepth = 200
	firstSeq = 100_000 // sequence numbers have six
	minEcho  = 83
	maxEcho  = 16 << 10
)

// echoCall is a request and the answer that it is owed.
type echoCall struct{ frame, answer []byte }

// echo makes calls: as soon as one is answered, the next.
type echo struct {
	*loop
	depth    int
	callers  []*conn    // the other connections are idle
	calls    []echoCall // by id, from firstID
	written  []int64    // by connection and call: when it was; 0: it isn't in flight
	next     []int      // call of each connection
	inFlight int
	deadline int64
	time     time.Duration
}

func newEcho(l *loop, s settings) *echo {
	// Each connection uses the calls in turn. There are several times as many as are in flight, so an answer that comes twice
	// is found out.
	n := max(64, 4*s.depth)
	w := &echo{loop: l, depth: s.depth, callers: l.conns, time: s.time, written: make([]int64, n*s.conns), next: make([]int, s.conns)}
	if s.callers > 0 {
		w.callers = l.conns[:s.callers]
	}
	empty := plain{}.appendEcho(nil, firstID, appendLine(nil, "lobby", nil, firstSeq))
	text := proseOf(s.bytes - len(empty))
	for i := range n {
		line := appendLine(nil, "lobby", text, firstSeq+23456+i)
		w.calls = append(w.calls, echoCall{
			frame:  l.frame(l.dialect.appendEcho(nil, firstID+i, line)),
			answer: l.dialect.appendEchoed(nil, firstID+i, line),
		})
	}
	return w
}

func (w *echo) prepare() error {
	if err := w.open(w.conns, prepareInflight); err != nil {
		return err
	}
	return w.run(warmUp)
}

func (w *echo) phases() []phase {
	return []phase{{run: func() error { return w.run(w.time) }}}
}

// run makes calls for that long, and waits for the last answers.
func (w *echo) run(d time.Duration) error {
	w.now = clock()
	w.deadline = w.now + int64(d)
	for _, c := range w.callers {
		for range w.depth {
			w.call(c)
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	return w.until(func() bool { return w.inFlight == 0 }, func() string { return fmt.Sprintf("%d answers", w.inFlight) })
}

// call has c make its next call.
func (w *echo) call(c *conn) {
	written := w.written[c.index*len(w.calls):][:len(w.calls)]
	i := w.next[c.index]
	for written[i] != 0 { // it has been overtaken by later ones
		i = (i + 1) % len(w.calls)
	}
	w.next[c.index] = (i + 1) % len(w.calls)
	written[i] = w.now
	w.inFlight++
	c.out = append(c.out, w.calls[i].frame...)
}

func (w *echo) receive(c *conn, message []byte) error {
	id, ok := w.dialect.answers(message)
	i := id - firstID
	if !ok || i < 0 || i >= len(w.calls) {
		return fmt.Errorf("got %q, expected an answer", message)
	}
	written := &w.written[c.index*len(w.calls)+i]
	if *written == 0 {
		return fmt.Errorf("got %q, expected no answer to a call that isn't in flight", message)
	}
	if !bytes.Equal(message, w.calls[i].answer) {
		return wrong(message, w.calls[i].answer)
	}
	w.meter.latencies.record(w.now - *written)
	*written = 0
	w.inFlight--
	w.progress = w.now
	if w.now < w.deadline {
		w.call(c)
	}
	return nil
}

func (w *echo) settle() error { return nil }
