package wsctl_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// Kinds of packets, by the fourth byte.
const (
	pktBeat    = 5
	pktAsk     = 6
	pktMembers = 7
	pktChange  = 8
)

// crowd has n sockets join a room of a node, and returns them.
func crowd(t *testing.T, n *node, room string, count int) (all []*wsctltest.Client) {
	t.Helper()
	for range count {
		c := wsctltest.Dial(t, n.handler, nil)
		c.Send("Join", room)
		all = append(all, c)
	}
	synctest.Wait()
	return all
}

// viewer watches a room and keeps who is in it.
type viewer struct {
	mu      sync.Mutex
	members map[string]bool
	doubles int
	cancel  func()
	done    chan struct{}
}

func watchRoom(t *testing.T, r wsctl.Room) *viewer {
	ctx, cancel := context.WithCancel(context.Background())
	v := &viewer{members: map[string]bool{}, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(v.done)
		for p, err := range r.Watch(ctx) {
			if err != nil {
				t.Error(err)
				return
			}
			v.mu.Lock()
			if v.members[p.Socket] == p.Joined {
				v.doubles++
			}
			if p.Joined {
				v.members[p.Socket] = true
			} else {
				delete(v.members, p.Socket)
			}
			v.mu.Unlock()
		}
	}()
	t.Cleanup(cancel)
	return v
}

func (v *viewer) size() int {
	synctest.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.members)
}

// An answer that gets lost, as any message of Publish may, is asked for again.
func TestMembersAnswerLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 1)
		crowd(t, n2, "r", 1)
		time.Sleep(5 * time.Second)
		lost := false
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			if msg[3] == pktMembers && !lost {
				lost = true
				return
			}
			deliver(pos, msg)
		})
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		m, err := n1.hub.Room("r").Members(ctx)
		if took := time.Since(start); !lost || took > 11*time.Second {
			t.Errorf("Members took %v: %v, %v", took, m, err)
		}
	})
}

// A part of an answer to a watcher that gets lost is asked for again.
func TestWatchPartLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 1)
		crowd(t, n2, "r", 1100)
		time.Sleep(5 * time.Second)
		lost := 0
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			if msg[3] == pktMembers && lost == 0 {
				lost++
				return
			}
			deliver(pos, msg)
		})
		v := watchRoom(t, n1.hub.Room("r"))
		time.Sleep(3 * time.Minute)
		if n := v.size(); n != 1101 || lost != 1 {
			t.Errorf("after 3 min the watcher knows of %d members, not 1101", n)
		}
		v.cancel()
	})
}

// The parts of an answer that come out of order make no ghosts.
func TestWatchPartsSwapped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 1)
		all := crowd(t, n2, "r", 1100)
		time.Sleep(5 * time.Second)
		var kept func()
		swapped := false
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			if msg[3] == pktMembers && !swapped {
				if kept == nil {
					kept = func() { deliver(pos, msg) }
					return
				}
				swapped = true
				deliver(pos, msg)
				kept()
				return
			}
			deliver(pos, msg)
		})
		v := watchRoom(t, n1.hub.Room("r"))
		time.Sleep(time.Minute)
		for _, c := range all[:600] {
			c.Send("Leave", "r")
		}
		time.Sleep(3 * time.Minute)
		if n := v.size(); n != 501 || !swapped {
			t.Errorf("the watcher knows of %d members, not 501", n)
		}
		// A full answer, after what looks like a loss of a change.
		lost := false
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			if msg[3] == pktChange && !lost {
				lost = true
				return
			}
			deliver(pos, msg)
		})
		all[700].Send("Leave", "r")
		time.Sleep(time.Minute)
		if n := v.size(); n != 500 || !lost {
			t.Errorf("then of %d members, not 500", n)
		}
		v.cancel()
	})
}

// A watcher whose node can't publish for longer than a lease learns of what has changed meanwhile.
func TestWatchLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n2, "r", 1)
		own := watchRoom(t, n1.hub.Room("r")) // on the node that has the members
		all := crowd(t, n1, "r", 3)
		v := watchRoom(t, n2.hub.Room("r"))
		time.Sleep(5 * time.Second)
		if n := v.size(); n != 4 {
			t.Fatalf("%d members", n)
		}
		b2.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "Publish" {
				return errors.New("can't publish")
			}
			return call()
		})
		time.Sleep(40 * time.Second)
		all[0].Cut()
		all[1].Send("Leave", "r")
		crowd(t, n1, "r", 5)
		time.Sleep(5 * time.Second)
		b2.Calls(nil)
		time.Sleep(5 * time.Minute)
		if n := own.size(); n != 7 {
			t.Errorf("the node's own watcher knows of %d, not 7", n)
		}
		if n := v.size(); n != 7 {
			t.Errorf("5 min later the other's knows of %d members, not 7", n)
		}
		own.cancel()
		v.cancel()
	})
}

