package wsctl

import (
	"context"
	"fmt"
	"time"

	"github.com/wsctl/wsctl/internal/position"
)

// findLocked begins to look for what members have missed. What comes waits meanwhile. mu is held.
func (t *topic) findLocked() {
	if t.holding {
		return
	}
	t.holding = true
	t.l.gaps.Add(1)
	t.l.findLocked(t)
}

// maxFinders is how many topics ask for their history at once.
const maxFinders = 8

func (l *link) findLocked(t *topic) {
	if l.lost = append(l.lost, t); l.finders < maxFinders && !l.stopped {
		l.finders++
		l.work.Add(1)
		go l.find()
	}
}

// find is the goroutine that asks for the history of topics that have missed some, until there are none. While the broker is
// away it tries again, ever more rarely.
func (l *link) find() {
	defer l.work.Done()
	h := l.h
	pause := 100 * time.Millisecond
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(l.lost) > 0 && !l.stopped {
		t := l.lost[0]
		l.lost[0] = nil
		l.lost = l.lost[1:]
		if t.state != topicOpen {
			continue
		}
		err := t.catchUpLocked()
		if err == nil {
			pause = 100 * time.Millisecond
			continue
		}
		l.lost = append(l.lost, t)
		h.mu.Unlock()
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-l.ctx.Done():
			wait.Stop()
		}
		pause = min(2*pause, brokerTimeout)
		h.mu.Lock()
	}
	l.finders--
}

// catchUpLocked gives members what they have missed, or tells them that it can't be had. The topic is holding. mu is held, but not
// while it asks.
func (t *topic) catchUpLocked() error {
	l, h := t.l, t.l.h
	pos := t.pos
	t.asked, t.overflow = len(t.held), false
	h.mu.Unlock()
	ctx, cancel := l.limit()
	msgs, newest, ok, err := l.since(ctx, t, pos)
	cancel()
	missed := t.deliveries(pos, msgs)
	size := 0
	for _, d := range missed {
		size += len(d.frames.plain)
	}
	h.mu.Lock()
	if err != nil || t.state != topicOpen {
		return err
	}
	ok = ok && size <= h.buffer/2 // else all members would be closed as slow
	if ok {
		for _, d := range missed {
			t.giveLocked(d)
		}
	} else {
		t.pos, t.ahead = newest, nil
		t.recent.restart(newest)
		t.tellLostLocked(nil)
	}
	t.checked = time.Now()
	t.goOnLocked()
	return nil
}

// since asks for what came after pos. Messages that aren't as many as the positions say are none.
func (l *link) since(ctx context.Context, t *topic, pos position.Position) (msgs [][]byte, newest position.Position, ok bool, err error) {
	msgs, text, ok, err := l.keeper.Since(ctx, t.name, pos.String())
	if err == nil {
		if newest, _ = position.Parse(text); newest.Epoch == "" {
			err = fmt.Errorf("the newest position is %.50q, which is none", text)
		}
	}
	if err := l.outcome(fmt.Sprintf("asking for the history of %q", t.name), err); err != nil {
		return nil, newest, false, err
	}
	ok = ok && newest.Epoch == pos.Epoch && newest.Offset == pos.Offset+uint64(len(msgs))
	return msgs, newest, ok, nil
}

// deliveries makes deliveries of the messages after pos.
func (t *topic) deliveries(pos position.Position, msgs [][]byte) (all []delivery) {
	for _, msg := range msgs {
		pos.Offset++
		p, err := decodePacket(msg)
		if err != nil {
			t.l.stranger(t.name, err)
		}
		all = append(all, t.delivery(pos, p, err, len(msg)))
	}
	return all
}

// goOnLocked ends the holding. mu is held.
func (t *topic) goOnLocked() {
	held, asked, overflow := t.held, t.asked, t.overflow
	t.holding, t.held, t.heldBytes, t.asked, t.overflow = false, nil, 0, 0, false
	for i, d := range held {
		if i >= asked || d.follows(t.pos) {
			t.takeLocked(d)
		}
	}
	if overflow {
		t.findLocked()
	}
}

// check is the goroutine that asks whether something was missed in rooms in which nothing happens, the more rarely the longer that is
// so. It ends when it has asked for each.
func (l *link) check(quiet []*topic) {
	defer l.work.Done()
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range quiet {
		if l.stopped {
			break
		}
		if t.state != topicOpen || t.holding {
			continue
		}
		t.checked, t.quiet = time.Now(), min(2*t.quiet, maxQuiet)
		pos := t.pos
		h.mu.Unlock()
		ctx, cancel := l.limit()
		_, newest, _, err := l.since(ctx, t, pos)
		cancel()
		h.mu.Lock()
		if err != nil {
			break
		}
		if t.state == topicOpen && t.pos == pos && newest != pos {
			t.findLocked()
		}
	}
	l.checking = false
}
