//go:build linux && !wsctl_nowatch

package wsctl_test

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	wsclient "github.com/wsctl/wsctl/client"
)

// In these tests idle connections give up their goroutines, which needs a network of the kernel's: time is real, and passes
// for nothing but what is waited for.

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// allWatched has the watcher wait for all connections, n.
func allWatched(t testing.TB, h *wsctl.Handler, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d connections without a goroutine", n), func() bool {
		h.Rouse()
		watched, _ := h.Watched()
		return watched == n
	})
}

// tcp serves h over TCP and returns what opens a client with further headers.
func tcp(t testing.TB, h http.Handler) (dial func(header http.Header) *client) {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return func(header http.Header) *client {
		t.Helper()
		d := websocket.Dialer{EnableCompression: header.Get("Compress") != ""}
		ws, _, err := d.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), header)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		return &client{t: t, ws: ws}
	}
}

// shutDown ends h, after which none of its goroutines is left.
func shutDown(t testing.TB, h *wsctl.Handler) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, h.Shutdown(ctx))
	if n, runs := h.Watched(); n > 0 || runs {
		t.Errorf("%d connections are watched after Shutdown, the goroutine runs: %v", n, runs)
	}
}

// Whatever comes to an idle connection wakes it, and nothing of it is lost.
func TestIdleWakes(t *testing.T) {
	for _, compress := range []string{"", "yes"} {
		t.Run("compress="+compress, func(t *testing.T) {
			h, _ := newHandler(t, &kit{}, &wsctl.Options{Compression: true, MaxMessage: 1 << 20})
			c := tcp(t, h)(http.Header{"Compress": {compress}})
			idle := func() { allWatched(t, h, 1) }
			idle()
			c.lives()
			idle()
			must(t, h.Hub().Broadcast("m", 1)) // doesn't
			c.want(msg("m", "1"))
			if n, _ := h.Watched(); n != 1 {
				t.Error("a message to the client has woken its connection")
			}
			large := strconv.Quote(strings.Repeat("x", 300_000))
			c.send(call(1, "Echo", large))
			c.want(replied(1, large))
			idle()
			var frames []byte
			for id := range 100 {
				frames = append(frames, rawFrame(0x81, call(id+1, "Echo", "0"))...)
			}
			for len(frames) > 0 { // cut anywhere, with and without a reader
				n := min(1+rand.IntN(60), len(frames))
				c.raw(frames[:n])
				frames = frames[n:]
				h.Rouse()
			}
			for id := range 100 {
				c.want(replied(id+1, "0"))
			}
			idle()
			first, second := rawFrame(0x01, call(7, "Echo", "")[:9]), rawFrame(0x80, call(7, "Echo", "")[9:])
			c.raw(first, rawFrame(0x89, "in between"), second) // a fragmented message with a ping
			c.want(replied(7, "null"))
			c.lives()
			idle()
			shutDownWith(t, h, []*client{c})
		})
	}
}

// deflateStream is s as a stream of deflate (RFC 7692, section 7.2.1), which ends with a final block, or as usual without.
func deflateStream(s string, final bool) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestSpeed)
	_, _ = w.Write([]byte(s))
	if final {
		_ = w.Close()
		return b.String()
	}
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// An inflater may be through before the message is (RFC 7692, section 7.2.3.4): what follows of it is no frame, nor another
// client's.
func TestInflatedEarly(t *testing.T) {
	h, _ := newHandler(t, &kit{}, &wsctl.Options{Compression: true})
	dial := tcp(t, h)
	first := deflateStream(call(1, "Echo", "1"), true)
	for range 10 {
		a, b := dial(http.Header{"Compress": {"yes"}}), dial(http.Header{"Compress": {"yes"}})
		a.raw(rawFrame(0x41, first)) // FIN isn't set
		a.want(replied(1, "1"))
		b.ws.EnableWriteCompression(true)
		b.lives()
		a.raw(rawFrame(0x80, ""))
		a.lives()
	}
	a := dial(http.Header{"Compress": {"yes"}})
	a.raw(rawHeader(0xc1, uint64(len(first))+200), []byte(first))
	a.want(replied(1, "1"))
	a.raw(make([]byte, 200)) // the rest of the message
	a.lives()
}

