package kit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strings"

	"github.com/wsctl/wsctl/internal/bench/figures"
)

// ListeningPrefix begins the first line of a server on stdout, before its address.
const ListeningPrefix = "listening "

// Commands of the runner: a line on stdin each, answered by a line of JSON on stdout.
const (
	CommandStats      = "stats"      // answered by Stats
	CommandGC         = "gc"         // collects garbage and gives memory back; answered by Stats
	CommandProfile    = "profile"    // with the name of a file: starts a CPU profile; answered by {}
	CommandEndProfile = "endprofile" // ends it; answered by {}
)

// Stats is what a server has used so far.
type Stats struct {
	CPU        int64 `json:"cpu_ns"` // user and system
	RSS        int64 `json:"rss"`    // bytes
	Heap       int64 `json:"heap"`   // bytes of objects, live or not swept yet
	Goroutines int   `json:"goroutines"`
}

// control answers the commands on r, until it ends.
func control(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	var profile *os.File
	for lines.Scan() {
		var answer any = struct{}{}
		var err error
		command, file, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case CommandStats:
			answer, err = readStats()
		case CommandGC:
			for range 2 { // what a finalizer or a pool keeps goes with the second
				runtime.GC()
				debug.FreeOSMemory()
			}
			answer, err = readStats()
		case CommandProfile:
			if profile, err = os.Create(file); err == nil {
				err = pprof.StartCPUProfile(profile)
			}
		case CommandEndProfile:
			pprof.StopCPUProfile()
			err = profile.Close()
		default:
			err = fmt.Errorf("there is no command %q", command)
		}
		if err != nil {
			return err
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func readStats() (Stats, error) {
	cpu, err := figures.CPUTime()
	if err != nil {
		return Stats{}, err
	}
	rss, err := residentSize()
	if err != nil {
		return Stats{}, err
	}
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return Stats{
		CPU:        cpu.Nanoseconds(),
		RSS:        rss,
		Heap:       int64(sample[0].Value.Uint64()),
		Goroutines: runtime.NumGoroutine(),
	}, nil
}
