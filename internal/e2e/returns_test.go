package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// comeback is how long it took to be open again, and after how many attempts. Below 0: there was no need.
type comeback struct {
	took  time.Duration
	dials int
}

// returns are the comebacks of all cuts.
type returns struct {
	mu    sync.Mutex // guards following
	names []string   // in the order of the table
	all   map[string][]comeback
}

func (r *returns) expect(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
}

func (r *returns) add(name string, c comeback) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[string][]comeback)
	}
	r.all[name] = append(r.all[name], c)
}

// String is a table in Markdown.
func (r *returns) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	b.WriteString("| cut | runs | median ms | min to max ms | most dials |\n|---|--:|--:|--:|--:|\n")
	for _, name := range r.names {
		all := r.all[name]
		switch {
		case len(all) == 0:
		case all[0].took < 0:
			fmt.Fprintf(&b, "| %s | %d | stays open | | 0 |\n", name, len(all))
		default:
			slices.SortFunc(all, func(a, b comeback) int { return int(a.took - b.took) })
			dials := 0
			for _, c := range all {
				dials = max(dials, c.dials)
			}
			fmt.Fprintf(&b, "| %s | %d | %d | %d to %d | %d |\n", name, len(all), all[len(all)/2].took.Milliseconds(),
				all[0].took.Milliseconds(), all[len(all)-1].took.Milliseconds(), dials)
		}
	}
	return b.String()
}
