package main

import (
	"fmt"
	"time"
)

// class is what a work asks of a server.
type class uint8

const (
	classEcho      class = 1 << iota
	classBroadcast       // rooms too
	classConns           // many connections, or short ones
	classStalled         // receivers that don't read
	classDeflate         // permessage-deflate
	classCluster         // being one of several nodes, or what is compared with it
	classHistory         // rooms that keep what was sent

	classAll = classEcho | classBroadcast | classConns | classStalled | classDeflate
)

// stack is a server in the comparison.
type stack struct {
	name    string
	program string   // of servers/
	tags    string   // to build it with
	args    []string // for the program
	dialect string   // of the load program
	does    class
	broker  string // mode of the program broker, which is between the nodes; empty: there is one node
	module  string // whose version is told; empty: none
}

// baseline is the stack that the others are compared with.
const baseline = "gorilla"

var stacks = []stack{
	{name: "wsctl", program: "wsctl", dialect: "plain", does: classAll},
	{name: "wsctl, no parking", program: "wsctl", tags: "wsctl_nowatch", dialect: "plain", does: classAll},
	{name: "wsctl v1", program: "wsctl", dialect: "v1", does: classAll},
	{name: "gorilla", program: "gorilla", dialect: "plain", does: classAll, module: "github.com/gorilla/websocket"},
	{name: "melody", program: "melody", dialect: "plain", does: classAll &^ classDeflate, module: "github.com/olahol/melody"},
	{name: "gws", program: "gws", dialect: "plain", does: classAll, module: "github.com/lxzan/gws"},
	{name: "coder", program: "coder", dialect: "plain", does: classAll, module: "github.com/coder/websocket"},
	{name: "gobwas", program: "gobwas", dialect: "plain", does: classAll &^ classDeflate, module: "github.com/gobwas/ws"},
	{name: "centrifuge", program: "centrifuge", dialect: "centrifuge", does: classAll, module: "github.com/centrifugal/centrifuge"},
	{name: "geth", program: "geth", dialect: "geth", does: classEcho, module: "github.com/ethereum/go-ethereum"},
	{name: "limit, frame", program: "limit", args: []string{"-mode", "frame"}, dialect: "plain", does: classEcho | classBroadcast},
	{name: "limit, coalesced", program: "limit", args: []string{"-mode", "coalesced"}, dialect: "plain", does: classEcho | classBroadcast},
}

// figure is what a work is about.
type figure uint8

const (
	figureCPU    figure = iota // time of the server's CPUs for a unit
	figureMemory               // of a connection, in the server
	figureP99                  // latency
)

// work is something to measure.
type work struct {
	name   string
	args   []string // for the load program, after -work
	timed  bool     // takes as long as it is told
	needs  class
	figure figure
	parts  []string // what is measured of it, as ends of its name
	conns  int      // that are opened
	rounds int      // that are enough; 0: as many as the others have
	rooms  int      // that are joined, whose memory is told; 0: that isn't
	times  int      // of the duration of others that it takes; 0: 1, or 4 for latencies

	about    string // what it is; empty: its name says it
	nodes    int    // of stacks with a broker, others don't take part; 0: 2, or 1 without a broker
	speakers bool   // those that speak are clients of the first node, all others of the rest

	// reference is measured on the same stack just before it, and what its figure is compared with; nil: that is the baseline's figure.
	reference *work
}

// afterGC ends the name of the second measurement of an idle work.
const afterGC = " after gc"

var works = []work{
	echo("echo-c1", 1, 1, 83),
	echo("echo-d1", 100, 1, 83),
	echo("echo-d16", 100, 16, 83),
	echo("echo-c1-1500", 1, 1, 1500),
	echo("echo-d1-1500", 100, 1, 1500),
	echo("echo-d16-1500", 100, 16, 1500),
	deflated(echo("echo-d16-1500-deflate", 100, 16, 1500)),
	broadcast("broadcast-1000-w8", 1000, 8),
	broadcast("broadcast-1000-w1", 1000, 1),
	broadcast("broadcast-5000-w8", 5000, 8),
	broadcast("broadcast-5000-w1", 5000, 1),
	broadcast("rooms-100x50", 5000, 8, "-rooms", "100"),
	manyRooms("rooms", 100, 10000),
	deflated(broadcast("broadcast-1000-w8-deflate", 1000, 8)),
	stalled(broadcast("broadcast-1000-w1-stalled", 1000, 1, "-stalled", "0.05"), broadcast("broadcast-1000-w1-reading", 1000, 1)),
	connections("connect", "connect", 5000),
	connections("storm-5000", "storm", 5000),
	idle("idle-10000", 10000),
}