// A pong right behind a compressed message doesn't keep a goroutine.
func TestIdleBehindCompressed(t *testing.T) {
	h, _ := newHandler(t, &kit{}, &wsctl.Options{Compression: true})
	c := tcp(t, h)(http.Header{"Compress": {"yes"}})
	c.raw(append(rawFrame(0xc1, deflateStream(call(1, "Echo", "1"), false)), rawFrame(0x8a, "x")...))
	c.want(replied(1, "1"))
	allWatched(t, h, 1)
}

// When nothing is left, Shutdown has succeeded, whatever its context.
func TestShutdownAfterShutdown(t *testing.T) {
	h, _ := newHandler(t, &kit{}, nil)
	c := tcp(t, h)(nil)
	allWatched(t, h, 1)
	shutDownWith(t, h, []*client{c})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		must(t, h.Shutdown(done))
	}
}

// A client that only answers pings, or sends some, keeps no goroutine.
func TestIdlePings(t *testing.T) {
	h, _ := newHandler(t, &kit{}, nil)
	c := tcp(t, h)(nil)
	defer shutDown(t, h)
	pongs := make(chan string, 100)
	c.ws.SetPongHandler(func(payload string) error { pongs <- payload; return nil })
	go func() {
		for {
			if _, _, err := c.ws.ReadMessage(); err != nil {
				return
			}
		}
	}()
	allWatched(t, h, 1)
	for i := range 20 {
		payload := strings.Repeat("p", i*6) // up to 114 bytes
		if i%3 > 0 {
			c.raw(rawFrame(0x8a, payload))
		}
		must(t, c.ws.WriteControl(websocket.PingMessage, []byte(payload), time.Time{}))
		if got := <-pongs; got != payload {
			t.Fatalf("got pong %q, want %q", got, payload)
		}
		eventually(t, "idle again by itself", func() bool { n, _ := h.Watched(); return n == 1 })
	}
	c.raw(rawFrame(0x8a, "half of a pong")[:9])
	eventually(t, "awake", func() bool { n, _ := h.Watched(); return n == 0 })
	c.raw(rawFrame(0x8a, "half of a pong")[9:])
	must(t, c.ws.WriteControl(websocket.PingMessage, []byte("x"), time.Time{}))
	if got := <-pongs; got != "x" {
		t.Fatal(got)
	}
}

// Control frames that break the protocol close an idle connection as any other.
func TestIdleBadFrames(t *testing.T) {
	for name, frame := range map[string][]byte{
		"pong not masked":   {0x8a, 0},
		"pong with RSV1":    rawFrame(0xca, ""),
		"pong in fragments": rawFrame(0x0a, "x"),
		"long ping":         rawFrame(0x89, strings.Repeat("x", 126)),
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := newHandler(t, &kit{}, nil)
			c := tcp(t, h)(nil)
			allWatched(t, h, 1)
			c.raw(frame)
			c.wantClosed(1002, "")
			c.ws.Close()
			shutDown(t, h)
		})
	}
}

