package wsctl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

type reading struct {
	Key string
	N   int
	Pad string
}

var (
	anyEvent    = wsctl.NewEvent[reading]("any")
	oldestEvent = wsctl.NewEvent[reading]("oldest").DropOldest()
	newestEvent = wsctl.NewEvent[reading]("newest").DropNewest()
	latestEvent = wsctl.NewEvent[reading]("latest").Latest(func(r reading) string { return r.Key })
)

// stuck is a client that doesn't read, with a full network: what it is sent waits.
func stuck(t *testing.T, l *lab, v1 bool) *peer {
	t.Helper()
	var c *client
	if v1 {
		c, _ = l.enter(t)
	} else {
		c = l.dial(t, nil)
	}
	p := &peer{c, <-l.p.sockets}
	join(t, p.s, "r")
	must(t, p.s.Send("fill", big(3000))) // more than the network takes
	synctest.Wait()
	return p
}

// drained reads all that comes, the last thing that it does, as "type key n" or "$gap type n".
func (p *peer) drained() (got []string) {
	p.t.Helper()
	for {
		p.ws.SetReadDeadline(time.Now().Add(time.Second))
		_, b, err := p.ws.ReadMessage()
		if err != nil {
			return got
		}
		m := string(b)
		switch v := decode[struct {
			Type string
			Data any
		}](p.t, m); {
		case v.Type == "$ping", v.Type == "$ack", v.Type == "fill":
		case v.Type == "$gap":
			d := v.Data.(map[string]any)
			got = append(got, fmt.Sprint("$gap ", d["type"], " ", d["dropped"]))
		default:
			d, ok := v.Data.(map[string]any)
			if !ok {
				got = append(got, fmt.Sprint(v.Type, " ", v.Data))
				break
			}
			got = append(got, fmt.Sprint(v.Type, " ", d["Key"], " ", d["N"]))
		}
	}
}

// What a full queue does with events of each policy, to a socket and to a room, with and without compression, and what is told.
func TestEventPolicies(t *testing.T) {
	for _, v1 := range []bool{true, false} {
		for _, room := range []bool{false, true} {
			t.Run(fmt.Sprintf("v1 %v, room %v", v1, room), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					p := &puppet{}
					p.sockets = make(chan *wsctl.Socket, 10)
					h, log := newHandler(t, p, &wsctl.Options{SendBuffer: 4000, WriteTimeout: -1})
					l := &lab{server: serveOver(t, h, 500, nil), h: h, hub: h.Hub(), p: p, log: log}
					send := func(c *peer, e *wsctl.Event[reading], key string, n int) {
						t.Helper()
						var to wsctl.Target = c.s
						if room {
							to = l.hub.Room("r")
						}
						must(t, e.Send(to, reading{key, n, big(300)}))
						synctest.Wait()
					}
					run := func(name string, fill func(c *peer), wantV1, wantPlain []string) {
						t.Helper()
						before := h.Stats().Dropped
						c := stuck(t, l, v1)
						fill(c)
						want := wantV1
						if !v1 {
							want = wantPlain
						}
						equal(t, name, c.drained(), want)
						dropped := uint64(0)
						for _, g := range wantV1 {
							var typ string
							var n uint64
							if k, _ := fmt.Sscanf(g, "$gap %s %d", &typ, &n); k == 2 {
								dropped += n
							}
						}
						if got := h.Stats().Dropped - before; got != dropped {
							t.Errorf("%s: %d dropped, Stats say %d", name, dropped, got)
						}
						if c.s.Context().Err() != nil {
							t.Errorf("%s: closed", name)
						}
						c.s.Leave("r")
						c.nc.Close()
						synctest.Wait()
					}
					run("oldest", func(c *peer) {
						for i := range 8 {
							send(c, oldestEvent, "k", i)
						}
					}, []string{"$gap oldest 4", "oldest k 4", "oldest k 5", "oldest k 6", "oldest k 7"},
						[]string{"oldest k 4", "oldest k 5", "oldest k 6", "oldest k 7"})
					run("oldest among others", func(c *peer) {
						for i := range 2 {
							send(c, oldestEvent, "k", i)
							send(c, anyEvent, "k", i)
						}
						send(c, oldestEvent, "k", 2)
						send(c, oldestEvent, "k", 3)
					}, []string{"$gap oldest 1", "any k 0", "$gap oldest 1", "any k 1", "oldest k 2", "oldest k 3"},
						[]string{"any k 0", "any k 1", "oldest k 2", "oldest k 3"})
					run("newest", func(c *peer) {
						for i := range 7 {
							send(c, newestEvent, "k", i)
						}
					}, []string{"newest k 0", "newest k 1", "newest k 2", "newest k 3", "$gap newest 3"},
						[]string{"newest k 0", "newest k 1", "newest k 2", "newest k 3"})
					run("latest", func(c *peer) {
						for i := range 100 {
							send(c, latestEvent, string(rune('a'+i%3)), i)
						}
						send(c, anyEvent, "k", 5)
						send(c, latestEvent, "a", 100)
					}, []string{"latest a 100", "latest b 97", "latest c 98", "any k 5"},
						[]string{"latest a 100", "latest b 97", "latest c 98", "any k 5"})
					// An oldest that finds none of its own to drop, among plain ones that fill the queue.
					run("nothing to drop", func(c *peer) {
						for i := range 4 {
							send(c, anyEvent, "k", i)
						}
						send(c, oldestEvent, "k", 0)
						send(c, newestEvent, "k", 0)
						send(c, oldestEvent, "k", 0)
					}, []string{"any k 0", "any k 1", "any k 2", "any k 3", "$gap oldest 2", "$gap newest 1"},
						[]string{"any k 0", "any k 1", "any k 2", "any k 3"})
				})
			})
		}
	}
}

