package client

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl"
)

// event waits for functions of the user: a message of the server, or fn.
type event struct {
	typ, room, pos string
	data           jsontext.Value
	fn             func()
}

func (e event) size() int { return len(e.typ) + len(e.room) + len(e.pos) + len(e.data) + 96 }

type listener struct {
	fn  func(e event) error // an error: data doesn't decode
	off atomic.Bool
}

type handler struct {
	fn func(ctx context.Context, data jsontext.Value) (any, error)
}

const maxAsks = 256 // calls of the server that run at once

// On has fn called with the data of each message of type typ that the server sends. Data that doesn't decode into a T is
// logged; absent data is a zero T. Several functions of one type are called in the order in which they were added.
//
// All functions of On and of the Options are called one after the other, in the order in which the messages arrived. As
// long as one blocks, those after it wait, and once 1 MiB waits the client reads no more, so that answers don't come in
// either and at last the server takes it for dead. (While a call is in flight the bound is 16 MiB, so that a function may
// wait for a Call.) A panic is logged, and the rest goes on. off ends it; a call that has begun goes on.
//
// It is a programmer's error, and panics, to listen to an empty type or to one of the protocol other than $gap and $room.
func On[T any](c *Client, typ string, fn func(T)) (off func()) {
	return OnMessage(c, typ, func(m Message[T]) { fn(m.Data) })
}

// OnMessage is [On] for functions that want to know of which room a message is, and where it stands there.
func OnMessage[T any](c *Client, typ string, fn func(Message[T])) (off func()) {
	if typ != "$gap" && typ != "$room" {
		mustType(typ)
	}
	l := &listener{fn: func(e event) error {
		m := Message[T]{Room: e.room, Pos: e.pos}
		if err := decode(e.data, &m.Data); err != nil {
			return err
		}
		fn(m)
		return nil
	}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners[typ] = append(slices.Clip(c.listeners[typ]), l)
	return func() {
		l.off.Store(true)
		c.mu.Lock()
		defer c.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(c.listeners[typ]), func(x *listener) bool { return x == l })
		if len(rest) == 0 {
			delete(c.listeners, typ)
		} else {
			c.listeners[typ] = rest
		}
	}
}

// Handle has fn answer the server's calls of typ. It replaces the function of before. Each call runs in a goroutine of its
// own, 256 at most. ctx ends when the server cancels the call, when the session is lost, and when the client is closed; then
// nobody gets the answer. An *wsctl.Error, also wrapped, reaches the server; of any other error it sees CodeInternal, and the
// rest is logged, as is a panic. Data that doesn't decode into a Q is answered with CodeBadRequest, a call without a
// function with CodeNotFound. off ends it. Handle panics on a type that can't be called.
func Handle[Q, A any](c *Client, typ string, fn func(ctx context.Context, q Q) (A, error)) (off func()) {
	mustType(typ)
	h := &handler{fn: func(ctx context.Context, data jsontext.Value) (any, error) {
		var q Q
		if err := decode(data, &q); err != nil {
			return nil, wsctl.Errorf(wsctl.CodeBadRequest, "data doesn't decode into %v", reflect.TypeFor[Q]())
		}
		return fn(ctx, q)
	}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[typ] = h
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.handlers[typ] == h {
			delete(c.handlers, typ)
		}
	}
}

func mustType(typ string) {
	if err := checkType(typ); err != nil {
		panic("wsctl/client: " + err.Error())
	}
}

// post gives an event to the functions of the user. The caller has the lock.
func (c *Client) post(e event) {
	c.inbox = append(c.inbox, e)
	c.inboxSize += e.size()
	if !c.running {
		c.running = true
		go c.dispatch()
	}
}

// dropMessages drops the messages whose turn hasn't come. The caller has the lock.
func (c *Client) dropMessages() {
	c.inbox = slices.DeleteFunc(c.inbox, func(e event) bool { return e.fn == nil })
}

// dispatch is the goroutine that calls the functions of the user. It ends when there is nothing more to do.
func (c *Client) dispatch() {
	var e event
	finished := false
	defer func() {
		if !finished { // a function of the user has ended the goroutine by runtime.Goexit, as t.FailNow does
			c.mu.Lock()
			c.delivered(e)
			c.mu.Unlock()
			go c.dispatch()
		}
	}()
	c.mu.Lock()
	for len(c.inbox) > 0 {
		e = c.inbox[0]
		c.inbox[0] = event{}
		c.inbox = c.inbox[1:]
		ls := c.listeners[e.typ]
		c.inside = true
		c.turn++
		c.mu.Unlock()
		c.deliver(e, ls)
		c.mu.Lock()
		c.delivered(e)
	}
	c.inbox, c.inboxSize = nil, 0
	c.running = false
	c.wake()
	c.mu.Unlock()
	finished = true
}

