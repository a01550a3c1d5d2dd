package main

import (
	"sync"
)

// members is who gets what is said in a room.
type members map[*conn]struct{}

// hub knows the members of the rooms; that without a name is everyone's.
type hub struct {
	woken chan struct{} // room for one: queue has added to pending

	mu      sync.RWMutex // guards following
	rooms   map[string]members
	pending map[string][]byte // frames for each room
}

func newHub() *hub {
	return &hub{
		woken:   make(chan struct{}, 1),
		rooms:   make(map[string]members),
		pending: make(map[string][]byte),
	}
}

func (h *hub) enter(c *conn) { h.join(nil, c) }

func (h *hub) join(room []byte, c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.rooms[string(room)]
	if m == nil {
		m = make(members)
		h.rooms[string(room)] = m
	}
	m[c] = struct{}{}
}

func (h *hub) leave(room []byte, c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(string(room), c)
}

func (h *hub) exit(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for room := range h.rooms {
		h.removeLocked(room, c)
	}
}

func (h *hub) removeLocked(room string, c *conn) {
	m := h.rooms[room]
	delete(m, c)
	if len(m) == 0 {
		delete(h.rooms, room)
	}
}

// say writes a message, which goes on with rest, to every member.
func (h *hub) say(room, rest []byte) {
	frame := appendFrame(nil, opText, said, rest)
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.rooms[string(room)] {
		_, _ = c.Write(frame) // its reading goroutine sees to the error
	}
}

// queue leaves it to fanOut, once it is woken.
func (h *hub) queue(room, rest []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending[string(room)] = appendFrame(h.pending[string(room)], opText, said, rest)
}

func (h *hub) wake() {
	select {
	case h.woken <- struct{}{}:
	default: // it will see to all that is pending
	}
}

// fanOut writes what is pending, in one piece to each member.
func (h *hub) fanOut() {
	taken := make(map[string][]byte)
	for range h.woken {
		h.mu.Lock()
		taken, h.pending = h.pending, taken
		h.mu.Unlock()
		h.mu.RLock()
		for room, frames := range taken {
			for c := range h.rooms[room] {
				_, _ = c.Write(frames) // its reading goroutine sees to the error
			}
		}
		h.mu.RUnlock()
		clear(taken)
	}
}