// Right after an outage, whenever it ends, Members knows of the others' members, or says that it doesn't: others answer also if they
// have just said that they live.
func TestMembersAfterOutage(t *testing.T) {
	for ms := 0; ms < 4000; ms += 250 {
		bubble(t, func(t *testing.T) {
			b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
			crowd(t, n1, "r", 1)
			crowd(t, n2, "r", 1)
			time.Sleep(5 * time.Second)
			b1.Cut()
			time.Sleep(15*time.Second + time.Duration(ms)*time.Millisecond)
			b1.Reconnect()
			if m, err := n1.hub.Room("r").Members(t.Context()); err == nil && len(m) != 2 {
				t.Errorf("after 15 s and %d ms: %v", ms, m)
			}
		})
	}
}

// So it does where the broker was away when the node began.
func TestMembersBegunWithoutBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n2, "r", 1)
		b1.Cut()
		wsctltest.Dial(t, n1.handler, nil)
		time.Sleep(2 * time.Second)
		b1.Reconnect()
		m, err := n1.hub.Room("r").Members(t.Context())
		if err == nil && len(m) != 1 {
			t.Errorf("Members: %v, %v", m, err)
		}
	})
}

// A Watch ends with its ctx, also where there is news.
func TestWatchCtxDone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, &wsctl.Hub{}, wsctl.Options{})
		crowd(t, n, "r", 100)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		seen := 0
		for range n.hub.Room("r").Watch(ctx) {
			cancel()
			seen++
		}
		if seen > 2 {
			t.Errorf("%d more after ctx was done", seen-1)
		}
	})
}

// Members ends with its ctx, also where the broker hangs.
func TestMembersCtxHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 1)
		time.Sleep(5 * time.Second)
		b1.Calls(func(ctx context.Context, _, _ string, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		m, err := n1.hub.Room("r").Members(ctx)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Members with 100 ms took %v: %v, %v", took, m, err)
		}
		b1.Calls(nil)
	})
}

// So does Watch, on a node that hasn't begun.
func TestWatchCtxHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{})
		b1.Calls(func(ctx context.Context, _, _ string, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		for range n1.hub.Room("r").Watch(ctx) {
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("Watch with 100 ms took %v", took)
		}
		b1.Calls(nil)
	})
}

// A node that ends isn't taken for alive because of a beat that comes late.
func TestByeOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 1)
		crowd(t, n2, "r", 1)
		time.Sleep(5 * time.Second)
		slow := make(chan struct{}, 1)
		b2.Calls(func(ctx context.Context, method, topic string, call func() error) error {
			if method == "Publish" && topic == "a" {
				select {
				case slow <- struct{}{}: // the next beat takes a moment
					time.Sleep(200 * time.Millisecond)
				default:
				}
			}
			return call()
		})
		for len(slow) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if err := n2.handler.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		start := time.Now()
		m, err := n1.hub.Room("r").Members(t.Context())
		if took := time.Since(start); took > time.Second {
			t.Errorf("Members after a node's orderly end took %v: %v, %v", took, m, err)
		}
	})
}

// Many: 5,000 members on another node, some hundred watchers that don't consume.
func TestWatchCrowd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, n2 := twoNodes(t, wsctl.Options{})
		all := crowd(t, n2, "r", 2500)
		v := watchRoom(t, n1.hub.Room("r"))
		time.Sleep(5 * time.Second)
		if n := v.size(); n != 2500 {
			t.Fatalf("%d members", n)
		}
		m, err := n1.hub.Room("r").Members(t.Context())
		if err != nil || len(m) != 2500 {
			t.Errorf("%d, %v", len(m), err)
		}
		for range 3 {
			for _, c := range all {
				c.Send("Leave", "r")
				c.Send("Join", "r")
			}
		}
		for _, c := range all[:1300] {
			c.Send("Leave", "r")
		}
		time.Sleep(20 * time.Second)
		if n := v.size(); n != 1200 || v.doubles > 0 {
			t.Errorf("%d members, not 1200; %d doubles", n, v.doubles)
		}
		v.cancel()
	})
}

