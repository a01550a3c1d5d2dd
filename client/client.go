package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// State is what a client is about.
type State int

// The states of a client.
const (
	Idle       State = iota // made by New, and not told to connect
	Connecting              // dials, or waits for the server's welcome
	Open                    // what is sent is written at once
	Waiting                 // for the next attempt
	Closed                  // for good
)

// String returns the name of the state.
func (s State) String() string {
	if s < Idle || s > Closed {
		return "State(" + strconv.Itoa(int(s)) + ")"
	}
	return [...]string{"Idle", "Connecting", "Open", "Waiting", "Closed"}[s]
}

// Info is what the server said in its last welcome. At the plain level it is zero.
type Info struct {
	Session bool          // there is one that can be resumed
	Resumed bool          // it is the one from before: nothing was lost
	Ping    time.Duration // between two signs of life of the server
	Timeout time.Duration // how much later they may be
	Max     int           // bytes of the largest message that the server takes
	Window  int           // items that a stream may send ahead
	Schema  string        // hash of the server's methods
	Expires time.Time     // when the credential ends; zero: never
}

// Client is one connection to a server, made again whenever it is lost. All methods may be called from any goroutine.
type Client struct {
	url  string
	opts Options

	ctx    context.Context // ends with the client
	cancel context.CancelFunc
	done   chan struct{} // closed when the client is closed and run has ended
	hurry  chan struct{} // holds one: dial now
	lastID atomic.Uint64 // of a call

	mu       sync.Mutex // guards following
	state    State
	err      error         // of the last attempt, or why it is closed
	failures int           // attempts and connections that ended
	changed  chan struct{} // closed at the next change that wait may wait for; nil: nobody waits
	closing  bool          // Close or Abort was called
	sess     session
	rooms    positions
	link     *link // nil: not open
	info     Info
	retry    retry
	opened   bool // once at least
	calls    map[uint64]*call
	asks     map[uint64]*ask // calls of the server
	faults   []time.Time     // the last bad messages of the server

	listeners map[string][]*listener
	handlers  map[string]*handler
	inbox     []event
	inboxSize int    // bytes
	running   bool   // a goroutine works on the inbox
	inside    bool   // ... and is in a function of the user
	turn      uint64 // number of that
}

// New returns a client that doesn't dial yet, so that On and Handle can be called before anything can arrive. What is sent
// before Connect waits as it does while a connection is lost. url is a ws, wss, http or https URL; a bad one is reported
// by Connect. opts may be nil.
func New(url string, opts *Options) *Client {
	c := &Client{
		url:       url,
		opts:      opts.withDefaults(),
		done:      make(chan struct{}),
		hurry:     make(chan struct{}, 1),
		calls:     map[uint64]*call{},
		asks:      map[uint64]*ask{},
		listeners: map[string][]*listener{},
		handlers:  map[string]*handler{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Dial is New, then Connect until the client is open, or ctx ends, or the server's refusal is final. With an error there is
// no client, and nothing of it is left.
func Dial(ctx context.Context, url string, opts *Options) (*Client, error) {
	c := New(url, opts)
	if err := c.Connect(ctx); err != nil {
		c.Abort()
		c.ended()
		return nil, err
	}
	return c, nil
}

// Connect has a client dial that is Idle or Waiting, without the pause that it may be in, and waits until it is open. An
// error is that of ctx, then with the last attempt's, or an [ErrClosed]; with Options.Manual it may be the failed attempt's.
// The client goes on trying when ctx has ended, unless it is Manual.
func (c *Client) Connect(ctx context.Context) error {
	c.mu.Lock()
	failures := c.failures
	c.mu.Unlock()
	c.dialNow()
	var last error
	err := c.wait(ctx, func() bool {
		last = c.err
		return c.state == Open || c.state == Closed || c.closing || c.opts.Manual && c.failures > failures
	})
	c.mu.Lock()
	state, closing := c.state, c.closing
	c.mu.Unlock()
	switch {
	case state == Open && !closing:
		return nil
	case state == Closed:
		return c.closedError()
	case closing:
		return ErrClosed
	case err == nil:
		return last
	case last != nil:
		return fmt.Errorf("%w; last attempt: %w", err, last)
	}
	return err
}

// Redial is Connect without waiting, for when the network is back. If the client is Open, Redial asks the server for a sign
// of life, and gives the connection up if there is none within Options.ProbeTimeout; at the plain level it leaves it alone.
func (c *Client) Redial() {
	c.mu.Lock()
	l := c.link
	if l != nil {
		l.probe()
	}
	c.mu.Unlock()
	if l == nil {
		c.dialNow()
	}
}

// dialNow starts the client, or ends its pause.
func (c *Client) dialNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing || c.state == Closed:
	case c.state == Idle:
		c.setState(Connecting, nil)
		go c.run()
	case c.state == Waiting:
		c.retry.dials, c.retry.away = 0, false
		select {
		case c.hurry <- struct{}{}:
		default:
		}
	}
}

// State returns what the client is about at this moment.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Info returns what the server said when it was last open.
func (c *Client) Info() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}

