//go:build linux

package main

import (
	"testing"
)

func TestMessages(t *testing.T) {
	line := appendLine(nil, "lobby", []byte("hello, world"), 123456)
	const text = `{"room":"lobby","text":"hello, world","seq":123456}`
	p, c, g := plain{}, centrifuge{}, geth{}
	for _, test := range []struct {
		got  []byte
		want string
	}{
		{p.appendEcho(nil, 1234, line), `{"type":"Echo","id":1234,"data":` + text + `}`},
		{p.appendEchoed(nil, 1234, line), `{"type":"$reply","id":1234,"data":` + text + `}`},
		{p.appendJoin(nil, 7, 17), `{"type":"Join","id":7,"data":{"room":"r17","text":"","seq":0}}`},
		{p.appendJoined(nil, 7), `{"type":"$reply","id":7}`},
		{p.appendLeave(nil, 7, 17), `{"type":"Leave","id":7,"data":{"room":"r17","text":"","seq":0}}`},
		{p.appendLeft(nil, 7), `{"type":"$reply","id":7}`},
		{p.appendSay(nil, 7, 17, line), `{"type":"Say","data":` + text + `}`},
		{p.appendSaid(nil, 7), ``},
		{p.appendHeard(nil, 17, line), `{"type":"Said","data":` + text + `}`},
		{c.appendEcho(nil, 1234, line), `{"id":1234,"rpc":{"method":"Echo","data":` + text + `}}`},
		{c.appendEchoed(nil, 1234, line), `{"id":1234,"rpc":{"data":` + text + `}}`},
		{c.appendJoin(nil, 7, 17), `{"id":7,"subscribe":{"channel":"r17"}}`},
		{c.appendLeave(nil, 7, 17), `{"id":7,"unsubscribe":{"channel":"r17"}}`},
		{c.appendSay(nil, 7, everyone, line), `{"id":7,"publish":{"channel":"all","data":` + text + `}}`},
		{c.appendSay(nil, 7, 17, line), `{"id":7,"publish":{"channel":"r17","data":` + text + `}}`},
		{g.appendEcho(nil, 1234, line), `{"jsonrpc":"2.0","id":1234,"method":"bench_echo","params":[` + text + `]}`},
		{g.appendEchoed(nil, 1234, line), `{"jsonrpc":"2.0","id":1234,"result":` + text + `}`},
	} {
		if string(test.got) != test.want {
			t.Errorf("got  %s\nwant %s", test.got, test.want)
		}
	}
}

func TestMatches(t *testing.T) {
	line := appendLine(nil, "r1", nil, 5)
	heard := centrifuge{}.appendHeard(nil, 1, line)
	for _, tail := range []string{`}}}`, `,"offset":3}}}`} {
		if message := string(heard) + tail; !(centrifuge{}).matches([]byte(message), heard) {
			t.Errorf("%s isn't taken", message)
		}
	}
	if (centrifuge{}).matches([]byte(`{"push":{"channel":"r2","pub":{"data":`+string(line)), heard) {
		t.Error("a message of another channel is taken")
	}
	heard = plain{}.appendHeard(nil, 1, line)
	if (plain{}).matches(append(heard, '\n'), heard) {
		t.Error("a message with more at its end is taken")
	}
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		d       dialect
		message string
		id      int
		ok      bool
	}{
		{plain{}, `{"type":"$reply","id":1234,"data":1}`, 1234, true},
		{plain{}, `{"type":"$error","id":1234,"data":1}`, 0, false},
		{plain{}, `{"type":"$reply","id":x`, 0, false},
		{plain{}, `{"type":"$reply","id":99999999999999999999}`, 0, false},
		{v1{}, `{"type":"$reply","id":3}`, 3, true},
		{centrifuge{}, `{"id":17,"rpc":{}}`, 17, true},
		{centrifuge{}, `{"push":{}}`, 0, false},
		{geth{}, `{"jsonrpc":"2.0","id":8,"result":1}`, 8, true},
	} {
		if id, ok := test.d.answers([]byte(test.message)); id != test.id || ok != test.ok {
			t.Errorf("%s: got %d, %t", test.message, id, ok)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, size := range []int{minEcho, 1500} {
		l := newTestLoop(t, plain{}, 1)
		w := newEcho(l, settings{conns: 1, depth: 16, bytes: size})
		if f, _, err := parseFrame(unmasked(w.calls[0].frame)); err != nil || len(f.payload) != size {
			t.Errorf("a request of %d bytes has %d, error %v", size, len(f.payload), err)
		}
	}
	for _, r := range []room{everyone, 0, 12345} {
		line := appendLine(nil, string(r.append(nil)), textOfSaid(r, firstSeq), firstSeq)
		if got := len(plain{}.appendHeard(nil, r, line)); got != saidSize {
			t.Errorf("a message to %q has %d bytes, want %d", r.append(nil), got, saidSize)
		}
	}
}
