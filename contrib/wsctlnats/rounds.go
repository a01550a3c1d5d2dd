package wsctlnats

import (
	"context"
	"sync"
)

// rounds are of a thing that is done once for all who wait for it when it begins. Who comes later waits for the next round.
type rounds struct {
	b  *Broker
	do func(ctx context.Context) error // ends soon when the broker is closed

	mu      sync.Mutex // guards following
	running bool       // there is a round
	next    *round     // that follows; nil: nobody waits for it
}

// round is one.
type round struct {
	done chan struct{} // closed at its end
	err  error         // of do; set before done is closed
}

// wait returns what do returns that is called from now on, or an error when ctx has ended or the broker is closed.
func (x *rounds) wait(ctx context.Context) error {
	x.mu.Lock()
	if !x.running { // nobody else waits for this one
		x.running = true
		x.mu.Unlock()
		defer x.goOn()
		return x.do(ctx)
	}
	if x.next == nil {
		x.next = &round{done: make(chan struct{})}
	}
	r := x.next
	x.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	case <-x.b.ctx.Done():
		return errClosed
	}
}

// goOn ends a round, and begins the next one if somebody waits for it.
func (x *rounds) goOn() {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.next
	x.next = nil
	x.running = r != nil && x.b.start(func() {
		defer x.goOn()
		r.err = x.do(x.b.ctx)
		close(r.done)
	})
}
