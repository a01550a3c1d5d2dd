package membroker

import (
	"context"
	"slices"
	"sync"
)

// subscription is one of a topic.
type subscription struct {
	deliver func(pos string, msg []byte)

	turn sync.Mutex // held while deliver runs; taken before mu

	mu      sync.Mutex // guards following
	queue   []delivery
	running bool // a goroutine delivers
	stopped bool
}

type delivery struct {
	pos string
	msg []byte
}

// Subscribe has deliver called with each message from now on, as wsctl.Broker says.
func (b *Broker) Subscribe(ctx context.Context, topicName string, deliver func(pos string, msg []byte)) (stop func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &subscription{deliver: deliver}
	b.with(topicName, true, func(t *topic) { t.subs = append(t.subs, s) })
	return func() {
		s.stop()
		b.with(topicName, false, func(t *topic) {
			n := len(t.subs)
			if t.subs = slices.DeleteFunc(t.subs, func(o *subscription) bool { return o == s }); len(t.subs) < n && t.log != nil {
				t.keep()
			}
		})
		b.limit("")
	}, nil
}

// Missed tells a topic's subscribers that messages may have been missed.
func (b *Broker) Missed(topicName string) {
	b.with(topicName, false, func(t *topic) { t.deliver("", nil) })
}

// deliver hands a message to all subscribers. mu is held.
func (t *topic) deliver(pos string, msg []byte) {
	for _, s := range t.subs {
		if t.b.Direct {
			s.deliver(pos, msg)
		} else {
			s.push(delivery{pos, msg})
		}
	}
}

func (s *subscription) push(d delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.queue = append(s.queue, d)
	if !s.running {
		s.running = true
		go s.run()
	}
}

// run is the goroutine that delivers, until nothing waits.
func (s *subscription) run() {
	for s.one() {
	}
}

// one delivers the next message. It reports false if there is none.
func (s *subscription) one() bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	if len(s.queue) == 0 || s.stopped {
		s.queue, s.running = nil, false
		s.mu.Unlock()
		return false
	}
	d := s.queue[0]
	s.queue[0] = delivery{}
	s.queue = s.queue[1:]
	s.mu.Unlock()
	s.deliver(d.pos, d.msg)
	return true
}

// stop ends the deliveries; it waits for the one that runs.
func (s *subscription) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.turn.Lock() // after this none begins
	defer s.turn.Unlock()
}
