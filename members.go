package wsctl

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Members returns the members of now, of all nodes, in no order. With a Broker it asks the other nodes, each of which answers with all
// its members (so it isn't for every request), and waits for them: for one that doesn't answer until it is known to be dead, at most
// 10 s, and in the first 2 s of this node, until it knows the others. The error is that of a bad room, as of Send, of a hub that has
// ended, of the broker, of a node that lives and doesn't answer in 12 s, or ctx's; then there are the members that are known of.
func (r Room) Members(ctx context.Context) ([]Member, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := []Member{}
	var err error
	if l := r.hub.link(); l != nil && l.remote {
		var others []Member
		others, err = l.ask(ctx, r.key)
		for _, m := range others {
			if !r.excepts(m.Socket) {
				all = append(all, m)
			}
		}
	}
	for _, s := range r.sockets() { // last: asking takes its time
		all = append(all, s.member())
	}
	return all, err
}

// inquiry is a question to other nodes: who is in a room? Guarded by the hub's mu.
type inquiry struct {
	waiting map[string]bool   // nodes that haven't answered
	parts   map[string]uint64 // how many parts of an answer have come, by node
	members map[string]Member
	done    chan struct{} // closed when none is waited for
	ended   bool
}

// doneLocked notes that a node has answered, or never will.
func (a *inquiry) doneLocked(node string) {
	if delete(a.waiting, node); len(a.waiting) == 0 {
		a.endLocked()
	}
}

func (a *inquiry) endLocked() {
	if !a.ended {
		a.ended = true
		close(a.done)
	}
}

// ask asks the other nodes for the members of a room.
func (l *link) ask(ctx context.Context, key roomKey) (members []Member, err error) {
	if err := l.connectBefore(ctx); err != nil {
		return nil, err
	}
	h := l.h
	h.mu.Lock()
	begun := l.cluster.all != nil
	h.mu.Unlock()
	if !begun { // it is no node any more: others would wait for its answers
		return nil, errEnded
	}
	if l.fails(publishing) > 0 { // others may be taken for dead
		if err := l.publishBefore(ctx, "a", l.packet(packetBeat)); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	young := time.Until(l.cluster.since.Add(settleTime))
	h.mu.Unlock()
	if young > 0 { // it hasn't heard of all others
		settled := time.NewTimer(young)
		defer settled.Stop()
		select {
		case <-settled.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	a := &inquiry{waiting: make(map[string]bool), parts: make(map[string]uint64), members: make(map[string]Member), done: make(chan struct{})}
	p := l.packet(packetAsk)
	h.mu.Lock()
	for node := range l.cluster.nodes {
		a.waiting[node] = true
	}
	l.cluster.lastAsk++
	p.key, p.request = key, l.cluster.lastAsk
	l.cluster.asks[p.request] = a
	l.tickLocked()
	if len(a.waiting) == 0 || l.stopped {
		a.endLocked()
	}
	h.mu.Unlock()
	again := time.NewTicker(askMembersEvery)
	defer again.Stop()
	last := time.NewTimer(nodeDies + 2*tickEvery)
	defer last.Stop()
	for done := false; !done && err == nil; { // what is asked, or answered, may get lost
		if err = l.publishBefore(ctx, "a", p); err != nil {
			break
		}
		select {
		case <-a.done:
			done = true
		case <-again.C:
		case <-ctx.Done():
			err = ctx.Err()
		case <-last.C:
			err = errors.New("wsctl: a node that lives doesn't say who its members are")
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(l.cluster.asks, p.request)
	for _, m := range a.members {
		members = append(members, m)
	}
	return members, err
}

// answeredLocked takes another node's answer. mu is held.
func (l *link) answeredLocked(p *packet) {
	if p.request != 0 {
		if a := l.cluster.asks[p.request]; a != nil {
			for _, m := range p.members {
				a.members[m.Socket] = m.Member
			}
			switch next := a.parts[p.node]; {
			case p.part == 0: // an answer begins, or begins anew
				a.parts[p.node] = 1
			case p.part == next:
				a.parts[p.node]++
			case p.part > next: // some are missing: it is asked again
				return
			}
			if !p.more && p.part+1 == a.parts[p.node] {
				a.doneLocked(p.node)
			}
		}
		return
	}
	w := l.h.watched[p.key]
	if w == nil || len(w.watchers) == 0 {
		return
	}
	n := w.nodes[p.node]
	switch {
	case n == nil:
		n = &nodeMembers{}
		w.nodes[p.node] = n
	case n.members != nil && p.version < n.version: // it comes late
		return
	}
	if p.part == 0 {
		n.parts, n.next, n.coming = nil, 0, p.version
	}
	if p.part != n.next || p.version != n.coming { // some are missing
		l.askAgainLocked()
		return
	}
	n.next++
	if n.parts = append(n.parts, p.members...); !p.more {
		w.replaceLocked(p.node, p.version, n.parts)
		n.parts, n.next, n.coming = nil, 0, 0
	}
}

// answer tells another node who is in a room here.
func (l *link) answer(p *packet) {
	h := l.h
	h.mu.Lock()
	var version uint64
	if p.watch {
		w := h.watchedLocked(p.key)
		w.others[p.node] = time.Now().Add(lease)
		if w.told != w.version {
			h.mu.Unlock()
			l.tellChanges(w)
			h.mu.Lock()
		}
		version = w.version
		l.tickLocked()
		if slices.Contains(p.known, nodeVersion{l.node, version}) {
			h.mu.Unlock()
			return
		}
	}
	var members []Presence
	for _, s := range h.membersLocked(p.key) {
		members = append(members, Presence{s.member(), true})
	}
	h.mu.Unlock()
	for part := uint64(0); part == 0 || len(members) > 0; part++ {
		n := min(len(members), partSize)
		a := l.packet(packetMembers)
		a.key, a.request, a.version, a.part, a.members, a.more = p.key, p.request, version, part, members[:n], len(members) > n
		members = members[n:]
		if !l.tell("n"+p.node, a) {
			return // it asks again, or gives up
		}
	}
}
