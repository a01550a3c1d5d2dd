package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl/internal/sim"
)

var (
	one    = flag.Int64("seed", -1, "play this seed alone, with its whole trace under -v")
	number = flag.Int("seeds", 2000, "how many seeds to play; 200 under -short")
	goOn   = flag.Bool("goon", false, "play all seeds, and tell of each that fails its first breach alone")
	start  = flag.Int64("start", 1, "the first seed")
)

// kinds are what a run of many seeds must have had.
var kinds = []string{
	"fault: cut", "fault: silent", "fault: hold", "fault: half-open", "fault: slow", "fault: refused", "fault: late", "fault: no answer",
	"resumed", "resume refused", "from an old conn", "written again", "reported lost", "restart: whole", "restart: cut short",
	"messages", "room messages", "puts", "volatile handled", "stream items", "upload items",
	"call: ok", "call: custom", "call: internal", "call: not_found", "call: timeout", "call: canceled", "call: unavailable",
	"call: too_many", "call: stopped", "call: broken", "call: torn", "ask: ok", "ask: timeout", "ask: canceled", "ask: closed", "dropped: Oldest", "dropped: Newest",
	"close 1000", "close 1001", "close 1011", "close 4000", "close 4099", "close 4408", "close 4409", "close 4510",
	"authenticated", "authenticated again", "not authenticated", "not authenticated again", "close 4401",
	"type $cancel", "type $end", "type $error", "type $item", "type $more", "type $reply",
}

// TestSim plays seeds. A bubble that doesn't end, as some goroutine of it is left, is a panic of synctest, which names it.
func TestSim(t *testing.T) {
	first, n := *start, *number
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // little lives on
	if testing.Short() {
		n = min(n, 200)
	}
	if *one >= 0 {
		first, n = *one, 1
	}
	report := &sim.Report{}
	var next atomic.Int64
	next.Store(first)
	t.Run("seeds", func(t *testing.T) {
		for i := range min(2, n) {
			t.Run(fmt.Sprint("worker ", i), func(t *testing.T) {
				t.Parallel()
				for *goOn || !t.Failed() {
					seed := next.Add(1) - 1
					if seed >= first+int64(n) {
						return
					}
					play(t, uint64(seed), report)
				}
			})
		}
	})
	for _, what := range slices.Sorted(maps.Keys(report.Counts)) {
		t.Logf("%-40s %d", what, report.Counts[what])
	}
	if n < 1000 {
		return
	}
	for _, what := range kinds { // else the run has shown less than it seems to
		if report.Counts[what] == 0 {
			t.Errorf("no %s in %d seeds", what, n)
		}
	}
}

func play(t *testing.T, seed uint64, report *sim.Report) {
	var done atomic.Bool
	watch := time.AfterFunc(2*time.Minute, func() {
		fmt.Fprintf(os.Stderr, "seed %d doesn't end\n", seed)
		panic("stuck")
	})
	defer watch.Stop()
	defer func() {
		if !done.Load() { // synctest panics if goroutines are left
			fmt.Fprintf(os.Stderr, "seed %d: replay it with go test ./internal/sim -run TestSim -seed %d -v\n", seed, seed)
		}
	}()
	var trace *sim.Trace
	synctest.Test(t, func(*testing.T) { trace = sim.Run(seed, *one >= 0, report) })
	done.Store(true)
	switch broken := trace.Broken(); {
	case len(broken) == 0:
		if *one >= 0 {
			t.Log("\n" + trace.String())
		}
	case *goOn:
		t.Errorf("seed %d: %s", seed, broken[0])
	default:
		t.Errorf("seed %d: replay it with go test ./internal/sim -run TestSim -seed %d -v", seed, seed)
		for _, b := range broken {
			t.Error(b)
		}
		t.Log("\n" + trace.String())
	}
}
