package wsctl

import (
	"container/heap"
	"time"
)

// agenda is the topics that chores will have to look at, a heap by when: there may be a million topics, most of which need nothing.
type agenda []*topic

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].turn, a[j].turn = i, j
}

func (a *agenda) Push(t any) {
	t.(*topic).turn = len(*a)
	*a = append(*a, t.(*topic))
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	t := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return t
}

// dueLocked has chores look at the topic at a time, or before. mu is held.
func (t *topic) dueLocked(at time.Time) {
	switch {
	case t.state == topicGone:
	case t.due.IsZero():
		t.due = at
		heap.Push(&t.l.agenda, t)
	case at.Before(t.due):
		t.due = at
		heap.Fix(&t.l.agenda, t.turn)
	}
}

// undueLocked has chores look at it no more. mu is held.
func (t *topic) undueLocked() {
	if !t.due.IsZero() {
		heap.Remove(&t.l.agenda, t.turn)
		t.due = time.Time{}
	}
}

// takeDueLocked returns the topics that are due. mu is held.
func (l *link) takeDueLocked(now time.Time) (all []*topic) {
	for len(l.agenda) > 0 && !now.Before(l.agenda[0].due) {
		t := heap.Pop(&l.agenda).(*topic)
		t.due = time.Time{}
		all = append(all, t)
	}
	return all
}

// dueAgainLocked has chores look at a topic when there will be something to do, by what is known of it now. mu is held.
func (t *topic) dueAgainLocked(now time.Time) {
	if t.users == 0 {
		t.dueLocked(t.idle.Add(t.lingers()))
	} else if t.state == topicClosed {
		t.dueLocked(now)
	}
	if t.recent.active && t.recent.joins == 0 {
		t.dueLocked(t.recent.used.Add(recentTime))
	}
	if t.asksLocked() {
		t.dueLocked(later(t.checked.Add(t.quiet), now.Add(choreEvery)))
	}
	if len(t.was) > 0 {
		t.dueLocked(now.Add(recallTime))
	}
}

// asksLocked tells whether the history has to be asked now and then whether something was missed. mu is held.
func (t *topic) asksLocked() bool { return t.l.remote && t.state == topicOpen && t.keep.keeps() }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// chores is the goroutine that does what takes the broker's time, one thing after the other: it has topics left that nobody needs, and
// tries again what has failed.
func (l *link) chores(now time.Time) {
	defer l.work.Done()
	h := l.h
	var stops []func()
	var closed, quiet []*topic
	h.mu.Lock()
	for _, t := range l.takeDueLocked(now) {
		t.forgetFormerLocked(now)
		switch {
		case t.state == topicOpen && t.users == 0 && now.Sub(t.idle) >= t.lingers():
			stops = append(stops, t.forgetLocked())
		case t.state == topicClosed && t.users > 0:
			t.users++
			closed = append(closed, t)
		case t.recent.active && t.recent.joins == 0 && now.Sub(t.recent.used) >= recentTime:
			t.recent = recent{}
		case t.asksLocked() && !t.holding && now.Sub(t.checked) >= t.quiet:
			quiet = append(quiet, t)
		}
		t.dueAgainLocked(now)
	}
	if len(quiet) > 0 && !l.checking && !l.stopped {
		l.checking = true
		l.work.Add(1)
		go l.check(quiet)
	}
	if len(stops) > 0 {
		l.work.Add(1)
		go l.leave(stops)
	}
	h.mu.Unlock()
	l.reopen(closed)
	l.renewWatches(now)
	h.mu.Lock()
	l.busy = false
	h.mu.Unlock()
}

// leave is the goroutine that ends subscriptions. One that doesn't end holds back nothing else.
func (l *link) leave(stops []func()) {
	defer l.work.Done()
	for _, stop := range stops {
		l.end(stop)
	}
}

// reopen tries again to subscribe to topics, which have one user more for it.
func (l *link) reopen(closed []*topic) {
	var err error
	for _, t := range closed {
		var again *topic
		if err == nil { // else the others would fare the same
			again, err = l.acquire(t.key, t.keep)
		}
		l.h.mu.Lock()
		if again != nil {
			again.releaseLocked()
		}
		t.releaseLocked()
		l.h.mu.Unlock()
	}
}

// lingers is how long a topic is kept that nobody needs. History that is this node's alone ends with it.
func (t *topic) lingers() time.Duration {
	if t.l.remote && t.l.memory != nil && t.keep.keeps() {
		return t.keep.outlives()
	}
	return linger
}
