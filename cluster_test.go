package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// roomState is the data of $room.
type roomState struct {
	Room      string
	Pos       *string
	Recovered *bool
}

// keepTen keeps the last ten messages of rooms whose names begin with k.
func keepTen(room string) wsctl.Retention {
	if strings.HasPrefix(room, "k") {
		return wsctl.Retention{Messages: 10}
	}
	return wsctl.Retention{}
}

// node is a hub with a handler whose sessions end with their connection.
type node struct {
	hub     *wsctl.Hub
	handler *wsctl.Handler
}

// doorman is a controller that joins and leaves as it is told.
type doorman struct{}

func (doorman) Join(s *wsctl.Socket, room string) error { return s.Join(room) }
func (doorman) Leave(s *wsctl.Socket, room string)      { s.Leave(room) }
func (doorman) ID(s *wsctl.Socket) string               { return s.ID() }

type said struct{ Room, Text string }

func (doorman) Say(s *wsctl.Socket, l said) error { return s.Hub().Room(l.Room).Send("said", l.Text) }
func (doorman) Others(s *wsctl.Socket, l said) error {
	return s.Hub().Room(l.Room).Except(s).Send("said", l.Text)
}

func newNode(t *testing.T, hub *wsctl.Hub, opts wsctl.Options) *node {
	t.Helper()
	opts.Hub = hub
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Resume == 0 {
		opts.Resume = -1
	}
	if opts.Authenticate == nil {
		opts.Authenticate = func(_ context.Context, _ *http.Request, token string) (wsctl.Identity, error) {
			return wsctl.Identity{User: token}, nil
		}
	}
	n := &node{hub, wsctl.New(doorman{}, &opts)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := n.handler.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return n
}

// balancer is a handler that is several nodes'.
type balancer struct{ to atomic.Pointer[wsctl.Handler] }

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.to.Load().ServeHTTP(w, r) }

// joined has c join a room that keeps history, and returns what $room says.
func joined(c *wsctltest.Client, t *testing.T, room string) (pos, recovered string) {
	t.Helper()
	c.Send("Join", room)
	return told(c, t, room)
}

func told(c *wsctltest.Client, t *testing.T, room string) (pos, recovered string) {
	t.Helper()
	st := wsctltest.Expect[roomState](c, "$room")
	if st.Room != room {
		t.Fatalf("$room of %q", st.Room)
	}
	recovered = "null"
	if st.Recovered != nil {
		recovered = fmt.Sprint(*st.Recovered)
	}
	if st.Pos != nil {
		pos = *st.Pos
	}
	return pos, recovered
}

func expectSaid(c *wsctltest.Client, t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if got := wsctltest.Expect[string](c, "said"); got != text {
			t.Fatalf("got %q, not %q", got, text)
		}
	}
}

func say(t *testing.T, r wsctl.Room, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := r.Send("said", text); err != nil {
			t.Fatalf("Send: %v", err)
		}
	}
}

// offset is that of a position.
func offset(pos string) string {
	_, o, _ := strings.Cut(pos, ".")
	return o
}

// two nodes share a broker.
func twoNodes(t *testing.T, opts wsctl.Options) (b1, b2 *wsctltest.Broker, n1, n2 *node) {
	b1 = wsctltest.NewBroker()
	b2 = b1.Node()
	n1 = newNode(t, &wsctl.Hub{Broker: b1, History: keepTen}, opts)
	n2 = newNode(t, &wsctl.Hub{Broker: b2, History: keepTen}, opts)
	return b1, b2, n1, n2
}

func TestNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, n2 := twoNodes(t, wsctl.Options{})
		a, b := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"}), wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
		var idA, idB string
		for c, id := range map[*wsctltest.Client]*string{a: &idA, b: &idB} {
			if err := c.Call("ID", nil, id); err != nil {
				t.Fatal(err)
			}
		}
		for _, room := range []string{"r", "k"} {
			for _, c := range []*wsctltest.Client{a, b} {
				if err := c.Call("Join", room, nil); err != nil {
					t.Fatal(err)
				}
				if room == "k" {
					told(c, t, "k")
				}
			}
			a.Send("Say", said{room, "1"})
			a.Send("Say", said{room, "2"})
			expectSaid(a, t, "1", "2")
			expectSaid(b, t, "1", "2")
			b.Send("Others", said{room, "3"})
			expectSaid(a, t, "3")
			b.Quiet()
			a.Quiet()
		}
		if err := n1.hub.Broadcast("said", "all"); err != nil {
			t.Fatal(err)
		}
		expectSaid(a, t, "all")
		expectSaid(b, t, "all")
		say(t, n1.hub.User("bob"), "to bob")
		expectSaid(b, t, "to bob")
		say(t, n1.hub.Socket(idB), "to b")
		expectSaid(b, t, "to b")
		say(t, n1.hub.Socket(idA), "to a")
		expectSaid(a, t, "to a")
		say(t, n1.hub.Socket("nobody"), "x")
		say(t, n1.hub.Socket("nobody.nowhere"), "x")
		a.Quiet()
		b.Quiet()
		if err := n1.hub.Room("r").Close(4001, "over"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*wsctltest.Client{a, b} {
			if ce := c.Closed(); ce.Code != 4001 || ce.Reason != "over" {
				t.Error(ce)
			}
		}
	})
}

