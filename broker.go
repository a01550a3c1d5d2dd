package wsctl

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsctl/wsctl/internal/membroker"
)

// Broker carries messages between the hubs of several nodes. All methods may be called from any goroutine; they return, with an error,
// soon after their ctx is done, stop without waiting for a server, and none waits for what a subscription's deliver does. Whoever makes
// it closes it, when the handlers are shut down. wsctltest.TestBroker checks one; see also [HistoryBroker].
//
// A topic is 1 to 160 bytes of anything, and no pattern; a message is as long as those that the application sends and a few hundred
// bytes, 34 more for each socket of an Except, and 64 KiB at most of the hub's own. The hub publishes to one topic either by Publish
// alone, or by PublishKeep alone.
type Broker interface {
	// Publish sends msg to all subscribers of the topic, on all nodes and on this one. It may return when msg is in a queue of
	// its own to be sent; messages that one goroutine publishes one after the other to a topic arrive in that order. An error
	// says that msg is not published, or perhaps not. msg is the caller's again when it returns.
	Publish(ctx context.Context, topic string, msg []byte) error

	// Subscribe has returned when messages published from now on are sure to be delivered: one at a time, in one order,
	// which for one publisher is that of its calls. A slow deliver holds back only its own subscription, if anything. pos is
	// empty, or the message's position if it was published by PublishKeep. msg belongs to deliver, and nobody changes it. Several
	// subscriptions of one topic each get every message.
	//
	// Where the connection to the other nodes was lost, it is made anew, and then deliver("", nil) says that messages may have
	// been missed.
	//
	// No call of deliver begins after stop has returned; stop may be called more than once, but not by deliver.
	Subscribe(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error)
}

// HistoryBroker is a [Broker] that keeps messages, so that the history of a room is one for all nodes.
//
// A position is "epoch.offset": the offset is a decimal number, 0 before the topic's first message, then one more with each.
// The epoch is a random text of letters, digits, - and _, which changes whenever kept messages, or their offsets, may have
// been lost. A topic without messages has a position as well, the one before its first message's.
type HistoryBroker interface {
	Broker

	// PublishKeep is Publish for a message that is kept. It returns nil only when the message has its position and is kept, so
	// that it is not lost with this process.
	PublishKeep(ctx context.Context, topic string, msg []byte, keep Retention) error

	// Since returns the messages after pos, in order, the last of which has the position newest, so that there are as many as
	// lie between the offsets. If not all of them can be had, or pos is unknown, malformed or after the newest, ok is false and
	// there are none; newest is told nevertheless. An empty pos asks for the newest position alone: ok is true. What a
	// subscription that exists doesn't deliver any more is among them. Asking prolongs the life of the history, and that of the epoch by
	// 5 minutes at least, also where no message is that young: the hub asks more often for rooms that have members.
	Since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error)
}

// Retention is how much history a room keeps: its last Messages, and of them those no older than Age. Zero is no limit; the zero Retention
// keeps none. History outlives the room's last member by Age, or by 5 minutes where that is zero, or nothing was ever sent.
type Retention struct {
	Messages int
	Age      time.Duration
}

// keeps tells whether there is any history.
func (r Retention) keeps() bool { return r.Messages > 0 || r.Age > 0 }

// outlives is how long history outlives its last member.
func (r Retention) outlives() time.Duration {
	if r.Age > 0 {
		return r.Age
	}
	return 5 * time.Minute
}

// brokerTimeout is how long a broker may take for anything.
const brokerTimeout = 5 * time.Second

// link is a Hub's tie to its broker: the topics that it is subscribed to, and what it knows of other nodes. A hub that keeps
// history without a Broker has one of its own, in memory.
type link struct {
	h      *Hub
	broker Broker
	keeper HistoryBroker     // nil: no room keeps history
	memory *membroker.Broker // nil: history isn't kept here
	remote bool              // there may be other nodes
	node   string            // names this hub among the nodes

	ctx    context.Context // ends with the last handler
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines

	giving chan struct{} // holds one while members are given what they have missed of a room; no mutex, since they are waited for

	seq  atomic.Uint64 // of the newest packet
	slow atomic.Bool   // the broker has failed to answer in time

	conditions [services]condition // how the broker does what it is asked for

	failures, gaps, recovered, notRecovered atomic.Uint64
	strangers                               atomic.Int64 // when one was last logged, Unix seconds

	// Guarded by the hub's mu:
	topics   map[roomKey]*topic
	agenda   agenda              // of topics, those that chores will have to look at
	own      map[uint64]ownState // packets of rooms without history that are being published, or were delivered here alone
	ownLate  []uint64            // of own, the latter, the oldest first
	lost     []*topic            // that must ask for their history
	finders  int                 // goroutines that do
	stale    []staleMember       // members that have to be told positions
	cluster  cluster
	timer    *time.Timer // of tick; nil: it doesn't run
	busy     bool        // a goroutine does the chores
	chored   time.Time   // when it last began
	ticked   time.Time   // when tick last ran; zero: it rested
	checking bool        // a goroutine asks about quiet rooms
	stopped  bool
}

