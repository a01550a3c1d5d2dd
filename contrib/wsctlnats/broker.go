package wsctlnats

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl"
)

const (
	bridged   = 2 * time.Second        // how long a lost connection is waited for, before calls fail at once
	writing   = 3 * time.Second        // how long a server that doesn't read may hold up a write
	reading   = 64                     // calls of Since that ask the server at a time: its queue for all its clients has a limit
	fetching  = 8                      // of these get messages at a time: the server closes connections for which too much waits
	settled   = time.Second            // how long a cluster may take to hear of a subscription
	firstTry  = 500 * time.Millisecond // what a request gets until it is made again; then twice as long
	maxTry    = 4 * time.Second
	firstWait = 10 * time.Millisecond // between tries; then twice as long
	maxWait   = 500 * time.Millisecond
)

var (
	errClosed   = errors.New("the broker is closed")
	errAway     = errors.New("no connection to the NATS server")
	errConflict = errors.New("others keep messages all the time")
	errUnknown  = errors.New("the message was kept, or perhaps not: the history doesn't say any more")
	errSilent   = errors.New("JetStream doesn't answer")
	errUnsure   = errors.New("a NATS server may not know the subscription yet")
	errLags     = errors.New("a replica hasn't got all messages yet")
)

// Broker is a [wsctl.HistoryBroker] on NATS. Make one by [Connect]. Its methods may be called from any goroutine.
type Broker struct {
	opts   Options
	nc     *nats.Conn
	stream *stream
	peers  *peers
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	slots  chan struct{} // one for each call of Since that asks the server
	lanes  chan struct{} // one for each that gets messages
	name   string        // random: the ids of entries begin with it
	ids    atomic.Uint64 // entries made

	arrivals chan *nats.Msg // of all subscriptions, for dispatch
	maxQueue int

	mu     sync.Mutex // guards following; may be taken while others are held
	closed bool
	lost   time.Time // since when there is no connection; zero: there is one
	why    error     // the last try to reach a server failed
	said   time.Time // when the log was told that there is no connection; zero: not yet
	subs   map[*nats.Subscription]*subscription
	topics map[string]*topic
}

var _ wsctl.HistoryBroker = (*Broker)(nil)

// Connect returns a broker on the servers of url, several of which are separated by commas. Nil opts is the zero Options. It
// returns a broker also where none of them can be reached: the broker goes on trying, for ever, and what it does fails until
// then, as it does whenever the connection is lost. An error says that url or opts can't be right.
func Connect(url string, opts *Options) (*Broker, error) {
	b := &Broker{
		slots: make(chan struct{}, reading), lanes: make(chan struct{}, fetching), name: randomText(6), lost: time.Now(),
		arrivals: make(chan *nats.Msg, arriving), maxQueue: maxQueue,
		subs: make(map[*nats.Subscription]*subscription), topics: make(map[string]*topic),
	}
	var err error
	if b.opts, err = opts.complete(); err != nil {
		return nil, err
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.mu.Lock() // handlers wait until the broker is complete
	defer b.mu.Unlock()
	if b.nc, err = nats.Connect(url, append(b.opts.NATS[:len(b.opts.NATS):len(b.opts.NATS)], b.configure)...); err != nil {
		b.cancel()
		return nil, fmt.Errorf("wsctlnats: %w", err)
	}
	if b.stream, err = newStream(b); err == nil {
		// A new leader may not send what it was told by the old one.
		_, err = b.nc.Subscribe(leaderElected+b.stream.name, func(*nats.Msg) { b.tell((*subscription).kept) })
	}
	if err == nil {
		_, err = b.nc.Subscribe(b.claimSubject(), b.claimed)
	}
	if err == nil {
		b.peers, err = newPeers(b)
	}
	if err != nil {
		b.cancel()
		b.nc.Close()
		return nil, fmt.Errorf("wsctlnats: %w", err)
	}
	if b.nc.IsConnected() {
		b.lost = time.Time{}
		b.peers.connected()
	}
	b.wg.Go(b.dispatch)
	b.wg.Go(b.peers.run)
	return b, nil
}

// Close ends all subscriptions and the connection, and waits for what runs; calls that wait for the server fail. It may be
// called more than once, but not by deliver.
func (b *Broker) Close() {
	b.mu.Lock()
	b.closed = true
	subs := make([]*subscription, 0, len(b.subs))
	for _, s := range b.subs {
		subs = append(subs, s)
	}
	b.mu.Unlock()
	b.cancel()
	for _, s := range subs {
		s.stop()
	}
	b.nc.Close()
	b.wg.Wait()
}

// Publish implements [wsctl.Broker] by core NATS. The message waits in the connection's buffer of a few KiB to be written.
// It fails at once while there is no connection.
func (b *Broker) Publish(ctx context.Context, topic string, msg []byte) error {
	err := ctx.Err()
	if err == nil && !b.nc.IsConnected() {
		err = b.whyNot()
	}
	if err == nil {
		err = b.nc.Publish(b.liveSubject(topic), msg)
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		err = b.tooLarge(len(msg))
	}
	return b.explain(err)
}

// tooLarge says that a message is more than the server takes.
func (b *Broker) tooLarge(size int) error {
	return fmt.Errorf("a message of %d bytes, and max_payload of the server is %d: %w", size, b.nc.MaxPayload(), nats.ErrMaxPayload)
}

// explain returns the error that a caller gets for err, nil for nil.
func (b *Broker) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case b.ctx.Err() != nil:
		err = errClosed
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected):
		err = b.whyNot()
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("wsctlnats: JetStream isn't enabled, or there is no leader: %w", err)
	}
	return fmt.Errorf("wsctlnats: %w", err)
}

