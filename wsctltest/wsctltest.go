// Package wsctltest tests controllers over memory: a test client connects to a handler without a network, and what goes wrong
// fails the test.
//
// In a [testing/synctest] bubble time passes only while everybody waits, so that timeouts of minutes cost nothing, and
// [Client.Quiet] knows that nothing more will come:
//
//	func TestGreet(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			c := wsctltest.Dial(t, wsctl.New(&Greeter{}, nil), nil)
//			c.Send("Greet", "Ann")
//			if got := wsctltest.Expect[string](c, "greeting"); got != "Hello, Ann!" {
//				t.Error(got)
//			}
//			c.Quiet()
//		})
//	}
//
// The client is that of package [github.com/wsctl/wsctl/client], which doesn't reconnect by itself here: [Client.Cut] loses the
// connection, and [Client.Reconnect] comes back.
package wsctltest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// patience is how long a client waits for what must come. In a bubble it takes no time.
const patience = 10 * time.Second

// streamPatience is how long it waits for an item: long enough for a node to be taken for dead.
const streamPatience = time.Minute

// Options are those of [Dial].
type Options struct {
	Header http.Header // of the handshake
	Path   string      // of the request's URL, with its query; empty: /
	Token  string      // of $hello
	Plain  bool        // a plain client: without the subprotocol wsctl.v1
}

// Client is a test client. Its methods may be called from any goroutine on which t.Fatal may be: those of the test.
type Client struct {
	t  testing.TB
	cl *client.Client

	mu      sync.Mutex // guards following
	conn    *stallable // the newest
	writes  int        // to conn
	stalled bool
	inbox   []message
	end     *wsctl.CloseError // how the last connection ended; nil: it hasn't
	cut     bool              // by Cut
	changed chan struct{}     // closed and replaced when anything changes
}

type message struct {
	typ  string
	data json.RawMessage
}

// Dial serves h in memory and connects to it, with a session of wsctl.v1 unless opts says otherwise. Nil opts is the zero
// Options. The client is closed, with code 1000, when t ends. A refusal fails t.
func Dial(t testing.TB, h http.Handler, opts *Options) *Client {
	t.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Path == "" {
		o.Path = "/"
	}
	ln := mempipe.Listen()
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	go srv.Serve(ln)
	c := &Client{t: t, changed: make(chan struct{})}
	dialer := &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		nc, err := ln.DialContext(ctx)
		if err != nil {
			return nil, err
		}
		return c.wrap(nc), nil
	}}
	co := &client.Options{
		Header: o.Header, Plain: o.Plain, Dialer: dialer, Manual: true, Message: c.message, State: c.state,
		Logger: slog.New(slog.DiscardHandler),
	}
	if o.Token != "" {
		co.Token = func(context.Context) (string, error) { return o.Token, nil }
	}
	c.cl = client.New("ws://wsctltest"+o.Path, co)
	t.Cleanup(func() {
		c.Stall(false)
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing is waited for
		_ = c.cl.Close(ctx)
		srv.Close()
		ln.Close()
	})
	c.connect()
	return c
}

// connect connects, or fails the test.
func (c *Client) connect() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.cl.Connect(ctx); err != nil {
		c.t.Fatalf("wsctltest: connecting: %v", err)
	}
	if info := c.cl.Info(); info.Session && !info.Resumed {
		// The server keeps a session whose client has acknowledged it: after the handshake and $hello.
		c.wait(func() bool { return c.writes >= 3 })
	}
}

// message takes what the server sends.
func (c *Client) message(typ string, data json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox = append(c.inbox, message{typ, append(json.RawMessage(nil), data...)})
	c.change()
}

// state notes how connections end.
func (c *Client) state(s client.State, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case client.Open:
		c.end = nil
	case client.Waiting, client.Closed:
		if c.end == nil {
			c.end = &wsctl.CloseError{Code: wsctl.CloseAbnormal}
			errors.As(err, &c.end)
		}
	}
	c.change()
}

// change tells everybody who waits. mu is held.
func (c *Client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait waits until ready, called with mu held, reports true. It reports false when the patience is over.
func (c *Client) wait(ready func() bool) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ready() {
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
			c.mu.Lock()
		case <-timer.C:
			c.mu.Lock()
			return ready()
		}
	}
	return true
}

// Send sends a message. It doesn't wait for the server. Nil data is left out.
func (c *Client) Send(typ string, data any) {
	c.t.Helper()
	if err := c.cl.Send(typ, data); err != nil {
		c.t.Fatalf("wsctltest: Send %q: %v", typ, err)
	}
}

