package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// OnOpen sees the request, and the socket is already somebody: it sends and joins, and gets what is sent to it.
func TestOnOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var l *lab
		l = newLab(t, &puppet{open: func(s *wsctl.Socket, r *http.Request) error {
			must(t, s.Send("path", r.URL.Path))
			join(t, s, "r")
			must(t, l.hub.Room("r").Send("room", 1))
			must(t, l.hub.User("ann").Send("user", 2))
			must(t, l.hub.Broadcast("all", 3))
			must(t, l.hub.Socket(s.ID()).Send("socket", 4))
			if err := s.Call(t.Context(), "ask", nil, nil); err == nil {
				t.Error("Call in OnOpen is no error")
			}
			return s.Send("user", r.Header.Get("User"))
		}, do: func(*wsctl.Socket, string) (any, error) { return nil, nil }}, &wsctl.Options{Authenticate: userOf})
		p := l.peer(t, asUser("ann"))
		p.want(message("path", "/ws"), message("room", 1), message("user", 2), message("all", 3), message("socket", 4), message("user", "ann"))
		p.send(`{"type":"Do","id":1}`)
		p.want(replied(1, ""))
	})
}

// An error that is a nil pointer of one of our types is the application's mistake, but must leave nothing behind.
var (
	nilError      *wsctl.Error
	nilCloseError *wsctl.CloseError
)

// Whom OnOpen refuses is closed with the code of the error. OnClose isn't told, functions given to Socket.OnClose are.
func TestOnOpenRefuses(t *testing.T) {
	secret := errors.New("secret")
	for _, c := range []struct {
		name   string
		err    error // nil: panics
		code   int
		reason string
		log    string
	}{
		{"CloseError", &wsctl.CloseError{Code: 4321, Reason: "full"}, 4321, "full", ""},
		{"CloseError 1013", &wsctl.CloseError{Code: 1013}, 1013, "", ""},
		{"CloseError of a code that can't be sent", &wsctl.CloseError{Code: 1005, Reason: "x"}, 1011, "x", "1005"},
		{"wrapped CloseError", fmt.Errorf("secret %w", &wsctl.CloseError{Code: 1000}), 1000, "", ""},
		{"unauthenticated", wsctl.Errorf(wsctl.CodeUnauthenticated, "who"), 4401, "who", ""},
		{"forbidden", wsctl.Errorf(wsctl.CodeForbidden, "not you"), 4403, "not you", ""},
		{"too many", wsctl.Errorf(wsctl.CodeTooMany, ""), 4429, "", ""},
		{"wrapped forbidden", fmt.Errorf("secret: %w", wsctl.Errorf(wsctl.CodeForbidden, "x")), 4403, "x", ""},
		{"long text", wsctl.Errorf(wsctl.CodeForbidden, "%s", strings.Repeat("ü", 100)), 4403, strings.Repeat("ü", 61), ""},
		{"another code", wsctl.Errorf(wsctl.CodeNotFound, "secret"), 1011, "", "secret"},
		{"another error", secret, 1011, "", "secret"},
		{"context's", context.DeadlineExceeded, 1011, "", "deadline"},
		{"panic", nil, 1011, "", "secret panic"},
		{"nil *Error", nilError, 1011, "", "a nil *"},
		{"nil *CloseError", nilCloseError, 1011, "", "a nil *"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				functions := make(chan error, 1)
				l := newLab(t, &puppet{open: func(s *wsctl.Socket, _ *http.Request) error {
					join(t, s, "r")
					must(t, s.Send("m", 1))
					s.OnClose(func(err error) { functions <- err })
					if c.err == nil {
						panic("secret panic")
					}
					return c.err
				}, close: func(*wsctl.Socket, error) { t.Error("OnClose was told") }}, &wsctl.Options{MaxConns: 1})
				p := l.peer(t, nil)
				p.want(message("m", 1))
				p.wantClosed(c.code, c.reason)
				err := <-functions
				var ce *wsctl.CloseError
				if !errors.As(err, &ce) || ce.Code != c.code || err != context.Cause(p.s.Context()) {
					t.Errorf("the function was told %v", err)
				}
				p.ws.Close()
				synctest.Wait()
				if c.log != "" && !strings.Contains(l.log.String(), c.log) || c.log == "" && strings.Contains(l.log.String(), "OnOpen failed") {
					t.Errorf("log: %s", l.log)
				}
				st := l.h.Stats()
				if st.Opened != 0 || st.Refused != 1 || st.Sockets != 0 || st.Rooms != 0 || len(st.Closed) != 0 {
					t.Errorf("%+v", st)
				}
				if panics := c.err == nil; panics != (st.Panics == 1) {
					t.Errorf("%d panics", st.Panics)
				}
				if n := l.hub.Everyone().Len(); n != 0 {
					t.Errorf("the hub has %d sockets", n)
				}
				l.p.open = nil
				l.peer(t, nil) // its place is free again
				l.p.close = nil
			})
		})
	}
}

