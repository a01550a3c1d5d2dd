package client

import (
	"log/slog"
	"time"
)

const volatileMost = 64 // messages not written, to which SendVolatile still adds one

// Send sends a message that is not answered. It never blocks: while the client isn't open the message waits, up to
// Options.QueueTTL. It fails with an *wsctl.Error: CodeTooMany when the queue is full, CodeTooBig over the server's limit,
// CodeBadRequest for a type or data that can't be sent; or with an [ErrClosed]. data is encoded before Send returns; nil is
// no data. The server handles messages in the order in which they were sent, at most once, and exactly once as long as the
// session isn't lost.
func (c *Client) Send(typ string, data any) error { return c.transmit(typ, data, false) }

// SendVolatile is Send for what is worthless later: while the client isn't open, or is far behind with
// writing, it is dropped, and there is no error.
func (c *Client) SendVolatile(typ string, data any) error { return c.transmit(typ, data, true) }

func (c *Client) transmit(typ string, data any, volatile bool) error {
	b, err := argument(typ, data)
	if err != nil {
		return err
	}
	m := &message{data: compose(typ, 0, b), since: time.Now(), volatile: volatile}
	c.mu.Lock()
	defer c.mu.Unlock()
	if volatile && !c.closing && c.state != Closed && (c.link == nil || c.sess.waiting() >= volatileMost) {
		return nil
	}
	return c.enqueue(m)
}

// enqueue takes a message of the application. The caller has the lock.
func (c *Client) enqueue(m *message) error {
	switch {
	case c.closing || c.state == Closed:
		return c.closedErrorLocked()
	case c.info.Max > 0 && len(m.data) > c.info.Max:
		return tooBig()
	}
	full := func() bool {
		return c.sess.bytes > 0 && c.sess.bytes+len(m.data) > c.opts.MaxBuffer ||
			c.link == nil && (c.sess.waiting() >= c.opts.MaxQueue || c.opts.MaxQueue < 0)
	}
	if full() {
		c.expire()
		if full() {
			return queueFull()
		}
	}
	c.push(m)
	return nil
}

// push hands a message to the session, and has it written. The caller has the lock.
func (c *Client) push(m *message) {
	c.sess.send(m)
	if c.link != nil {
		c.link.wake()
	}
}

// expire drops what has waited too long for a connection. The caller has the lock.
func (c *Client) expire() {
	if c.link != nil {
		return
	}
	oldest := time.Now().Add(-c.opts.QueueTTL)
	old := c.sess.remove(func(m *message) bool { return !m.since.IsZero() && m.since.Before(oldest) })
	if len(old) > 0 {
		c.log(slog.LevelWarn, "wsctl: messages waited too long for a connection and were dropped", "number", len(old))
	}
}

// loseSession drops the session and what belongs to it. The caller has the lock.
func (c *Client) loseSession() {
	c.lost(c.sess.forget())
}

// lost tells of messages that were written in a session that is over. The caller has the lock.
func (c *Client) lost(messages []*message) {
	n := 0
	for _, m := range messages {
		if !m.since.IsZero() {
			n++
		}
	}
	for _, k := range c.calls {
		if k.msg.written {
			c.end(k, outcome{err: unavailable()})
		}
	}
	for id, a := range c.asks {
		delete(c.asks, id)
		a.cancel()
	}
	if n == 0 {
		return
	}
	if tell := c.opts.Lost; tell != nil {
		c.post(event{fn: func() { tell(n) }})
		return
	}
	c.log(slog.LevelWarn, "wsctl: a session was lost, and messages with it that may or may not have been handled", "number", n)
}
