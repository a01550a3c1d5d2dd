package wsctl_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

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
				synctest.Wait()
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
				synctest.Wait()
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

// Of a herd, those who have missed more than the first one who asks share an answer, too.
func TestHerdOlder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{})
		lb := &balancer{}
		lb.to.Store(n1.handler)
		var all []*wsctltest.Client
		for range 26 {
			c := wsctltest.Dial(t, lb, nil)
			joined(c, t, "k")
			all = append(all, c)
		}
		near, far := all[0], all[1:]
		say(t, n1.hub.Room("k"), "1")
		for _, c := range all {
			expectSaid(c, t, "1")
		}
		for _, c := range far {
			c.Cut()
		}
		say(t, n1.hub.Room("k"), "2")
		expectSaid(near, t, "2")
		near.Cut()
		say(t, n1.hub.Room("k"), "3")
		lb.to.Store(n2.handler)
		keeper := wsctltest.Dial(t, n2.handler, nil)
		joined(keeper, t, "k")
		var asked atomic.Int32
		b2.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "Since" {
				asked.Add(1)
				time.Sleep(100 * time.Millisecond)
			}
			return call()
		})
		for _, c := range all { // the near one first
			c.Reconnect()
			c.Send("Join", "k")
			synctest.Wait()
		}
		for i, c := range all {
			if _, recovered := told(c, t, "k"); recovered != "true" {
				t.Fatal(recovered)
			}
			if i > 0 {
				expectSaid(c, t, "2")
			}
			expectSaid(c, t, "3")
		}
		if n := asked.Load(); n > 2 {
			t.Errorf("the history was asked %d times by %d joins from two positions", n, len(all))
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
		if pos, recovered := told(a, t, "k"); offset(pos) != "0" || recovered != "false" {
			t.Errorf("after the history was lost: %s, %s", pos, recovered)
		}
		expectSaid(a, t, "2") // it is kept
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
