package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	var p plan
	flag.IntVar(&p.rounds, "rounds", 3, "measurements of each work on each stack; at most 2 of memory")
	flag.DurationVar(&p.duration, "time", time.Second, "duration of one measurement; 4 times that for latencies")
	flag.DurationVar(&p.settle, "settle", 0, "from the last idle connection to the measurement of memory (default 30s, or 5s with -grow, which is about memory after a collection)")
	work := flag.String("work", "", "regexp of the works; all by default")
	stack := flag.String("stack", "", "regexp of the stacks; all by default")
	flag.StringVar(&p.raw, "raw", "", "`file` to which each measurement is appended, as a line of JSON (default bench.jsonl, growth.jsonl with -grow, or cluster.jsonl with -cluster)")
	flag.StringVar(&p.profiles, "profile", "", "`folder` for a CPU profile of each server, in the last round")
	flag.BoolVar(&p.grow, "grow", false, "measure instead how the costs of wsctl grow with the connections and the rooms, and draw it")
	flag.BoolVar(&p.cluster, "cluster", false, "measure instead what rooms cost on several nodes with a broker between them")
	flag.StringVar(&p.picture, "picture", "growth.png", "`file` of what -grow or -plot draws")
	plot := flag.String("plot", "", "draw what an earlier run with -grow has written to this `file`, and measure nothing")
	list := flag.Bool("list", false, "list works and stacks and how long they take, and measure nothing")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := p.choose(*work, *stack)
	switch {
	case err != nil:
	case flag.NArg() > 0:
		err = fmt.Errorf("%q is not a flag: see -help", flag.Arg(0))
	case *plot != "":
		err = plotFile(*plot, p.picture)
	case *list:
		p.list(os.Stdout)
	default:
		err = p.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// choose fills in the works and stacks whose names match.
func (p *plan) choose(work, stack string) error {
	works, stacks, raw, settle := works, stacks, "bench.jsonl", 30*time.Second
	switch {
	case p.grow && p.cluster:
		return errors.New("-grow and -cluster exclude each other")
	case p.cluster:
		works, stacks, raw = clusterWorks, clusterStacks, "cluster.jsonl"
	case p.grow:
		works, stacks, raw, settle = growthWorks(), growthStacks(), "growth.jsonl", 5*time.Second
	}
	p.raw, p.settle = cmp.Or(p.raw, raw), cmp.Or(p.settle, settle)
	workPattern, errWork := regexp.Compile(work)
	stackPattern, errStack := regexp.Compile(stack)
	if err := errors.Join(errWork, errStack); err != nil {
		return err
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
	if len(p.works) == 0 || len(p.stacks) == 0 || p.rounds < 1 {
		return errors.New("there is nothing to do: see -list and -help")
	}
	return nil
}
