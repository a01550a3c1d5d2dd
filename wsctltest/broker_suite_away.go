package wsctltest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

// leaver and forgetter are what a test can add to its broker.
type (
	leaver interface {
		Away(t *testing.T) (back func())
	}
	forgetter interface{ Forget(t *testing.T) }
)

// leaverOf returns how b's server is taken away, or skips the test.
func leaverOf(t *testing.T, b wsctl.Broker) leaver {
	t.Helper()
	l, ok := b.(leaver)
	if !ok {
		t.Skip("wsctltest: TestBroker: the broker has no method Away, so it isn't tested without its server")
	}
	return l
}

// away takes the server away. back may be called more than once.
func away(t *testing.T, l leaver) (back func()) {
	back = sync.OnceFunc(l.Away(t))
	t.Cleanup(back)
	return back
}

// eventually calls fn until it succeeds.
func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	timer := time.NewTimer(0)
	defer timer.Stop()
	deadline := time.Now().Add(reconnect)
	for {
		<-timer.C
		err := fn()
		if err == nil {
			return
		}
		if t.Failed() || time.Now().After(deadline) {
			t.Fatalf("%s fails for %v: %v", what, reconnect, err)
		}
		timer.Reset(50 * time.Millisecond)
	}
}

// The calls of these return soon, whatever happens.

func liveSoon(t *testing.T, b wsctl.Broker, topic, text string) error {
	return soon(t, "Publish", func(ctx context.Context) error { return b.Publish(ctx, topic, []byte(text)) })
}

func keptSoon(t *testing.T, b wsctl.HistoryBroker, topic, text string) error {
	return soon(t, "PublishKeep", func(ctx context.Context) error { return b.PublishKeep(ctx, topic, []byte(text), keepAll) })
}

func sinceSoon(t *testing.T, h wsctl.HistoryBroker, topic, pos string) (msgs []string, newest position.Position, ok bool, err error) {
	type answer struct {
		msgs   []string
		newest position.Position
		ok     bool
	}
	answers := make(chan answer, 1)
	err = soon(t, "Since", func(ctx context.Context) error {
		msgs, newest, ok, err := sinceIn(ctx, h, topic, pos)
		answers <- answer{msgs, newest, ok}
		return err
	})
	if err != nil {
		return nil, newest, false, err
	}
	a := <-answers
	return a.msgs, a.newest, a.ok, nil
}

// testAway takes the server away under subscriptions.
func testAway(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	server := leaverOf(t, a)
	topic, other := newTopic(), newTopic()
	x, y, ended := listen(t, a, topic), listen(t, b, topic), listen(t, a, topic)
	n, sent := 0, make(map[string]bool)
	next := func() string {
		n++
		text := fmt.Sprint(n)
		sent[text] = true
		return text
	}
	must(t, live(a, topic, next()))
	for _, l := range []*listener{x, y, ended} {
		l.expect("1")
	}
	for round := range 2 {
		notices := x.notices()
		back := away(t, server)
		for range 3 {
			_ = liveSoon(t, a, topic, next()) // may succeed, if the broker has found another way
		}
		l := newListener(t)
		_ = soon(t, "Subscribe", func(ctx context.Context) error { return l.subscribe(ctx, a, other) })
		if round == 0 {
			_ = soon(t, "stop", func(context.Context) error { ended.stop(); return nil })
		}
		back()
		if !x.noticed(notices) {
			t.Fatalf("%v after the server is back nobody was told that messages may have been missed", reconnect)
		}
		eventually(t, "publishing from node to node", func() error {
			texts := []string{next(), next()}
			for i, node := range []wsctl.Broker{a, b} {
				if err := liveSoon(t, node, topic, texts[i]); err != nil {
					return err
				}
			}
			for _, l := range []*listener{x, y} {
				for _, text := range texts {
					if !l.has(text, time.Second) {
						return fmt.Errorf("message %q hasn't come", text)
					}
				}
			}
			return nil
		})
		again := listen(t, a, topic)
		text := next()
		must(t, live(b, topic, text))
		for _, l := range []*listener{x, y, again} {
			if !l.has(text, patience) {
				t.Fatalf("message %q, published when all was well again, hasn't come", text)
			}
		}
	}
	for _, l := range []*listener{x, y} {
		for _, text := range l.texts() {
			if !sent[text] {
				t.Errorf("got %q, which nobody has published", text)
			}
		}
	}
	ended.end()
}

// author publishes numbered messages to a topic that keeps them, some of which may fail.
type author struct {
	name     string
	h        wsctl.HistoryBroker
	n        int
	accepted []string // those that PublishKeep returned nil for
}

func (a *author) publish(t *testing.T, topic string) error {
	text := fmt.Sprintf("%s:%d", a.name, a.n)
	a.n++
	err := keptSoon(t, a.h, topic, text)
	if err == nil {
		a.accepted = append(a.accepted, text)
	}
	return err
}

