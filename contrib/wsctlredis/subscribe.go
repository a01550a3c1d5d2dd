package wsctlredis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/wsctl/wsctl/internal/position"
)

// topic is a channel that is subscribed, or about to be. Its fields are guarded by Broker.mu.
type topic struct {
	channel string
	slot    uint16 // in a cluster
	link    *link  // which is to subscribe it
	subs    []*subscription
	newest  string // position, as far as it is known here; empty: it isn't

	ready bool          // Redis has confirmed it
	again bool          // it was ready before
	moves int           // how often the cluster's nodes have said that another one has it
	done  chan struct{} // closed when it is ready, or has failed
	err   error         // why it has failed: it was never ready, and isn't in Broker.topics any more
}

// lose says that the topic isn't subscribed any more.
func (t *topic) lose() {
	if t.ready {
		t.ready, t.again, t.done = false, true, make(chan struct{})
	}
}

func (t *topic) fail(err error) {
	if !t.ready && t.err == nil {
		t.err = err
		close(t.done)
	}
}

// Subscribe implements [wsctl.Broker]. It fails soon if the server can't be reached. A connection that is lost, also because
// Redis found it too slow (client-output-buffer-limit), is made again for as long as there are subscriptions.
// Where deliver doesn't keep up, 32 MiB of messages wait for it; then it misses some, and is told. stop waits for a call of
// deliver that runs.
func (b *Broker) Subscribe(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
	s := newSubscription(deliver)
	t, err := b.join(ctx, topic, s)
	if err != nil {
		if t != nil {
			b.leave(t, s)
		}
		s.stop()
		return nil, fmt.Errorf("wsctlredis: subscribe: %w", err)
	}
	s.begin()
	return func() {
		b.leave(t, s)
		s.stop()
	}, nil
}

// join adds a subscription to its topic, and waits until that is ready.
func (b *Broker) join(ctx context.Context, name string, s *subscription) (*topic, error) {
	channel, err := b.channel(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed() {
		return nil, errClosed
	}
	t := b.topics[channel]
	if t == nil {
		command := b.client.B().Ssubscribe().Channel(channel).Build()
		t = &topic{channel: channel, slot: command.Slot(), done: make(chan struct{})}
		if err := b.place(t); err != nil {
			return nil, err
		}
		b.topics[channel] = t
	}
	t.subs = append(t.subs, s)
	for !t.ready {
		if t.err != nil {
			return t, t.err
		}
		done := t.done
		b.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		b.mu.Lock()
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// leave takes a subscription from its topic, which isn't subscribed any more after its last. It may be called again.
func (b *Broker) leave(t *topic, s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(t.subs, s)
	if i < 0 {
		return
	}
	t.subs = slices.Delete(t.subs, i, i+1)
	if len(t.subs) == 0 && b.topics[t.channel] == t {
		delete(b.topics, t.channel)
		t.link.drop(t)
	}
}

// receive hands out what a channel carries.
func (t *topic) receive(text string) {
	pos, msg, ok := strings.Cut(text, " ")
	if !ok {
		return // a stranger's
	}
	if pos != "" {
		if _, ok = position.Parse(pos); !ok {
			return
		}
		t.newest = pos
	}
	for _, s := range t.subs {
		s.push(item{pos: pos, msg: msg})
	}
}

// newest is the newest position of a topic that is subscribed, as far as it is known here; or empty.
func (b *Broker) newest(channel string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics[channel]; t != nil {
		return t.newest
	}
	return ""
}

// learn notes a position that the server has told. It may be older than what has been received meanwhile.
func (b *Broker) learn(channel, pos string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics[channel]; t != nil {
		t.newest = pos
	}
}

// maxWaiting is how many bytes wait for a slow deliver, each message counted with its costs.
const (
	maxWaiting = 32 << 20
	itemCost   = 64
)

// subscription has a goroutine while there is something to deliver.
type subscription struct {
	deliver func(pos string, msg []byte)

	mu      sync.Mutex // guards following
	queue   []item
	bytes   int        // of queue
	held    bool       // nothing is delivered yet
	stopped bool       // nothing is delivered any more
	running bool       // run runs
	ended   *sync.Cond // running is false
}

// item is a message, or, with missed, the notice that there may have been others.
type item struct {
	pos, msg string
	missed   bool
}

func newSubscription(deliver func(pos string, msg []byte)) *subscription {
	s := &subscription{deliver: deliver, held: true}
	s.ended = sync.NewCond(&s.mu)
	return s
}

// begin delivers what has come, and what comes from now on.
func (s *subscription) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	s.start()
}

// push never blocks.
func (s *subscription) push(it item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	if s.bytes > maxWaiting {
		it = item{missed: true}
	}
	if n := len(s.queue); it.missed && n > 0 && s.queue[n-1].missed {
		return
	}
	s.queue = append(s.queue, it)
	s.bytes += len(it.msg) + itemCost
	s.start()
}

// start is called with mu held.
func (s *subscription) start() {
	if !s.running && !s.held && len(s.queue) > 0 {
		s.running = true
		go s.run()
	}
}

func (s *subscription) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		it := s.queue[0]
		s.queue[0] = item{}
		s.queue = s.queue[1:]
		s.bytes -= len(it.msg) + itemCost
		s.mu.Unlock()
		if it.missed {
			s.deliver("", nil)
		} else {
			s.deliver(it.pos, []byte(it.msg))
		}
		s.mu.Lock()
	}
	s.queue = nil
	s.running = false
	s.ended.Broadcast()
}

// stop has returned when no call of deliver runs or will. It may be called again.
func (s *subscription) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped, s.queue = true, nil
	for s.running {
		s.ended.Wait()
	}
}
