package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// script sends, joins and leaves at random from one goroutine, and notes what each peer must get, in which order.
type script struct {
	t    *testing.T
	l    *lab
	all  []*peer
	rnd  *rand.Rand
	in   map[*peer]map[string]bool
	want map[*peer][]string
	n    int
}

func newScript(t *testing.T, peers int) *script {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sc := &script{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), in: map[*peer]map[string]bool{}, want: map[*peer][]string{}}
	sc.l = newLab(t, &puppet{}, &wsctl.Options{Authenticate: userOf})
	for i := range peers {
		p := sc.l.peer(t, asUser([]string{"", "ann", "bob"}[i%3]))
		sc.all = append(sc.all, p)
		sc.in[p] = map[string]bool{}
	}
	return sc
}

func (sc *script) expect(typ string, has func(*peer) bool) {
	for _, p := range sc.all {
		if has(p) {
			sc.want[p] = append(sc.want[p], message(typ, sc.n))
		}
	}
}

// run takes n steps. All of it happens on the calling goroutine.
func (sc *script) run(n int) {
	hub := sc.l.hub
	for range n {
		sc.n++
		p := sc.all[sc.rnd.IntN(len(sc.all))]
		room := string(rune('a' + sc.rnd.IntN(3)))
		var err error
		switch op := sc.rnd.IntN(16); {
		case op < 2:
			err = p.s.Join(room)
			sc.in[p][room] = true
		case op == 2:
			p.s.Leave(room)
			delete(sc.in[p], room)
		case op < 5:
			err = p.s.Send("direct", sc.n)
			sc.expect("direct", func(q *peer) bool { return q == p })
		case op == 5:
			err = hub.Socket(p.s.ID()).Send("socket", sc.n)
			sc.expect("socket", func(q *peer) bool { return q == p })
		case op == 6:
			err = hub.User("ann").Send("user", sc.n)
			sc.expect("user", func(q *peer) bool { return q.s.Identity().User == "ann" })
		case op == 7:
			err = hub.Broadcast("all", sc.n)
			sc.expect("all", func(*peer) bool { return true })
		case op == 8:
			err = hub.Room(room).Except(p.s).Send(room, sc.n)
			sc.expect(room, func(q *peer) bool { return q != p && sc.in[q][room] })
		default:
			err = hub.Room(room).Send(room, sc.n)
			sc.expect(room, func(q *peer) bool { return sc.in[q][room] })
		}
		if err != nil {
			sc.t.Errorf("step %d: %v", sc.n, err)
		}
	}
}

// check reads everything.
func (sc *script) check() {
	sc.t.Helper()
	for _, p := range sc.all {
		p.want(sc.want[p]...)
		delete(sc.want, p)
	}
	quiet(sc.all...)
}

// One sender's messages arrive in the order of its Sends, whatever they were sent to: from outside the handlers.
func TestOrderFromOutside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := newScript(t, 7)
		for range 10 {
			sc.run(100)
			sc.check()
		}
	})
}

// The same from a method, with its answer behind them and further methods' messages behind that.
func TestOrderFromMethod(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := newScript(t, 7)
		caller := sc.all[0]
		step := func() {
			sc.run(50)
			must(t, sc.l.hub.Broadcast("last", 1))
			for _, p := range sc.all {
				sc.want[p] = append(sc.want[p], message("last", 1))
			}
		}
		sc.l.p.do = func(*wsctl.Socket, string) (any, error) { step(); return "done", nil }
		sc.l.p.wait = func(context.Context, *wsctl.Socket, string) (any, error) { step(); return "waited", nil }
		sc.l.p.close = func(*wsctl.Socket, error) {}
		id := 0
		for range 5 {
			// In one burst: three handled by the reader, or two by the reader and the rest by a worker.
			for _, calls := range [][]string{{"Do", "Do", "Do"}, {"Do", "Do", "Wait", "Do", "Wait"}} {
				var answers []string
				done := make(chan struct{})
				go func() { // want[caller] is complete, with the answers between, only when all have been handled
					defer close(done)
					for range calls {
						for {
							m := caller.read()
							answers = append(answers, m)
							if strings.HasPrefix(m, `{"type":"$reply"`) {
								break
							}
						}
					}
				}()
				for _, method := range calls {
					id++
					caller.send(fmt.Sprintf(`{"type":%q,"id":%d}`, method, id))
				}
				<-done
				var got []string
				for i, m := range answers {
					if !strings.HasPrefix(m, `{"type":"$reply"`) {
						got = append(got, m)
					} else if answers[i-1] != message("last", 1) {
						t.Errorf("before the answer %s came %s", m, answers[i-1])
					}
				}
				equal(t, "the caller's messages", got, sc.want[caller])
				delete(sc.want, caller)
				sc.check()
			}
		}
	})
}

