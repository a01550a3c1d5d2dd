package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// Running methods end and are answered, what was read is handled, then each socket is closed.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan bool)
		var ran atomic.Int64
		told := make(chan error, 9)
		k := &kit{closed: func(_ *wsctl.Socket, err error) { told <- err }}
		k.now = func(*wsctl.Socket, json.RawMessage) (any, error) { <-release; ran.Add(1); return nil, nil }
		k.ctx = func(_ context.Context, s *wsctl.Socket, d json.RawMessage) (any, error) { return k.now(s, d) }
		h, _ := newHandler(t, k, nil)
		srv := serve(t, h)
		idle, inline, worker := srv.dial(t, nil), srv.dial(t, nil), srv.dial(t, nil)
		inline.raw(append(append(rawFrame(0x81, call(1, "Now", "")), rawFrame(0x81, call(2, "Echo", "2"))...),
			rawFrame(0x81, call(3, "Ctx", ""))...)) // read at once
		worker.send(call(1, "Ctx", ""), call(2, "Echo", "2"), call(3, "Ctx", ""))
		synctest.Wait()

		done := make(chan error, 1)
		go func() { done <- h.Shutdown(t.Context()) }()
		idle.wantClosed(1001, "shutting down")
		idle.ws.Close()
		for _, c := range []*client{inline, worker} {
			c.quiet()
			c.send(call(9, "Now", "")) // too late
		}
		synctest.Wait()
		if _, resp, err := srv.tryDial(t, nil); err == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a new client: %v", err)
		}
		select {
		case err := <-done:
			t.Fatalf("Shutdown didn't wait: %v", err)
		default:
		}
		close(release)
		for _, c := range []*client{inline, worker} {
			messages, err := c.gone()
			want := []string{replied(1, ""), replied(2, "2"), replied(3, "")}
			if code, _ := closeOf(err); code != 1001 || strings.Join(messages, " ") != strings.Join(want, " ") {
				t.Errorf("got %v, then %v", messages, err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(told) != 3 || ran.Load() != 4 {
			t.Errorf("OnClose was told %d times; %d ran", len(told), ran.Load())
		}
		for range len(told) {
			err := <-told
			if ce, ok := errors.AsType[*wsctl.CloseError](err); !ok || ce.Code != 1001 {
				t.Errorf("told %v", err)
			}
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
		if n := h.Hub().Everyone().Len(); n != 0 {
			t.Errorf("%d members", n)
		}
	})
}

// When the deadline passes, methods are cancelled and connections dropped.
func TestShutdownDeadline(t *testing.T) {
	for _, typ := range []string{"Ctx", "Now"} {
		t.Run(typ, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				forever := make(chan bool)
				var canceledAfter time.Duration
				start := time.Now()
				h, _ := newHandler(t, &kit{
					ctx: func(ctx context.Context, _ *wsctl.Socket, _ json.RawMessage) (any, error) {
						<-ctx.Done()
						canceledAfter = time.Since(start)
						<-forever
						return nil, ctx.Err()
					},
					now: func(s *wsctl.Socket, _ json.RawMessage) (any, error) {
						<-s.Context().Done()
						canceledAfter = time.Since(start)
						<-forever
						return nil, nil
					},
				}, nil)
				srv := serve(t, h)
				busy, idle := srv.dial(t, nil), srv.dial(t, nil)
				busy.send(call(1, typ, ""))
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := h.Shutdown(ctx); err != context.DeadlineExceeded {
					t.Errorf("Shutdown: %v", err)
				}
				synctest.Wait()
				if d := time.Since(start); d != 5*time.Second || canceledAfter != d {
					t.Errorf("after %v, cancelled after %v", d, canceledAfter)
				}
				if messages, err := busy.gone(); err == nil || len(messages) > 0 {
					t.Errorf("got %v, %v", messages, err)
				}
				idle.gone()
				if time.Since(start) != 5*time.Second {
					t.Error("connections weren't dropped at once")
				}
				if n := h.Hub().Everyone().Len(); n != 0 {
					t.Errorf("%d members", n)
				}
				close(forever)
				if err := h.Shutdown(t.Context()); err != nil {
					t.Errorf("Shutdown after all has ended: %v", err)
				}
			})
		})
	}
}

