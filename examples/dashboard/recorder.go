package main

import (
	"context"
	"crypto/rand"
	"iter"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/wsctl/wsctl"
)

const (
	period = time.Second // between two samples
	kept   = 300         // samples: five minutes
	tells  = 4           // how many times in a period the gauges are told
)

// Sample is what was measured at one moment.
type Sample struct {
	Run        string `json:"run"` // of the server: another one after each start
	N          int64  `json:"n"`   // 1, 2, 3 and so on in a run, so that a page sees whether one is missing
	At         int64  `json:"at"`  // milliseconds of Unix time
	Goroutines int64  `json:"goroutines"`
	Memory     int64  `json:"memory"`   // bytes of the heap's objects
	Messages   int64  `json:"messages"` // received and sent since the sample before
	Sockets    int64  `json:"sockets"`
}

// Recorder measures the server once a period and keeps the last samples, for any number of readers.
type Recorder struct {
	run string
	now []metrics.Sample // of the one goroutine of Run

	mu      sync.Mutex    // guards following
	samples []Sample      // the oldest first; none of them is ever changed
	more    chan struct{} // closed and replaced when there is another one, closed for good when there will be none
	ended   bool
}

// NewRecorder returns a Recorder without samples. Run is to be called once.
func NewRecorder() *Recorder {
	return &Recorder{
		run:  rand.Text()[:8],
		now:  []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}},
		more: make(chan struct{}),
	}
}

// Run measures until ctx ends, and tells every page the gauges. All that is done once a period is done here, whether there is
// one page or a thousand. When Run returns, those who follow have been told that nothing more comes.
func (r *Recorder) Run(ctx context.Context, sockets *wsctl.Handler) {
	defer r.end()
	started, counted := time.Now(), int64(0)
	ticker := time.NewTicker(period / tells)
	defer ticker.Stop()
	for tick := 0; ; tick++ {
		stats := sockets.Stats()
		messages := max(counted, int64(stats.Received+stats.Sent))
		if tick%tells == 0 {
			r.add(Sample{Messages: messages - counted, Sockets: int64(stats.Sockets)})
			counted = messages
		}
		tell(sockets.Hub(), map[string]int64{
			"uptime":   int64(time.Since(started) / time.Second),
			"calls":    int64(stats.Calls),
			"away":     int64(stats.Detached),
			"queued":   int64(stats.QueuedBytes),
			"messages": messages,
		})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// add completes a sample and wakes those who wait for it.
func (r *Recorder) add(s Sample) {
	metrics.Read(r.now)
	s.Run, s.At = r.run, time.Now().UnixMilli()
	s.Goroutines, s.Memory = int64(r.now[0].Value.Uint64()), int64(r.now[1].Value.Uint64())
	r.mu.Lock()
	defer r.mu.Unlock()
	s.N = r.newest() + 1
	// The oldest leave by the front: readers may still have them, and append moves the others when it needs room.
	r.samples = append(r.samples, s)
	r.samples = r.samples[max(0, len(r.samples)-kept):]
	close(r.more)
	r.more = make(chan struct{})
}

func (r *Recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	close(r.more)
}

// newest is the number of the newest sample. mu is held.
func (r *Recorder) newest() int64 {
	if len(r.samples) == 0 {
		return 0
	}
	return r.samples[len(r.samples)-1].N
}

// Newest is the number of the newest sample of this run, 0 if there is none yet.
func (r *Recorder) Newest() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest()
}

// Follow yields the samples after the n-th that are kept, then each new one, until ctx or the recording ends. A reader who is
// slower than the recorder misses what isn't kept any more, and sees it by the numbers.
func (r *Recorder) Follow(ctx context.Context, n int64) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		for n := n; ; {
			samples, more, ended := r.after(n)
			for _, s := range samples {
				if !yield(s, nil) {
					return
				}
				n = s.N
			}
			switch {
			case len(samples) > 0:
				continue // perhaps there are others by now
			case ended:
				yield(Sample{}, wsctl.Errorf(wsctl.CodeUnavailable, "the server stops"))
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				return // nobody is there to be told
			}
		}
	}
}

// after returns the kept samples after the n-th, a channel that is closed when there is another one, and whether the recording
// has ended.
func (r *Recorder) after(n int64) (samples []Sample, more <-chan struct{}, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := min(r.newest()-n, int64(len(r.samples)))
	return r.samples[int64(len(r.samples))-missing:], r.more, r.ended
}
