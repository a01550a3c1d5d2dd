package membroker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl/internal/membroker"
)

// both runs a test of a Broker that is Direct, and of one that isn't.
func both(t *testing.T, fn func(t *testing.T, b *membroker.Broker)) {
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprint("Direct=", direct), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fn(t, &membroker.Broker{Direct: direct}) })
		})
	}
}

// ear notes what a subscription delivers.
type ear struct {
	mu  sync.Mutex // guards following
	got []string   // offset:message
}

func (e *ear) deliver(pos string, msg []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch _, offset, _ := strings.Cut(pos, "."); {
	case msg == nil:
		e.got = append(e.got, "missed")
	case pos == "":
		e.got = append(e.got, string(msg))
	default:
		e.got = append(e.got, offset+":"+string(msg))
	}
}

// want waits until nothing more comes.
func (e *ear) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.got, want) {
		t.Errorf("got %q, not %q", e.got, want)
	}
	e.got = nil
}

func listen(t *testing.T, b *membroker.Broker, topic string) (e *ear, stop func()) {
	t.Helper()
	e = &ear{}
	stop, err := b.Subscribe(t.Context(), topic, e.deliver)
	if err != nil {
		t.Fatal(err)
	}
	return e, stop
}

// keep publishes messages, of which the last so many are kept, for so long.
func keep(t *testing.T, b *membroker.Broker, topic string, messages int, age time.Duration, msgs ...string) {
	t.Helper()
	for _, msg := range msgs {
		own := []byte(msg)
		if err := b.PublishKeep(t.Context(), topic, own, messages, age); err != nil {
			t.Fatal(err)
		}
		clear(own) // it is the caller's again
	}
}

// since returns what is kept after a position, joined, or the newest position alone.
func since(t *testing.T, b *membroker.Broker, topic, pos string) (msgs, newest string, ok bool) {
	t.Helper()
	all, newest, ok, err := b.Since(t.Context(), topic, pos)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, msg := range all {
		texts = append(texts, string(msg))
	}
	return strings.Join(texts, " "), newest, ok
}

func TestPublish(t *testing.T) {
	both(t, func(t *testing.T, b *membroker.Broker) {
		one, stop := listen(t, b, "t")
		two, stopTwo := listen(t, b, "t")
		other, stopOther := listen(t, b, "T")
		msg := []byte("1")
		if err := b.Publish(t.Context(), "t", msg); err != nil {
			t.Fatal(err)
		}
		msg[0] = 'x' // it is the caller's again
		if b.Direct && len(one.got) != 1 {
			t.Error("Publish returned before the message was delivered")
		}
		one.want(t, "1")
		two.want(t, "1")
		other.want(t)
		stop()
		stop()
		if err := b.Publish(t.Context(), "t", []byte("2")); err != nil {
			t.Fatal(err)
		}
		one.want(t)
		two.want(t, "2")
		b.Missed("t")
		b.Missed("nobody's")
		two.want(t, "missed")
		stopTwo()
		stopOther()
		if n := b.Bytes(); n != 0 {
			t.Errorf("%d bytes are kept of nothing", n)
		}
	})
}

func TestSince(t *testing.T) {
	both(t, func(t *testing.T, b *membroker.Broker) {
		e, stop := listen(t, b, "t")
		defer stop()
		_, first, ok := since(t, b, "t", "")
		epoch, found := strings.CutSuffix(first, ".0")
		if !found || !ok {
			t.Fatalf("a topic without messages is at %q, %v", first, ok)
		}
		keep(t, b, "t", 3, 0, "a", "b", "c", "d")
		e.want(t, "1:a", "2:b", "3:c", "4:d")
		newest := epoch + ".4"
		for _, c := range []struct {
			pos, msgs string
			ok        bool
		}{
			{"", "", true},
			{newest, "", true},
			{epoch + ".3", "d", true},
			{epoch + ".1", "b c d", true},
			{first, "", false}, // a is forgotten
			{epoch + ".5", "", false},
			{"another.3", "", false},
			{epoch, "", false},
			{epoch + ".x", "", false},
			{"3", "", false},
		} {
			if msgs, at, ok := since(t, b, "t", c.pos); msgs != c.msgs || ok != c.ok || at != newest {
				t.Errorf("Since %q: %q, %q, %v", c.pos, msgs, at, ok)
			}
		}

		b.Forget("t")
		b.Forget("nobody's")
		if msgs, at, ok := since(t, b, "t", newest); ok || msgs != "" || strings.HasPrefix(at, epoch) || !strings.HasSuffix(at, ".0") {
			t.Errorf("after Forget: %q, %q, %v", msgs, at, ok)
		}
		keep(t, b, "t", 3, 0, "e")
		e.want(t, "1:e")
	})
}

