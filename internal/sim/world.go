// Package sim plays a server of [wsctl] and clients of package client against each other, by a seed, over a network that
// fails, in a bubble of testing/synctest: hours of bad luck in a second.
//
// There are three parts, which don't know each other's rules. [Network] carries bytes, late, in pieces, or not at all. The
// wire reads along between the two sides, and checks every message and count against docs/PROTOCOL.md. The world has a
// controller and some players do all that the library offers, and checks that each message was handled once and in order,
// that each call had one end, that contexts ended with their sessions, and that nothing is left at the end.
//
// Everything that is random comes from the seed, but the order in which goroutines run that are woken at one moment does
// not, nor does the library's own choice of delays: so a seed that fails is replayed closely, not exactly. What fails once
// in a while needs a few replays.
package sim

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsctl/wsctl"
)

// world is one run: a handler, its clients, the network between them, and what each side knows of what it did.
type world struct {
	seed    uint64
	trace   *Trace
	wire    *wire
	net     *Network
	hub     wsctl.Hub
	options *wsctl.Options
	events  events
	handler atomic.Pointer[wsctl.Handler]
	old     []*wsctl.Handler // after Shutdown
	ends    time.Time        // of the actions; the network heals
	report  *Report
	methods sync.WaitGroup // of the operator: calls under way

	mu       sync.Mutex // guards following
	peers    map[string]*peer
	newest   map[int]*peer // of each client
	opened   int
	rooms    map[string]*room
	lastCall int
	calls    map[int]*calling
	lastAsk  int
	asks     map[int]*calling

	running atomic.Int64 // methods and sequences
}

// calling is a call in either direction, known to both sides by its number.
type calling struct {
	runs    int
	outcome string // empty: none yet; ok; or an error's code
	ends    int
}

// room is a room as the server meant it: sends, joins and leaves one at a time, so that it is known who is to get what.
type room struct {
	mu   sync.Mutex // guards following, held for whole operations
	sent int        // number of the newest message
}

// payload is what numbered messages carry.
type payload struct {
	N    int    `json:"n"`
	Sock string `json:"sock,omitempty"`
	Pad  string `json:"pad,omitempty"`
}

// roomMessage is a message of a room; "" is everyone.
type roomMessage struct {
	Room string `json:"room"`
	N    int    `json:"n"`
	Pad  string `json:"pad,omitempty"`
}

// Report counts what runs have done and checked, so that a run that checks nothing doesn't pass for a good one.
type Report struct {
	mu     sync.Mutex // guards following
	Counts map[string]int
}

func (r *Report) add(what string, n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Counts == nil {
		r.Counts = make(map[string]int)
	}
	r.Counts[what] += n
}

// Run plays a seed, in a bubble of testing/synctest, and returns its trace, which tells what was broken.
func Run(seed uint64, all bool, report *Report) *Trace {
	w := &world{seed: seed, trace: newTrace(all), report: report, peers: make(map[string]*peer), newest: make(map[int]*peer),
		events: newEvents(), rooms: make(map[string]*room), calls: make(map[int]*calling), asks: make(map[int]*calling)}
	dice := w.dice(0)
	w.wire = newWire(w.trace)
	w.ends = time.Now().Add(time.Duration(3+dice.IntN(13)) * time.Second)
	w.net = &Network{Seed: seed, Heals: w.ends, Count: func(f Fault) { report.add("fault: "+string(f), 1) },
		Observe: w.wire.observe, Faults: w.odds(dice)}
	w.options = w.makeOptions(dice)
	w.start()
	serve := func(rw http.ResponseWriter, r *http.Request) { w.handler.Load().ServeHTTP(rw, r) }
	server := &http.Server{Handler: http.HandlerFunc(serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	l := w.net.Listen()
	served := make(chan struct{})
	go func() {
		_ = server.Serve(l)
		close(served)
	}()
	w.play(dice)
	w.finish()
	_ = server.Close()
	<-served
	w.checkEnd()
	w.count()
	return w.trace
}

// dice returns a source of its own for each part of the run.
func (w *world) dice(part uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, part|1<<63)) }

func (w *world) odds(dice *rand.Rand) Odds {
	every := []time.Duration{0, 12 * time.Second, 5 * time.Second, 2 * time.Second}[dice.IntN(4)]
	return Odds{Every: every, Refused: 0.3 * dice.Float64(), NoAnswer: 0.1 * dice.Float64(), Late: 0.5 * dice.Float64() * dice.Float64(),
		MaxDelay: time.Duration(1+dice.IntN(150)) * time.Millisecond, MinBuffer: 256}
}

