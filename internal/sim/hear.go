package sim

import "encoding/json"

// loses is told of messages that may or may not have been handled.
func (p *player) loses(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost += n
	p.w.trace.add(event{what: "lost", a: int64(p.id), id: int64(n)})
	p.w.report.add("reported lost", n)
}

// log is the newest session's. mu is held.
func (p *player) log() *sessionLog {
	if len(p.logs) == 0 {
		return nil
	}
	return p.logs[len(p.logs)-1]
}

// hello takes the first message of a session: what comes later is of this one.
func (p *player) hello(sock string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.logs {
		if l.sock == sock {
			p.breach("exactly once", "a second Hello of %s", sock)
		}
	}
	p.logs = append(p.logs, &sessionLog{sock: sock, rooms: make(map[string][]int), events: make(map[string]int),
		gaps: make(map[string]int), latest: make(map[int]int)})
}

// ev takes the next numbered message.
func (p *player) ev(m payload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.log()
	if l == nil || m.Sock != l.sock {
		p.breach("session", "message %d of another session", m.N)
		return
	}
	if m.N != l.evs+1 {
		p.breach("exactly once, in order", "message %d after %d", m.N, l.evs)
	}
	l.evs = m.N
}

// event takes a message whose event has a queue policy.
func (p *player) event(typ string, m payload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.log()
	if l == nil || m.Sock != l.sock {
		p.breach("session", "%s %d of another session", typ, m.N)
		return
	}
	last := l.events[typ]
	switch {
	case typ == "Latest":
		if m.N <= l.latest[m.key()] {
			p.breach("exactly once, in order", "%s %d after %d", typ, m.N, l.latest[m.key()])
		}
		l.latest[m.key()] = m.N
	case m.N <= last:
		p.breach("exactly once, in order", "%s %d after %d", typ, m.N, last)
	case !p.plain && m.N != last+l.gaps[typ]+1:
		p.breach("$gap", "%s %d after %d and gaps of %d", typ, m.N, last, l.gaps[typ])
	}
	l.events[typ], l.gaps[typ] = m.N, 0
}

// message takes $gap.
func (p *player) message(typ string, data json.RawMessage) {
	var gap struct {
		Type    string
		Dropped int
	}
	if err := json.Unmarshal(data, &gap); typ != "$gap" || err != nil {
		p.breach("message", "%s %s", typ, data)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w.report.add("dropped: "+gap.Type, gap.Dropped)
	if l := p.log(); l != nil {
		l.gaps[gap.Type] += gap.Dropped
	}
}

// room takes a message of a room. Those to everyone may come before Hello: the socket is a member by then.
func (p *player) room(m roomMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.log()
	if m.Room != "" {
		if l == nil {
			p.breach("session", "room %s: message %d before Hello", m.Room, m.N)
			return
		}
		l.rooms[m.Room] = append(l.rooms[m.Room], m.N)
		return
	}
	switch {
	case m.N <= p.everyone:
		p.breach("exactly once, in order", "everyone's message %d after %d", m.N, p.everyone)
	case m.N > p.everyone+1:
		p.gaps++ // it had no session meanwhile
		if l != nil && !l.everyone {
			peer := p.peer(l)
			if m.N > peer.begin+1 {
				p.breach("exactly once, in order", "everyone's message %d is the first, of %d", m.N, peer.begin+1)
			}
		}
	}
	p.everyone = m.N
	if l != nil {
		l.everyone = true
	}
}

// peer is the server's side of a session.
func (p *player) peer(l *sessionLog) *peer {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.peers[l.sock]
}
