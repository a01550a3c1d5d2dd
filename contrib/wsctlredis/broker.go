package wsctlredis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl"
)

// Options configures a [Broker]. Nil and zeros mean the defaults given.
type Options struct {
	// Prefix begins the names of all keys and channels, and keeps applications on one Redis apart: "wsctl". It must have no
	// braces. Databases (rueidis' SelectDB) don't do: channels are common to them all.
	Prefix string

	// Durable says that the server never loses what it has acknowledged: appendfsync is always, and no replica that may lag
	// takes over. Then histories go on when it comes back. Else they begin anew, with a new epoch, whenever the server was
	// restarted, or another one has taken over.
	Durable bool

	Logger *slog.Logger // nil: slog.Default() at the time of logging
}

// Broker is a [wsctl.HistoryBroker] on Redis. Its methods may be called from any goroutine. A call whose ctx has no deadline
// ends after 5 seconds.
type Broker struct {
	opts   Options
	id     string          // of this Broker: begins the ids of what it publishes
	serial atomic.Uint64   // of what it publishes
	life   context.Context // ends with Close
	end    context.CancelFunc
	links  sync.WaitGroup // and what connects first

	connected chan struct{} // closed when the following are set
	client    rueidis.Client
	cluster   bool

	mu     sync.Mutex        // guards following, and the fields of topics and links
	topics map[string]*topic // that are subscribed, by channel
	nodes  map[string]*link  // by address; one, of an empty address, without a cluster
	owners []string          // addresses by slot, in a cluster
	away   error             // why there is no client yet
}

var (
	_ wsctl.HistoryBroker = (*Broker)(nil)

	errClosed = errors.New("the broker is closed")
)

const patience = 5 * time.Second // of a call whose ctx has no deadline

// Close ends all subscriptions and connections, and waits for calls of deliver that run, so it must not be called by one. It may
// be called again.
func (b *Broker) Close() {
	b.mu.Lock()
	if b.isClosed() {
		b.mu.Unlock()
		return
	}
	b.end()
	var subs []*subscription
	for _, t := range b.topics {
		subs = append(subs, t.subs...)
		t.fail(errClosed)
	}
	clear(b.topics)
	b.mu.Unlock()
	for _, s := range subs {
		s.stop()
	}
	b.links.Wait()
	if b.client != nil {
		b.client.Close()
	}
}

func (b *Broker) isClosed() bool { return b.life.Err() != nil }

// Publish implements [wsctl.Broker]. It returns when Redis has the message, or fails. What has failed for a lost connection, or
// for ctx, may be published nevertheless.
func (b *Broker) Publish(ctx context.Context, topic string, msg []byte) error {
	channel, err := b.channel(topic)
	if err == nil {
		text := envelope("", msg)
		_, err = b.call(ctx, func(ctx context.Context) rueidis.RedisResult {
			if b.cluster {
				return b.client.Do(ctx, b.client.B().Spublish().Channel(channel).Message(text).Build())
			}
			return b.client.Do(ctx, b.client.B().Publish().Channel(channel).Message(text).Build())
		})
	}
	if err != nil {
		return fmt.Errorf("wsctlredis: publish: %w", err)
	}
	return nil
}

// channel is the name of a topic's channel, and begins those of its keys. They are all in one slot of a cluster, so what is in
// braces must have none. It is an error if there is no client yet.
func (b *Broker) channel(topic string) (string, error) {
	select {
	case <-b.connected:
	default:
		b.mu.Lock()
		defer b.mu.Unlock()
		return "", fmt.Errorf("not connected yet: %w", b.away)
	}
	if topic == "" {
		return "", errors.New("the topic is empty")
	}
	return b.opts.Prefix + ":{" + url.QueryEscape(topic) + "}", nil
}

// call runs fn, which asks the server, and returns when ctx has ended, even if fn doesn't: rueidis may wait for somebody else's
// dialing, or for a place in a full pipeline.
func (b *Broker) call(ctx context.Context, fn func(ctx context.Context) rueidis.RedisResult) (rueidis.RedisMessage, error) {
	if b.isClosed() {
		return rueidis.RedisMessage{}, errClosed
	}
	ctx, cancel := within(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return rueidis.RedisMessage{}, err
	}
	result := make(chan rueidis.RedisResult, 1)
	go func() { result <- fn(ctx) }()
	select {
	case r := <-result:
		return r.ToMessage()
	case <-ctx.Done():
		return rueidis.RedisMessage{}, ctx.Err()
	case <-b.life.Done():
		return rueidis.RedisMessage{}, errClosed
	}
}

// within gives a ctx that has no deadline one.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, patience)
}

// envelope is what a channel carries: the position, if the message has one, a space, and the message.
func envelope(pos string, msg []byte) string {
	var text strings.Builder
	text.Grow(len(pos) + 1 + len(msg))
	text.WriteString(pos)
	text.WriteByte(' ')
	text.Write(msg)
	return text.String()
}

func (b *Broker) logger() *slog.Logger {
	if b.opts.Logger != nil {
		return b.opts.Logger
	}
	return slog.Default()
}
