package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wsctl/wsctl"
)

func TestJoinLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		p := l.peer(t, nil)
		equal(t, "rooms of a new socket", p.s.Rooms(), []string{})
		for _, room := range []string{"b", "a", "ü", "b", "10", "a"} {
			join(t, p.s, room)
		}
		equal(t, "sorted, each once", p.s.Rooms(), []string{"10", "a", "b", "ü"})
		if n := l.hub.Room("b").Len(); n != 1 {
			t.Errorf("joined twice: %d members", n)
		}
		p.s.Leave("nowhere")
		p.s.Leave("")
		p.s.Leave("b")
		p.s.Leave("b")
		equal(t, "after Leave", p.s.Rooms(), []string{"10", "a", "ü"})
		must(t, l.hub.Room("b").Send("m", 1))
		must(t, l.hub.Room("a").Send("m", 2))
		p.want(message("m", 2))
		p.quiet()

		long := strings.Repeat("x", 128)
		join(t, p.s, long)
		for name, room := range map[string]string{"empty": "", "129 bytes": long + "x", "129 bytes, fewer runes": long + "ü"} {
			if err := p.s.Join(room); err == nil || errors.Is(err, wsctl.ErrClosed) {
				t.Errorf("Join of a room whose name is %s: %v", name, err)
			}
		}
		equal(t, "after bad names", p.s.Rooms(), []string{"10", "a", long, "ü"})
	})
}

// A socket leaves everything when it ends, but knows in OnClose where it was.
func TestRoomsAfterEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		told := make(chan []string, 10)
		l := newLab(t, &puppet{close: func(s *wsctl.Socket, _ error) { told <- s.Rooms() }}, &wsctl.Options{Authenticate: userOf})
		p := l.peer(t, asUser("ann"))
		join(t, p.s, "b")
		join(t, p.s, "a")
		must(t, p.s.Close(1000, ""))
		for name, r := range map[string]wsctl.Room{
			"room": l.hub.Room("a"), "everyone": l.hub.Everyone(), "user": l.hub.User("ann"), "socket": l.hub.Socket(p.s.ID()),
		} {
			members, err := r.Members(t.Context())
			if n := r.Len(); n != 0 || len(slices.Collect(r.Sockets())) != 0 || len(members) != 0 || err != nil {
				t.Errorf("%s has %d members after the end: %v, %v", name, n, members, err)
			}
			must(t, r.Send("m", 1))
		}
		if err := p.s.Join("c"); err != wsctl.ErrClosed {
			t.Errorf("Join after the end: %v", err)
		}
		p.s.Leave("a")
		equal(t, "Rooms in OnClose", <-told, []string{"a", "b"})
		equal(t, "Rooms afterwards", p.s.Rooms(), []string{"a", "b"})
		if n := l.h.Stats().Rooms; n != 0 {
			t.Errorf("%d rooms are left", n)
		}
		p.wantClosed(1000, "")
	})
}

// Users, sockets and rooms are separate name spaces.
func TestNameSpaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{Authenticate: userOf})
		a := l.peer(t, nil)
		x := a.s.ID()
		user, user2, room, none := l.peer(t, asUser(x)), l.peer(t, asUser(x)), l.peer(t, asUser("bob")), l.peer(t, nil)
		join(t, room.s, x)
		join(t, room.s, "bob")
		all := []*peer{a, user, user2, room, none}
		for i, c := range []struct {
			name string
			room wsctl.Room
			want []*peer
		}{
			{"socket", l.hub.Socket(x), []*peer{a}},
			{"user", l.hub.User(x), []*peer{user, user2}},
			{"room", l.hub.Room(x), []*peer{room}},
			{"everyone", l.hub.Everyone(), all},
			{"no such room", l.hub.Room("nobody"), nil},
			{"no such user", l.hub.User("nobody"), nil},
			{"no such socket", l.hub.Socket("nobody"), nil},
			{"user named as a room", l.hub.User("bob"), []*peer{room}},
			{"socket excepted", l.hub.Socket(x).Except(a.s), nil},
			{"one of two excepted", l.hub.User(x).Except(a.s, user.s), []*peer{user2}},
			{"excepted one after the other", l.hub.Everyone().Except(a.s, none.s).Except(room.s).Except(), []*peer{user, user2}},
			{"excepted twice", l.hub.Room(x).Except(a.s, a.s), []*peer{room}},
		} {
			if n := c.room.Len(); n != len(c.want) {
				t.Errorf("%s: Len is %d", c.name, n)
			}
			must(t, c.room.Send("m", i))
			var want []wsctl.Member
			for _, p := range c.want {
				want = append(want, wsctl.Member{Socket: p.s.ID(), User: p.s.Identity().User})
				p.want(message("m", i))
			}
			quiet(all...)
			got, err := c.room.Members(t.Context())
			if err != nil || got == nil {
				t.Errorf("%s: Members: %v, %v", c.name, got, err)
			}
			sortMembers(got)
			sortMembers(want)
			equal(t, c.name+": Members", got, want)
			var sockets []wsctl.Member
			for s := range c.room.Sockets() {
				sockets = append(sockets, wsctl.Member{Socket: s.ID(), User: s.Identity().User})
			}
			sortMembers(sockets)
			equal(t, c.name+": Sockets", sockets, want)
		}
		for s := range l.hub.Everyone().Sockets() { // stops when told
			if s == nil {
				t.Error("no socket")
			}
			break
		}
	})
}

