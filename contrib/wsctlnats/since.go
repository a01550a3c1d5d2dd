package wsctlnats

import (
	"context"
	"time"

	"github.com/wsctl/wsctl"
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
	var at position
	err = b.retry(ctx, func(ctx context.Context) (err error) {
		msgs, at, ok, err = t.since(ctx, pos)
		return err
	})
	if err != nil {
		return nil, "", false, b.explain(err)
	}
	return msgs, at.String(), ok, nil
}

func (t *topic) since(ctx context.Context, pos string) (msgs [][]byte, at position, ok bool, err error) {
	t.mu.Lock()
	mark := t.mark
	t.mu.Unlock()
	e, err := t.newest(ctx)
	if err != nil {
		return nil, position{}, false, err
	}
	if e.pos.epoch == "" || time.Since(e.time) > t.b.opts.MaxAge/2 {
		if e, err = t.place(ctx, e); err != nil {
			return nil, position{}, false, err
		}
	}
	after, valid := parsePosition(pos)
	switch {
	case pos == "", valid && after == e.pos:
		return nil, e.pos, true, nil
	case !valid, after.epoch != e.pos.epoch, after.offset > e.pos.offset, !keeps(e.keep, e.pos.offset-after.offset):
		return nil, e.pos, false, nil
	}
	from := uint64(0)
	if mark.gen == e.gen && mark.pos.epoch == after.epoch && mark.pos.offset <= after.offset {
		from = mark.seq
	}
	entries, err := t.b.stream.fetch(ctx, e.gen, t.token, from)
	if err != nil {
		return nil, position{}, false, err
	}
	if first := entries[:min(1, len(entries))]; from > 0 && len(first) > 0 &&
		(first[0].seq == from && first[0].id != mark.id || first[0].seq > from && first[0].prev < from) {
		// The server has lost the entry of mark, and others have its positions.
		e.pos = position{}
		e, err = t.place(ctx, e)
		return nil, e.pos, false, err
	}
	msgs, last, ok := collect(entries, after, e)
	switch {
	case last.seq < e.seq:
		return nil, position{}, false, errLags
	case !ok:
		return nil, e.pos, false, nil
	}
	t.mu.Lock()
	last.msgs = nil
	t.mark = last
	t.mu.Unlock()
	return msgs, last.pos, true, nil
}

// place stores an entry without a message after e, which says the position of e, or begins an epoch if e has none.
func (t *topic) place(ctx context.Context, e entry) (entry, error) {
	p := entry{gen: e.gen, prev: e.seq, pos: e.pos, keep: e.keep, id: t.b.newID()}
	if p.pos.epoch == "" {
		p.pos, p.keep = position{epoch: randomText(9)}, wsctl.Retention{}
	}
	if err := t.b.stream.append(ctx, t.token, &p); err != nil {
		return entry{}, err
	}
	p.time = time.Now()
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

// collect returns the messages after a position, and the last entry, from entries among which e is expected. ok is
// false if not all of them are there, or some are too old.
func collect(entries []entry, after position, e entry) (msgs [][]byte, last entry, ok bool) {
	at := after.offset
	for i, x := range entries {
		last = x
		if ok = x.pos.epoch == after.epoch; !ok {
			continue
		}
		if i > 0 && x.prev != entries[i-1].seq { // a server that breaks its promises
			return nil, entries[len(entries)-1], false
		}
		for i, msg := range x.msgs {
			switch offset := x.before() + uint64(i) + 1; {
			case offset <= at:
			case offset > at+1, e.keep.Age > 0 && time.Since(x.time) > e.keep.Age:
				return nil, entries[len(entries)-1], false
			default:
				msgs = append(msgs, msg)
				at = offset
			}
		}
	}
	return msgs, last, ok && at == last.pos.offset
}
