package wsctl_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

func TestBrokerAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		a, b := wsctltest.Dial(t, n1.handler, nil), wsctltest.Dial(t, n2.handler, nil)
		a2, b2 := wsctltest.Dial(t, n1.handler, nil), wsctltest.Dial(t, n2.handler, nil)
		joined(a, t, "k")
		joined(b, t, "k")
		for _, c := range []*wsctltest.Client{a2, b2} {
			if err := c.Call("Join", "r", nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // the beats of the beginning
		b1.Cut()
		if err := n1.hub.Room("r").Send("said", "local"); err == nil {
			t.Error("Send without a broker succeeded")
		}
		expectSaid(a2, t, "local")
		var e *wsctl.Error
		if err := n1.hub.Room("k").Send("said", "nobody"); !errors.As(err, &e) || e.Code != wsctl.CodeUnavailable {
			t.Errorf("Send to a room with history without a broker: %v", err)
		}
		a.Quiet()
		if !n1.handler.Stats().BrokerDown || n2.handler.Stats().BrokerDown {
			t.Error("Stats.BrokerDown is wrong")
		}
		err := a.Call("Join", "another", nil)
		if !errors.As(err, &e) || e.Code != wsctl.CodeUnavailable || strings.Contains(e.Message, "wsctltest") {
			t.Errorf("Join without a broker: %v", err)
		}
		// A newcomer is served, as far as this node can.
		c := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "cy"})
		if err := n1.hub.User("cy").Send("said", "hi"); err == nil {
			t.Error("Send to a user succeeded without a broker")
		}
		expectSaid(c, t, "hi")
		if _, recovered := joined(c, t, "k"); recovered != "null" {
			t.Error(recovered)
		}
		say(t, n2.hub.Room("k"), "1", "2")
		say(t, n2.hub.Room("r"), "lost")
		expectSaid(b, t, "1", "2")
		expectSaid(b2, t, "lost")
		a.Quiet()
		b1.Reconnect()
		// The gap of the room that keeps history is filled, members of the other are told.
		expectSaid(a, t, "1", "2")
		if pos, recovered := told(a2, t, "r"); pos != "" || recovered != "false" {
			t.Errorf("$room: %q, %s", pos, recovered)
		}
		expectSaid(c, t, "1", "2")
		a.Quiet()
		time.Sleep(10 * time.Second)
		say(t, n2.hub.User("cy"), "there") // its topic is subscribed by now
		expectSaid(c, t, "there")
		if n1.handler.Stats().BrokerDown {
			t.Error("Stats.BrokerDown")
		}
	})
}

// TestBrokerHangs has a broker that never answers: everything ends in bounded time, with an error or without the broker.
func TestBrokerHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		hangs := func(ctx context.Context, _, _ string, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		}
		b1.Calls(hangs)
		start := time.Now()
		took := func(what string, most time.Duration) {
			t.Helper()
			if d := time.Since(start); d > most {
				t.Errorf("%s took %v", what, d)
			}
			start = time.Now()
		}
		a := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		took("opening the first socket", 11*time.Second)
		a2 := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		took("opening the next", time.Second)
		if err := a.Call("Join", "k", nil); err == nil {
			t.Error("Join succeeded")
		}
		took("Join", 6*time.Second)
		if err := n1.hub.User("ann").Send("said", "hi"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send: %v", err)
		}
		took("Send", 6*time.Second)
		expectSaid(a, t, "hi")
		expectSaid(a2, t, "hi")
		b := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
		b1.Calls(nil)
		time.Sleep(10 * time.Second)
		say(t, n2.hub.User("ann"), "there")
		expectSaid(a, t, "there")
		a.Send("Join", "k")
		if _, recovered := told(a, t, "k"); recovered != "null" {
			t.Error(recovered)
		}
		b.Quiet()
		b1.Calls(hangs) // Shutdown ends nevertheless
	})
}

