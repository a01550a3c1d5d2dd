package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// What the works about several nodes have.
const (
	fanoutMembers  = 1000
	fanoutRate     = 50 // messages a second
	smallRooms     = 1000
	smallMembers   = 3
	smallRate      = 1000 // messages a second of all rooms together
	joinedRooms    = 10000
	joiningConns   = 16
	comingBack     = 1000 // members
	comingBackTo   = 100  // rooms
	comingBackMiss = 10   // messages each
	comingAtOnce   = 16
)

// clusterWorks are about rooms whose members are on one node, while what is sent comes from clients of another.
var clusterWorks = []work{
	explained("One room of 1,000 members on the second node; one member on the first sends 50 messages a second.",
		cluster(broadcast("fanout", fanoutMembers, 1, "-rooms", "1", "-rate", fmt.Sprint(fanoutRate)))),
	explained("One room of 1,000 members on the second node; one member on the first keeps 8 messages outstanding.",
		cluster(broadcast("fanout-w8", fanoutMembers, 8, "-rooms", "1"))),
	explained("1,000 rooms of 3 members each on the second node; a fourth on the first sends; 1,000 messages a second in all.",
		cluster(broadcast("small-rooms", smallRooms*smallMembers, 1, "-rooms", fmt.Sprint(smallRooms), "-rate", fmt.Sprint(smallRate)))),
	explained("The same rooms; each sender has one message outstanding, so that all together send as fast as they can.",
		cluster(broadcast("small-rooms-w1", smallRooms*smallMembers, 1, "-rooms", fmt.Sprint(smallRooms)))),
	explained("The same, but over four nodes: each of the four members of a room is on another one, so that each message goes to all of them.",
		spread(cluster(broadcast("small-rooms-w1-spread", smallRooms*smallMembers, 1, "-rooms", fmt.Sprint(smallRooms))))),
	explained("10,000 rooms are joined on the second node for the first time, 16 at a time. Bytes are those of a room, after a collection in the nodes.",
		firstJoins("first-joins", joiningConns, joinedRooms)),
	explained("The same rooms go on for 75 s, one member in each, and nothing is said. CPU is that of a room in a minute.",
		heldRooms("held-rooms", joiningConns, joinedRooms)),
	explained("1,000 members of 100 rooms have lost their node and missed 10 messages, and join on the first, where their rooms had no member, 16 at a time.",
		comeBack("recovery", comingBack, comingBackTo, comingBackMiss)),
}

// explained gives w a text about it.
func explained(about string, w work) work {
	w.about = about
	return w
}

// spread puts each member of a small room on a node of its own.
func spread(w work) work {
	w.nodes = 1 + smallMembers
	return w
}

// cluster makes w one for several nodes.
func cluster(w work) work {
	w.needs, w.times, w.speakers = classCluster, 3, true
	return w
}

func firstJoins(name string, conns, rooms int) work {
	w := manyRooms(name, conns, rooms)
	w.args = append(w.args, "-first")
	w.timed, w.needs, w.parts, w.rooms = false, classCluster, whole, rooms
	return w
}

// heldRooms takes long, and one round is enough to see what is done about quiet rooms after a minute.
func heldRooms(name string, conns, rooms int) work {
	w := manyRooms(name, conns, rooms)
	w.args = append(w.args, "-held")
	w.times, w.rounds, w.needs, w.parts = 75, 1, classCluster|classHistory, whole
	return w
}

func comeBack(name string, conns, rooms, missed int) work {
	return work{
		name: name,
		args: []string{"recover", "-conns", fmt.Sprint(conns), "-rooms", fmt.Sprint(rooms), "-missed", fmt.Sprint(missed),
			"-inflight", fmt.Sprint(comingAtOnce)},
		needs:    classCluster | classHistory,
		parts:    whole,
		conns:    2 * conns, // once more when they are back
		speakers: true,
	}
}

