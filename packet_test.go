package wsctl

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wsctl/wsctl/internal/position"
)

// packets are one of each kind, and of each shape that a kind has.
func packets() []*packet {
	key := roomKey{kindRoom, "lobby"}
	body := []byte(`{"type":"said","data":"hi"}`)
	odd := "\x00 é\xff" + strings.Repeat("x", 200) // a length of two bytes
	all := []*packet{
		{kind: packetMessage, body: body},
		{kind: packetMessage, body: []byte(`{"type":"t"}`), except: []string{"a.n1", "", odd}},
		{kind: packetMessage, body: body, policy: policyOldest, typ: "said"},
		{kind: packetMessage, body: body, policy: policyLatest, typ: "said", evKey: odd, except: []string{"a"}},
		{kind: packetDirect, key: roomKey{kindSocket, "a.n1"}, body: body},
		{kind: packetDirect, key: roomKey{kindSocket, odd}, body: body, policy: policyNewest, typ: "said"},
		{kind: packetClose, key: key, code: 4999, reason: "over"},
		{kind: packetClose, key: roomKey{kindEveryone, ""}, except: []string{"a.n1", "b.n2"}, code: 1000},
		{kind: packetSession, session: "hash", user: "ann"},
		{kind: packetSession, session: odd},
		{kind: packetBeat},
		{kind: packetBeat, flags: beatAsk | beatBye},
		{kind: packetAsk, key: key, request: 1 << 40},
		{kind: packetAsk, key: roomKey{kindUser, odd}, watch: true, known: []nodeVersion{{"n2", 0}, {"n3", 1<<64 - 1}}},
		{kind: packetMembers, key: key, request: 7},
		{kind: packetMembers, key: key, version: 300, more: true, members: []Presence{{Member{"a.n1", "ann"}, true}, {Member{odd, ""}, true}}},
		{kind: packetChange, key: key, before: 299, version: 300, members: []Presence{{Member{"a.n1", "ann"}, false}, {Member{"b.n1", ""}, true}}},
	}
	for i, p := range all {
		p.node, p.seq = "n1", uint64(i)<<20
	}
	return all
}

func TestPacket(t *testing.T) {
	kinds := map[packetKind]bool{}
	for _, p := range packets() {
		kinds[p.kind] = true
		got, err := decodePacket(p.encode())
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v came as %+v, %v", p, got, err)
		}
	}
	for k := packetKind(1); k < packetKinds; k++ {
		if !kinds[k] {
			t.Errorf("no packet of kind %d is tried", k)
		}
	}
}

// TestPacketCut has packets end early. A message's JSON, and what follows the rest, say themselves where they end.
func TestPacketCut(t *testing.T) {
	for _, p := range packets() {
		whole := p.encode()
		for n := range whole {
			if got, err := decodePacket(whole[:n]); err == nil {
				t.Errorf("%d of %d bytes of %+v came as %+v", n, len(whole), p, got)
			}
		}
	}
}

func TestPacketFaults(t *testing.T) {
	whole := func(kind packetKind, rest string) string {
		return packetMagic + string([]byte{packetVersion, byte(kind)}) + rest
	}
	const from = "\x02n1\x07" // node and number
	for name, c := range map[string]struct {
		b    string
		want error
	}{
		"nothing":           {"", errStranger},
		"a stranger's":      {`{"type":"said"}`, errStranger},
		"the beginning":     {packetMagic + "\x01", errStranger},
		"a later version":   {packetMagic + "\x02\x05" + from + "\x00", errVersion},
		"no kind":           {whole(0, from), errVersion},
		"a later kind":      {whole(packetKinds, from), errVersion},
		"no node":           {whole(packetBeat, "\x00\x07\x00"), errPacket},
		"a node too long":   {whole(packetBeat, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01n"), errPacket},
		"a number too long": {whole(packetBeat, "\x02n1\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00"), errPacket},
		"too many excepted": {whole(packetMessage, from+"\xff\xff\xff\xff\x0f"+"\x00"+`{"type":"t"}`), errPacket},
		"too many members":  {whole(packetMembers, from+"\x01\x01r\x00\x01\x00"+"\xff\xff\xff\xff\x0f"), errPacket},
		"an unknown policy": {whole(packetMessage, from+"\x00\x04"+`{"type":"t"}`), errPacket},
		"no message":        {whole(packetMessage, from+"\x00\x00"), errPacket},
		"no JSON":           {whole(packetMessage, from+"\x00\x00"+`{"type":"t"`), errPacket},
		"more than JSON":    {whole(packetMessage, from+"\x00\x00"+`{"type":"t"} `), errPacket},
		"a call":            {whole(packetMessage, from+"\x00\x00"+`{"type":"t","id":1}`), errPacket},
		"the protocol's":    {whole(packetMessage, from+"\x00\x00"+`{"type":"$welcome"}`), errPacket},
		"no type":           {whole(packetDirect, from+"\x01a\x00"+`{"data":1}`), errPacket},
	} {
		if p, err := decodePacket([]byte(c.b)); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, not %v", name, p, err, c.want)
		}
	}
}

// FuzzPacket decodes anything. What is a packet comes the same when it is encoded again, and a message of it is one that clients
// can be sent, with its place in a room as well.
func FuzzPacket(f *testing.F) {
	for _, p := range packets() {
		f.Add(p.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		p, err := decodePacket(b)
		if !bytes.Equal(b, before) {
			t.Fatal("decoding has changed it")
		}
		if err != nil {
			return
		}
		again, err := decodePacket(p.encode())
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v came again as %+v, %v", p, again, err)
		}
		if p.body == nil {
			return
		}
		for _, body := range [][]byte{p.body, placed(p.body, "a \"room\"", position.Position{Epoch: "e", Offset: 7})} {
			e, err := scan(body)
			if err != nil || checkType(string(e.typ)) != nil || !utf8.Valid(body) {
				t.Fatalf("%q is sent: %v", body, err)
			}
		}
	})
}
