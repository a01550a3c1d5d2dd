package wsctl

import (
	"context"
	"iter"
	"slices"
	"time"
)

// Presence is a member of a room that has joined, or left.
type Presence struct {
	Member
	Joined bool // else it has left
}

// Watch returns those who are members now, as joined, first this node's, and then everyone who joins or leaves the room, on all nodes,
// until ctx is done. A page that draws a list does so when it comes to rest, not for each. Members of a node that dies leave when it is known to be dead, after 10 s. Who joins and leaves before that is looked at
// is left out. A session that waits for its client to come back is a member, and so is a socket that OnOpen is being asked about, of
// Everyone and of its user. A method may return the sequence as its stream: where ctx
// is a method's, it ends when the handler is shut down, too. The error, which ends it, is that of a bad room, as of Send.
func (r Room) Watch(ctx context.Context) iter.Seq2[Presence, error] {
	return func(yield func(Presence, error) bool) {
		if err := r.check(); err != nil {
			yield(Presence{}, err)
			return
		}
		if l := r.hub.link(); l != nil && l.remote && l.connectBefore(ctx) != nil && ctx.Err() != nil {
			return
		}
		stopping, _ := ctx.Value(stoppingKey{}).(chan struct{})
		w := r.hub.watch(r.key)
		defer r.hub.unwatch(w)
		for {
			select {
			case <-ctx.Done():
				return
			case <-stopping:
				return
			default:
			}
			p, ok := w.next()
			switch {
			case !ok:
				select {
				case <-w.news:
				case <-ctx.Done():
				case <-stopping:
				}
			case r.excepts(p.Socket):
			case !yield(p, nil):
				return
			}
		}
	}
}

func (r Room) excepts(id string) bool {
	return slices.ContainsFunc(r.except, func(s *Socket) bool { return s != nil && s.id == id })
}

func (s *Socket) member() Member { return Member{Socket: s.id, User: s.Identity().User} }

// watchedRoom is a room on whose members somebody keeps an eye. Guarded by the hub's mu.
type watchedRoom struct {
	h        *Hub
	key      roomKey
	watchers []*roomWatcher          // on this node
	nodes    map[string]*nodeMembers // the members on others
	asked    time.Time               // when they were last asked
	again    bool                    // ... and are to be, before it is time

	others  map[string]time.Time // nodes that are told of this one's members, and until when
	version uint64               // of this one's members, as told or about to be
	told    uint64               // of what others were told
	changes []change             // since
}

type change struct {
	Presence
	version uint64
}

// nodeMembers is what this node knows of the members on another.
type nodeMembers struct {
	version uint64
	members map[string]Member
	parts   []Presence // of an answer of which more is to come
	next    uint64     // number of the part that is
	coming  uint64     // its version
}

const (
	askEvery = 10 * time.Second // of nodes about a room that is watched, so that what got lost is set right
	lease    = 3 * askEvery     // that they tell of changes without being asked
	partSize = 200              // members in a packet: at most 40 KB
)

// roomWatcher is one call of Watch. Guarded by the hub's mu.
type roomWatcher struct {
	of      *watchedRoom
	news    chan struct{} // holds one: there is something
	pending map[string]Presence
	order   []string // of pending, with what isn't in it any more
}

func (h *Hub) watch(key roomKey) *roomWatcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.watchedLocked(key)
	w := &roomWatcher{of: of, news: make(chan struct{}, 1), pending: make(map[string]Presence)}
	for _, s := range h.membersLocked(key) {
		w.noteLocked(Presence{s.member(), true})
	}
	for _, n := range of.nodes {
		for _, m := range n.members {
			w.noteLocked(Presence{m, true})
		}
	}
	if of.watchers = append(of.watchers, w); len(of.watchers) == 1 {
		of.asked = time.Time{}
		if l := h.linked.Load(); l != nil && l.remote {
			l.tickLocked()
			l.askAgainLocked()
		}
	}
	return w
}

// watchedLocked returns a room's watched, made if there is none. mu is held.
func (h *Hub) watchedLocked(key roomKey) *watchedRoom {
	w := h.watched[key]
	if w == nil {
		h.watchVersion++
		w = &watchedRoom{h: h, key: key, nodes: make(map[string]*nodeMembers), others: make(map[string]time.Time), version: h.watchVersion, told: h.watchVersion}
		if h.watched == nil {
			h.watched = make(map[roomKey]*watchedRoom)
		}
		h.watched[key] = w
	}
	return w
}

func (h *Hub) unwatch(w *roomWatcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := w.of
	of.watchers = slices.DeleteFunc(of.watchers, func(o *roomWatcher) bool { return o == w })
	if len(of.watchers) == 0 {
		clear(of.nodes)
	}
	of.settleLocked()
}

// settleLocked forgets a watched that nobody needs. mu is held.
func (w *watchedRoom) settleLocked() {
	if len(w.watchers)+len(w.others) == 0 && w.h.watched[w.key] == w {
		delete(w.h.watched, w.key)
	}
}

