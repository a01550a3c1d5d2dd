package wsctlnats

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl/internal/position"
)

// maxQueue is how many bytes may wait for a subscription's deliver.
const maxQueue = 64 << 20

// arriving is how many messages may wait until they are in the queue of their subscription, which doesn't take long. Tests
// change it.
var arriving = 1 << 16

// subscription is one of a topic's. What comes waits in its queue, for a goroutine that runs while there is something.
type subscription struct {
	b       *Broker
	topic   *topic
	deliver func(pos string, msg []byte)
	sub     *nats.Subscription
	made    time.Time
	settle  *time.Timer // nil: there is nothing to wait for
	once    sync.Once

	gen string // of the last entry that run has delivered, and its
	seq uint64

	stopped atomic.Bool

	mu      sync.Mutex    // guards following
	open    bool          // Subscribe has succeeded
	queue   []*nats.Msg   // a nil one: deliver is to be told that messages may have been missed
	bytes   int           // of queue, and of what run has taken out of it
	running chan struct{} // closed when run ends; nil: it doesn't run
	dropped int           // messages that NATS has dropped, as far as is known
}

// Subscribe implements [wsctl.Broker]. In a cluster it waits for an answer of each server that has brokers. Where one doesn't
// answer, deliver("", nil) follows; so it does after a second where the topic has history, since another server may send that.
// It follows as well where more than 64 MiB wait for deliver: what comes then is lost.
func (b *Broker) Subscribe(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
	if err = ctx.Err(); err == nil && !b.nc.IsConnected() {
		err = b.whyNot()
	}
	if err != nil {
		return nil, b.explain(err)
	}
	s := &subscription{b: b, topic: b.acquire(topic), deliver: deliver}
	sure := false
	if err = s.subscribe(ctx); err == nil {
		sure = b.peers.sync(ctx)
		err = ctx.Err()
	}
	if err == nil {
		err = s.begin()
	}
	if err != nil {
		s.stop()
		return nil, b.explain(err)
	}
	if !sure {
		s.push(nil)
	}
	return s.stop, nil
}

// subscribe has the server send messages. It has returned when the server does so.
func (s *subscription) subscribe(ctx context.Context) (err error) {
	b := s.b
	before := b.nc.LastError()
	if s.sub, err = b.nc.ChanSubscribe(b.liveSubject(s.topic.name), b.arrivals); err != nil {
		return err
	}
	b.mu.Lock()
	s.made = time.Now()
	b.subs[s.sub] = s
	b.mu.Unlock()
	if err := b.flush(ctx); err != nil {
		return err
	}
	if last := b.nc.LastError(); errors.Is(last, nats.ErrPermissionViolation) && last != before &&
		strings.Contains(last.Error(), strconv.Quote(s.sub.Subject)) {
		return last
	}
	return nil
}

// kept tells whether its topic has history.
func (s *subscription) kept() bool { return s.topic.kept.Load() }

// young tells whether there may be a server that doesn't know it yet, or that wasn't known when it was made.
func (s *subscription) young() bool { return time.Since(s.made) < 2*helloEach }

// begin begins to deliver what has come.
func (s *subscription) begin() error {
	b := s.b
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return errClosed
	}
	if b.clustered() {
		s.settle = time.AfterFunc(settled, func() {
			if s.kept() {
				s.push(nil)
			}
		})
	}
	b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
	s.runLocked()
	return nil
}

// stop ends the calls of deliver; it waits for the one that runs.
func (s *subscription) stop() {
	s.once.Do(func() {
		if s.sub != nil {
			_ = s.sub.Unsubscribe() // fails when the connection is closed
			s.b.mu.Lock()
			delete(s.b.subs, s.sub)
			s.b.mu.Unlock()
		}
		if s.settle != nil {
			s.settle.Stop()
		}
		s.b.release(s.topic)
	})
	s.mu.Lock()
	s.stopped.Store(true)
	s.queue = nil
	running := s.running
	s.mu.Unlock()
	if running != nil {
		<-running
	}
}

// dispatch puts what comes into the queues of subscriptions, until the broker is closed.
func (b *Broker) dispatch() {
	for {
		select {
		case m := <-b.arrivals:
			b.mu.Lock()
			s := b.subs[m.Sub]
			b.mu.Unlock()
			if s != nil {
				s.push(m)
			}
		case <-b.ctx.Done():
			return
		}
	}
}

// push puts a message into the queue. A nil one is a notice that messages may have been missed.
func (s *subscription) push(m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped.Load() {
		return
	}
	if m != nil && s.bytes+m.Size() > s.b.maxQueue {
		m = nil
	}
	if n := len(s.queue); m == nil && n > 0 && s.queue[n-1] == nil {
		return
	}
	s.queue = append(s.queue, m)
	if m != nil {
		s.bytes += m.Size()
	}
	s.runLocked()
}

// runLocked has run run, if there is anything to deliver. mu is held.
func (s *subscription) runLocked() {
	if !s.open || s.running != nil || len(s.queue) == 0 {
		return
	}
	s.running = make(chan struct{})
	if !s.b.start(s.run) {
		s.running = nil // the broker is being closed
	}
}

// run delivers what is in the queue, until it is empty.
func (s *subscription) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		queue, bytes := s.queue, s.bytes
		s.queue = nil
		s.mu.Unlock()
		for i, m := range queue {
			queue[i] = nil
			if !s.stopped.Load() {
				s.pass(m)
			}
		}
		s.mu.Lock()
		s.bytes -= bytes
	}
	close(s.running)
	s.running = nil
}

// pass delivers a notice, a message, or the messages of an entry.
func (s *subscription) pass(m *nats.Msg) {
	if m == nil {
		s.deliver("", nil)
		return
	}
	e, ok := stored(m)
	switch {
	case e.seq == 0 && len(m.Data) > 0:
		s.deliver("", m.Data)
		return
	case !ok:
		return // a stranger's
	}
	if e.gen == s.gen && e.seq < s.seq {
		s.push(nil) // the server may have lost messages, and have begun anew where it was before
	}
	s.gen, s.seq = e.gen, e.seq
	s.topic.seen(e)
	at := position.Position{Epoch: e.pos.Epoch, Offset: e.before()}
	for _, msg := range e.msgs {
		if at.Offset++; !s.stopped.Load() {
			s.deliver(at.String(), msg)
		}
	}
}

// overflow is called when NATS had to drop messages since too many were arriving, and again as long as it drops more.
func (s *subscription) overflow() {
	n, err := s.sub.Dropped()
	s.mu.Lock()
	more := err == nil && n != s.dropped && !s.stopped.Load()
	s.dropped = n
	s.mu.Unlock()
	if more {
		s.push(nil)
		time.AfterFunc(settled, s.overflow)
	}
}
