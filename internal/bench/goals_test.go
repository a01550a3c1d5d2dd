package main

import (
	"slices"
	"strings"
	"testing"
)

func TestRatio(t *testing.T) {
	rows := []row{
		{work: "calls", stack: "wsctl", figure: 3, rounds: 3},
		{work: "calls", stack: "gorilla", figure: 4, rounds: 3},
		{work: "calls", stack: "geth", errors: []string{"no"}},
		{work: "calls", stack: "gws", rounds: 3},
		{work: "slow", stack: "wsctl", figure: 60, ratio: 1.2, rounds: 3},
		{work: "fast", stack: "wsctl", figure: 50, rounds: 3, noisy: 2},
		{work: "fast", stack: "gws", figure: 50, rounds: 3, noisy: 1},
	}
	for _, c := range []struct {
		goal      goal
		ratio     float64
		disturbed bool
		ok        bool
	}{
		{goal{work: "calls", stack: "wsctl", than: "gorilla"}, 0.75, false, true},
		{goal{work: "slow", stack: "wsctl", than: "wsctl", reference: "calls"}, 1.2, false, true},
		{goal{work: "slow", stack: "wsctl", than: "wsctl", reference: "fast"}, 1.2, true, true},
		{goal{work: "fast", stack: "wsctl", than: "gws"}, 1, true, true},
		{goal{work: "fast", stack: "gws", than: "gws"}, 1, false, true},                          // less than most rounds
		{goal{work: "calls", stack: "wsctl", than: "geth"}, 0, false, false},                     // failed
		{goal{work: "calls", stack: "geth", than: "gorilla"}, 0, false, false},                   // failed
		{goal{work: "calls", stack: "wsctl", than: "melody"}, 0, false, false},                   // not measured
		{goal{work: "calls", stack: "wsctl", than: "gws"}, 0, false, false},                      // a figure of 0
		{goal{work: "slow", stack: "gws", than: "gws", reference: "calls"}, 0, false, false},     // not measured
		{goal{work: "slow", stack: "wsctl", than: "wsctl", reference: "idle"}, 0, false, false},  // not measured
		{goal{work: "calls", stack: "wsctl", than: "wsctl", reference: "fast"}, 0, false, false}, // without a pair
	} {
		ratio, disturbed, ok := c.goal.ratio(rows)
		if ok != c.ok || ok && (ratio != c.ratio || disturbed != c.disturbed) {
			t.Errorf("%+v: %v, %v, %v, expected %v, %v, %v", c.goal, ratio, disturbed, ok, c.ratio, c.disturbed, c.ok)
		}
	}
}

func TestWriteGoals(t *testing.T) {
	rows := []row{
		{work: "echo-d1", stack: "wsctl", figure: 65, rounds: 1},
		{work: "echo-d1", stack: "gorilla", figure: 100, rounds: 1},
		{work: "echo-d1", stack: "limit, coalesced", figure: 50, rounds: 1, noisy: 1},
		{work: "broadcast-1000-w1-stalled", stack: "wsctl", figure: 12, ratio: 1.2, rounds: 1},
		{work: "broadcast-1000-w1-reading", stack: "wsctl", figure: 10, rounds: 1},
	}
	var out strings.Builder
	writeGoals(&out, rows)
	for _, want := range []string{
		"| echo-d1: wsctl ≤ 0.65 × gorilla | 0.650 | yes |  |\n",
		"| echo-d1: wsctl ≤ 1.25 × limit, coalesced | 1.300 | **no** | ~ |\n",
		"| echo-d16: wsctl ≤ 0.25 × gorilla | | not measured | |\n",
		"| broadcast-1000-w1-stalled: wsctl, p99 ≤ 1.30 × broadcast-1000-w1-reading | 1.200 | yes |  |\n",
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
			for _, one := range w.sequence() {
				for _, s := range stacks {
					if slices.Contains(one.names(), name) && s.name == stackName && s.can(one) {
						return true
					}
				}
			}
		}
		return false
	}
	for _, g := range goals {
		thanWork := g.work
		if g.reference != "" {
			thanWork = g.reference
		}
		if !measured(g.work, g.stack) || !measured(thanWork, g.than) {
			t.Errorf("%s: it can't be measured", g)
		}
	}
}
