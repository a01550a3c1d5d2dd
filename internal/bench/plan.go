package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// errFailed says that some measurement has failed, as the table tells.
var errFailed = errors.New("some measurements have failed")

// plan is what the command line asks for.
type plan struct {
	works    []work
	stacks   []stack
	rounds   int
	duration time.Duration
	settle   time.Duration
	raw      string
	profiles string
	grow     bool
	cluster  bool
	picture  string
}

// list says which stacks take part in which works, and about how long it takes.
func (p plan) list(out io.Writer) {
	for _, w := range p.works {
		var names []string
		for _, s := range p.stacks {
			if s.can(w) {
				names = append(names, s.name)
			}
		}
		fmt.Fprintf(out, "%-26s %6s  %s\n", w.name, p.estimate(w).Round(time.Second), strings.Join(names, "; "))
	}
	fmt.Fprintf(out, "%-26s %6s\n", "all", p.estimateAll().Round(10*time.Second))
}

// estimate is about how long the rounds of w take on all stacks.
func (p plan) estimate(w work) (all time.Duration) {
	const (
		overhead   = 350 * time.Millisecond // of processes, and to warm up
		connection = 200 * time.Microsecond // to open it, and to close it
	)
	for _, one := range w.sequence() {
		each := overhead + time.Duration(one.conns)*connection
		switch {
		case one.timed:
			each += time.Duration(len(one.parts)) * one.duration(p.duration)
		case one.figure == figureMemory:
			each += p.settle
		}
		for _, s := range p.stacks {
			if s.can(one) {
				all += time.Duration(p.roundsOf(one)) * each
			}
		}
	}
	return all
}

// estimateAll is about how long it takes to measure everything.
func (p plan) estimateAll() (all time.Duration) {
	for _, w := range p.works {
		all += p.estimate(w)
	}
	return all
}

// roundsOf is how often w is measured.
func (p plan) roundsOf(w work) int {
	if w.rounds > 0 {
		return min(w.rounds, p.rounds)
	}
	return p.rounds
}

// run builds, measures and reports. If ctx ends meanwhile, it reports what it has.
func (p plan) run(ctx context.Context) error {
	programs, err := os.MkdirTemp("", "wsctl-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	raw, err := os.OpenFile(p.raw, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer raw.Close()
	if p.profiles != "" {
		if err := os.MkdirAll(p.profiles, 0o755); err != nil {
			return err
		}
	}
	b := &bench{programs: programs, duration: p.duration, settle: p.settle, cpus: runtime.NumCPU()}
	if err := b.build(ctx, p.stacks); err != nil {
		return err
	}
	versions, err := b.versions(p.stacks)
	if err != nil {
		return err
	}
	began := time.Now()
	fmt.Fprintf(os.Stderr, "this takes about %v\n", p.estimateAll().Round(10*time.Second))
	samples, err := p.measure(ctx, b, began, json.NewEncoder(raw))
	fmt.Printf("# Benchmark of %s\n\n%s.\n%d rounds, %v of each timed work.\n%s.\n\n",
		began.UTC().Format(time.DateOnly), describeMachine(), p.rounds, p.duration, versions)
	return errors.Join(err, p.report(samples))
}

// report writes the tables, and draws the picture if it is about growth.
func (p plan) report(samples []sample) error {
	rows := inOrder(summarize(samples), p.stacks)
	switch {
	case p.cluster:
		writeCluster(os.Stdout, rows, p.works)
	case p.grow:
		writeGrowth(os.Stdout, rows)
		if err := drawGrowth(p.picture, rows); err != nil {
			return err
		}
	default:
		writeTables(os.Stdout, rows, p.works)
		writeGoals(os.Stdout, rows)
	}
	if slices.ContainsFunc(samples, func(s sample) bool { return s.Error != "" }) {
		return errFailed
	}
	return nil
}

// measure takes the samples, and writes each to raw. The error is that of raw, or ctx's.
func (p plan) measure(ctx context.Context, b *bench, began time.Time, raw *json.Encoder) (samples []sample, err error) {
	for _, w := range p.works {
		for round := range p.roundsOf(w) {
			for _, s := range shuffled(p.stacks, round) {
				if !s.can(w) {
					continue
				}
				some := p.measureOnce(ctx, b, w, s, round)
				if ctx.Err() != nil {
					return samples, ctx.Err()
				}
				for _, one := range some {
					one.Run, one.Stack, one.Round = began, s.name, round+1
					samples = append(samples, one)
					fmt.Fprintf(os.Stderr, "%s, round %d, %s: %s %s\n", one.Work, one.Round, one.Stack, number(one.Figure), one.Error)
					if err := raw.Encode(one); err != nil {
						return samples, err
					}
				}
			}
		}
	}
	return samples, nil
}

// measureOnce measures w on s, and its reference, if it has one, just before.
func (p plan) measureOnce(ctx context.Context, b *bench, w work, s stack, round int) (samples []sample) {
	for _, one := range w.sequence() {
		profile := ""
		if p.profiles != "" && round == p.roundsOf(one)-1 {
			profile = filepath.Join(p.profiles, fileName(one, s))
		}
		some, err := b.measure(ctx, one, s, profile)
		if err != nil {
			some = failed(one, err)
		}
		samples = append(samples, some...)
	}
	if w.reference != nil {
		compare(samples)
	}
	return samples
}

// compare notes how the second sample's figure compares with that of the first, unless one has failed.
func compare(pair []sample) {
	if before, after := pair[0], &pair[1]; before.Figure > 0 {
		after.Ratio = after.Figure / before.Figure
	}
}

// failed makes the samples of a work that has failed.
func failed(w work, err error) []sample {
	var samples []sample
	for _, name := range w.names() {
		samples = append(samples, sample{Work: name, Error: err.Error()})
	}
	return samples
}

// shuffled returns the stacks in an order of that round's own, the same in each run.
func shuffled(stacks []stack, round int) []stack {
	order := slices.Clone(stacks)
	rand.New(rand.NewPCG(1, uint64(round))).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// inOrder sorts the rows of each work by the order of the stacks.
func inOrder(rows []row, stacks []stack) []row {
	place := func(r row) int { return slices.IndexFunc(stacks, func(s stack) bool { return s.name == r.stack }) }
	slices.SortStableFunc(rows, func(a, b row) int { return place(a) - place(b) })
	return rows
}

// fileName is that of the profile of w on s.
func fileName(w work, s stack) string {
	return strings.NewReplacer(", ", "-", " ", "-").Replace(w.name+"-"+s.name) + ".pprof"
}
