package wsctl

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"unicode/utf8"
)

// Room is a set of sockets, on all nodes: a small value, made by a Hub, good for ever. The zero Room has no members. All methods may be
// called from any goroutine.
type Room struct {
	hub    *Hub
	key    roomKey
	except []*Socket
}

var errZeroRoom = errors.New("wsctl: the zero Room has no members: get one from a Hub")

// check returns the error of a room that can't be joined or sent to.
func (r Room) check() error {
	if r.hub == nil {
		return errZeroRoom
	}
	if r.key.kind != kindEveryone && (r.key.name == "" || len(r.key.name) > maxName) {
		return fmt.Errorf("wsctl: a name of %d bytes: rooms, users and sockets have names of 1 to %d", len(r.key.name), maxName)
	}
	return nil
}

// Send gives the message its place in every member's order: what is sent to a member afterwards, in whatever way, comes
// after it, and who joins or leaves later doesn't change who gets it. It doesn't wait for the network, at most for other
// messages' places, when some MiB of them wait; a member whose queue is full is closed with [CloseSlow], and costs the others
// nothing. The error is that of a bad type, as of [Socket.Send], of data that can't be encoded, or of a bad room: the zero Room, or
// a name that is empty or longer than 128 bytes. A room without members is no error.
//
// With a Broker it gives the message to that, for 5 s at most, and members get it in the broker's order: who joins before it comes back
// gets it too, and what is sent to a socket alone may overtake it. The error may be the broker's
// then, an [*Error] of [CodeUnavailable] as well: members of this node have the message nevertheless, but if the room keeps history
// nobody gets what isn't kept. Send to such a room returns when the message is kept.
func (r Room) Send(typ string, data any) error {
	if err := checkType(typ); err != nil {
		return err
	}
	return r.send(typ, data, nil)
}

func (r Room) send(typ string, data any, mark *eventMark) error {
	if err := r.check(); err != nil {
		return err
	}
	l := r.hub.link()
	var keep Retention
	if l != nil {
		keep = l.keepOf(r.key)
	}
	if l != nil && (l.remote || keep.keeps()) {
		return r.sendLinked(l, keep, typ, data, mark)
	}
	f, err := makeFrames(typ, data, r.hub.deflating.Load() > 0)
	if err != nil {
		return err
	}
	f.mark = mark
	if r.key.kind != kindSocket {
		r.hub.publish(r.key, f, r.except)
		return nil
	}
	for _, s := range r.sockets() {
		_ = s.sendFrames(f) // a socket that has ended is no member
	}
	return nil
}

// sendLinked is send for a room that other nodes have, too, or that keeps history.
func (r Room) sendLinked(l *link, keep Retention, typ string, data any, mark *eventMark) error {
	b := getBuffer()
	defer putBuffer(b)
	if err := appendMessage(b, typ, 0, data); err != nil {
		return err
	}
	body := b.Bytes()
	if _, err := scan(body); err != nil { // other nodes would refuse it, too
		return fmt.Errorf("wsctl: encoding data of %q: %w", typ, err)
	}
	switch {
	case keep.keeps() && !utf8.ValidString(r.key.name):
		return errRoomName
	case keep.keeps():
		return l.sendKept(r.key, body, r.except, keep)
	case r.key.kind == kindSocket:
		if r.excepts(r.key.name) {
			return nil
		}
		s := r.hub.socket(r.key.name)
		if s == nil {
			return l.sendDirect(r.key.name, body, mark)
		}
		f := framesOf(body, s.out.deflated.Load())
		f.mark = mark
		_ = s.sendFrames(f) // a socket that has ended is no member
		return nil
	}
	f := framesOf(body, r.hub.deflating.Load() > 0)
	f.mark = mark
	return l.send(r.key, body, f, r.except)
}

func (r Room) sendMarked(data any, m *eventMark) error { return r.send(m.typ, data, m) }

func (r Room) target() {}

// Except returns the room without those sockets: it has fewer members, and messages reach nobody else. The zero Room stays it.
func (r Room) Except(s ...*Socket) Room {
	r.except = append(slices.Clip(r.except), s...)
	return r
}

// Close closes every member, as [Socket.Close], after what was sent to the room before. The error is that of a bad code or reason, of a
// bad room as of Send, or of the broker, when members of this node are closed nevertheless. With a Broker it doesn't wait until they are;
// in a room that keeps history the close has its place among the messages, and a node that gets these late closes those who are members then.
func (r Room) Close(code int, reason string) error {
	if err := r.check(); err != nil {
		return err
	}
	if err := checkClose(code, reason); err != nil {
		return err
	}
	if l := r.hub.link(); l != nil && l.remote {
		return l.sendClose(r, code, reason, l.keepOf(r.key))
	}
	r.closeHere(code, reason)
	return nil
}

// closeHere closes this node's members.
func (r Room) closeHere(code int, reason string) {
	for _, s := range r.sockets() {
		_ = s.Close(code, reason) // ErrClosed: somebody else was faster
	}
}

// Member is one socket of a Room.
type Member struct {
	Socket string // Socket.ID
	User   string // Identity.User
}

// Sockets returns the members of now that are this hub's, in no order.
func (r Room) Sockets() iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		for _, s := range r.sockets() {
			if !yield(s) {
				return
			}
		}
	}
}

// Len returns the number of members that are this hub's.
func (r Room) Len() int {
	if len(r.except) > 0 || r.key.kind == kindSocket {
		return len(r.sockets())
	}
	if r.hub == nil {
		return 0
	}
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	if room := r.hub.rooms[r.key]; room != nil {
		return len(room.members)
	}
	return 0
}

// sockets returns the members of now.
func (r Room) sockets() (all []*Socket) {
	if r.hub == nil {
		return nil
	}
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	for _, s := range r.hub.membersLocked(r.key) {
		if !slices.Contains(r.except, s) {
			all = append(all, s)
		}
	}
	return all
}

// membersLocked returns the members of a room. mu is held.
func (h *Hub) membersLocked(key roomKey) (all []*Socket) {
	if s := h.sockets[key.name]; key.kind == kindSocket && s != nil {
		return []*Socket{s}
	}
	if room := h.rooms[key]; room != nil {
		for _, m := range room.members {
			all = append(all, m.s)
		}
	}
	return all
}
