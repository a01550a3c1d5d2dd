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
	ackAfter = 800e6    // nanoseconds at most, as long as there are messages to acknowledge: the protocol allows a second
)

// session is what a connection of wsctl.v1 keeps of its session, across dials.
type session struct {
	name         string
	try          int // number of the newest dial
	every        int // messages are acknowledged at once
	received     int // counted messages, in this session
	unacked      int // of them
	unackedBytes int
}

func (v1) subprotocol() string { return "wsctl.v1" }

func (v1) greet(c *conn) []byte {
	s := &c.session
	s.try++
	if s.name == "" {
		return append(appendNumber(nil, `{"type":"$hello","data":{"try":`, s.try), "}}"...)
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
		return c.loop.work.receive(c, message)
	case bytes.HasPrefix(name, []byte(`ping"`)):
		d.acknowledge(c, 1)
		c.out = appendText(c.out, `{"type":"$pong"}`)
		return nil
	case bytes.HasPrefix(name, []byte(`ack"`)):
		return nil
	}
	return fmt.Errorf("got %q, expected an answer", message)
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

func (d v1) tick(l *loop) error {
	if l.now-l.acked < ackAfter {
		return nil
	}
	l.acked = l.now
	var errs []error
	for _, c := range l.conns {
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
