package e2e

import (
	"context"
	"os/exec"
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
	args := []string{"../../js/test/smoke.mjs", "ws://" + startStarter(t, "localhost:0").host() + "/ws"}
	has := func(flags ...string) bool {
		return exec.Command(node, append(flags, "-e", "process.exit(globalThis.WebSocket ? 0 : 1)")...).Run() == nil
	}
	switch flag := "--experimental-websocket"; {
	case has():
	case has(flag):
		args = append([]string{flag}, args...)
	default:
		t.Skip("SKIP: this node has no WebSocket, 20.10 and later have")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, args...).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), " 0 failed") {
		t.Fatal(err)
	}
}