// However an idle connection ends, its socket is told, and nothing is left of it.
func TestIdleEnds(t *testing.T) {
	var server *wsctl.Socket
	for name, end := range map[string]struct {
		how  func(t *testing.T, h *wsctl.Handler, c *client)
		code int
	}{
		"close frame": {func(t *testing.T, h *wsctl.Handler, c *client) { c.raw(closeFrame(3000, "bye")) }, 3000},
		"FIN":         {func(t *testing.T, h *wsctl.Handler, c *client) { c.ws.NetConn().(*net.TCPConn).CloseWrite() }, 1006},
		"RST": {func(t *testing.T, h *wsctl.Handler, c *client) {
			must(t, c.ws.NetConn().(*net.TCPConn).SetLinger(0))
			must(t, c.ws.Close())
		}, 1006},
		"by the server": {func(t *testing.T, h *wsctl.Handler, c *client) {
			must(t, server.Close(3001, ""))
			c.wantClosed(3001, "")
		}, 3001},
		"by the server, without an answer": {func(t *testing.T, h *wsctl.Handler, c *client) { must(t, server.Close(3001, "")) }, 3001},
		"silence":                          {func(t *testing.T, h *wsctl.Handler, c *client) {}, 4408},
		"Shutdown": {func(t *testing.T, h *wsctl.Handler, c *client) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := h.Shutdown(ctx); err != context.Canceled {
				t.Error(err)
			}
		}, 1001},
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan error, 1)
			k := &kit{
				opened: func(s *wsctl.Socket, _ *http.Request) error { server = s; return nil },
				closed: func(_ *wsctl.Socket, err error) { told <- err },
			}
			opts := &wsctl.Options{PingTimeout: 50 * time.Millisecond}
			if name == "silence" {
				opts.PingInterval = time.Millisecond
			}
			h, _ := newHandler(t, k, opts)
			c := tcp(t, h)(nil)
			if name != "silence" { // which might come first
				allWatched(t, h, 1)
			} else {
				h.Rouse()
			}
			end.how(t, h, c)
			var ce *wsctl.CloseError
			if err := <-told; !errors.As(err, &ce) || ce.Code != end.code {
				t.Errorf("OnClose was told %v, want %d", err, end.code)
			}
			eventually(t, "no socket", func() bool { return h.Stats().Sockets == 0 })
			shutDown(t, h)
		})
	}
}

// Connections that wake all at once are all served, and are idle again.
func TestIdleHerd(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	h, _ := newHandler(t, &kit{}, nil)
	dial := tcp(t, h)
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(nil)
	}
	for round := range 3 {
		allWatched(t, h, n)
		if round == 0 && strings.Contains(allStacks(), "(*conn).read(") {
			t.Error("an idle connection has a goroutine")
		}
		for _, c := range clients {
			c.send(call(1, "Echo", "1"))
		}
		for _, c := range clients {
			c.want(replied(1, "1"))
		}
	}
	shutDownWith(t, h, clients)
	if strings.Contains(allStacks(), "wsctl.(*watcher).run") {
		t.Error("the watcher runs after Shutdown")
	}
}

// shutDownWith is shutDown while clients answer the close.
func shutDownWith(t *testing.T, h *wsctl.Handler, clients []*client) {
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { c.closed() })
	}
	shutDown(t, h)
	wg.Wait()
}

func allStacks() string {
	b := make([]byte, 64<<20)
	return string(b[:runtime.Stack(b, true)])
}

// TestIdleSoak has connections fall asleep at any moment while clients call, go, break off and come again, so that descriptors
// are used again: every call is answered once, in order.
func TestIdleSoak(t *testing.T) {
	rounds, workers, calls := 25, 8, 40
	if testing.Short() {
		rounds = 3
	}
	var closed atomic.Int64
	k := &kit{closed: func(*wsctl.Socket, error) { closed.Add(1) }}
	k.ctx = func(ctx context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) {
		if bytes.Equal(data, []byte(`"close"`)) {
			_ = s.Close(3000, "")
		}
		return data, nil
	}
	h, _ := newHandler(t, k, &wsctl.Options{Compression: true, PingInterval: 20 * time.Millisecond, PingTimeout: time.Minute})
	dial := tcp(t, h)
	stop := rousing(h)
	var clients sync.WaitGroup
	for w := range workers {
		clients.Go(func() {
			dice := rand.New(rand.NewPCG(7, uint64(w)))
			for range rounds {
				header := http.Header{}
				if dice.IntN(2) == 0 {
					header.Set("Compress", "yes")
				}
				soakIdle(dial(header), dice, calls)
			}
		})
	}
	clients.Wait()
	stop()
	eventually(t, "no socket", func() bool { return h.Stats().Sockets == 0 && closed.Load() == int64(rounds*workers) })
	shutDown(t, h)
}