// Without a policy, and for a Latest that finds none to replace, a full queue closes the socket.
func TestEventClosesSlow(t *testing.T) {
	for _, e := range []*wsctl.Event[reading]{anyEvent, latestEvent} {
		bubble(t, func(t *testing.T) {
			p := &puppet{}
			p.sockets = make(chan *wsctl.Socket, 10)
			h, log := newHandler(t, p, &wsctl.Options{SendBuffer: 4000, WriteTimeout: -1})
			l := &lab{server: serveOver(t, h, 500, nil), h: h, hub: h.Hub(), p: p, log: log}
			c := stuck(t, l, true)
			var err error
			for i := 0; err == nil && i < 100; i++ {
				err = e.Send(c.s, reading{fmt.Sprint(i), i, big(200)})
			}
			if err != wsctl.ErrSlow {
				t.Error(err)
			}
			c.wantClosed(4510, "")
		})
	}
}

// Policies hold for a client that is away; what had a number before is not touched by them.
func TestEventWhileParked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{SendBuffer: 4000, Compression: true})
		c, w := l.enter(t)
		p := &peer{c, <-l.p.sockets}
		must(t, latestEvent.Send(p.s, reading{"a", 1, ""}))
		p.read() // but it isn't acknowledged
		c.cut()
		must(t, latestEvent.Send(p.s, reading{"a", 2, ""}))
		must(t, latestEvent.Send(p.s, reading{"a", 3, ""}))
		for i := range 1000 {
			must(t, oldestEvent.Send(p.s, reading{"x", i, big(300)}))
		}
		c, w2 := l.comeBack(t, w.Session, 0, 2)
		if !w2.Resumed {
			t.Fatal("not resumed")
		}
		p.client = c
		got := p.drained()
		if !slices.Equal(got[:3], []string{"latest a 1", "latest a 3", "$gap oldest 990"}) && !strings.HasPrefix(got[2], "$gap oldest") {
			t.Errorf("%v", got)
		}
		if last := got[len(got)-1]; last != "oldest x 999" || len(got) > 15 {
			t.Errorf("%v", got)
		}
	})
}

// A client of wsctl.v1 is told of gaps also where there are no sessions to resume.
func TestEventGapWithoutResume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{}
		p.sockets = make(chan *wsctl.Socket, 10)
		h, log := newHandler(t, p, &wsctl.Options{SendBuffer: 4000, WriteTimeout: -1, Resume: -1, PingInterval: -1})
		l := &lab{server: serveOver(t, h, 500, nil), h: h, hub: h.Hub(), p: p, log: log}
		c := stuck(t, l, true)
		for i := range 6 {
			must(t, oldestEvent.Send(c.s, reading{"k", i, big(300)}))
		}
		equal(t, "received", c.drained(), []string{"$gap oldest 2", "oldest k 2", "oldest k 3", "oldest k 4", "oldest k 5"})
	})
}

// A policy is set once.
func TestEventPolicyOnce(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a second policy is taken")
		}
	}()
	wsctl.NewEvent[int]("x").DropOldest().DropNewest()
}
