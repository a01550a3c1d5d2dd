package main

import (
	"math"
	"testing"
	"time"
)

func TestParseMachine(t *testing.T) {
	busy, stolen, err := parseMachine("cpu  100 20 3 4000 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if err != nil || busy != 1230*time.Millisecond || stolen != 80*time.Millisecond {
		t.Error(busy, stolen, err)
	}
	for _, text := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 x 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if _, _, err := parseMachine(text); err == nil {
			t.Errorf("%q has no error", text)
		}
	}
}

func TestParseProcess(t *testing.T) {
	used, err := parseProcess("42 (a) b) S 1 42 42 0 -1 4194560 5 0 0 0 17 25 0 0 20 0 1 0 100 0 0")
	if err != nil || used != 420*time.Millisecond {
		t.Error(used, err)
	}
	for _, text := range []string{"", "42 (a) S 1 2 3", "42 (a) S 1 42 42 0 -1 4194560 5 0 0 0 x 25 0"} {
		if _, err := parseProcess(text); err == nil {
			t.Errorf("%q has no error", text)
		}
	}
}

func TestNoise(t *testing.T) {
	before := usage{at: time.Unix(100, 0), busy: 50 * time.Second, stolen: time.Second, own: 7 * time.Second}
	after := usage{at: time.Unix(102, 0), busy: 53 * time.Second, stolen: 1200 * time.Millisecond, own: 8 * time.Second}
	others, stolen := noise(before, after, 1600*time.Millisecond, 2)
	if math.Abs(others-0.1) > 1e-9 || math.Abs(stolen-0.05) > 1e-9 {
		t.Error(others, stolen)
	}
	if others, _ := noise(before, after, 3*time.Second, 2); others != 0 {
		t.Errorf("less than nothing: %v", others)
	}
}
