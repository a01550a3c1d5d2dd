package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// The nodes that the tests start are this program.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args[1:], "-child") {
		main()
		return
	}
	os.Exit(m.Run())
}

// start runs a cluster for one test, and returns the front's URL.
func start(t *testing.T, c config) string {
	t.Helper()
	c.addr = "localhost:0"
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- c.run(ctx, in)
		in.Close()
	}()
	urls := make(chan string, 1)
	go func() {
		var all strings.Builder
		_, _ = io.Copy(&all, io.TeeReader(out, finder{urls}))
		t.Logf("the cluster says:\n%s", all.String())
		close(urls)
	}()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the cluster goes on")
		}
		for range urls { // until all is logged
		}
	})
	select {
	case url := <-urls:
		return url
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("the cluster doesn't start")
	}
	return ""
}

// finder finds the URL in what a cluster writes, line by line.
type finder struct{ urls chan<- string }

var address = regexp.MustCompile(`Open (http://\S+) in a browser`)

func (f finder) Write(b []byte) (int, error) {
	if m := address.FindSubmatch(b); m != nil {
		f.urls <- string(m[1])
	}
	return len(b), nil
}

// visitor is a page without a browser.
type visitor struct {
	t    *testing.T
	name string
	c    *client.Client
	n    int64 // of the last line said

	mu     sync.Mutex // guards following
	node   string
	moves  int
	lines  []Line // without those that were said again
	last   map[string]int64
	pos    string
	faults []string
	change chan struct{} // closed at the next change
}

