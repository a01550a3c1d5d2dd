package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/wsctl/wsctl/internal/bench/figures"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

// sample is one measurement, as the file of raw values has it.
type sample struct {
	Run    time.Time `json:"run"` // when the runner was started
	Work   string    `json:"work"`
	Stack  string    `json:"stack"`
	Round  int       `json:"round"`
	Figure float64   `json:"figure"` // µs of CPU for a unit, bytes of a connection, or µs of latency
	CPU    float64   `json:"cpu_us"` // of the server for a unit
	Others float64   `json:"others"` // parts of the machine's CPU time
	Steal  float64   `json:"steal"`
	Ratio  float64   `json:"ratio,omitempty"` // of the figure to that of the reference, just before
	Error  string    `json:"error,omitempty"`

	Result figures.Result `json:"result"`
	Before kit.Stats      `json:"before"` // the server's
	After  kit.Stats      `json:"after"`
}

// bench measures.
type bench struct {
	programs string        // the folder of the built ones
	duration time.Duration // of a timed work
	settle   time.Duration // from the last idle connection to the measurement
	cpus     int
}

// measure runs w on s, with fresh processes: it makes a sample of each part. profile is the file for the server's
// CPU profile, if any.
func (b *bench) measure(ctx context.Context, w work, s stack, profile string) (samples []sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // kills what still runs
	server, err := start(ctx, b.program(s), s.serverArgs(w)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = server.close(err) }()
	line, err := server.read(patience)
	if err != nil {
		return nil, err
	}
	address, ok := strings.CutPrefix(line, kit.ListeningPrefix)
	if !ok {
		return nil, fmt.Errorf("%s begins with %q", server.name, line)
	}
	var unused kit.Stats // without connections
	if err := server.ask(kit.CommandStats, patience, &unused); err != nil {
		return nil, err
	}
	args := append([]string{"-addr", address, "-stack", s.dialect, "-work"}, w.args...)
	if w.timed {
		args = append(args, "-time", w.duration(b.duration).String())
	}
	load, err := start(ctx, filepath.Join(b.programs, "load"), args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = load.close(err) }()
	if line, err := load.read(patience); err != nil {
		return nil, err
	} else if line != "ready" {
		return nil, fmt.Errorf("%s begins with %q", load.name, line)
	}
	if w.figure == figureMemory {
		return b.measureIdle(ctx, w, server, load, unused)
	}
	if profile != "" {
		if err := server.ask(kit.CommandProfile+" "+profile, patience, &struct{}{}); err != nil {
			return nil, err
		}
	}
	for _, part := range w.parts {
		one, err := b.measurePart(w, part, server, load)
		if err != nil {
			return nil, err
		}
		samples = append(samples, one)
	}
	if profile != "" {
		if err := server.ask(kit.CommandEndProfile, patience, &struct{}{}); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// measurePart has the load program do the next part of its work.
func (b *bench) measurePart(w work, part string, server, load *process) (sample, error) {
	one := sample{Work: w.name + part}
	before, err := readUsage(load)
	if err != nil {
		return one, err
	}
	if err := server.ask(kit.CommandStats, patience, &one.Before); err != nil {
		return one, err
	}
	if err := load.ask("go", w.duration(b.duration)+patience, &one.Result); err != nil {
		return one, err
	}
	if err := server.ask(kit.CommandStats, patience, &one.After); err != nil {
		return one, err
	}
	after, err := readUsage(load)
	if err != nil {
		return one, err
	}
	if one.Result.Units == 0 {
		return one, errors.New("nothing was done")
	}
	used := time.Duration(one.After.CPU - one.Before.CPU)
	one.Others, one.Steal = noise(before, after, used, b.cpus)
	one.CPU = float64(used) / float64(time.Microsecond) / float64(one.Result.Units)
	one.Figure = one.CPU
	if w.figure == figureP99 {
		one.Figure = one.Result.P99
	}
	return one, nil
}

// measureIdle measures the memory of connections that do nothing: as it is a while after the last one, and after a collection.
func (b *bench) measureIdle(ctx context.Context, w work, server, load *process, unused kit.Stats) ([]sample, error) {
	select {
	case <-time.After(b.settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	idle, collected := sample{Work: w.name, Before: unused}, sample{Work: w.name + afterGC, Before: unused}
	if err := server.ask(kit.CommandStats, patience, &idle.After); err != nil {
		return nil, err
	}
	if err := server.ask(kit.CommandGC, patience, &collected.After); err != nil {
		return nil, err
	}
	if err := load.ask("go", patience, &idle.Result); err != nil {
		return nil, err
	}
	if idle.Result.Units != int64(w.conns) {
		return nil, fmt.Errorf("%d connections of %d are left", idle.Result.Units, w.conns)
	}
	collected.Result = idle.Result
	for _, one := range []*sample{&idle, &collected} {
		one.Figure = float64(one.After.RSS-unused.RSS) / float64(w.conns)
	}
	return []sample{idle, collected}, nil
}

// program is the path of s's server.
func (b *bench) program(s stack) string {
	name := s.program
	if s.tags != "" {
		name += "-" + s.tags
	}
	return filepath.Join(b.programs, name)
}
