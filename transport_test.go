package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

// pipeListener accepts what its dial gives the other end of: net.Pipe, where a write waits for its reader.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return mempipe.Addr("pipe") }

// way is a network that serves a handler.
type way struct {
	name   string
	serve  func(t *testing.T, h http.Handler) (url string, d *websocket.Dialer)
	bubble bool
}

var ways = []way{
	{"TCP", func(t *testing.T, h http.Handler) (string, *websocket.Dialer) {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		return "ws" + strings.TrimPrefix(srv.URL, "http"), &websocket.Dialer{}
	}, false},
	{"wrapped TCP", func(t *testing.T, h http.Handler) (string, *websocket.Dialer) {
		srv := httptest.NewUnstartedServer(h)
		srv.Listener = nakedListener{srv.Listener}
		srv.Start()
		t.Cleanup(srv.Close)
		return "ws" + strings.TrimPrefix(srv.URL, "http"), &websocket.Dialer{}
	}, false},
	{"TLS", func(t *testing.T, h http.Handler) (string, *websocket.Dialer) {
		srv := httptest.NewTLSServer(h)
		t.Cleanup(srv.Close)
		tr := srv.Client().Transport.(*http.Transport)
		return "wss" + strings.TrimPrefix(srv.URL, "https"), &websocket.Dialer{TLSClientConfig: tr.TLSClientConfig}
	}, false},
	{"net.Pipe", func(t *testing.T, h http.Handler) (string, *websocket.Dialer) {
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		srv := &http.Server{Handler: h}
		go srv.Serve(l)
		t.Cleanup(func() { srv.Close() })
		return "ws://example.com", &websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			l.conns <- b
			return a, nil
		}}
	}, true},
	{"memory", func(t *testing.T, h http.Handler) (string, *websocket.Dialer) {
		srv := serveOver(t, h, 1<<10, nil)
		return "ws://example.com", &websocket.Dialer{NetDialContext: srv.netDial(&client{})}
	}, true},
}

// nakedListener hides that its conns are TCP's.
type nakedListener struct{ net.Listener }

func (l nakedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// overAll runs fn over every network. Where it isn't a bubble, only deadlines are real.
func overAll(t *testing.T, fn func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			if w.bubble {
				bubble(t, func(t *testing.T) { fn(t, w) })
			} else {
				fn(t, w)
			}
		})
	}
}

// dialer returns a function that opens clients.
func (w way) dialer(t *testing.T, h http.Handler) func() *client {
	url, d := w.serve(t, h)
	return func() *client {
		ws, _, err := d.Dial(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		return &client{t: t, ws: ws}
	}
}

// The essentials, over every kind of conn.
func TestNetworks(t *testing.T) {
	overAll(t, func(t *testing.T, w way) {
		opened, ended := make(chan *wsctl.Socket, 9), make(chan error, 9)
		h, _ := newHandler(t, &kit{opened: socketsOf(opened), closed: func(_ *wsctl.Socket, err error) { ended <- err }}, nil)
		dial := w.dialer(t, h)
		a, b := dial(), dial()
		sa, sb := <-opened, <-opened

		for _, n := range []int{0, 1, 100, 125, 126, 1000, 5000, 60_000} {
			data := `"` + strings.Repeat("x", n) + `"`
			a.send(call(1, "Echo", data))
			a.want(replied(1, data))
		}
		for i := range 100 {
			if err := h.Hub().Broadcast("b", i); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			a.want(msg("b", fmt.Sprint(i)))
			b.want(msg("b", fmt.Sprint(i)))
		}

		// A slow reader has its backlog drained, in order, and then the close.
		text := strings.Repeat("y", 10_000)
		for i := range 90 {
			if err := sb.Send("d", fmt.Sprintf("%d %s", i, text)); err != nil {
				t.Fatalf("send %d: %v", i, err)
			}
		}
		if err := sb.Close(4000, "enough"); err != nil {
			t.Fatal(err)
		}
		a.lives() // others are served meanwhile
		for i := range 90 {
			b.want(msg("d", fmt.Sprintf(`"%d %s"`, i, text)))
		}
		b.wantClosed(4000, "enough")
		if err := <-ended; err.Error() != "wsctl: closed with 4000: enough" {
			t.Errorf("ended with %v", err)
		}

		// The peer closes: our close frame answers, then the connection ends.
		a.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "bye"), time.Now().Add(patience))
		a.wantClosed(1000, "bye")
		a.ws.UnderlyingConn().SetReadDeadline(time.Now().Add(patience))
		if n, err := a.ws.UnderlyingConn().Read(make([]byte, 1)); n != 0 || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the close: %d bytes, %v", n, err)
		}
		if err := <-ended; err.Error() != "wsctl: closed with 1000: bye" || context.Cause(sa.Context()) != err {
			t.Errorf("ended with %v", err)
		}

		// The peer is lost.
		c := dial()
		<-opened
		c.ws.UnderlyingConn().Close()
		if ce, ok := errors.AsType[*wsctl.CloseError](<-ended); !ok || ce.Code != 1006 {
			t.Errorf("ended with %v", ce)
		}
	})
}