// A socket that OnOpen closes but doesn't refuse was open, for a moment.
func TestCloseInOnOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		told := make(chan error, 1)
		l := newLab(t, &puppet{
			open: func(s *wsctl.Socket, _ *http.Request) error {
				must(t, s.Send("m", 1))
				return s.Close(4001, "bye")
			},
			close: func(_ *wsctl.Socket, err error) { told <- err },
		}, nil)
		p := l.peer(t, nil)
		p.want(message("m", 1))
		p.wantClosed(4001, "bye")
		if err := <-told; err != context.Cause(p.s.Context()) {
			t.Errorf("told %v", err)
		}
		if st := l.h.Stats(); st.Opened != 1 || st.Refused != 0 || st.Closed[4001] != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// OnClose is told when the last method has returned; the hub has forgotten the socket long before.
func TestOnCloseComesLast(t *testing.T) {
	for _, concurrency := range []int{1, 3} {
		bubble(t, func(t *testing.T) {
			events := make(chan string, 10)
			release := make(chan bool)
			l := newLab(t, &puppet{
				close: func(*wsctl.Socket, error) { events <- "OnClose" },
				wait: func(ctx context.Context, s *wsctl.Socket, arg string) (any, error) {
					events <- "begin"
					<-ctx.Done()
					<-release
					if err := s.Send("m", 1); err != wsctl.ErrClosed {
						t.Errorf("Send: %v", err)
					}
					if err := s.Join("q"); err != wsctl.ErrClosed {
						t.Errorf("Join: %v", err)
					}
					equal(t, "Rooms while a method still runs", s.Rooms(), []string{"r"})
					events <- "end"
					return nil, nil
				},
			}, &wsctl.Options{Concurrency: concurrency})
			p := l.peer(t, nil)
			join(t, p.s, "r")
			for range concurrency {
				p.send(`{"type":"Wait"}`)
				if e := <-events; e != "begin" {
					t.Fatal(e)
				}
			}
			p.ws.Close()
			synctest.Wait()
			if n, m := l.hub.Room("r").Len(), l.hub.Everyone().Len(); n != 0 || m != 0 {
				t.Errorf("while a method still runs: %d in the room, %d in the hub", n, m)
			}
			if st := l.h.Stats(); st.Closed[1006] != 1 || st.Sockets != 0 {
				t.Errorf("%+v", st)
			}
			var got []string
			for range concurrency {
				release <- true
				synctest.Wait()
			}
			for range concurrency + 1 {
				got = append(got, <-events)
			}
			want := append(slices.Repeat([]string{"end"}, concurrency), "OnClose")
			equal(t, "order", got, want)
		})
	}
}

