package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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
	Before kit.Stats      `json:"before"` // the server's, or that of all nodes
	After  kit.Stats      `json:"after"`

	NodesCPU  []float64 `json:"nodes_cpu_us,omitempty"` // of each of several nodes, for a unit
	BrokerCPU float64   `json:"broker_cpu_us,omitempty"`
	RoomBytes float64   `json:"room_bytes,omitempty"`        // of a room that was joined, in the nodes
	KeptBytes float64   `json:"broker_room_bytes,omitempty"` // ... in the broker
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
	site, err := b.raise(ctx, w, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = site.close(err) }()
	unused, err := site.ask(kit.CommandStats) // without connections
	if err != nil {
		return nil, err
	}
	args := append([]string{"-stack", s.dialect, "-work"}, w.args...)
	args = append(args, site.clients(w)...)
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
		return b.measureIdle(ctx, w, site, load, unused.sum())
	}
	if profile != "" {
		if err := site.order(kit.CommandProfile, profile); err != nil {
			return nil, err
		}
	}
	for _, part := range w.parts {
		one, err := b.measurePart(w, part, site, load)
		if err != nil {
			return nil, err
		}
		samples = append(samples, one)
	}
	if profile != "" {
		if err := site.order(kit.CommandEndProfile, ""); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// measurePart has the load program do the next part of its work.
func (b *bench) measurePart(w work, part string, site *site, load *process) (sample, error) {
	one := sample{Work: w.name + part}
	command := kit.CommandStats
	if w.rooms > 0 {
		command = kit.CommandGC // their memory is of interest
	}
	first, err := site.ask(command)
	if err != nil {
		return one, err
	}
	before, err := readUsage(load)
	if err != nil {
		return one, err
	}
	if err := load.ask("go", w.duration(b.duration)+patience, &one.Result); err != nil {
		return one, err
	}
	last, err := site.ask(kit.CommandStats)
	if err != nil {
		return one, err
	}
	after, err := readUsage(load)
	if err != nil {
		return one, err
	}
	if one.Result.Units == 0 {
		return one, errors.New("nothing was done")
	}
	one.account(first, last)
	spent := time.Duration(one.After.CPU - one.Before.CPU + last.broker.CPU - first.broker.CPU)
	one.Others, one.Steal = noise(before, after, spent, b.cpus)
	one.Figure = one.CPU
	if w.figure == figureP99 {
		one.Figure = one.Result.P99
	}
	if w.rooms > 0 {
		return one, one.weigh(site, first, w.rooms)
	}
	return one, nil
}

// account notes what the processes of a site have used from first to last.
func (s *sample) account(first, last consumption) {
	each := func(before, after kit.Stats) float64 {
		return float64(after.CPU-before.CPU) / float64(time.Microsecond) / float64(s.Result.Units)
	}
	s.Before, s.After = first.sum(), last.sum()
	s.CPU, s.BrokerCPU = each(s.Before, s.After), each(first.broker, last.broker)
	if len(first.nodes) > 1 {
		for i := range first.nodes {
			s.NodesCPU = append(s.NodesCPU, each(first.nodes[i], last.nodes[i]))
		}
	}
}

// weigh notes what each of so many rooms takes, which weren't there first.
func (s *sample) weigh(site *site, first consumption, rooms int) error {
	last, err := site.ask(kit.CommandGC)
	s.RoomBytes = float64(last.sum().RSS-first.sum().RSS) / float64(rooms)
	s.KeptBytes = float64(last.broker.RSS-first.broker.RSS) / float64(rooms)
	return err
}

// measureIdle measures the memory of connections that do nothing: as it is a while after the last one, and after a collection.
func (b *bench) measureIdle(ctx context.Context, w work, site *site, load *process, unused kit.Stats) ([]sample, error) {
	select {
	case <-time.After(b.settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	idle, collected := sample{Work: w.name, Before: unused}, sample{Work: w.name + afterGC, Before: unused}
	used, err := site.ask(kit.CommandStats)
	if err != nil {
		return nil, err
	}
	idle.After = used.sum()
	if used, err = site.ask(kit.CommandGC); err != nil {
		return nil, err
	}
	collected.After = used.sum()
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

// brokerProgram is the path of what is between nodes.
func (b *bench) brokerProgram() string { return filepath.Join(b.programs, "broker") }

// program is the path of s's server.
func (b *bench) program(s stack) string {
	name := s.program
	if s.tags != "" {
		name += "-" + s.tags
	}
	return filepath.Join(b.programs, name)
}
