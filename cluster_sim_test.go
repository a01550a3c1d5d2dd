package wsctl_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	wsclient "github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/mempipe"
	"github.com/wsctl/wsctl/wsctltest"
)

var (
	clusterSeeds = flag.Int("cluster.seeds", 30, "how many seeds TestClusterSimulation runs")
	clusterSeed  = flag.Uint64("cluster.seed", 0, "the only one, if not 0")
)

// TestClusterSimulation has clients lose connections and sessions, come back to any of three nodes, and nodes lose their broker,
// single messages of it, get them twice or late, while messages are sent to a room that keeps history. Each client must get all
// messages once, in one order, or be told where some are missing.
func TestClusterSimulation(t *testing.T) {
	for i := range *clusterSeeds {
		seed := uint64(i + 1)
		if *clusterSeed != 0 {
			seed = *clusterSeed
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { simulateCluster(t, seed) })
		})
		if *clusterSeed != 0 || t.Failed() {
			return
		}
	}
}

// world is one run.
type clusterWorld struct {
	t       *testing.T
	rng     *rand.Rand
	brokers []*wsctltest.Broker
	nodes   []*node
	doors   []*mempipe.Listener
	members []*simMember

	mu  sync.Mutex       // guards following
	all []int            // the messages, in the broker's order
	at  map[string]int   // how many there are up to a position
	had map[int]struct{} // of all
	net *rand.Rand
}

// simMember is a client, and what it was told, in order.
type simMember struct {
	c *wsclient.Client

	mu    sync.Mutex // guards following
	told  []simEvent
	conns []net.Conn
}

// simEvent is a message, or $room.
type simEvent struct {
	n         int    // the message
	pos       string // of either
	recovered string // of $room; empty: a message
}

var simNumber = regexp.MustCompile(`"data":(\d+)`)

func simulateCluster(t *testing.T, seed uint64) {
	w := &clusterWorld{t: t, rng: rand.New(rand.NewPCG(seed, 1)), net: rand.New(rand.NewPCG(seed, 2)), at: map[string]int{}, had: map[int]struct{}{}}
	first := wsctltest.NewBroker()
	keep := wsctl.Retention{Messages: 40}
	for i := range 3 {
		b := first
		if i > 0 {
			b = first.Node()
		}
		w.brokers = append(w.brokers, b)
		n := newNode(t, &wsctl.Hub{Broker: b, History: func(string) wsctl.Retention { return keep }}, wsctl.Options{Resume: 2 * time.Second})
		w.nodes = append(w.nodes, n)
		door := mempipe.Listen()
		srv := &http.Server{Handler: n.handler}
		go srv.Serve(door)
		t.Cleanup(func() { srv.Close(); door.Close() })
		w.doors = append(w.doors, door)
	}
	recorder := first.Node()
	stop, err := recorder.Subscribe(t.Context(), "rk", w.record)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for range 5 {
		w.members = append(w.members, w.join())
	}
	forgets := seed%3 == 0 // else whoever is told of a loss had missed more than is kept
	sent := 0
	for range 300 {
		w.step(&sent, forgets)
	}
	for _, b := range w.brokers {
		b.Calls(nil)
		b.Deliveries(nil)
		b.Reconnect()
	}
	time.Sleep(3 * time.Minute) // everybody comes back, quiet rooms are looked at
	synctest.Wait()
	for i, m := range w.members {
		w.check(i, m)
	}
	for _, m := range w.members {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = m.c.Close(ctx)
		cancel()
	}
}

// record notes the broker's order.
func (w *clusterWorld) record(pos string, msg []byte) {
	if msg == nil {
		return
	}
	n, _ := strconv.Atoi(string(simNumber.FindSubmatch(msg)[1]))
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, had := w.had[n]; had {
		w.t.Errorf("message %d was published twice", n)
	}
	w.had[n] = struct{}{}
	w.all = append(w.all, n)
	w.at[pos] = len(w.all)
	if epoch, found := cutOffset(pos, "1"); found {
		w.at[epoch+".0"] = len(w.all) - 1
	}
}

func sameEpoch(a, b string) bool {
	epoch, _, _ := strings.Cut(a, ".")
	return strings.HasPrefix(b, epoch+".")
}

func cutOffset(pos, offset string) (epoch string, found bool) {
	epoch = pos[:max(0, len(pos)-len(offset)-1)]
	return epoch, pos == epoch+"."+offset
}

// join makes a client that joins the room whenever its session is a new one.
func (w *clusterWorld) join() *simMember {
	m := &simMember{}
	dialer := &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		w.mu.Lock()
		door := w.doors[w.net.IntN(len(w.doors))]
		w.mu.Unlock()
		nc, err := door.DialContext(ctx)
		if err == nil {
			m.mu.Lock()
			m.conns = append(m.conns, nc)
			m.mu.Unlock()
		}
		return nc, err
	}}
	m.c = wsclient.New("ws://room", &wsclient.Options{Dialer: dialer, Logger: newLogger(), MaxDelay: time.Second, State: func(s wsclient.State, _ error) {
		if s == wsclient.Open && !m.c.Info().Resumed {
			go m.enter(w.t.Context())
		}
	}})
	wsclient.OnMessage(m.c, "said", func(msg wsclient.Message[int]) { m.note(simEvent{n: msg.Data, pos: msg.Pos}) })
	wsclient.On(m.c, "$room", func(r wsclient.RoomState) {
		e := simEvent{pos: r.Pos, recovered: "null"}
		if r.Recovered != nil {
			e.recovered = strconv.FormatBool(*r.Recovered)
		}
		m.note(e)
	})
	go m.c.Connect(w.t.Context())
	return m
}

