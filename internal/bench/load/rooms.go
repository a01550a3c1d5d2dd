//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	roomsDepth = 4             // calls in flight on each connection, at most
	roomsFull  = 10            // members of a room, on average, that are enough: to send to equally many, however fast they joined
	roomsFew   = 100           // connections that send when there are no more rooms, so that few wait for one receiver
	roomsSeq   = 1_000_000_000 // sequence numbers have ten digits
)

// activity is what the connections of rooms do.
type activity uint8

const (
	joins activity = iota
	says
	leaves
)

// task is a call, or a message that is said, in one of the places that each connection has for them.
type task struct {
	room    room
	written int64  // 0: the place is free
	seq     int    // of what is said
	missing int    // members who don't have it yet
	said    bool   // answered, where a Say is
	heard   []byte // what members get
}

// rooms has members join, send to and leave rooms, of which there are many.
type rooms struct {
	*loop
	count     int
	first     bool // rooms are joined once, which is what counts
	held      bool // ... and what counts is that they go on
	sparse    bool // each room has one member when something is sent, and any number when they join
	depth     int  // calls in flight on each connection
	activity  activity
	tasks     []task     // roomsDepth for each connection
	lines     [][]byte   // by room: what is said there, up to its sequence number
	answered  bool       // a Say is
	members   []int      // by room
	joined    [][]room   // by connection
	isIn      [][]uint64 // ... the same as a set
	number    []int      // by connection: of what it said last
	heardLast [][]int    // by receiver and speaker: number of the newest
	joins     int        // so far
	initial   []int      // by connection: rooms left to join before ready; nil: that is over
	inFlight  int
	deadline  int64
	time      time.Duration
	random    *rand.Rand
	scratch   []byte  // for messages
	line      []byte  // ... and for one in them
	waiting   []*conn // that have something to write
}

func newRooms(l *loop, s settings) *rooms {
	w := &rooms{loop: l, count: s.rooms, first: s.first, held: s.held, sparse: s.sparse, depth: roomsDepth, time: s.time,
		tasks: make([]task, roomsDepth*s.conns), members: make([]int, s.rooms),
		joined: make([][]room, s.conns), isIn: make([][]uint64, s.conns), number: make([]int, s.conns), heardLast: make([][]int, s.conns),
		random: rand.New(rand.NewPCG(1, 2))}
	if w.sparse || w.first || w.held {
		w.depth = 1 // what is sent at once would share writes where rooms are few
	}
	for i := range s.conns {
		w.isIn[i] = make([]uint64, (s.rooms+63)/64)
		w.heardLast[i] = make([]int, s.conns)
	}
	for r := range s.rooms {
		name := string(room(r).append(nil))
		w.lines = append(w.lines, appendLineStart(nil, name, textOfSaid(room(r), roomsSeq)))
	}
	w.answered = len(l.dialect.appendSaid(nil, firstID)) > 0
	return w
}

func (w *rooms) prepare() error {
	if err := w.open(w.conns, prepareInflight); err != nil {
		return err
	}
	if w.sparse {
		if err := w.rehearse(); err != nil {
			return err
		}
	}
	if w.first {
		return nil
	}
	if err := w.joinAll(); err != nil || w.held {
		return err
	}
	return w.run(says, int64(warmUp))
}

// hold has all be members for a while, and nothing said. A unit is a minute of a room.
func (w *rooms) hold() error {
	end := clock() + int64(w.time)
	err := w.until(func() bool {
		w.progress = w.now // nothing is to come
		return w.now >= end
	}, nil)
	for range int(float64(w.count) * w.time.Minutes()) {
		w.meter.latencies.record(0)
	}
	return err
}

// joinAll has each room joined by one connection.
func (w *rooms) joinAll() error {
	w.initial = make([]int, len(w.conns))
	for i := range w.initial {
		w.initial[i] = i
	}
	err := w.run(joins, int64(time.Hour))
	w.initial = nil
	return err
}

