package wsctl_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// TestSoak lets sockets end in all ways at random moments, while methods of both kinds run and rooms are sent to, and then
// shuts down: hooks are told once, answers come in order, every count comes back to 0, no goroutine is left.
func TestSoak(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		bubble(t, func(t *testing.T) { soak(t, uint64(round)) })
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func soak(t *testing.T, seed uint64) {
	inOrder := seed%2 == 0
	var opened, told, functions atomic.Int64
	p := &puppet{sockets: make(chan *wsctl.Socket, 1000), close: func(*wsctl.Socket, error) { told.Add(1) }}
	h, log := newHandler(t, p, &wsctl.Options{SendBuffer: 3000, Concurrency: 1 + int(seed%2)})
	// The network is slow and small: queues fill, and some clients are closed as slow.
	l := &lab{server: serveOver(t, h, 700, nil), h: h, hub: h.Hub(), p: p, log: log}
	go func() {
		for s := range p.sockets {
			opened.Add(1)
			s.OnClose(func(error) { functions.Add(1) })
			_, _ = s.Join("a"), s.Join("b") // it may have ended
		}
	}()
	p.do = func(s *wsctl.Socket, arg string) (any, error) {
		_ = l.hub.Room("a").Send("m", arg)
		_ = s.Send("own", arg)
		_ = l.hub.Room("b").Except(s).Send("m", arg)
		switch arg {
		case "leave":
			s.Leave("b")
		case "close":
			_ = s.Close(1000, "")
		case "error":
			return nil, &wsctl.CloseError{Code: 4000}
		}
		return arg, nil
	}
	p.wait = func(ctx context.Context, s *wsctl.Socket, arg string) (any, error) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(len(arg)) * 300 * time.Microsecond):
		}
		return p.do(s, arg)
	}
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() { soakClient(t, l, rand.New(rand.NewPCG(seed, uint64(i))), inOrder) })
	}
	if seed%3 == 0 {
		clients.Wait()
	} else {
		time.Sleep(time.Duration(1+seed%20) * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, h.Shutdown(ctx))
	clients.Wait()
	close(p.sockets)
	synctest.Wait()
	st := h.Stats()
	var closed uint64
	for _, n := range st.Closed {
		closed += n
	}
	if n := opened.Load(); n == 0 || told.Load() != n || functions.Load() != n || st.Opened != uint64(n) || closed != uint64(n) {
		t.Errorf("%d sockets, OnClose told of %d, functions of %d, %+v", n, told.Load(), functions.Load(), st)
	}
	if st.Sockets+st.Rooms+st.Calls+st.QueuedBytes+l.hub.PendingBytes() != 0 {
		t.Errorf("left: %+v", st)
	}
}

// soakClient sends, and goes when it likes, or when it is told to.
func soakClient(t *testing.T, l *lab, dice *rand.Rand, inOrder bool) {
	c, _, err := l.tryDial(t, nil)
	if err != nil {
		return // Shutdown was faster
	}
	go func() {
		defer c.nc.Close()
		last := int64(0)
		for {
			_, b, err := c.ws.ReadMessage()
			if err != nil {
				return
			}
			var m wsctl.Message
			if err := json.Unmarshal(b, &m); err != nil {
				t.Error(err)
			}
			if m.Type[0] == '$' && inOrder {
				if m.ID <= last {
					t.Errorf("the end of %d after that of %d", m.ID, last)
				}
				last = m.ID
			}
		}
	}()
	args := []string{"x", "xx", "leave", "xxxx", "y", "yy"}
	for id := 1; id < 40; id++ {
		arg := args[dice.IntN(len(args))]
		switch dice.IntN(150) {
		case 0:
			arg = "close"
		case 1:
			arg = "error"
		case 2:
			c.nc.Close()
			return
		}
		m := call(id, []string{"Do", "Wait"}[dice.IntN(2)], strconv.Quote(arg))
		if c.ws.WriteMessage(1, []byte(m)) != nil {
			return
		}
		if dice.IntN(8) == 0 {
			time.Sleep(time.Duration(dice.IntN(3000)) * time.Microsecond)
		}
	}
}
