package wsctl_test

import (
	"context"
	"errors"
	"math"
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

// Faults that were found by reading: each test failed before its mend.

// A client that floods past what may wait, so that its connection isn't read, and then goes: a ping that can't be written
// tells.
func TestLostWhileNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		told := make(chan error, 1)
		l := newLab(t, &puppet{
			wait:  func(ctx context.Context, _ *wsctl.Socket, _ string) (any, error) { <-ctx.Done(); return nil, nil },
			close: func(_ *wsctl.Socket, err error) { told <- err },
		}, nil)
		p := l.peer(t, nil)
		for range 2200 {
			p.send(`{"type":"Wait","data":"xxxxxxxxxxxxxxxx"}`)
		}
		synctest.Wait()
		p.nc.Close()
		time.Sleep(time.Minute)
		select {
		case err := <-told:
			if ce, ok := errors.AsType[*wsctl.CloseError](err); !ok || ce.Code != wsctl.CloseAbnormal {
				t.Errorf("ended by %v", err)
			}
		default:
			t.Errorf("a minute after the loss: %d members, context: %v", l.hub.Everyone().Len(), p.s.Context().Err())
		}
	})
}

// runtime.Goexit, as of a test's Fatal, in what the handshake asks: the socket is refused, and nothing is left.
func TestGoexitInHandshake(t *testing.T) {
	for _, where := range []string{"OnOpen", "Authenticate", "Context"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				exit := func(at string, r *http.Request) {
					if at == where && r.Header.Get("Exit") != "" {
						runtime.Goexit()
					}
				}
				l := newLab(t, &puppet{open: func(_ *wsctl.Socket, r *http.Request) error { exit("OnOpen", r); return nil }}, &wsctl.Options{
					MaxConns: 1,
					Authenticate: func(_ context.Context, r *http.Request, _ string) (wsctl.Identity, error) {
						exit("Authenticate", r)
						return wsctl.Identity{}, nil
					},
					Context: func(r *http.Request) context.Context { exit("Context", r); return context.Background() },
				})
				c, _, err := l.tryDial(t, http.Header{"Exit": {"1"}})
				if where == "OnOpen" {
					must(t, err)
					c.wantClosed(wsctl.CloseInternal, "")
					c.ws.Close()
					<-l.p.sockets
				}
				c.nc.Close()
				time.Sleep(time.Minute)
				l.peer(t, nil) // its place is free
				if st := l.h.Stats(); st.Opened != 1 || st.Sockets != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// Who closes by itself isn't told that it was too slow, even if what its rooms got doesn't fit any more.
func TestOwnCloseWithFullQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		told, gate := make(chan error, 2), make(chan struct{})
		p := &puppet{
			sockets: make(chan *wsctl.Socket, 10),
			close:   func(_ *wsctl.Socket, err error) { told <- err },
			do: func(s *wsctl.Socket, _ string) (any, error) {
				err := s.Hub().Room("r").Send("m", strings.Repeat("x", 900)) // pending, while this method is at work
				<-gate
				return nil, err
			},
		}
		h, log := newHandler(t, p, &wsctl.Options{SendBuffer: 1000})
		l := &lab{server: serveOver(t, h, 512, nil), h: h, hub: h.Hub(), p: p, log: log}
		a, b := l.peer(t, nil), l.peer(t, nil)
		join(t, a.s, "r")
		must(t, a.s.Send("x", strings.Repeat("x", 950)))
		synctest.Wait()
		b.send(call(1, "Do", `""`))
		synctest.Wait()
		must(t, a.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye"), time.Time{}))
		if err := <-told; err.Error() != (&wsctl.CloseError{Code: 1000, Reason: "bye"}).Error() {
			t.Errorf("ended by %v", err)
		}
		close(gate)
	})
}

// Durations that mean "never" don't overflow.
func TestHugeTimeouts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{PingTimeout: math.MaxInt64, WriteTimeout: math.MaxInt64, HandshakeTimeout: math.MaxInt64})
		p := l.peer(t, nil)
		go p.gone() // reads, and so answers pings
		time.Sleep(time.Hour)
		if n := l.hub.Everyone().Len(); n != 1 {
			t.Errorf("%d sockets; closed: %v", n, l.h.Stats().Closed)
		}
		p.nc.Close()
	})
}