// Call calls a method and decodes its answer into reply, a pointer or nil. The method's failure is a *[wsctl.Error]. It waits
// for 10 s at most.
func (c *Client) Call(typ string, data, reply any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.cl.Call(ctx, typ, data, reply)
}

// Stream calls a method that answers with a sequence. The call begins with each loop over the result; leaving the loop cancels it.
// The method's failure is the last thing that is yielded, a *[wsctl.Error]; so is one of code timeout where no item comes for a
// minute, and one of code canceled when the test ends. It may be used on any goroutine.
func Stream[T any](c *Client, typ string, data any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(c.t.Context())
		defer cancel()
		var late atomic.Bool
		timer := time.AfterFunc(streamPatience, func() {
			late.Store(true)
			cancel()
		})
		defer timer.Stop()
		for v, err := range client.Stream[T](ctx, c.cl, typ, data) {
			timer.Stop()
			if err != nil && late.Load() {
				err = &wsctl.Error{Code: wsctl.CodeTimeout, Message: "wsctltest: no item has come for a minute"}
			}
			if !yield(v, err) {
				return
			}
			timer.Reset(streamPatience)
		}
	}
}

// Handle answers the server's calls of a type: with fn's result, or with its error as a method does. It replaces an earlier fn.
// Without one, they fail with not_found.
func (c *Client) Handle(typ string, fn func(data json.RawMessage) (any, error)) {
	client.Handle(c.cl, typ, func(_ context.Context, data json.RawMessage) (any, error) { return fn(data) })
}

// Expect waits for the next message, which must be of that type, and returns its data. Messages of the protocol that say
// something about others are messages, too: $gap, and $room, of type [client.RoomState], which follows each join of a room
// that keeps history, and the end of a gap in one.
func Expect[T any](c *Client, typ string) (v T) {
	c.t.Helper()
	var m message
	if !c.wait(func() bool { return len(c.inbox) > 0 || c.end != nil && !c.cut }) {
		c.t.Fatalf("wsctltest: Expect %q: nothing has come", typ)
	}
	c.mu.Lock()
	if len(c.inbox) == 0 {
		end := c.end
		c.mu.Unlock()
		c.t.Fatalf("wsctltest: Expect %q: %v", typ, end)
	}
	m, c.inbox = c.inbox[0], c.inbox[1:]
	c.mu.Unlock()
	if m.typ != typ {
		c.t.Fatalf("wsctltest: Expect %q: got %q with data %s", typ, m.typ, m.data)
	}
	if len(m.data) == 0 {
		return v
	}
	if err := json.Unmarshal(m.data, &v); err != nil {
		c.t.Fatalf("wsctltest: Expect %q: data %s: %v", typ, m.data, err)
	}
	return v
}

// Quiet fails the test if a message has come that nobody has expected. It waits until nothing more can happen, so it works in
// a [testing/synctest] bubble only.
func (c *Client) Quiet() {
	c.t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inbox) > 0 {
		c.t.Fatalf("wsctltest: Quiet: got %q with data %s", c.inbox[0].typ, c.inbox[0].data)
	}
}

// Stall has the client read nothing from now on, as a slow one does, or go on.
func (c *Client) Stall(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = on
	if c.conn != nil {
		c.conn.stall(on)
	}
}

// Cut loses the connection without a word. What the server has sent and the client hasn't read is lost with it.
func (c *Client) Cut() {
	c.mu.Lock()
	conn := c.conn
	c.cut = true
	c.mu.Unlock()
	conn.stall(true)
	conn.Close()
	c.wait(func() bool { return c.end != nil })
}

// Reconnect connects again, after Cut or a close by the server, or in place of a connection that is open. It tells whether it
// is the same session, with the same Socket: then nothing was lost.
func (c *Client) Reconnect() (resumed bool) {
	c.t.Helper()
	if c.cl.State() == client.Open {
		c.Cut()
	}
	c.mu.Lock()
	c.cut, c.end = false, nil
	c.mu.Unlock()
	c.connect()
	return c.cl.Info().Resumed
}

// Closed waits until the server has closed the connection, and returns how. It fails the test if it hasn't after 10 s.
func (c *Client) Closed() *wsctl.CloseError {
	c.t.Helper()
	if !c.wait(func() bool { return c.end != nil && !c.cut }) {
		c.t.Fatal("wsctltest: Closed: the connection is open")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}
