package wsctl

import (
	"bytes"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl/internal/position"
)

// recall is what a client of wsctl.v1, whose session is lost, remembers of it: how far it has got in rooms that keep history.
type recall struct {
	socket string // hash of the lost session, which its Socket.ID began with; empty: there was none

	mu        sync.Mutex // guards following; taken after the hub's
	positions map[string]position.Position
	until     time.Time
}

const (
	maxRecall  = 100         // positions of a $hello
	recallTime = time.Minute // that they are good for
)

// parseRecall reads the member rooms of $hello, the newest first: an object of positions by room, or a list of objects as $room's.
// What is wrong with it is ignored: then rooms aren't recovered.
func parseRecall(rooms jsontext.Value, session string) *recall {
	r := &recall{positions: make(map[string]position.Position), until: time.Now().Add(recallTime)}
	if session != "" {
		r.socket = socketID(session)
	}
	d := jsontext.NewDecoder(bytes.NewReader(rooms))
	switch start, err := d.ReadToken(); {
	case len(rooms) == 0 || err != nil:
		return nil
	case start.Kind() == '{':
		for len(r.positions) < maxRecall && d.PeekKind() == '"' {
			name, _ := d.ReadToken()
			room := name.String()
			value, err := d.ReadValue()
			if err != nil {
				break
			}
			r.add(room, value)
		}
	case start.Kind() == '[':
		for len(r.positions) < maxRecall && d.PeekKind() == '{' {
			var one struct {
				Room string         `json:"room"`
				Pos  jsontext.Value `json:"pos"`
			}
			if json.UnmarshalDecode(d, &one) != nil {
				break
			}
			r.add(one.Room, one.Pos)
		}
	}
	if len(r.positions) == 0 {
		return nil
	}
	return r
}

// add takes a position. One that is none is kept as such: the client is told that it isn't recovered.
func (r *recall) add(room string, value jsontext.Value) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		r.positions[room], _ = position.Parse(text)
	}
}

// recalled returns what s's client remembers of a lost session; nil: nothing.
func (s *Socket) recalled() *recall {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil
	}
	return s.session.recall
}

// of returns the position that the client had in a room.
func (r *recall) of(room string) (pos position.Position, ok bool) {
	if r == nil {
		return pos, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pos, ok = r.positions[room]
	return pos, ok && time.Now().Before(r.until)
}

// has tells whether there is still a position, however old.
func (r *recall) has(room string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.positions[room]
	return ok
}

// use forgets the position, which is good for one join.
func (r *recall) use(room string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.positions, room)
}

// prolong has the positions be good for another while: a join couldn't use them, for no fault of the client's.
func (r *recall) prolong() {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.until = time.Now().Add(recallTime)
	}
}

// over tells whether nothing more will be used.
func (r *recall) over(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.positions) == 0 || now.After(r.until)
}
