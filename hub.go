package wsctl

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// Hub knows the sockets of one or more handlers, and the rooms that they are in. The zero Hub is ready; set its fields before it is
// used. All methods may be called from any goroutine.
type Hub struct {
	// Broker joins the hubs of several nodes: rooms, broadcasts and users are those of all of them. Whoever made it closes it,
	// after the last Handler.Shutdown. Nil: this hub is alone.
	Broker Broker
	// History says how much history a room keeps, of those that are joined by name. It is asked when a room comes to life, and for
	// messages to rooms that this node has no members of, so it must be quick, and say the same each time and on all nodes. Nil:
	// no room keeps any. Without a [HistoryBroker] history is kept in the memory of each node. A room that keeps history has a name of
	// UTF-8, and its messages are never dropped by the policy of an [Event].
	History func(room string) Retention
	// HistoryBuffer is how many bytes of history are kept in memory: 64 MiB. What would be more costs the rooms without members
	// theirs, then the room that is sent to its oldest messages.
	HistoryBuffer int

	linked atomic.Pointer[link]
	logger atomic.Pointer[slog.Logger]

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

	handlers int  // that aren't shut down
	ended    bool // its last handler is shut down
	buffer   int  // the smallest Options.SendBuffer of the handlers

	watched      map[roomKey]*watchedRoom
	watchVersion uint64 // the newest of any watched
}

// log is the log of the first handler.
func (h *Hub) log() *slog.Logger {
	if l := h.logger.Load(); l != nil {
		return l
	}
	return slog.Default()
}

// addHandler is told of a handler.
func (h *Hub) addHandler(o *Options) {
	if o.Logger != nil {
		h.logger.CompareAndSwap(nil, o.Logger)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.buffer == 0 || o.SendBuffer < h.buffer {
		h.buffer = o.SendBuffer
	}
	h.handlers++
	h.ended = false
}

// removeHandler is told that a handler is shut down. The last one ends the hub's tie to its broker.
func (h *Hub) removeHandler(ctx context.Context) error {
	h.mu.Lock()
	h.handlers--
	last := h.handlers == 0
	h.ended = last
	l := h.linked.Load()
	h.mu.Unlock()
	if last && l != nil {
		return l.stop(ctx)
	}
	return nil
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
	topic   *topic // at the broker; nil: there is none, and no history
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
	at    int  // index in the room's members
	stale bool // the client doesn't know of the room's newest position
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

// User returns the room of all sockets of a user, by Identity.User, on all nodes.
func (h *Hub) User(id string) Room { return Room{hub: h, key: roomKey{kindUser, id}} }

// Socket returns the room of the one socket with that [Socket.ID], if it is open, on whatever node.
func (h *Hub) Socket(id string) Room { return Room{hub: h, key: roomKey{kindSocket, id}} }

// enter makes s known: from now on it gets what is sent to everyone and to its user.
func (h *Hub) enter(s *Socket) {
	name := s.Identity().User
	var everyone, user *topic
	l := h.link()
	if l != nil && l.remote {
		l.connect()
		if name != "" {
			user = l.want(roomKey{kindUser, name})
			defer l.release(user)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if l != nil && l.remote {
		everyone = l.cluster.all
		l.wakeLocked()
	}
	if h.sockets == nil {
		h.sockets = make(map[string]*Socket)
		h.rooms = make(map[roomKey]*room)
	}
	h.sockets[s.id] = s
	h.joinLocked(s, roomKey{kindEveryone, ""}, everyone)
	if name != "" {
		h.joinLocked(s, roomKey{kindUser, name}, user)
	}
	h.membershipLocked(roomKey{kindSocket, s.id}, s, true)
}

func (h *Hub) join(s *Socket, key roomKey) error {
	l := h.link()
	if l == nil {
		return h.joinTopic(s, key, nil)
	}
	keep := l.keepOf(key)
	if !l.remote && !keep.keeps() {
		return h.joinTopic(s, key, nil)
	}
	if keep.keeps() && !utf8.ValidString(key.name) {
		return errRoomName
	}
	t, err := l.acquire(key, keep)
	if err != nil {
		s.recalled().prolong()
		return err
	}
	defer l.release(t)
	if t.keep.keeps() {
		return t.joinKept(s)
	}
	return h.joinTopic(s, key, t)
}

var errRoomName = errors.New("wsctl: a room that keeps history has a name of UTF-8, which its clients give back")

func (h *Hub) joinTopic(s *Socket, key roomKey, t *topic) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.left {
		return ErrClosed
	}
	h.joinLocked(s, key, t)
	return nil
}

// joinLocked adds s to a room, which has a topic or not. mu is held.
func (h *Hub) joinLocked(s *Socket, key roomKey, t *topic) {
	r := h.rooms[key]
	if r == nil {
		r = &room{key: key, topic: t}
		if t != nil {
			t.users++
		}
		h.rooms[key] = r
		if key.kind == kindRoom {
			h.named++
		}
	} else if s.rooms.find(r) >= 0 {
		return
	}
	since := h.tail.Load()
	s.rooms.add(membership{room: r, since: since, at: len(r.members)})
	r.members = append(r.members, member{s, since})
	h.membershipLocked(key, s, true)
}

// leave takes s out of a room. What was sent to the room before still reaches it.
func (h *Hub) leave(s *Socket, key roomKey) {
	h.mu.Lock()
	flush, err := h.catchUpLocked(s)
	if r := h.rooms[key]; r != nil && !s.left {
		if i := s.rooms.find(r); i >= 0 {
			h.leaveLocked(s, s.rooms.list[i])
			s.rooms.remove(i)
			if r.topic != nil && err == nil {
				var more bool
				more, err = r.topic.leftLocked(s)
				flush = flush || more
			}
		}
	}
	h.mu.Unlock()
	s.pushed(flush, err)
}

func (h *Hub) leaveLocked(s *Socket, m membership) {
	r := m.room
	h.membershipLocked(r.key, s, false)
	if r.remove(m.at); len(r.members) == 0 {
		delete(h.rooms, r.key)
		if r.topic != nil {
			r.topic.releaseLocked()
		}
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
		h.leaveLocked(s, m)
	}
	h.membershipLocked(roomKey{kindSocket, s.id}, s, false)
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
