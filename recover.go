package wsctl

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/wsctl/wsctl/internal/position"
)

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
	h := t.l.h
	h.mu.Lock()
	r := h.rooms[t.key]
	left, member := s.left, r != nil && s.rooms.find(r) >= 0
	h.mu.Unlock()
	switch {
	case left:
		return ErrClosed
	case member:
		return nil
	case s.session == nil: // it couldn't be told, nor come back with a position
		return h.joinTopic(s, t.key, t)
	}
	recall := s.recalled()
	from, asked := recall.of(t.key.name)
	denied, socket := false, ""
	if asked {
		socket = recall.socket
		denied = t.find(from, s.out.limit()/2)
		defer t.found()
	}
	h.mu.Lock()
	for {
		flush, err := h.catchUpLocked(s)
		if r := h.rooms[t.key]; err == nil && !s.left && (r == nil || s.rooms.find(r) < 0) {
			asked = asked && recall.has(t.key.name) // else another Join has used it
			recovered, at := "null", t.pos
			var frames []byte
			var messages int32
			ahead := asked && !denied && t.pos.Epoch == from.Epoch && t.pos.Offset < from.Offset
			if asked {
				recovered = "false"
				var ok bool
				if frames, messages, ok = t.missedLocked(from, socket, s.out.spare()); ok || ahead {
					recovered, at = "true", from
				}
			}
			var more bool
			more, err = s.out.pushOwn(append(roomFrame(t.key.name, at.String(), recovered), frames...), messages+1)
			if err == errFlushFirst {
				h.mu.Unlock()
				s.out.flush()
				h.mu.Lock()
				continue
			}
			if flush = flush || more; err == nil {
				if ahead {
					t.ahead = append(t.ahead, aheadMember{s, from.Offset})
					t.findLocked() // what it has may have been lost on its way here
				}
				h.joinLocked(s, t.key, t)
				if t.l.countRecovery(recovered); asked {
					recall.use(t.key.name)
					t.rememberLocked(socket, s)
				}
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

// rememberLocked notes who a member was before it lost its session: what was sent to all but that is not for it. mu is held.
func (t *topic) rememberLocked(socket string, s *Socket) {
	if socket == "" {
		return
	}
	if t.was == nil {
		t.was = make(map[string]formerMember)
	}
	now := time.Now()
	t.was[socket] = formerMember{s, now.Add(recallTime)}
	t.dueAgainLocked(now)
}

// formerMember is a member that was another socket until lately.
type formerMember struct {
	s     *Socket
	until time.Time
}

// exceptLocked returns the members that a message is not for. mu is held.
func (t *topic) exceptLocked(d delivery) []*Socket {
	except := t.l.h.namedLocked(d.p.except)
	if len(t.was) > 0 {
		for _, id := range d.p.except {
			hash, _, _ := strings.Cut(id, ".")
			if m, ok := t.was[hash]; ok {
				except = append(except, m.s)
			}
		}
	}
	return except
}

// forgetFormerLocked forgets who members were some time ago. mu is held.
func (t *topic) forgetFormerLocked(now time.Time) {
	for hash, m := range t.was {
		if now.After(m.until) || m.s.left {
			delete(t.was, hash)
		}
	}
}

func (l *link) countRecovery(recovered string) {
	switch recovered {
	case "true":
		l.recovered.Add(1)
	case "false":
		l.notRecovered.Add(1)
	}
}

// recent is what a topic's members were given lately, up to its position: for joins that look for what their socket has missed.
// It is kept from the first of them until a little after the last, so that a herd of clients which come back together asks the
// history once. Guarded by the hub's mu.
type recent struct {
	active bool
	from   position.Position // before the first of all
	all    []delivery
	bytes  int
	limit  int // of bytes
	joins  int // that look for something
	began  time.Time
	used   time.Time     // when there was a join
	asking chan struct{} // closed when the history has answered; nil: nobody asks
	asked  position.Position
	void   position.Position // what came after it, or after an earlier one, can't be had
}

const (
	recentTime    = 2 * time.Second        // that it is kept after the last join
	askPause      = 250 * time.Millisecond // until a history that couldn't be asked is asked again
	maxRecentTime = 10 * time.Second       // that it is kept at all, unless there are joins all the time: the history forgets, too
)

// has tells whether it has everything after a position.
func (r *recent) has(from position.Position) bool {
	return r.active && r.from.Epoch == from.Epoch && r.from.Offset <= from.Offset && from.Offset <= r.from.Offset+uint64(len(r.all))
}

// after returns what comes after a position, which it has.
func (r *recent) after(from position.Position) []delivery { return r.all[from.Offset-r.from.Offset:] }

// add takes a message that members are given.
func (r *recent) add(d delivery) {
	if !r.active {
		return
	}
	r.all = append(r.all, d)
	r.bytes += d.size
	for r.bytes > r.limit && len(r.all) > 1 { // it is too much for a socket's queue anyway
		r.drop()
	}
}

// drop forgets the oldest message.
func (r *recent) drop() {
	r.from = r.all[0].at
	r.bytes -= r.all[0].size
	r.all[0] = delivery{}
	r.all = r.all[1:]
}

// before takes what came before: messages after from.
func (r *recent) before(from position.Position, all []delivery) {
	n := int(r.from.Offset - from.Offset)
	r.from, r.all = from, append(all[:n:n], r.all...)
	for _, d := range all[:n] {
		r.bytes += d.size
	}
}

// restart forgets everything: members go on at a position.
func (r *recent) restart(at position.Position) { r.from, r.all, r.bytes = at, nil, 0 }

// aheadMember is a member that has more of a room than this node, whose client comes from another one: it isn't given what it has.
type aheadMember struct {
	s      *Socket
	offset uint64 // up to this
}

// aheadLocked returns the members that have a message, and forgets those that don't have the next one. mu is held.
func (t *topic) aheadLocked(offset uint64) (have []*Socket) {
	t.ahead = slices.DeleteFunc(t.ahead, func(m aheadMember) bool {
		if m.offset >= offset {
			have = append(have, m.s)
		}
		return m.offset <= offset
	})
	return have
}

// find has the history say what came after from, so that missedLocked knows it, unless that is known already or can't be had.
// denied says that from lies after its end. It ends with found.
func (t *topic) find(from position.Position, limit int) (denied bool) {
	l, h, r := t.l, t.l.h, &t.recent
	ctx, cancel := l.limit()
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	r.joins++
	r.limit = max(r.limit, 2*limit)
	if now := time.Now(); !r.active || r.joins == 1 && now.Sub(r.began) > maxRecentTime {
		r.active, r.began = true, now
		r.restart(t.pos)
	}
	for from.Epoch != "" && from != t.pos && !r.has(from) && !l.away() && (r.void.Epoch != from.Epoch || r.void.Offset < from.Offset) {
		if r.asking != nil && r.asked.Epoch == from.Epoch && r.asked.Offset <= from.Offset {
			asking := r.asking
			h.mu.Unlock()
			<-asking
			h.mu.Lock()
			continue
		}
		asking := make(chan struct{})
		if r.asking == nil || from.Epoch == t.pos.Epoch { // in place of one who asks for less, or for what there isn't
			r.asking, r.asked = asking, from
		}
		h.mu.Unlock()
		missed, newest, ok, err := t.ask(ctx, from, limit)
		for err != nil && ctx.Err() == nil && l.patient() { // it may be back in a moment
			select {
			case <-time.After(askPause):
			case <-ctx.Done():
			}
			missed, newest, ok, err = t.ask(ctx, from, limit)
		}
		h.mu.Lock()
		if err == nil && newest.Epoch == from.Epoch && missed == nil && newest.Offset > from.Offset && !ok && r.void.Offset < from.Offset {
			r.void = from
		}
		if to := from.Offset + uint64(len(missed)); ok && r.from.Epoch == from.Epoch && from.Offset < r.from.Offset && r.from.Offset <= to {
			r.before(from, missed)
		}
		if close(asking); r.asking == asking { // else another one asks, or the topic has begun anew
			r.asking = nil
		}
		return err == nil && newest.Epoch == from.Epoch && newest.Offset < from.Offset
	}
	return false
}

// found ends find, when the socket has joined or not.
func (t *topic) found() {
	t.l.h.mu.Lock()
	defer t.l.h.mu.Unlock()
	if t.recent.joins--; t.recent.joins == 0 {
		t.recent.used = time.Now()
		t.dueAgainLocked(t.recent.used)
	}
}

// ask asks the history for what came after from. ok is false if that can't be had, or is more than limit bytes.
func (t *topic) ask(ctx context.Context, from position.Position, limit int) (missed []delivery, newest position.Position, ok bool, err error) {
	msgs, newest, ok, err := t.l.since(ctx, t, from)
	if err != nil || !ok {
		return nil, newest, false, err
	}
	bytes := 0
	for _, msg := range msgs {
		bytes += len(msg)
	}
	if bytes > limit {
		return []delivery{}, newest, false, nil // another one's limit may be another
	}
	return t.deliveries(from, msgs), newest, true, nil
}

// missedLocked returns the frames of what comes after from, up to the topic's position. ok is false if some of it can't be had, or
// it is too much. mu is held.
func (t *topic) missedLocked(from position.Position, socket string, limit int) (frames []byte, messages int32, ok bool) {
	if from == t.pos {
		return nil, 0, true
	}
	if !t.recent.has(from) {
		return nil, 0, false
	}
	skipped := false
	for _, d := range t.recent.after(from) {
		if d.lost {
			return nil, 0, false
		}
		if skipped = d.p == nil || d.p.kind != packetMessage || d.p.excepts(socket); skipped {
			continue
		}
		if frames = append(frames, d.frames.plain...); len(frames) > limit {
			return nil, 0, false
		}
		messages++
	}
	if skipped { // the client is further than its last message says
		frames = append(frames, roomFrame(t.key.name, t.pos.String(), "")...)
		messages++
	}
	return frames, messages, true
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
	t.ahead = slices.DeleteFunc(t.ahead, func(m aheadMember) bool { return m.s == s })
	if s.session == nil || !t.keep.keeps() {
		return false, nil
	}
	return t.l.h.pushOwnLocked(s, func() []byte { return roomFrame(t.key.name, "", "") })
}

// pushOwnLocked puts a message of its own into s's queue. mu is held, but not while what is queued must be written first: what was sent
// meanwhile comes before it, and frame is called again.
func (h *Hub) pushOwnLocked(s *Socket, frame func() []byte) (flush bool, err error) {
	for {
		if flush, err = s.out.pushOwn(frame(), 1); err != errFlushFirst {
			return flush, err
		}
		h.mu.Unlock()
		s.out.flush()
		h.mu.Lock()
		if flush, err = h.catchUpLocked(s); err != nil {
			return flush, err
		}
	}
}

// staleMember is a member that didn't get the newest message of a room, by Except, and has to be told its position some time.
type staleMember struct {
	s   *Socket
	key roomKey
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
		l.stale = append(l.stale, staleMember{s, t.key, time.Now().Add(every)})
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
		if r := h.rooms[m.key]; r != nil && r.topic != nil && r.topic.pos.Epoch != "" && err == nil && !m.s.left {
			if i := m.s.rooms.find(r); i >= 0 && m.s.rooms.list[i].stale {
				m.s.rooms.list[i].stale = false
				var more bool
				more, err = h.pushOwnLocked(m.s, func() []byte { return roomFrame(m.key.name, r.topic.pos.String(), "") })
				flush = flush || more
			}
		}
		h.mu.Unlock()
		m.s.pushed(flush, err)
	}
}