func (w *world) makeOptions(dice *rand.Rand) *wsctl.Options {
	o := &wsctl.Options{
		Hub:              &w.hub,
		Controllers:      []any{&arena{}},
		Logger:           slog.New(slog.DiscardHandler),
		Compression:      dice.IntN(5) == 0,
		SendBuffer:       []int{0, 0, 64 << 10, 4 << 10}[dice.IntN(4)],
		MaxStreams:       []int{0, 2}[dice.IntN(2)],
		PingInterval:     time.Duration(1+dice.IntN(5)) * time.Second,
		PingTimeout:      time.Duration(1+dice.IntN(4)) * time.Second,
		WriteTimeout:     time.Duration(2+dice.IntN(6)) * time.Second,
		HandshakeTimeout: time.Duration(3+dice.IntN(5)) * time.Second,
		Resume:           []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second, 60 * time.Second}[dice.IntN(4)],
	}
	if dice.IntN(8) == 0 {
		o.ParkBuffer = 2 << 10
	}
	if dice.IntN(8) == 0 {
		o.RateLimit = 20
	}
	if dice.IntN(16) == 0 {
		o.PingInterval = -1
	}
	if dice.IntN(8) == 0 {
		o.Concurrency = 3
	}
	if dice.IntN(16) == 0 {
		o.MaxConns = 5 // players are 4 at most, but they leave sessions behind
	}
	if dice.IntN(4) == 0 {
		o.Authenticate = w.authenticator(time.Duration(6+dice.IntN(12)) * time.Second)
	}
	if dice.IntN(16) == 0 {
		o.Resume = -1
	}
	return o
}

// authenticator takes its time, fails now and then, and gives credentials that last so long.
func (w *world) authenticator(lasts time.Duration) func(context.Context, *http.Request, string) (wsctl.Identity, error) {
	var mu sync.Mutex // for dice
	dice := w.dice(2)
	return func(ctx context.Context, r *http.Request, token string) (id wsctl.Identity, err error) {
		mu.Lock()
		pause, fails := time.Duration(dice.IntN(200))*time.Millisecond, dice.IntN(20) == 0
		mu.Unlock()
		if err := sleep(ctx, pause); err != nil {
			return id, err
		}
		what := "authenticated"
		if r == nil {
			what = "authenticated again"
		}
		if fails && time.Now().Before(w.ends) {
			what, err = "not "+what, errors.New("out of order")
		}
		w.report.add(what, 1)
		if !time.Now().Before(w.ends) {
			return wsctl.Identity{User: token}, nil // so that there is peace
		}
		return wsctl.Identity{User: token, Expires: time.Now().Add(lasts)}, err
	}
}

func (w *world) start() { w.handler.Store(wsctl.New(&arena{w: w}, w.options)) }

// queued is how many bytes the server keeps for its clients.
func (w *world) queued() int { return w.handler.Load().Stats().QueuedBytes }

// restart has another handler take over, and shuts the old one down.
func (w *world) restart(timeout time.Duration) {
	h := w.handler.Load()
	w.old = append(w.old, h)
	w.start()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	w.trace.add(event{what: "Shutdown"})
	if err := h.Shutdown(ctx); err != nil {
		w.report.add("restart: cut short", 1)
	} else {
		w.report.add("restart: whole", 1)
	}
}

// play has clients and server act until the network heals, and then lets everything arrive.
func (w *world) play(dice *rand.Rand) {
	players := make([]*player, 1+dice.IntN(2)*dice.IntN(4))
	var all sync.WaitGroup
	for i := range players {
		players[i] = newPlayer(w, i+1)
		all.Go(players[i].play)
	}
	all.Go(func() { w.operate(len(players)) })
	all.Wait()
	w.methods.Wait()
	if w.options.PingInterval < 0 || slices.ContainsFunc(players, func(p *player) bool { return p.plain }) {
		time.Sleep(keepAlive) // who isn't pinged learns from TCP alone that a conn is dead
	}
	for i, calm, before := 0, 0, -1; i < 300 && calm < 4; i++ { // what comes late, or twice, comes meanwhile
		time.Sleep(time.Second)
		if n := w.wire.numbered(); n == before && w.queued() == 0 && settled(players) {
			calm++
		} else {
			calm, before = 0, n
		}
	}
	for _, p := range players {
		p.checkSettled()
	}
	for _, p := range players {
		all.Go(p.leave)
	}
	all.Wait()
	for _, p := range players {
		p.checkEnd()
	}
}

// finish ends the server.
func (w *world) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	h := w.handler.Load()
	w.old = append(w.old, h)
	if err := h.Shutdown(ctx); err != nil {
		w.trace.breach("Shutdown", "%v; %+v", err, h.Stats())
	}
}

func (w *world) newCall() (int, *calling) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastCall++
	c := &calling{}
	w.calls[w.lastCall] = c
	return w.lastCall, c
}

func (w *world) newAsk() (int, *calling) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastAsk++
	c := &calling{}
	w.asks[w.lastAsk] = c
	return w.lastAsk, c
}

// ran notes that a call runs, at its callee.
func (w *world) ran(calls map[int]*calling, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := calls[n]
	if c == nil {
		w.trace.breach("calls", "number %d was never made", n)
		return
	}
	if c.runs++; c.runs > 1 {
		w.trace.breach("calls", "number %d runs again", n)
	}
}

func (w *world) ended(c *calling, outcome string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.ends++
	c.outcome = outcome
}