func visit(t *testing.T, url, name string) *visitor {
	t.Helper()
	v := &visitor{t: t, name: name, last: map[string]int64{}, change: make(chan struct{})}
	v.c = client.New(url+"/ws", &client.Options{
		Token: func(context.Context) (string, error) { return name, nil },
		Lost:  func(int) {}, // the wish to kill a node, which nothing answers
	})
	client.On(v.c, "welcome", func(w Welcome) {
		defer v.changed()()
		if v.node != "" && v.node != w.Node {
			v.moves++
		}
		v.node = w.Node
	})
	client.OnMessage(v.c, "said", v.hear)
	client.On(v.c, "$room", func(r client.RoomState) {
		defer v.changed()()
		if r.Missed() {
			v.faults = append(v.faults, "some lines were missed")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := v.c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.c.Abort)
	v.until("welcome", func() bool { return v.node != "" })
	return v
}

// changed takes the lock, and gives it back when all is told.
func (v *visitor) changed() (done func()) {
	v.mu.Lock()
	return func() {
		close(v.change)
		v.change = make(chan struct{})
		v.mu.Unlock()
	}
}

// until waits for something.
func (v *visitor) until(what string, holds func() bool) {
	v.t.Helper()
	late := time.After(patience)
	for {
		v.mu.Lock()
		ok, change := holds(), v.change
		v.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-late:
			v.mu.Lock()
			defer v.mu.Unlock()
			v.t.Fatalf("%s waits in vain for %s: it is on %s, %v, and has %d lines; %q", v.name, what, v.node, v.c.State(), len(v.lines), v.faults)
		}
	}
}

func (v *visitor) hear(m client.Message[Line]) {
	defer v.changed()()
	if !follows(v.pos, m.Pos) {
		v.faults = append(v.faults, fmt.Sprintf("after position %q came %q", v.pos, m.Pos))
	}
	v.pos = m.Pos
	line := m.Data
	last, known := v.last[line.Page]
	if line.N <= last {
		return // said again
	}
	if known && line.N != last+1 {
		v.faults = append(v.faults, fmt.Sprintf("after line %d of %s came %d", last, line.From, line.N))
	}
	v.last[line.Page] = line.N
	v.lines = append(v.lines, line)
}

// follows tells whether a position is the next one.
func follows(a, b string) bool {
	epochA, offsetA, okA := strings.Cut(a, ".")
	epochB, offsetB, okB := strings.Cut(b, ".")
	n, errA := strconv.Atoi(offsetA)
	m, errB := strconv.Atoi(offsetB)
	return a == "" && b != "" || okA && okB && errA == nil && errB == nil && epochA == epochB && m == n+1
}

// say says a line as the page does: again, until it is kept.
func (v *visitor) say(text string) {
	v.n++
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	for {
		err := v.c.Call(ctx, "say", Words{Page: v.name, N: v.n, Text: text}, nil)
		if err == nil {
			return
		}
		if e, ok := errors.AsType[*wsctl.Error](err); !ok || e.Code != wsctl.CodeUnavailable || ctx.Err() != nil {
			v.t.Errorf("%s says line %d: %v", v.name, v.n, err)
			return
		}
		select {
		case <-time.After(100 * time.Millisecond): // as the page; the node may be one that has lost its broker
		case <-ctx.Done():
		}
	}
}

// people waits until those in the room are want, as one of the nodes sees it.
func (v *visitor) people(want ...string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	here := map[string]string{}
	names := func() []string {
		var all []string
		for _, name := range here {
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	for p, err := range client.Stream[Person](ctx, v.c, "people", nil) {
		if err != nil {
			v.t.Fatalf("%s sees %v, want %v: %v", v.name, names(), want, err)
		}
		if p.Here {
			here[p.ID] = p.Name
		} else {
			delete(here, p.ID)
		}
		if slices.Equal(names(), want) {
			return
		}
	}
	v.t.Fatalf("%s sees no more than %v", v.name, names())
}

// agree waits until all have heard n lines, which must be the same ones in the same order, and nothing else.
func agree(t *testing.T, all []*visitor, n int) {
	t.Helper()
	for _, v := range all {
		v.until(fmt.Sprintf("%d lines", n), func() bool { return len(v.lines) >= n })
	}
	for _, v := range all {
		v.mu.Lock()
		if !slices.Equal(v.lines, all[0].lines) || len(v.lines) != n {
			t.Errorf("%s has heard other lines than %s", v.name, all[0].name)
		}
		for _, fault := range v.faults {
			t.Errorf("%s: %s", v.name, fault)
		}
		v.mu.Unlock()
	}
}

// Whatever node somebody is on, everybody hears everything in one order, and knows who is there.
func talk(t *testing.T, c config) {
	url := start(t, c)
	var all []*visitor
	var names []string
	nodes := map[string]bool{}
	for i := range 6 {
		v := visit(t, url, fmt.Sprintf("Guest %d", i))
		all, names = append(all, v), append(names, v.name)
		nodes[v.node] = true
	}
	if len(nodes) != 3 {
		t.Errorf("the front uses %d nodes of 3", len(nodes))
	}
	for _, v := range all {
		v.people(names...)
	}
	var talking sync.WaitGroup
	for _, v := range all {
		talking.Go(func() {
			for i := range 20 {
				v.say(fmt.Sprint(i))
			}
		})
	}
	talking.Wait()
	agree(t, all, 6*20)
	if err := all[0].c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	all[1].people(names[1:]...)
}

// A node that is killed while all talk costs nobody a line, and nobody's place in the list.
func kill(t *testing.T, c config) {
	url := start(t, c)
	const guests, lines, pause = 9, 100, 40 * time.Millisecond // fewer lines in the time of a move than a room keeps
	var all []*visitor
	var names []string
	for i := range guests {
		v := visit(t, url, fmt.Sprintf("Guest %d", i))
		all, names = append(all, v), append(names, v.name)
	}
	all[0].people(names...) // so that all are in the room when the first one speaks
	var talking sync.WaitGroup
	for _, v := range all {
		talking.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for i := range lines {
				<-tick.C
				v.say(fmt.Sprint(i))
				if v == all[0] && (i == lines/3 || i == 2*lines/3) {
					if err := v.c.Send("kill", nil); err != nil { // its node; saying the next line takes it to another
						t.Error(err)
					}
				}
			}
		})
	}
	talking.Wait()
	agree(t, all, guests*lines)
	all[0].mu.Lock()
	moves := all[0].moves
	all[0].mu.Unlock()
	if moves != 2 {
		t.Errorf("who has killed two nodes has moved %d times", moves)
	}
	for _, v := range all {
		v.people(names...) // the dead are gone, too
	}
}

func TestTalk(t *testing.T) { talk(t, config{nodes: 3}) }

func TestKill(t *testing.T) { kill(t, config{nodes: 3}) }

func TestTalkRedis(t *testing.T) { talk(t, config{nodes: 3, redis: startRedis(t)}) }

func TestKillRedis(t *testing.T) { kill(t, config{nodes: 3, redis: startRedis(t)}) }

// startRedis runs a Redis for one test.
func startRedis(t *testing.T) (addr string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server isn't installed (Debian: apt-get install --no-install-recommends redis-server)")
	}
	ln, err := net.Listen("tcp", "localhost:0") // Redis takes no port 0
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", filepath.Dir(log), "--logfile", log)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for late := time.After(patience); ; {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return addr
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			said, _ := os.ReadFile(log)
			t.Fatalf("Redis doesn't start:\n%s", said)
		case <-late:
			t.Fatal("Redis doesn't listen")
		}
	}
}

