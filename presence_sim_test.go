package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// TestPresenceSimulation puts presence under faults: in the end each watcher knows who is there, and on its way none was told the same
// twice. It runs a third of TestClusterSimulation's seeds, which cost less.
func TestPresenceSimulation(t *testing.T) {
	for seed := uint64(1); seed <= uint64(*clusterSeeds+2)/3; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { simPresence(t, seed) })
		})
		if t.Failed() {
			return
		}
	}
}

func simPresence(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 9))
	first := wsctltest.NewBroker()
	var nodes []*node
	var brokers []*wsctltest.Broker
	start := func() {
		b := first.Node()
		brokers = append(brokers, b)
		nodes = append(nodes, newNode(t, &wsctl.Hub{Broker: b, History: keepTen}, wsctl.Options{}))
	}
	start()
	start()
	start()
	rooms := []string{"r", "q"}
	type cl struct {
		c    *wsctltest.Client
		node int
		in   map[string]bool
	}
	var clients []*cl
	type vw struct {
		v    *viewer
		room string
		node int
	}
	var viewers []vw
	stopped := map[int]bool{}
	pick := func() int {
		for {
			if i := r.IntN(len(nodes)); !stopped[i] {
				return i
			}
		}
	}
	for k, c := range crowd(t, nodes[0], "r", 450) {
		clients = append(clients, &cl{c, 0, map[string]bool{"r": true}})
		_ = k
	}
	viewers = append(viewers, vw{watchRoom(t, nodes[1].hub.Room("r")), "r", 1})
	for range 250 {
		i := pick()
		switch p := r.IntN(100); {
		case p < 12:
			clients = append(clients, &cl{wsctltest.Dial(t, nodes[i].handler, nil), i, map[string]bool{}})
		case p < 60 && len(clients) > 0:
			c := clients[r.IntN(len(clients))]
			room := rooms[r.IntN(2)]
			if c.in[room] = !c.in[room]; c.in[room] {
				if c.c.Call("Join", room, nil) != nil {
					c.in[room] = false
				}
			} else {
				_ = c.c.Call("Leave", room, nil)
			}
		case p < 64 && len(clients) > 3:
			k := r.IntN(len(clients))
			clients[k].c.Cut()
			clients = append(clients[:k], clients[k+1:]...)
		case p < 68 && len(viewers) < 8:
			room := rooms[r.IntN(2)]
			viewers = append(viewers, vw{watchRoom(t, nodes[i].hub.Room(room)), room, i})
		case p < 70 && len(viewers) > 3:
			k := r.IntN(len(viewers))
			viewers[k].v.cancel()
			viewers = append(viewers[:k], viewers[k+1:]...)
		case p < 72:
			brokers[i].Cut()
		case p < 77:
			brokers[i].Reconnect()
		case p < 82:
			disturb(brokers[i], r.Uint64())
		case p < 86:
			brokers[i].Deliveries(nil)
		case p < 87 && r.IntN(2) == 0:
			q := r.Uint64()
			rng := rand.New(rand.NewPCG(q, 4))
			var mu sync.Mutex
			brokers[i].Calls(func(ctx context.Context, method, _ string, call func() error) error {
				mu.Lock()
				what, d := rng.IntN(5), time.Duration(rng.IntN(2000))*time.Millisecond
				mu.Unlock()
				switch {
				case method != "Publish":
				case what == 0:
					return errors.New("fails")
				case what == 1:
					if err := pause(ctx, d); err != nil {
						return err
					}
				case what == 2:
					_ = call()
					return errors.New("an answer that is lost")
				}
				return call()
			})
		case p < 87 && r.IntN(2) == 0:
			brokers[i].Calls(nil)
		case p < 87 && len(nodes) < 6:
			start()
		case p < 88 && len(nodes)-len(stopped) > 2:
			// an orderly end
			var rest []*cl
			for _, c := range clients {
				if c.node != i {
					rest = append(rest, c)
				}
			}
			clients = rest
			var v2 []vw
			for _, v := range viewers {
				if v.node == i {
					v.v.cancel()
				} else {
					v2 = append(v2, v)
				}
			}
			viewers = v2
			stopped[i] = true
			if err := nodes[i].handler.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		default:
			time.Sleep(time.Duration(r.IntN(6000)) * time.Millisecond)
		}
		if r.IntN(4) == 0 {
			time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		}
	}
	for _, b := range brokers {
		b.Deliveries(nil)
		b.Calls(nil)
		b.Reconnect()
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	for _, v := range viewers {
		want := 0
		for _, c := range clients {
			if c.in[v.room] {
				want++
			}
		}
		if n := v.v.size(); n != want || v.v.doubles > 0 {
			t.Errorf("room %s, node %d: %d members, not %d; %d doubles", v.room, v.node, n, want, v.v.doubles)
		}
		m, err := nodes[v.node].hub.Room(v.room).Members(t.Context())
		if err != nil || len(m) != want {
			t.Errorf("Members: %d, not %d, %v", len(m), want, err)
		}
		v.v.cancel()
	}
}
