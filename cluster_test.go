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

func TestHistory(t *testing.T) {
	for name, hub := range map[string]func() *wsctl.Hub{
		"memory":       func() *wsctl.Hub { return &wsctl.Hub{History: keepTen} },
		"broker":       func() *wsctl.Hub { return &wsctl.Hub{History: keepTen, Broker: wsctltest.NewBroker()} },
		"plain broker": func() *wsctl.Hub { return &wsctl.Hub{History: keepTen, Broker: plainBroker{wsctltest.NewBroker()}} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNode(t, hub(), wsctl.Options{})
				room := n.hub.Room("k")
				c := wsctltest.Dial(t, n.handler, nil)
				pos, recovered := joined(c, t, "k")
				if recovered != "null" || offset(pos) != "0" {
					t.Fatalf("first join: %s, %s", pos, recovered)
				}
				c.Send("Join", "k") // once more changes nothing
				say(t, room, "1", "2")
				expectSaid(c, t, "1", "2")
				c.Cut()
				synctest.Wait()
				say(t, room, "3", "4")
				if c.Reconnect() {
					t.Fatal("resumed")
				}
				synctest.Wait()
				say(t, room, "5")
				pos, recovered = joined(c, t, "k")
				if recovered != "true" || offset(pos) != "2" {
					t.Fatalf("join after a loss: %s, %s", pos, recovered)
				}
				expectSaid(c, t, "3", "4", "5")
				say(t, room, "6")
				expectSaid(c, t, "6")

				// Nothing was missed.
				c.Reconnect()
				if pos, recovered = joined(c, t, "k"); recovered != "true" || offset(pos) != "6" {
					t.Fatalf("join with nothing missed: %s, %s", pos, recovered)
				}
				// The position is good for one join.
				c.Send("Leave", "k")
				if pos, recovered = told(c, t, "k"); pos != "" || recovered != "null" {
					t.Fatalf("leave: %s, %s", pos, recovered)
				}
				if pos, recovered = joined(c, t, "k"); recovered != "null" || offset(pos) != "6" {
					t.Fatalf("join after leave: %s, %s", pos, recovered)
				}
				// More than is kept.
				c.Cut()
				for i := range 11 {
					say(t, room, fmt.Sprint(i))
				}
				c.Reconnect()
				if pos, recovered = joined(c, t, "k"); recovered != "false" || offset(pos) != "17" {
					t.Fatalf("join after too much: %s, %s", pos, recovered)
				}
				c.Quiet()
				say(t, room, "x")
				expectSaid(c, t, "x")
				st := n.handler.Stats()
				if st.Recovered != 2 || st.NotRecovered != 1 {
					t.Errorf("Stats: %+v", st)
				}
				if name != "broker" && st.HistoryBytes < 100 {
					t.Errorf("Stats.HistoryBytes: %d", st.HistoryBytes)
				}
			})
		})
	}
}

// plainBroker keeps no history.
type plainBroker struct{ wsctl.Broker }

func TestHistoryExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, &wsctl.Hub{History: func(room string) wsctl.Retention {
			return wsctl.Retention{Messages: 3, Age: map[string]time.Duration{"aged": time.Minute}[room]}
		}}, wsctl.Options{})
		c := wsctltest.Dial(t, n.handler, nil)
		join := func(room, want string, wait time.Duration) {
			t.Helper()
			c.Cut()
			say(t, n.hub.Room(room), "missed")
			time.Sleep(wait)
			c.Reconnect()
			_, recovered := joined(c, t, room)
			if recovered != want {
				t.Fatalf("%s after %v: recovered %s, not %s", room, wait, recovered, want)
			}
			if want == "true" {
				expectSaid(c, t, "missed")
			}
			c.Quiet()
		}
		joined(c, t, "k")
		joined(c, t, "aged")
		join("k", "true", 4*time.Minute)
		join("k", "false", 6*time.Minute)
		joined(c, t, "aged")
		join("aged", "true", 50*time.Second)
		join("aged", "false", 70*time.Second)
		c.Cut()
		time.Sleep(10 * time.Minute)
		if st := n.handler.Stats(); st.HistoryBytes != 0 {
			t.Errorf("HistoryBytes is %d when all is forgotten", st.HistoryBytes)
		}
	})
}

