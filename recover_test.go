package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
	"github.com/wsctl/wsctl/wsctltest"
)

// Two Joins of one socket at once recover once, whichever is first.
func TestTwoJoins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{Concurrency: 2})
		c := wsctltest.Dial(t, n1.handler, nil)
		keeper := wsctltest.Dial(t, n1.handler, nil)
		joined(keeper, t, "k")
		joined(c, t, "k")
		say(t, n1.hub.Room("k"), "1")
		expectSaid(c, t, "1")
		c.Cut()
		say(t, n1.hub.Room("k"), "2", "3")
		synctest.Wait()
		b1.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "Since" {
				time.Sleep(100 * time.Millisecond)
			}
			return call()
		})
		c.Reconnect()
		c.Send("Join", "k")
		c.Send("Join", "k")
		if pos, recovered := told(c, t, "k"); recovered != "true" {
			t.Fatalf("recovered %s at %s: 2 and 3 are lost", recovered, pos)
		}
		expectSaid(c, t, "2", "3")
	})
}

// A client that joins several rooms in OnOpen (or on a slow line), each with not quite half a SendBuffer of missed messages, isn't
// closed for it: what doesn't fit isn't recovered.
func TestRecoverySeveralRooms(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hub := &wsctl.Hub{History: keepTen}
		var fails atomic.Int32
		ctl := &kit{opened: func(s *wsctl.Socket, _ *http.Request) error {
			for _, room := range []string{"k1", "k2", "k3"} {
				if err := s.Join(room); err != nil {
					fails.Add(1)
					return nil
				}
			}
			return nil
		}}
		h, _ := newHandler(t, ctl, &wsctl.Options{Hub: hub, Resume: -1, SendBuffer: 10_000})
		c := wsctltest.Dial(t, h, nil)
		for _, r := range []string{"k1", "k2", "k3"} {
			told(c, t, r)
		}
		c.Cut()
		synctest.Wait()
		for _, r := range []string{"k1", "k2", "k3"} {
			say(t, hub.Room(r), strings.Repeat("x", 4500))
		}
		c.Reconnect()
		synctest.Wait()
		if fails.Load() > 0 {
			t.Errorf("Join failed; Closed: %v", h.Stats().Closed)
		}
		sctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = h.Shutdown(sctx)
	})
}

// Leave says $room null also where the queue has to be flushed first.
func TestLeaveUntold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hub := &wsctl.Hub{History: keepTen}
		ctl := &kit{}
		ctl.now = func(s *wsctl.Socket, data json.RawMessage) (any, error) {
			if string(data) == `"join"` {
				return nil, s.Join("k")
			}
			_ = s.Send("fill", strings.Repeat("x", 900))
			s.Leave("k")
			return nil, nil
		}
		h, _ := newHandler(t, ctl, &wsctl.Options{Hub: hub, Resume: -1, SendBuffer: 960})
		c := wsctltest.Dial(t, h, nil)
		c.Send("Now", "join")
		told(c, t, "k")
		c.Send("Now", "leave")
		wsctltest.Expect[string](c, "fill")
		synctest.Wait()
		if pos, recovered := told(c, t, "k"); pos != "" || recovered != "null" {
			t.Errorf("%s, %s", pos, recovered)
		}
		sctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = h.Shutdown(sctx)
	})
}

// In a herd, clients that are too far behind don't cost others their recovery.
func TestHerdOfTwoKinds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		var far, near []*wsctltest.Client
		for range 10 {
			c := wsctltest.Dial(t, lb, nil)
			joined(c, t, "k")
			far = append(far, c)
		}
		for range 10 {
			c := wsctltest.Dial(t, lb, nil)
			joined(c, t, "k")
			near = append(near, c)
		}
		say(t, n1.hub.Room("k"), "0")
		for _, c := range far {
			expectSaid(c, t, "0")
			c.Cut()
		}
		for i := range 15 {
			say(t, n1.hub.Room("k"), fmt.Sprint(i))
		}
		for _, c := range near {
			expectSaid(c, t, "0")
			for i := range 15 {
				expectSaid(c, t, fmt.Sprint(i))
			}
			c.Cut()
		}
		say(t, n1.hub.Room("k"), "last")
		lb.to.Store(n2.handler)
		b2.Calls(func(ctx context.Context, method, _ string, call func() error) error {
			if method == "Since" {
				time.Sleep(10 * time.Millisecond)
			}
			return call()
		})
		// One whom the others wait for, then everybody.
		for i := range 10 {
			far[i].Reconnect()
			near[i].Reconnect()
		}
		keeper := wsctltest.Dial(t, n2.handler, nil)
		joined(keeper, t, "k")
		for i := range 10 {
			far[i].Send("Join", "k")
			if i == 0 {
				synctest.Wait()
			}
		}
		for i := range 10 {
			near[i].Send("Join", "k")
		}
		synctest.Wait()
		for _, c := range far {
			if _, recovered := told(c, t, "k"); recovered != "false" {
				t.Error("far:", recovered)
			}
		}
		lost := 0
		for _, c := range near {
			if _, recovered := told(c, t, "k"); recovered != "true" {
				lost++
				continue
			}
			expectSaid(c, t, "last")
		}
		if lost > 0 {
			t.Errorf("%d of %d that missed one message weren't recovered", lost, len(near))
		}
	})
}

