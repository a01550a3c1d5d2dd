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
	settleTime = 2 * tickEvery    // in which a node that has just begun hears of the others
	pauseTime  = 4 * time.Second  // between two ticks, of a node that was paused: what it heard of others means nothing
	byeTime    = time.Minute      // that a node is remembered which has said that it ends

	askMembersEvery = 2 * time.Second // until all nodes have answered
	choreEvery      = 3 * time.Second
	checkEvery      = time.Minute     // of rooms with history in which nothing has happened; then ever more rarely
	maxQuiet        = 4 * time.Minute // so that their history, which asking prolongs, lives on
)

// cluster is what a hub knows of the others. Guarded by the hub's mu.
type cluster struct {
	all, own *topic               // of all nodes, of this one; nil: it hasn't begun
	since    time.Time            // when it began to hear of others, or began again
	nodes    map[string]time.Time // when another was last heard
	gone     map[string]time.Time // those that have said that they end, and when
	beat     time.Time            // when this one last told that it lives
	beating  bool                 // it is about to tell
	asking   bool                 // ... and to ask the others to do so
	outgoing []func()             // what is to be told to other nodes, one after the other
	sending  bool                 // a goroutine does
	asks     map[uint64]*inquiry  // who is in a room?
	lastAsk  uint64
}

func (c *cluster) init() {
	c.nodes = make(map[string]time.Time)
	c.gone = make(map[string]time.Time)
	c.asks = make(map[uint64]*inquiry)
}

// hearsLocked tells whether what others say reaches this node. Before that there is no use in asking. mu is held.
func (c *cluster) hearsLocked() bool {
	return c.all != nil && c.all.state == topicOpen && c.own.state == topicOpen
}

// connect begins to listen to other nodes. If the broker is away it goes on without, and tries again later.
func (l *link) connect() {
	h := l.h
	h.mu.Lock()
	begun := l.cluster.all != nil || h.ended
	h.mu.Unlock()
	if begun {
		return
	}
	own := l.want(roomKey{kindSocket, "." + l.node})
	all := l.want(roomKey{kindEveryone, ""})
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.cluster.all != nil || l.stopped { // at the same time
		own.releaseLocked()
		all.releaseLocked()
		return
	}
	l.cluster.all, l.cluster.own = all, own
	if l.cluster.hearsLocked() {
		l.heardAgainLocked()
	}
	l.tickLocked()
}

