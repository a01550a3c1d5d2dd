package wsctlredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// New connects to Redis. Addresses, TLS, credentials, Sentinel and Cluster are options of [rueidis]. These are changed: there are
// no retries, as they would publish twice, all is asked of masters, connections have no lifetime, and ConnWriteTimeout,
// after which a server that doesn't answer is taken for lost, is 5 s where it is zero. A nil opts is allowed.
//
// Where the server can't be reached, New succeeds nevertheless: it is tried again, and all calls fail until then. An error
// says that the options are wrong, or that the server refuses the connection, for a wrong password, say. What its user may not do
// (ACL), or a replica doesn't, fails when it is needed. The caller is to call [Broker.Close].
func New(redis rueidis.ClientOption, opts *Options) (*Broker, error) {
	b := &Broker{
		id:        rand.Text()[:12],
		connected: make(chan struct{}),
		topics:    make(map[string]*topic),
		nodes:     make(map[string]*link),
	}
	if opts != nil {
		b.opts = *opts
	}
	if b.opts.Prefix == "" {
		b.opts.Prefix = "wsctl"
	}
	if strings.ContainsAny(b.opts.Prefix, "{}") {
		return nil, fmt.Errorf("wsctlredis: Options.Prefix is %q: it must have no braces", b.opts.Prefix)
	}
	redis.DisableRetry, redis.DisableCache = true, true
	redis.SendToReplicas, redis.ReadNodeSelector, redis.ReplicaOnly = nil, nil, false
	redis.ConnLifetime = 0        // at its end, rueidis sends some commands again
	redis.AlwaysPipelining = true // else the end of one ctx closes the connection of all
	if redis.ConnWriteTimeout == 0 {
		redis.ConnWriteTimeout = patience
	}
	b.life, b.end = context.WithCancel(context.Background())
	if b.away = b.connect(redis); b.away == nil {
		return b, nil
	}
	if !unreachable(b.away) {
		b.end()
		return nil, fmt.Errorf("wsctlredis: %w", b.away)
	}
	b.logger().Warn("wsctlredis: there is no server yet", "error", b.away)
	b.links.Go(func() { b.keepConnecting(redis) })
	return b, nil
}

// connect makes the client.
func (b *Broker) connect(redis rueidis.ClientOption) error {
	client, err := rueidis.NewClient(redis)
	if err == nil {
		if b.client, b.cluster = client, client.Mode() == rueidis.ClientModeCluster; b.cluster {
			err = b.openCluster()
		}
	}
	if err != nil {
		if client != nil {
			client.Close()
		}
		b.client = nil
		return err
	}
	close(b.connected)
	return nil
}

// keepConnecting ends when there is a client, or with the Broker. The log has every minute why there is none, and at once when the
// server, which couldn't be reached before, refuses the connection.
func (b *Broker) keepConnecting(redis rueidis.ClientOption) {
	logged, refused := time.Now(), false
	for delay := minDelay; !b.isClosed(); delay = min(2*delay, maxDelay) {
		b.wait(b.life, delay)
		err := b.connect(redis)
		if err == nil {
			b.logger().Info("wsctlredis: connected")
			return
		}
		b.mu.Lock()
		b.away = err
		b.mu.Unlock()
		if refuses := !unreachable(err); refuses != refused || time.Since(logged) > time.Minute {
			logged, refused = time.Now(), refuses
			b.logger().Warn("wsctlredis: there is no server yet", "error", err)
		}
	}
}

// unreachable tells whether it may be the fault of the network, or of a server that isn't ready yet.
func unreachable(err error) bool {
	if refused, ok := rueidis.IsRedisErr(err); ok {
		return refused.IsLoading() || refused.IsClusterDown() || refused.IsTryAgain() || strings.HasPrefix(refused.Error(), "MASTERDOWN")
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return false // there never will be such a one
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, errNoOwners)
}

// wait waits for a time, or until ctx or the Broker has ended.
func (b *Broker) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.life.Done():
	}
}
