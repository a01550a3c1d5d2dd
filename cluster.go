package wsctl

import (
	"context"
	"time"
)

// Nodes beat, so that each knows of the others: whom to ask who is in a room, and whose members are gone.
const (
	tickEvery  = time.Second
	beatEvery  = 3 * time.Second
	nodeDies   = 10 * time.Second // without a beat
	settleTime = time.Second      // in which a node that has just begun hears of the others
	choreEvery = 3 * time.Second
	checkEvery = time.Minute     // of rooms with history in which nothing has happened; then ever more rarely
	maxQuiet   = 4 * time.Minute // so that their history, which asking prolongs, lives on
)

// cluster is what a hub knows of the others. Guarded by the hub's mu.
type cluster struct {
	all, own *topic               // of all nodes, of this one; nil: it hasn't begun
	since    time.Time            // when it began
	nodes    map[string]time.Time // when another was last heard
	beat     time.Time            // when this one last told that it lives
	beating  bool                 // one is about to be sent
	outgoing []func()             // what is to be told to other nodes, one after the other
	sending  bool                 // a goroutine does
	asks     map[uint64]*inquiry  // who is in a room?
	lastAsk  uint64
}

func (c *cluster) init() {
	c.nodes = make(map[string]time.Time)
	c.asks = make(map[uint64]*inquiry)
}

