//go:build unix

package chaos

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"
)

// A fault breaks something, and mends it again.
type fault struct {
	name   string
	weight int
	run    func(w *world, dice *rand.Rand)
}

// Faults of nodes come one after the other, and so do those of the network and the broker: two at once at most.
var nodeFaults = []fault{
	{"node killed", 4, func(w *world, dice *rand.Rand) {
		n := w.node(dice)
		n.kill()
		rest(dice, 0, 3*time.Second)
		n.start()
	}},
	{"node paused", 4, func(w *world, dice *rand.Rand) {
		n := w.node(dice)
		n.signal(syscall.SIGSTOP, false)
		rest(dice, 100*time.Millisecond, 8*time.Second)
		n.signal(syscall.SIGCONT, false)
	}},
	{"node paused and killed", 1, func(w *world, dice *rand.Rand) {
		n := w.node(dice)
		n.signal(syscall.SIGSTOP, false)
		rest(dice, 100*time.Millisecond, 2*time.Second)
		n.kill()
		n.start()
	}},
	{"node restarted", 3, func(w *world, dice *rand.Rand) { restart(w.node(dice)) }},
	{"all nodes restarted", 1, func(w *world, dice *rand.Rand) {
		for _, n := range w.nodes {
			restart(n)
			rest(dice, 0, time.Second)
		}
	}},
}

var networkFaults = []fault{
	{"clients cut", 6, func(w *world, dice *rand.Rand) { w.front.cut(share(dice, dice.Float64())) }},
	{"clients silent", 3, func(w *world, dice *rand.Rand) { w.front.silence(share(dice, dice.Float64()/2)) }},
	{"clients refused", 1, func(w *world, dice *rand.Rand) {
		w.front.refuse(true)
		rest(dice, 0, 3*time.Second)
		w.front.refuse(false)
	}},
	{"broker cut", 4, func(w *world, dice *rand.Rand) { w.link(dice).cut(share(dice, 1)) }},
	{"all brokers cut", 1, func(w *world, dice *rand.Rand) {
		for _, l := range w.links {
			l.cut(share(dice, 1))
		}
	}},
	{"broker refused", 2, func(w *world, dice *rand.Rand) {
		l := w.link(dice)
		l.refuse(true)
		rest(dice, 0, 4*time.Second)
		l.refuse(false)
	}},
	{"broker silent", 2, func(w *world, dice *rand.Rand) {
		l := w.link(dice)
		l.hole(true)
		rest(dice, 0, 6*time.Second)
		l.hole(false)
	}},
	{"server killed", 2, func(w *world, dice *rand.Rand) {
		w.server.kill()
		rest(dice, 0, 2*time.Second)
		w.server.start()
	}},
	{"server stopped", 1, func(w *world, dice *rand.Rand) {
		w.server.signal(syscall.SIGTERM, true)
		rest(dice, 0, time.Second)
		w.server.start()
	}},
	{"server paused", 2, func(w *world, dice *rand.Rand) {
		w.server.signal(syscall.SIGSTOP, false)
		rest(dice, 100*time.Millisecond, 4*time.Second)
		w.server.signal(syscall.SIGCONT, false)
	}},
}

func (w *world) node(dice *rand.Rand) *process { return w.nodes[dice.IntN(len(w.nodes))] }
func (w *world) link(dice *rand.Rand) *proxy   { return w.links[dice.IntN(len(w.links))] }

// restart lets a node say goodbye.
func restart(n *process) {
	n.signal(syscall.SIGTERM, true)
	n.start()
}

// rest is for as long as a fault lasts: mostly short.
func rest(dice *rand.Rand, from, to time.Duration) {
	part := dice.Float64()
	pause(context.Background(), from+time.Duration(part*part*float64(to-from)))
}

// spoil lets faults happen until ctx is over. The last one is mended when it returns.
func (w *world) spoil(ctx context.Context, faults []fault, dice *rand.Rand) {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	for pause(ctx, time.Duration(dice.Float64()*1.5*float64(time.Second))) {
		at, n := dice.IntN(total), 0
		for at >= faults[n].weight {
			at -= faults[n].weight
			n++
		}
		w.happened(faults[n].name)
		faults[n].run(w, dice)
	}
}