// rehearse has all connections join rooms and leave them, since they may do so but once when they are measured.
func (w *rooms) rehearse() error {
	if err := w.run(joins, int64(warmUp)); err != nil {
		return err
	}
	return w.run(leaves, int64(time.Hour))
}

func (w *rooms) phases() []phase {
	measured := func(a activity) func() error {
		return func() error { return w.run(a, int64(w.time)) }
	}
	join := phase{name: "join", run: measured(joins)}
	send := phase{name: "send", run: measured(says)}
	leave := phase{name: "leave", run: measured(leaves)}
	if w.first {
		return []phase{{name: "join", run: w.joinAll}}
	}
	if w.held {
		return []phase{{name: "hold", run: w.hold}}
	}
	if w.sparse {
		return []phase{send, join, leave}
	}
	return []phase{join, send, leave}
}

// run does one thing for that long, or until there is nothing left to join or leave, and waits for the last of it.
func (w *rooms) run(a activity, duration int64) error {
	w.now = clock()
	w.activity, w.deadline = a, w.now+duration
	conns := w.conns
	if w.sparse && a == says {
		conns = conns[:min(len(conns), max(w.count, roomsFew))]
	}
	for _, c := range conns {
		for place := range w.depth {
			w.begin(c, place)
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	return w.until(func() bool { return w.inFlight == 0 }, func() string {
		return fmt.Sprintf("%d tasks: answers to Joins or Leaves, or messages by all their receivers", w.inFlight)
	})
}

// begin puts the next task into a place that is free, if there is time left.
func (w *rooms) begin(c *conn, place int) {
	if w.now >= w.deadline {
		return
	}
	t := &w.tasks[c.index*roomsDepth+place]
	id := firstID + place
	b := w.scratch[:0]
	switch w.activity {
	case joins:
		r, ok := w.toJoin(c.index)
		if !ok {
			return
		}
		t.room = r
		w.enter(c.index, r)
		b = w.dialect.appendJoin(b, id, r)
	case leaves:
		r, ok := w.toLeave(c.index)
		if !ok {
			return
		}
		t.room = r
		b = w.dialect.appendLeave(b, id, r)
	case says:
		b = w.say(c, place, t, b)
	}
	w.scratch = b
	t.written = w.now
	w.inFlight++
	c.out = appendFrame(c.out, 0, opText, b)
}

// toJoin chooses a room that connection i isn't in. If it is in all of them, the phase is over, since fewer connections would be
// another work. It is also over when the rooms are full. If they are sparse, it goes on for those that have rooms to join.
func (w *rooms) toJoin(i int) (r room, ok bool) {
	if w.initial != nil {
		r = room(w.initial[i])
		w.initial[i] += len(w.conns)
		return r, int(r) < w.count
	}
	switch {
	case w.sparse && len(w.joined[i]) == w.count:
		return 0, false
	case !w.sparse && (len(w.joined[i]) == w.count || w.joins == roomsFull*w.count):
		w.deadline = w.now
		return 0, false
	}
	for n := w.random.IntN(w.count); ; n = (n + 1) % w.count {
		if !w.in(i, room(n)) {
			return room(n), true
		}
	}
}

func (w *rooms) in(i int, r room) bool { return w.isIn[i][r/64]&(1<<(r%64)) != 0 }

func (w *rooms) enter(i int, r room) {
	w.isIn[i][r/64] |= 1 << (r % 64)
	w.joined[i] = append(w.joined[i], r)
	w.members[r]++
	w.joins++
}

// toLeave chooses a room that connection i is in, which it is no more then. As with toJoin, the phase is over if there is none,
// unless rooms are sparse.
func (w *rooms) toLeave(i int) (r room, ok bool) {
	in := w.joined[i]
	if len(in) == 0 {
		if !w.sparse {
			w.deadline = w.now
		}
		return 0, false
	}
	last := len(in) - 1
	n := w.random.IntN(len(in))
	r, in[n] = in[n], in[last]
	w.joined[i] = in[:last]
	w.isIn[i][r/64] &^= 1 << (r % 64)
	w.members[r]--
	return r, true
}

// say appends a Say to a random room that has members. Its sequence number names the task, and grows with each of the speaker.
func (w *rooms) say(c *conn, place int, t *task, b []byte) []byte {
	r := room(w.random.IntN(w.count))
	for w.members[r] == 0 {
		r = room((int(r) + 1) % w.count)
	}
	w.number[c.index]++
	t.room, t.missing = r, w.members[r]
	t.seq = roomsSeq + w.number[c.index]*len(w.tasks) + c.index*roomsDepth + place
	t.said = !w.answered
	w.line = appendLineEnd(append(w.line[:0], w.lines[r]...), t.seq)
	t.heard = w.dialect.appendHeard(t.heard[:0], r, w.line)
	return w.dialect.appendSay(b, firstID+place, r, w.line)
}

func (w *rooms) receive(c *conn, message []byte) error {
	id, ok := w.dialect.answers(message)
	if !ok {
		return w.hear(c, message)
	}
	place := id - firstID
	if place < 0 || place >= roomsDepth || w.tasks[c.index*roomsDepth+place].written == 0 {
		return fmt.Errorf("got %q, expected no answer to a call that isn't in flight", message)
	}
	t := &w.tasks[c.index*roomsDepth+place]
	w.scratch = w.expected(w.scratch[:0], id)
	if !w.dialect.matches(message, w.scratch) {
		return wrong(message, w.scratch)
	}
	w.progress = w.now
	if w.activity == says {
		t.said = true
		if t.missing == 0 {
			w.end(c, place)
		}
		return nil
	}
	w.meter.latencies.record(w.now - t.written)
	w.end(c, place)
	return nil
}

// expected appends the answer to what is done now.
func (w *rooms) expected(b []byte, id int) []byte {
	switch w.activity {
	case joins:
		return w.dialect.appendJoined(b, id)
	case leaves:
		return w.dialect.appendLeft(b, id)
	}
	return w.dialect.appendSaid(b, id)
}

// hear takes what a room has been sent.
func (w *rooms) hear(c *conn, message []byte) error {
	seq, ok := seqOf(message)
	if !ok || seq < roomsSeq {
		return fmt.Errorf("got %q, expected a message of a room", message)
	}
	index, number := (seq-roomsSeq)%len(w.tasks), (seq-roomsSeq)/len(w.tasks)
	t := &w.tasks[index]
	speaker := w.conns[index/roomsDepth]
	switch {
	case w.activity != says || t.written == 0 || t.seq != seq || t.missing == 0:
		return fmt.Errorf("got %q, expected no message that everybody has", message)
	case !w.dialect.matches(message, t.heard):
		return wrong(message, t.heard)
	case !w.in(c.index, t.room):
		return fmt.Errorf("got %q, expected nothing of a room that it isn't in", message)
	case number <= w.heardLast[c.index][speaker.index]:
		return fmt.Errorf("got %q, expected a message after number %d of connection %d", message, w.heardLast[c.index][speaker.index], speaker.index)
	}
	w.heardLast[c.index][speaker.index] = number
	w.meter.latencies.record(w.now - t.written)
	w.progress = w.now
	if t.missing--; t.missing == 0 && t.said {
		w.end(speaker, index%roomsDepth)
	}
	return nil
}

// end frees a place, and begins the next task in it.
func (w *rooms) end(c *conn, place int) {
	w.tasks[c.index*roomsDepth+place].written = 0
	w.inFlight--
	if len(c.out) == 0 {
		w.waiting = append(w.waiting, c)
	}
	w.begin(c, place)
}

func (w *rooms) settle() error {
	for _, c := range w.waiting {
		if err := c.flush(); err != nil {
			return err
		}
	}
	w.waiting = w.waiting[:0]
	return nil
}

// seqOf returns the sequence number of the line in a message.
func seqOf(message []byte) (seq int, ok bool) {
	_, rest, _ := bytes.Cut(message, []byte(`"seq":`))
	seq, digits := leadingNumber(rest)
	return seq, digits > 0
}
