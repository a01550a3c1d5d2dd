//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

const (
	warmUp          = 300 * time.Millisecond // of the work itself, before it is measured
	prepareInflight = 128                    // dials in flight where they aren't measured
)

func main() {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	s, err := parseSettings(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	if err := run(s, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run does the work of s, as the lines of standard input have it.
func run(s settings, out io.Writer) error {
	l, err := newLoop(s.servers, dialectOf(s.stack), s.compress, connsOf(s))
	if err != nil {
		return err
	}
	if l.work, err = newWork(l, s); err != nil {
		return err
	}
	if err := l.listen(); err != nil {
		return err
	}
	if err := l.work.prepare(); err != nil {
		return fmt.Errorf("before ready: %w", err)
	}
	if err := l.meter.begin(l); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	for _, p := range l.work.phases() {
		if err := measure(l, p, out); err != nil {
			return fmt.Errorf("%s: %w", s.work, err)
		}
	}
	for {
		if _, ok, err := l.line(); !ok || err != nil {
			return err
		}
	}
}

// measure waits for a go, runs a phase and prints the result.
func measure(l *loop, p phase, out io.Writer) error {
	text, ok, err := l.line()
	switch {
	case err != nil:
		return err
	case !ok:
		return errors.New("standard input has ended, expected go")
	case text != "go":
		return fmt.Errorf("standard input says %q, expected go", text)
	}
	if !p.waits {
		if err := l.meter.begin(l); err != nil {
			return err
		}
	}
	if err := p.run(); err != nil {
		return err
	}
	r, err := l.meter.result(l)
	if err != nil {
		return err
	}
	r.Phase = p.name
	if p.messages != nil {
		r.Messages = int64(*p.messages)
	}
	return json.NewEncoder(out).Encode(r)
}

// connsOf returns how many connections a work has.
func connsOf(s settings) int {
	if s.work == "broadcast" || s.work == "recover" {
		return s.conns + max(1, s.rooms) // the speakers
	}
	return s.conns
}

func newWork(l *loop, s settings) (work, error) {
	switch s.work {
	case "echo":
		return newEcho(l, s), nil
	case "broadcast":
		return newBroadcast(l, s), nil
	case "idle":
		return &idle{holding{l}}, nil
	case "connect":
		return &connect{holding{l}, s.inflight}, nil
	case "storm":
		return &storm{holding{l}}, nil
	case "rooms":
		return newRooms(l, s), nil
	case "recover":
		return newMissing(l, s), nil
	}
	return nil, fmt.Errorf("there is no work %q", s.work)
}
