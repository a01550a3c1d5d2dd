package client

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The client's half of the model of sessions: one step a word, and what is left. The steps are named as in the model.
func TestSession(t *testing.T) {
	tests := []struct {
		name  string
		steps string
		want  string // base, numbered, sent, received, then the queue; what next gave and what was lost are in between
	}{
		{"sends before the first connection", "send:a send:b dial new:s1 write write write", "hello(,0,1) a b - | 0 2 2 0 ab"},
		{"an ack frees", "dial new:s1 send:a send:b write write ack:1", "hello(,0,1) a b | 1 1 1 0 b"},
		{"a lower ack is ignored", "dial new:s1 send:a send:b write write ack:2 ack:1 ack:0", "hello(,0,1) a b | 2 0 0 0 "},
		{"an ack above what was sent", "dial new:s1 send:a send:b write ack:2", "hello(,0,1) a error | 0 1 1 0 ab"},
		{"resumed: what the server lacks is sent again", "dial new:s1 send:a send:b send:c write write read read dial old:s1:1 write write write",
			"hello(,0,1) a b hello(s1,2,2) b c - | 1 2 2 2 bc"},
		{"resumed: the server has all", "dial new:s1 send:a write dial old:s1:1 write", "hello(,0,1) a hello(s1,0,2) - | 1 0 0 0 "},
		{"an ack before the resend is above what was sent here", "dial new:s1 send:a send:b write write dial old:s1:0 ack:1",
			"hello(,0,1) a b hello(s1,0,2) error | 0 2 0 0 ab"},
		{"lost again before the resend: still numbered", "dial new:s1 send:a write dial old:s1:0 dial old:s1:1 write",
			"hello(,0,1) a hello(s1,0,2) hello(s1,0,3) - | 1 0 0 0 "},
		{"received below what was acknowledged", "dial new:s1 send:a write ack:1 dial old:s1:0", "hello(,0,1) a hello(s1,0,2) error | 1 0 0 0 "},
		{"received above what was written", "dial new:s1 send:a send:b write dial old:s1:2", "hello(,0,1) a hello(s1,0,2) error | 0 1 0 0 ab"},
		{"resumed without a session", "dial old:s1:0", "hello(,0,1) error | 0 0 0 0 "},
		{"resumed as another one", "dial new:s1 dial old:s2:0", "hello(,0,1) hello(s1,0,2) error | 0 0 0 0 "},
		{"not resumed: what was written is lost, the rest goes on", "dial new:s1 read send:a send:b write dial new:s2 write write",
			"hello(,0,1) a hello(s1,1,2) lost(a) b - | 0 1 1 0 b"},
		{"not resumed: answers die with their session", "dial new:s1 dial send:a bound:x send:b new:s2 write write write",
			"hello(,0,1) hello(s1,0,2) a b - | 0 2 2 0 ab"},
		{"resumed: answers live on", "dial new:s1 bound:x dial old:s1:0 write", "hello(,0,1) hello(s1,0,2) x | 0 1 1 0 x"},
		{"4409: as new", "dial new:s1 read send:a send:b write forget dial new:s2 write", "hello(,0,1) a lost(a) hello(,0,2) b | 0 1 1 0 b"},
		{"without a number it can be withdrawn", "send:a send:b withdraw:a dial new:s1 write write", "yes hello(,0,1) b - | 0 1 1 0 b"},
		{"with a number it can't", "dial new:s1 send:a write dial withdraw:a old:s1:0 write", "hello(,0,1) a hello(s1,0,2) no a | 0 1 1 0 a"},
		{"a session that isn't resumable keeps nothing", "dial none: send:a send:b write dial none: write write", "hello(,0,1) a hello(,0,2) b - | 0 0 0 0 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := play(t, tt.steps); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func play(t *testing.T, steps string) string {
	var s session
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	names := func(ms []*message) (r string) {
		for _, m := range ms {
			r += string(m.data)
		}
		return r
	}
	all := map[string]*message{}
	for step := range strings.FieldsSeq(steps) {
		f := append(strings.Split(step, ":"), "", "")
		var n uint64
		_, _ = fmt.Sscan(f[slices.Index(f, "")-1], &n) // the last, where it is a number
		switch f[0] {
		case "send", "bound":
			m := &message{data: []byte(f[1]), bound: f[0] == "bound"}
			all[f[1]] = m
			s.send(m)
		case "write":
			if m := s.next(); m != nil {
				say("%s", m.data)
			} else {
				say("-")
			}
		case "dial":
			id, received, try := s.dial()
			say("hello(%s,%d,%d)", id, received, try)
		case "new", "none", "old":
			lost, err := s.readWelcome(f[1], f[0] == "old", map[bool]uint64{true: n}[f[0] == "old"], f[0] != "none")
			if len(lost) > 0 {
				say("lost(%s)", names(lost))
			}
			if err != nil {
				say("error")
			}
		case "ack":
			if s.readAck(n) != nil {
				say("error")
			}
		case "read":
			s.readData()
		case "forget":
			say("lost(%s)", names(s.forget()))
		case "withdraw":
			say("%s", map[bool]string{true: "yes", false: "no"}[s.withdraw(all[f[1]])])
		default:
			t.Fatalf("no step %s", step)
		}
		size := 0
		for _, m := range s.queue {
			size += len(m.data)
		}
		if size != s.bytes || s.numbered > len(s.queue) || s.sent > s.numbered {
			t.Fatalf("after %s: %d bytes of %d, %d numbered, %d sent of %d", step, s.bytes, size, s.numbered, s.sent, len(s.queue))
		}
	}
	say("| %d %d %d %d %s", s.base, s.numbered, s.sent, s.received, names(s.queue))
	return strings.Join(out, " ")
}
