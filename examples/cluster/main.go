// Command cluster is a chat that runs on several machines, all of them on this one. Run it in its folder and open
// http://localhost:42000 in two windows:
//
//	go run .
//
// This starts a NATS server within the program, three nodes, which are processes of their own, and a front that gives each
// WebSocket to the next of them, as a load balancer does. The page says which node it is on, and has a button that kills
// it. A node that was killed is started again a little later. Nothing that was said is missing, and nothing comes twice.
//
//	go run . -nodes 5                   # more of them
//	go run . -nats nats://10.0.0.5:4222 # a NATS server that runs already, with JetStream
//	go run . -redis localhost:6379      # Redis in place of NATS
//
// Nodes can be started alone, too, on several machines. Any load balancer will do as their front:
//
//	go run . -node ada -addr :42001 -nats nats://10.0.0.5:4222
//	go run . -node bob -addr :42002 -nats nats://10.0.0.5:4222
//
// controller.go is what pages can call, node.go is a node, cluster.go what starts and restarts them; index.html, cluster.css
// and cluster.js are the page.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// config is what the command line says.
type config struct {
	addr  string
	nodes int
	node  string // name of the only one to run; empty: the whole cluster
	nats  string
	redis string
	child bool // the node ends with its standard input
	rest  []string
}

func main() {
	var c config
	flag.StringVar(&c.addr, "addr", "localhost:42000", "`host:port` to listen on; port 0 takes a free one")
	flag.IntVar(&c.nodes, "nodes", 3, "how many nodes to run")
	flag.StringVar(&c.node, "node", "", "run one node of this `name`, and no cluster")
	flag.StringVar(&c.nats, "nats", "", "`URL` of a NATS server with JetStream; none: one within this program")
	flag.StringVar(&c.redis, "redis", "", "`host:port` of a Redis, in place of NATS")
	flag.BoolVar(&c.child, "child", false, "stop when the standard input ends")
	flag.Parse()
	c.rest = flag.Args()
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if c.child {
		signal.Ignore(os.Interrupt) // a terminal's Ctrl-C reaches all processes, and the parent is to stop this one
		signals = signals[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := c.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and then stops what it has started.
func (c config) run(ctx context.Context, out io.Writer) error {
	switch {
	case len(c.rest) > 0:
		return fmt.Errorf("%q isn't a flag", c.rest[0])
	case c.nats != "" && c.redis != "":
		return errors.New("-nats and -redis: one of them")
	case c.node == "":
		return runCluster(ctx, c, out)
	case c.nats == "" && c.redis == "":
		return errors.New("a node alone needs -nats or -redis, the same as the others")
	}
	if !c.child {
		fmt.Fprintf(out, "The broker is %s.\n", c.broker())
	} else {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		go func() {
			defer stop()
			_, _ = io.Copy(io.Discard, os.Stdin)
		}()
	}
	return runNode(ctx, c, out)
}

// broker is what connects the nodes, without credentials.
func (c config) broker() string {
	switch {
	case c.redis != "":
		return "Redis, " + c.redis
	case c.nats != "":
		return "NATS, " + c.nats[strings.LastIndex(c.nats, "@")+1:]
	}
	return "a NATS server within this program"
}

// listen listens on addr.
func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w (another program has the port: stop it, or choose another port; -addr localhost:0 takes a free one)", err)
		}
		return nil, fmt.Errorf("can't listen on %s: %w", addr, err)
	}
	return ln, nil
}

// url is where a browser finds the listener.
func url(addr string, ln net.Listener) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // every address of this machine
	}
	port := ln.Addr().(*net.TCPAddr).Port
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// stopping is how long a server may take to stop: a page has 10 s to answer the close.
const stopping = 15 * time.Second
