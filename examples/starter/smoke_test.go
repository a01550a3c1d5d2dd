package main

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSmokeInNode runs the browser client against the starter in a runtime that is no browser.
func TestSmokeInNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIP: node isn't on PATH")
	}
	version, err := exec.Command(node, "-p", "process.versions.node").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(string(version), ".")
	n, err := strconv.Atoi(major)
	if err != nil || n < 20 {
		t.Skipf("SKIP: node %s has no WebSocket, 20 has", strings.TrimSpace(string(version)))
	}
	args := []string{"../../js/test/smoke.mjs", strings.Replace(serve(t).URL, "http", "ws", 1) + "/ws"}
	if n < 22 {
		args = append([]string{"--experimental-websocket"}, args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, args...).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), " 0 failed") {
		t.Fatal(err)
	}
}