// A slow client is closed, over every kind of conn, and reads whole messages until then.
func TestNetworksSlow(t *testing.T) {
	overAll(t, func(t *testing.T, w way) {
		opened := make(chan *wsctl.Socket, 9)
		h, _ := newHandler(t, &kit{opened: socketsOf(opened)}, &wsctl.Options{SendBuffer: 100 << 10})
		slow := w.dialer(t, h)()
		s := <-opened
		m := msg("m", `"`+strings.Repeat("z", 30_000)+`"`)
		sent := 0
		for ; sent < 10_000; sent++ { // TCP's own buffers take some megabytes
			if err := s.Send("m", strings.Repeat("z", 30_000)); err != nil {
				if err != wsctl.ErrSlow {
					t.Errorf("Send: %v", err)
				}
				break
			}
			if n := h.Stats().QueuedBytes; n > 100<<10+len(m)+10 {
				t.Fatalf("%d bytes queued", n)
			}
		}
		messages, err := slow.gone()
		if code, _ := closeOf(err); code != wsctl.CloseSlow {
			t.Errorf("closed: %v", err)
		}
		for _, got := range messages {
			if got != m {
				t.Fatalf("a torn message: %.80q", got)
			}
		}
		if n := len(messages); n > sent {
			t.Errorf("%d messages of %d", n, sent)
		}
	})
}

// After a Shutdown no goroutine is left, whatever the network.
func TestNetworksShutdown(t *testing.T) {
	overAll(t, func(t *testing.T, w way) {
		h, _ := newHandler(t, &kit{}, nil)
		dial := w.dialer(t, h)
		var clients []*client
		for range 5 {
			c := dial()
			c.lives()
			clients = append(clients, c)
		}
		h.Hub().Broadcast("m", nil)
		for _, c := range clients {
			go func() {
				_, err := c.gone()
				if code, _ := closeOf(err); code != 1001 {
					t.Errorf("closed: %v", err)
				}
			}()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		// The last goroutine tells that it is the last, and then ends: it is given a moment.
		left := oursLeft()
		for range 1000 {
			if w.bubble || left == "" { // bubbles may be at work beside this test
				break
			}
			runtime.Gosched()
			left = oursLeft()
		}
		if left != "" && !w.bubble {
			t.Errorf("left behind: %s", left)
		}
		if st := h.Stats(); st.Sockets != 0 || st.Closed[1001] != 5 {
			t.Errorf("%+v", st)
		}
	})
}

// oursLeft returns the stack of a goroutine of ours, or "".
func oursLeft() string {
	var stacks [1 << 20]byte
	for g := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks[:], true)]), "\n\n") {
		for _, ours := range []string{"wsctl.(*conn)", "wsctl.(*Socket)", "wsctl.(*Hub)"} {
			if strings.Contains(g, ours) {
				return g
			}
		}
	}
	return ""
}

// A TLS client that is lost within a record is lost, as any other.
func TestLostWithinRecord(t *testing.T) {
	ended := make(chan error, 1)
	h, _ := newHandler(t, &kit{closed: func(_ *wsctl.Socket, err error) { ended <- err }}, nil)
	srv := httptest.NewTLSServer(h)
	defer srv.Close()
	var cut atomic.Bool
	d := websocket.Dialer{TLSClientConfig: srv.Client().Transport.(*http.Transport).TLSClientConfig}
	d.NetDialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &cutConn{Conn: nc, cut: &cut}, err
	}
	ws, _, err := d.Dial("wss"+strings.TrimPrefix(srv.URL, "https"), nil)
	if err != nil {
		t.Fatal(err)
	}
	cut.Store(true)
	ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", 60_000))) // fails or not, as the network has it
	if ce, ok := errors.AsType[*wsctl.CloseError](<-ended); !ok || ce.Code != 1006 {
		t.Errorf("ended with %v", ce)
	}
}

// cutConn ends in the middle of its third write.
type cutConn struct {
	net.Conn
	cut *atomic.Bool
	n   int
}

func (c *cutConn) Write(b []byte) (int, error) {
	if !c.cut.Load() {
		return c.Conn.Write(b)
	}
	if c.n++; c.n < 3 {
		return c.Conn.Write(b)
	}
	c.Conn.Write(b[:len(b)/2])
	c.Conn.Close()
	return 0, io.ErrClosedPipe
}

// counted serves over a conn whose writes are counted.
func counted(t *testing.T, h http.Handler) (*client, *tapped) {
	var tap *tapped
	srv := serveOver(t, h, 0, func(nc *mempipe.Conn) net.Conn { tap = &tapped{Conn: nc}; return tap })
	c := srv.dial(t, nil)
	synctest.Wait()
	tap.writes.Store(0)
	return c, tap
}

