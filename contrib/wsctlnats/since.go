package wsctlnats

import (
	"context"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

// Since implements [wsctl.HistoryBroker]. Where a topic has no entry, it stores one without a message, for the position, and
// another one when that is about to get too old.
func (b *Broker) Since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	if err = ctx.Err(); err == nil && b.away() {
		err = b.whyNot()
	}
	if err != nil {
		return nil, "", false, b.explain(err)
	}
	t := b.acquire(topic)
	defer b.release(t)
	t.kept.Store(true)
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return nil, "", false, b.explain(ctx.Err())
	}
	t.mu.Lock()
	mark, known := t.mark, t.last
	t.mu.Unlock()
	var at position.Position
	err = b.retry(ctx, func(try context.Context) (err error) {
		msgs, at, ok, err = t.since(ctx, try, pos, mark, known)
		return err
	})
	if err != nil {
		return nil, "", false, b.explain(err)
	}
	return msgs, at.String(), ok, nil
}

// since is a try of Since. mark and known are the topic's mark and last from before the first one. It may take longer than try, as
// long as messages come.
func (t *topic) since(ctx, try context.Context, pos string, mark, known entry) (msgs [][]byte, at position.Position, ok bool, err error) {
	deadline, _ := try.Deadline()
	patience := time.Until(deadline)
	e, err := t.newest(try)
	if err != nil {
		return nil, position.Position{}, false, err
	}
	if e.pos.Epoch == "" || time.Since(e.time) > t.b.stream.age/2 {
		if e, err = t.place(try, e); err != nil {
			return nil, position.Position{}, false, err
		}
	}
	after, valid := position.Parse(pos)
	switch {
	case pos == "", valid && after == e.pos:
		return nil, e.pos, true, nil
	case !valid, after.Epoch != e.pos.Epoch, after.Offset > e.pos.Offset, !keeps(e.keep, e.pos.Offset-after.Offset):
		return nil, e.pos, false, nil
	}
	from := uint64(0)
	if mark.gen == e.gen && mark.pos.Epoch == after.Epoch && mark.pos.Offset <= after.Offset {
		from = mark.seq
	}
	entries, err := t.b.stream.fetch(ctx, patience, e.gen, t.token, from)
	if err != nil {
		return nil, position.Position{}, false, err
	}
	if mark.lost(entries, e) || known.lost(entries, e) { // by the server, and others have its positions
		try, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		e.pos = position.Position{}
		e, err = t.place(try, e)
		return nil, e.pos, false, err
	}
	oldest := e.keep.Age
	if oldest == 0 {
		oldest = t.b.opts.MaxAge
	}
	msgs, last, ok := collect(entries, after, oldest)
	switch {
	case last.seq < e.seq:
		return nil, position.Position{}, false, errLags
	case !ok:
		return nil, e.pos, false, nil
	}
	t.mu.Lock()
	last.msgs = nil
	t.mark = last
	t.mu.Unlock()
	return msgs, last.pos, true, nil
}

// lost tells whether known, which was stored once, is missing among a topic's entries. The last of these is e, or comes after it.
func (known *entry) lost(entries []entry, e entry) bool {
	if known.gen != e.gen || known.pos.Epoch != e.pos.Epoch {
		return false
	}
	for _, x := range entries {
		if x.seq >= known.seq {
			return x.seq == known.seq && x.id != known.id || x.seq > known.seq && x.prev < known.seq
		}
	}
	return false
}

// place stores an entry without a message after e, which says the position of e, or begins an epoch if e has none.
func (t *topic) place(ctx context.Context, e entry) (entry, error) {
	p := entry{gen: e.gen, prev: e.seq, pos: e.pos, keep: e.keep, id: t.b.newID()}
	if p.pos.Epoch == "" {
		p.pos, p.keep = position.Position{Epoch: randomText(9)}, wsctl.Retention{}
	}
	if err := t.b.stream.append(ctx, t.token, &p); err != nil {
		return entry{}, err
	}
	t.learn(p)
	return p, nil
}

// keeps tells whether the last n messages are kept.
func keeps(keep wsctl.Retention, n uint64) bool {
	if keep.Messages == 0 {
		return keep.Age > 0
	}
	return n <= uint64(keep.Messages)
}

// collect returns the messages after a position, and the last entry. ok is false if not all of them are there, or some are too old.
func collect(entries []entry, after position.Position, oldest time.Duration) (msgs [][]byte, last entry, ok bool) {
	at := after.Offset
	for i, x := range entries {
		last = x
		if ok = x.pos.Epoch == after.Epoch; !ok {
			continue
		}
		if i > 0 && x.prev != entries[i-1].seq { // a server that breaks its promises
			return nil, entries[len(entries)-1], false
		}
		for i, msg := range x.msgs {
			switch offset := x.before() + uint64(i) + 1; {
			case offset <= at:
			case offset > at+1, time.Since(x.time) > oldest:
				return nil, entries[len(entries)-1], false
			default:
				msgs = append(msgs, msg)
				at = offset
			}
		}
	}
	return msgs, last, ok && at == last.pos.Offset
}
