package client_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl/client"
)

var chaosSeeds = flag.Int("chaos", 10, "how many seeds TestChaos tries")

// hole is a connection that can fall silent: what is written is lost, and nothing comes, until it is closed.
type hole struct {
	net.Conn
	mu     sync.Mutex // guards following
	silent bool
}

func (h *hole) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent = true
}

func (h *hole) quiet() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent
}

func (h *hole) Write(b []byte) (int, error) {
	if h.quiet() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}

func (h *hole) Read(b []byte) (int, error) {
	for {
		n, err := h.Conn.Read(b)
		if err != nil || !h.quiet() {
			return n, err
		}
	}
}

// Connections are cut and fall silent at any time; within the resume window nothing is lost, doubled or out of order.
func TestChaos(t *testing.T) {
	for seed := range uint64(*chaosSeeds) {
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, rand.New(rand.NewPCG(seed, 1))) })
		})
		if !ok {
			return
		}
	}
}

func chaos(t *testing.T, r *rand.Rand) {
	d := &desk{}
	w := realServer(t, d, nil)
	var mu sync.Mutex // guards following
	var conns []*hole
	c, err := client.Dial(t.Context(), "ws://server/", &client.Options{
		MaxDelay: time.Second,
		MaxQueue: 10_000,
		Dialer: &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := w.l.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			h := &hole{Conn: conn}
			conns = append(conns, h)
			return h, nil
		}},
		Lost: func(n int) { t.Errorf("%d messages are lost", n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Abort)
	var got []int
	client.On(c, "Echoed", func(n int) { got = append(got, n) })
	client.Handle(c, "half", func(_ context.Context, n int) (int, error) { return n / 2, nil })
	synctest.Wait()
	time.Sleep(time.Millisecond) // so that the server has the first $ack

	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	wg.Go(func() {
		if n, err := client.Upload[int](ctx, c, "Sum", 0, numbers(300, nil)); n != 300*299/2 || err != nil {
			t.Errorf("Sum: %d, %v", n, err)
		}
	})
	wg.Go(func() {
		next := 0
		for n, err := range client.Stream[int](ctx, c, "Count", 300) {
			if n != next || err != nil {
				t.Errorf("Count: %d, %v, want %d", n, err, next)
				return
			}
			next++
			time.Sleep(time.Second / 10)
		}
		if next != 300 {
			t.Errorf("%d items", next)
		}
	})
	wg.Go(func() {
		for i := range 50 {
			if n, err := client.Call[int](ctx, c, "Ask", 2*i); n != i || err != nil {
				t.Errorf("Ask: %d, %v, want %d", n, err, i)
				return
			}
			time.Sleep(time.Second)
		}
	})
	var want []int
	for i := range 300 {
		want = append(want, i)
		if c.Send("Note", i) != nil || c.Send("Echo", i) != nil {
			t.Fatal("the queue is full")
		}
		mu.Lock()
		h := conns[len(conns)-1]
		mu.Unlock()
		switch r.IntN(20) {
		case 0:
			_ = h.Close()
		case 1:
			h.swallow()
			if r.IntN(2) == 0 {
				c.Redial()
			}
		}
		time.Sleep(time.Duration(r.Int64N(int64(time.Second))))
	}
	wg.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := d.notes(); !slices.Equal(n, want) {
		t.Errorf("the server has %v", n)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the client has %v", got)
	}
}
