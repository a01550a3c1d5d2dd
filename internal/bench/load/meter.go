//go:build linux

package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// busy is the share of one core above which the load generator itself may be what was measured.
const busy = 0.9

// result is what was measured of a phase.
type result struct {
	Phase     string  `json:"phase,omitempty"`
	Units     uint64  `json:"units"`
	Seconds   float64 `json:"seconds"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
	LoadCPU   float64 `json:"load_cpu_s"`
	Saturated bool    `json:"saturated"`
	BytesIn   int64   `json:"bytes_in"`
}

// meter measures a phase. Each unit of its work is recorded with its latency.
type meter struct {
	latencies histogram
	start     int64
	cpu       time.Duration
	bytesIn   int64
}

// begin forgets all that was recorded.
func (m *meter) begin(l *loop) error {
	cpu, err := cpuTime()
	*m = meter{start: clock(), cpu: cpu, bytesIn: l.bytesIn}
	return err
}

func (m *meter) result(l *loop) (result, error) {
	elapsed := time.Duration(clock() - m.start)
	cpu, err := cpuTime()
	cpu -= m.cpu
	const microsecond = float64(time.Microsecond)
	return result{
		Units:     m.latencies.count,
		Seconds:   elapsed.Seconds(),
		P50:       float64(m.latencies.quantile(0.5)) / microsecond,
		P99:       float64(m.latencies.quantile(0.99)) / microsecond,
		Max:       float64(m.latencies.largest) / microsecond,
		LoadCPU:   cpu.Seconds(),
		Saturated: cpu.Seconds() > busy*elapsed.Seconds(),
		BytesIn:   l.bytesIn - m.bytesIn,
	}, err
}

// cpuTime returns what this process has used, in user mode and in the kernel.
func cpuTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