// whole is the parts of a work that has none.
var whole = []string{""}

func echo(name string, conns, depth, size int, more ...string) work {
	return work{
		name:  name,
		args:  append([]string{"echo", "-conns", fmt.Sprint(conns), "-depth", fmt.Sprint(depth), "-bytes", fmt.Sprint(size)}, more...),
		timed: true,
		needs: classEcho,
		parts: whole,
		conns: conns,
	}
}

func broadcast(name string, conns, window int, more ...string) work {
	return work{
		name:  name,
		args:  append([]string{"broadcast", "-conns", fmt.Sprint(conns), "-window", fmt.Sprint(window)}, more...),
		timed: true,
		needs: classBroadcast,
		parts: whole,
		conns: conns,
	}
}

func deflated(w work) work {
	w.args = append(w.args, "-compress")
	w.needs |= classDeflate
	return w
}

// stalled makes the latency the figure of w, compared with that of the work without stalled receivers. The ratio is what counts,
// and the latency depends on the state of the machine, so they are measured in pairs.
func stalled(w, without work) work {
	without.needs |= classStalled
	w.needs |= classStalled
	without.figure, w.figure, w.reference = figureP99, figureP99, &without
	return w
}

func connections(name, kind string, conns int) work {
	return work{name: name, args: []string{kind, "-conns", fmt.Sprint(conns)}, needs: classConns, parts: whole, conns: conns}
}

// idle is measured a while after the last connection, and then after a garbage collection. That takes long, and memory varies
// little, so two rounds are enough.
func idle(name string, conns int) work {
	w := connections(name, "idle", conns)
	w.figure, w.parts, w.rounds = figureMemory, []string{"", afterGC}, 2
	return w
}

// manyRooms has connections join rooms, say something in them, and leave them.
func manyRooms(name string, conns, rooms int) work {
	return work{
		name:  name,
		args:  []string{"rooms", "-conns", fmt.Sprint(conns), "-rooms", fmt.Sprint(rooms)},
		timed: true,
		needs: classBroadcast | classConns,
		parts: []string{"-join", "-send", "-leave"}, // in the load program's order
		conns: conns,
	}
}

// sparse makes the rooms of w ones with few members when something is sent.
func sparse(w work) work {
	w.args = append(w.args, "-sparse")
	w.parts = []string{"-send", "-join", "-leave"}
	return w
}

// duration is how long one part of w takes, if others take d. Until a message has reached everybody takes milliseconds, and the
// p99 of few messages is that of the slowest one.
func (w work) duration(d time.Duration) time.Duration {
	if w.times == 0 && w.figure == figureP99 {
		return 4 * d
	}
	return time.Duration(max(1, w.times)) * d
}

// sequence is w with what has to be measured before it.
func (w work) sequence() []work {
	if w.reference != nil {
		return []work{*w.reference, w}
	}
	return []work{w}
}

// names are those of what is measured of w.
func (w work) names() []string {
	var names []string
	for _, part := range w.parts {
		names = append(names, w.name+part)
	}
	return names
}

// nodes is how many servers s has for w.
func (s stack) nodes(w work) int {
	if s.broker == "" {
		return 1
	}
	return max(2, w.nodes)
}

// can tells whether s takes part in w.
func (s stack) can(w work) bool {
	return s.does&w.needs == w.needs && (w.nodes == 0 || s.broker != "")
}

// serverArgs are those of s's program for w.
func (s stack) serverArgs(w work) []string {
	args := s.args
	if w.needs&classDeflate != 0 {
		args = append(args[:len(args):len(args)], "-compress")
	}
	return args
}
