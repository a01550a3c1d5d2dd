package client

import (
	"cmp"
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxRooms   = 100  // whose positions are remembered
	roomsBytes = 6000 // of $hello, at most
)

// Message is a message of the server with what comes beside its data; see [OnMessage].
type Message[T any] struct {
	Data T
	Room string // that the message was sent to, if that room keeps history; else empty
	Pos  string // its position in the room, opaque
}

// RoomState is the data of $room, by which the server tells what became of a room that keeps history; see [On]. Where it says
// that messages are missing, an application reads its state anew:
//
//	client.On(c, "$room", func(r client.RoomState) {
//		if r.Missed() {
//			reload(r.Room)
//		}
//	})
type RoomState struct {
	Room      string `json:"room"`
	Pos       string `json:"pos"`       // where the client is in the room; empty: it has been taken out of it
	Recovered *bool  `json:"recovered"` // nil: there was nothing to recover; true: what was missed follows
}

// Missed reports whether messages of the room are missing that the server hasn't got any more. They come before this $room;
// those that follow are complete again.
func (r RoomState) Missed() bool { return r.Recovered != nil && !*r.Recovered }

// positions remembers where the client is in rooms that keep history: at the last message that waits for functions of the
// user, or has been there. The zero value is ready for use.
type positions struct {
	of    map[string]position
	moves uint64
}

type position struct {
	pos  string
	move uint64 // the larger, the newer
}

// set remembers a position, and forgets the oldest above maxRooms.
func (p *positions) set(room, pos string) {
	if p.of == nil {
		p.of = map[string]position{}
	}
	p.moves++
	p.of[room] = position{pos, p.moves}
	if len(p.of) <= maxRooms {
		return
	}
	oldest := room
	for name, at := range p.of {
		if at.move < p.of[oldest].move {
			oldest = name
		}
	}
	delete(p.of, oldest)
}

// state takes the data of $room. A position of null says that the client is no longer in the room; without one nothing changes.
func (p *positions) state(data jsontext.Value) {
	var s struct {
		Room string         `json:"room"`
		Pos  jsontext.Value `json:"pos"`
	}
	var pos string
	switch {
	case decode(data, &s) != nil || s.Room == "" || s.Pos == nil:
	case s.Pos.Kind() == 'n':
		delete(p.of, s.Room)
	case decode(s.Pos, &pos) == nil && pos != "":
		p.set(s.Room, pos)
	}
}

// hello is rooms of $hello: an object, the newest first, of no more than limit bytes; nil: none.
func (p *positions) hello(limit int) jsontext.Value {
	newest := slices.SortedFunc(maps.Keys(p.of), func(a, b string) int { return cmp.Compare(p.of[b].move, p.of[a].move) })
	b := []byte{'{'}
	for _, room := range newest {
		n := len(b)
		if n > 1 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, room) // both have been read from JSON, so they are UTF-8
		b = append(b, ':')
		b, _ = jsontext.AppendQuote(b, p.of[room].pos)
		if len(b) >= limit {
			b = b[:n]
			break
		}
	}
	if len(b) == 1 {
		return nil
	}
	return append(b, '}')
}
