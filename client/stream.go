package client

import (
	"context"
	"iter"
	"runtime/debug"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl"
)

// Stream calls a method of the server that answers with a sequence. The call begins with each loop over the result, and
// again with the next loop. Leaving the loop, or the end of ctx, cancels it. The server sends ahead only as many items as its
// window allows, so a slow loop makes the method wait; there is no timeout but that of ctx. An error is the last thing a
// sequence yields, with a zero T, and is one as of [Client.Call].
func Stream[T any](ctx context.Context, c *Client, typ string, data any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		k, err := c.open(ctx, typ, data, true)
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		consume(ctx, c, k, yield)
	}
}

// Upload calls a method of the server that takes a sequence, and sends it items. The sequence is asked for its first item
// when the method wants it, and for each further one as the method takes them. It is run by the goroutine of the caller,
// and should end when ctx does; it is also left when the call ends before it. The method is told of an
// error that items yields, as by [Handle], and Upload returns it. Otherwise Upload is as [Client.Call].
func Upload[A, Item any](ctx context.Context, c *Client, typ string, data any, items iter.Seq2[Item, error]) (A, error) {
	var a A
	if _, ok := ctx.Deadline(); !ok && c.opts.CallTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.CallTimeout)
		defer cancel()
	}
	k, err := c.open(ctx, typ, data, false)
	if err != nil {
		return a, err
	}
	func() {
		finished := false
		defer func() {
			if !finished { // items panicked, which is the caller's to know
				c.abandon(k, contextError(context.Canceled))
			}
		}()
		feed(ctx, c, k, items)
		finished = true
	}()
	result, err := c.await(ctx, k)
	if broken := c.brokenBy(k); broken != nil {
		return a, broken
	}
	if err == nil {
		err = decode(result, &a)
	}
	return a, err
}

// Exchange calls a method of the server that takes a sequence and answers with one. It is Stream and Upload at the same time;
// items is run by a goroutine of its own, which ends when items does, or yields after the call's end. A panic in it is logged
// and ends the items with CodeInternal.
func Exchange[T, Item any](ctx context.Context, c *Client, typ string, data any, items iter.Seq2[Item, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		k, err := c.open(ctx, typ, data, true)
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer func() {
				if p := recover(); p != nil {
					c.opts.Logger.Error("wsctl: the items of a call panicked", "type", typ, "panic", p, "stack", string(debug.Stack()))
					c.sendEnd(k, &wsctl.Error{Code: wsctl.CodeInternal})
				}
			}()
			feed(ctx, c, k, items)
		}()
		consume(ctx, c, k, yield)
	}
}

// open is start, for calls with sequences.
func (c *Client) open(ctx context.Context, typ string, data any, stream bool) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(err)
	}
	return c.start(typ, data, stream)
}

// consume yields the items of a stream and its bad end.
func consume[T any](ctx context.Context, c *Client, k *call, yield func(T, error) bool) {
	defer c.abandon(k, contextError(context.Canceled))
	for {
		item, err := c.item(ctx, k)
		var v T
		if err == nil && item == nil {
			return
		}
		if err == nil {
			err = decode(*item, &v)
		}
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		if !yield(v, nil) {
			return
		}
	}
}

// item waits for the next item of a stream; nil without an error is its end.
func (c *Client) item(ctx context.Context, k *call) (*jsontext.Value, error) {
	for {
		if err := ctx.Err(); err != nil { // also while items wait: there may always be some
			return nil, contextError(err)
		}
		c.mu.Lock()
		if len(k.items) > 0 {
			item := k.items[0]
			k.items[0] = nil
			k.items = k.items[1:]
			c.grant(k)
			c.mu.Unlock()
			return &item, nil
		}
		over := k.over
		c.mu.Unlock()
		if over {
			o := <-k.done
			if broken := c.brokenBy(k); broken != nil {
				return nil, broken
			}
			return nil, o.err
		}
		select {
		case <-k.signal:
		case <-ctx.Done():
			return nil, contextError(ctx.Err())
		}
	}
}

// grant lets the server send more, in steps of half a window. The caller has the lock.
func (c *Client) grant(k *call) {
	k.taken++
	if k.over || k.taken < max(1, firstCredit(c.info.Window)/2) {
		return
	}
	k.room += k.taken
	c.push(&message{data: composeNumber("$more", k.id, uint64(k.taken)), bound: true})
	k.taken = 0
}

// firstCredit is how many items a server may send ahead: its window, or ours if it leaves that to the client.
func firstCredit(window int) int {
	if window == 0 {
		return ownWindow
	}
	return window
}

const ownWindow = 64

// feed sends the items of a call as the server takes them, and their end. It returns early when the call ends.
func feed[Item any](ctx context.Context, c *Client, k *call, items iter.Seq2[Item, error]) {
	if !c.credit(ctx, k) { // so that nothing is asked for before the method wants it
		return
	}
	for item, err := range items {
		var data jsontext.Value
		if err == nil {
			data, err = encode(item)
		}
		if err != nil {
			c.sendEnd(k, err)
			return
		}
		if !c.credit(ctx, k) {
			return
		}
		if err := c.sendItem(k, data); err != nil {
			c.sendEnd(k, err)
			return
		}
	}
	c.sendEnd(k, nil)
}

// brokenBy is the error of the client's own items, if that is how they ended: more to the point than what the method
// made of it.
func (c *Client) brokenBy(k *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return k.broken
}

// credit waits until the server takes another item, and there is room for it.
func (c *Client) credit(ctx context.Context, k *call) bool {
	err := c.wait(ctx, func() bool { return k.over || k.credit > 0 && c.sess.bytes < c.opts.MaxBuffer })
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !k.over
}

func (c *Client) sendItem(k *call, data jsontext.Value) error {
	if data == nil {
		data = jsontext.Value("null")
	}
	m := &message{data: compose("$item", k.id, data), bound: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.info.Max > 0 && len(m.data) > c.info.Max {
		return tooBig()
	}
	if !k.over {
		k.credit--
		c.push(m)
	}
	return nil
}

// sendEnd tells the server that no more items come, and why if that is an error.
func (c *Client) sendEnd(k *call, cause error) {
	var data jsontext.Value
	if cause != nil {
		w, _ := visible(cause)
		w.Data = nil
		var err error
		if data, err = encode(w); err != nil {
			data = internalError
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !k.over {
		k.broken = cause
		c.push(&message{data: compose("$end", k.id, data), bound: true})
	}
}
