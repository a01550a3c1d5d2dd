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

// outcome notes whether the broker did what it was asked for, and returns its error with what was asked. The log hears of it once a
// minute at most: some things may fail while others succeed.
func (l *link) outcome(what string, err error) error {
	if err == nil {
		if l.slow.Load() {
			l.slow.Store(false)
		}
		if l.isDown() {
			if began := l.failing.Swap(0); began != 0 {
				l.isBack(since(time.Now()) - instant(began))
			}
		}
		return nil
	}
	if l.ctx.Err() == nil {
		l.failures.Add(1)
		if errors.Is(err, context.DeadlineExceeded) {
			l.slow.Store(true)
		}
		l.failing.CompareAndSwap(0, int64(since(time.Now())))
		if !l.told.Load() && onceAMinute(&l.logged) {
			l.told.Store(true)
			l.h.log().Error("wsctl: the broker fails", "doing", what, "error", err)
		}
	}
	return fmt.Errorf("wsctl: %s: %w", what, err)
}

// isDown tells whether the last thing that the broker was asked for failed.
func (l *link) isDown() bool { return l.failing.Load() != 0 }

// isBack goes on after the broker has failed for so long.
func (l *link) isBack(after time.Duration) {
	if l.told.Swap(false) {
		l.h.log().Info("wsctl: the broker is back")
	}
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.chored = time.Time{} // there may be something to try again
	l.tickLocked()
	if l.cluster.all != nil && after >= beatEvery { // else no beat of others was missed
		l.heardAgainLocked()
	}
}

// away tells whether the broker has failed for so long that it isn't worth while to wait for it.
func (l *link) away() bool {
	began := l.failing.Load()
	return began != 0 && since(time.Now())-instant(began) > 2*brokerTimeout
}

// patient tells whether a history that couldn't be asked may soon be.
func (l *link) patient() bool {
	began := l.unasked.Load()
	return began == 0 || since(time.Now())-instant(began) < brokerTimeout
}

// onceAMinute tells whether a minute has gone by since the last time that it said so, which is kept in last, in Unix seconds.
func onceAMinute(last *atomic.Int64) bool {
	now, before := time.Now().Unix(), last.Load()
	return now-before >= 60 && last.CompareAndSwap(before, now)
}

// stranger notes a message that isn't of a hub of this version. The log has one a minute.
func (l *link) stranger(topic string, err error) {
	l.failures.Add(1)
	if onceAMinute(&l.strangers) {
		l.h.log().Warn("wsctl: ignored what came from the broker", "topic", topic, "error", err)
	}
}