func sortMembers(m []wsctl.Member) {
	slices.SortFunc(m, func(a, b wsctl.Member) int { return strings.Compare(a.Socket, b.Socket) })
}

// An Except leaves the room that it was made from as it was, and those made from it before.
func TestExceptIsAValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		p := l.peers(t, 7, "r")
		r := l.hub.Room("r")
		out := []*wsctl.Socket{p[0].s, p[1].s, p[2].s, p[3].s, p[4].s}
		base := r.Except(out...)
		two, three := base.Except(p[5].s), base.Except(p[6].s)
		out[0] = p[6].s // the caller's slice stays the caller's
		for i, c := range []struct {
			room wsctl.Room
			want []*peer
		}{{r, p}, {base, p[5:]}, {two, p[6:]}, {three, p[5:6]}} {
			must(t, c.room.Send("m", i))
			for _, p := range c.want {
				p.want(message("m", i))
			}
			quiet(p...)
		}
	})
}

func TestBadRooms(t *testing.T) {
	long := strings.Repeat("x", 129)
	var hub wsctl.Hub
	for _, c := range []struct {
		name string
		room wsctl.Room
		bad  bool
	}{
		{"zero", wsctl.Room{}, true},
		{"zero but for Except", wsctl.Room{}.Except(nil), true},
		{"empty room", hub.Room(""), true},
		{"empty user", hub.User(""), true},
		{"empty socket", hub.Socket(""), true},
		{"long room", hub.Room(long), true},
		{"long user", hub.User(long), true},
		{"long socket", hub.Socket(long), true},
		{"unknown room", hub.Room(long[:128]), false},
		{"unknown user", hub.User("x"), false},
		{"unknown socket", hub.Socket("x"), false},
		{"everyone, who is nobody", hub.Everyone(), false},
	} {
		if err := c.room.Send("m", 1); (err != nil) != c.bad {
			t.Errorf("%s: Send: %v", c.name, err)
		}
		if err := c.room.Close(1000, ""); (err != nil) != c.bad {
			t.Errorf("%s: Close: %v", c.name, err)
		}
		if _, err := c.room.Members(t.Context()); (err != nil) != c.bad {
			t.Errorf("%s: Members: %v", c.name, err)
		}
		if n := c.room.Len(); n != 0 || len(slices.Collect(c.room.Sockets())) != 0 {
			t.Errorf("%s: %d members", c.name, n)
		}
	}
	must(t, hub.Broadcast("m", 1))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hub.Room("r").Members(ended); err != context.Canceled {
		t.Errorf("Members with a context that has ended: %v", err)
	}
}

// A Send that fails reaches nobody.
func TestRoomSendErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		p := l.peer(t, nil)
		join(t, p.s, "r")
		for name, r := range map[string]wsctl.Room{"room": l.hub.Room("r"), "everyone": l.hub.Everyone(), "socket": l.hub.Socket(p.s.ID())} {
			for _, c := range badSends {
				if err := r.Send(c.typ, c.data); err == nil {
					t.Errorf("%s: Send of %s is no error", name, c.name)
				}
			}
			for code, reason := range badCloses {
				if err := r.Close(code, reason); err == nil {
					t.Errorf("%s: Close with %d %q is no error", name, code, reason)
				}
			}
		}
		if panicked(func() { l.hub.Room("r").Send("m", panicky{}) }) == nil {
			t.Error("a marshaler's panic doesn't reach the sender")
		}
		p.quiet()
		must(t, l.hub.Broadcast("m", 1))
		p.want(message("m", 1))
	})
}

func TestRoomClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		in, out := l.peers(t, 3, "r", "q"), l.peers(t, 2, "q")
		must(t, l.hub.Room("r").Send("m", 1))
		must(t, l.hub.Room("r").Except(in[2].s).Close(4001, "enough"))
		must(t, l.hub.Room("q").Send("m", 2))
		for _, p := range in[:2] {
			p.want(message("m", 1))
			p.wantClosed(4001, "enough")
		}
		in[2].want(message("m", 1), message("m", 2))
		for _, p := range out {
			p.want(message("m", 2))
		}
		if n := l.hub.Room("q").Len(); n != 3 {
			t.Errorf("%d members are left", n)
		}
		must(t, l.hub.Everyone().Close(1000, ""))
		must(t, l.hub.Everyone().Close(1000, ""))
		out[0].wantClosed(1000, "")
	})
}

