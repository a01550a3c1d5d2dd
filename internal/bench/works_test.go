package main

import (
	"slices"
	"testing"
)

func TestNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, w := range slices.Concat(works, growthWorks(), clusterWorks) {
		for _, one := range w.sequence() {
			for _, name := range one.names() {
				if seen[name] {
					t.Errorf("two works are %q", name)
				}
				seen[name] = true
			}
		}
	}
	for _, s := range slices.Concat(stacks, clusterStacks) {
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
