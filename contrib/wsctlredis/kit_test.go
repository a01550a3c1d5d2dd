//go:build unix

package wsctlredis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

const patience = 20 * time.Second // for what must happen soon

// server is a redis-server of a test's own.
type server struct {
	t    testing.TB
	addr string
	bus  string // the port given for anyPort
	args []string
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process has ended
	log  bytes.Buffer
}

// startServer starts redis-server with some more arguments: --save "" --appendonly no is what is usual.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	return startProgram(t, "redis-server", append([]string{"--save", "", "--appendonly", "no"}, args...)...)
}

// anyPort stands for a port that is free.
const anyPort = "any port"

func startProgram(t testing.TB, program string, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s isn't installed: apt-get install %[1]s", program)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t}
	for range 10 { // somebody else may take the ports
		s.addr = freeAddr(t)
		s.args = append([]string{program, config, "--port", port(s.addr), "--bind", "127.0.0.1", "--dir", dir}, args...)
		for i, arg := range s.args {
			if arg == anyPort {
				s.bus = port(freeAddr(t))
				s.args[i] = s.bus
			}
		}
		if s.start() {
			t.Cleanup(s.kill)
			return s
		}
	}
	t.Fatalf("%s doesn't start:\n%s", program, &s.log)
	return nil
}

// freeAddr is an address that was free a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// start starts the process, again after kill, and reports whether it answers.
func (s *server) start() bool {
	s.log.Reset()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	gone := make(chan struct{})
	s.gone = gone
	go func() {
		_ = s.cmd.Wait()
		close(gone)
	}()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if answer, err := s.ask("PING"); err == nil && answer == "PONG" || err != nil && strings.HasPrefix(err.Error(), "-NOAUTH") {
			return true
		}
		select {
		case <-gone:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

// restart starts the process that was killed.
func (s *server) restart() {
	s.t.Helper()
	if !s.start() {
		s.t.Fatalf("redis-server doesn't start again:\n%s", &s.log)
	}
}

// kill ends the process at once; it may have ended.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.gone
}

func (s *server) pause()  { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *server) resume() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// ask sends a command, by a connection of its own, and returns the answer: a line, or a text.
func (s *server) ask(args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := conn.Write([]byte(command.String())); err != nil {
		return "", err
	}
	var answer []byte
	for buf := make([]byte, 64<<10); ; {
		n, err := conn.Read(buf)
		if answer = append(answer, buf[:n]...); err != nil {
			return "", err
		}
		line, rest, ok := strings.Cut(string(answer), "\r\n")
		if !ok {
			continue
		}
		switch line[0] {
		case '-':
			return "", errors.New(line)
		case '$':
			if size, _ := strconv.Atoi(line[1:]); size < 0 {
				return "", nil
			} else if len(rest) >= size+2 {
				return rest[:size], nil
			}
		default:
			return line[1:], nil
		}
	}
}

func (s *server) must(args ...string) string {
	s.t.Helper()
	answer, err := s.ask(args...)
	if err != nil {
		s.t.Fatalf("%.80q: %v", args, err)
	}
	return answer
}

// until waits until ready reports true.
func until(t testing.TB, what string, ready func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(patience); !ready(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// noSubscribers tells whether nothing is subscribed.
func noSubscribers(s *server) bool {
	return strings.Contains(s.must("INFO", "stats"), "pubsub_channels:0\r")
}

// network is the network of a node, which can be cut, and can stall.
type network struct {
	mu      sync.Mutex // guards following
	cut     bool
	stalled chan struct{} // closed when it isn't any more; nil: it isn't
	conns   map[*conn]struct{}
}

// conn reads nothing while its network is stalled.
type conn struct {
	net.Conn
	n *network
}

func (c *conn) Read(p []byte) (int, error) {
	c.n.mu.Lock()
	stalled := c.n.stalled
	c.n.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	return c.Conn.Read(p)
}

func (n *network) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	nc, err := d.DialContext(ctx, "tcp", addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.cut {
		nc.Close()
		err = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ENETUNREACH}
	}
	if err != nil {
		return nil, err
	}
	if n.conns == nil {
		n.conns = make(map[*conn]struct{})
	}
	c := &conn{nc, n}
	n.conns[c] = struct{}{}
	return c, nil
}

// away breaks all connections, and lets none be made until back is called.
func (n *network) away() (back func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.cut = false
	}
}

// stall has nothing read until goOn is called.
func (n *network) stall() (goOn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	stalled := make(chan struct{})
	n.stalled = stalled
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.stalled = nil
		close(stalled)
	}
}

