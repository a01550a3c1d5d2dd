//go:build linux

package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBuckets(t *testing.T) {
	next := uint64(0)
	for i := range len((&histogram{}).buckets) {
		low, width := bucketAt(i)
		if low != next {
			t.Fatalf("bucket %d begins at %d, want %d", i, low, next)
		}
		if bucketOf(low) != i || bucketOf(low+width-1) != i {
			t.Fatalf("bucket %d: its ends are in buckets %d and %d", i, bucketOf(low), bucketOf(low+width-1))
		}
		if width > 1 && float64(width)/float64(low) > 0.01 {
			t.Fatalf("bucket %d is %d wide at %d", i, width, low)
		}
		next = low + width
	}
	if next != math.MaxInt64+1 {
		t.Errorf("the last bucket ends before %d", next)
	}
}

func TestQuantile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []int64
	for range 20000 {
		ns := int64(math.Exp(random.Float64() * 20))
		h.record(ns)
		all = append(all, ns)
	}
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		got, want := float64(h.quantile(q)), float64(all[int(q*float64(len(all)))-1])
		if math.Abs(got-want) > want/100 {
			t.Errorf("quantile %g: got %g, want %g", q, got, want)
		}
	}
	if h.largest != all[len(all)-1] || h.count != uint64(len(all)) {
		t.Errorf("the largest of %d is %d, want %d of %d", h.count, h.largest, all[len(all)-1], len(all))
	}
}

func TestQuantileOfFew(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
	h.record(-5)
	h.record(1001)
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("the smaller of two: %d, want 0", got)
	}
	if got := h.quantile(0.99); got != 1001 {
		t.Errorf("the larger of two: %d, want 1001", got)
	}
}