// Answers of a burst share a write.
func TestBurst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{}, nil)
		c, tap := counted(t, h)
		var burst []byte
		for i := 1; i <= 16; i++ {
			burst = append(burst, rawFrame(0x81, call(i, "Echo", "1"))...)
		}
		c.raw(burst)
		for i := 1; i <= 16; i++ {
			c.want(replied(i, "1"))
		}
		if n := tap.writes.Load(); n > 2 {
			t.Errorf("16 answers in %d writes", n)
		}

		// Broadcasts of a burst as well.
		tap.writes.Store(0)
		for range 16 {
			h.Hub().Broadcast("m", 1)
		}
		for range 16 {
			c.want(msg("m", "1"))
		}
		if n := tap.writes.Load(); n > 16 {
			t.Errorf("16 broadcasts in %d writes", n)
		}
	})
}

// What is sent outside of handlers isn't held back, nor is what a handler sent when it goes on for long, or waits.
func TestNotHeldBack(t *testing.T) {
	send := func(_ context.Context, s *wsctl.Socket, _ json.RawMessage) (any, error) {
		s.Send("direct", nil)
		s.Hub().Broadcast("everyone", nil)
		time.Sleep(time.Minute)
		return nil, nil
	}
	all := []string{msg("direct", ""), msg("everyone", "")}
	tests := []struct {
		name string
		act  func(h *wsctl.Handler, s *wsctl.Socket, c *client)
		want []string
		max  time.Duration
	}{
		{"Send", func(_ *wsctl.Handler, s *wsctl.Socket, _ *client) { s.Send("direct", nil) }, all[:1], 0},
		{"Broadcast", func(h *wsctl.Handler, _ *wsctl.Socket, _ *client) { h.Hub().Broadcast("everyone", nil) }, all[1:], 0},
		{"slow method", func(_ *wsctl.Handler, _ *wsctl.Socket, c *client) { c.send(msg("Now", "")) }, all, 2 * time.Millisecond},
		{"method that waits", func(_ *wsctl.Handler, _ *wsctl.Socket, c *client) { c.send(msg("Ctx", "")) }, all, 2 * time.Millisecond},
		{"answer before a method that waits", func(_ *wsctl.Handler, _ *wsctl.Socket, c *client) {
			c.raw(append(rawFrame(0x81, call(1, "Typed", "1")), rawFrame(0x81, msg("Ctx", ""))...))
		}, []string{replied(1, "1")}, 0},
		{"answer while a method waits", func(_ *wsctl.Handler, _ *wsctl.Socket, c *client) {
			c.raw(append(rawFrame(0x81, call(1, "Ctx", `"short"`)), rawFrame(0x81, msg("Ctx", ""))...))
		}, []string{replied(1, "")}, 0},
		{"answer before a slow method", func(_ *wsctl.Handler, _ *wsctl.Socket, c *client) {
			c.raw(append(rawFrame(0x81, call(1, "Typed", "1")), rawFrame(0x81, msg("Now", ""))...))
		}, []string{replied(1, "1")}, 2 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opened := make(chan *wsctl.Socket, 1)
				h, _ := newHandler(t, &kit{
					opened: socketsOf(opened),
					now:    func(s *wsctl.Socket, d json.RawMessage) (any, error) { return send(nil, s, d) },
					ctx: func(ctx context.Context, s *wsctl.Socket, d json.RawMessage) (any, error) {
						if string(d) == `"short"` {
							return nil, nil
						}
						return send(ctx, s, d)
					},
				}, nil)
				c := serve(t, h).dial(t, nil)
				s := <-opened
				start := time.Now()
				tt.act(h, s, c)
				c.want(tt.want...)
				if d := time.Since(start); d > tt.max {
					t.Errorf("came after %v", d)
				}
				c.nc.Close()
				time.Sleep(2 * time.Minute) // the method returns
			})
		})
	}
}

// Once a client can see the 101, it misses no broadcast; what OnOpen sends comes before what its messages cause.
func TestFirstBroadcast(t *testing.T) {
	for name, open := range map[string]func(*wsctl.Socket, *http.Request) error{
		"no OnOpen": nil,
		"sends":     func(s *wsctl.Socket, _ *http.Request) error { return s.Send("welcome", nil) },
		"slow OnOpen": func(s *wsctl.Socket, _ *http.Request) error {
			defer time.Sleep(time.Second)
			return s.Send("welcome", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, _ := newHandler(t, &kit{opened: open}, nil)
				srv := serve(t, h)
				for i := range 20 {
					c := srv.dial(t, nil)
					h.Hub().Broadcast("m", i)
					if open != nil {
						c.want(msg("welcome", ""))
					}
					c.want(msg("m", fmt.Sprint(i)))
					c.ws.Close()
				}
				time.Sleep(time.Minute) // the last OnOpen returns
			})
		})
	}
}

// A message that is too long is refused as soon as that is known, not when all of it has come.
func TestTooLongBeforeItsEnd(t *testing.T) {
	overAll(t, func(t *testing.T, w way) {
		h, _ := newHandler(t, &kit{}, &wsctl.Options{MaxMessage: 100})
		c := w.dialer(t, h)()
		c.raw(rawHeader(0x81, 1000), []byte(strings.Repeat("x", 200)))
		c.wantClosed(1009, "")
	})
}
