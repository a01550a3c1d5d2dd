package sim

import (
	"fmt"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// settled tells whether all that is to arrive at the client, and from it, has, and both sides know.
func (p *player) settled() bool {
	if p.c.State() != client.Open {
		return p.c.State() == client.Closed
	}
	p.mu.Lock()
	l := p.log()
	p.mu.Unlock()
	if l == nil {
		return false
	}
	peer := p.peer(l)
	if peer.ctx.Err() != nil {
		return false
	}
	if p.plain {
		p.mu.Lock()
		defer p.mu.Unlock()
		peer.mu.Lock()
		evs := peer.sent
		peer.mu.Unlock()
		for name, r := range p.w.rooms {
			if name != "" && len(l.rooms[name]) != len(peer.expect(name, r.sent)) {
				return false
			}
		}
		return l.evs == evs
	}
	return p.w.wire.quiet(p.id)
}

// quiet tells whether all that a client's last session has written was acknowledged, both ways.
func (w *wire) quiet(client int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.current[client]
	if s != nil && s.noResume {
		return s.up.read == uint64(len(s.up.wrote)) && s.down.read == uint64(len(s.down.wrote))
	}
	return s != nil && s.server == s.client && s.up.acked == uint64(len(s.up.wrote)) && s.down.acked == uint64(len(s.down.wrote))
}

// checkSettled checks a client that has had time to get everything.
func (p *player) checkSettled() {
	if !p.settled() {
		p.breach("settled", "state %v; %s", p.c.State(), p.w.wire.describe(p.id))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c.State() == client.Closed {
		p.w.report.add("ended by the server", 1)
		if p.over != wsctl.CloseUnauthenticated { // twice in a row, since the network kept it from renewing in time
			p.breach("State", "Closed, by %d", p.over)
		}
		return
	}
	l := p.log()
	peer := p.peer(l)
	for name := range p.w.rooms {
		if name == "" {
			if p.everyone != p.w.rooms[name].sent && p.w.rooms[name].sent > peer.begin {
				p.breach("exactly once", "everyone's last message is %d, got %d", p.w.rooms[name].sent, p.everyone)
			}
			continue
		}
		want := peer.expect(name, p.w.rooms[name].sent)
		if got := l.rooms[name]; len(got) != len(want) {
			p.breach("exactly once", "room %s: %d messages of %d", name, len(got), len(want))
		}
	}
	if !p.plain {
		for _, typ := range eventTypes[:2] {
			if n := l.events[typ] + l.gaps[typ]; n != peer.events[typ] {
				p.breach("$gap", "%s: %d were sent, %d is the newest, with a gap of %d after it", typ, peer.events[typ], l.events[typ], l.gaps[typ])
			}
		}
	}
	for key, n := range peer.latest {
		if l.latest[key] != n {
			p.breach("Latest", "key %d is %d, got %d", key, n, l.latest[key])
		}
	}
	if l.evs != peer.sent {
		p.breach("exactly once", "message %d is the last, got %d", peer.sent, l.evs)
	}
	sessions := p.checkPuts()
	if p.unavailable > 0 && sessions == 1 && !p.plain && p.w.options.Resume > 0 {
		p.breach("calls", "%d were unavailable in one session", p.unavailable)
	}
}

// checkPuts checks that every Put was handled, but for those of a session that was lost, and returns how many sessions there
// were. mu is held.
func (p *player) checkPuts() (sessions int) {
	handled := make(map[int]*peer)
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, peer := range p.w.peers {
		if peer.client != p.id {
			continue
		}
		sessions++
		peer.mu.Lock()
		for _, n := range peer.puts {
			if handled[n] != nil {
				p.breach("exactly once", "Put %d is handled twice", n)
			}
			if !p.accepted[n] {
				p.breach("exactly once", "Put %d is handled, but Send refused it", n)
			}
			handled[n] = peer
		}
		peer.mu.Unlock()
	}
	p.w.report.add("puts", len(handled))
	if p.plain || p.w.options.Resume < 0 {
		return sessions
	}
	unseen := 0
	for n := range p.accepted {
		if handled[n] != nil {
			continue
		}
		switch live, seen := p.w.wire.put(p.id, n); {
		case live:
			p.breach("exactly once", "Put %d is not handled", n)
		case !seen:
			unseen++
			p.w.trace.add(event{what: "never written", a: int64(p.id), typ: "Put", id: int64(n)})
		}
	}
	if unseen > p.lost {
		p.breach("exactly once", "%d Puts are gone, %d were reported", unseen, p.lost)
	}
	if sessions == 1 && len(handled) != len(p.accepted) {
		p.breach("exactly once", "%d Puts of %d are handled in the only session", len(handled), len(p.accepted))
	}
	return sessions
}

// put tells whether a Put was written in the client's last session, and in any.
func (w *wire) put(client, n int) (live, seen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		if s.client != nil && s.client.conn.Client == client && s.puts[n] {
			seen = true
			live = live || s == w.current[client]
		}
	}
	return live, seen
}

// checkEnd checks sessions that ended: what came is the beginning of what was sent.
func (p *player) checkEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c.State() != client.Closed {
		p.breach("State", "%v after the end", p.c.State())
	}
	if p.gaps > len(p.logs) {
		p.breach("exactly once, in order", "%d gaps in everyone's messages, in %d sessions", p.gaps, len(p.logs))
	}
	for _, l := range p.logs {
		peer := p.peer(l)
		if l.evs > peer.sent {
			p.breach("exactly once", "%d messages were sent, got %d", peer.sent, l.evs)
		}
		p.w.report.add("messages", l.evs)
		for name, got := range l.rooms {
			want := peer.expect(name, p.w.rooms[name].sent)
			p.w.report.add("room messages", len(got))
			for i, n := range got {
				if i >= len(want) || want[i] != n {
					p.breach("exactly once, in order", "room %s: got %v, want the beginning of %v", name, got, want)
					break
				}
			}
		}
	}
}

