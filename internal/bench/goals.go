package main

import (
	"fmt"
	"io"
)

// goal is a ratio that wsctl is to keep.
type goal struct {
	work, stack string
	limit       float64
	than        string // a stack; of the same work, unless thanWork says otherwise
	thanWork    string
}

var goals = []goal{
	{work: "echo-d1", stack: "wsctl", limit: 0.65, than: "gorilla"},
	{work: "echo-d1", stack: "wsctl", limit: 1.25, than: "limit, coalesced"},
	{work: "echo-d16", stack: "wsctl", limit: 0.25, than: "gorilla"},
	{work: "echo-d16", stack: "wsctl", limit: 0.5, than: "centrifuge"},
	{work: "echo-d16-1500", stack: "wsctl", limit: 0.5, than: "gorilla"},
	{work: "broadcast-1000-w8", stack: "wsctl", limit: 0.15, than: "gorilla"},
	{work: "broadcast-1000-w8", stack: "wsctl", limit: 0.4, than: "centrifuge"},
	{work: "broadcast-1000-w8", stack: "wsctl", limit: 1.25, than: "limit, coalesced"},
	{work: "broadcast-5000-w8", stack: "wsctl", limit: 0.16, than: "gorilla"},
	{work: "broadcast-5000-w8", stack: "wsctl", limit: 1.25, than: "limit, coalesced"},
	{work: "broadcast-1000-w1", stack: "wsctl", limit: 0.75, than: "gorilla"},
	{work: "broadcast-1000-w1-stalled", stack: "wsctl", limit: 1.3, than: "wsctl", thanWork: "broadcast-1000-w1"},
	{work: "idle-10000" + afterGC, stack: "wsctl", limit: 0.17, than: "gorilla"},
	{work: "idle-10000" + afterGC, stack: "wsctl, no parking", limit: 0.42, than: "gorilla"},
	{work: "echo-d1", stack: "wsctl v1", limit: 1.15, than: "wsctl"},
	{work: "echo-d16", stack: "wsctl v1", limit: 1.15, than: "wsctl"},
	{work: "broadcast-1000-w8", stack: "wsctl v1", limit: 1.15, than: "wsctl"},
	{work: "idle-10000" + afterGC, stack: "wsctl v1", limit: 1.3, than: "wsctl"},
}

// ratio returns what the rows say; false if they lack something.
func (g goal) ratio(rows []row) (float64, bool) {
	if g.thanWork != "" {
		return latencyRatio(rows, g.work, g.stack, g.thanWork)
	}
	own, ok := find(rows, g.work, g.stack)
	if !ok {
		return 0, false
	}
	other, ok := find(rows, g.work, g.than)
	if !ok || other.figure <= 0 {
		return 0, false
	}
	return own.figure / other.figure, true
}

// latencyRatio compares the p99 of two works on a stack.
func latencyRatio(rows []row, work, stack, than string) (float64, bool) {
	own, ok := find(rows, work, stack)
	if !ok {
		return 0, false
	}
	other, ok := find(rows, than, stack)
	if !ok || other.p99 <= 0 {
		return 0, false
	}
	return own.p99 / other.p99, true
}

// String says what is compared, and the limit.
func (g goal) String() string {
	if g.thanWork != "" {
		return fmt.Sprintf("%s: %s, p99 ≤ %.2f × %s", g.work, g.stack, g.limit, g.thanWork)
	}
	return fmt.Sprintf("%s: %s ≤ %.2f × %s", g.work, g.stack, g.limit, g.than)
}

// writeGoals writes how the goals are met.
func writeGoals(w io.Writer, rows []row) {
	fmt.Fprint(w, "## Goals\n\n| goal | measured | met |\n| --- | ---: | --- |\n")
	for _, g := range goals {
		ratio, ok := g.ratio(rows)
		switch {
		case !ok:
			fmt.Fprintf(w, "| %s | | not measured |\n", g)
		case ratio <= g.limit:
			fmt.Fprintf(w, "| %s | %.3f | yes |\n", g, ratio)
		default:
			fmt.Fprintf(w, "| %s | %.3f | **no** |\n", g, ratio)
		}
	}
}
