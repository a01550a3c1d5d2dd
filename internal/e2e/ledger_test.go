package e2e

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
)

// ledger is the controller of the tests that spoil the network: it writes down what comes.
type ledger struct {
	begun chan int // Slow was called with that number

	mu      sync.Mutex // guards following
	notes   []int      // of Note
	items   []int      // of Sum
	ran     map[int]int
	gates   map[int]chan struct{}
	sockets []*wsctl.Socket // in the order in which they came
}

func newLedger() *ledger {
	return &ledger{begun: make(chan int, 100), ran: make(map[int]int), gates: make(map[int]chan struct{})}
}

func (l *ledger) OnOpen(s *wsctl.Socket, _ *http.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sockets = append(l.sockets, s)
	return nil
}

// Note writes a number down.
func (l *ledger) Note(_ *wsctl.Socket, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, n)
}

// Echo sends back what it gets.
func (l *ledger) Echo(s *wsctl.Socket, v any) error { return s.Send("echoed", v) }

// Add is a call with a result.
func (l *ledger) Add(_ *wsctl.Socket, n [2]int) int { return n[0] + n[1] }

// Fail is a call that fails.
func (l *ledger) Fail(*wsctl.Socket) error {
	return &wsctl.Error{Code: "full", Message: "no room", Data: 7}
}

// Slow ends when its number is released.
func (l *ledger) Slow(ctx context.Context, _ *wsctl.Socket, n int) (int, error) {
	l.mu.Lock()
	l.ran[n]++
	l.mu.Unlock()
	l.begun <- n
	select {
	case <-l.gate(n):
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Count yields 0, 1, … and so on, n of them.
func (l *ledger) Count(_ *wsctl.Socket, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Sum adds up what the client uploads.
func (l *ledger) Sum(_ *wsctl.Socket, sum int, items iter.Seq2[int, error]) (int, error) {
	for n, err := range items {
		if err != nil {
			return 0, err
		}
		sum += n
		l.mu.Lock()
		l.items = append(l.items, n)
		l.mu.Unlock()
	}
	return sum, nil
}

// Double answers each item that the client uploads.
func (l *ledger) Double(_ *wsctl.Socket, items iter.Seq2[int, error]) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for n, err := range items {
			if !yield(2*n, err) {
				return
			}
		}
	}
}

// Ask lets the client answer: half of n.
func (l *ledger) Ask(ctx context.Context, s *wsctl.Socket, n int) (half int, err error) {
	err = s.Call(ctx, "half", n, &half)
	return half, err
}

func (l *ledger) gate(n int) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gates[n] == nil {
		l.gates[n] = make(chan struct{})
	}
	return l.gates[n]
}

// release lets the calls of Slow with that number end.
func (l *ledger) release(n int) { close(l.gate(n)) }

func (l *ledger) noted() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.notes)
}

func (l *ledger) uploaded() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.items)
}

// runs is how often Slow was called with each number.
func (l *ledger) runs() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ran)
}

// socket is the newest one; nil before the first.
func (l *ledger) socket() *wsctl.Socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sockets) == 0 {
		return nil
	}
	return l.sockets[len(l.sockets)-1]
}

// tick sends the numbers from up to to, one each 10 ms.
func tick(t *testing.T, from, to int, send func(typ string, data any) error) {
	t.Helper()
	clock := time.NewTicker(10 * time.Millisecond)
	defer clock.Stop()
	for n := from; n < to; n++ {
		<-clock.C
		if err := send("tick", n); err != nil {
			t.Errorf("tick %d: %v", n, err)
		}
	}
}

// site is a ledger's server behind a proxy, with the client and a page for it.
type site struct {
	*ledger
	*proxy

	t       *testing.T
	options wsctl.Options
	handler *wsctl.Handler
	server  *httptest.Server
}

// serveLedger serves a ledger and the pages of testdata/traffic.
func serveLedger(t *testing.T, options wsctl.Options) *site {
	t.Helper()
	skipIfOff(t)
	s := &site{ledger: newLedger(), t: t, options: options}
	s.options.Logger = slog.New(slog.DiscardHandler)
	s.start()
	t.Cleanup(s.shutdown)
	s.proxy = newProxy(t, s.host())
	return s
}

// host is the server's host:port, past the proxy.
func (s *site) host() string { return strings.TrimPrefix(s.server.URL, "http://") }

// start serves the ledger anew: its sessions are new ones.
func (s *site) start() {
	s.handler = wsctl.New(s.ledger, &s.options)
	mux := http.NewServeMux()
	mux.Handle("GET /ws", s.handler)
	mux.Handle("GET /js/{file}", wsctl.JS())
	mux.Handle("GET /", http.FileServer(http.Dir("testdata/traffic")))
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:")
		mux.ServeHTTP(w, r)
	}))
}

// crash ends the server as a signal would that can't be caught: nobody is told anything.
func (s *site) crash() {
	s.refuse()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.handler.Shutdown(ctx) // nobody hears it
	s.server.Close()
}

// shutdown ends the server as it should be ended.
func (s *site) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.handler.Shutdown(ctx); err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
	s.server.Close()
}

// revive serves the ledger again after a crash or a shutdown, and gives the network back.
func (s *site) revive() {
	s.start()
	s.setTarget(s.host())
	s.restore()
}

// until waits until something holds that nothing tells of.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); {
		if time.Now().After(limit) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// checkNumbers checks that numbers are 0, 1, … and so on, n of them.
func checkNumbers(t *testing.T, what string, numbers []int, n int) {
	t.Helper()
	for i, got := range numbers {
		if got != i {
			t.Errorf("%s: %d comes where %d should: %v", what, got, i, numbers)
			return
		}
	}
	if len(numbers) != n {
		t.Errorf("%s: %d, want %d", what, len(numbers), n)
	}
}
