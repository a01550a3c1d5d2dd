//go:build unix

package chaos

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startServer starts a broker's server, which loses nothing that it has acknowledged, however it ends, and comes back at its
// address.
func startServer(t *testing.T, kind string) *process {
	t.Helper()
	dir, addr := t.TempDir(), freeAddr(t)
	if kind == "nats" {
		return newProcess(t, "nats-server", "", func() *exec.Cmd { return itself("nats", "CHAOS_ADDR="+addr, "CHAOS_DIR="+dir) })
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server isn't installed: apt-get install redis-server")
	}
	config := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	return newProcess(t, "redis-server", addr, func() *exec.Cmd {
		return exec.Command("redis-server", config, "--bind", "127.0.0.1", "--port", port, "--dir", dir,
			"--save", "", "--appendonly", "yes", "--appendfsync", "always")
	})
}

// freeAddr is an address that was free a moment ago: it has to stay the same when the server is started again.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// answers tells whether a Redis is ready.
func answers(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err == nil && !strings.HasPrefix(string(b[:n]), "+PONG") {
		err = fmt.Errorf("PING: %q", b[:n])
	}
	return err
}
