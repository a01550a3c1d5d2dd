//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// dialect is how a stack puts the requests of the benchmarks, and its answers, into messages.
type dialect interface {
	// subprotocol is what the handshake asks for; empty: nothing.
	subprotocol() string
	// greet returns the message that begins a connection, nil if there is none. It is open once greeted.
	greet(c *conn) []byte
	// receive takes a message. It calls c.opened for the answer to the greeting, and gives the work of the loop what isn't the
	// protocol's own.
	receive(c *conn, message []byte) error
	// settle is called when all is received that one read has brought, before what c has to write goes out.
	settle(c *conn)
	// tick is called some times a second.
	tick(l *loop) error

	appendEcho(b []byte, id int, line []byte) []byte
	appendEchoed(b []byte, id int, line []byte) []byte
	appendJoin(b []byte, id int, r room) []byte
	appendJoined(b []byte, id int) []byte
	appendLeave(b []byte, id int, r room) []byte
	appendLeft(b []byte, id int) []byte
	appendSay(b []byte, id int, r room, line []byte) []byte
	// appendSaid appends the answer to a Say, if it is answered at all.
	appendSaid(b []byte, id int) []byte
	appendHeard(b []byte, r room, line []byte) []byte

	// answers returns the id of the call that the message answers. ok is false if it isn't an answer.
	answers(message []byte) (id int, ok bool)
	// matches tells whether the message is what was expected, in full; members that the server may add are allowed.
	matches(message, expected []byte) bool
}

// dialectOf returns the dialect of a stack, nil if there is none.
func dialectOf(stack string) dialect {
	switch stack {
	case "plain":
		return plain{}
	case "v1":
		return v1{}
	case "centrifuge":
		return centrifuge{}
	case "geth":
		return geth{}
	}
	return nil
}

// wrong is the error for a message that isn't the one that was expected.
func wrong(got, expected []byte) error {
	return fmt.Errorf("got %q, expected %q", got, expected)
}

// idAfter returns the number that follows prefix at the start of a message.
func idAfter(message []byte, prefix string) (id int, ok bool) {
	if !bytes.HasPrefix(message, []byte(prefix)) {
		return 0, false
	}
	id, size := leadingNumber(message[len(prefix):])
	return id, size > 0
}

// leadingNumber returns the number at the start of b, and how many digits it has; 0: none, or more than a number may have.
func leadingNumber(b []byte) (n, digits int) {
	for digits < len(b) && b[digits]-'0' <= 9 {
		n = n*10 + int(b[digits]-'0')
		if digits++; digits > 15 {
			return 0, 0
		}
	}
	return n, digits
}

// appendNumber appends text and a number.
func appendNumber(b []byte, text string, n int) []byte {
	return strconv.AppendInt(append(b, text...), int64(n), 10)
}
