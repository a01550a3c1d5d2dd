package main

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestEstimate(t *testing.T) {
	p := plan{rounds: 3, duration: time.Second, settle: 30 * time.Second, stacks: []stack{{does: classConns}, {does: classAll}}}
	opened := 350*time.Millisecond + 5000*200*time.Microsecond
	calls := work{timed: true, needs: classEcho, parts: whole, conns: 5000}
	for _, c := range []struct {
		name string
		work work
		want time.Duration
	}{
		{"calls, by one of the stacks", calls, 3 * (opened + time.Second)},
		{"in three parts", work{timed: true, needs: classConns, parts: []string{"a", "b", "c"}, conns: 5000}, 6 * (opened + 3*time.Second)},
		{"idle, in two rounds", idle("", 5000), 4 * (opened + 30*time.Second)},
		{"connect", connections("", "connect", 5000), 6 * opened},
		{"with a reference", stalled(calls, calls), 6 * (opened + 4*time.Second)},
	} {
		if got := p.estimate(c.work); got != c.want {
			t.Errorf("%s: %v, expected %v", c.name, got, c.want)
		}
	}
	if p.rounds = 1; p.roundsOf(idle("", 1)) != 1 {
		t.Error("more rounds than there are to be")
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		pair []sample
		want float64
	}{
		{[]sample{{Figure: 4}, {Figure: 6}}, 1.5},
		{[]sample{{Error: "no"}, {Figure: 6}}, 0},
		{[]sample{{Figure: 4}, {Error: "no"}}, 0},
	} {
		compare(c.pair)
		if c.pair[0].Ratio != 0 || c.pair[1].Ratio != c.want {
			t.Errorf("%+v, expected %v", c.pair, c.want)
		}
	}
}

func TestFailed(t *testing.T) {
	want := []sample{{Work: "idle", Error: "no"}, {Work: "idle after gc", Error: "no"}}
	if got := failed(idle("idle", 1), errors.New("no")); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, expected %+v", got, want)
	}
}

func TestShuffled(t *testing.T) {
	names := func(stacks []stack) (all []string) {
		for _, s := range stacks {
			all = append(all, s.name)
		}
		return all
	}
	first, again, second := names(shuffled(stacks, 0)), names(shuffled(stacks, 0)), names(shuffled(stacks, 1))
	if !slices.Equal(first, again) {
		t.Error("the order of a round differs from run to run")
	}
	if slices.Equal(first, second) {
		t.Error("two rounds have one order")
	}
	if slices.Sort(first); !slices.Equal(first, slices.Sorted(slices.Values(names(stacks)))) {
		t.Error("stacks are lost")
	}
}

func TestFileName(t *testing.T) {
	got := fileName(work{name: "echo-d1"}, stack{name: "wsctl, no parking"})
	if want := "echo-d1-wsctl-no-parking.pprof"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}