// One call that fails, for a reason of its own, costs nobody's recovery.
func TestDownForAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{})
		c, d := wsctltest.Dial(t, n1.handler, nil), wsctltest.Dial(t, n1.handler, nil)
		joined(c, t, "k")
		joined(d, t, "k")
		say(t, n1.hub.Room("k"), "1")
		expectSaid(c, t, "1")
		c.Cut()
		say(t, n1.hub.Room("k"), "2")
		synctest.Wait()
		b1.Calls(func(_ context.Context, method, topic string, call func() error) error {
			if topic == "rbig" {
				return errors.New("the message is too big for this broker")
			}
			return call()
		})
		time.Sleep(2900 * time.Millisecond)
		_ = n1.hub.Room("big").Send("said", "big")
		c.Reconnect()
		if pos, recovered := joined(c, t, "k"); recovered != "true" {
			t.Errorf("recovered %s at %s", recovered, pos)
		}
	})
}

// A client that can't join for a minute, since the broker is away, recovers when it can.
func TestRecallExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		c := wsctltest.Dial(t, lb, nil)
		joined(c, t, "k")
		say(t, n1.hub.Room("k"), "1")
		expectSaid(c, t, "1")
		c.Cut()
		lb.to.Store(n2.handler)
		say(t, n1.hub.Room("k"), "2")
		b2.Cut()
		c.Reconnect()
		for range 14 { // as it is told: try again later
			if err := c.Call("Join", "k", nil); err == nil {
				t.Fatal("joined")
			}
			time.Sleep(5 * time.Second)
		}
		b2.Reconnect()
		if pos, recovered := joined(c, t, "k"); recovered == "null" {
			t.Errorf("recovered %s at %s: 2 is lost, and nobody knows", recovered, pos)
		}
	})
}

// A message from which a client left itself out doesn't come to its new session, also where its node gets it after the join.
func TestExceptLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{Resume: 5 * time.Second})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		c := wsctltest.Dial(t, lb, nil)
		joined(c, t, "k")
		d := wsctltest.Dial(t, n2.handler, nil)
		joined(d, t, "k")
		var mu sync.Mutex
		var held []func()
		b2.Deliveries(func(topic, pos string, msg []byte, deliver func(string, []byte)) {
			if topic != "rk" {
				deliver(pos, msg)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			held = append(held, func() { deliver(pos, msg) })
		})
		c.Send("Others", said{"k", "mine"})
		synctest.Wait()
		c.Cut()
		lb.to.Store(n2.handler)
		c.Reconnect()
		joined(c, t, "k")
		mu.Lock()
		for _, f := range held {
			f()
		}
		mu.Unlock()
		expectSaid(d, t, "mine")
		c.Quiet()
	})
}

// A Join that has to write first what waits doesn't lose the position to another one that is faster.
func TestJoinFlushesFirst(t *testing.T) {
	for range 100 { // until it is that Join which writes, and not the end of a burst
		switch recovered := joinWhileFlushing(t); recovered {
		case "true", "false": // it is told
			return
		case "null":
			t.Fatal("message 1 is lost, and the client isn't told")
		}
	}
	t.Fatal("no Join has had to write first")
}

// joinWhileFlushing has a socket join twice, and returns what its client is told; empty: neither could join while the other wrote.
func joinWhileFlushing(t *testing.T) (recovered string) {
	bubble(t, func(t *testing.T) {
		hub := &wsctl.Hub{History: keepTen}
		flushing, release := make(chan struct{}), make(chan struct{})
		began, end := sync.OnceFunc(func() { close(flushing) }), sync.OnceFunc(func() { close(release) })
		var conn atomic.Pointer[tapped]
		ctl := &kit{ctx: func(_ context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) {
			if string(data) == `"A"` {
				hold := func(b []byte) (int, error) {
					began()
					<-release
					return conn.Load().Conn.TryWrite(b)
				}
				_ = s.Send("fill", strings.Repeat("x", 900))
				conn.Load().hold.Store(&hold)
				return nil, s.Join("k")
			}
			<-flushing
			err := s.Join("k")
			end()
			return nil, err
		}}
		h, _ := newHandler(t, ctl, &wsctl.Options{Hub: hub, Resume: -1, SendBuffer: 960, Concurrency: 2})
		d := wsctltest.Dial(t, newNode(t, hub, wsctl.Options{}).handler, nil)
		pos, _ := joined(d, t, "k")
		say(t, hub.Room("k"), "1")
		srv := serveOver(t, h, 0, func(c *mempipe.Conn) net.Conn {
			tc := &tapped{Conn: c}
			conn.Store(tc)
			return tc
		})
		c := srv.knock(t)
		c.send(`{"type":"$hello","data":{"try":1,"rooms":{"k":"` + pos + `"}}}`)
		c.welcomed()
		synctest.Wait()
		c.send(msg("Ctx", `"B"`), msg("Ctx", `"A"`))
		synctest.Wait()
		c.ws.SetReadDeadline(time.Now().Add(time.Second))
		for recovered == "" {
			_, b, err := c.ws.ReadMessage()
			if err != nil {
				break
			}
			if m := string(b); strings.Contains(m, `"$room"`) {
				_, after, _ := strings.Cut(m, `"recovered":`)
				recovered = strings.TrimRight(after, "}")
			}
		}
		began()
		end()
	})
	return recovered
}
