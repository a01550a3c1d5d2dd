//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// state is how far a connection is.
type state uint8

const (
	closed     state = iota
	connecting       // by TCP
	upgrading        // the handshake is sent
	greeting         // upgraded, and the greeting of the dialect is sent
	open
	stalled // it is never read again
)

// conn is one connection to the server. It may be dialed again when it was cut.
type conn struct {
	loop          *loop
	index         int
	address       netip.AddrPort // of its server
	fd            int
	state         state
	blocked       bool   // out waits for room
	deflated      bool   // parts are
	receiveBuffer int    // of the socket; 0: as the system has it
	since         int64  // when its opening began; 0: it begins with the dial
	rest          []byte // the start of a frame whose end hasn't come
	parts         []byte // the start of a message in several frames; nil: there is none
	out           []byte // to be written
	session       session
}

// ready does what a socket is ready for. Sockets are watched for changes only, so all that it is ready for has to be done.
func (c *conn) ready(events uint32) error {
	const ended = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	switch c.state {
	case closed, stalled:
		return nil
	case connecting:
		if events&(unix.EPOLLOUT|ended) == 0 {
			return nil
		}
		return c.connected()
	}
	if events&unix.EPOLLOUT != 0 && c.blocked {
		c.blocked = false
		if err := c.flush(); err != nil {
			return err
		}
	}
	if events&(unix.EPOLLIN|ended) == 0 {
		return nil
	}
	return c.read(events&ended != 0)
}

// read receives what there is. It asks again after a read that filled the buffer, or, toEnd, until the end.
func (c *conn) read(toEnd bool) error {
	l := c.loop
	for {
		kept := copy(l.buffer, c.rest)
		n, err := read(c.fd, l.buffer[kept:])
		switch {
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		case n == 0:
			return errors.New("the server has closed it without a word")
		}
		l.now = clock()
		l.bytesIn += int64(n)
		got := l.buffer[:kept+n]
		rest, err := c.take(got)
		if err != nil {
			return err
		}
		c.rest = append(c.rest[:0], rest...)
		if c.state == open {
			l.dialect.settle(c)
		}
		if err := c.flush(); err != nil {
			return err
		}
		if len(got) < len(l.buffer) && !toEnd {
			return nil
		}
	}
}

// take handles what is whole of b, and returns the rest.
func (c *conn) take(b []byte) (rest []byte, err error) {
	if c.state == upgrading {
		head, after, ok, err := splitHead(b)
		if !ok || err != nil {
			return b, err
		}
		if err := checkUpgrade(head, c.loop.dialect.subprotocol(), c.loop.compress); err != nil {
			return nil, err
		}
		b = after
		c.upgraded()
	}
	for {
		f, size, err := parseFrame(b)
		if err != nil || size == 0 {
			return b, err
		}
		b = b[size:]
		if err := c.handle(f); err != nil {
			return nil, err
		}
	}
}

func (c *conn) handle(f frame) error {
	switch {
	case f.opcode == opText && f.final && c.parts == nil:
		return c.message(f.payload, f.deflated)
	case f.opcode == opText && !f.final && c.parts == nil:
		c.parts, c.deflated = append([]byte{}, f.payload...), f.deflated
		return nil
	case f.opcode == opContinuation && c.parts != nil && !f.deflated:
		if len(c.parts)+len(f.payload) > maxMessage {
			return fmt.Errorf("got a message of more than %d bytes", maxMessage)
		}
		c.parts = append(c.parts, f.payload...)
		if !f.final {
			return nil
		}
		whole := c.parts
		c.parts = nil
		return c.message(whole, c.deflated)
	case f.opcode == opPing && f.final && !f.deflated:
		c.out = appendFrame(c.out, 0, opPong, f.payload)
		return nil
	case f.opcode == opPong && f.final && !f.deflated:
		return nil
	case f.opcode == opClose && len(f.payload) >= 2:
		return fmt.Errorf("the server has closed it: %d %q", binary.BigEndian.Uint16(f.payload), f.payload[2:])
	}
	return fmt.Errorf("got a frame of opcode %#x, final %t, compressed %t: %q; expected text", f.opcode, f.final, f.deflated, f.payload)
}

func (c *conn) message(payload []byte, packed bool) error {
	l := c.loop
	if packed {
		if !l.compress {
			return errors.New("got a compressed message without having agreed to any")
		}
		var err error
		if payload, err = l.flate.inflate(payload); err != nil {
			return err
		}
	}
	return l.dialect.receive(c, payload)
}

// flush writes out, as much as there is room for. The rest goes when there is more.
func (c *conn) flush() error {
	for len(c.out) > 0 && !c.blocked {
		n, err := write(c.fd, c.out)
		switch {
		case err == unix.EAGAIN:
			c.blocked = true
		case err != nil:
			return fmt.Errorf("writing: %w", err)
		default:
			c.out = c.out[:copy(c.out, c.out[n:])]
		}
	}
	return nil
}