// OnOpen asks New's controller. OnClose tells the socket's controller of the time, then New's if it is another, each once.
func TestOnCloseOfBothControllers(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(own *closing) any
		want []string
	}{
		{"another", func(*closing) any { return &closing{name: "second"} }, []string{"second", "first"}},
		{"another of no hook", func(*closing) any { return &game{} }, []string{"first"}},
		{"another of another type", func(*closing) any { return &closing2{closing{name: "second"}} }, []string{"second", "first"}},
		{"itself", func(own *closing) any { return own }, []string{"first"}},
		{"nil", func(*closing) any { return nil }, []string{"first"}},
		{"one that panics", func(*closing) any { return &closing{} }, []string{"", "first"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var got []string
				own := &closing{name: "first", sockets: make(chan *wsctl.Socket, 1)}
				own.told = func(name string, err error) {
					got = append(got, name)
					if ce := (*wsctl.CloseError)(nil); !errors.As(err, &ce) || ce.Code != 4001 {
						t.Errorf("%s was told %v", name, err)
					}
					if name == "" {
						panic("no name")
					}
				}
				h, _ := newHandler(t, own, nil)
				cl := serve(t, h).dial(t, nil)
				s := <-own.sockets
				other := c.set(own)
				switch o := other.(type) {
				case *closing:
					o.told = own.told
				case *closing2:
					o.told = own.told
				}
				must(t, s.SetController(other))
				must(t, s.Close(4001, ""))
				cl.wantClosed(4001, "")
				synctest.Wait()
				equal(t, "told", got, c.want)
			})
		})
	}
}

type closing struct {
	name    string
	sockets chan *wsctl.Socket
	told    func(name string, err error)
}

func (c *closing) OnOpen(s *wsctl.Socket, _ *http.Request) error { c.sockets <- s; return nil }
func (c *closing) OnClose(_ *wsctl.Socket, err error)            { c.told(c.name, err) }

type closing2 struct{ closing }

// catcher has OnUnknown.
type catcher struct {
	catch func(ctx context.Context, s *wsctl.Socket, m wsctl.Message) (any, error)
}

func (c *catcher) Known(*wsctl.Socket) {}
func (c *catcher) OnUnknown(ctx context.Context, s *wsctl.Socket, m wsctl.Message) (any, error) {
	return c.catch(ctx, s, m)
}

func TestOnUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := &catcher{catch: func(ctx context.Context, s *wsctl.Socket, m wsctl.Message) (any, error) {
			switch m.Type {
			case "panic":
				panic("oh")
			case "fail":
				return 1, wsctl.Errorf("own", "text")
			case "secret":
				return nil, errors.New("secret")
			case "close":
				return nil, &wsctl.CloseError{Code: 4001}
			case "wait":
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if err := s.Send("caught", fmt.Sprintf("%s %d %s %t", m.Type, m.ID, m.Data, m.Data == nil)); err != nil || m.ID == 0 {
				return nil, err
			}
			return m.Type, nil
		}}
		h, log := newHandler(t, c, nil)
		p := serve(t, h).dial(t, nil)
		p.send(`{"type":"known","data":[1, 2]}`, `{"type":"ü","id":7}`, `{"type":"OnUnknown","id":8,"data":null}`,
			`{"type":"Known","id":9}`, `{"type":"String","id":10,"data":3}`)
		p.want(message("caught", "known 0 [1, 2] false"), message("caught", "ü 7  true"), replied(7, `"ü"`),
			message("caught", "OnUnknown 8 null false"), replied(8, `"OnUnknown"`), replied(9, ""), message("caught", "String 10 3 false"), replied(10, `"String"`))
		p.send(`{"type":"panic","id":1}`, `{"type":"panic"}`, `{"type":"fail","id":2}`, `{"type":"fail"}`, `{"type":"secret","id":3}`,
			`{"type":"wait","id":4}`, `{"type":"$cancel","id":4}`, `{"type":"$own","id":5}`)
		p.want(failed(1, "internal", ""), failed(2, "own", "text"), failed(3, "internal", ""), failed(4, "canceled", ""))
		p.quiet()
		if n := h.Stats().Panics; n != 2 {
			t.Errorf("%d panics", n)
		}
		if !strings.Contains(log.String(), "secret") {
			t.Error("an error is not logged")
		}
		p.send(`{"type":"close"}`)
		p.wantClosed(4001, "")
	})
}

