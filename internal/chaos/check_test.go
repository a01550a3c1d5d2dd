//go:build unix

package chaos

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/position"
)

// stored is a broker that has this history, and does nothing else.
type stored struct {
	broker
	msgs []string // "text", the first at e.1
	lost int      // so many aren't kept any more
}

func (s *stored) Since(_ context.Context, _, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	newest = fmt.Sprintf("e.%d", len(s.msgs))
	p, valid := position.Parse(pos)
	if !valid || p.Epoch != "e" || int(p.Offset) < s.lost {
		return nil, newest, pos == "", nil
	}
	for _, msg := range s.msgs[p.Offset:] {
		msgs = append(msgs, []byte("envelope"+msg+"…"))
	}
	return msgs, newest, true, nil
}

// The checks find what must not be. A script is what a member gets: "1" is message 1 at its place, "3@2" another one there,
// "+e.1" a $room that says recovered, "-e.1" one that says that messages are missing, "=e.1" one that says nothing.
func TestChecks(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"all", "=e.0 1 2 3 4", ""},
		{"another session", "=e.0 1 2 +e.2 3 4", ""},
		{"told of missing messages", "=e.0 1 -e.3 4", ""},
		{"told, and none is missing", "=e.0 1 -e.1 2 3 4", ""},
		{"joins later", "=e.2 3 4", ""},
		{"a gap", "=e.0 1 3 4", "doesn't follow e.1"},
		{"a gap at the end", "=e.0 1 2 3", "is at e.3"},
		{"twice", "=e.0 1 1 2 3 4", "was at that position before"},
		{"out of order", "=e.0 2 1 3 4", "doesn't follow e.0"},
		{"told nothing", "1 2 3 4", "doesn't follow"},
		{"another session, with a gap", "=e.0 1 =e.3 4", "isn't told"},
		{"recovered elsewhere", "=e.0 1 2 +e.1 2 3 4", "isn't told"},
		{"told to go back", "=e.0 1 2 -e.1 2 3 4", "it was at e.2 before"},
		{"another epoch", "=e.0 1 2 3 4 -f.0 =e.4", "isn't told"},
		{"another message", "=e.0 1 3@2 3 4", "where <1.2> is kept"},
		{"nobody's message", "=e.0 1 2 3 4 9@5", "<1.9> at e.5, which isn't kept"},
		{"bad position", "=e.0 1 2 3 4 =x", `position "x"`},
		{"recovered at the first join", "=e.0 +e.0 1 2 3 4", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			faults := runScript("room", tc.script, []string{"<1.1>", "<1.2>", "<1.3>", "<1.4>"}, 0)
			if tc.want == "" && faults != "" || !strings.Contains(faults, tc.want) {
				t.Errorf("faults: %q, want %q", faults, tc.want)
			}
		})
	}
}

// What is kept is compared with what was sent: 1 to 4, of which 4 was not accepted.
func TestChecksOfTheBroker(t *testing.T) {
	for _, tc := range []struct {
		name string
		msgs []string
		lost int
		want string
	}{
		{"all", []string{"<1.1>", "<1.2>", "<1.3>", "<1.4>"}, 0, ""},
		{"not what failed", []string{"<1.1>", "<1.2>", "<1.3>"}, 0, ""},
		{"another order", []string{"<1.4>", "<1.2>", "<1.1>", "<1.3>"}, 0, ""},
		{"not what was accepted", []string{"<1.1>", "<1.2>", "<1.4>"}, 0, "<1.3> was accepted, but isn't kept"},
		{"twice", []string{"<1.1>", "<1.2>", "<1.2>", "<1.3>"}, 0, "<1.2> is kept twice"},
		{"nobody's", []string{"<1.1>", "<1.2>", "<1.3>", "<2.1>"}, 0, "<2.1> is kept, which nobody sent there"},
		{"unreadable", []string{"<1.1>", "<1.2>", "<1.3>", "?"}, 0, "at e.4 is"},
		{"gone too soon", []string{"<1.1>", "<1.2>", "<1.3>"}, 1, "isn't kept any more"},
		{"small, gone too soon", []string{"<1.1>", "<1.2>", "<1.3>"}, 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			room := "room"
			if small(tc.name) {
				room = "small room"
			}
			faults := runScript(room, fmt.Sprintf("=e.%d", len(tc.msgs)), tc.msgs, tc.lost)
			if tc.want == "" && faults != "" || !strings.Contains(faults, tc.want) {
				t.Errorf("faults: %q, want %q", faults, tc.want)
			}
		})
	}
}

// What is counted must be plausible.
func TestChecksOfCounts(t *testing.T) {
	for _, tc := range []struct {
		name                                   string
		sent, accepted                         int
		deliveries, recovered, told, toldSmall int64
		want                                   string
	}{
		{"all is well", 300, 260, 20_000, 1000, 0, 50, ""},
		{"hard times", 300, 80, 5000, 500, 50, 50, ""},
		{"nothing sent", 0, 0, 0, 500, 0, 0, "0 of 0 messages"},
		{"nothing accepted", 300, 0, 0, 500, 0, 0, "0 of 300 messages"},
		{"nothing delivered", 300, 260, 0, 500, 0, 0, "0 deliveries"},
		{"nothing recovered", 300, 260, 20_000, 0, 0, 0, "recovered 0 times"},
		{"much not recovered", 300, 260, 20_000, 600, 200, 0, "missing messages 200 times"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var faults string
			w := &world{fail: func(text string) { faults += text + "\n" }}
			w.count.sent, w.count.accepted = tc.sent, tc.accepted
			w.count.deliveries.Store(tc.deliveries)
			w.count.recovered.Store(tc.recovered)
			w.count.told.Store(tc.told)
			w.count.toldSmall.Store(tc.toldSmall)
			w.checkCounts()
			if tc.want == "" && faults != "" || !strings.Contains(faults, tc.want) {
				t.Errorf("faults: %q, want %q", faults, tc.want)
			}
		})
	}
}

// runScript returns the faults that are found.
func runScript(room, script string, history []string, lost int) (faults string) {
	w := &world{kinds: make(map[string]int), fail: func(text string) { faults += text + "\n" }}
	m := newMember(w, 1, []string{room})
	m.c = client.New("ws://nowhere", nil) // only its state is asked
	for n := range 4 {
		m.sent = append(m.sent, &message{room, fmt.Sprintf("<1.%d>", n+1), n < 3})
	}
	w.members = append(w.members, m)
	b := &stored{}
	w.truth = newTruth(w, b, []string{room})
	_ = w.truth.read()
	b.msgs, b.lost = history, lost
	_ = w.truth.read()
	steps := regexp.MustCompile(`([=+-])?([^ @]+)(?:@(\S+))?`)
	for _, step := range steps.FindAllStringSubmatch(script, -1) {
		mark, what, at := step[1], step[2], step[3]
		if at == "" {
			at = what
		}
		yes, no := true, false
		switch mark {
		case "":
			m.said(client.Message[line]{Data: line{room, "<1." + what + ">xxx"}, Room: room, Pos: "e." + at})
		case "=":
			m.told(client.RoomState{Room: room, Pos: what})
		case "+":
			m.told(client.RoomState{Room: room, Pos: what, Recovered: &yes})
		case "-":
			m.told(client.RoomState{Room: room, Pos: what, Recovered: &no})
		}
	}
	if behind := w.truth.behind(); behind != "" {
		w.fault("%s", behind)
	}
	w.truth.check()
	return faults
}
