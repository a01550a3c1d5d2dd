package main

import (
	"fmt"
	"io"
)

// goal is a ratio that wsctl is to keep.
type goal struct {
	work, stack string
	limit       float64
	than        string // a stack
	reference   string // a work that the stack's p99 is compared with; empty: it is figures of one work
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
	{work: "broadcast-1000-w1-stalled", stack: "wsctl", limit: 1.3, than: "wsctl", reference: "broadcast-1000-w1-reading"},
	{work: "idle-10000" + afterGC, stack: "wsctl", limit: 0.17, than: "gorilla"},
	{work: "idle-10000" + afterGC, stack: "wsctl, no parking", limit: 0.42, than: "gorilla"},
	{work: "echo-d1", stack: "wsctl v1", limit: 1.15, than: "wsctl"},
	{work: "echo-d16", stack: "wsctl v1", limit: 1.15, than: "wsctl"},
	{work: "broadcast-1000-w8", stack: "wsctl v1", limit: 1.15, than: "wsctl"},
	{work: "idle-10000" + afterGC, stack: "wsctl v1", limit: 1.3, than: "wsctl"},
}

// ratio returns what the rows say, and whether one of those that are compared was disturbed; ok is false if they lack something.
func (g goal) ratio(rows []row) (ratio float64, disturbed, ok bool) {
	thanWork := g.work
	if g.reference != "" {
		thanWork = g.reference
	}
	own, ok := find(rows, g.work, g.stack)
	other, okOther := find(rows, thanWork, g.than)
	if !ok || !okOther || other.figure <= 0 {
		return 0, false, false
	}
	ratio = own.figure / other.figure
	if g.reference != "" {
		ratio = own.ratio // the median of the pairs'
	}
	return ratio, own.disturbed() || other.disturbed(), ratio > 0
}

// String says what is compared, and the limit.
func (g goal) String() string {
	if g.reference != "" {
		return fmt.Sprintf("%s: %s, p99 ≤ %.2f × %s", g.work, g.stack, g.limit, g.reference)
	}
	return fmt.Sprintf("%s: %s ≤ %.2f × %s", g.work, g.stack, g.limit, g.than)
}

// writeGoals writes how the goals are met.
func writeGoals(w io.Writer, rows []row) {
	fmt.Fprint(w, "## Goals\n\nMark: ~ in most rounds of one of the two, others used more than 5 % of the machine's CPU time.\n\n")
	fmt.Fprint(w, "| goal | measured | met | |\n| --- | ---: | --- | --- |\n")
	for _, g := range goals {
		ratio, disturbed, ok := g.ratio(rows)
		if !ok {
			fmt.Fprintf(w, "| %s | | not measured | |\n", g)
			continue
		}
		met, mark := "**no**", ""
		if ratio <= g.limit {
			met = "yes"
		}
		if disturbed {
			mark = "~"
		}
		fmt.Fprintf(w, "| %s | %.3f | %s | %s |\n", g, ratio, met, mark)
	}
}