// Without OnUnknown a message of an unknown type is logged and ignored, a call fails.
func TestNoOnUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{do: func(*wsctl.Socket, string) (any, error) { return 1, nil }}, nil)
		p := l.peer(t, nil)
		p.send(`{"type":"Nope"}`, `{"type":"do","id":1}`, `{"type":"OnOpen","id":2}`, `{"type":"OnClose"}`, `{"type":"Do","id":3}`)
		p.want(failed(1, "not_found", `no method "do"; did you mean "Do"?`))
		if m := p.read(); !strings.HasPrefix(m, `{"type":"$error","id":2,"data":{"code":"not_found"`) {
			t.Error(m)
		}
		p.want(replied(3, "1"))
		p.quiet()
		if !strings.Contains(l.log.String(), "Nope") {
			t.Error("not logged")
		}
	})
}

var nilMap map[int]int

// Panics of methods and hooks are contained, counted and logged with their stacks; nothing of them travels.
func TestPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{
			do: func(*wsctl.Socket, string) (any, error) { panic("secret") },
			wait: func(context.Context, *wsctl.Socket, string) (any, error) {
				nilMap[1] = 1
				return nil, nil
			},
			close: func(*wsctl.Socket, error) { panic(nil) },
		}, nil)
		p := l.peer(t, nil)
		p.send(`{"type":"Do","id":1}`, `{"type":"Do"}`, `{"type":"Wait","id":2}`, `{"type":"Wait"}`, `{"type":"Do","id":3}`)
		p.want(failed(1, "internal", ""), failed(2, "internal", ""), failed(3, "internal", ""))
		p.quiet()
		if n := l.h.Stats().Panics; n != 5 {
			t.Errorf("%d panics", n)
		}
		if log := l.log.String(); strings.Count(log, "secret") < 3 || !strings.Contains(log, "hooks_test.go") {
			t.Errorf("log: %s", log)
		}
		must(t, p.s.Close(1000, ""))
		p.wantClosed(1000, "")
		synctest.Wait()
		if n := l.h.Stats().Panics; n != 6 {
			t.Errorf("%d panics after that of OnClose", n)
		}
	})
}

// A method that takes its time before it panics still answers in its turn.
func TestPanicKeepsOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{
			do:   func(s *wsctl.Socket, arg string) (any, error) { return arg, nil },
			wait: func(context.Context, *wsctl.Socket, string) (any, error) { time.Sleep(time.Second); panic("late") },
		}, nil)
		p := l.peer(t, nil)
		p.send(`{"type":"Wait","id":1}`, `{"type":"Do","id":2,"data":"x"}`)
		p.want(failed(1, "internal", ""), replied(2, `"x"`))
	})
}

// A method that ends its goroutine (as the Fatal of a test does) takes its socket with it, and leaves nothing behind.
func TestGoexit(t *testing.T) {
	for _, method := range []string{"Do", "Wait"} {
		t.Run(method, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				told := make(chan error, 1)
				l := newLab(t, &puppet{
					do:    func(*wsctl.Socket, string) (any, error) { runtime.Goexit(); return nil, nil },
					wait:  func(context.Context, *wsctl.Socket, string) (any, error) { runtime.Goexit(); return nil, nil },
					close: func(_ *wsctl.Socket, err error) { told <- err },
				}, nil)
				p := l.peer(t, nil)
				p.send(`{"type":"` + method + `","id":1}`)
				p.ws.SetReadDeadline(time.Now().Add(time.Second))
				if _, b, err := p.ws.ReadMessage(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the client reads %s, %v", b, err)
				}
				p.nc.Close()
				synctest.Wait()
				if len(told) != 1 || l.hub.Everyone().Len() != 0 {
					t.Errorf("OnClose was told %d times, the hub has %d sockets", len(told), l.hub.Everyone().Len())
				}
				if st := l.h.Stats(); st.Calls != 0 || st.Sockets != 0 {
					t.Errorf("%+v", st)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := l.h.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		})
	}
}