// TestBrokerStrange has strangers' bytes, another version's packets and malformed ones come from the broker.
func TestBrokerStrange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{})
		c := wsctltest.Dial(t, n1.handler, nil)
		joined(c, t, "k")
		if err := c.Call("Join", "r", nil); err != nil {
			t.Fatal(err)
		}
		keep := wsctl.Retention{Messages: 10}
		ctx := t.Context()
		strange := [][]byte{[]byte("x"), []byte(`{"type":"said","data":1}`), []byte("\xf5w\x01\x01"), []byte("\xf5w\x01\x01\x01n\x01\x00\x00{}"),
			[]byte("\xf5w\x01\x01\x01n\x01\x00\x00" + `{"type":"$ping"}`), []byte("\xf5w\x01\x01\x01n\x01\x00\x00" + `{"type":"said","id":3}`),
			[]byte("\xf5w\x01\x01\x01n\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), []byte("\xf5w\x02\x01\x01n\x01")}
		for _, topic := range []string{"a", "rr", "rk"} { // what isn't kept has no position
			for _, b := range strange {
				if err := b1.Publish(ctx, topic, b); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		c.Quiet()
		if n := n1.handler.Stats().BrokerErrors; n < 20 {
			t.Errorf("Stats.BrokerErrors: %d", n)
		}
		// In the history, a stranger's bytes take a position; what may have been for members is told.
		if err := b1.PublishKeep(ctx, "rk", strange[0], keep); err != nil {
			t.Fatal(err)
		}
		say(t, n1.hub.Room("k"), "1")
		expectSaid(c, t, "1")
		if err := b1.PublishKeep(ctx, "rk", strange[7], keep); err != nil {
			t.Fatal(err)
		}
		if at, recovered := told(c, t, "k"); recovered != "false" || offset(at) != "3" {
			t.Errorf("after a message of another version: %s, %s", at, recovered)
		}
		say(t, n1.hub.Room("k"), "2")
		expectSaid(c, t, "2")
		// So it is at recovery.
		c.Cut()
		if err := b1.PublishKeep(ctx, "rk", strange[0], keep); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.Reconnect()
		if at, recovered := joined(c, t, "k"); recovered != "true" || offset(at) != "4" {
			t.Errorf("recovery past a stranger's bytes: %s, %s", at, recovered)
		}
		if at, recovered := told(c, t, "k"); recovered != "null" || offset(at) != "5" {
			t.Errorf("position after a stranger's bytes: %s, %s", at, recovered)
		}
		c.Cut()
		if err := b1.PublishKeep(ctx, "rk", strange[7], keep); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.Reconnect()
		if at, recovered := joined(c, t, "k"); recovered != "false" || offset(at) != "6" {
			t.Errorf("recovery past another version: %s, %s", at, recovered)
		}
		c.Quiet()
	})
}

// TestBrokerWrong has a broker that answers with nonsense.
func TestBrokerWrong(t *testing.T) {
	for name, wrong := range map[string]func(newest string) ([][]byte, string, bool){
		"no position":          func(string) ([][]byte, string, bool) { return nil, "", true },
		"a malformed position": func(string) ([][]byte, string, bool) { return nil, "1.2.3", true },
		"too few messages":     func(string) ([][]byte, string, bool) { return nil, "e.1000", true },
		"too many":             func(n string) ([][]byte, string, bool) { return [][]byte{{1}, {2}}, n, true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := &wrongBroker{Broker: wsctltest.NewBroker()}
				n := newNode(t, &wsctl.Hub{Broker: b, History: keepTen}, wsctl.Options{})
				c := wsctltest.Dial(t, n.handler, nil)
				joined(c, t, "k")
				say(t, n.hub.Room("k"), "1")
				expectSaid(c, t, "1")
				c.Cut()
				say(t, n.hub.Room("k"), "2")
				synctest.Wait() // the node has it: else it has nothing to ask for
				b.wrong.Store(&wrong)
				c.Reconnect()
				if _, recovered := joined(c, t, "k"); recovered != "false" {
					t.Errorf("recovered: %s", recovered)
				}
				b.wrong.Store(nil)
				say(t, n.hub.Room("k"), "3")
				expectSaid(c, t, "3")
			})
		})
	}
}

type wrongBroker struct {
	*wsctltest.Broker
	wrong atomic.Pointer[func(newest string) ([][]byte, string, bool)]
}

func (b *wrongBroker) Since(ctx context.Context, topic, pos string) ([][]byte, string, bool, error) {
	msgs, newest, ok, err := b.Broker.Since(ctx, topic, pos)
	if wrong := b.wrong.Load(); wrong != nil {
		msgs, newest, ok = (*wrong)(newest)
	}
	return msgs, newest, ok, err
}

// TestSendTwice has a broker publish what it says it didn't: members of this node get it once.
func TestSendTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		a, b := wsctltest.Dial(t, n1.handler, nil), wsctltest.Dial(t, n2.handler, nil)
		for _, c := range []*wsctltest.Client{a, b} {
			if err := c.Call("Join", "r", nil); err != nil {
				t.Fatal(err)
			}
		}
		failure := errors.New("no answer")
		synctest.Wait() // the beats of the beginning
		var hold atomic.Bool
		b1.Deliveries(func(topic, pos string, msg []byte, deliver func(string, []byte)) {
			if topic == "rr" && hold.Swap(false) {
				time.Sleep(time.Second)
			}
			deliver(pos, msg)
		})
		for name, calls := range map[string]func(ctx context.Context, method, topic string, call func() error) error{
			"published late": func(_ context.Context, _, _ string, call func() error) error {
				hold.Store(true)
				_ = call()
				return failure
			},
			"published, and the answer lost": func(_ context.Context, _, _ string, call func() error) error {
				_ = call()
				time.Sleep(time.Second)
				return failure
			},
		} {
			b1.Calls(calls)
			err := n1.hub.Room("r").Send("said", name)
			if late := name == "published late"; late && !errors.Is(err, failure) || !late && err != nil {
				t.Errorf("%s: %v", name, err)
			}
			b1.Calls(nil)
			time.Sleep(2 * time.Second)
			expectSaid(a, t, name)
			expectSaid(b, t, name)
			a.Quiet()
			b.Quiet()
		}
	})
}

