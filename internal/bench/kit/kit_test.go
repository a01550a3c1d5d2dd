package kit

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wsctl/wsctl/internal/bench/figures"
)

// recorder is a client that notes what is done.
type recorder struct{ done []string }

func (r *recorder) Answer(message []byte)           { r.note("answer", string(message)) }
func (r *recorder) Join(room string)                { r.note("join", room) }
func (r *recorder) Leave(room string)               { r.note("leave", room) }
func (r *recorder) Say(room string, message []byte) { r.note("say", room, string(message)) }
func (r *recorder) note(parts ...string)            { r.done = append(r.done, strings.Join(parts, " ")) }

func TestHandle(t *testing.T) {
	for message, want := range map[string][]string{
		`{"type":"Echo","id":1234,"data":{"room":"lobby","text":"hello, world","seq":123456}}`: {
			`answer {"type":"$reply","id":1234,"data":{"room":"lobby","text":"hello, world","seq":123456}}`},
		`{"type":"Join","id":2,"data":{"room":"r17","text":"","seq":0}}`:  {"join r17", `answer {"type":"$reply","id":2}`},
		`{"type":"Leave","id":3,"data":{"room":"r17","text":"","seq":0}}`: {"leave r17", `answer {"type":"$reply","id":3}`},
		`{"type":"Say","data":{"seq":7,"text":"hi","room":"r17"}}`: {
			`say r17 {"type":"Said","data":{"room":"r17","text":"hi","seq":7}}`},
	} {
		var r recorder
		if err := Handle(&r, []byte(message)); err != nil || !slices.Equal(r.done, want) {
			t.Errorf("%s: %q, %v, expected %q", message, r.done, err, want)
		}
	}
	for _, message := range []string{``, `{}`, `{"type":"Sing","id":1,"data":{}}`, `{"type":"Echo","id":1,"data":[]}`} {
		var r recorder
		if err := Handle(&r, []byte(message)); err == nil || r.done != nil {
			t.Errorf("%s: %q, without an error", message, r.done)
		}
	}
}

func TestRooms(t *testing.T) {
	r := NewRooms[int]()
	expect := func(room string, want ...int) {
		t.Helper()
		var got []int
		r.Each(room, func(m int) { got = append(got, m) })
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%q has %v, expected %v", room, got, want)
		}
	}
	for m := range 3 {
		r.Enter(m)
	}
	r.Join("a", 1)
	r.Join("a", 1)
	r.Join("a", 2)
	r.Join("b", 2)
	r.Leave("c", 2)
	expect("", 0, 1, 2)
	expect("a", 1, 2)
	expect("b", 2)
	expect("c")
	r.Leave("a", 1)
	expect("a", 2)
	r.Exit(2)
	r.Exit(1)
	expect("", 0)
	expect("a")
	expect("b")
	if len(r.members) != 0 || len(r.joined) != 0 {
		t.Errorf("something is left: %v, %v", r.members, r.joined)
	}
}

func TestControl(t *testing.T) {
	if _, err := figures.CPUTime(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("only Linux tells what is used")
	}
	profile := filepath.Join(t.TempDir(), "cpu profile")
	var out bytes.Buffer
	if err := control(strings.NewReader("stats\ngc\nprofile "+profile+"\nendprofile\n"), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 5 || lines[2] != "{}" || lines[3] != "{}" || lines[4] != "" {
		t.Fatalf("%q", lines)
	}
	var stats [2]Stats
	for i := range stats {
		if err := json.Unmarshal([]byte(lines[i]), &stats[i]); err != nil {
			t.Fatal(err)
		}
		if s := stats[i]; s.RSS <= 0 || s.Heap <= 0 || s.Goroutines <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if stats[1].CPU <= stats[0].CPU {
		t.Errorf("a collection costs nothing: %+v", stats)
	}
	if err := control(strings.NewReader("dance\n"), &out); err == nil {
		t.Error("an unknown command is no error")
	}
}

// A process sees itself from outside as it does from inside.
func TestStatsOf(t *testing.T) {
	before, err := StatsOf(os.Getpid())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("only Linux tells what is used")
	}
	inside, errInside := readStats()
	after, errAfter := StatsOf(os.Getpid())
	if err := errors.Join(err, errInside, errAfter); err != nil {
		t.Fatal(err)
	}
	const slack = int64(10e6) // the clocks of the kernel differ by a tick, at most
	if before.CPU <= 0 || inside.CPU < before.CPU-slack || inside.CPU > after.CPU+slack {
		t.Errorf("%d, from inside %d, then %d", before.CPU, inside.CPU, after.CPU)
	}
	if before.RSS <= 0 || after.RSS > 2*inside.RSS || inside.RSS > 2*after.RSS {
		t.Errorf("%d, from inside %d, then %d", before.RSS, inside.RSS, after.RSS)
	}
	if _, err := StatsOf(1 << 22); err == nil {
		t.Error("a process that can't be is no error")
	}
}
