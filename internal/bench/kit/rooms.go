package kit

import "sync"

// Rooms knows who is in which room, for servers whose library doesn't. Its methods may be called from any goroutine.
type Rooms[M comparable] struct {
	mu       sync.RWMutex // guards following
	everyone map[M]struct{}
	members  map[string]map[M]struct{} // of the rooms that have any
	joined   map[M]map[string]struct{} // the rooms of those who are in any
}

// NewRooms returns Rooms without members.
func NewRooms[M comparable]() *Rooms[M] {
	return &Rooms[M]{
		everyone: make(map[M]struct{}),
		members:  make(map[string]map[M]struct{}),
		joined:   make(map[M]map[string]struct{}),
	}
}

// Enter makes m one of everyone.
func (r *Rooms[M]) Enter(m M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.everyone[m] = struct{}{}
}

// Exit takes m out of all rooms, and out of everyone.
func (r *Rooms[M]) Exit(m M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for room := range r.joined[m] {
		remove(r.members, room, m)
	}
	delete(r.joined, m)
	delete(r.everyone, m)
}

// Join makes m a member of room.
func (r *Rooms[M]) Join(room string, m M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(r.members, room, m)
	add(r.joined, m, room)
}

// Leave ends it.
func (r *Rooms[M]) Leave(room string, m M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	remove(r.members, room, m)
	remove(r.joined, m, room)
}

// Each calls f for every member of room, or for everyone if it is empty. f must not call r's methods.
func (r *Rooms[M]) Each(room string, f func(M)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	members := r.everyone
	if room != "" {
		members = r.members[room]
	}
	for m := range members {
		f(m)
	}
}

func add[K, V comparable](sets map[K]map[V]struct{}, key K, value V) {
	if sets[key] == nil {
		sets[key] = make(map[V]struct{})
	}
	sets[key][value] = struct{}{}
}

func remove[K, V comparable](sets map[K]map[V]struct{}, key K, value V) {
	delete(sets[key], value)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}
