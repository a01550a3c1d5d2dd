package wsctl

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl/internal/position"
)

// recall is what a client of wsctl.v1, whose session is lost, remembers of it: how far it has got in rooms that keep history.
type recall struct {
	socket    string // hash of the lost session, which its Socket.ID began with; empty: there was none
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

// recalls returns the position that the client had in a room, once, and the socket that it had then.
func (s *Socket) recalls(room string) (pos position.Position, socket string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil || s.session.recall == nil {
		return pos, "", false
	}
	r := s.session.recall
	if pos, ok = r.positions[room]; ok {
		delete(r.positions, room)
	}
	if time.Now().After(r.until) {
		s.session.recall, ok = nil, false
	} else if len(r.positions) == 0 {
		s.session.recall = nil
	}
	return pos, r.socket, ok
}

// roomFrame is $room. An empty pos means that the client forgets the room's; an empty recovered is left out.
func roomFrame(room, pos, recovered string) []byte {
	b := appendString([]byte(`{"type":"$room","data":{"room":`), room)
	b = append(b, `,"pos":`...)
	if pos == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, pos)
	}
	if recovered != "" {
		b = append(append(b, `,"recovered":`...), recovered...)
	}
	return textFrame(append(b, "}}"...))
}

// joinKept joins a room that keeps history: a client that has a position in it gets what it has missed since, between the
// position and the next message, and is told if it can't.
func (t *topic) joinKept(s *Socket) error {
	l, h := t.l, t.l.h
	h.mu.Lock()
	if r := h.rooms[t.key]; s.left || r != nil && s.rooms.find(r) >= 0 {
		defer h.mu.Unlock()
		if s.left {
			return ErrClosed
		}
		return nil
	}
	h.mu.Unlock()
	if s.session == nil { // it couldn't be told, nor come back with a position
		return h.joinTopic(s, t.key, t)
	}
	from, socket, asked := s.recalls(t.key.name)
	var found missed
	if asked && from.Epoch != "" {
		h.mu.Lock()
		t.recovering++
		h.mu.Unlock()
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if t.recovering--; t.recovering == 0 {
				t.recent = nil
			}
		}()
		found = t.find(from, socket, s.out.limit()/2)
	}
	h.mu.Lock()
	for {
		flush, err := h.catchUpLocked(s)
		if err == nil && !s.left {
			var first, rest []byte
			var messages int32
			recovered := "null"
			if asked {
				recovered = "false"
				if rest, messages, err = t.missedLocked(found, socket, s.out.limit()/2); err == nil {
					recovered = "true"
				}
			}
			pos := t.pos
			if recovered == "true" {
				pos = from
			}
			first = roomFrame(t.key.name, pos.String(), recovered)
			var more bool
			more, err = s.out.pushOwn(append(first, rest...), messages+1)
			if err == errFlushFirst {
				h.mu.Unlock()
				s.out.flush()
				h.mu.Lock()
				continue
			}
			if flush = flush || more; err == nil {
				h.joinLocked(s, t.key, t)
			}
			switch {
			case recovered == "true":
				l.recovered.Add(1)
			case recovered == "false":
				l.notRecovered.Add(1)
			}
		}
		left := s.left
		h.mu.Unlock()
		s.pushed(flush, err)
		if left {
			return ErrClosed
		}
		return err
	}
}

// missed is what a client has missed of a room, as far as the history said.
type missed struct {
	ok    bool
	from  position.Position // of the client
	to    position.Position // of the newest that the history had
	all   []delivery
	bytes int
}

// find asks the history what came after from. recovering is above 0, so that nothing gets lost between its answer and the join.
func (t *topic) find(from position.Position, socket string, limit int) (m missed) {
	l, h := t.l, t.l.h
	m.from, m.to = from, from
	h.mu.Lock()
	m.ok = t.pos == from
	h.mu.Unlock()
	if m.ok || l.down.Load() {
		return m
	}
	ctx, cancel := l.limit()
	defer cancel()
	msgs, newest, ok, err := l.since(ctx, t, from)
	if err != nil || !ok {
		return m
	}
	for _, msg := range msgs {
		m.bytes += len(msg)
	}
	if m.bytes > limit {
		return m
	}
	m.ok, m.to, m.all = true, newest, t.deliveries(from, msgs)
	t.await(ctx, from)
	return m
}

