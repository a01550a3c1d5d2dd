package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// desk is the controller of the tests against wsctl's own server.
type desk struct {
	mu  sync.Mutex // guards following
	got []int
}

func (d *desk) Note(_ *wsctl.Socket, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, n)
}

func (d *desk) notes() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

func (d *desk) Add(_ *wsctl.Socket, n [2]int) (int, error) {
	if n[0] < 0 {
		return 0, wsctl.Errorf("negative", "%d is below 0", n[0])
	}
	return n[0] + n[1], nil
}

func (d *desk) Echo(s *wsctl.Socket, n int) error { return s.Send("Echoed", n) }

func (d *desk) Count(_ *wsctl.Socket, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if n == 7 {
			yield(0, wsctl.Errorf("seven", "not seven"))
		}
	}
}

func (d *desk) Sum(_ *wsctl.Socket, start int, in iter.Seq2[int, error]) (int, error) {
	for n, err := range in {
		if err != nil {
			return 0, err
		}
		start += n
	}
	return start, nil
}

func (d *desk) Double(_ *wsctl.Socket, _ int, in iter.Seq2[int, error]) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for n, err := range in {
			if err != nil || !yield(2*n, nil) {
				return
			}
		}
	}
}

func (d *desk) Ask(ctx context.Context, s *wsctl.Socket, n int) (int, error) {
	var a int
	err := s.Call(ctx, "half", n, &a)
	return a, err
}

func (d *desk) Hang(ctx context.Context, _ *wsctl.Socket) error {
	<-ctx.Done()
	return ctx.Err()
}

// world is wsctl's own server, and a network whose connections can be cut.
type world struct {
	h   *wsctl.Handler
	l   *mempipe.Listener
	mu  sync.Mutex // guards following
	net []net.Conn
	off bool
}

func realServer(t *testing.T, d *desk, o *wsctl.Options) *world { return serveReal(t, d, o) }

func serveReal(t *testing.T, controller any, o *wsctl.Options) *world {
	if o == nil {
		o = &wsctl.Options{}
	}
	o.Logger = slog.New(slog.DiscardHandler)
	w := &world{h: wsctl.New(controller, o), l: mempipe.Listen()}
	hs := &http.Server{Handler: w.h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.Serve(w.l)
	}()
	t.Cleanup(func() {
		_ = hs.Close()
		_ = w.h.Shutdown(context.Background())
		<-done
	})
	return w
}

func (w *world) options(o client.Options) *client.Options {
	o.Dialer = &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		w.mu.Lock()
		off := w.off
		w.mu.Unlock()
		if off {
			return nil, errors.New("no network")
		}
		conn, err := w.l.DialContext(ctx)
		if err == nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.net = append(w.net, conn)
		}
		return conn, err
	}}
	o.Logger = slog.New(slog.DiscardHandler)
	return &o
}

// cut loses all connections.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.net {
		_ = c.Close()
	}
	w.net = nil
}

func (w *world) network(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = !on
}

func (w *world) dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), "http://server/", w.options(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Abort)
	return c
}

func numbers(n int, end error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if end != nil {
			yield(0, end)
		}
	}
}

