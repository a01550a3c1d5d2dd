//go:build linux

package main

import "math/bits"

const (
	fineBits = 7 // a bucket is less than 1 % of its value wide
	fine     = 1 << fineBits
)

// histogram counts durations in nanoseconds, in buckets that are as fine as a percent: one for each value below 256, then 128
// for each power of two. Its size is fixed, and so is the time that it takes to record.
type histogram struct {
	buckets [(64 - fineBits) * fine]uint64
	count   uint64
	largest int64
}

// record counts a duration. A negative one counts as zero.
func (h *histogram) record(ns int64) {
	ns = max(ns, 0)
	h.buckets[bucketOf(uint64(ns))]++
	h.count++
	h.largest = max(h.largest, ns)
}

// quantile returns the duration that a share q of those recorded don't exceed, to within 1 %; 0 if there are none.
func (h *histogram) quantile(q float64) int64 {
	rank := max(1, uint64(q*float64(h.count)+0.5))
	seen := uint64(0)
	for i, n := range h.buckets {
		if seen += n; seen >= rank {
			low, width := bucketAt(i)
			return min(int64(low+width/2), h.largest)
		}
	}
	return 0
}

// bucketOf returns the bucket of a value: its magnitude, and its leading bits below the first.
func bucketOf(v uint64) int {
	shift := max(0, bits.Len64(v)-fineBits-1)
	return shift<<fineBits + int(v>>shift)
}

// bucketAt returns the smallest value of a bucket, and how many values are in it.
func bucketAt(i int) (low, width uint64) {
	if i < 2*fine {
		return uint64(i), 1
	}
	shift := i>>fineBits - 1
	return uint64(i-shift<<fineBits) << shift, 1 << shift
}