// await waits until this node's members have been given what a client has that was with another node: what it needs comes after
// that.
func (t *topic) await(ctx context.Context, pos position.Position) {
	h := t.l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for t.state == topicOpen && (t.pos.Epoch != pos.Epoch || t.pos.Offset < pos.Offset) && ctx.Err() == nil {
		t.findLocked() // it may have been lost on its way here
		if t.moved == nil {
			t.moved = make(chan struct{})
		}
		moved := t.moved
		h.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
		}
		h.mu.Lock()
	}
}

// missedLocked returns the frames of what comes after m.from, up to the topic's position. The error says that some of it can't be
// had, or that it is too much. mu is held.
func (t *topic) missedLocked(m missed, socket string, limit int) (frames []byte, messages int32, err error) {
	if !m.ok || t.pos.Epoch != m.from.Epoch || t.pos.Offset < m.from.Offset {
		return nil, 0, errLost
	}
	all := m.all
	if m.to.Offset < t.pos.Offset {
		for _, d := range t.recent {
			if d.follows(m.to) {
				all = append(all, d)
				m.to = d.at
			}
		}
	}
	if m.to.Offset < t.pos.Offset {
		return nil, 0, errLost
	}
	skipped := false
	for _, d := range all[:t.pos.Offset-m.from.Offset] {
		switch {
		case d.lost:
			return nil, 0, errLost
		case d.p == nil || d.p.excepts(socket):
			skipped = true
			continue
		}
		skipped = false
		frames = append(frames, d.frames.plain...)
		messages++
	}
	if len(frames) > limit {
		return nil, 0, errLost
	}
	if skipped { // the client is further than its last message says
		frames = append(frames, roomFrame(t.key.name, t.pos.String(), "")...)
		messages++
	}
	return frames, messages, nil
}

// excepts tells whether a message was not for a socket, by the hash that its ID begins with.
func (p *packet) excepts(hash string) bool {
	for _, id := range p.except {
		if had, _, _ := strings.Cut(id, "."); hash != "" && had == hash {
			return true
		}
	}
	return false
}

// leftLocked tells a client that has left to forget its position. mu is held.
func (t *topic) leftLocked(s *Socket) (flush bool, err error) {
	if s.session == nil || !t.keep.keeps() {
		return false, nil
	}
	return s.out.pushOwn(roomFrame(t.key.name, "", ""), 1)
}

// staleMember is a member that didn't get the newest message of a room, by Except, and has to be told its position some time.
type staleMember struct {
	s   *Socket
	t   *topic
	due time.Time
}

// skippedLocked notes that members didn't get the newest message of a topic. mu is held.
func (l *link) skippedLocked(t *topic, except []*Socket) {
	for _, s := range except {
		r := l.h.rooms[t.key]
		if r == nil || s.session == nil {
			continue
		}
		i := s.rooms.find(r)
		if i < 0 || s.rooms.list[i].stale {
			continue
		}
		s.rooms.list[i].stale = true
		every := s.h.opts.PingInterval
		if every <= 0 {
			every = defaultPingInterval
		}
		l.stale = append(l.stale, staleMember{s, t, time.Now().Add(every)})
		l.tickLocked()
	}
}

// tellPositions tells the members that are due.
func (l *link) tellPositions(now time.Time) {
	h := l.h
	h.mu.Lock()
	var due, later []staleMember
	for _, m := range l.stale {
		if now.Before(m.due) {
			later = append(later, m)
		} else {
			due = append(due, m)
		}
	}
	l.stale = later
	h.mu.Unlock()
	for _, m := range due {
		h.mu.Lock()
		flush, err := h.catchUpLocked(m.s)
		if r := h.rooms[m.t.key]; r != nil && err == nil && !m.s.left {
			if i := m.s.rooms.find(r); i >= 0 && m.s.rooms.list[i].stale {
				m.s.rooms.list[i].stale = false
				var more bool
				more, err = m.s.out.pushOwn(roomFrame(m.t.key.name, m.t.pos.String(), ""), 1)
				if flush = flush || more; err == errFlushFirst { // another time
					flush, err = true, nil
				}
			}
		}
		h.mu.Unlock()
		m.s.pushed(flush, err)
	}
}
