package wsctlnats

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

const (
	together = 128       // messages of an entry, at most
	inEntry  = 256 << 10 // bytes of an entry that has more than one message
	overhead = 512       // bytes of an entry's headers, at most
	trimEach = 64        // messages, at least, after which those that are too many are forgotten

	claimAfter = 3 // conflicts
	claimSpare = 5 * time.Millisecond
	maxYield   = 200 * time.Millisecond
)

// topic is what is known of one while somebody uses it.
type topic struct {
	b     *Broker
	name  string
	token string
	refs  int         // guarded by Broker.mu
	kept  atomic.Bool // it has history

	mu       sync.Mutex // guards following
	queue    []*item    // to be kept
	writing  bool       // a goroutine works on queue
	yielding time.Time  // until then another node comes first
	last     entry      // the newest that is known; without msgs
	mark     entry      // one that everything before it was delivered, where that is known; without msgs
	failure  error      // of the last try to store an entry
}

// item is a message that is to be kept.
type item struct {
	ctx  context.Context
	msg  []byte
	keep wsctl.Retention
	done chan error // of one
}

// acquire returns a topic, which release gives back.
func (b *Broker) acquire(name string) *topic {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[name]
	if t == nil {
		t = &topic{b: b, name: name, token: token(name)}
		b.topics[name] = t
	}
	t.refs++
	return t
}

func (b *Broker) release(t *topic) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.refs--; t.refs == 0 {
		delete(b.topics, t.name)
	}
}