// connectBefore is connect, for one who needs the others and waits until ctx ends. The error is ctx's, or the broker's.
func (l *link) connectBefore(ctx context.Context) error {
	h, c := l.h, &l.cluster
	h.mu.Lock()
	if c.hearsLocked() || h.ended || l.stopped {
		h.mu.Unlock()
		return nil
	}
	l.work.Add(1)
	h.mu.Unlock()
	done := make(chan error, 1)
	go func() { // it goes on when ctx has ended: others need it, too
		defer l.work.Done()
		l.connect()
		for _, key := range []roomKey{{kindSocket, "." + l.node}, {kindEveryone, ""}} {
			t, err := l.acquire(key, Retention{})
			if err != nil {
				done <- err
				return
			}
			l.release(t)
		}
		done <- nil
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// heardAgainLocked begins to hear of other nodes, anew if it was interrupted: they are asked, and none is dead before it can have
// answered. mu is held.
func (l *link) heardAgainLocked() {
	c := &l.cluster
	c.since = time.Now()
	for node := range c.nodes {
		c.nodes[node] = c.since
	}
	c.asking = true
	l.beatLocked()
}

// wakeLocked tells the others at once of a node that has rested. mu is held.
func (l *link) wakeLocked() {
	if l.timer == nil && l.cluster.all != nil && time.Since(l.cluster.beat) >= beatEvery {
		l.beatLocked()
	}
	l.tickLocked()
}

// beatLocked has the node beat, before all else that it tells others. mu is held.
func (l *link) beatLocked() {
	if !l.stopped {
		l.cluster.beating = true
		l.cluster.beat = time.Now()
		l.sendLocked()
	}
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
	c.outgoing = append(c.outgoing, tell)
	l.sendLocked()
	return true
}

func (l *link) sendLocked() {
	if !l.cluster.sending {
		l.cluster.sending = true
		l.work.Add(1)
		go l.sendOutgoing()
	}
}

// sendOutgoing is the goroutine that beats and calls what was posted, until there is nothing.
func (l *link) sendOutgoing() {
	defer l.work.Done()
	h, c := l.h, &l.cluster
	h.mu.Lock()
	defer h.mu.Unlock()
	for !l.stopped && (c.beating || len(c.outgoing) > 0) {
		var tell func()
		if c.beating {
			p := l.packet(packetBeat)
			if c.asking {
				p.flags = beatAsk
			}
			c.beating, c.asking = false, false
			tell = func() { l.tell("a", p) }
		} else {
			tell = c.outgoing[0]
			c.outgoing[0] = nil
			c.outgoing = c.outgoing[1:]
		}
		h.mu.Unlock()
		tell()
		h.mu.Lock()
	}
	c.outgoing, c.sending = nil, false
}

// want is acquire for a topic that can wait for the broker.
func (l *link) want(key roomKey) *topic {
	if !l.slow.Load() { // else it would be waited for in vain
		if t, err := l.acquire(key, Retention{}); err == nil {
			return t
		}
	}
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	t := l.topicLocked(key, Retention{})
	t.dueAgainLocked(time.Now())
	return t
}

// announce tells other nodes that a client, which came with a session that this one doesn't know, has begun another one: the node that
// has it ends it. try is that of its $hello.
func (h *Hub) announce(session, user string, try int64) {
	l := h.link()
	if l == nil || !l.remote {
		return
	}
	p := l.packet(packetSession)
	p.session, p.user, p.try = session, user, uint64(try)
	h.mu.Lock()
	defer h.mu.Unlock()
	l.postLocked(func() { l.tell("a", p) }) // else the old session ends when its time is up
}

var errElsewhere = &CloseError{Code: CloseReplaced, Reason: "its client has begun a session on another node"}

// supersede ends a session whose client has begun another one elsewhere, unless it has come back to it since.
func (l *link) supersede(p *packet) {
	if s := l.h.socket(p.session + "." + l.node); s != nil && s.session != nil && s.Identity().User == p.user {
		s.endUnless(errElsewhere, true, func() bool { return uint64(s.session.try) >= p.try })
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
		l.cluster.gone[p.node] = time.Now()
		return
	}
	if _, gone := l.cluster.gone[p.node]; gone { // what it has said before that comes late
		return
	}
	_, known := l.cluster.nodes[p.node]
	l.cluster.nodes[p.node] = time.Now()
	if !known {
		l.askAgainLocked()
	}
	switch p.kind {
	case packetBeat:
		switch {
		case p.flags&beatAsk == 0:
		case !known || time.Since(l.cluster.beat) >= tickEvery:
			l.beatLocked()
		default: // it may have missed that beat. The next tick has one for all who ask
			l.cluster.beat = time.Time{}
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
		l.ticked = time.Time{}
		h.mu.Unlock()
		return
	}
	l.tickLocked()
	beat := l.cluster.all != nil && now.Sub(l.cluster.beat) >= beatEvery
	if !l.ticked.IsZero() && now.Sub(l.ticked) >= pauseTime {
		l.heardAgainLocked()
	}
	l.ticked = now
	for node, heard := range l.cluster.nodes {
		if now.Sub(heard) >= nodeDies {
			l.deadLocked(node)
		}
	}
	for node, at := range l.cluster.gone {
		if now.Sub(at) >= byeTime {
			delete(l.cluster.gone, node)
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

// stop ends the link: the last handler is shut down.
func (l *link) stop(ctx context.Context) error {
	h := l.h
	h.mu.Lock()
	if h.handlers > 0 { // there is another one
		h.mu.Unlock()
		return nil
	}
	begun := l.cluster.all != nil
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
	h.linked.CompareAndSwap(l, nil)
	h.mu.Unlock()
	l.cancel()
	done := make(chan struct{})
	go func() { // ends with the work
		defer close(done)
		for _, stop := range stops {
			l.end(stop)
		}
		l.work.Wait()
	}()
	err := waitFor(ctx, done)
	if begun {
		l.sayBye(ctx)
	}
	return err
}

// sayBye is the last that other nodes hear of this one; else they find out. It has a moment also where ctx has ended.
func (l *link) sayBye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 250*time.Millisecond)
	defer cancel()
	p := l.packet(packetBeat)
	p.flags = beatBye
	_ = l.publishBefore(ctx, "a", p)
}