// clusterStacks are one node, and two over each broker, without history and with it.
var clusterStacks = []stack{
	ownNode("wsctl, one node", ""),
	ownNode("wsctl, NATS", "nats"),
	ownNode("wsctl, Redis", "redis"),
	keeping(ownNode("wsctl, one node, history", "")),
	keeping(ownNode("wsctl, JetStream", "jetstream")),
	keeping(ownNode("wsctl, Redis, history", "redis")),
	centrifugeNode("centrifuge, one node", ""),
	centrifugeNode("centrifuge, NATS", "nats"),
	centrifugeNode("centrifuge, Redis", "redis"),
	keeping(centrifugeNode("centrifuge, one node, history", "")),
	keeping(centrifugeNode("centrifuge, Redis, history", "redis")),
}

func ownNode(name, broker string) stack {
	return stack{name: name, program: "wsctlnode", dialect: "v1", does: classCluster, broker: broker}
}

func centrifugeNode(name, broker string) stack {
	return stack{name: name, program: "centrifugenode", dialect: "centrifuge", does: classCluster, broker: broker,
		module: "github.com/centrifugal/centrifuge"}
}

// keeping gives the rooms of s history.
func keeping(s stack) stack {
	s.args, s.does = []string{"-history"}, s.does|classHistory
	return s
}

const clusterLegend = `Medians of the rounds. CPU is user and system, of the nodes together, and of the broker. The broker keeps what it
keeps in memory, in one copy: NATS without a cluster, JetStream with memory storage and one replica, Redis without a disk.
Clients of wsctl speak wsctl.v1, those of centrifuge its JSON protocol. Over NATS centrifuge has no history.
Marks: ! the load program was saturated; ~ others used more than 5 % of the machine's CPU time.

`

// writeCluster writes a table for each work that has rows.
func writeCluster(out io.Writer, rows []row, works []work) {
	fmt.Fprint(out, clusterLegend)
	for _, w := range works {
		own := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.work != w.name })
		if len(own) == 0 {
			continue
		}
		columns := w.clusterColumns()
		fmt.Fprintf(out, "## %s\n\n%s\n\n| stack |", w.name, w.about)
		for _, c := range columns {
			fmt.Fprintf(out, " %s |", c.head)
		}
		fmt.Fprintf(out, " |\n| --- |%s --- |\n", strings.Repeat(" ---: |", len(columns)))
		for _, r := range own {
			fmt.Fprintf(out, "| %s |", r.stack)
			for _, c := range columns {
				if r.rounds > 0 {
					fmt.Fprintf(out, " %s |", c.text(r))
				} else {
					fmt.Fprint(out, " |")
				}
			}
			fmt.Fprintf(out, " %s |\n", r.remarks())
		}
		fmt.Fprintln(out)
	}
}

// column is one of a table.
type column struct {
	head string
	text func(row) string
}

// clusterColumns are those of w: what it costs, by unit or by message, then what is particular to it.
func (w work) clusterColumns() []column {
	figure := func(r row) string { return number(r.figure) }
	least := func(r row) string { return number(r.least) + "–" + number(r.most) }
	broker := func(r row) string {
		if r.broker == 0 {
			return "–"
		}
		return number(r.broker)
	}
	var columns []column
	switch unit := w.clusterUnit(); unit {
	case "delivery":
		columns = []column{{"CPU µs of a delivery", figure}, {"least–most", least},
			{"of a message", func(r row) string { return number(r.perMessage) }}, {"broker, of a message", broker}}
	case "room":
		return []column{{"CPU µs of a room", figure}, {"least–most", least}, {"broker", broker}}
	default:
		columns = []column{{"CPU µs of a " + unit, figure}, {"least–most", least}, {"broker", broker}}
	}
	columns = append(columns,
		column{"units/s", func(r row) string { return fmt.Sprintf("%.0f", r.rate) }},
		column{"p50 µs", func(r row) string { return number(r.p50) }},
		column{"p99 µs", func(r row) string { return number(r.p99) }})
	if w.rooms > 0 {
		columns = append(columns,
			column{"bytes, nodes", func(r row) string { return fmt.Sprintf("%.0f", r.roomBytes) }},
			column{"bytes, broker", func(r row) string { return fmt.Sprintf("%.0f", r.keptBytes) }})
	}
	return columns
}

// clusterUnit is what w is counted in.
func (w work) clusterUnit() string {
	switch {
	case w.speakers && w.timed:
		return "delivery"
	case w.timed:
		return "room"
	}
	return "join"
}