// What was sent before Close comes before the close frame, from wherever it was sent; what comes later doesn't come.
func TestOrderOfClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := newScript(t, 9)
		for _, p := range sc.all {
			sc.run(60)
			var want []string
			want, sc.want[p] = sc.want[p], nil
			switch sc.rnd.IntN(3) {
			case 0:
				must(t, p.s.Close(4000, "end"))
			case 1:
				must(t, sc.l.hub.Socket(p.s.ID()).Close(4000, "end"))
			case 2:
				sc.l.p.do = func(s *wsctl.Socket, _ string) (any, error) {
					for i := range 3 {
						must(t, s.Send("before", i))
						must(t, sc.l.hub.Broadcast("before all", i))
					}
					return nil, &wsctl.CloseError{Code: 4000, Reason: "end"}
				}
				p.send(`{"type":"Do","id":1}`)
				<-p.s.Context().Done()
				for i := range 3 {
					for _, q := range sc.all[1:] {
						sc.want[q] = append(sc.want[q], message("before all", i))
					}
					want = append(want, message("before", i), message("before all", i))
				}
			}
			must(t, sc.l.hub.Broadcast("after", 1))
			sc.all = sc.all[1:]
			sc.expectAll(message("after", 1))
			p.want(want...)
			if _, b, err := p.ws.ReadMessage(); !websocket.IsCloseError(err, 4000) {
				t.Errorf("instead of the close frame: %s %v", b, err)
			}
		}
	})
}

func (sc *script) expectAll(m string) {
	for _, p := range sc.all {
		sc.want[p] = append(sc.want[p], m)
	}
}

// While a room's message is on its way to many members, what is sent to one of them directly waits for it.
func TestOrderBehindManyMembers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		all := l.peers(t, 100, "r")
		last := all[len(all)-1]
		const messages = 100
		for i := range messages {
			must(t, l.hub.Room("r").Send("room", i))
			if i%4 > 0 {
				runtime.Gosched() // lets the fan-out begin
			}
			must(t, last.s.Send("direct", i))
		}
		for i := range messages {
			last.want(message("room", i), message("direct", i))
		}
	})
}

// A joiner gets what is sent once Join has returned and nothing that was sent before, though both wait for the same fan-out.
func TestJoinIsAPoint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var l *lab
		var old, joiner *peer
		// All of it from a method, whose messages to rooms are fanned out together.
		l = newLab(t, &puppet{do: func(*wsctl.Socket, string) (any, error) {
			r := l.hub.Room("r")
			for i := range 10 {
				must(t, r.Send("before", i))
				join(t, joiner.s, "r")
				must(t, r.Send("joined", i))
				join(t, joiner.s, "r") // again: changes nothing
				must(t, r.Send("joined", i))
				joiner.s.Leave("r")
				must(t, r.Send("after", i))
			}
			return nil, nil
		}}, nil)
		old, joiner = l.peer(t, nil), l.peer(t, nil)
		join(t, old.s, "r")
		old.send(`{"type":"Do","id":1}`)
		for i := range 10 {
			old.want(message("before", i), message("joined", i), message("joined", i), message("after", i))
			joiner.want(message("joined", i), message("joined", i))
		}
		old.want(replied(1, ""))
		quiet(old, joiner)
	})
}

// sequence is a message of one of many senders.
type sequence struct {
	From int    `json:"from"`
	N    int    `json:"n"`
	Room string `json:"room"`
}

func (p *peer) sequence(t testing.TB) (typ string, q sequence) {
	t.Helper()
	var m struct {
		Type string
		Data sequence
	}
	if err := json.Unmarshal([]byte(p.read()), &m); err != nil {
		t.Fatal(err)
	}
	return m.Type, m.Data
}

