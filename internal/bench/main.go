package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
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
}

func main() {
	p, list, err := parsePlan()
	if err == nil {
		if list {
			p.list(os.Stdout)
			return
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = p.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parsePlan() (p plan, list bool, err error) {
	flag.IntVar(&p.rounds, "rounds", 3, "measurements of each work on each stack")
	flag.DurationVar(&p.duration, "time", 2*time.Second, "duration of one measurement")
	flag.DurationVar(&p.settle, "settle", 30*time.Second, "from the last idle connection to the measurement of memory")
	work := flag.String("work", "", "regexp of the works; all by default")
	stack := flag.String("stack", "", "regexp of the stacks; all by default")
	flag.StringVar(&p.raw, "raw", "bench.jsonl", "`file` to which each measurement is appended, as a line of JSON")
	flag.StringVar(&p.profiles, "profile", "", "`folder` for a CPU profile of each server, in the last round")
	flag.BoolVar(&list, "list", false, "list works and stacks, and measure nothing")
	flag.Parse()
	workPattern, errWork := regexp.Compile(*work)
	stackPattern, errStack := regexp.Compile(*stack)
	if err := errors.Join(errWork, errStack); err != nil {
		return p, false, err
	}
	for _, w := range works {
		if workPattern.MatchString(w.name) {
			p.works = append(p.works, w)
		}
	}
	for _, s := range stacks {
		if stackPattern.MatchString(s.name) {
			p.stacks = append(p.stacks, s)
		}
	}
	if len(p.works) == 0 || len(p.stacks) == 0 || p.rounds < 1 || flag.NArg() > 0 {
		return p, false, errors.New("there is nothing to do: see -list and -help")
	}
	return p, list, nil
}

// list says which stacks take part in which works.
func (p plan) list(out io.Writer) {
	for _, w := range p.works {
		var names []string
		for _, s := range p.stacks {
			if s.can(w) {
				names = append(names, s.name)
			}
		}
		fmt.Fprintf(out, "%-26s %s\n", w.name, strings.Join(names, "; "))
	}
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
	samples, err := p.measure(ctx, b, began, json.NewEncoder(raw))
	fmt.Printf("# Benchmark of %s\n\n%s.\n%d rounds, %v of each timed work.\n%s.\n\n",
		began.UTC().Format(time.DateOnly), describeMachine(), p.rounds, p.duration, versions)
	rows := inOrder(summarize(samples))
	writeTables(os.Stdout, rows, p.works)
	writeGoals(os.Stdout, rows)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(samples, func(s sample) bool { return s.Error != "" }) {
		return errFailed
	}
	return nil
}

// measure takes the samples, and writes each to raw. The error is that of raw, or ctx's.
func (p plan) measure(ctx context.Context, b *bench, began time.Time, raw *json.Encoder) (samples []sample, err error) {
	for _, w := range p.works {
		for round := range p.rounds {
			for _, s := range shuffled(p.stacks, round) {
				if !s.can(w) {
					continue
				}
				profile := ""
				if p.profiles != "" && round == p.rounds-1 {
					profile = filepath.Join(p.profiles, fileName(w, s))
				}
				some, err := b.measure(ctx, w, s, profile)
				if ctx.Err() != nil {
					return samples, ctx.Err()
				}
				if err != nil {
					some = failed(w, err)
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

// failed makes the samples of a work that has failed.
func failed(w work, err error) []sample {
	var samples []sample
	for _, part := range w.parts {
		samples = append(samples, sample{Work: w.name + part, Error: err.Error()})
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
func inOrder(rows []row) []row {
	place := func(r row) int { return slices.IndexFunc(stacks, func(s stack) bool { return s.name == r.stack }) }
	slices.SortStableFunc(rows, func(a, b row) int { return place(a) - place(b) })
	return rows
}

// fileName is that of the profile of w on s.
func fileName(w work, s stack) string {
	return strings.NewReplacer(", ", "-", " ", "-").Replace(w.name+"-"+s.name) + ".pprof"
}