// noteLocked notes news for a watcher. One that cancels what it hasn't seen is none. mu is held.
func (w *roomWatcher) noteLocked(p Presence) {
	if old, ok := w.pending[p.Socket]; ok {
		if old.Joined != p.Joined {
			delete(w.pending, p.Socket)
		}
		return
	}
	w.pending[p.Socket] = p
	w.order = append(w.order, p.Socket)
	if len(w.order) > 2*len(w.pending)+64 {
		live := make(map[string]bool, len(w.pending))
		w.order = slices.DeleteFunc(w.order, func(id string) bool {
			_, ok := w.pending[id]
			again := live[id]
			live[id] = true
			return !ok || again
		})
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// next returns the oldest news.
func (w *roomWatcher) next() (p Presence, ok bool) {
	h := w.of.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(w.order) > 0 && !ok {
		id := w.order[0]
		w.order = w.order[1:]
		p, ok = w.pending[id]
		delete(w.pending, id)
	}
	return p, ok
}

func (w *watchedRoom) noteLocked(p Presence) {
	for _, one := range w.watchers {
		one.noteLocked(p)
	}
}

// membershipLocked is told that a socket of this node has joined a room, or left it. mu is held.
func (h *Hub) membershipLocked(key roomKey, s *Socket, joined bool) {
	if len(h.watched) == 0 {
		return
	}
	w := h.watched[key]
	if w == nil {
		return
	}
	p := Presence{s.member(), joined}
	w.noteLocked(p)
	h.watchVersion++
	if w.version = h.watchVersion; len(w.others) == 0 { // one who asks again sees that there was something
		w.told = w.version
		return
	}
	w.changes = append(w.changes, change{p, w.version})
	if l := h.linked.Load(); l != nil && len(w.changes) == 1 && !l.postLocked(func() { l.tellChanges(w) }) {
		w.changes, w.told = nil, w.version // the others see by the next one's versions that they lack something
	}
}

// tellChanges tells other nodes what has changed in a room.
func (l *link) tellChanges(w *watchedRoom) {
	h := l.h
	h.mu.Lock()
	changes, before := w.changes, w.told
	w.changes, w.told = nil, w.version
	others := make([]string, 0, len(w.others))
	for node := range w.others {
		others = append(others, node)
	}
	h.mu.Unlock()
	for part := range slices.Chunk(changes, partSize) {
		p := l.packet(packetChange)
		p.key, p.before, p.version = w.key, before, part[len(part)-1].version
		for _, c := range part {
			p.members = append(p.members, c.Presence)
		}
		before = p.version
		for _, node := range others {
			l.tell("n"+node, p) // else it asks again
		}
	}
}

// replaceLocked notes who is in a room on another node now. mu is held.
func (w *watchedRoom) replaceLocked(node string, version uint64, members []Presence) {
	n := w.nodes[node]
	if n == nil {
		return
	}
	old := n.members
	n.version, n.members = version, make(map[string]Member, len(members))
	for _, m := range members {
		n.members[m.Socket] = m.Member
		if _, had := old[m.Socket]; !had {
			w.noteLocked(Presence{m.Member, true})
		}
	}
	for id, m := range old {
		if _, has := n.members[id]; !has {
			w.noteLocked(Presence{m, false})
		}
	}
}

// changeLocked takes what has changed in a room on another node. mu is held.
func (l *link) changeLocked(p *packet) {
	w := l.h.watched[p.key]
	if w == nil || len(w.watchers) == 0 {
		return
	}
	n := w.nodes[p.node]
	switch {
	case n != nil && p.version <= n.version: // it is known
		return
	case n == nil || n.members == nil || p.before != n.version:
		l.askAgainLocked()
		return
	}
	n.version = p.version
	for _, m := range p.members {
		_, had := n.members[m.Socket]
		switch {
		case m.Joined && !had:
			n.members[m.Socket] = m.Member
		case !m.Joined && had:
			delete(n.members, m.Socket)
		default:
			continue
		}
		w.noteLocked(m)
	}
}

// askAgainLocked has the other nodes asked soon about all rooms that are watched here. mu is held.
func (l *link) askAgainLocked() {
	again := false
	for _, w := range l.h.watched {
		if len(w.watchers) > 0 {
			w.again, again = true, true
		}
	}
	if again {
		l.postLocked(func() { l.renewWatches(time.Now()) })
	}
}

// renewWatches asks other nodes about the rooms that are watched here, and forgets those who don't ask this one any more.
func (l *link) renewWatches(now time.Time) {
	h := l.h
	var packets []*packet
	h.mu.Lock()
	for key, w := range h.watched {
		for node, until := range w.others {
			if now.After(until) {
				delete(w.others, node)
			}
		}
		if since := now.Sub(w.asked); len(w.watchers) > 0 && l.cluster.all != nil && (since >= askEvery || w.again && since >= tickEvery) {
			w.asked, w.again = now, false
			p := l.packet(packetAsk)
			p.key, p.watch = key, true
			for node, n := range w.nodes {
				p.known = append(p.known, nodeVersion{node, n.version})
			}
			packets = append(packets, p)
		}
		w.settleLocked()
	}
	h.mu.Unlock()
	for _, p := range packets {
		l.tell("a", p) // else there is another time
	}
}
