package wsctltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

// testHistory follows a topic from before its first message.
func testHistory(t *testing.T, s *brokerSuite) {
	a, b := s.historyNodes(t)
	topic := newTopic()
	var wg sync.WaitGroup
	births := make([]position.Position, 8)
	ctx, cancel := context.WithTimeout(context.Background(), reconnect) // the first of all may have to set up what keeps histories
	defer cancel()
	for i := range births {
		h := []wsctl.HistoryBroker{a, b}[i%2]
		wg.Go(func() {
			var err error
			if _, births[i], _, err = sinceIn(ctx, h, topic, ""); err != nil {
				t.Errorf("Since: %v", err)
			}
		})
	}
	wg.Wait()
	birth := births[0]
	for _, p := range births {
		if p.Offset != 0 || p != birth {
			t.Fatalf("positions of a topic without messages: %v", births)
		}
	}
	if _, p, _ := since(t, b, topic, ""); p != birth {
		t.Fatalf("position of a topic without messages: %s after %s", p, birth)
	}
	if msgs, p, ok := since(t, b, topic, birth.String()); !ok || len(msgs) != 0 || p != birth {
		t.Fatalf("Since(%s) = %q, %s, %v", birth, msgs, p, ok)
	}
	l := listen(t, b, topic)
	at := birth
	for i := range 50 {
		text := fmt.Sprint(i)
		must(t, kept(a, topic, text))
		at.Offset++
		// It is there for everybody when PublishKeep has returned.
		if msgs, p, ok := since(t, b, topic, position.Position{Epoch: at.Epoch, Offset: at.Offset - 1}.String()); !ok || len(msgs) != 1 || msgs[0] != text || p != at {
			t.Fatalf("Since = %q, %s, %v after message %q at %s", msgs, p, ok, text, at)
		}
	}
	l.await(50)
	for i, d := range l.messages() {
		if want := (position.Position{Epoch: at.Epoch, Offset: uint64(i) + 1}); d.pos != want.String() || d.text != fmt.Sprint(i) {
			t.Fatalf("message %d is %q at %q, want %s", i, d.text, d.pos, want)
		}
	}
}

// testHistoryOrder has several publishers, and compares what comes with what is kept.
func testHistoryOrder(t *testing.T, s *brokerSuite) {
	a, b := s.historyNodes(t)
	topic := newTopic()
	_, birth, _ := since(t, a, topic, "")
	x, y := listen(t, a, topic), listen(t, b, topic)
	publish(t, a, b, topic, 8, 75, kept)
	msgs, newest, ok := since(t, b, topic, birth.String())
	if !ok || newest != (position.Position{Epoch: birth.Epoch, Offset: 600}) {
		t.Fatalf("Since(%s) = %d messages, %s, %v", birth, len(msgs), newest, ok)
	}
	ordered(t, msgs, 8, 75)
	for _, l := range []*listener{x, y} {
		l.await(600)
		for i, d := range l.messages() {
			if want := (position.Position{Epoch: birth.Epoch, Offset: uint64(i) + 1}); d.pos != want.String() || d.text != msgs[i] {
				t.Fatalf("%q came at %q, but %q is at %s", d.text, d.pos, msgs[i], want)
			}
		}
	}
	texts := sizes()
	for _, text := range texts {
		must(t, kept(a, topic, text))
	}
	msgs, _, _ = since(t, b, topic, newest.String())
	equal(t, msgs, texts)

	topic, texts = newTopic(), nil
	_, birth, _ = since(t, a, topic, "")
	for c := range 4 {
		texts = append(texts, strings.Repeat(string(rune('a'+c)), 512<<10))
		must(t, kept(a, topic, texts[c]))
	}
	msgs, _, _ = since(t, b, topic, birth.String())
	equal(t, msgs, texts)
}

// reader follows a topic's history as a hub does: it subscribes, asks for what it hasn't, and drops what it has.
type reader struct {
	t     *testing.T
	topic string
	at    position.Position
	got   []string // of at.Epoch, from offset 1 on
	lost  int      // how often history didn't go on at at

	h          wsctl.HistoryBroker
	l          *listener
	next       int // index in l.log
	gaps, told int
}

// newReader begins at the topic's birth.
func newReader(t *testing.T, h wsctl.HistoryBroker, topic string) *reader {
	t.Helper()
	_, birth, _ := since(t, h, topic, "")
	if birth.Offset != 0 {
		t.Fatalf("a topic begins at %s", birth)
	}
	return &reader{t: t, topic: topic, at: birth}
}

