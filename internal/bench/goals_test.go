package main

import (
	"strings"
	"testing"
)

func TestRatio(t *testing.T) {
	rows := []row{
		{work: "calls", stack: "wsctl", figure: 3, p99: 50, rounds: 3},
		{work: "calls", stack: "gorilla", figure: 4, p99: 10, rounds: 3},
		{work: "calls", stack: "geth", errors: []string{"no"}},
		{work: "calls", stack: "gws", rounds: 3},
		{work: "slow", stack: "wsctl", figure: 1, p99: 60, rounds: 3},
	}
	for _, c := range []struct {
		goal  goal
		ratio float64
		ok    bool
	}{
		{goal{work: "calls", stack: "wsctl", than: "gorilla"}, 0.75, true},
		{goal{work: "slow", stack: "wsctl", than: "wsctl", thanWork: "calls"}, 1.2, true},
		{goal{work: "calls", stack: "wsctl", than: "geth"}, 0, false},    // failed
		{goal{work: "calls", stack: "geth", than: "gorilla"}, 0, false},  // failed
		{goal{work: "calls", stack: "wsctl", than: "melody"}, 0, false},  // not measured
		{goal{work: "calls", stack: "wsctl", than: "gws"}, 0, false},     // a figure of 0
		{goal{work: "slow", stack: "gws", thanWork: "calls"}, 0, false},  // not measured
		{goal{work: "slow", stack: "wsctl", thanWork: "idle"}, 0, false}, // not measured
	} {
		ratio, ok := c.goal.ratio(rows)
		if ratio != c.ratio || ok != c.ok {
			t.Errorf("%+v: %v, %v, expected %v, %v", c.goal, ratio, ok, c.ratio, c.ok)
		}
	}
}

func TestWriteGoals(t *testing.T) {
	rows := []row{
		{work: "echo-d1", stack: "wsctl", figure: 65, rounds: 1},
		{work: "echo-d1", stack: "gorilla", figure: 100, rounds: 1},
		{work: "echo-d1", stack: "limit, coalesced", figure: 50, rounds: 1},
		{work: "broadcast-1000-w1-stalled", stack: "wsctl", p99: 12, rounds: 1},
		{work: "broadcast-1000-w1", stack: "wsctl", p99: 10, rounds: 1},
	}
	var out strings.Builder
	writeGoals(&out, rows)
	for _, want := range []string{
		"| echo-d1: wsctl ≤ 0.65 × gorilla | 0.650 | yes |\n",
		"| echo-d1: wsctl ≤ 1.25 × limit, coalesced | 1.300 | **no** |\n",
		"| echo-d16: wsctl ≤ 0.25 × gorilla | | not measured |\n",
		"| broadcast-1000-w1-stalled: wsctl, p99 ≤ 1.30 × broadcast-1000-w1 | 1.200 | yes |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// Every goal is about works that its stacks take part in.
func TestGoalsAreMeasured(t *testing.T) {
	measured := func(name, stackName string) bool {
		for _, w := range works {
			for _, part := range w.parts {
				for _, s := range stacks {
					if w.name+part == name && s.name == stackName && s.can(w) {
						return true
					}
				}
			}
		}
		return false
	}
	for _, g := range goals {
		thanWork := g.work
		if g.thanWork != "" {
			thanWork = g.thanWork
		}
		if !measured(g.work, g.stack) || !measured(thanWork, g.than) {
			t.Errorf("%s: it can't be measured", g)
		}
	}
	for _, w := range works {
		for _, s := range stacks {
			if w.than != "" && s.can(w) && !measured(w.than, s.name) {
				t.Errorf("%s of %s has nothing to be compared with", w.name, s.name)
			}
		}
	}
}
