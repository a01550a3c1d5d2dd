//go:build unix

package wsctlredis_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

// lossy is a network that loses packets for a while: the client gives its connections up, and the kernel, which goes on to send,
// has what they carried arrive in the end.
type lossy struct {
	mu    sync.Mutex // guards following
	conns []*lossyConn
}

type lossyConn struct {
	net.Conn
	broken chan struct{} // closed when the client gives it up

	mu   sync.Mutex // guards following
	held bool       // nothing arrives
	sent bytes.Buffer
}

func (n *lossy) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &lossyConn{Conn: nc, broken: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	return c, nil
}

// hold lets nothing more arrive by the connections of now, which it returns.
func (n *lossy) hold() (conns []*lossyConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.mu.Lock()
		c.held = true
		c.mu.Unlock()
	}
	return n.conns[:len(n.conns):len(n.conns)]
}

func (c *lossyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return c.sent.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *lossyConn) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	b, got := make([]byte, len(p)), make(chan result, 1)
	go func() {
		n, err := c.Conn.Read(b)
		got <- result{n, err}
	}()
	select {
	case r := <-got:
		return copy(p, b[:r.n]), r.err
	case <-c.broken:
		return 0, syscall.ETIMEDOUT
	}
}

func (c *lossyConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return nil // arrive does
	}
	return c.Conn.Close()
}

// arrive has what was held arrive, and waits until the server has dealt with it.
func (c *lossyConn) arrive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.Conn.Write(c.sent.Bytes())
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	for b := make([]byte, 1024); ; {
		if _, err := c.Conn.Read(b); err != nil {
			break
		}
	}
	c.Conn.Close()
}

// TestLateTry has the first try of messages arrive when they were tried again already: each is kept once.
func TestLateTry(t *testing.T) {
	s := startServer(t)
	way := new(lossy)
	a, err := wsctlredis.New(rueidis.ClientOption{
		InitAddress: []string{s.addr}, DialCtxFn: way.dial, PipelineMultiplex: -1, // one connection, so that there is none to be made yet
	}, &wsctlredis.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	in := subscribe(t, a, "room")
	_, birth, _ := since(t, a, "room", "")
	publishKeep(t, a, "room", "0")
	in.has("0")

	const count = 20
	text := func(i int) string { return fmt.Sprintf("message %d.", i) }
	conns := way.hold()
	results := make(chan error, count)
	for i := range count {
		go func() { results <- a.PublishKeep(t.Context(), "room", []byte(text(i)), keep) }()
		until(t, "the first try", func() bool {
			for _, c := range conns {
				c.mu.Lock()
				sent := bytes.Contains(c.sent.Bytes(), []byte(text(i)))
				c.mu.Unlock()
				if sent {
					return true
				}
			}
			return false
		})
	}
	for _, c := range conns {
		close(c.broken)
	}
	for range count {
		if err := <-results; err != nil {
			t.Fatalf("a message wasn't tried again: %v", err)
		}
	}
	for _, c := range conns {
		c.arrive()
	}
	// One that has an older number, but comes for the first time.
	a.Renumber(1)
	publishKeep(t, a, "room", text(count))
	texts, _, ok := since(t, a, "room", birth)
	kept := make(map[string]int)
	for _, text := range texts {
		kept[text]++
	}
	for i := range count + 1 {
		if n := kept[text(i)]; n != 1 {
			t.Errorf("%s is kept %d times", text(i), n)
		}
	}
	if !ok || len(texts) != count+2 {
		t.Errorf("%d messages are kept, %v", len(texts), ok)
	}
}