// start goes on, on node h.
func (r *reader) start(h wsctl.HistoryBroker) {
	r.t.Helper()
	r.h, r.l, r.next = h, listen(r.t, h, r.topic), 0
	r.ask()
}

// ask gets what is after r.at.
func (r *reader) ask() {
	r.t.Helper()
	var msgs []string
	var newest position.Position
	var ok bool
	eventually(r.t, "Since", func() (err error) {
		msgs, newest, ok, err = sinceSoon(r.t, r.h, r.topic, r.at.String())
		return err
	})
	if !ok {
		r.lost++
		r.got = nil
		if newest.Offset > 0 { // what is before is lost to this reader
			r.got = make([]string, newest.Offset)
		}
	}
	r.got, r.at = append(r.got, msgs...), newest
}

// step takes the next message or notice.
func (r *reader) step() {
	r.t.Helper()
	if !r.l.wait(reconnect, func() bool { return len(r.l.log) > r.next }) {
		r.t.Fatalf("nothing comes after %s", r.at)
	}
	r.l.mu.Lock()
	d := r.l.log[r.next]
	r.l.mu.Unlock()
	r.next++
	if len(d.msg) == 0 {
		r.told++
		r.ask()
		return
	}
	p, ok := position.Parse(d.pos)
	switch {
	case !ok || p.Offset == 0:
		r.t.Fatalf("position of a message: %q", d.pos)
	case p.Epoch != r.at.Epoch:
		r.ask()
	case p.Offset > r.at.Offset+1:
		r.gaps++
		r.ask()
	case p.Offset == r.at.Offset+1:
		r.got, r.at = append(r.got, d.text), p
	case r.got[p.Offset-1] != d.text && r.got[p.Offset-1] != "":
		r.t.Fatalf("%s is the position of %q and of %q", p, r.got[p.Offset-1], d.text)
	}
}

// testHistoryReader has a reader come and go on both nodes while others publish.
func testHistoryReader(t *testing.T, s *brokerSuite) {
	const publishers, count = 4, 100
	a, b := s.historyNodes(t)
	topic := newTopic()
	r := newReader(t, a, topic)
	ahead := make(chan struct{}, 40) // messages that the reader hasn't: it comes and goes among them
	done := make(chan struct{})
	go func() {
		defer close(done)
		publish(t, a, b, topic, publishers, count, func(b wsctl.Broker, topic, text string) error {
			ahead <- struct{}{}
			return kept(b, topic, text)
		})
	}()
	defer func() {
		for { // also when the reader has failed
			select {
			case <-ahead:
			case <-done:
				return
			}
		}
	}()
	dice, lives := rand.New(rand.NewPCG(1, 2)), 0
	for had := 0; had < publishers*count; lives++ {
		r.start([]wsctl.HistoryBroker{a, b}[dice.IntN(2)])
		for steps := dice.IntN(30); ; steps-- {
			for ; had < len(r.got); had++ {
				select {
				case <-ahead:
				case <-done: // the reader has more than was published
				}
			}
			if steps <= 0 || had >= publishers*count {
				break
			}
			r.step()
		}
		r.l.end()
	}
	<-done
	ordered(t, r.got, publishers, count)
	if r.lost > 0 || r.gaps > 0 && r.told == 0 {
		t.Errorf("the reader lost its place %d times, and found %d gaps of which it was told %d", r.lost, r.gaps, r.told)
	}
	t.Logf("%d subscriptions", lives)
}

func testHistoryPositions(t *testing.T, s *brokerSuite) {
	a, b := s.historyNodes(t)
	topic := newTopic()
	_, birth, _ := since(t, a, topic, "")
	publish(t, a, b, topic, 1, 10, kept)
	all, newest, _ := since(t, b, topic, birth.String())
	ordered(t, all, 1, 10)
	e := birth.Epoch
	for i := range 11 {
		msgs, p, ok := since(t, b, topic, fmt.Sprint(e, ".", i))
		if !ok || p != newest {
			t.Fatalf("Since offset %d of 10: %s, %v", i, p, ok)
		}
		equal(t, msgs, all[i:])
	}
	for _, pos := range []string{
		"x", ".", "..", e, e + ".", ".1", "." + e, e + ".-1", e + ".+1", e + ".1.2", e + ".x", e + ". 1", " " + e + ".1", e + ".1 ", e + ".1\x00",
		e + ".0x1", e + ".1e0", e + ".11", e + ".9223372036854775807", e + ".18446744073709551617", e + ".99999999999999999999999999999",
		"other.1", "0.0", e + "x.1", e[:len(e)-1] + ".1", e + "*.1", "*.1", ">", "\xff.1", "é.1", e + ".١", "$.0", strings.Repeat("9", 10<<10), e + "." + strings.Repeat("1", 10<<10),
	} {
		if _, p, ok := since(t, b, topic, pos); ok || p != newest {
			t.Errorf("Since(%.60q) = %s, %v; newest is %s", pos, p, ok, newest)
		}
	}
	if _, p, ok := since(t, b, topic, ""); !ok || p != newest {
		t.Errorf("Since(\"\") = %s, %v; newest is %s", p, ok, newest)
	}
}

