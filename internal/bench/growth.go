package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// curve is a figure that is followed as something grows.
type curve struct {
	label string // which one of its panel it is; empty: there is no other
	work  string // name of what is measured, with a verb for the size
}

// panel is a part of the picture of growth.
type panel struct {
	title  string
	size   string // what grows
	unit   string // of the figures
	sizes  []int
	curves []curve
}

var (
	connectionSizes = []int{100, 1000, 5000, 15000}
	roomSizes       = []int{1, 100, 10000, 100000}
)

const (
	growthRoomConns = 1000
	growthCallers   = 100 // that call where most are idle
)

var panels = []panel{
	{"Broadcast to all connections, 8 messages outstanding", "connections", "CPU µs per delivery", connectionSizes, []curve{
		{"", "grow-broadcast-%d"},
	}},
	{"Echo, one call at a time on each connection", "connections", "CPU µs per call", connectionSizes, []curve{
		{"all connections call", "grow-echo-%d"},
		{"100 call, the others are idle", "grow-echo-100-of-%d"},
	}},
	{"Memory of idle connections, after a garbage collection", "connections", "bytes per connection", connectionSizes, []curve{
		{"", "grow-idle-%d" + afterGC},
	}},
	{"Rooms, with 1,000 connections", "rooms", "CPU µs per operation", roomSizes, []curve{
		{"send to one member", "grow-rooms-%d-send"},
		{"join", "grow-rooms-%d-join"},
		{"leave", "grow-rooms-%d-leave"},
	}},
}

// growthWorks are the works that panels show.
func growthWorks() (all []work) {
	for _, n := range connectionSizes {
		all = append(all, broadcast(fmt.Sprintf("grow-broadcast-%d", n), n, 8))
	}
	for _, n := range connectionSizes {
		all = append(all,
			echo(fmt.Sprintf("grow-echo-%d", n), n, 1, 83),
			echo(fmt.Sprintf("grow-echo-%d-of-%d", growthCallers, n), n, 1, 83, "-callers", fmt.Sprint(growthCallers)))
	}
	for _, n := range roomSizes {
		all = append(all, sparse(manyRooms(fmt.Sprintf("grow-rooms-%d", n), growthRoomConns, n)))
	}
	for _, n := range connectionSizes {
		all = append(all, idle(fmt.Sprintf("grow-idle-%d", n), n))
	}
	return all
}

// growthStacks are wsctl and the baseline. Whether connections park matters to idle ones.
func growthStacks() (all []stack) {
	for _, s := range stacks {
		switch s.name {
		case "wsctl, no parking":
			s.does = classConns
		case "wsctl", "wsctl v1", baseline:
		default:
			continue
		}
		all = append(all, s)
	}
	return all
}

// stacksOf returns the stacks that have figures of c.
func (p panel) stacksOf(c curve, rows []row) (names []string) {
	for _, s := range growthStacks() {
		if slices.ContainsFunc(p.sizes, func(n int) bool { _, ok := find(rows, fmt.Sprintf(c.work, n), s.name); return ok }) {
			names = append(names, s.name)
		}
	}
	return names
}

// writeGrowth writes a table for each curve that has figures.
func writeGrowth(out io.Writer, rows []row) {
	fmt.Fprint(out, legend)
	for _, p := range panels {
		for _, c := range p.curves {
			names := p.stacksOf(c, rows)
			if len(names) == 0 {
				continue
			}
			title := p.title
			if c.label != "" {
				title += ": " + c.label
			}
			fmt.Fprintf(out, "## %s\n\n%s.\n\n| %s | %s |\n|%s\n", title, p.unit, p.size, strings.Join(names, " | "), strings.Repeat(" ---: |", len(names)+1))
			for _, n := range p.sizes {
				fmt.Fprintf(out, "| %s |", grouped(n))
				for _, name := range names {
					fmt.Fprintf(out, " %s |", pointText(rows, fmt.Sprintf(c.work, n), name))
				}
				fmt.Fprintln(out)
			}
			fmt.Fprintln(out)
		}
	}
}

// pointText is a figure with its marks, or what went wrong; empty if it wasn't measured.
func pointText(rows []row, work, stack string) string {
	i := slices.IndexFunc(rows, func(r row) bool { return r.work == work && r.stack == stack })
	switch {
	case i < 0:
		return ""
	case rows[i].rounds == 0:
		return rows[i].remarks()
	}
	return strings.TrimSpace(number(rows[i].figure) + " " + rows[i].remarks())
}

// grouped shows n with commas between groups of three digits.
func grouped(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

// plotFile draws what a file of raw values has.
func plotFile(raw, picture string) error {
	f, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer f.Close()
	samples, err := readSamples(f)
	if err != nil {
		return fmt.Errorf("%s: %w", raw, err)
	}
	return drawGrowth(picture, summarize(newest(samples)))
}

// readSamples reads raw values, as the runner writes them.
func readSamples(r io.Reader) (samples []sample, err error) {
	for d := json.NewDecoder(bufio.NewReader(r)); ; {
		var s sample
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			return samples, nil
		} else if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	}
}

// newest returns, of each work on each stack, the samples of the last run that has any.
func newest(samples []sample) (kept []sample) {
	type key struct{ work, stack string }
	last := make(map[key]sample)
	for _, s := range samples {
		k := key{s.Work, s.Stack}
		if last[k].Run.Before(s.Run) {
			last[k] = s
		}
	}
	for _, s := range samples {
		if last[key{s.Work, s.Stack}].Run.Equal(s.Run) {
			kept = append(kept, s)
		}
	}
	return kept
}
