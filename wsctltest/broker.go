package wsctltest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/membroker"
)

// Broker is a [wsctl.HistoryBroker] in memory, for tests of several hubs in one process, in a bubble as well. Each hub has a
// node, so that one can lose its broker while others go on:
//
//	b := wsctltest.NewBroker()
//	one, two := &wsctl.Hub{Broker: b}, &wsctl.Hub{Broker: b.Node()}
//	…
//	b.Cut() // two goes on
//
// It needs no closing. All methods may be called from any goroutine, but not by deliver.
type Broker struct {
	server *server

	mu         sync.Mutex // guards following
	cut        bool
	subs       map[*subscription]bool
	calls      func(ctx context.Context, method, topic string, call func() error) error
	deliveries func(topic, pos string, msg []byte, deliver func(pos string, msg []byte))
}

// server is what the nodes have in common.
type server struct {
	membroker.Broker

	mu   sync.Mutex      // guards following
	kept map[string]bool // topics with history
}

// subscription is one of a node.
type subscription struct {
	topic string
	lost  bool // messages, and deliver isn't told yet; guarded by Broker.mu
}

var errCut = errors.New("wsctltest: the node has lost its broker")

// NewBroker returns the first node of a new broker.
func NewBroker() *Broker {
	return (&Broker{server: &server{kept: make(map[string]bool)}}).Node()
}

// Node returns another node, connected to b and to all others, with faults of its own.
func (b *Broker) Node() *Broker {
	return &Broker{server: b.server, subs: make(map[*subscription]bool)}
}

// Cut loses the node's connection: its calls fail, and messages don't reach it.
func (b *Broker) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = true
	for s := range b.subs {
		s.lost = true
	}
}

// Reconnect ends Cut, and tells all subscriptions that messages may have been missed.
func (b *Broker) Reconnect() {
	b.mu.Lock()
	b.cut = false
	topics := make(map[string]bool)
	for s := range b.subs {
		topics[s.topic] = true
	}
	b.mu.Unlock()
	for topic := range topics {
		b.server.Missed(topic)
	}
}

// Forget loses all that is kept, of all nodes, as a server does that is restarted without its data. Nobody is told.
func (b *Broker) Forget() {
	b.server.mu.Lock()
	topics := slices.Collect(maps.Keys(b.server.kept))
	clear(b.server.kept)
	b.server.mu.Unlock()
	for _, topic := range topics {
		b.server.Forget(topic)
	}
}

// Calls has fn decide on the node's calls from now on; nil lets them be. method is Publish, PublishKeep, Subscribe or Since.
// call executes it; fn may wait before, or not call it at all, and returns what the caller is to get: the error of call, or one
// of its own. So a broker can be slow, refuse, or fail though the message is kept.
func (b *Broker) Calls(fn func(ctx context.Context, method, topic string, call func() error) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = fn
}

// Deliveries has fn pass on what comes to the node's subscriptions from now on; nil passes everything. deliver is that of the
// subscription, which fn may call once, not at all, several times, or for an earlier message that it has kept back: so messages
// get lost, come twice or out of order, and nobody is told. fn is called once at a time for each subscription.
func (b *Broker) Deliveries(fn func(topic, pos string, msg []byte, deliver func(pos string, msg []byte))) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deliveries = fn
}

// do makes a call, with its faults.
func (b *Broker) do(ctx context.Context, method, topic string, call func() error) error {
	b.mu.Lock()
	calls := b.calls
	b.mu.Unlock()
	whole := func() error {
		b.mu.Lock()
		cut := b.cut
		b.mu.Unlock()
		if cut {
			return errCut
		}
		return call()
	}
	if calls == nil {
		return whole()
	}
	return calls(ctx, method, topic, whole)
}

// Publish implements [wsctl.Broker].
func (b *Broker) Publish(ctx context.Context, topic string, msg []byte) error {
	return b.do(ctx, "Publish", topic, func() error { return b.server.Publish(ctx, topic, msg) })
}

// PublishKeep implements [wsctl.HistoryBroker].
func (b *Broker) PublishKeep(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
	return b.do(ctx, "PublishKeep", topic, func() error {
		b.server.keeps(topic)
		return b.server.PublishKeep(ctx, topic, msg, keep.Messages, keep.Age)
	})
}

// Since implements [wsctl.HistoryBroker].
func (b *Broker) Since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	err = b.do(ctx, "Since", topic, func() (err error) {
		b.server.keeps(topic)
		msgs, newest, ok, err = b.server.Since(ctx, topic, pos)
		return err
	})
	if err != nil {
		return nil, "", false, err
	}
	return msgs, newest, ok, nil
}

// keeps notes a topic, for Forget.
func (s *server) keeps(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[topic] = true
}

// Subscribe implements [wsctl.Broker].
func (b *Broker) Subscribe(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
	s := &subscription{topic: topic}
	var end func()
	err = b.do(ctx, "Subscribe", topic, func() (err error) {
		end, err = b.server.Subscribe(ctx, topic, func(pos string, msg []byte) { b.deliver(s, pos, msg, deliver) })
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.subs[s], s.lost = true, b.cut // only now: a notice reaches it
		}
		return err
	})
	stop = func() {
		if end != nil {
			end()
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, s)
	}
	if err != nil {
		stop() // also where it failed when it was made already
		return nil, err
	}
	return stop, nil
}

// deliver passes a message on, unless it gets lost.
func (b *Broker) deliver(s *subscription, pos string, msg []byte, deliver func(pos string, msg []byte)) {
	notice := pos == "" && msg == nil
	b.mu.Lock()
	pass := !b.cut && s.lost == notice // a notice may be meant for another node
	if pass {
		s.lost = false
	}
	fn := b.deliveries
	b.mu.Unlock()
	switch {
	case !pass:
	case fn == nil || notice:
		deliver(pos, msg)
	default:
		fn(s.topic, pos, msg, deliver)
	}
}
