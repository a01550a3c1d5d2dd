//go:build linux

package main

import "bytes"

// plain is the dialect of the hand-written servers, and of wsctl without a subprotocol.
type plain struct{}

const replyPrefix = `{"type":"$reply","id":`

func (plain) subprotocol() string { return "" }

func (plain) greet(*conn) []byte { return nil }

func (plain) receive(c *conn, message []byte) error { return c.loop.work.receive(c, message) }

func (plain) settle(*conn) {}

func (plain) tick(*loop) error { return nil }

func (plain) appendEcho(b []byte, id int, line []byte) []byte {
	b = append(plain{}.appendCall(b, "Echo", id), line...)
	return append(b, '}')
}

func (plain) appendEchoed(b []byte, id int, line []byte) []byte {
	b = append(appendNumber(b, replyPrefix, id), `,"data":`...)
	return append(append(b, line...), '}')
}

func (plain) appendJoin(b []byte, id int, r room) []byte {
	return plain{}.appendPlace(plain{}.appendCall(b, "Join", id), r)
}

func (plain) appendJoined(b []byte, id int) []byte {
	return append(appendNumber(b, replyPrefix, id), '}')
}

func (plain) appendLeave(b []byte, id int, r room) []byte {
	return plain{}.appendPlace(plain{}.appendCall(b, "Leave", id), r)
}

func (plain) appendLeft(b []byte, id int) []byte { return plain{}.appendJoined(b, id) }

func (plain) appendSay(b []byte, _ int, _ room, line []byte) []byte {
	return append(append(append(b, `{"type":"Say","data":`...), line...), '}')
}

func (plain) appendSaid(b []byte, _ int) []byte { return b }

func (plain) appendHeard(b []byte, _ room, line []byte) []byte {
	return append(append(append(b, `{"type":"Said","data":`...), line...), '}')
}

func (plain) answers(message []byte) (id int, ok bool) { return idAfter(message, replyPrefix) }

func (plain) matches(message, expected []byte) bool { return bytes.Equal(message, expected) }

// appendCall appends a call up to its data.
func (plain) appendCall(b []byte, method string, id int) []byte {
	b = append(append(b, `{"type":"`...), method...)
	return append(appendNumber(b, `","id":`, id), `,"data":`...)
}

// appendPlace appends the data of a Join or Leave, and the end of the call.
func (plain) appendPlace(b []byte, r room) []byte {
	b = r.append(append(b, `{"room":"`...))
	return append(b, `","text":"","seq":0}}`...)
}
