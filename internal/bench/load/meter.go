//go:build linux

package main

import (
	"time"

	"github.com/wsctl/wsctl/internal/bench/figures"
)

// busy is the share of one core above which the load generator itself may be what was measured.
const busy = 0.9

// meter measures a phase. Each unit of its work is recorded with its latency.
type meter struct {
	latencies histogram
	start     int64
	cpu       time.Duration
	bytesIn   int64
}

// begin forgets all that was recorded.
func (m *meter) begin(l *loop) error {
	cpu, err := figures.CPUTime()
	*m = meter{start: clock(), cpu: cpu, bytesIn: l.bytesIn}
	return err
}

func (m *meter) result(l *loop) (figures.Result, error) {
	elapsed := time.Duration(clock() - m.start)
	cpu, err := figures.CPUTime()
	cpu -= m.cpu
	const microsecond = float64(time.Microsecond)
	return figures.Result{
		Units:     int64(m.latencies.count),
		Seconds:   elapsed.Seconds(),
		P50:       float64(m.latencies.quantile(0.5)) / microsecond,
		P99:       float64(m.latencies.quantile(0.99)) / microsecond,
		Max:       float64(m.latencies.largest) / microsecond,
		LoadCPU:   cpu.Seconds(),
		Saturated: cpu.Seconds() > busy*elapsed.Seconds(),
		BytesIn:   l.bytesIn - m.bytesIn,
	}, err
}
