//go:build unix

package chaos

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/wsctl/wsctl/internal/position"
)

// truth is what the broker has kept, read past all proxies and hubs.
type truth struct {
	w *world
	b broker

	mu    sync.Mutex // guards following
	rooms map[string]*record
}

// record is the history of a room.
type record struct {
	newest position.Position
	texts  map[position.Position]string
	holes  int // messages that were gone before they were read: of rooms that keep few
}

func newTruth(w *world, b broker, rooms []string) *truth {
	tr := &truth{w: w, b: b, rooms: make(map[string]*record)}
	for _, room := range rooms {
		tr.rooms[room] = &record{texts: make(map[position.Position]string)}
	}
	return tr
}

// follow reads on until ctx is over.
func (tr *truth) follow(ctx context.Context) {
	for pause(ctx, 100*time.Millisecond) {
		_ = tr.read() // the server may be away
	}
}

// ours finds the text in a message of hubs.
var ours = regexp.MustCompile(`<\d+\.\d+>`)

// read reads what is new in all rooms.
func (tr *truth) read() error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for room, r := range tr.rooms {
		pos := ""
		if r.newest.Epoch != "" {
			pos = r.newest.String()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		msgs, n, ok, err := tr.b.Since(ctx, "r"+room, pos)
		cancel()
		if err != nil {
			return err
		}
		newest, valid := position.Parse(n)
		switch {
		case !valid:
			tr.w.fault("the broker, room %s: newest is %q", room, n)
			continue
		case pos == "" && newest.Offset > 0: // not from the beginning
			tr.w.fault("the broker, room %s: begins at %s", room, newest)
		case newest.Epoch != r.newest.Epoch && pos != "":
			tr.w.fault("the broker, room %s: %s after %s", room, newest, pos)
		case !ok && newest.Offset < r.newest.Offset:
			tr.w.fault("the broker, room %s: goes back from %s to %s", room, pos, newest)
		case !ok:
			r.holes += int(newest.Offset - r.newest.Offset)
			if !small(room) {
				tr.w.fault("the broker, room %s: what came after %s, up to %s, isn't kept any more", room, pos, newest)
			}
		}
		for i, msg := range msgs {
			p := position.Position{Epoch: newest.Epoch, Offset: newest.Offset - uint64(len(msgs)-1-i)}
			text := ours.Find(msg)
			if text == nil {
				tr.w.fault("the broker, room %s: at %s is %q", room, p, fmt.Sprintf("%.100q", msg))
			}
			r.texts[p] = string(text)
		}
		r.newest = newest
	}
	return nil
}

// behind tells who isn't up to date, when the broker is asked; empty: everybody is.
func (tr *truth) behind() string {
	if err := tr.read(); err != nil {
		return fmt.Sprintf("the broker can't be read: %v", err)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	n, first := 0, ""
	for _, m := range tr.w.members {
		for room := range m.seats {
			if at := m.where(room); at != tr.rooms[room].newest {
				if n++; first == "" {
					m.mu.Lock()
					first = fmt.Sprintf("member %d (%v) is at %s of room %s, whose newest is %s; %s", m.id, m.c.State(), at, room, tr.rooms[room].newest, m.seats[room].history())
					m.mu.Unlock()
				}
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d seats are behind: %s", n, first)
}

// check compares what was sent, what is kept and what was delivered. Each member's order was looked at as it came.
func (tr *truth) check() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	w := tr.w
	attempts := make(map[string]*message)
	for _, m := range w.members {
		for _, msg := range m.sent {
			attempts[msg.text] = msg
			w.count.sent++
			if msg.accepted {
				w.count.accepted++
			}
		}
	}
	place := make(map[string]position.Position) // of each text
	rooms := make(map[string]string)
	for room, r := range tr.rooms {
		for p, text := range r.texts {
			if other, ok := place[text]; ok {
				w.fault("room %s: %s is kept twice: %s, %s of room %s", room, text, p, other, rooms[text])
			}
			if a := attempts[text]; a == nil || a.room != room {
				w.fault("room %s: %s is kept, which nobody sent there", room, text)
			}
			place[text], rooms[text] = p, room
		}
	}
	for _, m := range w.members {
		for room, s := range m.seats {
			r := tr.rooms[room]
			for p, text := range s.got {
				if kept, ok := r.texts[p]; ok && kept != text {
					w.fault("member %d, room %s: got %s at %s, where %s is kept", m.id, room, text, p, kept)
				} else if !ok && r.holes == 0 {
					w.fault("member %d, room %s: got %s at %s, which isn't kept", m.id, room, text, p)
				} else if a := attempts[text]; a == nil || a.room != room {
					w.fault("member %d, room %s: got %s, which nobody sent there", m.id, room, text)
				} else if !ok { // gone before it was read: members agree on it, at least
					r.texts[p] = text
					if other, ok := place[text]; ok {
						w.fault("room %s: %s was delivered at %s, and is kept at %s", room, text, p, other)
					}
					place[text], rooms[text] = p, room
				}
			}
		}
	}
	for _, msg := range attempts {
		_, ok := place[msg.text]
		switch {
		case ok && !msg.accepted:
			w.count.unsure++
		case !ok && msg.accepted && tr.rooms[msg.room].holes == 0:
			w.fault("room %s: %s was accepted, but isn't kept", msg.room, msg.text)
		case !ok && msg.accepted:
			w.count.unknown++
		}
	}
}