// whyNot says why there is no connection.
func (b *Broker) whyNot() error {
	if err := b.cause(); err != nil {
		return fmt.Errorf("%w %s: %w", errAway, b.servers(), err)
	}
	return fmt.Errorf("%w %s", errAway, b.servers())
}

// servers are those that are tried, without credentials.
func (b *Broker) servers() string { return strings.Join(b.nc.Servers(), ", ") }

// cause is why the last try to connect has failed: the server didn't let us in, or couldn't be reached. Nil: it isn't known yet.
func (b *Broker) cause() error {
	if err := b.nc.LastError(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why
}

// away tells whether there has been no connection for so long that nothing is worth waiting for.
func (b *Broker) away() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost.IsZero() && time.Since(b.lost) > bridged
}

// retry calls fn until it succeeds, its error is one that stays, ctx ends, the broker is closed or its server is away. Each
// try has a while, and the next one more, since requests to JetStream get lost where a leader is being elected.
func (b *Broker) retry(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	timer := time.NewTimer(0)
	defer timer.Stop()
	patience, wait, conflicts := firstTry, firstWait, 0
	var err error
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		if end := ctx.Err(); end != nil && err != nil {
			return fmt.Errorf("%w: %w", end, err)
		} else if end != nil {
			return end
		}
		try, done := context.WithTimeout(ctx, patience)
		err = b.silence(try, fn(try))
		done()
		switch {
		case errors.Is(err, errConflict):
			// The others who want the same place get theirs meanwhile.
			timer.Reset(mathrand.N(time.Duration(min(conflicts, 10))*time.Millisecond + 1))
			conflicts++
		case err == nil || !temporary(err):
			return err
		case b.away():
			return b.whyNot()
		default:
			timer.Reset(wait/2 + mathrand.N(wait))
			wait, patience = min(2*wait, maxWait), min(2*patience, maxTry)
		}
	}
}

// silence returns errSilent, with what the server may have said about it, in place of the error of a try that took too long.
func (b *Broker) silence(try context.Context, err error) error {
	if err == nil || try.Err() == nil {
		return err
	}
	if last := b.nc.LastError(); errors.Is(last, nats.ErrPermissionViolation) { // which isn't an answer to anything
		return fmt.Errorf("%w: %w", errSilent, last)
	}
	return errSilent
}

// start runs fn in a goroutine that Close waits for, unless the broker is closed.
func (b *Broker) start(fn func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.wg.Go(fn)
	return true
}

