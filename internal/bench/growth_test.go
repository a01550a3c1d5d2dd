package main

import (
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the panels show is what is measured.
func TestPanels(t *testing.T) {
	var shown, measured []string
	for _, p := range panels {
		for _, c := range p.curves {
			for _, n := range p.sizes {
				shown = append(shown, fmt.Sprintf(c.work, n))
			}
		}
		if len(p.curves) > len(curveDashes) {
			t.Errorf("%s: there are no more than %d kinds of lines", p.title, len(curveDashes))
		}
	}
	for _, w := range growthWorks() {
		names := w.names()
		if w.figure == figureMemory {
			names = names[1:]
		}
		measured = append(measured, names...)
	}
	slices.Sort(shown)
	slices.Sort(measured)
	if !slices.Equal(shown, measured) {
		t.Errorf("shown is %q, measured is %q", shown, measured)
	}
	for _, s := range growthStacks() {
		if stackColors[s.name] == nil {
			t.Errorf("%s has no color", s.name)
		}
	}
}

func TestWriteGrowth(t *testing.T) {
	rows := []row{
		{work: "grow-echo-100-of-100", stack: "wsctl", figure: 1.25, rounds: 3},
		{work: "grow-echo-100-of-5000", stack: "wsctl", figure: 1.5, rounds: 3, noisy: 1},
		{work: "grow-echo-100-of-5000", stack: "gorilla", figure: 12.5, rounds: 3},
		{work: "grow-echo-100-of-15000", stack: "gorilla", errors: []string{"no"}},
		{work: "grow-idle-1000" + afterGC, stack: "wsctl, no parking", figure: 5000, rounds: 2},
	}
	want := legend + `## Echo, one call at a time on each connection: 100 call, the others are idle

CPU µs per call.

| connections | wsctl | gorilla |
| ---: | ---: | ---: |
| 100 | 1.25 |  |
| 1,000 |  |  |
| 5,000 | 1.50 ~ | 12.5 |
| 15,000 |  | 1 of 1 rounds failed: no |

## Memory of idle connections, after a garbage collection

bytes per connection.

| connections | wsctl, no parking |
| ---: | ---: |
| 100 |  |
| 1,000 | 5000 |
| 5,000 |  |
| 15,000 |  |

`
	var got strings.Builder
	if writeGrowth(&got, rows); got.String() != want {
		t.Errorf("got\n%s\nexpected\n%s", got.String(), want)
	}
}

func TestNewest(t *testing.T) {
	first, second := time.Unix(100, 0), time.Unix(200, 0)
	samples := []sample{
		{Run: first, Work: "a", Stack: "s", Round: 1},
		{Run: first, Work: "b", Stack: "s", Round: 1},
		{Run: first, Work: "b", Stack: "s", Round: 2},
		{Run: second, Work: "a", Stack: "s", Round: 1},
		{Run: second, Work: "a", Stack: "s", Round: 2},
		{Run: second, Work: "b", Stack: "t", Round: 1},
	}
	if got := newest(samples); !reflect.DeepEqual(got, samples[1:]) {
		t.Errorf("%+v, expected all but the first", got)
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 15042: "15,042", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %q, expected %q", n, got, want)
		}
	}
}

func TestTicksTo(t *testing.T) {
	for most, want := range map[float64]string{
		0:     "0 1",
		0.8:   "0 1",
		6.5:   "0 1 2 3 4 5 6 7",
		7.5:   "0 2 4 6 8",
		14:    "0 2 4 6 8 10 12 14",
		31:    "0 5 10 15 20 25 30 35",
		36:    "0 10 20 30 40",
		32399: "0 5,000 10,000 15,000 20,000 25,000 30,000 35,000",
	} {
		var labels []string
		for _, tick := range ticksTo(most) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != want {
			t.Errorf("to %v: %s, expected %s", most, got, want)
		}
	}
}

// A picture can be drawn of what a run has written, even of a part of it.
func TestPlotFile(t *testing.T) {
	folder := t.TempDir()
	raw, picture := filepath.Join(folder, "growth.jsonl"), filepath.Join(folder, "growth.png")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range connectionSizes {
		one := sample{Run: time.Unix(1, 0), Work: fmt.Sprintf("grow-echo-%d", n), Stack: "wsctl", Round: 1, Figure: float64(i + 1)}
		if err := json.NewEncoder(f).Encode(one); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := plotFile(raw, picture); err != nil {
		t.Fatal(err)
	}
	f, err = os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if config, err := png.DecodeConfig(f); err != nil || config.Width != pictureWidth || config.Height != pictureHeight {
		t.Errorf("the picture is %dx%d: %v", config.Width, config.Height, err)
	}
	if err := os.WriteFile(raw, []byte("{}\nno"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := plotFile(raw, picture); err == nil {
		t.Error("a file that isn't JSON is drawn")
	}
}