func TestAge(t *testing.T) {
	both(t, func(t *testing.T, b *membroker.Broker) {
		_, start, _ := since(t, b, "t", "")
		keep(t, b, "t", 0, time.Minute, "a")
		time.Sleep(40 * time.Second)
		keep(t, b, "t", 0, time.Minute, "b")
		if msgs, _, ok := since(t, b, "t", start); !ok || msgs != "a b" {
			t.Errorf("%q, %v", msgs, ok)
		}
		time.Sleep(30 * time.Second)
		after := strings.TrimSuffix(start, "0") + "1"
		if _, _, ok := since(t, b, "t", start); ok {
			t.Error("a message older than its age is kept")
		}
		if msgs, _, ok := since(t, b, "t", after); !ok || msgs != "b" {
			t.Errorf("%q, %v", msgs, ok)
		}
		time.Sleep(40 * time.Second)
		if msgs, newest, ok := since(t, b, "t", after); ok || newest != strings.TrimSuffix(start, "0")+"2" {
			t.Errorf("%q, %q, %v: the position outlives the messages", msgs, newest, ok)
		}
	})
}

// TestExpiry has epochs outlive their last subscriber, publisher or asker by their age, or by 5 minutes where that is less.
func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		age, lives time.Duration
	}{{0, 5 * time.Minute}, {time.Minute, 5 * time.Minute}, {time.Hour, time.Hour}} {
		t.Run(fmt.Sprint(c.age), func(t *testing.T) {
			both(t, func(t *testing.T, b *membroker.Broker) {
				epoch := func() string {
					_, pos, _ := since(t, b, "t", "")
					before, _, _ := strings.Cut(pos, ".")
					return before
				}
				const moment = time.Second
				keep(t, b, "t", 10, c.age, "a")
				first := epoch()
				for range 3 { // asking prolongs it
					time.Sleep(c.lives - moment)
					if epoch() != first {
						t.Fatal("forgotten too soon")
					}
				}
				_, stop := listen(t, b, "t")
				time.Sleep(3 * c.lives)
				stop()
				time.Sleep(c.lives - moment)
				if epoch() != first {
					t.Fatal("forgotten too soon after the last subscriber")
				}
				time.Sleep(c.lives + moment)
				if epoch() == first {
					t.Error("not forgotten")
				}

				keep(t, b, "t", 10, c.age, "b")
				time.Sleep(c.lives + time.Minute) // nobody asks
				if n := b.Bytes(); n != 0 {
					t.Errorf("%d bytes are kept", n)
				}
			})
		})
	}
}

// TestLimit has more be published than may be kept.
func TestLimit(t *testing.T) {
	both(t, func(t *testing.T, b *membroker.Broker) {
		b.Limit = 100_000
		keeps := func(topic, pos string) bool {
			_, _, ok := since(t, b, topic, pos)
			return ok
		}
		start := map[string]string{}
		big := strings.Repeat("x", 9_000)
		for i := range 10 {
			topic := strconv.Itoa(i)
			_, start[topic], _ = since(t, b, topic, "")
			keep(t, b, topic, 0, 0, big)
		}
		_, stop := listen(t, b, "1")
		defer stop()
		since(t, b, "2", "") // now the last that is to go

		keep(t, b, "new", 0, 0, strings.Repeat("x", 20_000))
		if n := b.Bytes(); n > b.Limit || n < b.Limit-30_000 {
			t.Errorf("%d bytes are kept", n)
		}
		// 0 has waited the longest, then 3.
		for topic, want := range map[string]bool{"1": true, "2": true, "9": true, "0": false, "3": false} {
			if keeps(topic, start[topic]) != want {
				t.Errorf("topic %s is kept: %v", topic, !want)
			}
		}

		// One that has subscribers loses its oldest messages when it alone is left.
		var last string
		for range 100 {
			_, last, _ = since(t, b, "1", "")
			keep(t, b, "1", 0, 0, big)
			if n := b.Bytes(); n > b.Limit {
				t.Fatalf("%d bytes are kept", n)
			}
		}
		if keeps("1", start["1"]) || !keeps("1", last) {
			t.Error("the newest messages aren't kept, or the oldest are")
		}

		// Nothing of a message that is larger than all that may be kept stays, but it is delivered.
		e, stop2 := listen(t, b, "huge")
		defer stop2()
		keep(t, b, "huge", 0, 0, strings.Repeat("x", 2*b.Limit))
		if n := b.Bytes(); n > b.Limit {
			t.Errorf("%d bytes are kept", n)
		}
		if synctest.Wait(); len(e.got) != 1 {
			t.Error("it isn't delivered")
		}
	})
}