// configure sets what the broker relies on, over what the user has set.
func (b *Broker) configure(o *nats.Options) error {
	o.AllowReconnect, o.MaxReconnect, o.RetryOnFailedConnect, o.IgnoreAuthErrorAbort = true, -1, true, true
	o.ReconnectBufSize = -1 // what can't be sent now fails
	o.NoEcho = false
	if o.PingInterval == nats.DefaultPingInterval {
		o.PingInterval = 5 * time.Second
	}
	if o.FlusherTimeout == nats.DefaultFlusherTimeout {
		o.FlusherTimeout = writing
	}
	delay := o.CustomReconnectDelayCB
	if delay == nil {
		delay = func(rounds int) time.Duration {
			d := 100 * time.Millisecond << min(rounds, 5)
			return d/2 + mathrand.N(d)
		}
	}
	o.CustomReconnectDelayCB = func(rounds int) time.Duration {
		b.unreachable()
		return delay(rounds)
	}
	connected, disconnected, reconnected, failed, refused := o.ConnectedCB, o.DisconnectedErrCB, o.ReconnectedCB, o.AsyncErrorCB, o.ReconnectErrCB
	o.ConnectedCB = func(nc *nats.Conn) {
		b.connected(nc, connected)
	}
	o.ReconnectedCB = func(nc *nats.Conn) {
		b.connected(nc, reconnected)
	}
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		b.disconnected(err)
		if disconnected != nil {
			disconnected(nc, err)
		}
	}
	o.ReconnectErrCB = func(nc *nats.Conn, err error) {
		b.mu.Lock()
		if !errors.Is(err, nats.ErrNoServers) { // the reason follows
			b.why = err
		}
		b.mu.Unlock()
		if refused != nil {
			refused(nc, err)
		}
	}
	o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
		b.mu.Lock()
		s, lost := b.subs[sub], !b.lost.IsZero()
		b.mu.Unlock()
		switch {
		case sub != nil:
			b.opts.Logger.Error("wsctlnats: the NATS server or connection reports an error", "error", err, "subject", sub.Subject)
		case !lost: // else it doesn't let us in, which unreachable logs
			b.opts.Logger.Error("wsctlnats: the NATS server or connection reports an error", "error", err)
		}
		if s != nil && errors.Is(err, nats.ErrSlowConsumer) {
			s.overflow()
		}
		if failed != nil {
			failed(nc, sub, err)
		}
	}
	return nil
}

// connected is called when a connection was made.
func (b *Broker) connected(nc *nats.Conn, users nats.ConnHandler) {
	b.mu.Lock()
	again := !b.lost.IsZero()
	b.lost, b.why, b.said = time.Time{}, nil, time.Time{}
	b.mu.Unlock()
	if again {
		b.opts.Logger.Info("wsctlnats: connected", "server", nc.ConnectedUrlRedacted())
		b.peers.connected()
		b.start(func() {
			if b.subscribed() {
				b.peers.sync(b.ctx)
				b.tell(nil)
			}
		})
		if b.clustered() {
			time.AfterFunc(settled, func() { b.tell((*subscription).kept) })
		}
	}
	if users != nil {
		users(nc)
	}
}

// subscribed waits until the server knows the subscriptions that were made again: nobody is told any more of what is missed
// after the notice. It reports false if the connection is lost, which begins it anew.
func (b *Broker) subscribed() bool {
	for {
		if err := b.flush(b.ctx); !errors.Is(err, context.DeadlineExceeded) {
			return err == nil
		}
	}
}

// flush waits until the server has dealt with all that was sent to it before.
func (b *Broker) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxTry) // NATS wants a deadline
	defer cancel()
	return b.nc.FlushWithContext(ctx)
}

// disconnected is called when a connection was lost.
func (b *Broker) disconnected(err error) {
	b.mu.Lock()
	closed := b.closed
	if b.lost.IsZero() {
		b.lost = time.Now()
	}
	b.mu.Unlock()
	if !closed {
		b.opts.Logger.Warn("wsctlnats: the connection is lost", "error", err)
	}
}

// unreachable is called before all servers are tried, again and again. The log has why that has failed: at once, and every minute.
func (b *Broker) unreachable() {
	b.mu.Lock()
	due := !b.closed && time.Since(b.said) > time.Minute
	b.mu.Unlock()
	if why := b.cause(); due && why != nil {
		b.mu.Lock()
		b.said = time.Now()
		b.mu.Unlock()
		b.opts.Logger.Warn("wsctlnats: there is no connection", "servers", b.servers(), "error", why)
	}
}

// tell tells subscriptions that messages may have been missed: those that which picks, or all.
func (b *Broker) tell(which func(s *subscription) bool) {
	b.mu.Lock()
	subs := make([]*subscription, 0, len(b.subs))
	for _, s := range b.subs {
		if which == nil || which(s) {
			subs = append(subs, s)
		}
	}
	b.mu.Unlock()
	for _, s := range subs {
		s.push(nil)
	}
}

// clustered tells whether there are several servers.
func (b *Broker) clustered() bool { return b.nc.ConnectedClusterName() != "" }

// newID returns the id of a new entry.
func (b *Broker) newID() string { return b.name + "-" + strconv.FormatUint(b.ids.Add(1), 36) }

// randomText returns the text of n random bytes: letters, digits, - and _.
func randomText(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// waitUntil waits until then, or until ctx has ended or the broker is closed.
func (b *Broker) waitUntil(ctx context.Context, then time.Time) {
	wait := time.Until(then)
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.ctx.Done():
	}
}
