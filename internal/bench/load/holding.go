//go:build linux

package main

import (
	"errors"
	"fmt"
)

// stormInflight is how many dials are in flight in a storm.
const stormInflight = 2000

// holding is a work whose connections are open and say nothing. The protocol's own messages are answered by the dialect.
type holding struct{ *loop }

func (w holding) receive(_ *conn, message []byte) error {
	return fmt.Errorf("got %q, expected nothing", message)
}

func (w holding) settle() error { return nil }

// idle has connections that are open, no more.
type idle struct{ holding }

func (w *idle) prepare() error { return w.open(w.conns, prepareInflight) }

func (w *idle) phases() []phase { return []phase{{waits: true, run: w.count}} }

// count records the connections. A lost one would have ended the program.
func (w *idle) count() error {
	for range w.conns {
		w.meter.latencies.record(0)
	}
	return nil
}

// connect opens connections.
type connect struct {
	holding
	most int // dials in flight
}

func (w *connect) prepare() error { return nil }

func (w *connect) phases() []phase {
	return []phase{{run: func() error { return w.open(w.conns, w.most) }}}
}

// storm loses all connections at once, and opens them again.
type storm struct{ holding }

func (w *storm) prepare() error { return w.open(w.conns, prepareInflight) }

func (w *storm) phases() []phase { return []phase{{run: w.strike}} }

func (w *storm) strike() error {
	var errs []error
	for _, c := range w.conns {
		c.since = clock()
		errs = append(errs, c.cut())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return w.open(w.conns, stormInflight)
}
