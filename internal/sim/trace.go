package sim

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Trace is what happened, newest last: the last few hundred events, or all.
type Trace struct {
	All bool // keep every event

	mu     sync.Mutex // guards following
	begun  time.Time
	events []event
	next   int
	broken []string
}

// event is made without formatting anything, since hardly any is ever read.
type event struct {
	at       time.Time
	what     string
	typ      string
	a, b, id int64
	text     string
}

const traceLength = 400

func newTrace(all bool) *Trace { return &Trace{All: all, begun: time.Now()} }

func (t *Trace) add(e event) {
	e.at = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.All || len(t.events) < traceLength {
		t.events = append(t.events, e)
		return
	}
	t.events[t.next] = e
	t.next = (t.next + 1) % traceLength
}

// breach notes that a rule was broken.
func (t *Trace) breach(rule, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.add(event{what: "BREACH", typ: rule, text: text})
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.broken) < 20 {
		t.broken = append(t.broken, fmt.Sprintf("%v %s: %s", time.Since(t.begun), rule, text))
	}
}

// Broken are the breaches, first first.
func (t *Trace) Broken() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

func (t *Trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for i := range t.events {
		e := t.events[(t.next+i)%len(t.events)]
		fmt.Fprintf(&b, "%12.6f %-14s", e.at.Sub(t.begun).Seconds(), e.what)
		if e.a != 0 || e.b != 0 {
			fmt.Fprintf(&b, " %d/%d", e.a, e.b)
		}
		fmt.Fprintf(&b, " %s", e.typ)
		if e.id != 0 {
			fmt.Fprintf(&b, " id %d", e.id)
		}
		fmt.Fprintf(&b, " %s\n", e.text)
	}
	return b.String()
}