// A Watch ends by break, by a panic of its consumer, and by its ctx.
func TestWatchEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, n2 := twoNodes(t, wsctl.Options{})
		crowd(t, n1, "r", 3)
		all := crowd(t, n2, "r", 3)
		r := n1.hub.Room("r")
		for range r.Watch(t.Context()) {
			break
		}
		func() {
			defer func() { _ = recover() }()
			for range r.Watch(t.Context()) {
				panic("x")
			}
		}()
		var zero wsctl.Room
		for _, bad := range []wsctl.Room{zero, n1.hub.Room(""), n1.hub.User(""), n1.hub.Socket("")} {
			n := 0
			for _, err := range bad.Watch(t.Context()) {
				if n++; err == nil {
					t.Error("no error")
				}
			}
			if n != 1 {
				t.Error(n)
			}
			if _, err := bad.Members(t.Context()); err == nil {
				t.Error("no error")
			}
		}
		// Everyone, User, Socket
		var id string
		if err := all[0].Call("ID", nil, &id); err != nil {
			t.Fatal(err)
		}
		e, s := watchRoom(t, n1.hub.Everyone()), watchRoom(t, n1.hub.Socket(id))
		time.Sleep(time.Second)
		if e.size() != 6 || s.size() != 1 {
			t.Errorf("everyone %d, socket %d", e.size(), s.size())
		}
		all[0].Cut()
		time.Sleep(time.Second)
		if e.size() != 5 || s.size() != 0 {
			t.Errorf("everyone %d, socket %d", e.size(), s.size())
		}
		u := watchRoom(t, n1.hub.User("ann"))
		d := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "ann"})
		time.Sleep(2 * time.Second)
		if u.size() != 1 {
			t.Errorf("user %d", u.size())
		}
		var mine []*wsctl.Socket
		for sock := range r.Sockets() {
			mine = append(mine, sock)
		}
		x := watchRoom(t, r.Except(mine[0], nil))
		time.Sleep(2 * time.Second)
		if x.size() != 4 {
			t.Errorf("except: %d", x.size())
		}
		m, err := r.Except(mine...).Members(t.Context())
		if err != nil || len(m) != 2 {
			t.Errorf("except: %v %v", m, err)
		}
		d.Cut()
		time.Sleep(2 * time.Second)
		if u.size() != 0 {
			t.Errorf("user %d", u.size())
		}
		for _, v := range []*viewer{e, s, u, x} {
			v.cancel()
			<-v.done
		}
	})
}

// What is sent before a close arrives before it, on all nodes.
func TestSendThenClose(t *testing.T) {
	for _, room := range []string{"r", "k"} {
		t.Run(room, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, _, n1, n2 := twoNodes(t, wsctl.Options{})
				all := []*wsctltest.Client{wsctltest.Dial(t, n1.handler, nil), wsctltest.Dial(t, n2.handler, nil)}
				for _, c := range all {
					c.Send("Join", room)
					if room == "k" {
						told(c, t, room)
					}
				}
				synctest.Wait()
				say(t, n1.hub.Room(room), "bye")
				if err := n1.hub.Room(room).Close(4000, "over"); err != nil {
					t.Fatal(err)
				}
				for _, c := range all {
					expectSaid(c, t, "bye")
					if ce := c.Closed(); ce.Code != 4000 {
						t.Error(ce)
					}
				}
			})
		})
	}
}

// So it does on one node.
func TestSendThenCloseAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, &wsctl.Hub{History: keepTen}, wsctl.Options{})
		for _, room := range []string{"r", "k"} {
			c := wsctltest.Dial(t, n.handler, nil)
			c.Send("Join", room)
			if room == "k" {
				told(c, t, room)
			}
			synctest.Wait()
			say(t, n.hub.Room(room), "bye")
			if err := n.hub.Room(room).Close(4000, "over"); err != nil {
				t.Fatal(err)
			}
			expectSaid(c, t, "bye")
			if ce := c.Closed(); ce.Code != 4000 {
				t.Error(ce)
			}
		}
	})
}