// rousing has idle connections of h fall asleep all the time, until it is stopped.
func rousing(h *wsctl.Handler) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				h.Rouse()
				runtime.Gosched()
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// soakIdle calls so many times, in bursts, and then goes in one of several ways.
func soakIdle(c *client, dice *rand.Rand, calls int) {
	for id := 1; id <= calls; {
		n := 1 + dice.IntN(4)
		for i := range n {
			method := []string{"Echo", "Ctx"}[dice.IntN(2)]
			c.send(call(id+i, method, strconv.Itoa(id+i)))
			if dice.IntN(5) == 0 {
				c.raw(rawFrame(0x8a, "pong"))
			}
		}
		for range n {
			c.want(replied(id, strconv.Itoa(id)))
			id++
		}
	}
	switch dice.IntN(4) {
	case 0:
		c.raw(closeFrame(1000, ""))
		_, _ = c.gone()
	case 1:
		c.send(msg("Ctx", `"close"`))
		c.wantClosed(3000, "")
	case 2:
		_ = c.ws.NetConn().(*net.TCPConn).SetLinger(0)
	}
	c.ws.Close()
}

// Sessions whose connections are lost and made again, and fall asleep at any moment, lose nothing and get nothing twice.
func TestIdleSessions(t *testing.T) {
	clients, messages := 6, 400
	if testing.Short() {
		messages = 40
	}
	type note struct{ Client, N int }
	var mu sync.Mutex // guards following
	got := make(map[int]int)
	k := &kit{}
	k.ctx = func(_ context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) { return data, nil }
	k.now = func(s *wsctl.Socket, data json.RawMessage) (any, error) {
		var n note
		if err := json.Unmarshal(data, &n); err != nil {
			return nil, err
		}
		mu.Lock()
		if n.N != got[n.Client]+1 {
			t.Errorf("client %d: message %d after %d", n.Client, n.N, got[n.Client])
		}
		got[n.Client] = n.N
		mu.Unlock()
		return nil, errors.Join(s.Send("Note", n), s.Hub().User(s.Identity().User).Send("Shared", n))
	}
	h, _ := newHandler(t, k, &wsctl.Options{
		Authenticate: func(_ context.Context, _ *http.Request, token string) (wsctl.Identity, error) {
			return wsctl.Identity{User: token}, nil
		},
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	stop := rousing(h)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			var conn atomic.Pointer[net.TCPConn]
			d := &websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err == nil {
					conn.Store(nc.(*net.TCPConn))
				}
				return nc, err
			}}
			c := wsclient.New("ws"+strings.TrimPrefix(srv.URL, "http"), &wsclient.Options{
				Dialer: d, MinDelay: time.Millisecond, MaxDelay: time.Millisecond, MaxQueue: messages,
				Token: func(context.Context) (string, error) { return fmt.Sprint("user", i), nil },
				Lost:  func(n int) { t.Errorf("client %d lost its session and %d messages", i, n) },
			})
			defer func() { must(t, c.Close(t.Context())) }()
			all := make(chan struct{})
			last := map[string]int{}
			hear := func(typ string) {
				wsclient.On(c, typ, func(n note) {
					if n.Client != i || n.N != last[typ]+1 {
						t.Errorf("client %d: %s %+v after %d", i, typ, n, last[typ])
					}
					if last[typ] = n.N; last["Note"] == messages && last["Shared"] == messages {
						close(all)
					}
				})
			}
			hear("Note")
			hear("Shared")
			must(t, c.Connect(t.Context()))
			dice := rand.New(rand.NewPCG(11, uint64(i)))
			for n := 1; n <= messages; n++ {
				if err := c.Send("Now", note{i, n}); err != nil {
					t.Error(err)
				}
				switch dice.IntN(12) {
				case 0:
					if nc := conn.Load(); nc != nil {
						if dice.IntN(2) == 0 {
							_ = nc.SetLinger(0)
						}
						_ = nc.Close()
					}
				case 1, 2:
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					if answer, err := wsclient.Call[int](ctx, c, "Ctx", n); answer != n || err != nil {
						t.Errorf("client %d: a call of %d was answered %d, %v", i, n, answer, err)
					}
					cancel()
				}
			}
			select {
			case <-all:
			case <-time.After(patience):
				t.Errorf("client %d has %v of %d", i, last, messages)
			}
		})
	}
	wg.Wait()
	stop()
	shutDown(t, h)
}