// PublishKeep implements [wsctl.HistoryBroker] by JetStream. While the connection is lost it waits for two seconds at most, and
// then fails at once. If ctx ends, or the connection, the message may be kept nevertheless, or may be yet; then it is delivered
// as well, once.
func (b *Broker) PublishKeep(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
	o := &b.opts
	switch {
	case ctx.Err() != nil:
		return b.explain(ctx.Err())
	case keep.Messages < 0 || keep.Age < 0:
		return fmt.Errorf("wsctlnats: a negative Retention: %+v", keep)
	case keep.Messages > o.MaxMessages:
		return fmt.Errorf("wsctlnats: Retention.Messages %d is more than Options.MaxMessages, %d", keep.Messages, o.MaxMessages)
	case keep.Age > o.MaxAge:
		return fmt.Errorf("wsctlnats: Retention.Age %v is more than Options.MaxAge, %v", keep.Age, o.MaxAge)
	case b.away():
		return b.explain(b.whyNot())
	case len(msg) > b.room():
		return b.explain(b.tooLarge(len(msg)))
	}
	t := b.acquire(topic)
	defer b.release(t)
	t.kept.Store(true)
	it := &item{ctx: ctx, msg: bytes.Clone(msg), keep: keep, done: make(chan error, 1)}
	t.mu.Lock()
	t.queue = append(t.queue, it)
	begin := !t.writing
	t.writing = true
	t.mu.Unlock()
	if begin {
		b.acquire(topic) // for write
		if !b.start(t.write) {
			b.release(t)
			return b.explain(errClosed)
		}
	}
	select {
	case err := <-it.done:
		if err == nil || ctx.Err() == nil {
			return err
		} // else it may say no more than that nobody waits
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure != nil {
		return b.explain(fmt.Errorf("%w: %w", ctx.Err(), t.failure))
	}
	return b.explain(ctx.Err())
}

// room is how large a message may be that is kept.
func (b *Broker) room() int {
	if most := b.nc.MaxPayload(); most > 0 {
		return int(most) - overhead
	}
	return math.MaxInt // it was never connected yet
}

// write stores what is in the queue, until it is empty: what waits while one entry is stored makes the next.
func (t *topic) write() {
	defer t.b.release(t)
	for {
		items := t.take()
		if items == nil {
			return
		}
		t.yield()
		e, err := t.store(&items)
		for _, it := range items {
			it.done <- t.b.explain(err)
		}
		if err == nil {
			t.trim(e)
		}
	}
}

// take takes items for an entry out of the queue. If there are none it returns nil, and the caller has to end.
func (t *topic) take() []*item {
	t.mu.Lock()
	defer t.mu.Unlock()
	size, n, most := 0, 0, min(inEntry, t.b.room())
	for n < len(t.queue) && n < together {
		if size += len(t.queue[n].msg) + binary.MaxVarintLen32; n > 0 && size > most {
			break
		}
		n++
	}
	if n == 0 {
		t.queue, t.writing = nil, false
		return nil
	}
	items := t.queue[:n:n]
	t.queue = t.queue[n:]
	return items
}

// store stores items as an entry. Those whose callers wait no more are taken out of it as long as that is sure to be in time.
// While somebody waits it goes on, and ends with an error only where nothing more can be known.
func (t *topic) store(items *[]*item) (entry, error) {
	ctx, cancel := context.WithCancel(t.b.ctx)
	defer cancel()
	var waiting atomic.Int32
	waiting.Store(int32(len(*items)))
	for _, it := range *items {
		defer context.AfterFunc(it.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		})()
	}
	var base, e entry
	tried, unsure := false, false // unsure: e may be stored after base, or be stored yet
	conflicts := 0
	err := t.b.retry(ctx, func(ctx context.Context) (err error) {
		start := time.Now()
		defer func() {
			if errors.Is(err, errConflict) {
				if conflicts++; conflicts >= claimAfter {
					t.claim(time.Since(start))
				}
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.failure = t.b.silence(ctx, err)
		}()
		if !tried {
			t.mu.Lock()
			base = t.last
			t.mu.Unlock()
		}
		if tried || base.pos.Epoch == "" || base.gen != t.b.stream.known() {
			last, err := t.newest(ctx)
			switch {
			case err != nil:
				return err
			case tried && last.id == e.id:
				e.seq = last.seq
				return nil
			case tried && last.gen == base.gen && last.seq == base.seq:
				// It isn't stored. Once more: at the same place, so that it is stored once.
			case unsure:
				stored, err := t.stored(ctx, base, e)
				if err != nil || stored {
					return err
				}
				unsure = false
				fallthrough
			default:
				base, e.id = last, ""
			}
		}
		if !unsure && e.id == "" {
			if e = t.entry(base, items); len(e.msgs) == 0 {
				return context.Canceled // nobody waits any more
			}
		}
		tried = true
		if err = t.b.stream.append(ctx, t.token, &e); err == nil {
			t.learn(e)
		} else if !refused(err) && !errors.Is(err, errConflict) {
			unsure = true
		}
		return err
	})
	return e, err
}

// entry returns one of items for the place after base, where there may be an epoch to begin.
func (t *topic) entry(base entry, items *[]*item) entry {
	e := entry{gen: base.gen, prev: base.seq, pos: base.pos, id: t.b.newID()}
	if e.pos.Epoch == "" {
		e.pos = position.Position{Epoch: randomText(9)}
	}
	live := (*items)[:0:0]
	for _, it := range *items {
		if it.ctx.Err() == nil {
			live = append(live, it)
			e.msgs = append(e.msgs, it.msg)
			e.keep = it.keep
		}
	}
	e.pos.Offset += uint64(len(live))
	*items = live
	return e
}

// stored tells whether e, which was to be stored after base where there is another entry now, is stored. If it is not, it
// never will be.
func (t *topic) stored(ctx context.Context, base, e entry) (bool, error) {
	next, err := t.b.stream.next(ctx, base.gen, t.token, base.seq+1)
	switch {
	case err != nil:
		return false, err
	case next.id == e.id:
		return true, nil
	case next.id == "" || next.prev != base.seq: // what came after base is forgotten already, or somebody else's
		return false, errUnknown
	default:
		return false, nil
	}
}

// newest asks for the topic's last entry. Its position is none where a new epoch has to begin after it: because it isn't there
// or isn't ours, or because the server has lost what it had before.
func (t *topic) newest(ctx context.Context) (entry, error) {
	gen, err := t.b.stream.generation(ctx)
	if err != nil {
		return entry{}, err
	}
	t.mu.Lock()
	known := t.last
	t.mu.Unlock()
	e, err := t.b.stream.last(ctx, gen, t.token)
	if err != nil {
		return entry{}, err
	}
	if contradicts(e, known) {
		e.pos = position.Position{}
	} else if e.pos.Epoch != "" {
		t.learn(e)
	}
	e.msgs = nil
	if e.gen == known.gen && e.seq == known.seq && !known.time.IsZero() {
		e.time = known.time // the server's clock may be another one
	}
	return e, nil
}

// contradicts tells whether e can't be the topic's last entry if known was once: the server has forgotten known, or has
// another one in its place, or messages at its offsets.
func contradicts(e, known entry) bool {
	return e.gen == known.gen && e.pos.Epoch == known.pos.Epoch && (e.seq < known.seq || e.pos.Offset < known.pos.Offset ||
		e.seq == known.seq && e.id != known.id || e.seq > known.seq && (e.prev < known.seq || e.before() < known.pos.Offset))
}

// learn notes an entry that is stored.
func (t *topic) learn(e entry) {
	e.msgs = nil
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.gen != t.last.gen || e.pos.Epoch != t.last.pos.Epoch || e.seq > t.last.seq {
		t.last = e
	}
}

// seen is learn for an entry that is delivered.
func (t *topic) seen(e entry) {
	e.time = time.Now()
	t.learn(e)
	t.kept.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.gen != t.mark.gen || e.pos.Epoch != t.mark.pos.Epoch || e.before() == t.mark.pos.Offset {
		e.msgs = nil
		t.mark = e
	}
}

// trim has the server forget what is too much, now and then.
func (t *topic) trim(e entry) {
	n := e.keep.Messages
	each := uint64(max(n, trimEach))
	if n == 0 || n+int(each) > t.b.opts.MaxMessages || e.pos.Offset/each == e.before()/each {
		return
	}
	ctx, cancel := context.WithTimeout(t.b.ctx, firstTry)
	defer cancel()
	if err := t.b.stream.purge(ctx, e.gen, t.token, n+spare); err != nil {
		t.b.opts.Logger.Debug("wsctlnats: purging", "topic", t.name, "error", err) // next time
	}
}

// yield leaves the topic to another node for a moment, if one has asked for that.
func (t *topic) yield() {
	t.mu.Lock()
	yielding := t.yielding
	t.mu.Unlock()
	t.b.waitUntil(t.b.ctx, yielding)
}

// claim asks other nodes to leave the topic to this one for as long as a try of it takes: who has just stored an entry, or is
// nearer to the server, is always faster. It costs them no throughput, since what comes meanwhile makes one entry.
func (t *topic) claim(took time.Duration) {
	ms := strconv.Itoa(int((2*took + claimSpare).Milliseconds()))
	_ = t.b.nc.Publish(t.b.claimSubject(), []byte(t.b.name+" "+ms+" "+t.name)) // or at the next conflict
}

// claimed takes the claim of a node.
func (b *Broker) claimed(m *nats.Msg) {
	fields := strings.SplitN(string(m.Data), " ", 3)
	if len(fields) != 3 || fields[0] == b.name {
		return
	}
	ms, err := strconv.ParseUint(fields[1], 10, 16)
	if err != nil {
		return
	}
	b.mu.Lock()
	t := b.topics[fields[2]]
	b.mu.Unlock()
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.yielding = time.Now().Add(min(time.Duration(ms)*time.Millisecond, maxYield))
}
