package client

import (
	"context"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl"
)

// call is one of ours in flight. Its fields are guarded by Client.mu, but those that never change.
type call struct {
	id     uint64
	msg    *message
	stream bool         // it takes items
	done   chan outcome // holds the end, sent by whoever took the call from Client.calls

	signal chan struct{}    // holds one: items or the end have come; streams only
	items  []jsontext.Value // not taken
	window bool             // the first credit is in room
	room   int              // items that the server may still send
	taken  int              // since the last $more
	credit uint64           // items that the server takes
	over   bool
	broken error // of the items that the client sends
}

// outcome is how a call ended.
type outcome struct {
	data jsontext.Value
	err  error
}

func (k *call) wake() {
	if k.signal == nil {
		return
	}
	select {
	case k.signal <- struct{}{}:
	default:
	}
}

// start sends a call.
func (c *Client) start(typ string, data any, stream bool) (*call, error) {
	b, err := argument(typ, data)
	if err != nil {
		return nil, err
	}
	k := &call{id: c.lastID.Add(1), stream: stream, done: make(chan outcome, 1)}
	if stream {
		k.signal = make(chan struct{}, 1)
	}
	k.msg = &message{data: compose(typ, k.id, b), call: k}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enqueue(k.msg); err != nil {
		return nil, err
	}
	c.calls[k.id] = k
	c.wake() // makeRoom
	return k, nil
}

// end is the one end of a call. The caller has the lock.
func (c *Client) end(k *call, o outcome) {
	if c.calls[k.id] != k {
		return
	}
	delete(c.calls, k.id)
	k.over = true
	k.done <- o
	k.wake()
	c.wake()
}

// abandon ends a call that nobody waits for any more. The server is told, unless it hasn't got the call yet.
func (c *Client) abandon(k *call, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.over {
		return
	}
	if !c.sess.withdraw(k.msg) {
		c.push(&message{data: compose("$cancel", k.id, nil), bound: true})
	}
	c.end(k, outcome{err: err})
}

// await waits for the end of a call.
func (c *Client) await(ctx context.Context, k *call) (jsontext.Value, error) {
	var late <-chan time.Time
	if _, ok := ctx.Deadline(); !ok && c.opts.CallTimeout > 0 {
		t := time.NewTimer(c.opts.CallTimeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case o := <-k.done:
		return o.data, o.err
	case <-ctx.Done():
		c.abandon(k, contextError(ctx.Err()))
	case <-late:
		c.abandon(k, contextError(context.DeadlineExceeded))
	}
	o := <-k.done // abandon's, or an end that came before it
	return o.data, o.err
}

// Call calls a method of the server and decodes its result into reply, a pointer, or nil for a result that doesn't matter. It
// waits for the answer, also while the client isn't open, until ctx ends, or for Options.CallTimeout if ctx has no deadline;
// then the server is told to cancel it. A call survives the loss of a connection, as long as the session isn't lost.
//
// An error is an *wsctl.Error: what the method answered; CodeUnavailable when the session was lost after the call was
// written, so that it may have run; CodeTimeout or CodeCanceled when ctx ended, and the error of ctx as well; CodeTooMany
// and CodeTooBig as of Send. It is an [ErrClosed] when the client was closed before, and another one if the result can't
// be decoded into reply.
func (c *Client) Call(ctx context.Context, typ string, data, reply any) error {
	if err := ctx.Err(); err != nil {
		return contextError(err)
	}
	k, err := c.start(typ, data, false)
	if err != nil {
		return err
	}
	result, err := c.await(ctx, k)
	if err != nil || reply == nil {
		return err
	}
	return decode(result, reply)
}

// Call is [Client.Call] for a result of type A.
func Call[A any](ctx context.Context, c *Client, typ string, data any) (A, error) {
	var a A
	err := c.Call(ctx, typ, data, &a)
	return a, err
}

// auth sends a fresh credential on this connection. It is a call of the protocol itself.
func (c *Client) auth(ctx context.Context, l *link, token string, reply any) error {
	b, err := json.Marshal(struct {
		Token string `json:"token"`
	}{token})
	if err != nil {
		return err
	}
	k := &call{id: c.lastID.Add(1), done: make(chan outcome, 1)}
	k.msg = &message{data: compose("$auth", k.id, b), call: k, bound: true}
	c.mu.Lock()
	if c.link != l || c.closing {
		c.mu.Unlock()
		return &wsctl.Error{Code: wsctl.CodeUnavailable}
	}
	c.calls[k.id] = k
	c.push(k.msg)
	c.mu.Unlock()
	result, err := c.await(ctx, k)
	if err != nil {
		return err
	}
	return decode(result, reply)
}