// Many senders at once, half of them methods: each one's order holds at every receiver, over all rooms, each message comes
// once, and all receivers of a room see its messages in one order.
func TestOrderManySenders(t *testing.T) {
	const senders, receivers, each = 8, 6, 150
	rooms := []string{"a", "b", "c", ""} // "" is everyone
	bubble(t, func(t *testing.T) {
		var l *lab
		send := func(from int) {
			rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
			for n := range each {
				r := l.hub.Everyone()
				room := rooms[rnd.IntN(len(rooms))]
				if room != "" {
					r = l.hub.Room(room)
				}
				must(t, r.Send("m", sequence{from, n, room}))
			}
		}
		l = newLab(t, &puppet{do: func(_ *wsctl.Socket, arg string) (any, error) {
			from, err := strconv.Atoi(arg)
			send(from)
			return nil, err
		}}, &wsctl.Options{SendBuffer: 16 << 20})
		all := l.peers(t, receivers, "a", "b", "c")
		methods := l.peers(t, senders/2) // in no room, but part of everyone
		var wg sync.WaitGroup
		for from := range senders / 2 {
			wg.Go(func() { send(from) })
			methods[from].send(fmt.Sprintf(`{"type":"Do","data":"%d"}`, senders/2+from))
		}
		orders := make([]map[string][]sequence, receivers)
		for i, p := range all {
			wg.Go(func() {
				next := [senders]int{}
				orders[i] = map[string][]sequence{}
				for range senders * each {
					_, q := p.sequence(t)
					if q.N != next[q.From] {
						t.Errorf("receiver %d got %d of sender %d, want %d", i, q.N, q.From, next[q.From])
						return
					}
					next[q.From]++
					orders[i][q.Room] = append(orders[i][q.Room], q)
				}
			})
		}
		wg.Wait()
		quiet(all...)
		for _, room := range rooms {
			for i := range all {
				equal(t, fmt.Sprintf("room %q at receiver %d", room, i), orders[i][room], orders[0][room])
			}
		}
	})
}

// Publishers, sockets that join and leave, and sockets that are closed, all at once. Between Join and Leave a socket gets
// each publisher's messages without a gap and once; its own messages to the room bound each stay.
func TestOrderStress(t *testing.T) {
	const publishers, members, stays = 3, 5, 25
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{SendBuffer: 64 << 20})
		ctx, stop := context.WithCancel(t.Context())
		room := l.hub.Room("r")
		var pubs, wg sync.WaitGroup
		l.peers(t, 1, "r")[0].drop() // so that there is a room to send to
		for from := range publishers {
			pubs.Go(func() {
				for n := 0; ctx.Err() == nil && n < 20000; n++ {
					must(t, room.Send("m", sequence{From: from, N: n}))
				}
			})
		}
		for i := range members {
			p, closing := l.peer(t, nil), i == 0
			wg.Go(func() {
				for n := range stays {
					must(t, p.s.Send("join", n))
					join(t, p.s, "r")
					must(t, room.Send("mine", sequence{From: i, N: n}))
					if closing && n == stays-1 {
						break
					}
					p.s.Leave("r")
					must(t, p.s.Send("left", n))
					must(t, room.Send("mine", sequence{From: i, N: -1})) // to the others
				}
				must(t, p.s.Close(4000, ""))
			})
			wg.Go(func() { p.checkStays(t, i, publishers, stays, closing) })
		}
		wg.Wait()
		stop()
		pubs.Wait()
	})
}

// checkStays reads what TestOrderStress sends to the member me.
func (p *peer) checkStays(t *testing.T, me, publishers, stays int, closing bool) {
	last := make([]int, publishers) // of each publisher's numbers in this stay
	in, mine, n := false, 0, 0
	for {
		var m struct {
			Type string
			Data json.RawMessage
		}
		_, b, err := p.ws.ReadMessage()
		if ce := (*websocket.CloseError)(nil); errors.As(err, &ce) {
			if ce.Code != 4000 || in != closing || mine != stays {
				t.Errorf("member %d: closed with %d in stay %d of %d, %d messages of its own", me, ce.Code, n, stays, mine)
			}
			return
		}
		must(t, err)
		must(t, json.Unmarshal(b, &m))
		var q sequence
		if m.Data[0] == '{' {
			must(t, json.Unmarshal(m.Data, &q))
		}
		switch {
		case m.Type == "join":
			in = true
			n++
			clear(last)
		case m.Type == "left":
			in = false
			if mine != n {
				t.Errorf("member %d: %d messages of its own in %d stays", me, mine, n)
				return
			}
		case !in:
			t.Errorf("member %d: out of the room it got %s", me, b)
			return
		case m.Type == "mine" && q.From == me:
			if mine++; q.N != n-1 {
				t.Errorf("member %d: in stay %d it got its %d", me, n-1, q.N)
				return
			}
		case m.Type == "m":
			if l := last[q.From]; l > 0 && q.N != l {
				t.Errorf("member %d: after %d of publisher %d came %d", me, l-1, q.From, q.N)
				return
			}
			last[q.From] = q.N + 1
		}
	}
}

// drop reads everything and forgets it, until the end.
func (p *peer) drop() {
	go func() {
		for {
			if _, _, err := p.ws.ReadMessage(); err != nil {
				return
			}
		}
	}()
}