// delivered says that the functions of an event have returned. The caller has the lock.
func (c *Client) delivered(e event) {
	c.inside = false
	c.inboxSize -= e.size()
	c.wake()
}

// deliver calls the functions of one event.
func (c *Client) deliver(e event, ls []*listener) {
	if e.fn != nil {
		c.guarded("a function of client.Options", e.fn)
		return
	}
	if len(ls) == 0 {
		switch {
		case c.opts.Message != nil:
			c.guarded("Options.Message", func() { c.opts.Message(e.typ, json.RawMessage(e.data)) })
		case e.typ[0] != '$':
			c.opts.Logger.Info("wsctl: a message that nobody listens to", "type", e.typ)
		}
		return
	}
	for _, l := range ls {
		if l.off.Load() {
			continue
		}
		c.guarded(e.typ, func() {
			if err := l.fn(e); err != nil {
				c.opts.Logger.Warn("wsctl: data of a message doesn't decode", "type", e.typ, "error", err)
			}
		})
	}
}

// guarded calls a function of the user, and survives it.
func (c *Client) guarded(what string, fn func()) {
	defer func() {
		if p := recover(); p != nil {
			c.opts.Logger.Error("wsctl: a function of the user panicked", "function", what, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	fn()
}

// asked takes a call of the server. The caller has the lock.
func (c *Client) asked(env envelope) *ending {
	h := c.handlers[env.Type]
	var err error
	switch {
	case c.asks[env.ID] != nil:
		return c.bad(env.Type, errIDInUse)
	case h == nil:
		err = wsctl.Errorf(wsctl.CodeNotFound, "the client doesn't handle %s", env.Type)
	case len(c.asks) >= maxAsks:
		err = wsctl.Errorf(wsctl.CodeTooMany, "the client has too many calls to answer")
	case c.closing:
		err = wsctl.Errorf(wsctl.CodeUnavailable, "the client is closing")
	default:
		ctx, cancel := context.WithCancel(c.ctx)
		a := &ask{cancel: cancel}
		c.asks[env.ID] = a
		go c.handle(ctx, a, h, env)
		return nil
	}
	if c.sess.bytes > 2*c.opts.MaxBuffer { // it asks and asks, but takes no answer
		return garbage(wsctl.CloseTooMany, "too many answers wait for the server")
	}
	c.push(&message{data: composeError(env.ID, err), bound: true})
	return nil
}

// ask is a call of the server that runs.
type ask struct{ cancel context.CancelFunc }

// handle is the goroutine of one call of the server. It ends when the function of the user returns.
func (c *Client) handle(ctx context.Context, a *ask, h *handler, env envelope) {
	defer a.cancel()
	end := compose("$error", env.ID, internalError) // of a panic, and of runtime.Goexit
	defer func() { c.conclude(a, env, end) }()
	c.guarded(env.Type, func() {
		result, err := h.fn(ctx, env.Data)
		var data jsontext.Value
		if err == nil {
			data, err = encode(result)
		}
		if err == nil {
			end = compose("$reply", env.ID, data)
			return
		}
		end = composeError(env.ID, err)
		if _, hidden := visible(err); hidden {
			c.opts.Logger.Error("wsctl: a call of the server failed", "type", env.Type, "error", err)
		}
	})
}

// conclude sends the end of a call of the server, unless the session is another one by now.
func (c *Client) conclude(a *ask, env envelope, end []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asks[env.ID] != a {
		return
	}
	delete(c.asks, env.ID)
	if c.info.Max > 0 && len(end) > c.info.Max {
		c.log(slog.LevelError, "wsctl: the answer to the server is larger than it takes", "type", env.Type)
		end = composeError(env.ID, tooBig())
	}
	c.push(&message{data: end, bound: true})
}

var internalError = jsontext.Value(`{"code":"internal","message":""}`)

// composeError is the bad end of a call of the server.
func composeError(id uint64, err error) []byte {
	w, _ := visible(err)
	data, err := encode(w)
	if err != nil {
		data = internalError
	}
	return compose("$error", id, data)
}

// log writes to the log in the turn of the user's functions, as its handler may be one of them. The caller has the lock.
func (c *Client) log(level slog.Level, msg string, args ...any) {
	c.post(event{fn: func() { c.opts.Logger.Log(context.Background(), level, msg, args...) }})
}