// connect begins to listen to other nodes. If the broker is away it goes on without, and tries again later.
func (l *link) connect() {
	h := l.h
	h.mu.Lock()
	begun := l.cluster.all != nil
	h.mu.Unlock()
	if begun {
		return
	}
	own := l.want(roomKey{kindSocket, "." + l.node})
	all := l.want(roomKey{kindEveryone, ""})
	h.mu.Lock()
	if begun = l.cluster.all != nil; !begun {
		l.cluster.all, l.cluster.own, l.cluster.since = all, own, time.Now()
		l.cluster.beat = time.Now()
		l.tickLocked()
	}
	h.mu.Unlock()
	if begun { // at the same time
		l.release(own)
		l.release(all)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l.postLocked(func() { l.sendBeat(beatAsk) })
}

// wakeLocked tells the others at once of a node that has rested. mu is held.
func (l *link) wakeLocked() {
	if l.timer == nil && l.cluster.all != nil && time.Since(l.cluster.beat) >= beatEvery {
		l.beatLocked()
	}
	l.tickLocked()
}

// beatLocked has the node beat soon. mu is held.
func (l *link) beatLocked() {
	if l.cluster.beating {
		return
	}
	l.cluster.beating = true
	l.cluster.beat = time.Now()
	l.postLocked(func() {
		l.h.mu.Lock()
		l.cluster.beating = false
		l.h.mu.Unlock()
		l.sendBeat(0)
	})
}

// maxOutgoing is how much may wait to be told to other nodes. What is left out they ask for again.
const maxOutgoing = 10_000

// postLocked has a function called that tells other nodes something, after those that were posted before. It reports false if
// too many wait. mu is held.
func (l *link) postLocked(tell func()) bool {
	c := &l.cluster
	if l.stopped || len(c.outgoing) >= maxOutgoing {
		return false
	}
	if c.outgoing = append(c.outgoing, tell); !c.sending {
		c.sending = true
		l.work.Add(1)
		go l.sendOutgoing()
	}
	return true
}

// sendOutgoing is the goroutine that calls what was posted, until there is nothing.
func (l *link) sendOutgoing() {
	defer l.work.Done()
	h, c := l.h, &l.cluster
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(c.outgoing) > 0 && !l.stopped {
		tell := c.outgoing[0]
		c.outgoing[0] = nil
		c.outgoing = c.outgoing[1:]
		h.mu.Unlock()
		tell()
		h.mu.Lock()
	}
	c.outgoing, c.sending = nil, false
}

func (l *link) sendBeat(flags beatFlags) {
	p := l.packet(packetBeat)
	p.flags = flags
	_ = l.publish("a", p) // it is noticed
}

// want is acquire for a topic that can wait for the broker.
func (l *link) want(key roomKey) *topic {
	if !l.down.Load() {
		if t, err := l.acquire(key, Retention{}); err == nil {
			return t
		}
	}
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.topicLocked(key, Retention{})
}

// announce tells other nodes that a client comes with a session that this one doesn't know: the one that has it ends it.
func (h *Hub) announce(secret string, id Identity) {
	l := h.link()
	if l == nil || !l.remote {
		return
	}
	hash := socketID(secret)
	if h.socket(hash+"."+l.node) != nil { // it is this one's
		return
	}
	p := l.packet(packetSession)
	p.session, p.user = hash, id.User
	h.mu.Lock()
	defer h.mu.Unlock()
	l.postLocked(func() { _ = l.publish("a", p) }) // else the old session ends when its time is up
}

var errElsewhere = &CloseError{Code: CloseReplaced, Reason: "its client has begun a session on another node"}

// supersede ends a session whose client has begun another one elsewhere.
func (l *link) supersede(p *packet) {
	if s := l.h.socket(p.session + "." + l.node); s != nil && s.session != nil && s.Identity().User == p.user {
		s.end(errElsewhere, true)
	}
}

// hear takes what other nodes say about themselves.
func (l *link) hear(p *packet) {
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.stopped {
		return
	}
	if p.kind == packetBeat && p.flags&beatBye != 0 {
		l.deadLocked(p.node)
		return
	}
	_, known := l.cluster.nodes[p.node]
	l.cluster.nodes[p.node] = time.Now()
	if !known {
		l.askAgainLocked()
	}
	switch p.kind {
	case packetBeat:
		if p.flags&beatAsk != 0 {
			l.beatLocked()
		}
	case packetAsk:
		l.postLocked(func() { l.answer(p) })
	case packetMembers:
		l.answeredLocked(p)
	case packetChange:
		l.changeLocked(p)
	}
}

// deadLocked forgets a node, and its members. mu is held.
func (l *link) deadLocked(node string) {
	delete(l.cluster.nodes, node)
	for _, a := range l.cluster.asks {
		a.doneLocked(node)
	}
	for _, w := range l.h.watched {
		w.replaceLocked(node, 0, nil)
		delete(w.nodes, node)
	}
}

// tickLocked has tick run. mu is held.
func (l *link) tickLocked() {
	if l.timer == nil && !l.stopped {
		l.timer = time.AfterFunc(tickEvery, l.tick)
	}
}

// activeLocked tells whether tick has something to look after: it rests else, and with it the node's heart. mu is held.
func (l *link) activeLocked() bool {
	core := 0
	if l.cluster.all != nil {
		core = 2
	}
	return len(l.h.sockets) > 0 || len(l.topics) > core || len(l.stale) > 0 || len(l.cluster.asks) > 0 || len(l.h.watched) > 0
}

// tick runs once a second while there is something to look after.
func (l *link) tick() {
	h := l.h
	now := time.Now()
	h.mu.Lock()
	if l.timer = nil; l.stopped || !l.activeLocked() {
		h.mu.Unlock()
		return
	}
	l.tickLocked()
	beat := l.cluster.all != nil && now.Sub(l.cluster.beat) >= beatEvery
	for node, heard := range l.cluster.nodes {
		if now.Sub(heard) >= nodeDies {
			l.deadLocked(node)
		}
	}
	if beat {
		l.beatLocked()
	}
	if !l.busy && now.Sub(l.chored) >= choreEvery {
		l.busy, l.chored = true, now
		l.work.Add(1)
		go l.chores(now)
	}
	h.mu.Unlock()
	l.tellPositions(now)
}

// chores is the goroutine that does what takes the broker's time, one thing after the other: it leaves topics that nobody needs,
// and tries again what has failed.
func (l *link) chores(now time.Time) {
	defer l.work.Done()
	h := l.h
	var stops []func()
	var closed, quiet []*topic
	h.mu.Lock()
	for _, t := range l.topics {
		switch {
		case t.state == topicOpen && t.users == 0 && now.Sub(t.idle) >= t.lingers():
			if stop := t.forgetLocked(); stop != nil {
				stops = append(stops, stop)
			}
		case t.state == topicClosed && t.users > 0:
			t.users++
			closed = append(closed, t)
		case t.recent.active && t.recent.joins == 0 && now.Sub(t.recent.used) >= recentTime:
			t.recent = recent{}
		case l.remote && t.state == topicOpen && t.keep.keeps() && !t.holding && now.Sub(t.checked) >= t.quiet:
			quiet = append(quiet, t)
		}
	}
	if len(quiet) > 0 && !l.checking && !l.stopped {
		l.checking = true
		l.work.Add(1)
		go l.check(quiet)
	}
	h.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	l.reopen(closed)
	l.renewWatches(now)
	h.mu.Lock()
	l.busy = false
	h.mu.Unlock()
}

// reopen tries again to subscribe to topics, which have one user more for it.
func (l *link) reopen(closed []*topic) {
	var err error
	for _, t := range closed {
		var again *topic
		if err == nil { // else the others would fare the same
			again, err = l.acquire(t.key, t.keep)
		}
		l.h.mu.Lock()
		if again != nil {
			again.releaseLocked()
		}
		t.releaseLocked()
		l.h.mu.Unlock()
	}
}

// check is the goroutine that asks whether something was missed in rooms in which nothing happens, the more rarely the longer that is
// so. It ends when it has asked for each.
func (l *link) check(quiet []*topic) {
	defer l.work.Done()
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range quiet {
		if l.stopped {
			break
		}
		if t.state != topicOpen || t.holding {
			continue
		}
		t.holding = true
		t.quiet = min(2*t.quiet, maxQuiet)
		if t.catchUpLocked() != nil {
			l.findLocked(t)
			break
		}
	}
	l.checking = false
}

// lingers is how long a topic is kept that nobody needs. History that is this node's alone ends with it.
func (t *topic) lingers() time.Duration {
	if t.l.remote && t.l.memory != nil && t.keep.keeps() {
		return t.keep.outlives()
	}
	return linger
}

// stop ends the link: the last handler is shut down.
func (l *link) stop(ctx context.Context) error {
	h := l.h
	h.mu.Lock()
	begun := l.cluster.all != nil
	h.mu.Unlock()
	if begun {
		p := l.packet(packetBeat)
		p.flags = beatBye
		limited, cancel := context.WithTimeout(ctx, brokerTimeout)
		_ = l.outcome("publishing", l.broker.Publish(limited, "a", p.encode())) // else the others find out
		cancel()
	}
	h.mu.Lock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var stops []func()
	for _, t := range l.topics {
		stops = append(stops, t.forgetLocked())
	}
	for _, a := range l.cluster.asks {
		a.endLocked()
	}
	h.mu.Unlock()
	l.cancel()
	for _, stop := range stops {
		if stop != nil {
			stop()
		}
	}
	done := make(chan struct{})
	go func() {
		l.work.Wait()
		close(done)
	}()
	h.linked.CompareAndSwap(l, nil)
	return waitFor(ctx, done)
}
