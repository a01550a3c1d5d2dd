package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// Two Joins have both looked up the position; one is done, the socket leaves, and the other doesn't recover once more.
func TestTwoJoinsAndLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{Concurrency: 4})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		c := wsctltest.Dial(t, lb, nil)
		keeper := wsctltest.Dial(t, n2.handler, nil)
		joined(keeper, t, "k")
		joined(c, t, "k")
		b2.Deliveries(func(topic, pos string, msg []byte, deliver func(string, []byte)) {
			if topic != "rk" { // n2 is behind
				deliver(pos, msg)
			}
		})
		say(t, n1.hub.Room("k"), "1", "2")
		expectSaid(c, t, "1", "2")
		c.Cut()
		lb.to.Store(n2.handler)
		var n atomic.Int32
		b2.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "Since" {
				if n.Add(1) == 1 {
					time.Sleep(time.Second)
				} else {
					time.Sleep(3 * time.Second)
				}
			}
			return call()
		})
		c.Reconnect()
		c.Send("Join", "k")
		c.Send("Join", "k")
		if _, recovered := told(c, t, "k"); recovered != "true" {
			t.Fatal(recovered)
		}
		c.Send("Leave", "k")
		if pos, _ := told(c, t, "k"); pos != "" {
			t.Fatal(pos)
		}
		time.Sleep(10 * time.Second)
		if pos, recovered := told(c, t, "k"); recovered != "null" {
			t.Errorf("the position is used twice: %s, %s", pos, recovered)
		}
	})
}

// A room whose publishing fails now and then doesn't keep dead nodes alive.
func TestFlapKeepsDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		a := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		b := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
		_, _ = a, b
		time.Sleep(5 * time.Second)
		b1.Calls(func(_ context.Context, _, topic string, call func() error) error {
			if topic == "rbig" {
				return errors.New("the message is too big for this broker")
			}
			return call()
		})
		b2.Cut() // it dies
		for range 20 {
			_ = n1.hub.Room("big").Send("said", "big")
			time.Sleep(4 * time.Second)
		}
		start := time.Now()
		members, err := n1.hub.Everyone().Members(t.Context())
		if err != nil || len(members) != 1 || time.Since(start) > 2*time.Second {
			t.Errorf("80 s after its death: %v, %v after %v", members, err, time.Since(start))
		}
		b2.Reconnect()
	})
}

// A node says goodbye also where Shutdown's ctx ends, as with methods that stream for ever.
func TestNoBye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := wsctltest.NewBroker()
		other := newNode(t, &wsctl.Hub{Broker: b.Node()}, wsctl.Options{})
		a := wsctltest.Dial(t, other.handler, nil)
		ctl := &kit{}
		ctl.ctx = func(ctx context.Context, s *wsctl.Socket, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			return nil, nil
		}
		h, _ := newHandler(t, ctl, &wsctl.Options{Hub: &wsctl.Hub{Broker: b}, Resume: -1})
		c := wsctltest.Dial(t, h, nil)
		c.Send("Ctx", nil)
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = h.Shutdown(ctx)
		synctest.Wait()
		start := time.Now()
		members, err := other.hub.Everyone().Members(t.Context())
		if err != nil || len(members) != 1 || time.Since(start) > 2*time.Second {
			t.Errorf("%v, %v after %v", members, err, time.Since(start))
		}
		_ = a
	})
}

// Joins survive a hub that ends just when their topic is open.
func TestOpenedAtStop(t *testing.T) {
	for range 300 {
		bubble(t, func(t *testing.T) {
			b := wsctltest.NewBroker()
			hub := &wsctl.Hub{Broker: b}
			var socket atomic.Pointer[wsctl.Socket]
			ctl := &kit{opened: func(s *wsctl.Socket, _ *http.Request) error { socket.Store(s); return nil }}
			ctl.ctx = func(ctx context.Context, s *wsctl.Socket, _ json.RawMessage) (any, error) {
				<-ctx.Done()
				return nil, nil
			}
			h, _ := newHandler(t, ctl, &wsctl.Options{Hub: hub, Resume: -1})
			c := wsctltest.Dial(t, h, nil)
			c.Send("Ctx", nil)
			synctest.Wait()
			b.Calls(func(_ context.Context, method, topic string, call func() error) error {
				err := call()
				if method == "Subscribe" {
					time.Sleep(time.Second)
				}
				return err
			})
			var joins sync.WaitGroup
			for range 40 {
				joins.Go(func() {
					defer func() {
						if p := recover(); p != nil {
							t.Error("panic: ", p)
						}
					}()
					_ = socket.Load().Join("r")
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_ = h.Shutdown(ctx)
			joins.Wait()
		})
		if t.Failed() {
			return
		}
	}
}

// One failed call, for a reason of its own, doesn't have the next user's topic wait.
func TestUserTopicWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		_ = wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		_ = wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
		time.Sleep(5 * time.Second)
		b1.Calls(func(_ context.Context, _, topic string, call func() error) error {
			if topic == "rbig" {
				return errors.New("the message is too big for this broker")
			}
			return call()
		})
		_ = n1.hub.Room("big").Send("said", "big")
		c := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "cy"})
		say(t, n2.hub.User("cy"), "1")
		expectSaid(c, t, "1")
	})
}
