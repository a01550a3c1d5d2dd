// Package figures is what the programs of the benchmark tell each other of their measurements.
package figures

// Result is what the load program says of its work, or of a phase of it.
type Result struct {
	Phase     string  `json:"phase,omitempty"`
	Units     int64   `json:"units"`
	Messages  int64   `json:"messages,omitempty"` // whose deliveries the units are; 0: they are something else
	Seconds   float64 `json:"seconds"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
	LoadCPU   float64 `json:"load_cpu_s"`
	Saturated bool    `json:"saturated"` // the load program was busy nearly all the time, and so perhaps what was measured
	BytesIn   int64   `json:"bytes_in"`
}