// testHistoryMessages keeps a number of messages.
func testHistoryMessages(t *testing.T, s *brokerSuite) {
	a, b := s.historyNodes(t)
	topic, n := newTopic(), 0
	_, birth, _ := since(t, a, topic, "")
	publish := func(count, keep int) {
		for range count {
			must(t, keptAs(a, topic, fmt.Sprint(n), wsctl.Retention{Messages: keep}))
			n++
		}
	}
	check := func(keeps int) {
		t.Helper()
		from := n - keeps
		msgs, _, ok := since(t, b, topic, fmt.Sprint(birth.Epoch, ".", from))
		if !ok {
			t.Fatalf("the last %d of %d messages aren't kept", keeps, n)
		}
		for i, text := range msgs {
			if text != fmt.Sprint(from+i) {
				t.Fatalf("message %d is %q", from+i, text)
			}
		}
	}
	publish(5, 5)
	check(5)
	publish(15, 5)
	check(5)
	publish(95, 100) // more
	check(100)
	publish(1, 5) // fewer
	check(5)
	publish(300, 5)
	check(5)
	if _, _, ok := since(t, b, topic, fmt.Sprint(birth.Epoch, ".", n-300)); ok {
		t.Error("300 messages are kept of 5")
	}
}

// testHistoryAge keeps messages for a time.
func testHistoryAge(t *testing.T, s *brokerSuite) {
	const age = 2 * time.Second
	a, b := s.historyNodes(t)
	for _, keep := range []wsctl.Retention{{Age: age}, {Messages: 100, Age: age}} {
		topic := newTopic()
		r := newReader(t, a, topic)
		start := time.Now()
		for i := range 5 {
			must(t, keptAs(a, topic, fmt.Sprint("old ", i), keep))
		}
		timer := time.NewTimer(age / 4)
		<-timer.C
		msgs, old, ok := since(t, b, topic, r.at.String())
		if took := time.Since(start); !ok && took < age {
			t.Errorf("messages aren't kept for %v", took)
		} else if ok {
			equal(t, msgs, []string{"old 0", "old 1", "old 2", "old 3", "old 4"})
		}
		timer.Reset(age)
		<-timer.C
		start = time.Now()
		must(t, keptAs(a, topic, "new", keep))
		msgs, newest, ok := since(t, b, topic, old.String())
		took := time.Since(start)
		if newest == old || newest.Epoch == old.Epoch && newest.Offset != old.Offset+1 {
			t.Fatalf("the message after %s is at %s", old, newest)
		}
		if ok {
			equal(t, msgs, []string{"new"})
		} else if newest.Epoch == old.Epoch && took < age {
			t.Errorf("a message isn't kept for %v", took)
		}
		for deadline := time.Now().Add(patience); ; {
			_, _, ok := since(t, b, topic, r.at.String())
			if !ok {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("messages are kept %v longer than %v", patience, age)
			}
			timer.Reset(100 * time.Millisecond)
			<-timer.C
		}
	}
}

func testHistoryTopics(t *testing.T, s *brokerSuite) {
	a, b := s.historyNodes(t)
	topics := oddTopics()
	births := make([]position.Position, len(topics))
	for i, topic := range topics {
		_, births[i], _ = since(t, b, topic, "")
	}
	for _, topic := range topics {
		must(t, kept(a, topic, topic))
	}
	for i, topic := range topics {
		if msgs, p, ok := since(t, b, topic, births[i].String()); !ok || len(msgs) != 1 || msgs[0] != topic {
			t.Fatalf("topic %q: %q, %s, %v", topic, msgs, p, ok)
		}
	}
}
