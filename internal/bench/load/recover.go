//go:build linux

package main

import (
	"bytes"
	"fmt"
)

// recoverer is the dialect of a stack whose clients get what they have missed of a room, wherever they join it again.
type recoverer interface {
	dialect
	// appendRejoin appends a call to join r, from the position that c has of it.
	appendRejoin(b []byte, c *conn, id int, r room) []byte
}

// recovers tells whether a stack is one whose clients recover.
func recovers(stack string) bool {
	_, ok := dialectOf(stack).(recoverer)
	return ok
}

// recovery is what a client has of the room that it is in.
type recovery struct {
	position  string // after which messages are missed, as the dialect writes it; empty: none yet
	recovered bool   // it was told that it gets all that it has missed
}

// stage is what members of the work recover are doing.
type stage uint8

const (
	entering stage = iota
	hearing        // what they have missed when they come back
	rejoining
)

// missing has members of rooms lose their connections, and join again on the speakers' server from the position they had before
// the last messages.
type missing struct {
	*loop
	dialect  recoverer
	stage    stage
	members  []*conn
	speakers []*conn // by room
	heard    [][][]byte
	said     int     // answers to what was said that have come, where there are any
	got      []int   // by member: messages, in this stage
	answered []bool  // by member: its call, in this stage
	written  []int64 // by member: when its call was
	waiting  []*conn // members that have not begun
	left     int     // members that are not done with the stage
	depth    int     // calls in flight
	missed   int     // messages of each room
	ready    []*conn // that have something to write
}

func newMissing(l *loop, s settings) *missing {
	w := &missing{loop: l, dialect: l.dialect.(recoverer), members: l.conns[:s.conns], speakers: l.conns[s.conns:],
		got: make([]int, s.conns), answered: make([]bool, s.conns), written: make([]int64, s.conns), depth: s.inflight, missed: s.missed}
	for i, c := range w.speakers {
		if s.speakers.IsValid() {
			c.address = s.speakers
		}
		var heard [][]byte
		for n := range s.missed {
			heard = append(heard, w.dialect.appendHeard(nil, room(i), w.line(room(i), n)))
		}
		w.heard = append(w.heard, heard)
	}
	return w
}

// line is what message n of a room says.
func (w *missing) line(r room, n int) []byte {
	return appendLine(nil, string(r.append(nil)), textOfSaid(r, firstSeq), firstSeq+n)
}

// roomOf is the room of a member.
func (w *missing) roomOf(c *conn) room { return room(c.index % len(w.speakers)) }

func (w *missing) prepare() error {
	if err := w.open(w.conns, prepareInflight); err != nil {
		return err
	}
	if err := w.run(entering); err != nil {
		return err
	}
	for i, c := range w.speakers {
		for n := range w.missed {
			c.out = append(c.out, w.frame(w.dialect.appendSay(nil, firstID+n, room(i), w.line(room(i), n)))...)
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	if err := w.run(hearing); err != nil {
		return err
	}
	for _, c := range w.members {
		if err := c.cut(); err != nil {
			return err
		}
		c.address = w.speakers[0].address
		c.session = session{recovery: recovery{position: c.session.position}}
	}
	return w.open(w.members, prepareInflight)
}

func (w *missing) phases() []phase {
	return []phase{{run: func() error { return w.run(rejoining) }}}
}

// run has all members do the stage.
func (w *missing) run(s stage) error {
	w.stage, w.left = s, len(w.members)
	clear(w.got)
	clear(w.answered)
	if s != hearing {
		w.waiting = w.members
		for range min(w.depth, len(w.members)) {
			w.begin()
		}
		if err := w.settle(); err != nil {
			return err
		}
	}
	return w.until(func() bool { return w.left == 0 && (s != hearing || w.saidAll()) }, func() string {
		return fmt.Sprintf("answers to %d members, with positions and what they have missed, and %d answers to speakers", w.left, w.said)
	})
}

// saidAll tells whether everything that was said is answered, if it is answered at all.
func (w *missing) saidAll() bool {
	return len(w.dialect.appendSaid(nil, firstID)) == 0 || w.said == len(w.speakers)*w.missed
}

// begin has the next member join.
func (w *missing) begin() {
	c := w.waiting[0]
	w.waiting = w.waiting[1:]
	var b []byte
	if w.stage == entering {
		b = w.dialect.appendJoin(nil, enterID, w.roomOf(c))
	} else {
		b = w.dialect.appendRejoin(nil, c, enterID, w.roomOf(c))
	}
	w.written[c.index] = clock()
	c.out = append(c.out, w.frame(b)...)
	w.ready = append(w.ready, c)
}

func (w *missing) receive(c *conn, message []byte) error {
	id, answers := w.dialect.answers(message)
	if c.index >= len(w.members) {
		return w.takeSaid(id, message)
	}
	switch heard := w.heard[w.roomOf(c)]; {
	case answers:
		expected := w.dialect.appendJoined(nil, enterID)
		if w.stage == hearing || w.answered[c.index] || !w.dialect.matches(message, expected) {
			return wrong(message, expected)
		}
		w.answered[c.index] = true
	case w.stage == entering || w.got[c.index] == len(heard):
		return fmt.Errorf("got %q, expected nothing", message)
	case !w.dialect.matches(message, heard[w.got[c.index]]):
		return wrong(message, heard[w.got[c.index]])
	default:
		w.got[c.index]++
	}
	return w.placed(c)
}

// takeSaid takes the answer to something said.
func (w *missing) takeSaid(id int, message []byte) error {
	expected := w.dialect.appendSaid(nil, id)
	if w.stage != hearing || len(expected) == 0 || !w.dialect.matches(message, expected) {
		return fmt.Errorf("got %q, expected no more than answers to what is said", message)
	}
	w.said++
	w.progress = w.now
	return nil
}

// placed looks whether c is done, as it has got a message, an answer or a position.
func (w *missing) placed(c *conn) error {
	w.progress = w.now
	s := &c.session
	done := false
	switch w.stage {
	case entering:
		done = w.answered[c.index] && s.position != ""
	case hearing:
		done = w.got[c.index] == w.missed
	case rejoining:
		done = w.answered[c.index] && w.got[c.index] == w.missed && s.recovered
		if w.answered[c.index] && w.got[c.index] == w.missed && !s.recovered {
			return fmt.Errorf("got what was missed of room %d, but not the word that it is all", w.roomOf(c))
		}
		if done {
			w.meter.latencies.record(w.now - w.written[c.index])
		}
	}
	if done {
		w.left--
		if w.stage != hearing && len(w.waiting) > 0 {
			w.begin()
		}
	}
	return nil
}

func (w *missing) settle() error {
	for _, c := range w.ready {
		if err := c.flush(); err != nil {
			return err
		}
	}
	w.ready = w.ready[:0]
	return nil
}

// textAfter returns what follows key in a message, up to a quote; empty if there is none.
func textAfter(message []byte, key string) string {
	_, rest, _ := bytes.Cut(message, []byte(key))
	text, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return ""
	}
	return string(text)
}
