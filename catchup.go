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
		given, err := t.catchUpLocked()
		if given > 0 { // members of many rooms get what they have missed of one after the other, so that their queues have room
			members := h.membersLocked(t.key)
			h.mu.Unlock()
			h.waitWritten(l.ctx, members)
			h.mu.Lock()
		}
		if given >= 0 {
			<-l.giving
		}
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

// waitWritten waits until the queues of sockets have room again, but not for ever: some are slow.
func (h *Hub) waitWritten(ctx context.Context, sockets []*Socket) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = h.waitQuiet(ctx)
	for _, s := range sockets {
		s.out.waitHalfOnce(ctx)
	}
}

// catchUpLocked gives members what they have missed, so many bytes, or tells them that it can't be had; of a history that has begun
// anew they get all that there is. The topic is holding. mu is held, but not while it asks; afterwards so is giving, unless given is
// negative.
func (t *topic) catchUpLocked() (given int, err error) {
	l, h := t.l, t.l.h
	pos := t.pos
	t.asked, t.overflow = len(t.held), false
	h.mu.Unlock()
	ctx, cancel := l.limit()
	from := pos
	msgs, newest, ok, err := l.since(ctx, t, from)
	if err == nil && !ok && newest.Epoch != from.Epoch {
		from = position.Position{Epoch: newest.Epoch}
		msgs, newest, ok, err = l.since(ctx, t, from)
	}
	cancel()
	missed := t.deliveries(from, msgs)
	for _, d := range missed {
		given += len(d.frames.plain)
	}
	if err != nil {
		h.mu.Lock()
		return -1, err
	}
	l.giving <- struct{}{}
	h.mu.Lock()
	if t.state != topicOpen {
		return 0, nil
	}
	if !ok || given > h.buffer/2 { // all members would be closed as slow
		from, missed, given, ok = newest, nil, 0, false
	}
	if !ok || from != pos {
		t.pos, t.ahead = from, nil
		t.recent.restart(from)
		t.tellLostLocked(nil)
	}
	for _, d := range missed {
		t.giveLocked(d)
	}
	t.checked = time.Now()
	t.goOnLocked()
	return given, nil
}

// since asks for what came after pos. Messages that aren't as many as the positions say are none.
func (l *link) since(ctx context.Context, t *topic, pos position.Position) (msgs [][]byte, newest position.Position, ok bool, err error) {
	err = l.safely(func() (err error) {
		var text string
		if msgs, text, ok, err = l.keeper.Since(ctx, t.name, pos.String()); err == nil {
			newest, err = newestOf(text)
		}
		return err
	})
	if err := l.outcome(recalling, "asking for the history of "+t.key.String(), err); err != nil {
		return nil, newest, false, err
	}
	ok = ok && newest.Epoch == pos.Epoch && newest.Offset == pos.Offset+uint64(len(msgs))
	return msgs, newest, ok, nil
}

// newestOf reads the newest position, as the history tells it.
func newestOf(text string) (position.Position, error) {
	newest, _ := position.Parse(text)
	if newest.Epoch == "" {
		return newest, fmt.Errorf("the newest position is %.50q, which is none", text)
	}
	return newest, nil
}

// deliveries makes deliveries of the messages after pos.
func (t *topic) deliveries(pos position.Position, msgs [][]byte) (all []delivery) {
	for _, msg := range msgs {
		pos.Offset++
		p, err := decodePacket(msg)
		if err != nil {
			t.l.stranger(t.key, err)
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
