//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// centrifuge is the JSON protocol of Centrifuge: several objects may come in one message, and an empty one is a ping.
type centrifuge struct{}

func (centrifuge) subprotocol() string { return "" }

func (centrifuge) greet(*conn) []byte { return []byte(`{"id":1,"connect":{}}`) }

func (d centrifuge) receive(c *conn, message []byte) error {
	for len(message) > 0 {
		one, rest, _ := bytes.Cut(message, []byte("\n"))
		message = rest
		switch {
		case len(one) == 0:
		case string(one) == "{}":
			c.out = appendText(c.out, "{}")
		case c.state == greeting:
			if !bytes.HasPrefix(one, []byte(`{"id":1,"connect":{`)) {
				return fmt.Errorf("got %q, expected the answer to connect", one)
			}
			c.opened()
		default:
			if err := d.receiveOne(c, one); err != nil {
				return err
			}
		}
	}
	return nil
}

// receiveOne takes what is the work's, and notes where the answer to a subscription says that the channel is.
func (d centrifuge) receiveOne(c *conn, one []byte) error {
	if _, ok := c.loop.work.(*missing); ok && bytes.HasPrefix(one, d.appendJoined(nil, enterID)) {
		if err := d.subscribed(c, one); err != nil {
			return err
		}
	}
	return c.loop.work.receive(c, one)
}

// subscribed notes the position in the answer to a subscription, and gives the work what it brings of the channel's history, as
// the messages that it would have been.
func (d centrifuge) subscribed(c *conn, message []byte) error {
	var answer struct {
		Subscribe struct {
			Epoch        string
			Offset       uint64
			Recovered    bool
			Publications []json.RawMessage
		}
	}
	if err := json.Unmarshal(message, &answer); err != nil {
		return err
	}
	s := answer.Subscribe
	c.session.position = fmt.Sprintf(`"epoch":%q,"offset":%d`, s.Epoch, s.Offset)
	c.session.recovered = s.Recovered
	for _, p := range s.Publications {
		push := append(d.appendPush(nil, c.loop.work.(*missing).roomOf(c)), p...)
		if err := c.loop.work.receive(c, append(push, "}}"...)); err != nil {
			return err
		}
	}
	return nil
}

func (d centrifuge) appendRejoin(b []byte, c *conn, id int, r room) []byte {
	b = append(appendNumber(b, `{"id":`, id), `,"subscribe":{"channel":"`...)
	b = append(d.appendChannel(b, r), `","recover":true,`...)
	return append(append(b, c.session.position...), "}}"...)
}

func (centrifuge) settle(*conn) {}

func (centrifuge) tick(*loop) error { return nil }

func (centrifuge) appendEcho(b []byte, id int, line []byte) []byte {
	b = append(appendNumber(b, `{"id":`, id), `,"rpc":{"method":"Echo","data":`...)
	return append(append(b, line...), "}}"...)
}

func (centrifuge) appendEchoed(b []byte, id int, line []byte) []byte {
	b = append(appendNumber(b, `{"id":`, id), `,"rpc":{"data":`...)
	return append(append(b, line...), "}}"...)
}

func (d centrifuge) appendJoin(b []byte, id int, r room) []byte {
	b = append(appendNumber(b, `{"id":`, id), `,"subscribe":{"channel":"`...)
	return append(d.appendChannel(b, r), `"}}`...)
}

func (centrifuge) appendJoined(b []byte, id int) []byte {
	return append(appendNumber(b, `{"id":`, id), `,"subscribe":{`...)
}

func (d centrifuge) appendLeave(b []byte, id int, r room) []byte {
	b = append(appendNumber(b, `{"id":`, id), `,"unsubscribe":{"channel":"`...)
	return append(d.appendChannel(b, r), `"}}`...)
}

func (centrifuge) appendLeft(b []byte, id int) []byte {
	return append(appendNumber(b, `{"id":`, id), `,"unsubscribe":{`...)
}

func (d centrifuge) appendSay(b []byte, id int, r room, line []byte) []byte {
	b = append(appendNumber(b, `{"id":`, id), `,"publish":{"channel":"`...)
	b = append(d.appendChannel(b, r), `","data":`...)
	return append(append(b, line...), "}}"...)
}

func (centrifuge) appendSaid(b []byte, id int) []byte {
	return append(appendNumber(b, `{"id":`, id), `,"publish":{`...)
}

func (d centrifuge) appendHeard(b []byte, r room, line []byte) []byte {
	return append(append(d.appendPush(b, r), `{"data":`...), line...)
}

// appendPush appends the start of a message of r, up to the publication.
func (d centrifuge) appendPush(b []byte, r room) []byte {
	b = append(b, `{"push":{"channel":"`...)
	return append(d.appendChannel(b, r), `","pub":`...)
}

func (centrifuge) answers(message []byte) (id int, ok bool) { return idAfter(message, `{"id":`) }

// matches compares the start: members such as info and offset may follow what is expected, which ends after a whole value or
// where the first of them begins.
func (centrifuge) matches(message, expected []byte) bool { return bytes.HasPrefix(message, expected) }

func (centrifuge) appendChannel(b []byte, r room) []byte {
	if r == everyone {
		return append(b, "all"...)
	}
	return r.append(b)
}
