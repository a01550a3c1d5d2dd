package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// run is the goroutine of a client that has been told to connect: it dials, reads, and waits, until the client is closed.
func (c *Client) run() {
	defer close(c.done)
	for {
		e := c.attempt()
		pause, ok := c.after(e)
		if !ok || !c.pause(pause) {
			break
		}
		c.mu.Lock()
		c.setState(Connecting, nil)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Closed {
		c.finish(nil)
	}
}

// attempt dials and returns when that has failed or the connection is over.
func (c *Client) attempt() *ending {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	late := time.AfterFunc(c.opts.ConnectTimeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	g := &guard{ctx: ctx}
	defer g.release()

	l, e := c.dial(ctx, g)
	if e != nil {
		return e
	}
	if e = c.greet(ctx, l); e == nil && !late.Stop() {
		e = closedBy(wsctl.CloseTimeout, "no $welcome in time")
	}
	if e != nil {
		if e.local {
			l.sendClose(e.code, byeShort)
		}
		l.close()
		return e
	}
	return c.serve(l)
}

// after says what follows: a pause, negative for one without an end, or not ok, the client's end.
func (c *Client) after(e *ending) (pause time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.link
	c.link = nil
	c.failures++
	if l != nil && time.Since(l.since) >= c.opts.StableAfter {
		c.retry.stable()
	}
	v := c.retry.judge(e, c.opts.Token != nil)
	if c.closing && c.ctx.Err() != nil || l != nil && l.leaving {
		c.finish(nil)
		return 0, false
	}
	if v.final {
		c.finish(e.err)
		return 0, false
	}
	if v.forget || !c.sess.keep && l != nil {
		c.loseSession()
	}
	c.sess.remove(func(m *message) bool { return m.volatile })
	c.log(slog.LevelDebug, "wsctl: not connected", "error", e.err)
	select { // an older wish to hurry is fulfilled
	case <-c.hurry:
	default:
	}
	c.setState(Waiting, e.err)
	switch {
	case c.opts.Manual:
		return -1, true
	case v.atOnce:
		return 0, true
	}
	return c.retry.delay(&c.opts), true
}

// pause waits, and reports whether the client goes on.
func (c *Client) pause(d time.Duration) bool {
	if d == 0 {
		return c.ctx.Err() == nil
	}
	var over <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-over:
	case <-c.hurry:
	case <-c.ctx.Done():
		return false
	}
	return true
}

// token asks for the credential.
func (c *Client) token(ctx context.Context) (token string, err error) {
	if c.opts.Token == nil {
		return "", nil
	}
	defer func() {
		if p := recover(); p != nil {
			c.opts.Logger.Error("wsctl: Options.Token panicked", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("the function panicked")
		}
	}()
	return c.opts.Token(ctx)
}

// dial makes a WebSocket connection that is closed when ctx ends.
func (c *Client) dial(ctx context.Context, g *guard) (*link, *ending) {
	u, err := url.Parse(c.url)
	if err != nil {
		return nil, &ending{err: fmt.Errorf("wsctl: dial: %w", err), final: true}
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http", "https":
		u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
	default:
		return nil, &ending{err: fmt.Errorf("wsctl: dial %s: the scheme must be ws, wss, http or https", u.Redacted()), final: true}
	}
	c.mu.Lock()
	c.retry.away = false // what an older connection said has been kept
	c.mu.Unlock()
	token, err := c.token(ctx)
	if err != nil {
		return nil, &ending{err: fmt.Errorf("wsctl: token: %w", err), code: wsctl.CloseAbnormal}
	}
	d := *c.opts.Dialer
	d.Subprotocols, d.HandshakeTimeout = nil, 0
	header := c.opts.Header.Clone()
	if !c.opts.Plain {
		d.Subprotocols = []string{subprotocol}
		header.Del("Sec-WebSocket-Protocol")
	} else if token != "" {
		if header == nil {
			header = http.Header{}
		}
		header.Set("Authorization", "Bearer "+token)
	}
	g.wrap(&d)
	ws, resp, err := d.DialContext(ctx, u.String(), header)
	if err != nil {
		return nil, c.refused(ctx, resp, err)
	}
	l := newLink(c, ws)
	if !c.opts.Plain {
		if ws.Subprotocol() != subprotocol {
			l.close()
			return nil, &ending{err: errors.New("wsctl: dial: the server doesn't speak " + subprotocol + "; see Options.Plain"), final: true}
		}
		if e := c.sayHello(l, token); e != nil {
			l.close()
			return nil, e
		}
	}
	return l, nil
}

// refused judges a failed dial, by the HTTP status if there was one.
func (c *Client) refused(ctx context.Context, resp *http.Response, err error) *ending {
	if resp == nil {
		if ctx.Err() != nil { // says more than that the connection was closed
			err = context.Cause(ctx)
		}
		return &ending{err: fmt.Errorf("wsctl: dial: %w", err), code: wsctl.CloseAbnormal}
	}
	_ = resp.Body.Close()
	reason := "HTTP " + resp.Status
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized:
		return closedBy(wsctl.CloseUnauthenticated, reason)
	case s == http.StatusForbidden:
		return closedBy(wsctl.CloseForbidden, reason)
	}
	c.mu.Lock()
	opened := c.opened
	c.mu.Unlock()
	// Once it has worked, something like 404 is more likely a proxy whose server is away than a wrong address.
	final := !opened && resp.StatusCode < 500 && resp.StatusCode != http.StatusRequestTimeout &&
		resp.StatusCode != http.StatusTooEarly && resp.StatusCode != http.StatusTooManyRequests
	return &ending{err: errors.New("wsctl: dial: " + reason), code: wsctl.CloseAbnormal, final: final}
}

// guard closes the network connections of an attempt when its context ends: the handshakes of gorilla don't look at it.
type guard struct {
	ctx   context.Context
	stops []func() bool
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

func (g *guard) watch(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err == nil {
			g.stops = append(g.stops, context.AfterFunc(g.ctx, func() { _ = conn.Close() }))
		}
		return conn, err
	}
}

func (g *guard) wrap(d *websocket.Dialer) {
	if d.NetDialTLSContext != nil {
		d.NetDialTLSContext = g.watch(d.NetDialTLSContext)
	}
	switch old := d.NetDial; {
	case d.NetDialContext != nil:
		d.NetDialContext = g.watch(d.NetDialContext)
	case old != nil:
		d.NetDialContext = g.watch(func(_ context.Context, network, addr string) (net.Conn, error) { return old(network, addr) })
	default:
		d.NetDialContext = g.watch((&net.Dialer{}).DialContext)
	}
}

func (g *guard) release() {
	for _, stop := range g.stops {
		stop()
	}
}

// sayHello writes the first message.
func (c *Client) sayHello(l *link, token string) *ending {
	c.mu.Lock()
	h := hello{Token: token}
	var received uint64
	if h.Session, received, h.Try = c.sess.dial(); h.Session != "" {
		h.Received = &received
	}
	b, err := json.Marshal(h)
	if err == nil {
		h.Rooms = c.rooms.hello(min(roomsBytes, maxHello-len(b)-len(`"rooms":,`)))
		b, err = json.Marshal(h)
	}
	c.mu.Unlock()
	if err == nil && len(b) > maxHello {
		err = errors.New("the token is too long")
	}
	if err != nil {
		return &ending{err: fmt.Errorf("wsctl: $hello: %w", err), code: wsctl.CloseAbnormal}
	}
	if err := l.ws.WriteMessage(websocket.TextMessage, compose("$hello", 0, b)); err != nil {
		return closedBy(wsctl.CloseAbnormal, err.Error())
	}
	return nil
}

// greet makes the client open: at the plain level at once, else when the server's welcome has come.
func (c *Client) greet(ctx context.Context, l *link) *ending {
	var w welcome
	for !c.opts.Plain {
		b, e := l.read()
		if e != nil {
			if ctx.Err() != nil && e.code == wsctl.CloseAbnormal {
				e = closedBy(wsctl.CloseTimeout, "no $welcome")
				e.local = true
			}
			return e
		}
		env, err := l.parser.parse(b)
		if err == nil && env.Type == "$goaway" {
			c.goAway(nil, env)
			continue
		}
		if err == nil && (env.Type != "$welcome" || env.Data == nil) {
			err = errors.New("$welcome expected")
		}
		if err == nil {
			err = decode(env.Data, &w)
		}
		if err == nil {
			err = w.check()
		}
		if err != nil {
			return garbage(wsctl.CloseBadRequest, err.Error())
		}
		break
	}
	return c.begin(ctx, l, &w)
}

// check refuses numbers that nobody can work with.
func (w *welcome) check() error {
	const long = int64(365 * 24 * time.Hour / time.Millisecond)
	if w.Ping < 0 || w.Ping > long || w.Timeout < 0 || w.Timeout > long || w.Max < 0 || w.Ack < 0 || w.Ack > 64 || w.Window < 0 || w.Window > 1<<20 ||
		w.Ack > 0 && w.Session == "" {
		return errors.New("$welcome has a number out of range")
	}
	return nil
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// begin makes the client open.
func (c *Client) begin(ctx context.Context, l *link, w *welcome) *ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return closedBy(wsctl.CloseAbnormal, context.Cause(ctx).Error())
	}
	if c.opts.Plain {
		c.sess.sent = 0
		c.info = Info{}
	} else {
		lost, err := c.sess.readWelcome(w.Session, w.Resumed, w.Received, w.Ack > 0)
		if !w.Resumed {
			c.lost(lost)
		}
		if err != nil {
			return garbage(wsctl.CloseBadRequest, err.Error())
		}
		c.info = Info{Session: w.Ack > 0, Resumed: w.Resumed, Ping: ms(w.Ping), Timeout: ms(w.Timeout), Max: w.Max,
			Window: w.Window, Schema: w.Schema}
		if w.Expires != nil {
			c.info.Expires = time.Now().Add(ms(*w.Expires))
		}
		if w.Ping > 0 { // else there are no pings, and silence says nothing
			l.silence = c.info.Ping + c.info.Timeout
		}
		l.ackMax = w.Ack
		l.ack = !w.Resumed && w.Ack > 0
		l.ackTime = time.NewTimer(ackDelay)
		l.ackTime.Stop()
		l.probing = time.AfterFunc(time.Hour, l.giveUp)
		l.probing.Stop()
	}
	c.expire()
	c.dropTooBig()
	l.since = time.Now()
	c.link, c.opened = l, true
	c.setState(Open, nil)
	return nil
}

// dropTooBig removes what waited for a server that turns out to take less. The caller has the lock.
func (c *Client) dropTooBig() {
	if c.info.Max == 0 {
		return
	}
	for _, m := range c.sess.remove(func(m *message) bool { return len(m.data) > c.info.Max }) {
		if m.call != nil {
			c.end(m.call, outcome{err: tooBig()})
		} else {
			c.log(slog.LevelWarn, "wsctl: a message that waited is larger than the server takes and was dropped", "bytes", len(m.data))
		}
	}
}

// serve reads until the connection is over, and detaches it.
func (c *Client) serve(l *link) *ending {
	l.alive()
	go l.write()
	c.mu.Lock()
	if c.closing {
		l.hasten()
		c.wake()
	}
	c.mu.Unlock()
	c.renewLater(l)
	var e *ending
	for e == nil {
		var b []byte
		if b, e = l.read(); e == nil {
			e = c.receive(l, b)
		}
	}
	l.detach(e)
	return e
}
