package wsctl_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// Members of more than a part, with a broker that brings everything twice.
func TestMembersTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 1)
		crowd(t, n2, "r", 450)
		time.Sleep(5 * time.Second)
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			deliver(pos, msg)
			deliver(pos, msg)
		})
		start := time.Now()
		m, err := n1.hub.Room("r").Members(t.Context())
		if err != nil || len(m) != 451 {
			t.Errorf("%d, %v after %v", len(m), err, time.Since(start))
		}
	})
}

// The last part of an answer is lost once: it is asked for again.
func TestMembersTailLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 1)
		crowd(t, n2, "r", 450)
		time.Sleep(5 * time.Second)
		n := 0
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			if msg[3] == pktMembers {
				if n++; n == 3 {
					return
				}
			}
			deliver(pos, msg)
		})
		start := time.Now()
		m, err := n1.hub.Room("r").Members(t.Context())
		if took := time.Since(start); err != nil || len(m) != 451 || took > 2500*time.Millisecond {
			t.Errorf("%d, %v after %v", len(m), err, took)
		}
	})
}

// A client that was closed with its room comes back to a node that is behind: it isn't closed again.
func TestClosedTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		stay := wsctltest.Dial(t, n2.handler, nil)
		joined(stay, t, "k")
		lb := &balancer{}
		lb.to.Store(n1.handler)
		c := wsctltest.Dial(t, lb, nil)
		joined(c, t, "k")
		b2.Cut()
		say(t, n1.hub.Room("k"), "1")
		expectSaid(c, t, "1")
		if err := n1.hub.Room("k").Close(4001, "over"); err != nil {
			t.Fatal(err)
		}
		if pos, recovered := told(c, t, "k"); offset(pos) != "2" || recovered != "null" {
			t.Errorf("before the close: %s, %s", pos, recovered)
		}
		if ce := c.Closed(); ce.Code != 4001 {
			t.Fatal(ce)
		}
		lb.to.Store(n2.handler)
		c.Reconnect()
		if pos, recovered := joined(c, t, "k"); offset(pos) != "2" || recovered != "true" {
			t.Errorf("after the close: %s, %s", pos, recovered)
		}
		b2.Reconnect()
		expectSaid(stay, t, "1")
		if pos, _ := told(stay, t, "k"); offset(pos) != "2" {
			t.Errorf("on the other node: %s", pos)
		}
		if ce := stay.Closed(); ce.Code != 4001 {
			t.Fatal(ce)
		}
		synctest.Wait()
		c.Quiet()
		if err := c.Call("ID", nil, nil); err != nil {
			t.Errorf("who was closed with the room before is closed again: %v", err)
		}
	})
}

// A hub without sockets, that only asks, knows of all members.
func TestRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, n2 := twoNodes(t, wsctl.Options{})
		for range 3 {
			crowd(t, n2, "r", 1)
			m, err := n1.hub.Room("r").Members(t.Context())
			if err != nil || len(m) == 0 {
				t.Errorf("%d, %v", len(m), err)
			}
			time.Sleep(5 * time.Minute)
		}
		v := watchRoom(t, n1.hub.Room("r"))
		time.Sleep(5 * time.Second)
		if v.size() != 3 {
			t.Error(v.size())
		}
		v.cancel()
		time.Sleep(5 * time.Minute)
		crowd(t, n1, "r", 1)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if m, err := n2.hub.Room("r").Members(ctx); err != nil || len(m) != 4 {
			t.Errorf("%d, %v", len(m), err)
		}
	})
}

// Of two handlers on one hub one is shut down: the other goes on.
func TestTwoHandlers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, n2 := twoNodes(t, wsctl.Options{})
		n1b := newNode(t, n1.hub, wsctl.Options{})
		crowd(t, n1, "r", 2)
		crowd(t, n1b, "r", 1)
		v := watchRoom(t, n2.hub.Room("r"))
		time.Sleep(2 * time.Second)
		if v.size() != 3 {
			t.Error(v.size())
		}
		if err := n1.handler.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if v.size() != 1 {
			t.Error(v.size())
		}
		m, err := n2.hub.Room("r").Members(t.Context())
		if err != nil || len(m) != 1 {
			t.Error(m, err)
		}
		if err := n1b.handler.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if v.size() != 0 {
			t.Error(v.size())
		}
		v.cancel()
	})
}

// A node that begins asks who is there when it hears the answers: not before it has subscribed to what others say.
func TestMembersOfANewNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n2, "r", 2)
		b1.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "Subscribe" {
				time.Sleep(300 * time.Millisecond)
			}
			return call()
		})
		if m, err := n1.hub.Room("r").Members(t.Context()); err != nil || len(m) != 2 {
			t.Errorf("%d, %v", len(m), err)
		}
	})
}
