package wsctltest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

// listener is a subscription that notes what comes. Whatever a subtest is about, the listener sees to it that calls come one at
// a time and end with stop, that no message comes twice (all are different), and that none is changed later.
type listener struct {
	t    *testing.T
	stop func() // nil: it isn't subscribed

	calls   atomic.Int32 // that run
	stopped atomic.Bool
	late    atomic.Int32 // calls since

	mu      sync.Mutex // guards following
	got     []delivery // messages
	log     []delivery // messages and notices
	faults  []string
	gate    chan struct{} // calls wait until it is closed; nil: they don't
	changed chan struct{} // closed and replaced when anything changes
}

type delivery struct {
	pos  string
	msg  []byte // nil: a notice
	text string // a copy of msg as it came
}

// listen subscribes, until the test ends or l.end is called.
func listen(t *testing.T, b wsctl.Broker, topic string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l := newListener(t)
	if err := l.subscribe(ctx, b, topic); err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	return l
}

func newListener(t *testing.T) *listener {
	l := &listener{t: t, changed: make(chan struct{})}
	t.Cleanup(l.end)
	return l
}

func (l *listener) subscribe(ctx context.Context, b wsctl.Broker, topic string) error {
	stop, err := b.Subscribe(ctx, topic, l.deliver)
	if err != nil {
		l.stopped.Store(true) // it is never called
		return err
	}
	l.stop = stop
	return nil
}

// end stops, and reports faults.
func (l *listener) end() {
	l.open()
	if l.stop != nil {
		l.stop()
		l.stopped.Store(true)
		l.stop() // is allowed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// One call may have begun before, and come only now to where it is seen.
	if n := l.late.Load(); n > 1 || n > 0 && l.stop == nil {
		l.faults = append(l.faults, fmt.Sprintf("%d calls of deliver after stop, or for a Subscribe that failed", n))
	}
	seen := make(map[string]bool, len(l.got))
	for _, d := range l.got {
		if string(d.msg) != d.text {
			l.faults = append(l.faults, fmt.Sprintf("message %s was changed after it was delivered", brief(d.text)))
		}
		if seen[d.text] {
			l.faults = append(l.faults, fmt.Sprintf("message %s came twice", brief(d.text)))
		}
		seen[d.text] = true
	}
	for i, fault := range l.faults {
		if i == 3 {
			l.t.Errorf("and %d faults more", len(l.faults)-i)
			break
		}
		l.t.Error(fault)
	}
	l.faults = nil
}

func (l *listener) deliver(pos string, msg []byte) {
	concurrent := l.calls.Add(1) > 1
	defer l.calls.Add(-1)
	if l.stopped.Load() {
		l.late.Add(1)
	}
	runtime.Gosched() // another call has its chance
	l.mu.Lock()
	if concurrent {
		l.faults = append(l.faults, "deliver is called while another call runs")
	}
	if len(msg) == 0 && pos != "" {
		l.faults = append(l.faults, fmt.Sprintf("deliver(%q, nil)", pos))
	}
	d := delivery{pos, msg, string(msg)}
	if len(msg) > 0 {
		l.got = append(l.got, d)
	}
	l.log = append(l.log, d)
	gate := l.gate
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

// shut has calls of deliver wait until open is called.
func (l *listener) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gate = make(chan struct{})
}

func (l *listener) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gate != nil {
		close(l.gate)
		l.gate = nil
	}
}

// wait waits until ready, called with mu held, reports true. It reports false when d is over.
func (l *listener) wait(d time.Duration, ready func() bool) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !ready() {
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
			l.mu.Lock()
		case <-timer.C:
			l.mu.Lock()
			return ready()
		}
	}
	return true
}

// await waits for n messages, and returns all that have come.
func (l *listener) await(n int) []string {
	l.t.Helper()
	l.wait(patience, func() bool { return len(l.got) >= n })
	texts := l.texts()
	if len(texts) < n {
		l.t.Fatalf("got %d messages, want %d", len(texts), n)
	}
	return texts
}

// messages returns those that have come.
func (l *listener) messages() []delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func (l *listener) texts() []string {
	var texts []string
	for _, d := range l.messages() {
		texts = append(texts, d.text)
	}
	return texts
}

// expect waits for these messages, and fails the test if others have come.
func (l *listener) expect(want ...string) {
	l.t.Helper()
	equal(l.t, l.await(len(want)), want)
}

// equal fails the test unless got is want.
func equal(t *testing.T, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("message %d is %s, want %s", i+1, brief(got[i]), brief(want[i]))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d messages, want %d", len(got), len(want))
	}
}

// notices is how often it was told that messages may have been missed.
func (l *listener) notices() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.log) - len(l.got)
}

// noticed waits for one more.
func (l *listener) noticed(than int) bool {
	return l.wait(reconnect, func() bool { return len(l.log)-len(l.got) > than })
}

// has waits for a message.
func (l *listener) has(text string, d time.Duration) bool {
	return l.wait(d, func() bool {
		return slices.ContainsFunc(l.got, func(d delivery) bool { return d.text == text })
	})
}

func brief(text string) string { return fmt.Sprintf("%.60q of %d bytes", text, len(text)) }

// since asks for the history after pos, and fails the test if the answer contradicts itself.
func since(t *testing.T, h wsctl.HistoryBroker, topic, pos string) (msgs []string, newest position.Position, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	msgs, newest, ok, err := sinceIn(ctx, h, topic, pos)
	if err != nil {
		t.Fatalf("Since(%.60q): %v", pos, err)
	}
	return msgs, newest, ok
}

func sinceIn(ctx context.Context, h wsctl.HistoryBroker, topic, pos string) (msgs []string, newest position.Position, ok bool, err error) {
	raw, n, ok, err := h.Since(ctx, topic, pos)
	if err != nil {
		return nil, newest, false, err
	}
	for _, msg := range raw {
		msgs = append(msgs, string(msg))
	}
	newest, valid := position.Parse(n)
	p, known := position.Parse(pos)
	if known = known && p.Epoch == newest.Epoch && p.Offset <= newest.Offset; known {
		p.Offset = newest.Offset - p.Offset
	}
	switch {
	case !valid:
		err = fmt.Errorf("newest is %q, which is no position", n)
	case pos == "" && !ok:
		err = fmt.Errorf("not ok")
	case (pos == "" || !ok) && len(msgs) > 0:
		err = fmt.Errorf("%d messages, though ok is %v", len(msgs), ok)
	case ok && pos != "" && !known:
		err = fmt.Errorf("ok, though newest is %s", newest)
	case ok && pos != "" && uint64(len(msgs)) != p.Offset:
		err = fmt.Errorf("%d messages up to %s", len(msgs), newest)
	}
	return msgs, newest, ok, err
}
