package main

import (
	"slices"
)

// row is what the rounds of a work on a stack come to.
type row struct {
	work, stack string
	figure      float64 // medians, unless said otherwise
	least, most float64 // of the figure
	rate        float64 // units a second; 0: it isn't about time
	p50, p99    float64
	ratio       float64 // of the figure to that of the work's reference; 0: it has none
	perMessage  float64 // CPU of the nodes, where units are its deliveries
	broker      float64 // its CPU for a message, or for a unit of another kind
	roomBytes   float64
	keptBytes   float64
	saturated   bool // the load program was, in some round
	noisy       int  // rounds in which others used the machine
	rounds      int  // that succeeded
	errors      []string
}

// tolerable is the part of the machine's CPU time that others may use.
const tolerable = 0.05

// summarize returns a row for each work and stack, in the order in which they first come.
func summarize(samples []sample) []row {
	type key struct{ work, stack string }
	var keys []key
	groups := make(map[key][]sample)
	for _, s := range samples {
		k := key{s.Work, s.Stack}
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], s)
	}
	rows := make([]row, 0, len(keys))
	for _, k := range keys {
		rows = append(rows, summarizeOne(k.work, k.stack, groups[k]))
	}
	return rows
}

func summarizeOne(work, stack string, samples []sample) row {
	r := row{work: work, stack: stack}
	var figures, rates, p50s, p99s, ratios, messages, brokers, rooms, kept []float64
	for _, s := range samples {
		if s.Error != "" {
			r.errors = append(r.errors, s.Error)
			continue
		}
		r.rounds++
		figures = append(figures, s.Figure)
		p50s = append(p50s, s.Result.P50)
		p99s = append(p99s, s.Result.P99)
		if s.Result.Seconds > 0 {
			rates = append(rates, float64(s.Result.Units)/s.Result.Seconds)
		}
		r.saturated = r.saturated || s.Result.Saturated
		each := 1.0 // units of a message
		if n := s.Result.Messages; n > 0 {
			each = float64(s.Result.Units) / float64(n)
			messages = append(messages, s.CPU*each)
		}
		brokers = append(brokers, s.BrokerCPU*each)
		rooms = append(rooms, s.RoomBytes)
		kept = append(kept, s.KeptBytes)
		if s.Ratio > 0 {
			ratios = append(ratios, s.Ratio)
		}
		if s.Others > tolerable || s.Steal > tolerable {
			r.noisy++
		}
	}
	if r.rounds > 0 {
		r.least, r.most = slices.Min(figures), slices.Max(figures)
	}
	r.figure, r.rate, r.p50, r.p99, r.ratio = median(figures), median(rates), median(p50s), median(p99s), median(ratios)
	r.perMessage, r.broker, r.roomBytes, r.keptBytes = median(messages), median(brokers), median(rooms), median(kept)
	return r
}

// disturbed tells whether others used the machine in most rounds, so that the medians may be off.
func (r row) disturbed() bool { return 2*r.noisy > r.rounds }

// median returns the middle of the values, or the mean of the two that are; 0 if there are none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// find returns the row of a work and a stack, if it has a figure.
func find(rows []row, work, stack string) (row, bool) {
	i := slices.IndexFunc(rows, func(r row) bool { return r.work == work && r.stack == stack && r.rounds > 0 })
	if i < 0 {
		return row{}, false
	}
	return rows[i], true
}
