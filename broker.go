package wsctl

import (
	"context"
	"time"
)

// Broker carries messages between the hubs of several nodes. All methods may be called from any goroutine. Whoever makes it
// closes it, when the handlers are shut down. wsctltest.TestBroker checks one; see also [HistoryBroker].
//
// A topic is 1 to 160 bytes of anything, and no pattern; a message is at most a few hundred bytes longer than the largest that
// the application sends. The hub publishes to one topic either by Publish alone, or by PublishKeep alone.
type Broker interface {
	// Publish sends msg to all subscribers of the topic, on all nodes and on this one. It may return when msg is in a queue of
	// its own to be sent; messages that one goroutine publishes one after the other to a topic arrive in that order. An error
	// says that msg is not published, or perhaps not. msg is the caller's again when it returns.
	Publish(ctx context.Context, topic string, msg []byte) error

	// Subscribe has returned when messages published from now on are sure to be delivered: one at a time, in one order,
	// which for one publisher is that of its calls. A slow deliver holds back only its own subscription, if anything. pos is
	// empty, or the message's position if it was published by PublishKeep. msg belongs to deliver, and nobody changes it. Several subscriptions of one topic
	// each get every message.
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
	// subscription that exists doesn't deliver any more is among them. Asking prolongs the life of the history.
	Since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error)
}

// Retention is how much history a room keeps: its last Messages, and of them those no older than Age. Zero is no limit; the zero Retention
// keeps none. History outlives the room's last member by Age, or by 5 minutes where that is zero.
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
