package wsctl

import "slices"

// send publishes a message to a room that keeps no history. If that fails this node's members get it nevertheless.
func (l *link) send(key roomKey, body []byte, f frames, except []*Socket) error {
	h := l.h
	p := l.packet(packetMessage)
	p.body, p.except = body, idsOf(except)
	if m := f.mark; m != nil {
		p.policy, p.typ, p.evKey = m.policy, m.typ, m.key
	}
	h.mu.Lock()
	l.own[p.seq] = ownFlying
	deaf := l.deafLocked(key) // also if it hears before publish returns
	h.mu.Unlock()
	err := l.publish(l.topicName(key), p)
	h.mu.Lock()
	defer h.mu.Unlock()
	back := err == nil && !deaf && !l.deafLocked(key) // it will come back to this node's members
	if back || l.own[p.seq] == ownDelivered {
		delete(l.own, p.seq)
		return nil
	}
	l.own[p.seq] = ownLocal
	if l.ownLate = append(l.ownLate, p.seq); len(l.ownLate) > maxOwnLate {
		delete(l.own, l.ownLate[0])
		l.ownLate = l.ownLate[1:]
	}
	h.makeRoomLocked()
	h.publishLocked(key, f, except)
	return err
}

// deafLocked tells whether a room has members here, and its topic isn't subscribed: the broker was away when they came. mu is held.
func (l *link) deafLocked(key roomKey) bool {
	r := l.h.rooms[key]
	return r != nil && r.topic != nil && r.topic.state != topicOpen
}

// deaf is deafLocked without the lock.
func (l *link) deaf(key roomKey) bool {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.deafLocked(key)
}

// sendKept publishes a message to a room that keeps history.
func (l *link) sendKept(key roomKey, body []byte, except []*Socket, keep Retention) error {
	p := l.packet(packetMessage)
	p.body, p.except = body, idsOf(except)
	return l.publishKept(l.topicName(key), p, keep)
}

// sendClose publishes the close of a room, behind what was sent to it. If that fails this node's members are closed nevertheless.
func (l *link) sendClose(r Room, code int, reason string, keep Retention) (err error) {
	p := l.packet(packetClose)
	p.key, p.except, p.code, p.reason = r.key, idsOf(r.except), code, reason
	switch s := l.h.socket(r.key.name); {
	case keep.keeps():
		err = l.publishKept(l.topicName(r.key), p, keep)
	case r.key.kind != kindSocket:
		deaf := l.deaf(r.key)
		if err = l.publish(l.topicName(r.key), p); deaf || l.deaf(r.key) {
			r.closeHere(code, reason)
		}
	case s != nil && !r.excepts(s.id):
		_ = s.Close(code, reason) // ErrClosed: somebody else was faster
	case s == nil && nodeOf(r.key.name) != "" && nodeOf(r.key.name) != l.node:
		return l.publish(l.topicName(r.key), p)
	}
	if err != nil {
		r.closeHere(code, reason)
	}
	return err
}

// closeLocked closes the members of now, after what they were given, but for some. mu is held.
func (l *link) closeLocked(key roomKey, p *packet, not []*Socket) {
	members := slices.DeleteFunc(l.h.membersLocked(key), func(s *Socket) bool { return slices.Contains(not, s) })
	if len(members) == 0 || l.stopped {
		return
	}
	l.work.Add(1)
	go func() {
		defer l.work.Done()
		for _, s := range members {
			if !slices.Contains(p.except, s.id) {
				_ = s.Close(p.code, p.reason) // ErrClosed: somebody else was faster. A bad code isn't sent
			}
		}
	}()
}

// sendDirect publishes a message to a socket of another node, if its ID is of one.
func (l *link) sendDirect(id string, body []byte, mark *eventMark) error {
	node := nodeOf(id)
	if node == "" || node == l.node {
		return nil
	}
	p := l.packet(packetDirect)
	p.key, p.body = roomKey{kindSocket, id}, body
	if mark != nil {
		p.policy, p.typ, p.evKey = mark.policy, mark.typ, mark.key
	}
	return l.publish("n"+node, p)
}

func idsOf(sockets []*Socket) (ids []string) {
	for _, s := range sockets {
		if s != nil {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// take does what a packet of another node, or of this one, says.
func (l *link) take(t *topic, p *packet) {
	switch p.kind {
	case packetMessage:
		l.takeMessage(t, p)
	case packetDirect:
		if s := l.h.socket(p.key.name); s != nil {
			_ = s.sendFrames(p.frames(s.out.deflated.Load())) // a socket that has ended is no member
		}
	case packetClose:
		l.h.mu.Lock()
		if t.state != topicGone {
			key := t.key
			if key.kind == kindSocket { // this node's own topic
				key = p.key
			}
			l.closeLocked(key, p, nil)
		}
		l.h.mu.Unlock()
	case packetSession:
		if p.node != l.node {
			l.supersede(p)
		}
	default:
		if p.node != l.node {
			l.hear(p)
		}
	}
}

// frames returns the frames of the packet's message.
func (p *packet) frames(deflating bool) frames {
	f := framesOf(p.body, deflating)
	if p.policy != policyNone {
		f.mark = &eventMark{typ: p.typ, policy: p.policy, key: p.evKey}
	}
	return f
}

func (l *link) takeMessage(t *topic, p *packet) {
	h := l.h
	f := p.frames(h.deflating.Load() > 0)
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.state == topicGone { // another subscription has the message
		return
	}
	if p.node == l.node {
		switch state, ok := l.own[p.seq]; {
		case ok && state == ownFlying:
			l.own[p.seq] = ownDelivered
		case ok: // members have it
			delete(l.own, p.seq)
			return
		}
	}
	h.makeRoomLocked()
	h.publishLocked(t.key, f, h.namedLocked(p.except))
}

// namedLocked returns those of this node's sockets that are named. mu is held.
func (h *Hub) namedLocked(ids []string) (named []*Socket) {
	for _, id := range ids {
		if s := h.sockets[id]; s != nil {
			named = append(named, s)
		}
	}
	return named
}

// socket returns the open socket with that ID, or nil.
func (h *Hub) socket(id string) *Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sockets[id]
}