// TestTopics shows when a node subscribes to a room, and leaves it.
func TestTopics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, _ := twoNodes(t, wsctl.Options{})
		c := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		const base = 3 // all nodes, this one, Ann
		topics := func(want int) {
			t.Helper()
			if got := n1.handler.Stats().Topics; got != want {
				t.Errorf("%d topics, not %d", got, want)
			}
		}
		topics(base)
		for _, room := range []string{"r", "k"} {
			if err := c.Call("Join", room, nil); err != nil {
				t.Fatal(err)
			}
		}
		told(c, t, "k")
		topics(base + 2)
		c.Send("Leave", "r")
		time.Sleep(3 * time.Second)
		topics(base + 2)
		time.Sleep(6 * time.Second)
		topics(base + 1)
		c.Cut()
		time.Sleep(10 * time.Second)
		topics(base - 1)
		say(t, n1.hub.Room("k"), "nobody is here")
		topics(base - 1)
	})
}

// TestBrokerPanics has a broker panic wherever it is called: the process lives, and what was asked for has failed.
func TestBrokerPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &panickyBroker{Broker: wsctltest.NewBroker()}
		n := newNode(t, &wsctl.Hub{Broker: b, History: keepTen}, wsctl.Options{})
		c, d := wsctltest.Dial(t, n.handler, nil), wsctltest.Dial(t, n.handler, nil)
		joined(c, t, "k")
		joined(d, t, "k")
		if err := d.Call("Join", "r", nil); err != nil {
			t.Fatal(err)
		}
		say(t, n.hub.Room("k"), "1")
		expectSaid(c, t, "1")
		expectSaid(d, t, "1")
		b.panics.Store(true)
		b.Calls(func(_ context.Context, method, _ string, _ func() error) error { panic(method) })
		var e *wsctl.Error
		for _, room := range []string{"k", "r"} {
			if err := n.hub.Room(room).Send("said", room); !errors.As(err, &e) || e.Code != wsctl.CodeUnavailable {
				t.Errorf("Send to %s: %v", room, err)
			}
		}
		expectSaid(d, t, "r") // local members get it, where nothing is kept
		if err := c.Call("Join", "another", nil); !errors.As(err, &e) || e.Code != wsctl.CodeUnavailable {
			t.Errorf("Join: %v", err)
		}
		c.Cut()
		d.Send("Leave", "r")
		synctest.Wait()
		b.Cut()
		b.Reconnect()               // has the history asked for what was missed
		time.Sleep(2 * time.Minute) // beats, a subscription ends, the session too
		if c.Reconnect() {
			t.Error("the session goes on")
		}
		if _, recovered := joined(c, t, "k"); recovered != "true" { // there was nothing: it needs no history
			t.Errorf("recovered: %s", recovered)
		}
		if n := n.handler.Stats(); n.BrokerErrors < 20 || !n.BrokerDown || n.Panics != 0 || b.stops.Load() == 0 {
			t.Errorf("%d errors, down %t, %d panics, %d subscriptions ended", n.BrokerErrors, n.BrokerDown, n.Panics, b.stops.Load())
		}
		b.panics.Store(false)
		b.Calls(nil)
		time.Sleep(10 * time.Second)
		say(t, n.hub.Room("k"), "2")
		expectSaid(c, t, "2")
		expectSaid(d, t, "2")
		b.panics.Store(true) // at the end as well
		b.Calls(func(_ context.Context, method, _ string, _ func() error) error { panic(method) })
	})
}

// panickyBroker panics when a subscription ends, once it has.
type panickyBroker struct {
	*wsctltest.Broker
	panics atomic.Bool
	stops  atomic.Int64 // that have panicked
}

func (b *panickyBroker) Subscribe(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
	end, err := b.Broker.Subscribe(ctx, topic, deliver)
	if err != nil {
		return nil, err
	}
	return func() {
		if end(); b.panics.Load() {
			b.stops.Add(1)
			panic("stop")
		}
	}, nil
}
