package client

import (
	"math/rand/v2"
	"time"

	"github.com/wsctl/wsctl"
)

// Close codes of RFC 6455 that the client sends or judges, and that the wsctl package doesn't name.
const (
	closeProtocol    = 1002
	closeUnsupported = 1003
	closeTooBig      = 1009
	closeMandatory   = 1010
)

// ending is how an attempt or a connection ended.
type ending struct {
	err    error // mostly a *wsctl.CloseError
	code   int   // what it counts as in the table of close codes
	local  bool  // the client closed
	forget bool  // the session with it
	final  bool
}

func closedBy(code int, reason string) *ending {
	return &ending{err: &wsctl.CloseError{Code: code, Reason: reason}, code: code}
}

// garbage is the end of a connection whose server breaks the protocol. What the two sides know of the session doesn't fit
// any more, so it is forgotten; the next attempt may meet a better server.
func garbage(code int, reason string) *ending {
	e := closedBy(code, reason)
	e.local, e.forget = true, true
	return e
}

// retry decides what follows an ending. It is plain data; the caller has the lock.
type retry struct {
	dials        int  // since the last stable connection
	unauthorized bool // by 4401, without a stable connection since
	replaced     bool // by 4409, likewise
	away         bool // by $goaway, with the range
	min, max     time.Duration
}

type verdict struct {
	final, forget, atOnce bool
}

// judge reads the table of close codes.
func (r *retry) judge(e *ending, fresh bool) verdict {
	v := verdict{forget: e.forget, final: e.final}
	if v.final || e.local && e.code != closeTooBig {
		return v
	}
	switch c := e.code; {
	case c == wsctl.CloseNormal, c == closeProtocol, c == closeUnsupported, c >= 1007 && c <= closeMandatory:
		v.final = true
	case c == wsctl.CloseUnauthenticated:
		v.final = r.unauthorized || !fresh
		v.atOnce = true
		r.unauthorized = true
	case c == wsctl.CloseReplaced:
		v.final = r.replaced
		v.forget, v.atOnce = true, true
		r.replaced = true
	case c == wsctl.CloseTimeout, c == wsctl.CloseTooMany:
	case c >= 4400 && c <= 4499:
		v.final = true
	}
	return v
}

// stable says that a connection was open long enough.
func (r *retry) stable() { r.dials, r.unauthorized, r.replaced = 0, false, false }

// delay is the pause before the next dial.
func (r *retry) delay(o *Options) time.Duration {
	if r.away {
		r.away = false
		return r.min + part(r.max-r.min)
	}
	spread := time.Second << min(r.dials, 30)
	r.dials++
	return o.MinDelay + part(min(o.MaxDelay, spread))
}

func part(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