// enter joins the room, when the node can.
func (m *simMember) enter(ctx context.Context) {
	for ctx.Err() == nil {
		err := m.c.Call(ctx, "Join", "k", nil)
		if err == nil || errors.Is(err, wsclient.ErrClosed) {
			return
		}
		_ = pause(ctx, 500*time.Millisecond)
	}
}

func (m *simMember) note(e simEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, e)
}

// cut loses a client's connection.
func (m *simMember) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, nc := range m.conns {
		nc.Close()
	}
	m.conns = nil
}

// step does one thing.
func (w *clusterWorld) step(sent *int, forgets bool) {
	r := w.rng
	i := r.IntN(3)
	b := w.brokers[i]
	switch p := r.IntN(100); {
	case p < 60:
		for range 1 + r.IntN(4) {
			*sent++
			_ = w.nodes[i].hub.Room("k").Send("said", *sent)
		}
	case p < 70:
		w.members[r.IntN(len(w.members))].cut()
	case p < 75:
		b.Cut()
	case p < 82:
		b.Reconnect()
	case p < 88:
		disturb(b, w.rng.Uint64())
	case p < 92:
		b.Deliveries(nil)
		b.Calls(nil)
	case p < 94:
		delay := time.Duration(r.IntN(3000)) * time.Millisecond
		b.Calls(func(ctx context.Context, method, _ string, call func() error) error {
			if method == "Since" || method == "Subscribe" {
				if err := pause(ctx, delay); err != nil {
					return err
				}
			}
			return call()
		})
	case p < 95:
		b.Calls(func(_ context.Context, _, _ string, call func() error) error {
			_ = call()
			return fmt.Errorf("an answer that is lost")
		})
	case p < 96 && forgets:
		b.Forget()
	default:
		time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
	}
	if r.IntN(3) > 0 {
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
	}
}

// disturb has some messages of a node's get lost, come twice or late.
func disturb(b *wsctltest.Broker, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	var mu sync.Mutex
	late := map[string]func(){}
	b.Deliveries(func(topic, pos string, msg []byte, deliver func(string, []byte)) {
		mu.Lock()
		what, held := rng.IntN(10), late[topic]
		delete(late, topic)
		if what == 2 {
			late[topic] = func() { deliver(pos, msg) }
		}
		mu.Unlock()
		switch what {
		case 0: // lost
		case 1:
			deliver(pos, msg)
			deliver(pos, msg)
		case 2:
		default:
			deliver(pos, msg)
		}
		if held != nil {
			held()
		}
	})
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check goes through what a client was told.
func (w *clusterWorld) check(i int, m *simMember) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	next := -1 // how many messages it has, or knows to be lost
	last := ""
	at := func(pos string) int {
		n, ok := w.at[pos]
		if _, empty := cutOffset(pos, "0"); !ok && !empty {
			w.t.Errorf("member %d: unknown position %q", i, pos)
		} else if !ok { // of an epoch without messages: the newest
			n = len(w.all)
		}
		return n
	}
	for j, e := range m.told {
		switch {
		case e.recovered == "":
			if next < 0 || next >= len(w.all) || w.all[next] != e.n {
				w.t.Errorf("member %d got %d (%s), not what follows %d: event %d of %v", i, e.n, e.pos, next, j, m.told[max(0, j-8):j+1])
				return
			}
			if next++; at(e.pos) != next {
				w.t.Errorf("member %d got %d at %s", i, e.n, e.pos)
			}
		case e.recovered == "true":
			if at(e.pos) != next {
				w.t.Errorf("member %d recovers from %s, and has %d: event %d of %v", i, e.pos, next, j, m.told[max(0, j-8):j+1])
				return
			}
		case e.recovered == "null" && next >= 0 && at(e.pos) != next:
			w.t.Errorf("member %d isn't told that it has lost something: event %d of %v", i, j, m.told[max(0, j-8):j+1])
			return
		case e.recovered == "false" && at(e.pos) < next && sameEpoch(e.pos, last):
			w.t.Errorf("member %d is sent back: event %d of %v", i, j, m.told[max(0, j-8):j+1])
			return
		default:
			next = at(e.pos)
		}
		if e.pos != "" {
			last = e.pos
		}
	}
	if next != len(w.all) {
		w.t.Errorf("member %d has %d of %d at the end; last events %v", i, next, len(w.all), m.told[max(0, len(m.told)-8):])
	}
	if !slices.ContainsFunc(m.told, func(e simEvent) bool { return e.recovered == "true" }) && len(m.told) > 200 {
		w.t.Logf("member %d never recovered", i)
	}
}
