package wsctl

import "time"

// rate is a token bucket that may be in debt; guarded by the socket's mu.
type rate struct {
	tokens float64
	at     time.Time // when tokens was right; zero: the bucket is full
}

// take takes a token, and returns how long to wait before the next.
func (r *rate) take(now time.Time, perSecond float64, burst int) time.Duration {
	if r.at.IsZero() {
		r.tokens = float64(burst)
	} else {
		r.tokens = min(float64(burst), r.tokens+now.Sub(r.at).Seconds()*perSecond)
	}
	r.at = now
	r.tokens--
	if r.tokens >= 0 {
		return 0
	}
	return time.Duration(-r.tokens / perSecond * float64(time.Second))
}

// slow keeps the reader from reading on while its client is over Options.RateLimit. Nothing is dropped: TCP holds the client
// back.
func (s *Socket) slow(c *conn) {
	o := &s.h.opts
	s.mu.Lock()
	if s.rate == nil {
		s.rate = new(rate)
	}
	wait := s.rate.take(time.Now(), o.RateLimit, o.RateBurst)
	s.mu.Unlock()
	if wait == 0 {
		return
	}
	s.endBurstOf(c)
	due := time.Now().Add(wait) // before the timer is set, which fires but once
	timer := time.NewTimer(wait)
	defer timer.Stop()
	s.mu.Lock()
	for s.conn == c && s.ended == nil && !s.stopping.Load() && time.Now().Before(due) {
		s.pause(timer.C)
	}
	s.mu.Unlock()
}