// ownState is what has become of a packet of this node.
type ownState byte

const (
	ownFlying    ownState = iota // it is being published
	ownDelivered                 // and came back before that was over
	ownLocal                     // its publishing failed, and this node's members have it
)

const maxOwnLate = 1024

// link returns the hub's link, or nil: it is alone, and keeps no history.
func (h *Hub) link() *link {
	if h.Broker == nil && h.History == nil {
		return nil
	}
	if l := h.linked.Load(); l != nil {
		return l
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.linked.Load() == nil {
		h.linked.Store(newLink(h))
	}
	return h.linked.Load()
}

func newLink(h *Hub) *link {
	l := &link{h: h, remote: h.Broker != nil, node: rand.Text()[:10], giving: make(chan struct{}, 1),
		topics: make(map[roomKey]*topic), own: make(map[uint64]ownState)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.cluster.init()
	keeper, keeps := h.Broker.(HistoryBroker)
	switch {
	case h.History == nil:
		l.broker = h.Broker
	case keeps:
		l.broker, l.keeper = keeper, keeper
	default:
		limit := h.HistoryBuffer
		if limit <= 0 {
			limit = defaultHistoryBuffer
		}
		l.memory = &membroker.Broker{Direct: true, Limit: limit}
		l.keeper = memory{l.memory}
		if l.broker = l.keeper; h.Broker != nil {
			l.keeper = &nodeHistory{Broker: h.Broker, log: l.memory, last: make(map[string]*int),
				keep: func(topic string) Retention { return h.retention(topicKey(topic)) }}
			l.broker = l.keeper
		}
	}
	return l
}

const defaultHistoryBuffer = 64 << 20

// memory is the broker of a hub that has none: history, in this process alone.
type memory struct{ *membroker.Broker }

func (m memory) PublishKeep(ctx context.Context, topic string, msg []byte, keep Retention) error {
	return m.Broker.PublishKeep(ctx, topic, msg, keep.Messages, keep.Age)
}

// nodeHistory gives a Broker that keeps nothing a history on each node: what a node was told while it was subscribed.
type nodeHistory struct {
	Broker
	log  *membroker.Broker
	keep func(topic string) Retention

	mu   sync.Mutex      // guards following
	last map[string]*int // the newest subscription of each topic that is kept
}

func (n *nodeHistory) PublishKeep(ctx context.Context, topic string, msg []byte, _ Retention) error {
	return n.Publish(ctx, topic, msg)
}

func (n *nodeHistory) Subscribe(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
	keep := n.keep(topic)
	if !keep.keeps() {
		return n.Broker.Subscribe(ctx, topic, deliver)
	}
	own := new(int)
	n.mu.Lock()
	n.last[topic] = own
	n.mu.Unlock()
	n.log.Forget(topic) // what was published since the last subscription isn't in it
	end, err := n.log.Subscribe(ctx, topic, deliver)
	if err != nil {
		return nil, err
	}
	off, err := n.Broker.Subscribe(ctx, topic, func(_ string, msg []byte) {
		switch {
		case !n.isLast(topic, own): // a subscription that is ending
		case msg == nil:
			n.log.Forget(topic)
			n.log.Missed(topic)
		default:
			_ = n.log.PublishKeep(context.Background(), topic, msg, keep.Messages, keep.Age) // memory doesn't fail
		}
	})
	over := func() {
		end()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.last[topic] == own {
			delete(n.last, topic)
		}
	}
	if err != nil {
		over()
		return nil, err
	}
	return func() { off(); over() }, nil
}

func (n *nodeHistory) isLast(topic string, own *int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last[topic] == own
}

func (n *nodeHistory) Since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	return n.log.Since(ctx, topic, pos)
}

// limit gives a context for what the broker is asked for.
func (l *link) limit() (context.Context, context.CancelFunc) {
	return context.WithTimeout(l.ctx, brokerTimeout)
}

// packet begins a packet of this node.
func (l *link) packet(kind packetKind) *packet {
	return &packet{kind: kind, node: l.node, seq: l.seq.Add(1)}
}

// publish sends a packet that isn't kept, for an application: also after the last handler's end.
func (l *link) publish(topic string, p *packet) error {
	return l.publishBefore(context.Background(), topic, p)
}

// publishBefore is publish before ctx ends.
func (l *link) publishBefore(ctx context.Context, topic string, p *packet) error {
	limited, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	err := l.safely(func() error { return l.broker.Publish(limited, topic, p.encode()) })
	if err != nil && ctx.Err() != nil { // not for any fault of the broker's
		return ctx.Err()
	}
	if err = l.outcome(publishing, "publishing", err); err != nil {
		return unavailable{err, notSent}
	}
	return nil
}

// publishKept is publish of one that is kept.
func (l *link) publishKept(topic string, p *packet, keep Retention) error {
	ctx, cancel := context.WithTimeout(context.Background(), brokerTimeout)
	defer cancel()
	err := l.safely(func() error { return l.keeper.PublishKeep(ctx, topic, p.encode(), keep) })
	if err := l.outcome(keeping, "publishing what is kept", err); err != nil {
		return unavailable{err, notSent}
	}
	return nil
}

// tell is publish to other nodes, of something that they learn without it as well, but later.
func (l *link) tell(topic string, p *packet) bool { return l.publishBefore(l.ctx, topic, p) == nil }

// topicName names a room at the broker.
func (l *link) topicName(key roomKey) string {
	switch key.kind {
	case kindEveryone:
		return "a"
	case kindUser:
		return "u" + key.name
	case kindSocket:
		return "n" + nodeOf(key.name)
	default:
		return "r" + key.name
	}
}

// String names a room for those who read logs.
func (k roomKey) String() string {
	switch k.kind {
	case kindEveryone:
		return "all nodes"
	case kindUser:
		return fmt.Sprintf("user %q", k.name)
	case kindSocket:
		return "this node"
	default:
		return fmt.Sprintf("room %q", k.name)
	}
}

// topicKey is the room of a topic of rooms; others name none.
func topicKey(topic string) roomKey {
	if topic[0] == 'r' {
		return roomKey{kindRoom, topic[1:]}
	}
	return roomKey{}
}

// keepOf returns how much history a room keeps: as long as it lives, what it kept first.
func (l *link) keepOf(key roomKey) Retention {
	if l.keeper == nil || key.kind != kindRoom {
		return Retention{}
	}
	h := l.h
	h.mu.Lock()
	t, r := l.topics[key], h.rooms[key]
	h.mu.Unlock()
	switch {
	case t != nil:
		return t.keep
	case r != nil:
		return Retention{}
	}
	return h.retention(key)
}

// retention asks Hub.History, for rooms that were joined by name.
func (h *Hub) retention(key roomKey) (keep Retention) {
	if h.History != nil && key.kind == kindRoom {
		keep = h.History(key.name)
	}
	return keep
}

// nodeOf is the node of a Socket.ID of a hub with a Broker; empty: it has none.
func nodeOf(id string) string {
	_, node, _ := strings.Cut(id, ".")
	return node
}

// suffix makes the Socket.IDs of a hub with a Broker tell its node.
func (h *Hub) suffix() string {
	if l := h.link(); l != nil && l.remote {
		return "." + l.node
	}
	return ""
}

// addTo adds what the hub's tie to its broker has to say.
func (h *Hub) addTo(st *Stats) {
	l := h.linked.Load()
	if l == nil {
		return
	}
	if l.memory != nil {
		st.HistoryBytes = l.memory.Bytes()
	}
	st.BrokerDown = l.isDown()
	st.BrokerErrors, st.BrokerGaps = l.failures.Load(), l.gaps.Load()
	st.Recovered, st.NotRecovered = l.recovered.Load(), l.notRecovered.Load()
	if l.remote {
		h.mu.Lock()
		st.Topics = len(l.topics)
		h.mu.Unlock()
	}
}