// Close ends the client. New messages and calls fail with [ErrClosed] from now on. What is queued is still written, and
// Close waits until the server has it and until the calls in flight have ended, streams excepted, or until ctx ends. Then it
// closes with code 1000. The functions of [On] get what has come before, as long as ctx doesn't end.
//
// When Close returns, nothing of the client is running, except functions of the user that don't look at their context. If a
// function of On or of the Options calls Close itself, that takes a second longer, and what is left for these functions is
// delivered when it returns.
//
// An error says that not everything was delivered to the server.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	var turn uint64 // of the function of the user that may have called Close
	if c.inside {
		turn = c.turn
	}
	c.closing = true
	c.wake()
	if c.link != nil {
		c.link.hasten()
	}
	c.mu.Unlock()

	err := c.wait(ctx, func() bool {
		return c.state == Idle || c.state == Closed || c.state == Waiting && c.opts.Manual || c.drained()
	})
	c.mu.Lock()
	left := c.sess.waiting() + c.sess.numbered
	if c.state == Closed {
		left = 0
	}
	switch {
	case c.state == Idle:
		c.finish(nil)
		close(c.done)
	case c.state == Closed:
	case c.link != nil:
		c.link.sayBye(ctx.Err() == nil)
	default:
		c.cancel()
	}
	c.mu.Unlock()
	c.ended()

	c.settle(ctx, turn)
	switch {
	case left == 0:
		return nil
	case err == nil:
		err = errors.New("not connected")
	}
	return fmt.Errorf("wsctl: closed before %d messages were acknowledged: %w", left, err)
}

// settle waits for the functions of the user, as Close promises. One that ran when Close was called, in that turn, has
// byeWait to return: if it is Close's caller, it won't.
func (c *Client) settle(ctx context.Context, turn uint64) {
	idle := func() bool { return !c.running }
	passed := func() bool { return !c.running || c.turn != turn }
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeWait)
	defer cancel()
	if turn != 0 && c.wait(short, passed) != nil || c.wait(ctx, idle) == nil {
		return
	}
	c.mu.Lock()
	c.dropMessages()
	c.mu.Unlock()
	_ = c.wait(short, idle)
}

// ended waits until nothing runs any more, but not forever for a function of the user that doesn't look at its context.
func (c *Client) ended() {
	t := time.NewTimer(endWait)
	defer t.Stop()
	select {
	case <-c.done:
	case <-t.C:
	}
}

const endWait = 5 * time.Second

// Abort ends the client at once, without a word to the server, which takes it for a lost connection. It doesn't wait.
// Everything fails as after Close.
func (c *Client) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	c.wake()
	c.cancel()
	if c.state == Idle {
		c.finish(nil)
		close(c.done)
	}
}

// drained says whether everything has been delivered that Close waits for.
func (c *Client) drained() bool {
	if len(c.sess.queue) > 0 || c.link != nil && c.link.writing {
		return false
	}
	for _, k := range c.calls {
		if !k.stream {
			return false
		}
	}
	return true
}

// finish makes the client Closed. Everything that waits is told. The caller has the lock.
func (c *Client) finish(err error) {
	c.cancel()
	c.loseSession()
	for _, k := range c.calls {
		c.end(k, outcome{err: unavailable()})
	}
	c.sess.queue, c.sess.bytes = nil, 0
	c.setState(Closed, err)
}

// closedError is an ErrClosed that says why.
func (c *Client) closedError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closedErrorLocked()
}

func (c *Client) closedErrorLocked() error {
	if c.state == Closed && c.err != nil {
		return &closedError{c.err}
	}
	return ErrClosed
}

// setState tells everyone of a change. The caller has the lock.
func (c *Client) setState(s State, err error) {
	c.state = s
	if err != nil || s == Open || s == Closed {
		c.err = err
	}
	if tell := c.opts.State; tell != nil {
		c.post(event{fn: func() { tell(s, err) }})
	}
	c.wake()
}

// wake has every wait look again. The caller has the lock.
func (c *Client) wake() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// wait returns when ready does, which is asked under the lock, or with the error of ctx.
func (c *Client) wait(ctx context.Context, ready func() bool) error {
	for {
		c.mu.Lock()
		if ready() {
			c.mu.Unlock()
			return nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