// TestHistoryBound has a thousand rooms keep more than there is memory for.
func TestHistoryBound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, &wsctl.Hub{History: func(string) wsctl.Retention { return wsctl.Retention{Messages: 100} }, HistoryBuffer: 1 << 20}, wsctl.Options{})
		c := wsctltest.Dial(t, n.handler, nil)
		joined(c, t, "here")
		say(t, n.hub.Room("here"), "1")
		expectSaid(c, t, "1")
		for i := range 1000 {
			say(t, n.hub.Room(fmt.Sprint(i)), strings.Repeat("x", 10_000))
			if b := n.handler.Stats().HistoryBytes; b > 1<<20 {
				t.Fatalf("HistoryBytes is %d", b)
			}
		}
		c.Reconnect()
		if _, recovered := joined(c, t, "here"); recovered != "true" {
			t.Error("a room with members lost its history to rooms without")
		}
	})
}

func TestHistoryExcept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, &wsctl.Hub{History: keepTen}, wsctl.Options{Resume: 5 * time.Second})
		a, b := wsctltest.Dial(t, n.handler, nil), wsctltest.Dial(t, n.handler, nil)
		joined(a, t, "k")
		joined(b, t, "k")
		a.Send("Others", said{"k", "1"})
		a.Send("Others", said{"k", "2"})
		expectSaid(b, t, "1", "2")
		a.Quiet()
		time.Sleep(26 * time.Second)
		if pos, recovered := told(a, t, "k"); offset(pos) != "2" || recovered != "null" {
			t.Fatalf("$room: %s, %s", pos, recovered)
		}
		a.Quiet()
		// What a sent to the others doesn't come to it in its next session, but what was sent to all does.
		a.Send("Others", said{"k", "3"})
		a.Send("Say", said{"k", "4"})
		expectSaid(b, t, "3", "4")
		expectSaid(a, t, "4")
		a.Send("Others", said{"k", "5"})
		expectSaid(b, t, "5")
		a.Cut()
		say(t, n.hub.Room("k"), "6")
		expectSaid(b, t, "6")
		time.Sleep(10 * time.Second)
		if a.Reconnect() {
			t.Fatal("resumed")
		}
		if pos, recovered := joined(a, t, "k"); offset(pos) != "4" || recovered != "true" {
			t.Fatalf("join: %s, %s", pos, recovered)
		}
		expectSaid(a, t, "6")
		a.Quiet()
	})
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
		b1, b2, n1, n2 := twoNodes(t, wsctl.Options{})
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
		_ = b2
	})
}

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
		b1.Cut()
		if err := n1.hub.Room("r").Send("said", "local"); err == nil {
			t.Error("Send without a broker succeeded")
		}
		expectSaid(a2, t, "local")
		if err := n1.hub.Room("k").Send("said", "nobody"); err == nil {
			t.Error("Send to a room with history succeeded without a broker")
		}
		a.Quiet()
		if !n1.handler.Stats().BrokerDown || n2.handler.Stats().BrokerDown {
			t.Error("Stats.BrokerDown is wrong")
		}
		err := a.Call("Join", "another", nil)
		var e *wsctl.Error
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

