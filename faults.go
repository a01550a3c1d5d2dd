package wsctl

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	maxFaults   = 10 // bad messages within faultWindow; one more closes the connection
	faultWindow = 10 * time.Second
)

// faults are the times of the latest bad messages, and what was logged of all that a client may cause; guarded by the socket's
// mu.
type faults struct {
	times [maxFaults]time.Time
	n     int

	since   time.Time // when the count of logged lines began
	logged  int
	omitted int // lines
}

// faulty returns the socket's faults. mu is held.
func (s *Socket) faulty() *faults {
	if s.faults == nil {
		s.faults = new(faults)
	}
	return s.faults
}

// tooMany notes a fault, and tells whether it is one too many.
func (f *faults) tooMany(now time.Time) bool {
	oldest := &f.times[f.n%maxFaults]
	many := f.n >= maxFaults && now.Sub(*oldest) < faultWindow
	*oldest = now
	f.n++
	return many
}

// bad counts a bad message, and answers it where the protocol does: e has what was read before the fault. mu is held, and
// released.
func (s *Socket) bad(c *conn, e envelope, err error) (replaced bool) {
	s.h.badMessages.Add(1)
	switch {
	case s.faulty().tooMany(time.Now()):
		s.mu.Unlock()
		s.end(&CloseError{Code: CloseBadRequest, Reason: "too many bad messages"}, false)
	case e.id != 0 && len(e.typ) > 0 && e.typ[0] != '$':
		replaced = s.take(c, e, &Error{Code: CodeBadRequest, Message: err.Error()})
	default:
		s.mu.Unlock()
	}
	s.logClient("wsctl: bad message", "error", err)
	return replaced
}

// logFailure logs why a message failed: loudly if the application did, within limits if it may be the client's doing.
func (s *Socket) logFailure(e envelope, err error) {
	var client *Error
	var o obeyed
	switch {
	case err == errPanicked: // logged
	case errors.As(err, &o):
		s.h.log().Debug("wsctl: canceled", "type", string(e.typ), "id", e.id, "socket", s.id)
	case errors.As(err, &client), errors.Is(err, context.Canceled), errors.Is(err, ErrClosed), errors.Is(err, ErrSlow):
		s.logClient("wsctl: message failed", "type", string(e.typ), "error", err)
	default:
		s.h.log().Error("wsctl: message failed", "type", string(e.typ), "id", e.id, "socket", s.id, "error", err)
	}
}

const logLimit = 10 // lines for one socket within faultWindow that its client can cause

// logClient logs what a client can cause at will: so many lines, then the number of those that were left out.
func (s *Socket) logClient(msg string, args ...any) {
	s.mu.Lock()
	f, now := s.faulty(), time.Now()
	if now.Sub(f.since) >= faultWindow {
		f.since, f.logged = now, 0
	}
	f.logged++
	n, omitted := f.logged, f.omitted
	if n > logLimit {
		f.omitted++
	} else {
		f.omitted = 0
	}
	s.mu.Unlock()
	if n > logLimit {
		return
	}
	if omitted > 0 {
		args = append(args, "omitted", omitted)
	}
	s.h.log().Log(context.Background(), slog.LevelWarn, msg, append(args, "socket", s.id)...)
}
