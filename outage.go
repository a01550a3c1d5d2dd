package wsctl

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// safely calls the broker. Its panic is logged, and an error: it may be on a goroutine of the hub's own, where it would end the process.
func (l *link) safely(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			l.h.log().Error("wsctl: the broker has panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the broker has panicked: %v", p)
		}
	}()
	return call()
}

// end ends a subscription.
func (l *link) end(stop func()) {
	if stop != nil {
		_ = l.safely(func() error { stop(); return nil }) // nothing can be done about it
	}
}

// service is a thing that the broker is asked for. One may fail while others succeed: the server is full, say, or has no JetStream.
type service int

const (
	publishing service = iota
	keeping
	subscribing
	recalling
	services // how many there are
)

// condition is how a service does.
type condition struct {
	failing atomic.Int64 // since when it has failed all the time, in nanoseconds of an instant; 0: it hasn't
	last    atomic.Int64 // when it last failed, as failing
	told    atomic.Bool  // the log says so
	logged  atomic.Int64 // when it last did, Unix seconds
}

// outcome notes whether the broker did what it was asked for, and returns its error with what was asked. The log hears of each service
// once a minute at most.
func (l *link) outcome(s service, what string, err error) error {
	c := &l.conditions[s]
	if err == nil {
		if l.slow.Load() {
			l.slow.Store(false)
		}
		if c.failing.Load() != 0 {
			if began := c.failing.Swap(0); began != 0 {
				l.isBack(s, what, since(time.Now())-instant(began))
			}
		}
		return nil
	}
	if l.ctx.Err() == nil {
		l.failures.Add(1)
		if errors.Is(err, context.DeadlineExceeded) {
			l.slow.Store(true)
		}
		now := int64(since(time.Now()))
		c.last.Store(now)
		c.failing.CompareAndSwap(0, now)
		if onceAMinute(&c.logged) {
			c.told.Store(true)
			l.h.log().Error("wsctl: the broker fails", "doing", what, "error", err)
		}
	}
	return fmt.Errorf("wsctl: %s: %w", what, err)
}

// isBack goes on after a service has failed for so long.
func (l *link) isBack(s service, what string, after time.Duration) {
	if l.conditions[s].told.Swap(false) {
		l.h.log().Info("wsctl: the broker is back", "doing", what)
	}
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.chored = time.Time{} // there may be something to try again
	l.tickLocked()
	if s == publishing && l.cluster.all != nil && after >= beatEvery { // else no beat of others was missed
		l.heardAgainLocked()
	}
}

// fails is for how long a service has failed all the time; 0: it hasn't.
func (l *link) fails(s service) time.Duration {
	began := l.conditions[s].failing.Load()
	if began == 0 {
		return 0
	}
	return max(since(time.Now())-instant(began), 1)
}

// downFor is for how long after it has failed a service that isn't asked again counts as one that fails.
const downFor = 10 * time.Second

// isDown tells whether any service fails.
func (l *link) isDown() bool {
	now := since(time.Now())
	for i := range l.conditions {
		if c := &l.conditions[i]; c.failing.Load() != 0 && now-instant(c.last.Load()) < downFor {
			return true
		}
	}
	return false
}

// away tells whether the broker has failed for so long that it isn't worth while to wait for it. A node whose sockets wait beats.
func (l *link) away() bool { return l.fails(publishing) > 2*brokerTimeout }

// patient tells whether a history that couldn't be asked may soon be.
func (l *link) patient() bool { return l.fails(recalling) < brokerTimeout }

// onceAMinute tells whether a minute has gone by since the last time that it said so, which is kept in last, in Unix seconds.
func onceAMinute(last *atomic.Int64) bool {
	now, before := time.Now().Unix(), last.Load()
	return now-before >= 60 && last.CompareAndSwap(before, now)
}

// stranger notes a message that isn't of a hub of this version. The log has one a minute.
func (l *link) stranger(key roomKey, err error) {
	l.failures.Add(1)
	if onceAMinute(&l.strangers) {
		l.h.log().Warn("wsctl: ignored what came from the broker", "to", key.String(), "error", err)
	}
}