// Two handlers can share a hub; each counts its own sockets.
func TestSharedHub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var hub wsctl.Hub
		a := newLab(t, &puppet{}, &wsctl.Options{Hub: &hub})
		b := newLab(t, &puppet{}, &wsctl.Options{Hub: &hub, Authenticate: userOf})
		if a.hub != &hub || b.hub != &hub {
			t.Fatal("a handler has another hub")
		}
		p, q, q2 := a.peer(t, nil), b.peer(t, asUser("ann")), b.peer(t, nil)
		if p.s.Hub() != &hub || q.s.Hub() != &hub {
			t.Fatal("a socket has another hub")
		}
		join(t, p.s, "r")
		join(t, q.s, "r")
		must(t, hub.Broadcast("m", 1))
		must(t, hub.Room("r").Send("m", 2))
		must(t, hub.User("ann").Send("m", 3))
		must(t, hub.Socket(p.s.ID()).Send("m", 4))
		p.want(message("m", 1), message("m", 2), message("m", 4))
		q.want(message("m", 1), message("m", 2), message("m", 3))
		q2.want(message("m", 1))
		if n, m := a.h.Stats().Sockets, b.h.Stats().Sockets; n != 1 || m != 2 || hub.Everyone().Len() != 3 {
			t.Errorf("%d and %d sockets, %d in the hub", n, m, hub.Everyone().Len())
		}
		if n, m := a.h.Stats().Rooms, b.h.Stats().Rooms; n != 1 || m != 1 {
			t.Errorf("%d and %d rooms", n, m)
		}
		must(t, b.h.Shutdown(t.Context())) // of one leaves the other's alone
		must(t, hub.Broadcast("m", 5))
		p.want(message("m", 5))
		if n := hub.Everyone().Len(); n != 1 {
			t.Errorf("%d sockets after one handler's Shutdown", n)
		}
	})
}

// A handler without Options.Hub has one of its own.
func TestOwnHub(t *testing.T) {
	a, b := wsctl.New(&puppet{}, nil), wsctl.New(&puppet{}, nil)
	if a.Hub() == nil || a.Hub() == b.Hub() {
		t.Error("two handlers without Options.Hub share one")
	}
}

func TestEmptyRoomsVanish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{Authenticate: userOf})
		p, q := l.peer(t, asUser("ann")), l.peer(t, nil)
		rooms := func(want int) {
			t.Helper()
			if n := l.h.Stats().Rooms; n != want {
				t.Errorf("%d rooms, want %d", n, want)
			}
		}
		rooms(0)
		for i := range 10 {
			join(t, p.s, fmt.Sprint(i))
			join(t, q.s, fmt.Sprint(i/2))
		}
		rooms(10)
		must(t, l.hub.Room("unknown").Send("m", 1))
		rooms(10)
		for i := range 10 {
			p.s.Leave(fmt.Sprint(i))
		}
		rooms(5)
		q.ws.Close()
		synctest.Wait()
		rooms(0)
	})
}

// Random joins, leaves and sends among so many members that rooms index them, against a model. One goroutine does all, so
// each member must get exactly the model's messages, in the model's order.
func TestRoomsModel(t *testing.T) {
	const members, rooms, steps = 100, 3, 3000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		all := l.peers(t, members)
		in := [rooms]map[*peer]bool{}
		for i := range in {
			in[i] = map[*peer]bool{}
		}
		want := map[*peer][]string{}
		for step := range steps {
			p, i := all[rnd.IntN(members)], rnd.IntN(rooms)
			name := fmt.Sprint(i)
			switch op := rnd.IntN(10); {
			case op < 5:
				join(t, p.s, name)
				in[i][p] = true
			case op < 9:
				p.s.Leave(name)
				delete(in[i], p)
			default:
				must(t, l.hub.Room(name).Except(p.s).Send("m", step))
				for q := range in[i] {
					if q != p {
						want[q] = append(want[q], message("m", step))
					}
				}
			}
			if n := l.hub.Room(name).Len(); n != len(in[i]) {
				t.Fatalf("step %d: room %s has %d members, want %d", step, name, n, len(in[i]))
			}
			if step%100 == 0 {
				got := slices.Collect(l.hub.Room(name).Sockets())
				for q := range in[i] {
					if !slices.Contains(got, q.s) {
						t.Fatalf("step %d: a member of room %s is missing", step, name)
					}
				}
			}
		}
		for _, p := range all {
			p.want(want[p]...)
		}
		quiet(all...)
		quiet(l.peer(t, nil)) // nothing is left for who comes later
	})
}
