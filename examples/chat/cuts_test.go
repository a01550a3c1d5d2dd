package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// network is a listener that knows the ends of its connections, to cut them.
type network struct {
	*mempipe.Listener

	mu   sync.Mutex // guards following
	ends map[string][2]net.Conn
}

func (n *network) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		n.note(c.RemoteAddr(), 1, c)
	}
	return c, err
}

func (n *network) note(name net.Addr, end int, c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ends := n.ends[name.String()]
	ends[end] = c
	n.ends[name.String()] = ends
}

// cut ends a connection at one end. What is on the way to that end is lost.
func (n *network) cut(name net.Addr, end int) {
	n.mu.Lock()
	c := n.ends[name.String()][end]
	n.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// speaker is a guest with the Go client.
type speaker struct {
	*client.Client
	name string

	mu    sync.Mutex // guards following
	wire  net.Addr   // the connection of now
	dials int
	heard []Line
	gone  []Departure
	lost  int
}

func (n *network) speaker(name string) *speaker {
	s := &speaker{name: name}
	s.Client = client.New("ws://chat/ws", &client.Options{
		Dialer: &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := n.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			n.note(c.LocalAddr(), 0, c)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.wire = c.LocalAddr()
			s.dials++
			return c, nil
		}},
		MaxDelay: time.Second, // the connection is cut far more often than that of a person
		Logger:   slog.New(slog.DiscardHandler),
		Lost: func(int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lost++
		},
	})
	client.On(s.Client, "said", func(l Line) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.heard = append(s.heard, l)
	})
	client.On(s.Client, "left", func(d Departure) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gone = append(s.gone, d)
	})
	return s
}

// say says a line once, and waits when it's told to. It returns the line's number.
func (s *speaker) say(ctx context.Context, text string) (int64, error) {
	for {
		n, err := client.Call[int64](ctx, s.Client, "say", Words{"lobby", text})
		var e *wsctl.Error
		if !errors.As(err, &e) || e.Code != wsctl.CodeTooMany {
			return n, err
		}
		var data struct{ Retry int64 }
		raw, _ := e.Data.(json.RawMessage)
		if err := json.Unmarshal(raw, &data); err != nil || data.Retry <= 0 {
			return 0, fmt.Errorf("refused without saying for how long: %w, %s", err, raw)
		}
		time.Sleep(time.Duration(data.Retry) * time.Millisecond)
	}
}

// Connections are cut again and again, at either end, and everybody hears every line once, in one order. Nobody is told
// that anybody has left: a session outlives its connections.
func TestNoLineIsLost(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testNoLineIsLost(t, rand.New(rand.NewPCG(seed, 42))) })
		})
	}
}

func testNoLineIsLost(t *testing.T, random *rand.Rand) {
	const lines = 40 // of each
	names := []string{"Ada", "Barbara", "Frances", "Grace", "Radia"}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	n := &network{Listener: mempipe.Listen(), ends: make(map[string][2]net.Conn)}
	srv, sockets := newServer()
	var serving sync.WaitGroup
	serving.Go(func() { srv.Serve(n) })

	var all []*speaker
	for _, name := range names {
		s := n.speaker(name)
		if err := s.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Call(ctx, "enter", Entry{Room: "lobby", Name: name}, nil); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}

	numbers := make([][]int64, len(all))
	var speaking, cutting sync.WaitGroup
	for i, s := range all {
		speaking.Go(func() {
			for k := range lines {
				number, err := s.say(ctx, fmt.Sprintf("%s %d", s.name, k))
				if err != nil {
					t.Errorf("%s's line %d: %v", s.name, k, err)
					return
				}
				numbers[i] = append(numbers[i], number)
			}
		})
	}
	stop, cuts := make(chan struct{}), 0
	cutting.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(random.IntN(400)) * time.Millisecond):
			}
			s := all[random.IntN(len(all))]
			s.mu.Lock()
			wire := s.wire
			s.mu.Unlock()
			n.cut(wire, random.IntN(2))
			cuts++
		}
	})
	speaking.Wait()
	close(stop)
	cutting.Wait()
	// Longer than it takes a client to come back and the server to tell it what it has missed.
	time.Sleep(20 * time.Second)

	redials := 0
	for i, s := range all {
		s.mu.Lock()
		redials += s.dials - 1
		checkHeard(t, s, names, lines)
		var mine []int64
		for _, l := range s.heard {
			if l.Name == s.name {
				mine = append(mine, l.N)
			}
		}
		if !slices.Equal(mine, numbers[i]) {
			t.Errorf("%s was told that hers are the lines %v, and heard %v", s.name, numbers[i], mine)
		}
		if len(s.gone) > 0 || s.lost > 0 {
			t.Errorf("%s heard of %d who have left, and lost %d sessions", s.name, len(s.gone), s.lost)
		}
		s.mu.Unlock()
	}
	if cuts < 40 || redials < 30 {
		t.Errorf("%d cuts and %d dials after the first: that shows nothing", cuts, redials)
	}

	for _, s := range all {
		if err := s.Close(ctx); err != nil {
			t.Errorf("closing %s: %v", s.name, err)
		}
	}
	if err := sockets.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	srv.Close()
	serving.Wait()
}

// checkHeard checks that s has heard every line of everybody once and in order.
func checkHeard(t *testing.T, s *speaker, names []string, lines int) {
	t.Helper()
	if want := len(names) * lines; len(s.heard) != want {
		t.Errorf("%s heard %d lines, want %d", s.name, len(s.heard), want)
	}
	next := make(map[string]int)
	for i, l := range s.heard {
		if l.N != int64(i+1) || l.Text != fmt.Sprintf("%s %d", l.Name, next[l.Name]) {
			t.Errorf("%s heard as number %d: %+v", s.name, i+1, l)
			return
		}
		next[l.Name]++
	}
}

// To enter a room again on a session that lives changes nothing: a page may do so whenever it has a connection.
func TestEnterAgainAfterACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{Listener: mempipe.Listen(), ends: make(map[string][2]net.Conn)}
		srv, sockets := newServer()
		var serving sync.WaitGroup
		serving.Go(func() { srv.Serve(n) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := n.speaker("Ada")
		var told []Snapshot
		client.On(s.Client, "room", func(r Snapshot) { told = append(told, r) })
		if err := s.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.Call(ctx, "enter", Entry{Room: "lobby", Name: "Ada"}, nil); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			wire := s.wire
			s.mu.Unlock()
			n.cut(wire, 1)
			time.Sleep(5 * time.Second)
		}
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if s.dials != 3 || len(told) != 2 || told[0].Again || !told[1].Again || told[0].You != told[1].You {
			t.Errorf("%d dials, told %+v", s.dials, told)
		}
		if err := sockets.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
		serving.Wait()
	})
}