// Shutdown comes between two messages of one piece: either none of the piece is handled, or all is, and answered.
func TestShutdownWithinPiece(t *testing.T) {
	for range 100 {
		bubble(t, func(t *testing.T) {
			var shutdown func()
			l := newLab(t, &puppet{wait: func(_ context.Context, _ *wsctl.Socket, arg string) (any, error) {
				if arg == "first" {
					go shutdown()
				}
				return nil, nil
			}}, nil)
			shutdown = func() { must(t, l.h.Shutdown(context.Background())) }
			p := l.peer(t, nil)
			piece := rawFrame(0x81, call(1, "Wait", `"first"`))
			for id := 2; id <= 8; id++ {
				piece = append(piece, rawFrame(0x81, call(id, "Wait", `""`))...)
			}
			p.raw(piece)
			if answers, _ := p.gone(); len(answers) != 8 {
				t.Errorf("%d answers to 8 calls that were read: %v", len(answers), answers)
			}
		})
	}
}

// feeding is a conn during each of whose writes something happens.
type feeding struct {
	*mempipe.Conn
	feed func()
}

func (c *feeding) TryWrite(b []byte) (int, error) {
	c.feed()
	return c.Conn.TryWrite(b)
}

// Others send while somebody writes, faster than it can: the queue keeps its bound, and who writes is let go.
func TestSendersOutrunAWriter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const bound, size = 64 << 10, 10 << 10
		var fed, most atomic.Int64
		var feed atomic.Pointer[func()]
		p := &puppet{sockets: make(chan *wsctl.Socket, 10)}
		h, log := newHandler(t, p, &wsctl.Options{SendBuffer: bound, WriteTimeout: -1})
		srv := serveOver(t, h, 64<<20, func(c *mempipe.Conn) net.Conn {
			return &feeding{c, func() {
				if f := feed.Load(); f != nil {
					(*f)()
				}
			}}
		})
		l := &lab{server: srv, h: h, hub: h.Hub(), p: p, log: log}
		c := l.peer(t, nil)
		text := strings.Repeat("x", size)
		more := func() {
			if fed.Load() < 1000 && c.s.Send("m", text) == nil {
				fed.Add(1)
			}
			most.Store(max(most.Load(), int64(h.Stats().QueuedBytes)))
		}
		feed.Store(&more)
		must(t, c.s.Send("m", text))
		if n := fed.Load(); n == 0 || n > 100 {
			t.Errorf("the writer was kept for %d messages of others", n)
		}
		flood := func() { // all at once, within one write
			for range 50 {
				more()
			}
		}
		feed.Store(&flood)
		synctest.Wait()
		_ = c.s.Send("m", text)
		if n := most.Load(); n > bound+3*size {
			t.Errorf("%d bytes were queued, the bound is %d", n, bound)
		}
		feed.Store(nil)
		c.nc.Close()
	})
}

// Answers behind a middleware share writes, as others do, although a goroutine of their own handles them.
func TestWorkerCorks(t *testing.T) {
	for name, middleware := range map[string][]func(wsctl.MessageFunc) wsctl.MessageFunc{
		"inline": nil,
		"worker": {func(next wsctl.MessageFunc) wsctl.MessageFunc { return next }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := &puppet{sockets: make(chan *wsctl.Socket, 10), do: func(_ *wsctl.Socket, arg string) (any, error) {
					time.Sleep(100 * time.Microsecond)
					return arg, nil
				}}
				h, _ := newHandler(t, p, &wsctl.Options{Middleware: middleware})
				var tap *tapped
				srv := serveOver(t, h, 0, func(c *mempipe.Conn) net.Conn { tap = &tapped{Conn: c}; return tap })
				c := srv.dial(t, nil)
				<-p.sockets
				var piece []byte
				for id := 1; id <= 40; id++ {
					piece = append(piece, rawFrame(0x81, call(id, "Do", `"x"`))...)
				}
				synctest.Wait()
				tap.writes.Store(0)
				c.raw(piece)
				for id := 1; id <= 40; id++ {
					c.want(replied(id, `"x"`))
				}
				// 4 ms at work, a write each; a piece is read 512 bytes at a time.
				if n := tap.writes.Load(); n > 12 {
					t.Errorf("40 answers took %d writes", n)
				}
			})
		})
	}
}
