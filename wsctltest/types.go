package wsctltest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/wsctl/wsctl"
)

// Types fails the test unless file holds what [wsctl.Handler.WriteTypes] writes for h. A controller and what pages know of it
// can't drift apart then:
//
//	func TestTypes(t *testing.T) { wsctltest.Types(t, newHandler(), "static/types.d.ts") }
//
// Where the environment has WSCTL_UPDATE=1, it writes the file instead:
//
//	WSCTL_UPDATE=1 go test -run TestTypes
//
// A test that is built with -trimpath, or runs elsewhere than it was built, doesn't find the source with the doc comments:
// comments aren't compared then, and the file isn't written.
func Types(t testing.TB, h *wsctl.Handler, file string) {
	t.Helper()
	var b bytes.Buffer
	if err := h.WriteTypes(&b); err != nil {
		t.Fatalf("wsctltest: Types: %v", err)
	}
	_, own, _, _ := runtime.Caller(1)
	_, err := os.Stat(own)
	hasSource := err == nil && filepath.IsAbs(own)
	if os.Getenv("WSCTL_UPDATE") == "1" {
		if !hasSource {
			t.Fatalf("wsctltest: Types: %s isn't written: the source with its doc comments isn't there", file)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
			t.Fatalf("wsctltest: Types: %v", err)
		}
		return
	}
	const update = "if that is right, update it: WSCTL_UPDATE=1 go test -run %s"
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("wsctltest: Types: %v\n"+update, err, t.Name())
	}
	got, want := strings.ReplaceAll(string(old), "\r\n", "\n"), b.String()
	if !hasSource {
		got, want = withoutComments(got), withoutComments(want)
	}
	if got != want {
		t.Fatalf("wsctltest: Types: %s isn't what the Go types make of it; "+update+"\n%s", file, t.Name(), difference(got, want))
	}
}

var comment = regexp.MustCompile(`(?m)^ *(//|/\*\*| \*).*\n`)

func withoutComments(s string) string { return comment.ReplaceAllString(s, "") }

// maxDiff is how many lines of a side a difference shows.
const maxDiff = 10

// difference returns the lines from the first to the last in which two texts differ.
func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < min(len(a), len(b))-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var s strings.Builder
	fmt.Fprintf(&s, "line %d:\n", start+1)
	for _, side := range []struct {
		mark  string
		lines []string
	}{{"-", a[start : len(a)-end]}, {"+", b[start : len(b)-end]}} {
		for i, line := range side.lines {
			if i == maxDiff {
				fmt.Fprintf(&s, "%s … %d more\n", side.mark, len(side.lines)-i)
				break
			}
			fmt.Fprintf(&s, "%s %s\n", side.mark, line)
		}
	}
	return s.String()
}