func TestNodesRecover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		c := wsctltest.Dial(t, lb, nil)
		joined(c, t, "k")
		c.Send("Say", said{"k", "1"})
		expectSaid(c, t, "1")
		c.Cut()
		lb.to.Store(n2.handler)
		say(t, n1.hub.Room("k"), "2", "3")
		c.Reconnect()
		if pos, recovered := joined(c, t, "k"); recovered != "true" || offset(pos) != "1" {
			t.Fatalf("join on the other node: %s, %s", pos, recovered)
		}
		expectSaid(c, t, "2", "3")

		// A node that is behind: what the client has doesn't come again.
		synctest.Wait()
		held := make(chan func(), 10)
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			held <- func() { deliver(pos, msg) }
		})
		d := wsctltest.Dial(t, n1.handler, nil)
		joined(d, t, "k")
		say(t, n2.hub.Room("k"), "4", "5")
		expectSaid(c, t, "4", "5")
		c.Cut()
		lb.to.Store(n1.handler)
		say(t, n2.hub.Room("k"), "6")
		c.Reconnect()
		if pos, recovered := joined(c, t, "k"); recovered != "true" || offset(pos) != "5" {
			t.Fatalf("join on a node that is behind: %s, %s", pos, recovered)
		}
		expectSaid(c, t, "6")
		expectSaid(d, t, "4", "5", "6")
		for len(held) > 0 {
			(<-held)()
		}
		synctest.Wait()
		c.Quiet()
		d.Quiet()
		b1.Deliveries(nil)
	})
}

func TestMembers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		a := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		b := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
		for _, c := range []*wsctltest.Client{a, b} {
			if err := c.Call("Join", "r", nil); err != nil {
				t.Fatal(err)
			}
		}
		users := func(n *node, r wsctl.Room) (users []string) {
			t.Helper()
			members, err := r.Members(t.Context())
			if err != nil {
				t.Error(err)
			}
			for _, m := range members {
				users = append(users, m.User)
			}
			slices.Sort(users)
			return users
		}
		for _, n := range []*node{n1, n2} {
			if got := users(n, n.hub.Room("r")); !slices.Equal(got, []string{"ann", "bob"}) {
				t.Errorf("Members: %v", got)
			}
		}
		if got := users(n1, n1.hub.Everyone()); !slices.Equal(got, []string{"ann", "bob"}) {
			t.Errorf("Members of everyone: %v", got)
		}
		// A node that is gone without a word is waited for until it is dead.
		b2.Cut()
		start := time.Now()
		if got := users(n1, n1.hub.Room("r")); !slices.Equal(got, []string{"ann"}) || time.Since(start) > 12*time.Second {
			t.Errorf("Members after %v: %v", time.Since(start), got)
		}
		b2.Reconnect()
		time.Sleep(5 * time.Second)
		b2.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if members, err := n1.hub.Room("r").Members(ctx); !errors.Is(err, context.DeadlineExceeded) || len(members) != 1 {
			t.Errorf("Members: %v, %v", members, err)
		}
		b2.Reconnect()
		b1.Cut()
		if members, err := n1.hub.Room("r").Members(t.Context()); err == nil || len(members) != 1 {
			t.Errorf("Members without a broker: %v, %v", members, err)
		}
		b1.Reconnect()
	})
}

func TestWatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		a := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		b := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
		for _, c := range []*wsctltest.Client{a, b} {
			if err := c.Call("Join", "r", nil); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan string, 100)
		go func() {
			defer close(seen)
			for p, err := range n1.hub.Room("r").Watch(ctx) {
				if err != nil {
					t.Error(err)
				}
				seen <- fmt.Sprint(p.User, p.Joined)
			}
		}()
		expect := func(want ...string) {
			t.Helper()
			var got []string
			for range want {
				select {
				case s := <-seen:
					got = append(got, s)
				case <-time.After(20 * time.Second):
					t.Fatalf("got %v, not %v", got, want)
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Fatalf("got %v, not %v", got, want)
			}
			synctest.Wait()
			if len(seen) > 0 {
				t.Fatalf("more: %s", <-seen)
			}
		}
		expect("anntrue", "bobtrue")
		c := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "cy"})
		for range 3 {
			c.Send("Join", "r")
			expect("cytrue")
			c.Send("Leave", "r")
			expect("cyfalse")
		}
		c.Send("Join", "r")
		expect("cytrue")
		time.Sleep(time.Minute) // asked again and again, nothing changes
		expect()
		b2.Cut()
		expect("bobfalse", "cyfalse")
		c.Send("Leave", "r")
		time.Sleep(time.Minute)
		b2.Reconnect()
		expect("bobtrue")
		if err := n2.handler.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		expect("bobfalse")
		if time.Since(start) > time.Second {
			t.Error("a node that ends takes its leave late")
		}
		a.Send("Leave", "r")
		expect("annfalse")
		cancel()
		synctest.Wait()
		if _, open := <-seen; open {
			t.Error("Watch goes on")
		}
	})
}

func TestSessionElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, n2 := twoNodes(t, wsctl.Options{Resume: 30 * time.Second})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		c := wsctltest.Dial(t, lb, &wsctltest.Options{Token: "ann"})
		c.Cut()
		synctest.Wait()
		if st := n1.handler.Stats(); st.Sockets != 1 || st.Detached != 1 {
			t.Fatalf("%+v", st)
		}
		lb.to.Store(n2.handler)
		if c.Reconnect() {
			t.Fatal("resumed")
		}
		synctest.Wait()
		if st := n1.handler.Stats(); st.Sockets != 0 || st.Closed[wsctl.CloseReplaced] != 1 {
			t.Fatalf("%+v", st)
		}
	})
}
