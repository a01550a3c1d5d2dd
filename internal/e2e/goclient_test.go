package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// The proxy and the ledger are what the tests of the browser take them for: the Go client loses nothing either.
func TestProxyWithGoClient(t *testing.T) {
	for name, spoil := range map[string]func(s *site){
		"FIN":  func(s *site) { s.fin() },
		"RST":  func(s *site) { s.rst() },
		"hole": func(s *site) { s.hole() },
		"hang": func(s *site) {
			then := time.Now()
			s.hang()
			until(s.t, "a dial", func() bool { return s.dialsSince(then) > 0 })
		},
		"refused": func(s *site) { s.refuse() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goClient(t, spoil)
		})
	}
}

func goClient(t *testing.T, spoil func(*site)) {
	s := serveLedger(t, wsctl.Options{PingInterval: time.Second, PingTimeout: time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	states := make(chan client.State, 100)
	var mu sync.Mutex // guards ticks
	var ticks []int
	c := client.New(s.url()+"/ws", &client.Options{
		MaxDelay:       time.Second,
		ConnectTimeout: time.Second,
		State:          func(s client.State, _ error) { states <- s },
		Lost:           func(n int) { t.Errorf("%d messages are lost", n) },
	})
	defer c.Abort()
	client.On(c, "tick", func(n int) {
		mu.Lock()
		defer mu.Unlock()
		ticks = append(ticks, n)
	})
	client.Handle(c, "half", func(_ context.Context, n int) (int, error) { return n / 2, nil })
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "open", func() bool { return <-states == client.Open })

	var spanning sync.WaitGroup
	half := make(chan struct{})
	numbers := func(yield func(int, error) bool) {
		for i := range 100 {
			if i == 50 {
				<-half
			}
			if !yield(i, nil) {
				return
			}
		}
	}
	spanning.Go(func() {
		if n, err := client.Upload[int](ctx, c, "Sum", 0, numbers); n != 4950 || err != nil {
			t.Errorf("Sum: %d, %v", n, err)
		}
	})
	for n := range 100 {
		c.Send("Note", n)
	}
	spanning.Go(func() {
		if n, err := client.Call[int](ctx, c, "Slow", 1); n != 1 || err != nil {
			t.Errorf("Slow: %d, %v", n, err)
		}
	})
	receive(t, "Slow", s.begun)
	spanning.Go(func() { tick(t, 0, 100, s.socket().Send) })
	spoil(s)
	close(half)
	for n := 100; n < 200; n++ {
		c.Send("Note", n)
	}
	until(t, "the loss", func() bool { return <-states != client.Open })
	s.release(1)
	s.restore()
	spanning.Wait()
	if n, err := client.Call[int](ctx, c, "Ask", 8); n != 4 || err != nil {
		t.Errorf("Ask: %d, %v", n, err)
	}
	checkNumbers(t, "notes", s.noted(), 200)
	checkNumbers(t, "items", s.uploaded(), 100)
	heard := func() int { mu.Lock(); defer mu.Unlock(); return len(ticks) }
	until(t, "all ticks", func() bool { return heard() >= 100 }) // a result may overtake what waits for its function
	if n := s.runs()[1]; n != 1 || !c.Info().Resumed {
		t.Errorf("Slow ran %d times; resumed: %v", n, c.Info().Resumed)
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
	checkNumbers(t, "ticks", ticks, 100)
}