// describe tells the counts of a client's last session.
func (w *wire) describe(client int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.current[client]; s != nil {
		return fmt.Sprintf("up: %d written, %d read, %d acknowledged; down: %d written, %d read, %d acknowledged; on one conn: %v",
			len(s.up.wrote), s.up.read, s.up.acked, len(s.down.wrote), s.down.read, s.down.acked, s.server == s.client)
	}
	return "no session"
}

// numbered is how many messages were written that have a number.
func (w *wire) numbered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, k := range w.types {
		n += k
	}
	return n
}

func settled(players []*player) bool {
	for _, p := range players {
		if !p.settled() {
			return false
		}
	}
	return true
}

// checkEnd checks that nothing is left.
func (w *world) checkEnd() {
	opened, bad := 0, 0
	for _, h := range w.old {
		st := h.Stats()
		if st.Sockets|st.Detached|st.Rooms|st.Calls|st.Streams|st.QueuedBytes != 0 {
			w.trace.breach("Stats", "%+v", st)
		}
		opened += int(st.Opened)
		bad += int(st.BadMessages)
	}
	if n := w.running.Load(); n != 0 {
		w.trace.breach("methods", "%d still run", n)
	}
	if opened != w.opened || bad != 0 {
		w.trace.breach("Stats", "Opened %d, OnOpen %d, BadMessages %d", opened, w.opened, bad)
	}
	for _, p := range w.peers {
		p.checkEnd()
	}
	for n, c := range w.calls {
		if c.ends != 1 || c.runs > 1 || c.outcome == "ok" && c.runs != 1 {
			w.trace.breach("calls", "call %d: ends %d, runs %d, %s", n, c.ends, c.runs, c.outcome)
		}
		w.report.add("call: "+c.outcome, 1)
	}
	for n, c := range w.asks {
		if c.ends != 1 || c.runs > 1 || c.outcome == "ok" && c.runs != 1 {
			w.trace.breach("calls", "call %d to the client: ends %d, runs %d, %s", n, c.ends, c.runs, c.outcome)
		}
		w.report.add("ask: "+c.outcome, 1)
	}
}

// count adds what happened to the report.
func (w *world) count() {
	w.report.add("seeds", 1)
	w.report.add("frames", w.wire.frames)
	w.report.add("sockets", w.opened)
	w.report.add("resumed", w.wire.resumes)
	w.report.add("resume refused", w.wire.renewed)
	w.report.add("late $hello", w.wire.late)
	w.report.add("from an old conn", w.wire.stale)
	w.report.add("written again", w.wire.again)
	for code, n := range w.wire.closes {
		w.report.add(fmt.Sprintf("close %d", code), n)
	}
	for typ, n := range w.wire.types {
		w.report.add("type "+typ, n)
	}
}
