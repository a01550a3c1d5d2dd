package wsctltest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// speaker has one route.
type speaker struct{}

type speech struct {
	Text string
	Loud bool `json:",omitzero"`
}

// Say takes a speech.
func (speaker) Say(*wsctl.Socket, speech) {}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "TestX" }
func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// typesFailure returns with what Types fails; empty: it doesn't.
func typesFailure(h *wsctl.Handler, file string) string {
	r, done := new(recorder), make(chan struct{})
	go func() {
		defer close(done)
		wsctltest.Types(r, h, file)
	}()
	<-done
	return r.failure
}

func TestTypes(t *testing.T) {
	if _, own, _, _ := runtime.Caller(0); !filepath.IsAbs(own) {
		t.Skip("built with -trimpath: there are no comments to compare")
	}
	t.Setenv("WSCTL_UPDATE", "")
	h := wsctl.New(speaker{}, nil)
	file := filepath.Join(t.TempDir(), "types.d.ts")
	if got := typesFailure(h, file); !strings.Contains(got, "types.d.ts") || !strings.Contains(got, "WSCTL_UPDATE=1 go test -run TestX") {
		t.Errorf("no file: %q", got)
	}
	t.Setenv("WSCTL_UPDATE", "1")
	wsctltest.Types(t, h, file)
	t.Setenv("WSCTL_UPDATE", "")
	wsctltest.Types(t, h, file)

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.ReplaceAll(string(text), "\n", "\r\n"))
	wsctltest.Types(t, h, file) // as checked out on Windows

	write(strings.Replace(string(text), "Loud?:", "Loud:", 1))
	if got := typesFailure(h, file); !strings.Contains(got, "\n-   Loud: boolean;\n+   Loud?: boolean;\n") || strings.Contains(got, "Text") {
		t.Errorf("another type: %q", got)
	}
	write(strings.Replace(string(text), "Say takes", "Say took", 1))
	if got := typesFailure(h, file); !strings.Contains(got, "- ") {
		t.Errorf("another comment: %q", got)
	}
	write(string(text) + strings.Repeat("more\n", 30))
	if got := typesFailure(h, file); !strings.Contains(got, "more\n- … ") {
		t.Errorf("much more: %q", got)
	}
}
