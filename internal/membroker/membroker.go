// Package membroker is a broker in memory, with history: of the hub that has none other, and of tests.
package membroker

import (
	"container/list"
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsctl/wsctl/internal/position"
)

// Broker carries messages between subscribers of one process. The zero Broker is ready; set fields before use. Its methods are
// those of a wsctl.HistoryBroker, but for a Retention in two arguments.
type Broker struct {
	// Direct has publishers deliver messages themselves, before they return. Else each subscription has a goroutine while there
	// is something to deliver.
	Direct bool
	// Limit is how many bytes all histories together may take; zero means no limit. Where they would take more, those of topics
	// without subscribers are forgotten first, then the oldest messages of the topic that is published to.
	Limit int

	bytes atomic.Int64

	mu     sync.Mutex // guards following; taken after a topic's
	topics map[string]*topic
	idle   list.List // of *topic: those without subscribers, the longest first
	sweep  *time.Timer
}

const (
	sweepEvery = 30 * time.Second
	outlives   = 5 * time.Minute // an epoch its last use, at least: who asks with a position may find it there
	overhead   = 512             // bytes of a topic, about
	perMessage = 96              // bytes of a message beside itself, about
)

// topic is what is published to and subscribed under one name.
type topic struct {
	b    *Broker
	name string
	idle *list.Element // in Broker.idle, guarded by Broker.mu

	mu    sync.Mutex // guards following; held while messages are handed out, so that all get them in one order
	gone  bool       // it isn't in Broker.topics any more
	subs  []*subscription
	since time.Time // last subscribed, published to or asked
	log   *history  // nil: nothing is kept
}

// history is the messages of a topic.
type history struct {
	epoch string
	base  uint64 // offset of the last message that is kept no more
	kept  []entry
	bytes int
	age   time.Duration
}

type entry struct {
	msg []byte
	at  time.Time
}

func (h *history) newest() position.Position {
	return position.Position{Epoch: h.epoch, Offset: h.base + uint64(len(h.kept))}
}

// with calls fn with a topic, locked. create says that it is to be made if there is none; else fn isn't called.
func (b *Broker) with(name string, create bool, fn func(t *topic)) {
	for {
		b.mu.Lock()
		t := b.topics[name]
		if t == nil && create {
			t = &topic{b: b, name: name}
			if b.topics == nil {
				b.topics = make(map[string]*topic)
			}
			b.topics[name] = t
			b.bytes.Add(overhead)
			t.idle = b.idle.PushBack(t)
			if b.sweep == nil {
				b.sweep = time.AfterFunc(sweepEvery, b.expire)
			}
		}
		b.mu.Unlock()
		if t == nil {
			return
		}
		t.mu.Lock()
		if t.gone {
			t.mu.Unlock()
			continue
		}
		t.trim(time.Now())
		fn(t)
		t.settle()
		t.mu.Unlock()
		return
	}
}

// settle keeps a topic among the idle ones while it has no subscribers, and forgets one that holds nothing. mu is held.
func (t *topic) settle() {
	b := t.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(t.subs) > 0:
		if t.idle != nil {
			b.idle.Remove(t.idle)
			t.idle = nil
		}
	case t.log == nil:
		t.forgetLocked()
	case t.idle == nil:
		t.idle = b.idle.PushBack(t)
	default:
		b.idle.MoveToBack(t.idle)
	}
}

// forgetLocked takes a topic out of the broker. Both mutexes are held.
func (t *topic) forgetLocked() {
	t.gone = true
	if t.idle != nil {
		t.b.idle.Remove(t.idle)
		t.idle = nil
	}
	delete(t.b.topics, t.name)
	n := overhead
	if t.log != nil {
		n += t.log.bytes
	}
	t.b.bytes.Add(int64(-n))
}

// trim forgets what is too old. mu is held.
func (t *topic) trim(now time.Time) {
	l := t.log
	if l == nil {
		return
	}
	if len(t.subs) == 0 && now.Sub(t.since) > max(l.age, outlives) {
		t.drop(len(l.kept))
		t.log = nil
		return
	}
	if n := 0; l.age > 0 {
		for n < len(l.kept) && now.Sub(l.kept[n].at) > l.age {
			n++
		}
		t.drop(n)
	}
}