// node is a Broker with a network of its own, for wsctltest.TestBroker.
type node struct {
	*wsctlredis.Broker
	network *network
	away    func() (back func()) // nil: the network is cut
	forget  func()
}

func (n *node) Away(*testing.T) (back func()) {
	if n.away != nil {
		return n.away()
	}
	return n.network.away()
}

func (n *node) Forget(*testing.T) { n.forget() }

// connect opens a node with the options given, of which DialCtxFn is set.
func connect(t testing.TB, redis rueidis.ClientOption, opts *wsctlredis.Options) *node {
	t.Helper()
	n := &node{network: new(network)}
	redis.DialCtxFn = n.network.dial
	if opts == nil {
		opts = new(wsctlredis.Options)
	}
	logged := *opts
	if logged.Logger == nil {
		logged.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	var err error
	if n.Broker, err = wsctlredis.New(redis, &logged); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// open opens a node on one server.
func (s *server) open(opts *wsctlredis.Options) *node {
	s.t.Helper()
	return s.openIn(s.t, opts)
}

func (s *server) openIn(t testing.TB, opts *wsctlredis.Options) *node {
	t.Helper()
	n := connect(t, rueidis.ClientOption{InitAddress: []string{s.addr}}, opts)
	n.forget = func() { s.must("FLUSHALL") }
	return n
}

// inbox is a subscription that notes what comes.
type inbox struct {
	t    testing.TB
	stop func()

	mu      sync.Mutex // guards following
	got     []message
	changed chan struct{} // closed and replaced when anything comes
}

type message struct {
	pos, text string
	notice    bool
}

func subscribe(t testing.TB, b wsctl.Broker, topic string) *inbox {
	t.Helper()
	in := &inbox{t: t, changed: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stop, err := b.Subscribe(ctx, topic, func(pos string, msg []byte) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.got = append(in.got, message{pos, string(msg), msg == nil})
		close(in.changed)
		in.changed = make(chan struct{})
	})
	if err != nil {
		t.Fatal(err)
	}
	in.stop = stop
	t.Cleanup(stop)
	return in
}

// await waits until ready reports true of what has come.
func (in *inbox) await(what string, ready func(got []message) bool) {
	in.t.Helper()
	if !in.wait(patience, ready) {
		in.t.Fatalf("waited for %s, got %.1000v", what, in.all())
	}
}

func (in *inbox) wait(d time.Duration, ready func(got []message) bool) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		in.mu.Lock()
		ok, changed := ready(in.got), in.changed
		in.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}

func (in *inbox) all() []message {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]message(nil), in.got...)
}

// goesOn waits until what a node publishes, in both ways, comes. What is published before a channel is subscribed anew doesn't.
func goesOn(t testing.TB, n *node, topic string, in *inbox) {
	t.Helper()
	until(t, "messages", func() bool {
		kept, live := "kept "+rand.Text(), "live "+rand.Text()
		return n.PublishKeep(t.Context(), topic, []byte(kept), keep) == nil && n.Publish(t.Context(), topic, []byte(live)) == nil &&
			in.wait(100*time.Millisecond, func(got []message) bool { return has(got, kept) && has(got, live) })
	})
}

func has(got []message, text string) bool {
	return slices.ContainsFunc(got, func(m message) bool { return m.text == text })
}

// has waits for a message, and returns its position.
func (in *inbox) has(text string) (pos string) {
	in.t.Helper()
	in.await(fmt.Sprintf("%.60q", text), func(got []message) bool {
		for _, m := range got {
			if !m.notice && m.text == text {
				pos = m.pos
				return true
			}
		}
		return false
	})
	return pos
}

// noticed waits until there were n notices.
func (in *inbox) noticed(n int) {
	in.t.Helper()
	in.await(fmt.Sprint(n, " notices"), func(got []message) bool {
		for _, m := range got {
			if m.notice {
				n--
			}
		}
		return n <= 0
	})
}

var keep = wsctl.Retention{Messages: 10_000}

func publishKeep(t testing.TB, b wsctl.HistoryBroker, topic, text string) {
	t.Helper()
	if err := b.PublishKeep(t.Context(), topic, []byte(text), keep); err != nil {
		t.Fatal(err)
	}
}

func since(t testing.TB, b wsctl.HistoryBroker, topic, pos string) (texts []string, newest string, ok bool) {
	t.Helper()
	msgs, newest, ok, err := b.Since(t.Context(), topic, pos)
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range msgs {
		texts = append(texts, string(msg))
	}
	return texts, newest, ok
}
