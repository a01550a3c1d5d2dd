package wsctl

import (
	"math/rand/v2"
	"time"
)

// sweepState is what the sweeper notes of a socket's conn between sweeps. Of the sweeper alone.
type sweepState struct {
	conn     *conn
	heard    instant // when something was received, or the reader didn't listen
	ping     instant // when the next ping is due
	wrote    uint64
	progress instant // when a write got on, or nothing was to be written
}

// instant is a moment of the monotonic clock, in a third of a time.Time's memory.
type instant = time.Duration

var processStart = time.Now()

func since(t time.Time) instant { return t.Sub(processStart) }

// sweeper checks all sockets of a Handler every so often: one timer for all, which runs while there are sockets.
type sweeper struct {
	every time.Duration
	timer *time.Timer // guarded by Handler.mu
	spare []*Socket   // of the sweep alone
}

// sweepEvery is how often to look, so that nothing is noticed much later than it is due. An $ack is owed for a second at
// most.
func sweepEvery(o *Options) time.Duration {
	every := 900 * time.Millisecond
	for _, d := range []time.Duration{o.PingInterval, o.PingTimeout, o.WriteTimeout, o.Resume} {
		if d > 0 {
			every = min(every, d/20)
		}
	}
	return max(every, time.Millisecond)
}

// sweep looks after every socket.
func (h *Handler) sweep() {
	h.mu.Lock()
	all := append(h.sweeper.spare[:0], h.sockets...)
	h.mu.Unlock()
	now := time.Now()
	for _, s := range all {
		s.sweep(now)
	}
	clear(all)
	h.sweeper.spare = all
	h.mu.Lock()
	if len(h.sockets) > 0 {
		h.sweeper.timer.Reset(h.sweeper.every)
	} else {
		h.sweeper.timer = nil
	}
	h.mu.Unlock()
}

// sweep ends a socket whose time is up, pings its client, and acknowledges.
func (s *Socket) sweep(now time.Time) {
	s.mu.Lock()
	c, session := s.conn, s.session
	if s.ended != nil {
		c = nil
	}
	expired := session != nil && s.ended == nil && session.expired(now, s.h.opts.Resume)
	owed := session != nil && session.owed()
	if session != nil && session.recall != nil && session.recall.over(now) {
		session.recall = nil
	}
	s.mu.Unlock()
	if expired {
		s.expire("its client didn't come back")
	}
	if c == nil {
		s.swept = sweepState{} // what it refers to may be much
		return
	}
	o, st := &s.h.opts, &s.swept
	if st.conn != c {
		st.start(c, o)
	}
	s.out.mu.Lock()
	state, left, wrote := c.state, s.out.waiting(), c.wrote
	s.out.mu.Unlock()
	if state != connOpen {
		if state == connClosed { // a write has failed, and the reader may be waiting for something else
			c.hangUp(true)
			s.lost(c, &CloseError{Code: CloseAbnormal})
		}
		return
	}
	at := since(now)
	if c.seen.Swap(false) || c.at() == busy {
		st.heard = at
	}
	if left == 0 || wrote != st.wrote {
		st.wrote, st.progress = wrote, at
	}
	switch expires := s.Identity().Expires; {
	case !expires.IsZero() && !now.Before(expires):
		s.fail(c, &CloseError{Code: CloseUnauthenticated, Reason: "credential expired"})
	case o.WriteTimeout > 0 && at-st.progress >= o.WriteTimeout:
		s.disconnect(c, &CloseError{Code: CloseTimeout, Reason: "no progress in writing"}, false, true)
	case o.PingInterval > 0 && o.PingTimeout > 0 && at-st.heard-o.PingInterval >= o.PingTimeout:
		s.disconnect(c, &CloseError{Code: CloseTimeout, Reason: "no sign of life"}, false, true)
	case o.PingInterval > 0 && at >= st.ping:
		st.ping = at + o.PingInterval
		if session != nil {
			c.control(v1Ping)
		} else {
			c.control(wsPing)
		}
	}
	if owed {
		s.sendAck(c, false)
	}
	if at-st.heard >= idleTime {
		c.rouse()
	}
}

// start begins a connection's life in the eyes of the sweeper. The first ping comes after a random part of the interval, so
// that clients which came together don't answer together for ever.
func (st *sweepState) start(c *conn, o *Options) {
	*st = sweepState{conn: c, heard: c.since, progress: c.since}
	if o.PingInterval > 0 {
		st.ping = c.since + rand.N(o.PingInterval)
	}
}
