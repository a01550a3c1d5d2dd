//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// v1 is wsctl's own protocol: the messages of the plain one, counted and acknowledged in a session that can be resumed.
type v1 struct{ plain }

const (
	ackBytes = 64 << 10 // of counted messages are acknowledged at once
	ackAfter = 700e6    // nanoseconds at most, as long as there are messages to acknowledge: the protocol allows a second
)

// session is what a connection keeps of its session of wsctl.v1, across dials, and of its room.
type session struct {
	name         string
	try          int // number of the newest dial
	every        int // messages are acknowledged at once
	received     int // counted messages, in this session
	unacked      int // of them
	unackedBytes int
	recovery
}

func (v1) subprotocol() string { return "wsctl.v1" }

func (v1) greet(c *conn) []byte {
	s := &c.session
	s.try++
	if s.name == "" {
		b := appendNumber(nil, `{"type":"$hello","data":{"try":`, s.try)
		if s.position != "" {
			b = append(append(append(b, `,"rooms":{`...), s.position...), '}')
		}
		return append(b, "}}"...)
	}
	b := append(append([]byte(nil), `{"type":"$hello","data":{"session":"`...), s.name...)
	b = appendNumber(b, `","received":`, s.received)
	return append(appendNumber(b, `,"try":`, s.try), "}}"...)
}

func (d v1) receive(c *conn, message []byte) error {
	if c.state == greeting {
		return d.welcome(c, message)
	}
	name, control := bytes.CutPrefix(message, []byte(`{"type":"$`))
	switch {
	case !control, bytes.HasPrefix(name, []byte(`reply"`)):
		c.session.received++
		c.session.unacked++
		c.session.unackedBytes += len(message)
		return c.loop.work.receive(c, unplaced(message))
	case bytes.HasPrefix(name, []byte(`ping"`)):
		d.acknowledge(c, 1)
		c.out = appendText(c.out, `{"type":"$pong"}`)
		return nil
	case bytes.HasPrefix(name, []byte(`ack"`)):
		return nil
	case bytes.HasPrefix(name, []byte(`room"`)):
		c.session.received++
		c.session.unacked++
		c.session.unackedBytes += len(message)
		return d.place(c, message)
	}
	return fmt.Errorf("got %q, expected an answer", message)
}

// place takes $room, which says where c is in its room.
func (v1) place(c *conn, message []byte) error {
	name, position := textAfter(message, `"room":"`), textAfter(message, `"pos":"`)
	if name == "" || position == "" || bytes.Contains(message, []byte(`"recovered":false`)) {
		return fmt.Errorf("got %q, expected a position in a room, after which nothing is missing", message)
	}
	c.session.position = fmt.Sprintf("%q:%q", name, position)
	c.session.recovered = bytes.Contains(message, []byte(`"recovered":true`))
	if w, ok := c.loop.work.(*missing); ok {
		return w.placed(c)
	}
	return nil
}

// appendRejoin is appendJoin: $hello has said the position.
func (d v1) appendRejoin(b []byte, _ *conn, id int, r room) []byte { return d.appendJoin(b, id, r) }

// unplaced takes the room and the position out of a message of a room that keeps history, in place: what the client's program
// sees is left.
func unplaced(message []byte) []byte {
	const room, position = `,"room":"`, `","pos":"`
	start := bytes.Index(message, []byte(room)) // the room in the data is the first member there
	if start < 0 {
		return message
	}
	end := bytes.Index(message[start:], []byte(position))
	if end < 0 {
		return message
	}
	end += start + len(position)
	size := bytes.IndexByte(message[end:], '"')
	if size < 0 {
		return message
	}
	return append(message[:start], message[end+size+1:]...)
}

// welcome takes the answer to $hello.
func (v1) welcome(c *conn, message []byte) error {
	s := &c.session
	if !bytes.HasPrefix(message, []byte(`{"type":"$welcome"`)) {
		return fmt.Errorf("got %q, expected $welcome", message)
	}
	resumed := bytes.Contains(message, []byte(`"resumed":true`))
	_, name, _ := bytes.Cut(message, []byte(`"session":"`))
	name, _, named := bytes.Cut(name, []byte(`"`))
	_, every, _ := bytes.Cut(message, []byte(`"ack":`))
	n, _ := leadingNumber(every)
	switch {
	case !named || n == 0:
		return fmt.Errorf("got %q, expected a session that can be resumed", message)
	case s.name != "" && (!resumed || string(name) != s.name):
		return fmt.Errorf("got %q, expected the session %s to be resumed", message, s.name)
	}
	s.every = n
	if !resumed {
		s.name = string(name)
		c.out = appendText(c.out, `{"type":"$ack","data":0}`)
	}
	c.opened()
	return nil
}

func (d v1) settle(c *conn) {
	s := &c.session
	switch {
	case s.unackedBytes >= ackBytes:
		d.acknowledge(c, 1)
	case len(c.out) > 0:
		d.acknowledge(c, s.every/2) // it goes with what is written anyway
	default:
		d.acknowledge(c, s.every)
	}
}

// tick looks at each connection once in ackAfter, a few at a time: thousands of acknowledgments at once would hold up all else, as
// those of clients on machines of their own don't.
func (d v1) tick(l *loop) error {
	l.acked = max(l.acked, l.now-ackAfter)
	all := int64(len(l.conns))
	n := (l.now - l.acked) * all / ackAfter
	l.acked += n * ackAfter / all
	var errs []error
	for range n {
		c := l.conns[l.ackNext%len(l.conns)]
		l.ackNext++
		if c.state == open && c.session.unacked > 0 {
			d.acknowledge(c, 1)
			errs = append(errs, c.flush())
		}
	}
	return errors.Join(errs...)
}

// acknowledge appends an $ack to what c writes, if at least so many messages wait for one.
func (v1) acknowledge(c *conn, atLeast int) {
	s := &c.session
	if s.unacked < max(1, atLeast) {
		return
	}
	var text [48]byte
	b := strconv.AppendInt(append(text[:0], `{"type":"$ack","data":`...), int64(s.received), 10)
	c.out = appendFrame(c.out, 0, opText, append(b, '}'))
	s.unacked, s.unackedBytes = 0, 0
}