// A client that doesn't read, or doesn't answer the close, keeps Shutdown for PingTimeout at most.
func TestShutdownDeafClient(t *testing.T) {
	for _, full := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			opened := make(chan *wsctl.Socket, 1)
			h, _ := newHandler(t, &kit{opened: socketsOf(opened)}, nil)
			serveOver(t, h, 1<<10, nil).dial(t, nil)
			if s := <-opened; full {
				s.Send("m", strings.Repeat("x", 100<<10))
			}
			start := time.Now()
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if d := time.Since(start); d < 10*time.Second || d > 11*time.Second {
				t.Errorf("after %v", d)
			}
		})
	}
}

func TestShutdownAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{}, nil)
		if err := h.Shutdown(t.Context()); err != nil {
			t.Errorf("without sockets: %v", err)
		}
	})
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{}, nil)
		srv := serve(t, h)
		var wg sync.WaitGroup
		for range 10 {
			c := srv.dial(t, nil)
			wg.Go(func() { c.gone() })
		}
		for range 5 {
			wg.Go(func() {
				if err := h.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if st := h.Stats(); st.Sockets != 0 || st.Closed[1001] != 10 {
					t.Errorf("%+v", st)
				}
			})
		}
		wg.Wait()
	})
}

// A socket that is being opened is waited for, and then closed: it was never told to be shut out.
func TestShutdownWhileOpening(t *testing.T) {
	for _, where := range []string{"Authenticate", "Context", "OnOpen"} {
		for _, late := range []bool{false, true} { // it returns after Shutdown's deadline
			t.Run(where, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					started := make(chan bool, 1)
					wait := func(at string) {
						if at == where {
							started <- true
							time.Sleep(5 * time.Second)
						}
					}
					closed := 0
					h, _ := newHandler(t, &kit{
						opened: func(*wsctl.Socket, *http.Request) error { wait("OnOpen"); return nil },
						closed: func(*wsctl.Socket, error) { closed++ },
					}, &wsctl.Options{
						Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
							wait("Authenticate")
							return wsctl.Identity{}, nil
						},
						Context: func(*http.Request) context.Context { wait("Context"); return context.Background() },
					})
					srv := serve(t, h)
					opened := make(chan bool)
					go func() {
						defer close(opened)
						if c, _, err := srv.tryDial(t, nil); err == nil {
							c.gone()
						}
					}()
					<-started
					timeout, want := time.Minute, error(nil)
					if late {
						timeout, want = time.Second, context.DeadlineExceeded
					}
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					if err := h.Shutdown(ctx); err != want {
						t.Errorf("Shutdown: %v, want %v", err, want)
					}
					<-opened
					synctest.Wait()
					if st := h.Stats(); st.Sockets != 0 || int(st.Opened) != closed || h.Hub().Everyone().Len() != 0 {
						t.Errorf("%+v, OnClose was told %d times", st, closed)
					}
					if err := h.Shutdown(t.Context()); err != nil {
						t.Errorf("in the end: %v", err)
					}
				})
			})
		}
	}
}

// The end of a root context closes its socket, and no other.
func TestRootContext(t *testing.T) {
	type key struct{}
	for _, when := range []string{"before", "in OnOpen", "after"} {
		t.Run(when, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				root, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
				defer cancel()
				opened, ended := make(chan *wsctl.Socket, 2), make(chan error, 2)
				h, _ := newHandler(t, &kit{
					opened: func(s *wsctl.Socket, r *http.Request) error {
						if when == "in OnOpen" && r.Header.Get("X-Root") != "" {
							cancel()
							<-s.Context().Done()
						}
						opened <- s
						return nil
					},
					closed: func(_ *wsctl.Socket, err error) { ended <- err },
				}, &wsctl.Options{Context: func(r *http.Request) context.Context {
					if r.Header.Get("X-Root") == "" {
						return context.Background()
					}
					return root
				}})
				srv := serve(t, h)
				other := srv.dial(t, nil)
				<-opened
				if when == "before" {
					cancel()
				}
				c := srv.dial(t, http.Header{"X-Root": {"1"}})
				s := <-opened
				if got := s.Context().Value(key{}); got != "value" {
					t.Errorf("Context().Value is %v", got)
				}
				cancel()
				c.wantClosed(1001, "")
				if err := <-ended; err != context.Cause(s.Context()) || !strings.Contains(err.Error(), "1001") {
					t.Errorf("ended with %v, %v", err, context.Cause(s.Context()))
				}
				if _, ok := s.Context().Deadline(); ok || !errors.Is(s.Context().Err(), context.Canceled) {
					t.Errorf("Context().Err() is %v", s.Context().Err())
				}
				other.lives()
			})
		})
	}
}
