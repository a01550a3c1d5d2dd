package wsctl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
)

// Hub knows the sockets of one or more handlers, and the rooms that they are in. The zero Hub is ready. All methods may be
// called from any goroutine.
type Hub struct {
	// Messages to rooms are numbered, so that each member's order is the order of the Sends, whatever the rooms: tail is
	// the newest number, done the newest that is in every member's queue.
	tail, done atomic.Uint64
	bursts     atomic.Int64 // corked outboxes of the handlers: the end of each kicks the fan-out
	deflating  atomic.Int64 // sockets that take deflated frames

	mu       sync.Mutex // guards following; taken before an outbox's
	rooms    map[roomKey]*room
	named    int // of rooms, those of kindRoom
	sockets  map[string]*Socket
	pending  []*batch      // in the order of the Sends
	bytes    int           // of pending
	taken    sync.Cond     // of mu: pending has been taken
	inflight []*batch      // being fanned out, before pending
	quiet    chan struct{} // closed when the fan-out goroutine ends; nil: there is none
}

// roomKey names a room. Users, sockets and rooms are separate name spaces.
type roomKey struct {
	kind roomKind
	name string
}

type roomKind uint8

const (
	kindNone roomKind = iota // the zero Room's
	kindRoom
	kindUser
	kindSocket
	kindEveryone
)

// room is the members of a Room that has any.
type room struct {
	key     roomKey
	members []member
}

// member is a socket in a room. since is the number of the newest message when it joined: it gets what comes after.
type member struct {
	s     *Socket
	since uint64
}

// membership is a member's own note of it.
type membership struct {
	room  *room
	since uint64
	at    int // index in the room's members
}

// memberships are the rooms of a socket. Most are in few, a room may have many, so the index of who is where is kept here.
type memberships struct {
	list  []membership
	index map[*room]int // of list; nil while they are few
}

// indexFrom is how many memberships are found faster by an index.
const indexFrom = 16

// find returns the index of a room, or -1.
func (m *memberships) find(r *room) int {
	if m.index != nil {
		if i, ok := m.index[r]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(m.list, func(n membership) bool { return n.room == r })
}

func (m *memberships) add(n membership) {
	m.list = append(m.list, n)
	switch {
	case m.index != nil:
		m.index[n.room] = len(m.list) - 1
	case len(m.list) == indexFrom:
		m.index = make(map[*room]int, 2*indexFrom)
		for i, n := range m.list {
			m.index[n.room] = i
		}
	}
}

func (m *memberships) remove(i int) {
	last := len(m.list) - 1
	if m.index != nil {
		delete(m.index, m.list[i].room)
		if i < last {
			m.index[m.list[last].room] = i
		}
	}
	m.list[i] = m.list[last]
	m.list[last] = membership{}
	m.list = m.list[:last]
}

// remove takes out the member at i.
func (r *room) remove(i int) {
	last := len(r.members) - 1
	if i < last {
		moved := r.members[last]
		r.members[i] = moved
		rooms := &moved.s.rooms
		rooms.list[rooms.find(r)].at = i
	}
	r.members[last] = member{}
	r.members = r.members[:last]
}

// Broadcast sends to every socket, as [Room.Send] of Everyone.
func (h *Hub) Broadcast(typ string, data any) error { return h.Everyone().Send(typ, data) }

// Everyone returns the room of all sockets.
func (h *Hub) Everyone() Room { return Room{hub: h, key: roomKey{kindEveryone, ""}} }

// Room returns the room of that name: 1 to 128 bytes. It exists while it has members; see [Socket.Join].
func (h *Hub) Room(name string) Room { return Room{hub: h, key: roomKey{kindRoom, name}} }

// User returns the room of all sockets of a user, by Identity.User.
func (h *Hub) User(id string) Room { return Room{hub: h, key: roomKey{kindUser, id}} }

// Socket returns the room of the one socket with that [Socket.ID], if it is open.
func (h *Hub) Socket(id string) Room { return Room{hub: h, key: roomKey{kindSocket, id}} }

// enter makes s known: from now on it gets what is sent to everyone and to its user.
func (h *Hub) enter(s *Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sockets == nil {
		h.sockets = make(map[string]*Socket)
		h.rooms = make(map[roomKey]*room)
	}
	h.sockets[s.id] = s
	h.joinLocked(s, roomKey{kindEveryone, ""})
	if user := s.Identity().User; user != "" {
		h.joinLocked(s, roomKey{kindUser, user})
	}
}

func (h *Hub) join(s *Socket, key roomKey) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.left {
		return ErrClosed
	}
	h.joinLocked(s, key)
	return nil
}

