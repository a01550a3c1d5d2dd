package client

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl"
)

// receive takes a message of the server. b is valid until it returns.
func (c *Client) receive(l *link, b []byte) *ending {
	env, err := l.parser.parse(b)
	if !c.opts.Plain && err == nil {
		switch env.Type { // those that aren't counted
		case "$welcome":
			return garbage(wsctl.CloseBadRequest, "a second $welcome")
		case "$goaway":
			c.goAway(l, env)
			return nil
		case "$ping", "$pong", "$ack", "$hello":
			return c.signal(l, env)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(l, len(b))
	if err != nil {
		return c.bad("", err)
	}
	if env.Type[0] == '$' {
		return c.control(env)
	}
	if env.ID != 0 && !c.opts.Plain {
		return c.asked(env)
	}
	if env.Room != "" && env.Pos != "" {
		c.rooms.set(env.Room, env.Pos)
	}
	c.post(event{typ: env.Type, data: env.Data, room: env.Room, pos: env.Pos})
	c.makeRoom(l)
	return nil
}

// makeRoom waits as long as too much waits for the functions of the user. While a call is in flight it may be one of them
// that waits for its end, so reading goes on, up to a larger bound. The caller has the lock.
func (c *Client) makeRoom(l *link) {
	const few, many = 1 << 20, 16 << 20
	full := func() bool {
		limit := few
		if len(c.calls) > 0 || c.closing {
			limit = many
		}
		return c.inboxSize > limit && c.ctx.Err() == nil
	}
	if !full() {
		return
	}
	c.mu.Unlock()
	_ = c.wait(c.ctx, func() bool { return !full() || l.leaving })
	c.mu.Lock()
	if l.silence > 0 && !l.away && !l.leaving { // nobody listened: that wasn't the server's silence
		_ = l.ws.SetReadDeadline(time.Now().Add(l.silence))
	}
}

// count takes note of a counted message, and has it acknowledged in time. The caller has the lock.
func (c *Client) count(l *link, size int) {
	if !c.sess.keep {
		return
	}
	c.sess.readData()
	l.owed++
	l.owedBytes += size
	switch {
	case l.owed >= l.ackMax, l.owedBytes >= ackBytes:
		l.ack = true
		l.wake()
	case l.owed == 1:
		l.ackTime.Reset(ackDelay)
	}
}

// signal takes the control messages that the connection itself is about.
func (c *Client) signal(l *link, env envelope) *ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch env.Type {
	case "$ping":
		l.ack = l.ack || l.owed > 0
		l.pong = true
		l.wake()
	case "$ack":
		var n uint64
		err := decode(env.Data, &n)
		if err == nil && c.sess.keep {
			err = c.sess.readAck(n)
		}
		if err != nil {
			return garbage(wsctl.CloseBadRequest, err.Error())
		}
		c.wake()
	}
	return nil
}

// goAway takes the range of the delay after the server's close. l is nil before the welcome.
func (c *Client) goAway(l *link, env envelope) {
	var r struct {
		Min int64 `json:"min"`
		Max int64 `json:"max"`
	}
	const day = int64(24 * time.Hour / time.Millisecond)
	if err := decode(env.Data, &r); err != nil || r.Min < 0 || r.Max < r.Min {
		c.opts.Logger.Warn("wsctl: a bad $goaway of the server")
		r.Min, r.Max = 0, int64(c.opts.MaxDelay/time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retry.away, c.retry.min, c.retry.max = true, ms(min(r.Min, day)), ms(min(r.Max, day))
	if l != nil && l.silence > 0 && !l.away && !l.leaving {
		l.away = true
		_ = l.ws.SetReadDeadline(time.Now().Add(l.silence))
	}
}

// control takes the counted messages of the protocol. The caller has the lock.
func (c *Client) control(env envelope) *ending {
	switch env.Type {
	case "$gap", "$room":
		if env.Type == "$room" {
			c.rooms.state(env.Data)
		}
		c.post(event{typ: env.Type, data: env.Data})
		return nil
	case "$cancel":
		if a := c.asks[env.ID]; a != nil {
			a.cancel()
		}
		return nil
	}
	k := c.calls[env.ID]
	if k == nil || !k.msg.written {
		return nil
	}
	switch env.Type {
	case "$reply":
		c.end(k, outcome{data: env.Data})
	case "$error":
		c.end(k, outcome{err: remoteError(env.Data)})
	case "$item":
		if !k.stream {
			return nil
		}
		if !k.window {
			k.window, k.room = true, k.room+c.info.Window
		}
		if k.room == 0 {
			return garbage(wsctl.CloseBadRequest, "more items than the client has granted")
		}
		k.room--
		k.items = append(k.items, env.Data)
		k.wake()
	case "$more":
		var n uint64
		if decode(env.Data, &n) == nil && n >= 1 {
			k.credit = min(k.credit+min(n, maxCredit), maxCredit)
			c.wake()
		}
	}
	return nil
}

const maxCredit = 1<<31 - 1

// remoteError is the server's $error.
func remoteError(data jsontext.Value) error {
	var w wireError
	if err := decode(data, &w); err != nil || w.Code == "" {
		return &wsctl.Error{Code: wsctl.CodeInternal, Message: w.Message}
	}
	e := &wsctl.Error{Code: w.Code, Message: w.Message}
	if w.Data != nil {
		e.Data = w.Data
	}
	return e
}

// renewLater arranges for a fresh credential before the old one ends.
func (c *Client) renewLater(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.Token == nil || c.opts.Plain || c.info.Expires.IsZero() || l.ctx.Err() != nil {
		return
	}
	left := time.Until(c.info.Expires)
	if left < time.Second { // the server's close asks for a fresh one soon enough
		return
	}
	early := min(left/4, 30*time.Second)
	l.renewal = time.AfterFunc(left-early, func() { c.renew(l) })
}

// renew is run by the timer of renewLater.
func (c *Client) renew(l *link) {
	ctx, cancel := context.WithTimeout(l.ctx, c.opts.ConnectTimeout)
	defer cancel()
	token, err := c.token(ctx)
	if err == nil {
		var r struct {
			Expires *int64 `json:"expires"`
		}
		err = c.auth(ctx, l, token, &r)
		if err == nil {
			c.mu.Lock()
			if c.link == l {
				c.info.Expires = time.Time{}
				if r.Expires != nil {
					c.info.Expires = time.Now().Add(ms(*r.Expires))
				}
			}
			c.mu.Unlock()
		}
	}
	if err != nil && ctx.Err() == nil || errors.Is(err, context.DeadlineExceeded) {
		c.opts.Logger.Warn("wsctl: the credential was not renewed", "error", err)
	}
	c.renewLater(l)
}

// bad takes note of a bad message. The eleventh within 10 s is too much. The caller has the lock.
func (c *Client) bad(typ string, err error) *ending {
	now := time.Now()
	c.log(slog.LevelWarn, "wsctl: a bad message of the server", "type", typ, "error", err)
	c.faults = append(c.faults, now)
	if len(c.faults) <= 10 {
		return nil
	}
	first := c.faults[0]
	c.faults = c.faults[1:]
	if now.Sub(first) >= 10*time.Second {
		return nil
	}
	return garbage(wsctl.CloseBadRequest, "too many bad messages")
}
