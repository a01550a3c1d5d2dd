package main

import (
	"slices"
	"testing"
)

func TestNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, w := range works {
		for _, part := range w.parts {
			if seen[w.name+part] {
				t.Errorf("two works are %q", w.name+part)
			}
			seen[w.name+part] = true
		}
	}
	for _, s := range stacks {
		if seen[s.name] {
			t.Errorf("two stacks are %q", s.name)
		}
		seen[s.name] = true
	}
	if !seen[baseline] {
		t.Error("there is no baseline")
	}
}

func TestServerArgs(t *testing.T) {
	limited := stack{args: []string{"-mode", "frame"}}
	plain, deflate := echo("echo", 1, 1, 83), deflated(echo("deflate", 1, 1, 83))
	if got := limited.serverArgs(deflate); !slices.Equal(got, []string{"-mode", "frame", "-compress"}) {
		t.Error(got)
	}
	if got := limited.serverArgs(plain); !slices.Equal(got, []string{"-mode", "frame"}) {
		t.Error(got)
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