func (h *Hub) joinLocked(s *Socket, key roomKey) {
	r := h.rooms[key]
	if r == nil {
		r = &room{key: key}
		h.rooms[key] = r
		if key.kind == kindRoom {
			h.named++
		}
	} else if s.rooms.find(r) >= 0 {
		return
	}
	since := h.tail.Load()
	s.rooms.add(membership{r, since, len(r.members)})
	r.members = append(r.members, member{s, since})
}

// leave takes s out of a room. What was sent to the room before still reaches it.
func (h *Hub) leave(s *Socket, key roomKey) {
	h.mu.Lock()
	flush, err := h.catchUpLocked(s)
	if r := h.rooms[key]; r != nil && !s.left {
		if i := s.rooms.find(r); i >= 0 {
			h.leaveLocked(s.rooms.list[i])
			s.rooms.remove(i)
		}
	}
	h.mu.Unlock()
	s.pushed(flush, err)
}

func (h *Hub) leaveLocked(m membership) {
	r := m.room
	if r.remove(m.at); len(r.members) == 0 {
		delete(h.rooms, r.key)
		if r.key.kind == kindRoom {
			h.named--
		}
	}
}

// exit takes s out of everything; its notes stay, for [Socket.Rooms]. What was sent to its rooms before goes out with its
// close frame; the error is ErrSlow if that doesn't fit.
func (h *Hub) exit(s *Socket) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.catchUpLocked(s)
	for _, m := range s.rooms.list {
		h.leaveLocked(m)
	}
	s.left = true
	delete(h.sockets, s.id)
	return err
}

// roomsOf returns the names of s's rooms, sorted.
func (h *Hub) roomsOf(s *Socket) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := []string{}
	for _, m := range s.rooms.list {
		if m.room.key.kind == kindRoom {
			names = append(names, m.room.key.name)
		}
	}
	slices.Sort(names)
	return names
}

// namedRooms is the number of rooms that were joined by name, for Stats.
func (h *Hub) namedRooms() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.named
}

// Room is a set of sockets: a small value, made by a Hub, good for ever. The zero Room has no members. All methods may be
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
// nothing. The error is that of a bad type, as of
// [Socket.Send], of data that can't be encoded, or of a bad room: the zero Room, or a name that is empty or longer than
// 128 bytes. A room without members is no error.
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

func (r Room) sendMarked(data any, m *eventMark) error { return r.send(m.typ, data, m) }

func (r Room) target() {}

// Except returns the room without those sockets: it has fewer members, and messages reach nobody else. The zero Room stays it.
func (r Room) Except(s ...*Socket) Room {
	r.except = append(slices.Clip(r.except), s...)
	return r
}

// Close closes every member, as [Socket.Close]: the error is that of a bad code or reason, or of a bad room as of Send.
func (r Room) Close(code int, reason string) error {
	if err := r.check(); err != nil {
		return err
	}
	if err := checkClose(code, reason); err != nil {
		return err
	}
	for _, s := range r.sockets() {
		_ = s.Close(code, reason) // ErrClosed: somebody else was faster
	}
	return nil
}

// Members returns the members of now, in no order. The error is that of a bad room, as of Send, or ctx's.
func (r Room) Members(ctx context.Context) ([]Member, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	members := []Member{}
	for _, s := range r.sockets() {
		members = append(members, Member{Socket: s.id, User: s.Identity().User})
	}
	return members, nil
}

// Member is one socket of a Room.
type Member struct {
	Socket string // Socket.ID
	User   string // Identity.User
}

// Sockets returns the members of now, in no order.
func (r Room) Sockets() iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		for _, s := range r.sockets() {
			if !yield(s) {
				return
			}
		}
	}
}

// Len returns the number of members.
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
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.key.kind == kindSocket {
		if s := h.sockets[r.key.name]; s != nil && !slices.Contains(r.except, s) {
			return []*Socket{s}
		}
		return nil
	}
	if room := h.rooms[r.key]; room != nil {
		for _, m := range room.members {
			if !slices.Contains(r.except, m.s) {
				all = append(all, m.s)
			}
		}
	}
	return all
}