// drop forgets the oldest n messages. mu is held.
func (t *topic) drop(n int) {
	l, bytes := t.log, 0
	for _, e := range l.kept[:n] {
		bytes += size(e.msg)
	}
	clear(l.kept[:n])
	if l.kept = l.kept[n:]; len(l.kept) == 0 {
		l.kept = nil
	}
	l.base += uint64(n)
	l.bytes -= bytes
	t.b.bytes.Add(int64(-bytes))
}

func size(msg []byte) int { return len(msg) + perMessage }

// keep begins a history if there is none. mu is held.
func (t *topic) keep() *history {
	t.since = time.Now()
	if t.log == nil {
		t.log = &history{epoch: rand.Text()[:13]}
	}
	return t.log
}

// Publish sends msg, of which it makes a copy, to the topic's subscribers.
func (b *Broker) Publish(ctx context.Context, topicName string, msg []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.with(topicName, false, func(t *topic) { t.deliver("", slices.Clone(msg)) })
	return nil
}

// PublishKeep is Publish for a message that is kept: the last so many, if not 0, and of them those no older than age, if not 0.
func (b *Broker) PublishKeep(ctx context.Context, topicName string, msg []byte, messages int, age time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.with(topicName, true, func(t *topic) {
		l := t.keep()
		l.age = age
		e := entry{slices.Clone(msg), t.since}
		l.kept = append(l.kept, e)
		l.bytes += size(e.msg)
		b.bytes.Add(int64(size(e.msg)))
		pos := l.newest().String()
		if messages > 0 {
			t.drop(max(0, len(l.kept)-messages))
		}
		t.deliver(pos, e.msg)
	})
	b.limit(topicName)
	return nil
}

// limit forgets what is too much.
func (b *Broker) limit(topicName string) {
	over := func() bool { return b.Limit > 0 && b.bytes.Load() > int64(b.Limit) }
	for over() {
		b.mu.Lock()
		e := b.idle.Front()
		b.mu.Unlock()
		if e == nil || e.Value.(*topic).name == topicName {
			break
		}
		e.Value.(*topic).evict()
	}
	b.with(topicName, false, func(t *topic) {
		for over() && t.log != nil && len(t.log.kept) > 0 {
			t.drop((len(t.log.kept) + 7) / 8)
		}
	})
}

// evict forgets a topic, if it has no subscribers.
func (t *topic) evict() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if !t.gone && len(t.subs) == 0 {
		t.forgetLocked()
	}
}

// Since returns the messages after pos, as wsctl.HistoryBroker says.
func (b *Broker) Since(ctx context.Context, topicName, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", false, err
	}
	defer b.limit(topicName)
	b.with(topicName, true, func(t *topic) {
		l := t.keep()
		newest = l.newest().String()
		p, valid := position.Parse(pos)
		if ok = pos == "" || valid && p.Epoch == l.epoch && p.Offset >= l.base && p.Offset <= l.newest().Offset; !ok || pos == "" {
			return
		}
		for _, e := range l.kept[p.Offset-l.base:] {
			msgs = append(msgs, e.msg)
		}
	})
	return msgs, newest, ok, nil
}

// Forget loses the history of a topic, as a server does that is restarted without its data.
func (b *Broker) Forget(topicName string) {
	b.with(topicName, false, func(t *topic) {
		if t.log != nil {
			t.drop(len(t.log.kept))
			t.log = nil
		}
	})
}

// Bytes is how many bytes the histories take.
func (b *Broker) Bytes() int { return int(b.bytes.Load()) }

// expire looks now and then for what is too old and nobody asks for.
func (b *Broker) expire() {
	b.mu.Lock()
	names := make([]string, 0, len(b.topics))
	for name := range b.topics {
		names = append(names, name)
	}
	b.mu.Unlock()
	now := time.Now()
	for _, name := range names {
		b.mu.Lock()
		t := b.topics[name]
		b.mu.Unlock()
		if t != nil {
			t.age(now)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.topics) > 0 {
		b.sweep.Reset(sweepEvery)
	} else {
		b.sweep = nil
	}
}

// age is trim, for one whom nobody has asked.
func (t *topic) age(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return
	}
	if t.trim(now); t.log == nil && len(t.subs) == 0 {
		t.b.mu.Lock()
		t.forgetLocked()
		t.b.mu.Unlock()
	}
}