// TestStop has no delivery begin after stop, and stop wait for the one that runs.
func TestStop(t *testing.T) {
	b := &membroker.Broker{}
	begun := make(chan struct{})
	var stopped atomic.Bool
	stop, err := b.Subscribe(t.Context(), "t", func(string, []byte) {
		close(begun) // a second delivery would panic
		for range 10_000 {
			if runtime.Gosched(); stopped.Load() {
				t.Error("stop returned during a delivery")
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	keep(t, b, "t", 1, 0, "a", "b")
	<-begun
	stop()
	stopped.Store(true)
}

func TestContext(t *testing.T) {
	both(t, func(t *testing.T, b *membroker.Broker) {
		e, stop := listen(t, b, "t")
		defer stop()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		late, err := b.Subscribe(over, "t", func(string, []byte) { t.Error("delivered to nobody") })
		if !errors.Is(err, context.Canceled) || late != nil {
			t.Errorf("Subscribe: %v", err)
		}
		if err := b.Publish(over, "t", []byte("a")); !errors.Is(err, context.Canceled) {
			t.Errorf("Publish: %v", err)
		}
		if err := b.PublishKeep(over, "t", []byte("a"), 1, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("PublishKeep: %v", err)
		}
		if _, _, ok, err := b.Since(over, "t", ""); !errors.Is(err, context.Canceled) || ok {
			t.Errorf("Since: %v", err)
		}
		e.want(t)
	})
}

// TestConcurrent has many publish to few topics, while others come and go, ask and forget: all who listen to a topic get the
// same, each message once, and positions don't lie.
func TestConcurrent(t *testing.T) {
	both(t, func(t *testing.T, b *membroker.Broker) {
		const topics, publishers, each = 3, 4, 300
		b.Limit = 20_000
		type heard struct {
			mu  sync.Mutex // guards following
			at  map[string]string
			all []string // by one that was there from the beginning
		}
		var ears [topics]heard
		var stops []func()
		listen := func(i int, first bool) func() {
			h, last := &ears[i], ""
			stop, err := b.Subscribe(t.Context(), strconv.Itoa(i), func(pos string, msg []byte) {
				h.mu.Lock()
				defer h.mu.Unlock()
				if was, ok := h.at[pos]; ok && was != string(msg) {
					t.Errorf("%s is %s and %s", pos, was, msg)
				}
				h.at[pos] = string(msg)
				if follows(last, pos) == "" {
					t.Errorf("%s came after %s", pos, last)
				}
				if last = pos; first {
					h.all = append(h.all, string(msg))
				}
			})
			if err != nil {
				t.Error(err)
			}
			return stop
		}
		for i := range topics {
			ears[i].at = map[string]string{}
			stops = append(stops, listen(i, true))
		}
		var wg sync.WaitGroup
		for p := range publishers {
			wg.Go(func() {
				for n := range each {
					for i := range topics {
						keep(t, b, strconv.Itoa(i), 50, 0, fmt.Sprintf("%d-%d", p, n))
						keep(t, b, fmt.Sprint("idle", p, n%7), 5, 0, "x")
					}
				}
			})
		}
		for g := range 3 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 1))
				for range each {
					i := rng.IntN(topics)
					stop := listen(i, false)
					topic := strconv.Itoa(i)
					_, pos, _ := since(t, b, topic, "")
					all, newest, ok, err := b.Since(t.Context(), topic, pos)
					if err != nil || ok && follows(pos, newest) != fmt.Sprint(len(all)) {
						t.Errorf("%d messages from %s to %s, %v", len(all), pos, newest, err)
					}
					stop()
					b.Forget(fmt.Sprint("idle", g, 3))
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		for i := range topics {
			slices.Sort(ears[i].all)
			if all := slices.Compact(slices.Clone(ears[i].all)); len(all) != publishers*each || len(ears[i].all) != len(all) {
				t.Errorf("topic %d: %d messages, %d of them different", i, len(ears[i].all), len(all))
			}
		}
		if n := b.Bytes(); n > b.Limit {
			t.Errorf("%d bytes are kept", n)
		}
		for _, stop := range stops {
			stop()
		}
		time.Sleep(10 * time.Minute)
		if n := b.Bytes(); n != 0 {
			t.Errorf("%d bytes are kept of nothing", n)
		}
	})
}

// follows returns how far pos is after last, in the same epoch, or empty. What comes after nothing is 1 further.
func follows(last, pos string) string {
	if last == "" {
		return "1"
	}
	epoch, from, _ := strings.Cut(last, ".")
	other, to, _ := strings.Cut(pos, ".")
	a, _ := strconv.Atoi(from)
	if b, err := strconv.Atoi(to); err == nil && epoch == other && b >= a {
		return strconv.Itoa(b - a)
	}
	return ""
}
