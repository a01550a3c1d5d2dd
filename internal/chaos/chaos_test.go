//go:build unix

package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "what faults happen; 0: others each time")
	longFlag    = flag.Duration("long", 15*time.Second, "how long faults happen, for each broker")
	clientsFlag = flag.Int("clients", 300, "how many clients there are")
	everyFlag   = flag.Duration("every", 4*time.Second, "how long a client waits between two messages, on average")
)

func TestNATS(t *testing.T)  { run(t, "nats") }
func TestRedis(t *testing.T) { run(t, "redis") }

// world is a cluster, its clients, and what is known of them.
type world struct {
	t     *testing.T
	seed  uint64
	every time.Duration

	server  *process
	nodes   []*process
	links   []*proxy // of each node with the server
	front   *proxy   // before all nodes
	members []*member
	truth   *truth
	over    atomic.Bool
	count   counts

	mu     sync.Mutex     // guards following
	kinds  map[string]int // how often each fault happened
	errors map[string]int // how often calls failed, by code
	faults int
	fail   func(text string) // t.Error, but in the test of the checks
}

// counts is what the report says.
type counts struct {
	sessions, resumed, deliveries, recovered, told, toldSmall atomic.Int64
	sent, accepted, unsure, unknown                           int // at the end
}

// maxFaults is how many are told: one often comes with a thousand others.
const maxFaults = 20

// fault fails the test.
func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.faults++; w.faults <= maxFaults {
		w.fail(time.Now().Format("05.000: ") + fmt.Sprintf(format, args...))
	}
}

func (w *world) happened(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kinds[name]++
	w.t.Logf("%s: %s", time.Now().Format("05.000"), name)
}

// failed notes how a call ended.
func (w *world) failed(err error) {
	if err == nil {
		return
	}
	code := "other"
	if e, ok := errors.AsType[*wsctl.Error](err); ok {
		code = e.Code
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errors[code]++
}

func run(t *testing.T, kind string) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	w := &world{t: t, seed: seed, every: *everyFlag, kinds: make(map[string]int), errors: make(map[string]int), fail: func(text string) { t.Error(text) }}
	t.Logf("-seed %d", seed)
	w.build(kind)
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), *longFlag)
	defer cancel()
	var faults, senders, reader sync.WaitGroup
	reading, stopReading := context.WithCancel(context.Background())
	reader.Go(func() { w.truth.follow(reading) })
	sending, stopSending := context.WithCancel(context.Background())
	for _, m := range w.members {
		senders.Go(func() { m.send(sending) })
	}
	for i, list := range [][]fault{nodeFaults, networkFaults} {
		faults.Go(func() { w.spoil(ctx, list, rand.New(rand.NewPCG(seed, uint64(i)<<32))) })
	}
	faults.Wait()
	stopSending()
	senders.Wait()
	stopReading()
	reader.Wait()
	mended := time.Now()
	behind := w.truth.behind()
	for behind != "" && time.Since(mended) < 90*time.Second && pause(context.Background(), 100*time.Millisecond) {
		behind = w.truth.behind()
	}
	if behind != "" {
		w.fault("%v after all is well again: %s", time.Since(mended), behind)
	}
	w.disconnect()
	w.truth.check()
	w.checkCounts()
	w.report(kind, mended.Sub(start), time.Since(mended))
}

// build starts everything, and waits until all members are in their rooms.
func (w *world) build(kind string) {
	t := w.t
	w.server = startServer(t, kind)
	addr := w.server.address()
	for i := range 3 {
		l := newProxy(t, func() []string { return []string{addr} })
		w.links = append(w.links, l)
		w.nodes = append(w.nodes, newProcess(t, fmt.Sprintf("node%d", i), "", func() *exec.Cmd {
			return itself("node", "CHAOS_KIND="+kind, "CHAOS_BROKER="+l.addr)
		}))
	}
	w.front = newProxy(t, w.balance)
	var rooms []string
	for i := range 8 {
		rooms = append(rooms, fmt.Sprintf("large%d", i))
	}
	rooms = append(rooms, "small8", "small9")
	b := connect(kind, addr, slog.New(slog.DiscardHandler))
	t.Cleanup(b.Close)
	w.truth = newTruth(w, b, rooms)
	if err := w.truth.read(); err != nil {
		t.Fatal(err)
	}
	for i := range *clientsFlag {
		m := newMember(w, i, []string{rooms[i%len(rooms)], rooms[(i+1+i/len(rooms)%(len(rooms)-1))%len(rooms)]})
		w.members = append(w.members, m)
	}
	t.Cleanup(w.disconnect)
	var joining sync.WaitGroup
	for _, m := range w.members {
		joining.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := m.connect(ctx); err != nil {
				t.Errorf("member %d: %v", m.id, err)
			}
		})
	}
	joining.Wait()
	for end := time.Now().Add(time.Minute); w.truth.behind() != ""; pause(context.Background(), 50*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(w.truth.behind())
		}
	}
}

// disconnect ends all clients.
func (w *world) disconnect() {
	w.over.Store(true)
	for _, m := range w.members {
		m.c.Abort()
	}
	for _, m := range w.members {
		_ = m.c.Close(context.Background())
	}
}

// balance gives a client's connection to any node: one that is paused may take it, too.
func (w *world) balance() (addrs []string) {
	for _, i := range rand.Perm(len(w.nodes)) {
		if addr := w.nodes[i].address(); addr != "" {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// checkCounts finds what the other checks don't: where next to nothing is sent, delivered or recovered, no promise is broken. A
// node tells its members that messages of a large room are missing where it can't ask the broker for 5 seconds: rarely.
func (w *world) checkCounts() {
	c := &w.count
	told, recovered := c.told.Load(), c.recovered.Load()
	if c.sent == 0 || c.accepted < c.sent/4 {
		w.fault("%d of %d messages were accepted", c.accepted, c.sent)
	}
	if c.deliveries.Load() < int64(c.accepted) {
		w.fault("%d deliveries of %d messages", c.deliveries.Load(), c.accepted)
	}
	if recovered == 0 || told > recovered/4 {
		w.fault("members of large rooms were told of missing messages %d times, and rooms were recovered %d times", told, recovered)
	}
}

func (w *world) report(kind string, took, calm time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	faults, kinds := list(w.kinds)
	_, codes := list(w.errors)
	c := &w.count
	w.t.Logf(`%s, -seed %d, %d clients for %v:
	%d faults: %s
	%d messages sent, %d of them accepted; calls failed: %s; %d of these were kept after all
	%d deliveries; %d sessions, resumed %d times; rooms recovered %d times
	members told of missing messages %d times in large rooms, %d times in small ones
	all up to date %v after the last fault; %d accepted messages of small rooms were gone before anybody could read them
	%d violations`,
		kind, w.seed, len(w.members), took.Round(time.Second), faults, kinds,
		c.sent, c.accepted, codes, c.unsure, c.deliveries.Load(), c.sessions.Load(), c.resumed.Load(), c.recovered.Load(), c.told.Load(), c.toldSmall.Load(),
		calm.Round(100*time.Millisecond), c.unknown, w.faults)
}

// list is how often what happened, and how often anything.
func list(counts map[string]int) (total int, text string) {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
		total += counts[name]
	}
	return total, strings.Join(parts, ", ")
}
