package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// restartAfter is how long a node is away that was killed, so that there is time to see what happens.
const restartAfter = 5 * time.Second

// cluster is the nodes of go run ., each a process.
type cluster struct {
	config
	exe string
	out io.Writer // of the nodes, and of what happens to them

	mu    sync.Mutex // guards following
	addrs []string   // of the nodes that run
	turns int        // WebSockets given to nodes
}

// runCluster starts everything: the NATS server, unless there is another one or a Redis, nodes, and the front.
func runCluster(ctx context.Context, c config, out io.Writer) error {
	if c.nodes < 1 {
		return errors.New("-nodes must be 1 or more")
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ln, err := listen(c.addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	fmt.Fprintf(out, "The broker is %s.\n", c.broker())
	if c.nats == "" && c.redis == "" {
		url, stop, err := startNATS()
		if err != nil {
			return err
		}
		defer stop()
		c.nats = url
	}

	ctx, stop := context.WithCancel(ctx)
	cl := &cluster{config: c, exe: exe, out: &lines{w: out}}
	var nodes sync.WaitGroup
	defer nodes.Wait() // before the NATS server stops
	defer stop()
	up := make(chan error, c.nodes)
	for i := range c.nodes {
		nodes.Go(func() { cl.keep(ctx, fmt.Sprintf("node-%d", i+1), up) })
	}
	for range c.nodes { // nobody comes before all are there
		if err := <-up; err != nil {
			return err
		}
	}
	front := &http.Server{Handler: cl.front(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- front.Serve(ln) }()
	fmt.Fprintf(cl.out, "Open %s in a browser. Ctrl-C stops the nodes.\n", url(c.addr, ln))
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(cl.out, "Stopping.")
	stop()
	nodes.Wait() // pages are told by their nodes
	return front.Close()
}

// keep runs a node, and again when it has ended, until ctx does. up gets nil when it first serves, or why it doesn't.
func (c *cluster) keep(ctx context.Context, name string, up chan<- error) {
	first := true
	for {
		err := c.live(ctx, name, func(pid int) {
			if first {
				first = false
				up <- nil
			} else {
				fmt.Fprintf(c.out, "%s is there again, process %d.\n", name, pid)
			}
		})
		if first {
			up <- fmt.Errorf("%s doesn't start: %w", name, err)
			return
		}
		if ctx.Err() != nil {
			return
		}
		how := "it has stopped"
		if err != nil {
			how = err.Error()
		}
		fmt.Fprintf(c.out, "%s is gone: %s. Another one comes in %v.\n", name, how, restartAfter)
		select {
		case <-time.After(restartAfter):
		case <-ctx.Done():
			return
		}
	}
}

// live is one life of a node, until its process ends. serves is called when it does. The node stops when ctx ends, or this
// program: its standard input is a pipe from here.
func (c *cluster) live(ctx context.Context, name string, serves func(pid int)) error {
	cmd := exec.CommandContext(ctx, c.exe, "-node", name, "-addr", "localhost:0", "-nats", c.nats, "-redis", c.redis, "-child")
	cmd.Stderr = c.out
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = in.Close
	cmd.WaitDelay = stopping + 5*time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r := bufio.NewReader(out)
	line, _ := r.ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(line), "http://")
	if ok {
		c.add(addr)
		serves(cmd.Process.Pid)
	}
	_, _ = io.Copy(c.out, r)
	c.remove(addr)
	return cmd.Wait()
}

func (c *cluster) add(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addrs = append(c.addrs, addr)
}

func (c *cluster) remove(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addrs = slices.DeleteFunc(c.addrs, func(a string) bool { return a == addr })
}

// next makes it another node's turn.
func (c *cluster) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns++
}

// turn is the nodes that run, in the order in which to ask them.
func (c *cluster) turn() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.addrs) == 0 {
		return nil
	}
	n := c.turns % len(c.addrs)
	return slices.Concat(c.addrs[n:], c.addrs[:n])
}

// dial connects to the node whose turn it is, or to the next one that answers.
func (c *cluster) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	err := errors.New("no node runs")
	for _, addr := range c.turn() {
		var conn net.Conn
		if conn, err = (&net.Dialer{}).DialContext(ctx, network, addr); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// front is the load balancer. It remembers nothing of those who come, and any other will do: a page need not come back to the
// node where it was.
func (c *cluster) front() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			if r.In.Header.Get("Upgrade") != "" {
				c.next() // for WebSockets alone: else it would depend on a page's number of files which nodes have any
			}
			r.SetURL(&neturl.URL{Scheme: "http", Host: "cluster"}) // dial knows better
			r.Out.Host = r.In.Host                                 // what the Origin of a page is compared with
			r.SetXForwarded()
		},
		Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}, // a connection has its node
		ErrorLog:  log.New(io.Discard, "", 0),                                    // nodes are killed here
	}
}

// startNATS runs a NATS server within this program, for as long as it lasts: what it keeps is in a temporary directory.
func startNATS() (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "wsctl-cluster-")
	if err != nil {
		return "", nil, err
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("NATS: %w", err), os.RemoveAll(dir))
	}
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		stop()
		return "", nil, errors.New("NATS doesn't start")
	}
	return s.ClientURL(), stop, nil
}

// lines is a Writer that several write to.
type lines struct {
	mu sync.Mutex // guards following
	w  io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