// collect is what a stream yields, and its bad end.
func collect[T any](s iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range s {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func code(err error) string {
	var e *wsctl.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("no *wsctl.Error: %v", err)
	}
	return e.Code
}

func TestRealServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := realServer(t, d, nil)
		c := w.dial(t, client.Options{})
		ctx := t.Context()
		if n, err := client.Call[int](ctx, c, "Add", [2]int{1, 2}); n != 3 || err != nil {
			t.Errorf("Add: %d, %v", n, err)
		}
		if _, err := client.Call[int](ctx, c, "Add", [2]int{-1, 2}); code(err) != "negative" {
			t.Errorf("Add: %v", err)
		}
		if _, err := client.Call[int](ctx, c, "Nothing", nil); code(err) != wsctl.CodeNotFound {
			t.Errorf("Nothing: %v", err)
		}
		for _, n := range []int{0, 1, 1000} {
			got, err := collect(client.Stream[int](ctx, c, "Count", n))
			if len(got) != n || err != nil || n > 0 && got[n-1] != n-1 {
				t.Errorf("Count %d: %d items, %v", n, len(got), err)
			}
			sum, err := client.Upload[int](ctx, c, "Sum", 1, numbers(n, nil))
			if sum != 1+n*(n-1)/2 || err != nil {
				t.Errorf("Sum of %d: %d, %v", n, sum, err)
			}
			got, err = collect(client.Exchange[int](ctx, c, "Double", 0, numbers(n, nil)))
			if len(got) != n || err != nil || n > 0 && got[n-1] != 2*(n-1) {
				t.Errorf("Double %d: %d items, %v", n, len(got), err)
			}
		}
		if got, err := collect(client.Stream[int](ctx, c, "Count", 7)); len(got) != 7 || code(err) != "seven" {
			t.Errorf("Count 7: %v, %v", got, err)
		}
		broken := errors.New("broken")
		if _, err := client.Upload[int](ctx, c, "Sum", 1, numbers(3, broken)); err != broken {
			t.Errorf("a broken upload: %v", err)
		}
		for v := range client.Stream[int](ctx, c, "Count", 1_000_000) {
			if v == 5 {
				break
			}
		}
		client.Handle(c, "half", func(_ context.Context, n int) (int, error) { return n / 2, nil })
		if n, err := client.Call[int](ctx, c, "Ask", 8); n != 4 || err != nil {
			t.Errorf("Ask: %d, %v", n, err)
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		if n := w.h.Stats().Sockets; n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	})
}

// Whatever is cut in between, the server gets each message once and in order, and so does the client.
func TestRealCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := realServer(t, d, nil)
		c := w.dial(t, client.Options{MaxDelay: time.Second, Lost: func(n int) { t.Errorf("%d messages are lost", n) }})
		var got []int
		client.On(c, "Echoed", func(n int) { got = append(got, n) })
		const rounds, each = 50, 20
		var want []int
		for r := range rounds {
			for i := range each {
				n := r*each + i
				want = append(want, n)
				if err := errors.Join(c.Send("Note", n), c.Send("Echo", n)); err != nil {
					t.Fatal(err)
				}
			}
			if r%3 == 0 {
				synctest.Wait()
			}
			w.cut()
			sum, err := client.Call[int](t.Context(), c, "Add", [2]int{r, 1})
			if sum != r+1 || err != nil {
				t.Fatalf("round %d: Add: %d, %v", r, sum, err)
			}
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := d.notes(); !slices.Equal(n, want) {
			t.Errorf("the server has %d notes of %d: %v", len(n), len(want), n)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the client has %d echoes of %d: %v", len(got), len(want), got)
		}
	})
}

// Streams go on after a cut, both ways.
func TestRealStreamCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := realServer(t, &desk{}, nil)
		c := w.dial(t, client.Options{MaxDelay: 100 * time.Millisecond})
		next := 0
		for v, err := range client.Stream[int](t.Context(), c, "Count", 500) {
			if err != nil || v != next {
				t.Fatalf("got %d, %v, want %d", v, err, next)
			}
			if next++; next%50 == 0 {
				w.cut()
			}
		}
		if next != 500 {
			t.Errorf("%d items", next)
		}
		items := func(yield func(int, error) bool) {
			for i := range 200 {
				if i%50 == 49 {
					w.cut()
				}
				if !yield(i, nil) {
					return
				}
			}
		}
		if n, err := client.Upload[int](t.Context(), c, "Sum", 0, items); n != 199*100 || err != nil {
			t.Errorf("Sum: %d, %v", n, err)
		}
	})
}

// A session that the server has given up: calls fail, written messages are told, and the rest goes on.
func TestRealSessionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := realServer(t, d, &wsctl.Options{Resume: time.Second})
		var states []string
		lost := 0
		c := w.dial(t, client.Options{Lost: func(n int) { lost += n }, State: func(s client.State, err error) { states = append(states, s.String()) }})
		hung := make(chan error)
		go func() { hung <- c.Call(context.Background(), "Hang", nil, nil) }()
		synctest.Wait()
		w.network(false)
		if err := c.Send("Note", 1); err != nil { // may arrive or not
			t.Fatal(err)
		}
		synctest.Wait()
		w.cut()
		synctest.Wait()
		if err := c.Send("Note", 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.network(true)
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.Info().Resumed {
			t.Error("resumed")
		}
		if err := <-hung; code(err) != wsctl.CodeUnavailable {
			t.Errorf("Hang: %v", err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := d.notes(); !slices.Equal(got, []int{1, 2}) || lost != 1 {
			t.Errorf("the server has %v, %d are told to be lost", got, lost)
		}
		if n := len(states); states[n-1] != "Closed" || states[n-2] != "Open" {
			t.Errorf("states %q", states)
		}
	})
}

func TestRealPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := realServer(t, d, nil)
		c := w.dial(t, client.Options{Plain: true})
		var got []int
		client.On(c, "Echoed", func(n int) { got = append(got, n) })
		if err := c.Send("Echo", 1); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Call[int](t.Context(), c, "Add", [2]int{1, 2}); n != 3 || err != nil {
			t.Errorf("Add: %d, %v", n, err)
		}
		if _, err := collect(client.Stream[int](t.Context(), c, "Count", 3)); code(err) != wsctl.CodeBadRequest {
			t.Errorf("Count: %v", err)
		}
		hung := make(chan error)
		go func() { hung <- c.Call(context.Background(), "Hang", nil, nil) }()
		synctest.Wait()
		w.cut()
		if err := <-hung; code(err) != wsctl.CodeUnavailable {
			t.Errorf("Hang: %v", err)
		}
		if err := c.Send("Note", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute) // the server's pings are answered
		if s := c.State(); s != client.Open {
			t.Errorf("%v", s)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if !slices.Equal(got, []int{1}) || !slices.Equal(d.notes(), []int{1}) {
			t.Errorf("got %v, %v", got, d.notes())
		}
	})
}

// A credential that ends is renewed on the open connection; without a fresh one the client is closed for good.
func TestRealAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := 0
		w := realServer(t, &desk{}, &wsctl.Options{Authenticate: func(_ context.Context, _ *http.Request, token string) (wsctl.Identity, error) {
			if token == "bad" {
				return wsctl.Identity{}, wsctl.Errorf(wsctl.CodeUnauthenticated, "bad token")
			}
			return wsctl.Identity{User: "u", Expires: time.Now().Add(time.Minute)}, nil
		}})
		dials := 0
		c := w.dial(t, client.Options{
			Token: func(context.Context) (string, error) {
				if tokens++; tokens > 5 {
					return "bad", nil
				}
				return "good", nil
			},
			State: func(s client.State, err error) {
				if s == client.Connecting {
					dials++
				}
			},
		})
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if tokens < 4 || dials != 1 || c.State() != client.Open {
			t.Errorf("%d tokens, %d dials, %v", tokens, dials, c.State())
		}
		time.Sleep(5 * time.Minute)
		var ce *wsctl.CloseError
		if err := c.Connect(t.Context()); !errors.As(err, &ce) || ce.Code != wsctl.CloseUnauthenticated || !errors.Is(err, client.ErrClosed) {
			t.Errorf("Connect: %v", err)
		}
	})
}

// Over loopback with TLS, and through a proxy that knows CONNECT alone.
func TestTLSAndProxy(t *testing.T) {
	h := wsctl.New(&desk{}, &wsctl.Options{Logger: slog.New(slog.DiscardHandler)})
	defer h.Shutdown(context.Background())
	secure := httptest.NewTLSServer(h)
	defer secure.Close()
	proxy := newProxy(t)
	pool := secure.Client().Transport.(*http.Transport).TLSClientConfig
	for name, d := range map[string]*websocket.Dialer{
		"direct": {TLSClientConfig: pool},
		"proxy":  {TLSClientConfig: pool, Proxy: http.ProxyURL(proxy.url)},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c, err := client.Dial(ctx, secure.URL, &client.Options{Dialer: d})
			if err != nil {
				t.Fatal(err)
			}
			if n, err := client.Call[int](ctx, c, "Add", [2]int{1, 2}); n != 3 || err != nil {
				t.Errorf("Add: %d, %v", n, err)
			}
			if err := c.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	if n := proxy.tunnels.Load(); n != 1 {
		t.Errorf("%d tunnels", n)
	}
}
