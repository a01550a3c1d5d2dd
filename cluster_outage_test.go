package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// deafUser returns a node, and a user of it, Cy, whose topic isn't subscribed: the broker was away when the client came.
func deafUser(t *testing.T) (*wsctltest.Broker, *node, *wsctltest.Client) {
	t.Helper()
	b1, _, n1, _ := twoNodes(t, wsctl.Options{})
	_ = wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
	b1.Cut()
	c := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "cy"})
	b1.Reconnect()
	return b1, n1, c
}

// After an outage, until its topic is subscribed, a user on this very node gets what is sent from this node, and is closed.
func TestLocalUserDeaf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, n1, c := deafUser(t)
		if err := n1.hub.User("cy").Send("said", "hi"); err != nil {
			t.Fatal(err)
		}
		expectSaid(c, t, "hi")
		time.Sleep(10 * time.Second)
		c.Quiet()
	})
}

func TestLocalUserNotClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, n1, c := deafUser(t)
		if err := n1.hub.User("cy").Close(4003, "banned"); err != nil {
			t.Fatal(err)
		}
		if ce := c.Closed(); ce.Code != 4003 {
			t.Error(ce)
		}
	})
}

// So it does if the topic is subscribed while what is sent is on its way.
func TestLocalUserDeafMeanwhile(t *testing.T) {
	for _, closes := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			b1, n1, c := deafUser(t)
			b1.Calls(func(_ context.Context, method, topic string, call func() error) error {
				err := call()
				if method == "Publish" && topic == "ucy" { // its answer takes a while
					time.Sleep(4 * time.Second)
				}
				return err
			})
			if closes {
				if err := n1.hub.User("cy").Close(4003, "banned"); err != nil {
					t.Fatal(err)
				}
				if ce := c.Closed(); ce.Code != 4003 {
					t.Error(ce)
				}
				return
			}
			if err := n1.hub.User("cy").Send("said", "hi"); err != nil {
				t.Fatal(err)
			}
			expectSaid(c, t, "hi")
			time.Sleep(10 * time.Second)
			c.Quiet()
		})
	}
}

// Members of several rooms, the gaps of all of which are filled at once, aren't closed as slow.
func TestGapsTooBig(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{SendBuffer: 64 << 10})
		var all []*wsctltest.Client
		for range 5 {
			c := wsctltest.Dial(t, n2.handler, nil)
			for i := range 8 {
				joined(c, t, fmt.Sprint("k", i))
			}
			all = append(all, c)
		}
		b2.Cut()
		for i := range 8 {
			say(t, n1.hub.Room(fmt.Sprint("k", i)), strings.Repeat("x", 30_000))
		}
		b2.Reconnect()
		for _, c := range all {
			for range 8 {
				wsctltest.Expect[string](c, "said")
			}
			c.Quiet()
		}
	})
}

// Where Since alone fails for good, joins of clients that come back don't wait for it each time.
func TestSinceAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{})
		c := wsctltest.Dial(t, n1.handler, nil)
		keeper := wsctltest.Dial(t, n1.handler, nil)
		rooms := []string{"k1", "k2", "k3", "k4"}
		for _, r := range rooms {
			joined(keeper, t, r)
			joined(c, t, r)
		}
		c.Cut()
		for _, r := range rooms {
			say(t, n1.hub.Room(r), "1")
		}
		b1.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "Since" {
				return errors.New("no permission")
			}
			return call()
		})
		time.Sleep(time.Minute)
		c.Reconnect()
		start := time.Now()
		for _, r := range rooms {
			joined(c, t, r)
		}
		if d := time.Since(start); d > 6*time.Second {
			t.Errorf("%d joins took %v", len(rooms), d)
		}
	})
}

// A New that panics isn't counted: its hub ends with the other handlers.
func TestNewPanicsUncounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &countedBroker{Broker: wsctltest.NewBroker()}
		hub := &wsctl.Hub{Broker: b}
		func() {
			defer func() { _ = recover() }()
			wsctl.New(doorman{}, &wsctl.Options{Hub: hub, Origins: []string{"["}, SendBuffer: -1})
			t.Error("New didn't panic")
		}()
		h, _ := newHandler(t, doorman{}, &wsctl.Options{Hub: hub, Resume: -1})
		_ = wsctltest.Dial(t, h, nil)
		_ = h.Shutdown(t.Context())
		if n := b.open.Load(); n > 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

// Who asks with a short ctx, or gives up, doesn't make the broker down.
func TestImpatientMembers(t *testing.T) {
	for name, with := range map[string]func(ctx context.Context) (context.Context, context.CancelFunc){
		"timeout": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 20*time.Millisecond)
		},
		"canceled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
				_ = wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
				_ = wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
				time.Sleep(5500 * time.Millisecond)
				b1.Calls(func(ctx context.Context, method, _ string, call func() error) error {
					if method == "Publish" {
						if err := pause(ctx, 50*time.Millisecond); err != nil {
							return err
						}
					}
					return call()
				})
				ctx, cancel := with(t.Context())
				defer cancel()
				if _, err := n1.hub.Everyone().Members(ctx); err == nil {
					t.Fatal("no error")
				}
				if n1.handler.Stats().BrokerDown {
					t.Error("Stats.BrokerDown")
				}
				c := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "cy"})
				say(t, n2.hub.User("cy"), "1")
				expectSaid(c, t, "1")
			})
		})
	}
}

// A broker that does one thing and not another doesn't fill the log.
func TestOutagesInTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := wsctltest.NewBroker()
		log := &logBuffer{}
		n := newNode(t, &wsctl.Hub{Broker: b, History: keepTen}, wsctl.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
		b.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "PublishKeep" {
				return errors.New("out of memory")
			}
			return call()
		})
		for i := range 200 {
			if err := n.hub.Room("k").Send("said", i); err == nil {
				t.Fatal("sent")
			}
			say(t, n.hub.Room("r"), "x")
			if i == 99 {
				time.Sleep(time.Minute)
			}
		}
		if !n.handler.Stats().BrokerDown {
			t.Error("Stats.BrokerDown: it can't keep anything")
		}
		b.Calls(nil)
		say(t, n.hub.Room("k"), "x")
		if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); len(lines) != 3 || !strings.Contains(lines[1], "out of memory") || !strings.Contains(lines[2], "is back") {
			t.Errorf("%d lines: %.1000q", len(lines), lines)
		}
		if n.handler.Stats().BrokerDown {
			t.Error("Stats.BrokerDown")
		}
	})
}

// A client that is lost, with a full queue, costs other members of its rooms nothing when gaps are filled.
func TestGapsOneParked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rooms = 100
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{SendBuffer: 64 << 10, Resume: time.Minute})
		slow, fast := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "slow"}), wsctltest.Dial(t, n2.handler, nil)
		for i := range rooms {
			joined(slow, t, fmt.Sprint("k", i))
			joined(fast, t, fmt.Sprint("k", i))
		}
		time.Sleep(time.Second)
		slow.Cut()
		time.Sleep(time.Second)
		say(t, n2.hub.User("slow"), strings.Repeat("x", 40<<10)) // more than half of what may wait
		time.Sleep(time.Second)
		b2.Cut()
		for i := range rooms {
			say(t, n1.hub.Room(fmt.Sprint("k", i)), "1")
		}
		start := time.Now()
		b2.Reconnect()
		for n := 0; n < rooms; n++ {
			wsctltest.Expect[string](fast, "said")
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%d rooms had their gaps filled after %v, since one member's client is away", rooms, d)
		}
	})
}
