package main

import (
	"reflect"
	"testing"

	"github.com/wsctl/wsctl/internal/bench/figures"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{4, 2}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{8, 2, 6, 4}, 5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, expected %v", c.values, got, c.want)
		}
	}
	values := []float64{2, 1}
	if median(values); values[0] != 2 {
		t.Error("median sorts what it is given")
	}
}

func TestSummarize(t *testing.T) {
	samples := []sample{
		{Work: "fanout", Stack: "c", Figure: 2, CPU: 2, BrokerCPU: 0.5, Result: figures.Result{Units: 100, Messages: 10, Seconds: 1}},
		{Work: "join", Stack: "c", Figure: 2, CPU: 2, BrokerCPU: 0.5, RoomBytes: 7, KeptBytes: 8, Result: figures.Result{Units: 100, Seconds: 1}},
		{Work: "echo", Stack: "a", Figure: 4, Result: figures.Result{Units: 100, Seconds: 2, P50: 10, P99: 30}},
		{Work: "echo", Stack: "b", Error: "it has ended"},
		{Work: "echo", Stack: "a", Figure: 1, Ratio: 5, Result: figures.Result{Units: 300, Seconds: 2, P50: 20, P99: 20}},
		{Work: "idle", Stack: "a", Figure: 7},
		{Work: "echo", Stack: "a", Figure: 3, Result: figures.Result{Units: 200, Seconds: 2, P50: 30, P99: 10}},
	}
	want := []row{
		{work: "fanout", stack: "c", figure: 2, least: 2, most: 2, rate: 100, perMessage: 20, broker: 5, rounds: 1},
		{work: "join", stack: "c", figure: 2, least: 2, most: 2, rate: 100, broker: 0.5, roomBytes: 7, keptBytes: 8, rounds: 1},
		{work: "echo", stack: "a", figure: 3, least: 1, most: 4, rate: 100, p50: 20, p99: 20, ratio: 5, rounds: 3},
		{work: "echo", stack: "b", errors: []string{"it has ended"}},
		{work: "idle", stack: "a", figure: 7, least: 7, most: 7, rounds: 1},
	}
	if got := summarize(samples); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nexpected %+v", got, want)
	}
}

func TestMarks(t *testing.T) {
	quiet := sample{Figure: 1, Others: 0.04, Steal: 0.04}
	for _, c := range []struct {
		name    string
		samples []sample
		want    string
	}{
		{"quiet", []sample{quiet, quiet}, ""},
		{"saturated once", []sample{quiet, {Result: figures.Result{Saturated: true}}}, "!"},
		{"others", []sample{{Others: 0.06}, quiet}, "~"},
		{"steal", []sample{quiet, {Steal: 0.06}}, "~"},
		{"both", []sample{{Steal: 0.06, Result: figures.Result{Saturated: true}}}, "! ~"},
		{"failed", []sample{quiet, {Error: "a|b\nc", Others: 1}, {Error: "d"}}, `2 of 3 rounds failed: a\|b c`},
	} {
		if got := summarizeOne("w", "s", c.samples).remarks(); got != c.want {
			t.Errorf("%s: %q, expected %q", c.name, got, c.want)
		}
	}
}
