package wsctltest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

var ctx = context.Background()

// ear notes what comes: messages with their offsets, and "?" where some may have been missed.
type ear struct {
	stop func()

	mu  sync.Mutex // guards following
	got []string
}

func listen(t *testing.T, b wsctl.Broker, topic string) *ear {
	t.Helper()
	e := new(ear)
	stop, err := b.Subscribe(ctx, topic, func(pos string, msg []byte) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if msg == nil {
			msg = []byte("?")
		}
		e.got = append(e.got, string(msg))
	})
	if err != nil {
		t.Fatal(err)
	}
	e.stop = stop
	t.Cleanup(stop)
	return e
}

// expect waits until nothing more can come.
func (e *ear) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.got, want) {
		t.Fatalf("got %q, want %q", e.got, want)
	}
	e.got = nil
}

func send(t *testing.T, b wsctl.HistoryBroker, topic string, msgs ...string) {
	t.Helper()
	for _, msg := range msgs {
		if err := b.PublishKeep(ctx, topic, []byte(msg), wsctl.Retention{Messages: 10}); err != nil {
			t.Fatal(err)
		}
	}
}

func since(t *testing.T, b wsctl.HistoryBroker, topic, pos string) (msgs []string, newest string, ok bool) {
	t.Helper()
	raw, newest, ok, err := b.Since(ctx, topic, pos)
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range raw {
		msgs = append(msgs, string(msg))
	}
	return msgs, newest, ok
}

// A node loses its broker, and the others go on.
func TestBrokerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := wsctltest.NewBroker()
		b := a.Node()
		x, y, z := listen(t, a, "t"), listen(t, b, "t"), listen(t, a, "other")
		_, start, _ := since(t, a, "t", "")
		send(t, b, "t", "1")
		x.expect(t, "1")
		a.Cut()
		for what, err := range map[string]error{
			"Publish":     a.Publish(ctx, "t", []byte("x")),
			"PublishKeep": a.PublishKeep(ctx, "t", []byte("x"), wsctl.Retention{Messages: 1}),
			"Subscribe":   second(a.Subscribe(ctx, "t", func(string, []byte) { t.Error("called") })),
			"Since":       fourth(a.Since(ctx, "t", "")),
		} {
			if err == nil {
				t.Errorf("%s succeeds while the node is cut off", what)
			}
		}
		send(t, b, "t", "2")
		x.expect(t)
		b.Cut()
		b.Reconnect()
		x.expect(t)
		y.expect(t, "1", "2", "?")
		a.Reconnect()
		send(t, a, "t", "3")
		x.expect(t, "?", "3")
		y.expect(t, "3")
		z.expect(t, "?")
		if msgs, _, ok := since(t, a, "t", start); !ok || !slices.Equal(msgs, []string{"1", "2", "3"}) {
			t.Errorf("Since: %q, %v", msgs, ok)
		}
		x.stop()
		a.Cut()
		a.Reconnect()
		x.expect(t)
	})
}

func second[A any](_ A, err error) error                 { return err }
func fourth[A, B, C any](_ A, _ B, _ C, err error) error { return err }

func TestBrokerForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := wsctltest.NewBroker()
		b := a.Node()
		_, start, _ := since(t, a, "t", "")
		send(t, b, "t", "1")
		a.Forget()
		if msgs, newest, ok := since(t, b, "t", start); ok || len(msgs) > 0 || newest == start {
			t.Errorf("Since: %q, %s, %v", msgs, newest, ok)
		}
	})
}

// Messages get lost, come twice and out of order.
func TestBrokerDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := wsctltest.NewBroker()
		b := a.Node()
		x, y := listen(t, a, "t"), listen(t, b, "t")
		var late func()
		a.Deliveries(func(topic, pos string, msg []byte, deliver func(pos string, msg []byte)) {
			if topic != "t" || pos == "" {
				t.Errorf("topic %q, position %q", topic, pos)
			}
			switch string(msg) {
			case "lost":
			case "twice":
				deliver(pos, msg)
				deliver(pos, msg)
			case "late":
				late = func() { deliver(pos, msg) }
			case "next":
				deliver(pos, msg)
				late()
			}
		})
		send(t, b, "t", "lost", "twice", "late", "next")
		x.expect(t, "twice", "twice", "next", "late")
		y.expect(t, "lost", "twice", "late", "next")
		a.Deliveries(nil)
		send(t, b, "t", "lost")
		x.expect(t, "lost")
	})
}

// Calls wait, fail, and fail though they have succeeded.
func TestBrokerCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := wsctltest.NewBroker()
		release, bad := make(chan struct{}), errors.New("bad")
		a.Calls(func(ctx context.Context, method, topic string, call func() error) error {
			switch {
			case topic != "t":
				return bad
			case method == "PublishKeep":
				_ = call()
				return bad
			case method == "Publish":
				select {
				case <-release:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return call()
		})
		x := listen(t, a, "t")
		if err := a.Publish(ctx, "other", []byte("x")); err != bad {
			t.Error(err)
		}
		if err := a.PublishKeep(ctx, "t", []byte("1"), wsctl.Retention{Messages: 1}); err != bad {
			t.Error(err)
		}
		x.expect(t, "1")
		short, cancel := context.WithCancel(ctx)
		for _, ctx := range []context.Context{short, ctx} {
			go func() { _ = a.Publish(ctx, "t", []byte("2")) }()
		}
		cancel()
		x.expect(t)
		close(release)
		x.expect(t, "2")
		a.Calls(nil)
		send(t, a, "other", "3")
	})
}

// A subscription that fails after all isn't called.
func TestBrokerSubscribeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := wsctltest.NewBroker()
		bad := errors.New("bad")
		a.Calls(func(_ context.Context, _, _ string, call func() error) error {
			if err := call(); err != nil {
				return err
			}
			return bad
		})
		if _, err := a.Subscribe(ctx, "t", func(string, []byte) { t.Error("called") }); err != bad {
			t.Error(err)
		}
		a.Calls(nil)
		send(t, a, "t", "1")
		a.Reconnect()
		synctest.Wait()
	})
}