func TestPage(t *testing.T) {
	url := start(t, config{nodes: 1})
	tests := []struct{ path, contentType, contains string }{
		{"/", "text/html", `src="/cluster.js"`},
		{"/cluster.js", "text/javascript", "import { Client } from '/js/wsctl.js'"},
		{"/cluster.css", "text/css", "prefers-color-scheme: dark"},
		{"/favicon.svg", "image/svg+xml", "<svg"},
		{"/js/wsctl.js", "text/javascript", "export"},
	}
	get := func(path string) *http.Response {
		t.Helper()
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for _, test := range tests {
		res := get(test.path)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), test.contentType) ||
			!strings.Contains(string(body), test.contains) {
			t.Errorf("%s: %s, %s, %d bytes", test.path, res.Status, res.Header.Get("Content-Type"), len(body))
		}
		if got := res.Header.Get("Content-Security-Policy"); got != "default-src 'self'" {
			t.Errorf("Content-Security-Policy: %q", got)
		}
	}
	res := get("/controller.go")
	res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("/controller.go: %s", res.Status)
	}
}

// What a stranger sends is refused.
func TestBadInput(t *testing.T) {
	url := start(t, config{nodes: 1})
	v := visit(t, url, "Ada")
	for name, w := range map[string]Words{
		"no page":      {N: 1, Text: "x"},
		"long page":    {Page: strings.Repeat("x", maxPage+1), N: 1, Text: "x"},
		"no number":    {Page: "x", Text: "x"},
		"no text":      {Page: "x", N: 1},
		"long text":    {Page: "x", N: 1, Text: strings.Repeat("é", maxText+1)},
		"control code": {Page: "x", N: 1, Text: "a\x1b[31m"},
	} {
		err := v.c.Call(t.Context(), "say", w, nil)
		if e, ok := errors.AsType[*wsctl.Error](err); !ok || e.Code != wsctl.CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "   ", strings.Repeat("x", maxName+1), "A\u202eda"} {
		c, err := client.Dial(t.Context(), url+"/ws", &client.Options{Token: func(context.Context) (string, error) { return name, nil }})
		ce, ok := errors.AsType[*wsctl.CloseError](err)
		if !ok || ce.Code != wsctl.CloseForbidden {
			t.Errorf("the name %q: %v", name, err)
		}
		if c != nil {
			c.Abort()
		}
	}
}

// What can't be started says why.
func TestMisuse(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, test := range []struct {
		name string
		config
		want string
	}{
		{"two brokers", config{nats: "x", redis: "y"}, "one of them"},
		{"a lonely node", config{node: "n"}, "needs -nats or -redis"},
		{"no nodes", config{}, "1 or more"},
		{"no flag", config{nodes: 1, rest: []string{"5"}}, `"5" isn't a flag`},
		{"a port in use", config{nodes: 1, addr: ln.Addr().String()}, "another program has the port"},
	} {
		if err := test.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
	}
}

// Everybody is told which broker it is, and nobody what the password is.
func TestBrokerIsTold(t *testing.T) {
	for want, c := range map[string]config{
		"NATS, [::1]:4222":                  {nats: "nats://ada:p@ss@[::1]:4222"},
		"NATS, nats://b:4222":               {nats: "nats://b:4222"},
		"Redis, localhost:6379":             {redis: "localhost:6379"},
		"a NATS server within this program": {},
	} {
		if got := c.broker(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A terminal's Ctrl-C reaches all processes. A node goes on until its cluster stops it.
func TestInterrupt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows can't interrupt a process")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-child", "-node", "node-1", "-addr", "localhost:0", "-nats", "nats://127.0.0.1:1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	_, addr, _ := strings.Cut(strings.TrimSpace(line), "http://")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	for range 200 { // a node that stops takes no connections
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err, cmd.Wait())
		}
		conn.Close()
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
