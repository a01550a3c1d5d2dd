package wsctl

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl/internal/membroker"
)

type revBroker struct{ memory }

func revNode(t *testing.T, b *membroker.Broker) (*Hub, *Handler) {
	h := &Hub{Broker: revBroker{memory{b}}}
	hd := New(raceCtl{}, &Options{Hub: h, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _ = hd.Shutdown(context.Background()) })
	return h, hd
}

func revSocket(h *Hub, hd *Handler, id string, room string) *Socket {
	s := hd.newSocket(id + h.suffix())
	s.identify(Identity{})
	h.enter(s)
	if err := s.Join(room); err != nil {
		panic(err)
	}
	return s
}

func revWatch(t *testing.T, r Room) (seen chan Presence, cancel func()) {
	ctx, cancel := context.WithCancel(context.Background())
	seen = make(chan Presence, 1000)
	go func() {
		for p := range r.Watch(ctx) {
			seen <- p
		}
	}()
	return seen, cancel
}

// A change that finds too much waiting is told later.
func TestChangesDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &membroker.Broker{}
		h1, hd1 := revNode(t, b)
		h2, hd2 := revNode(t, b)
		s1 := revSocket(h1, hd1, "one", "r")
		x := revSocket(h2, hd2, "x", "r")
		seen, cancel := revWatch(t, h1.Room("r"))
		time.Sleep(2 * time.Second)
		drain := func() (n int) {
			synctest.Wait()
			for len(seen) > 0 {
				if p := <-seen; p.Joined {
					n++
				} else {
					n--
				}
			}
			return n
		}
		members := drain()
		l := h2.linked.Load()
		block := make(chan struct{})
		h2.mu.Lock()
		l.postLocked(func() { <-block })
		for range maxOutgoing {
			l.postLocked(func() {})
		}
		h2.mu.Unlock()
		y := revSocket(h2, hd2, "y", "r") // isn't told
		close(block)
		time.Sleep(time.Second)
		z := revSocket(h2, hd2, "z", "r") // is
		time.Sleep(2 * time.Minute)
		if members += drain(); members != 4 {
			t.Errorf("the watcher knows of %d members, not 4", members)
		}
		cancel()
		for _, s := range []*Socket{s1, x, y, z} {
			h := s.h.hub
			_ = h.exit(s)
		}
	})
}

// A node that was paused doesn't take all others for dead.
func TestPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &membroker.Broker{}
		h1, hd1 := revNode(t, b)
		h2, hd2 := revNode(t, b)
		s1 := revSocket(h1, hd1, "one", "r")
		x := revSocket(h2, hd2, "x", "r")
		seen, cancel := revWatch(t, h1.Room("r"))
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		for len(seen) > 0 {
			<-seen
		}
		l := h1.linked.Load()
		h1.mu.Lock() // what the clock does to a process that is stopped for 11 s: nothing was heard, no tick came
		for n := range l.cluster.nodes {
			l.cluster.nodes[n] = time.Now().Add(-11 * time.Second)
		}
		l.cluster.beat = time.Now().Add(-11 * time.Second)
		l.ticked = l.cluster.beat
		h1.mu.Unlock()
		l.tick()
		m, err := h1.Room("r").Members(context.Background())
		if len(m) != 2 && err == nil {
			t.Errorf("Members: %v", m)
		}
		synctest.Wait()
		if len(seen) > 0 {
			t.Errorf("the watcher sees %v", <-seen)
		}
		cancel()
		time.Sleep(time.Second)
		_, _ = h1.exit(s1), h2.exit(x)
	})
}
