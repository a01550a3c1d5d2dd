package wsctl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// The client closes while Close is at work on what was sent before: it still gets that, and a close frame.
func TestClosesCross(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var tap *tapped
		var c *client
		text := strings.Repeat("x", 900)
		p := &puppet{sockets: make(chan *wsctl.Socket, 10), wait: func(_ context.Context, s *wsctl.Socket, _ string) (any, error) {
			must(t, s.Send("m", text))                 // gathers
			must(t, s.Hub().Room("r").Send("m", text)) // pending: doesn't fit beside it
			hold := func(b []byte) (int, error) {      // Close writes the first, to make room for the second
				must(t, c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Time{}))
				synctest.Wait()
				return tap.Conn.TryWrite(b)
			}
			tap.hold.Store(&hold)
			return nil, s.Close(4000, "bye")
		}}
		h, _ := newHandler(t, p, &wsctl.Options{SendBuffer: 1000})
		c = serveOver(t, h, 0, func(nc *mempipe.Conn) net.Conn { tap = &tapped{Conn: nc}; return tap }).dial(t, nil)
		join(t, <-p.sockets, "r")
		synctest.Wait()
		c.send(msg("Wait", `""`))
		messages, err := c.gone()
		if code, reason := closeOf(err); len(messages) != 2 || code != 4000 || reason != "bye" {
			t.Errorf("the client got %d messages and %d %q", len(messages), code, reason)
		}
	})
}

type nilContext struct{ context.Context }

// A nil pointer in place of a context refuses the handshake.
func TestNilPointerContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{Context: func(*http.Request) context.Context { return (*nilContext)(nil) }})
		_, resp, err := l.tryDial(t, nil)
		if err == nil || resp.StatusCode != http.StatusInternalServerError {
			t.Errorf("%v %v", resp, err)
		}
		if n := l.hub.Everyone().Len(); n != 0 {
			t.Errorf("%d sockets", n)
		}
		must(t, l.h.Shutdown(context.Background()))
	})
}

// Each hook of the end runs, whatever the others do.
func TestHooksOfTheEndAll(t *testing.T) {
	for name, bad := range map[string]func(){"Goexit": runtime.Goexit, "panic": func() { panic("x") }} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var ran atomic.Int64
				hook := func(error) { ran.Add(1); bad() }
				l := newLab(t, &puppet{close: func(_ *wsctl.Socket, err error) { hook(err) }}, nil)
				p := l.peer(t, nil)
				must(t, p.s.SetController(&puppet{close: func(_ *wsctl.Socket, err error) { hook(err) }}))
				p.s.OnClose(hook)
				p.s.OnClose(hook)
				must(t, p.s.Close(4000, ""))
				p.closed()
				p.nc.Close()
				must(t, l.h.Shutdown(context.Background()))
				if n := ran.Load(); n != 4 {
					t.Errorf("%d of 4 hooks ran", n)
				}
			})
		})
	}
}

// A method that ends its goroutine when the client has gone: what waits behind it is handled all the same.
func TestGoexitBeforeWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		step, handled := make(chan bool), make(chan string, 10)
		l := newLab(t, &puppet{wait: func(_ context.Context, _ *wsctl.Socket, arg string) (any, error) {
			if arg == "exit" {
				<-step
				runtime.Goexit()
			}
			handled <- arg
			return nil, nil
		}}, nil)
		p := l.peer(t, nil)
		p.send(call(1, "Wait", `"exit"`), call(2, "Wait", `"next"`))
		synctest.Wait()
		p.ws.Close()
		synctest.Wait()
		close(step)
		synctest.Wait()
		if len(handled) != 1 || l.h.Stats().Calls != 0 {
			t.Errorf("%d handled, %+v", len(handled), l.h.Stats())
		}
	})
}

// A handshake that Authenticate delays beyond Shutdown isn't opened any more.
func TestHandshakeBeyondShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		step := make(chan bool)
		l := newLab(t, &puppet{open: func(*wsctl.Socket, *http.Request) error { t.Error("OnOpen was asked"); return nil }}, &wsctl.Options{
			Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
				<-step
				return wsctl.Identity{}, nil
			},
		})
		status := make(chan int)
		go func() {
			_, resp, _ := l.tryDial(t, nil)
			status <- resp.StatusCode
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.h.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Errorf("Shutdown: %v", err)
		}
		close(step)
		if got := <-status; got != http.StatusServiceUnavailable {
			t.Errorf("status %d", got)
		}
	})
}

// countedConn counts the Closes of a conn.
type countedConn struct {
	*mempipe.Conn
	n *atomic.Int64
}

func (c countedConn) Close() error {
	c.n.Add(1)
	return c.Conn.Close()
}

// A conn is closed once, as wrappers that count may expect.
func TestNetConnClosedOnce(t *testing.T) {
	for name, end := range map[string]func(c *client){
		"lost":   func(c *client) { c.nc.Close() },
		"closed": func(c *client) { c.raw(closeFrame(1000, "")) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var n atomic.Int64
				h, _ := newHandler(t, &kit{}, nil)
				c := serveOver(t, h, 0, func(nc *mempipe.Conn) net.Conn { return countedConn{nc, &n} }).dial(t, nil)
				end(c)
				time.Sleep(time.Minute)
				if n.Load() != 1 {
					t.Errorf("%d Closes", n.Load())
				}
			})
		})
	}
}

// TestCanceledIsNoFailure has methods end because their client has gone: that isn't worth a warning.
func TestCanceledIsNoFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, log := newHandler(t, &kit{ctx: func(ctx context.Context, _ *wsctl.Socket, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("reading: %w", ctx.Err())
		}}, &wsctl.Options{Resume: -1})
		for _, id := range []int{0, 1} {
			c := serve(t, h).dial(t, nil)
			c.send(call(id, "Ctx", ""))
			synctest.Wait()
			c.nc.Close()
			synctest.Wait()
		}
		if got := log.String(); strings.Contains(got, "WARN") || strings.Contains(got, "ERROR") || strings.Count(got, "wsctl: canceled") != 2 {
			t.Errorf("log: %s", got)
		}
	})
}
