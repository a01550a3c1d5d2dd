package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
)

// TestSmoke runs the browser client in runtimes that are no browsers: js/test/smoke.mjs against a server whose connections
// it can have cut.
func TestSmoke(t *testing.T) {
	t.Run("Node on PATH", func(t *testing.T) {
		node, err := exec.LookPath("node")
		if err != nil {
			t.Skip("SKIP: node isn't on PATH")
		}
		has := func(flags ...string) bool {
			return exec.Command(node, append(flags, "-e", "process.exit(globalThis.WebSocket ? 0 : 1)")...).Run() == nil
		}
		var flags []string
		if flag := "--experimental-websocket"; !has() {
			if !has(flag) {
				t.Skip("SKIP: this node has no WebSocket, 20.10 and later have")
			}
			flags = append(flags, flag)
		}
		t.Parallel()
		smoke(t, node, flags...)
	})
	for _, r := range runtimes {
		t.Run(r.name, func(t *testing.T) {
			path := r.install(t)
			t.Parallel()
			if r.name == "workerd" {
				smokeInWorker(t, path)
			} else {
				smoke(t, path, r.args...)
			}
		})
	}
}

const smokeFile = "../../js/test/smoke.mjs"

// smoke runs the smoke test by a command.
func smoke(t *testing.T, path string, args ...string) {
	t.Helper()
	url, control := serveSmoke(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, append(args, smokeFile, url, control)...).CombinedOutput()
	checkSmoke(t, string(out), err)
}

func checkSmoke(t *testing.T, log string, err error) {
	t.Helper()
	t.Logf("%s", log)
	if err != nil || !strings.Contains(log, "\n21 passed, 0 failed") {
		t.Fatalf("the smoke test has failed: %v", err)
	}
}

// serveSmoke serves a ledger, and what the smoke test asks of its other address.
func serveSmoke(t *testing.T) (url, control string) {
	t.Helper()
	s := serveLedger(t, wsctl.Options{PingInterval: time.Second, PingTimeout: time.Second})
	mux := http.NewServeMux()
	answer := func(path string, fn func(n int) any) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.PathValue("n"))
			if err := json.NewEncoder(w).Encode(fn(n)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
	do := func(path string, fn func()) { answer(path, func(int) any { fn(); return nil }) }
	do("/fin", s.fin)
	do("/rst", s.rst)
	do("/hole", s.hole)
	do("/refuse", s.refuse)
	do("/restore", s.restore)
	answer("/release/{n}", func(n int) any { s.release(n); return nil })
	answer("/runs/{n}", func(n int) any { return s.runs()[n] })
	answer("/notes", func(int) any { return s.noted() })
	answer("/begun", func(int) any {
		select { // not receive: this isn't the test's goroutine
		case n := <-s.begun:
			return n
		case <-time.After(patience):
			return nil
		}
	})
	ts := httptest.NewServer(mux)
	t.Cleanup(ts.Close)
	return "ws://" + s.addr + "/ws", ts.URL
}
