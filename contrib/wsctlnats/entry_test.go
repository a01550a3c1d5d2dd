package wsctlnats

import (
	"bytes"
	"cmp"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

func TestToken(t *testing.T) {
	for topic, want := range map[string]string{
		"rlobby": "rlobby", "r1-a_Z": "r1-a_Z", "a.b": "a=2Eb", "*": "=2A", ">": "=3E", "=": "=3D", " ": "=20", "\x00\xff": "=00=FF", "{é}": "=7B=C3=A9=7D",
		"[`@": "=5B=60=40",
	} {
		if got := token(topic); got != want {
			t.Errorf("token(%q) = %s, want %s", topic, got, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add("a.b", "a=2Eb")
	f.Fuzz(func(t *testing.T, a, b string) {
		if (token(a) == token(b)) != (a == b) {
			t.Errorf("%q and %q have the tokens %s and %s", a, b, token(a), token(b))
		}
		if strings.ContainsAny(token(a), ".*> \t\r\n\x00") {
			t.Errorf("token(%q) = %q", a, token(a))
		}
	})
}

func TestEntry(t *testing.T) {
	for _, e := range []entry{
		{pos: position.Position{Epoch: "e", Offset: 0}, id: "i"},
		{pos: position.Position{Epoch: "e", Offset: 3}, id: "i-1", prev: 12, keep: wsctl.Retention{Messages: 5, Age: time.Minute}, msgs: [][]byte{[]byte("one"), []byte("two"), []byte("3")}},
		{pos: position.Position{Epoch: "e", Offset: 1 << 62}, id: "i", prev: 1 << 63, msgs: [][]byte{bytes.Repeat([]byte{0}, 1<<20)}},
	} {
		got, ok := decode(e.header(), e.encode())
		if !ok || !reflect.DeepEqual(got, e) {
			t.Errorf("decoded %+v, %v of %+v", got, ok, e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	e := entry{pos: position.Position{Epoch: "e", Offset: 3}, id: "i", prev: 7, keep: wsctl.Retention{Messages: 5, Age: time.Minute}, msgs: [][]byte{[]byte("one"), []byte("two")}}
	h := e.header()
	f.Add(h.Get(headerEntry), h.Get(headerExpected), e.encode())
	f.Fuzz(func(t *testing.T, header, expected string, data []byte) {
		e, ok := decode(nats.Header{headerEntry: {header}, headerExpected: {expected}}, data)
		if !ok {
			return
		}
		again, ok := decode(e.header(), e.encode())
		if !ok || !reflect.DeepEqual(again, e) {
			t.Errorf("%+v becomes %+v, %v", e, again, ok)
		}
		if e.pos.Offset < uint64(len(e.msgs)) || e.keep.Messages < 0 || e.keep.Age < 0 {
			t.Errorf("decoded %+v", e)
		}
	})
}

func TestCollect(t *testing.T) {
	const none = "none"
	hour := time.Now().Add(-time.Hour)
	chain := func(entries ...entry) []entry { // as a server stores them
		prev := uint64(0)
		for i := range entries {
			entries[i].seq, entries[i].prev = prev+10, prev
			prev += 10
			if entries[i].time.IsZero() {
				entries[i].time = time.Now()
			}
		}
		return entries
	}
	of := func(epoch string, offset uint64, texts ...string) entry {
		e := entry{pos: position.Position{Epoch: epoch, Offset: offset}, id: "i"}
		for _, text := range texts {
			e.msgs = append(e.msgs, []byte(text))
		}
		return e
	}
	old := of("e", 1, "1")
	old.time = hour
	broken := chain(of("e", 1, "1"), of("e", 2, "2"))
	broken[1].prev = 7
	for name, test := range map[string]struct {
		entries []entry
		after   uint64
		age     time.Duration
		want    string
	}{
		"all":            {chain(of("e", 0), of("e", 1, "1"), of("e", 3, "2", "3")), 0, 0, "1 2 3"},
		"within entry":   {chain(of("e", 1, "1"), of("e", 3, "2", "3")), 2, 0, "3"},
		"nothing":        {chain(of("e", 1, "1"), of("e", 1)), 1, 0, ""},
		"trimmed":        {chain(of("e", 3, "2", "3"))[0:], 0, 0, none},
		"just trimmed":   {chain(of("e", 3, "2", "3")), 1, 0, "2 3"},
		"too old":        {chain(old, of("e", 2, "2")), 0, time.Minute, none},
		"old and known":  {chain(old, of("e", 2, "2")), 1, time.Minute, "2"},
		"old enough":     {chain(old, of("e", 2, "2")), 0, 2 * time.Hour, "1 2"},
		"epoch before":   {chain(of("d", 9, "9"), entry{}, of("e", 0), of("e", 1, "1")), 0, 0, "1"},
		"epoch after":    {chain(of("e", 1, "1"), of("f", 0)), 0, 0, none},
		"stranger after": {chain(of("e", 1, "1"), entry{}), 0, 0, none},
		"broken chain":   {broken, 0, 0, none},
		"gap":            {chain(of("e", 1, "1"), of("e", 3, "3")), 0, 0, none},
		"none":           {nil, 0, 0, none},
	} {
		msgs, last, ok := collect(test.entries, position.Position{Epoch: "e", Offset: test.after}, cmp.Or(test.age, 24*time.Hour))
		got := string(bytes.Join(msgs, []byte(" ")))
		if !ok {
			got = none
		}
		if got != test.want || ok && last.seq != test.entries[len(test.entries)-1].seq || !ok && msgs != nil && test.entries == nil {
			t.Errorf("%s: %s, %+v, want %s", name, got, last, test.want)
		}
	}
}