// TestJoinHerd has the clients of a node come back to another one at once, with one position and with several: its history is
// asked few times.
func TestJoinHerd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		var all []*wsctltest.Client
		for range 50 {
			c := wsctltest.Dial(t, lb, nil)
			joined(c, t, "k")
			all = append(all, c)
		}
		say(t, n1.hub.Room("k"), "1")
		for _, c := range all[:25] {
			expectSaid(c, t, "1")
			c.Cut()
		}
		say(t, n1.hub.Room("k"), "2")
		for _, c := range all[25:] {
			expectSaid(c, t, "1", "2")
			c.Cut()
		}
		say(t, n1.hub.Room("k"), "3", "4")
		lb.to.Store(n2.handler)
		var asked atomic.Int32
		release := make(chan struct{})
		b2.Calls(func(ctx context.Context, method, _ string, call func() error) error {
			if method == "Since" {
				asked.Add(1)
				<-release
			}
			return call()
		})
		for _, c := range all {
			c.Reconnect()
			c.Send("Join", "k")
		}
		synctest.Wait()
		close(release)
		for i, c := range all {
			if _, recovered := told(c, t, "k"); recovered != "true" {
				t.Fatal(recovered)
			}
			if i < 25 {
				expectSaid(c, t, "2")
			}
			expectSaid(c, t, "3", "4")
			c.Quiet()
		}
		if n := asked.Load(); n > 3 {
			t.Errorf("the history was asked %d times by %d joins", n, len(all))
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
		pos, _ := joined(c, t, "k")
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
		c.Reconnect()
		if at, recovered := joined(c, t, "k"); recovered != "false" || offset(at) != "6" {
			t.Errorf("recovery past another version: %s, %s", at, recovered)
		}
		c.Quiet()
		_ = pos
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
		var hold atomic.Bool
		b1.Deliveries(func(_, pos string, msg []byte, deliver func(string, []byte)) {
			if hold.Swap(false) {
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

// TestEpoch has the broker lose its history: members are told, those who come back as well.
func TestEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		a, b := wsctltest.Dial(t, n1.handler, nil), wsctltest.Dial(t, n2.handler, nil)
		joined(a, t, "k")
		joined(b, t, "k")
		say(t, n1.hub.Room("k"), "1")
		expectSaid(a, t, "1")
		expectSaid(b, t, "1")
		b.Cut()
		b1.Forget()
		say(t, n1.hub.Room("k"), "2")
		if pos, recovered := told(a, t, "k"); offset(pos) != "1" || recovered != "false" {
			t.Errorf("after the history was lost: %s, %s", pos, recovered)
		}
		a.Quiet()
		b.Reconnect()
		if _, recovered := joined(b, t, "k"); recovered != "false" {
			t.Error(recovered)
		}
		// Also where nothing is sent.
		b1.Forget()
		time.Sleep(2 * time.Minute)
		for _, c := range []*wsctltest.Client{a, b} {
			if pos, recovered := told(c, t, "k"); offset(pos) != "0" || recovered != "false" {
				t.Errorf("after the history was lost in silence: %s, %s", pos, recovered)
			}
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

// TestPositions has $hello bring positions of all kinds.
func TestPositions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNode(t, &wsctl.Hub{History: keepTen}, wsctl.Options{})
		c := wsctltest.Dial(t, n.handler, nil)
		pos, _ := joined(c, t, "k")
		say(t, n.hub.Room("k"), "1")
		s := serve(t, n.handler)
		many := `{"k":"` + pos + `"`
		for i := range 200 {
			many += fmt.Sprintf(`,"k%d":"e.1"`, i)
		}
		late := strings.TrimSuffix(strings.Repeat(`"kx":"e.1",`, 1), ",")
		for i := range 100 {
			late += fmt.Sprintf(`,"k%d":"e.1"`, i)
		}
		for rooms, want := range map[string]string{
			`{"k":"` + pos + `"}`:                  "true",
			`[{"room":"k","pos":"` + pos + `"}]`:   "true",
			many + "}":                             "true",
			`{` + late + `,"k":"` + pos + `"}`:     "null", // the 102nd
			`{"k":"e.0"}`:                          "false",
			`{"k":"` + pos[:len(pos)-1] + `9"}`:    "false",
			`{"k":""}`:                             "false",
			`{"k":"x"}`:                            "false",
			`{"k":7}`:                              "null",
			`{"k":null}`:                           "false",
			`{}`:                                   "null",
			`[]`:                                   "null",
			`"k"`:                                  "null",
			`[1,{"room":"k","pos":"` + pos + `"}]`: "null",
			`{"other":"` + pos + `"}`:              "null",
			`[{"room":"k"}]`:                       "null",
			`{"k":{"pos":"` + pos + `"}}`:          "null",
			`[{"room":"k","pos":["` + pos + `"]}]`: "null",
			`{"k":"` + strings.Repeat("9", 3000) + `"}`: "false",
		} {
			raw := s.knock(t)
			raw.send(`{"type":"$hello","data":{"try":1,"rooms":`+rooms+`}}`, msg("Join", `"k"`))
			raw.welcomed()
			got := raw.read()
			if !strings.Contains(got, `"recovered":`+want) {
				t.Errorf("rooms %.60s: %s, not %s", rooms, got, want)
			}
			if want == "true" {
				at, _ := strings.CutSuffix(pos, "0")
				if m, wantMsg := raw.read(), `{"type":"said","data":"1","room":"k","pos":"`+at+`1"}`; m != wantMsg {
					t.Errorf("got %s, not %s", m, wantMsg)
				}
			}
			raw.cut()
		}
	})
}