// write has authors publish at once: a few messages each, then fault runs, and at the end each has one accepted.
func write(t *testing.T, topic string, authors []*author, fault func()) {
	stop, begun := make(chan struct{}), make(chan struct{}, len(authors))
	var wg sync.WaitGroup
	for _, author := range authors {
		wg.Go(func() {
			ticker := time.NewTicker(5 * time.Millisecond)
			defer ticker.Stop()
			for i := 0; ; i++ {
				if i == 10 {
					begun <- struct{}{}
				}
				if i < 100 { // only so many are kept
					_ = author.publish(t, topic)
				}
				select {
				case <-stop:
					if i >= 10 {
						return
					}
				case <-ticker.C:
				}
			}
		})
	}
	for range authors {
		<-begun
	}
	fault()
	close(stop)
	wg.Wait()
	for _, author := range authors {
		eventually(t, "PublishKeep", func() error { return author.publish(t, topic) })
	}
}

// testHistoryAway takes the server away while two nodes publish and read. Each reader gets each message that was accepted
// once, and those that failed once at most, all in one order.
func testHistoryAway(t *testing.T, s *brokerSuite) {
	a, b := s.historyNodes(t)
	server := leaverOf(t, a)
	topic := newTopic()
	authors, c := []*author{{name: "a", h: a}, {name: "b", h: b}}, &author{name: "c", h: a}
	readers := []*reader{newReader(t, a, topic), newReader(t, b, topic)}
	birth := readers[0].at
	readers[0].start(a)
	readers[1].start(b)
	for range 3 {
		notices := readers[0].l.notices()
		write(t, topic, authors, func() {
			back := away(t, server)
			_ = c.publish(t, topic) // it may succeed, if the broker has found another way
			_, _, _, _ = sinceSoon(t, a, topic, "")
			timer := time.NewTimer(callTime) // for the others
			<-timer.C
			back()
		})
		if x := readers[0].l; !x.wait(reconnect, func() bool { return len(x.log)-len(x.got) > notices }) {
			t.Fatalf("%v after the server is back nobody was told that messages may have been missed", reconnect)
		}
	}
	all, newest, ok := since(t, b, topic, birth.String())
	if !ok {
		t.Fatalf("kept messages were lost: Since(%s) isn't ok, newest is %s", birth, newest)
	}
	for _, author := range append(authors, c) {
		author.check(t, all)
	}
	for _, r := range readers {
		for r.at != newest {
			r.step()
		}
		equal(t, r.got, all)
		if r.lost > 0 {
			t.Errorf("a reader was told %d times that history doesn't go on", r.lost)
		}
	}
}

// check finds the author's messages in a history: what was accepted once, what failed once at most, in order.
func (a *author) check(t *testing.T, history []string) {
	t.Helper()
	last, accepted := -1, a.accepted
	for _, text := range history {
		name, number, _ := strings.Cut(text, ":")
		if name != a.name {
			continue
		}
		i, err := strconv.Atoi(number)
		if err != nil || i <= last || i >= a.n {
			t.Fatalf("%q comes after message %d of %d of this publisher", text, last, a.n)
		}
		last = i
		if len(accepted) > 0 && text == accepted[0] {
			accepted = accepted[1:]
		}
	}
	if len(accepted) > 0 {
		t.Fatalf("%q was accepted, but isn't kept", accepted[0])
	}
}

// testHistoryForget has the server lose everything, also while two nodes publish and one reads.
func testHistoryForget(t *testing.T, s *brokerSuite) {
	a, b := s.historyNodes(t)
	f, ok := a.(forgetter)
	if !ok {
		t.Skip("wsctltest: TestBroker: the broker has no method Forget, so it isn't tested with a server that loses its data")
	}
	topic := newTopic()
	authors := []*author{{name: "a", h: a}, {name: "b", h: b}}
	r := newReader(t, b, topic)
	r.start(b)
	texts := make(map[string]string) // by position
	note := func(pos, text string) {
		t.Helper()
		if old, ok := texts[pos]; ok && old != text {
			t.Fatalf("%s is the position of %q and of %q", pos, old, text)
		}
		texts[pos] = text
	}
	epochs := map[string]bool{r.at.Epoch: true}
	for round := range 3 {
		for range 5 {
			for _, author := range authors {
				eventually(t, "PublishKeep", func() error { return author.publish(t, topic) })
			}
		}
		_, old, _ := since(t, a, topic, "")
		if round == 0 {
			f.Forget(t)
		} else {
			write(t, topic, authors, func() { f.Forget(t) })
		}
		for _, h := range []wsctl.HistoryBroker{a, b} {
			before := old
			before.Offset--
			var newest position.Position
			var ok bool
			eventually(t, "Since", func() (err error) {
				_, newest, ok, err = sinceSoon(t, h, topic, before.String())
				return err
			})
			if ok || epochs[newest.Epoch] {
				t.Fatalf("Since(%s) = %s, %v after everything was lost", before, newest, ok)
			}
		}
		for _, author := range authors {
			eventually(t, "PublishKeep", func() error { return author.publish(t, topic) })
		}
		_, newest, _ := since(t, b, topic, "")
		epochs[newest.Epoch] = true
		for r.at != newest {
			r.step()
		}
		msgs, _, ok := since(t, a, topic, position.Position{Epoch: newest.Epoch}.String())
		for i, text := range msgs {
			note(position.Position{Epoch: newest.Epoch, Offset: newest.Offset - uint64(len(msgs)-1-i)}.String(), text)
		}
		if !ok && newest.Offset < 100 {
			t.Errorf("Since(%s.0) isn't ok", newest.Epoch)
		}
	}
	for _, d := range r.l.messages() {
		note(d.pos, d.text)
	}
}
