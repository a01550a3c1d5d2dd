package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// panicky can't be encoded.
type panicky struct{}

func (panicky) MarshalJSON() ([]byte, error) { panic("marshaler") }

// failing can't be encoded, and says so.
type failing struct{}

var errMarshal = errors.New("no JSON today")

func (failing) MarshalJSON() ([]byte, error) { return nil, errMarshal }

// badSends are what neither a socket nor a room sends.
var badSends = []struct {
	name string
	typ  string
	data any
}{
	{"an empty type", "", 1},
	{"a type of the protocol", "$reply", 1},
	{"a type that is only $", "$", 1},
	{"a type of 129 bytes", strings.Repeat("x", 129), 1},
	{"a type that isn't UTF-8", "a\xff", 1},
	{"a func", "m", func() {}},
	{"a channel", "m", make(chan int)},
	{"text that isn't UTF-8", "m", "a\xff"},
	{"a marshaler's error", "m", failing{}},
	{"half a value", "m", []any{1, failing{}}},
}

// badCloses are what neither a socket nor a room closes with.
var badCloses = map[int]string{
	0: "", 999: "", 1001: "", 1005: "", 1006: "", 1011: "", 1015: "", 2999: "", 5000: "", -1: "",
	1000: strings.Repeat("x", 124), 4000: "a\xff", 4001: strings.Repeat("ü", 62),
}

func panicked(fn func()) (p any) {
	defer func() { p = recover() }()
	fn()
	return nil
}

func TestSendErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		p := l.peer(t, nil)
		for _, c := range badSends {
			if err := p.s.Send(c.typ, c.data); err == nil || errors.Is(err, wsctl.ErrClosed) || errors.Is(err, wsctl.ErrSlow) {
				t.Errorf("Send of %s: %v", c.name, err)
			}
		}
		if err := p.s.Send("m", failing{}); !errors.Is(err, errMarshal) {
			t.Errorf("the marshaler's error isn't in %v", err)
		}
		if panicked(func() { p.s.Send("m", panicky{}) }) == nil {
			t.Error("a marshaler's panic doesn't reach the sender")
		}
		p.quiet()
		must(t, p.s.Send(strings.Repeat("x", 128), nil))
		must(t, p.s.Send("a$", (*int)(nil)))
		must(t, p.s.Send("<ü>", "\u2028"))
		p.want(`{"type":"`+strings.Repeat("x", 128)+`"}`, `{"type":"a$","data":null}`, "{\"type\":\"<ü>\",\"data\":\"\u2028\"}")

		must(t, p.s.Close(1000, ""))
		if err := p.s.Send("m", 1); err != wsctl.ErrClosed || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
		if err := p.s.Close(1000, ""); err != wsctl.ErrClosed {
			t.Errorf("Close after Close: %v", err)
		}
		p.wantClosed(1000, "")
	})
}

func TestCloseCodes(t *testing.T) {
	for code, reason := range badCloses {
		bubble(t, func(t *testing.T) {
			l := newLab(t, &puppet{}, nil)
			p := l.peer(t, nil)
			if err := p.s.Close(code, reason); err == nil {
				t.Errorf("Close with %d %q is no error", code, reason)
			}
			must(t, p.s.Send("m", 1)) // it lives on
			p.want(message("m", 1))
		})
	}
	for code, reason := range map[int]string{
		1000: "", 3000: "x", 4000: strings.Repeat("x", 123), 4401: "ü", 4999: "bye", wsctl.CloseSlow: "by the application",
	} {
		bubble(t, func(t *testing.T) {
			l := newLab(t, &puppet{do: func(s *wsctl.Socket, _ string) (any, error) {
				must(t, s.Send("m", 1))
				return nil, s.Close(code, reason)
			}}, nil)
			p := l.peer(t, nil)
			p.send(`{"type":"Do","id":1}`) // isn't answered: the socket has gone
			p.want(message("m", 1))        // sent before Close
			if got, text := p.closed(); got != code || text != reason {
				t.Errorf("closed with %d %q, want %d %q", got, text, code, reason)
			}
		})
	}
}

// However a socket ends, its context is done with the cause, and everybody is told the same.
func TestContextCause(t *testing.T) {
	clientCloses := func(code int, reason string) func(*lab, *peer) {
		return func(_ *lab, p *peer) {
			var payload []byte
			if code != 1005 {
				payload = websocket.FormatCloseMessage(code, reason)
			}
			p.ws.WriteControl(websocket.CloseMessage, payload, time.Now().Add(time.Second))
		}
	}
	fails := func(err error) func(*lab, *peer) {
		return func(l *lab, p *peer) {
			l.p.do = func(*wsctl.Socket, string) (any, error) { return nil, err }
			p.send(`{"type":"Do"}`)
		}
	}
	for _, c := range []struct {
		name   string
		end    func(*lab, *peer)
		code   int
		reason string
		wire   int // what the client sees, if another code
	}{
		{"client closes with 1000", clientCloses(1000, "bye"), 1000, "bye", 0},
		{"client closes with 1001", clientCloses(1001, ""), 1001, "", 0},
		{"client closes with 4321", clientCloses(4321, "own"), 4321, "own", 0},
		{"client closes without a status", clientCloses(1005, ""), 1005, "", 0},
		{"lost", func(_ *lab, p *peer) { p.nc.Close() }, 1006, "", -1},
		{"half closed", func(_ *lab, p *peer) { p.nc.CloseWrite() }, 1006, "", 1006},
		{"Socket.Close", func(_ *lab, p *peer) { p.s.Close(4001, "app") }, 4001, "app", 0},
		{"Room.Close", func(l *lab, _ *peer) { l.hub.Everyone().Close(1000, "all") }, 1000, "all", 0},
		{"CloseError", fails(&wsctl.CloseError{Code: 4002, Reason: "no"}), 4002, "no", 0},
		{"wrapped CloseError", fails(fmt.Errorf("x: %w", &wsctl.CloseError{Code: 1008})), 1008, "", 0},
		{"CloseError 1006", fails(&wsctl.CloseError{Code: 1006, Reason: "lie"}), 1011, "lie", 0},
		{"CloseError 0", fails(&wsctl.CloseError{}), 1011, "", 0},
		{"CloseError 1012", fails(&wsctl.CloseError{Code: 1012}), 1012, "", 0},
		{"CloseError 1013", fails(&wsctl.CloseError{Code: 1013}), 1013, "", 0},
		{"CloseError 1001", fails(&wsctl.CloseError{Code: 1001}), 1001, "", 0},
		{"CloseError with a long reason", fails(&wsctl.CloseError{Code: 4003, Reason: strings.Repeat("ü", 62)}), 4003, strings.Repeat("ü", 61), 0},
		{"Shutdown", func(l *lab, _ *peer) { go l.h.Shutdown(context.Background()) }, 1001, "shutting down", 0},
		{"binary message", func(_ *lab, p *peer) { p.ws.WriteMessage(websocket.BinaryMessage, nil) }, 1003, "binary messages are not understood", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				told := make(chan error, 3)
				l := newLab(t, &puppet{close: func(s *wsctl.Socket, err error) {
					told <- err
					if err := s.Send("m", 1); err != wsctl.ErrClosed {
						t.Errorf("Send in OnClose: %v", err)
					}
				}}, nil)
				p := l.peer(t, nil)
				ctx := p.s.Context()
				p.s.OnClose(func(err error) { told <- err })
				if ctx.Err() != nil || context.Cause(ctx) != nil || ctx != p.s.Context() {
					t.Error("the context of an open socket")
				}
				c.end(l, p)
				<-ctx.Done()
				cause := context.Cause(ctx)
				var ce *wsctl.CloseError
				if !errors.As(cause, &ce) || ce.Code != c.code || ce.Reason != c.reason {
					t.Errorf("cause: %#v, want %d %q", cause, c.code, c.reason)
				}
				told <- context.Cause(p.s.Context())
				for range 3 {
					if err := <-told; err != cause {
						t.Errorf("somebody was told %#v, the cause is %#v", err, cause)
					}
				}
				switch c.wire {
				case 0:
					p.wantClosed(c.code, c.reason)
				case 1006:
					if _, _, err := p.ws.ReadMessage(); !websocket.IsCloseError(err, 1006) {
						t.Errorf("the client reads %v", err)
					}
				}
			})
		})
	}
}

// Whoever learns from the context that the socket has ended can't send to it any more, at no moment.
func TestSendAfterContext(t *testing.T) {
	for name, end := range map[string]func(*lab, *peer){
		"lost":         func(_ *lab, p *peer) { p.nc.Close() },
		"half closed":  func(_ *lab, p *peer) { p.nc.CloseWrite() },
		"client":       func(_ *lab, p *peer) { p.ws.WriteMessage(websocket.CloseMessage, nil) },
		"Socket.Close": func(_ *lab, p *peer) { p.s.Close(1000, "") },
		"Room.Close":   func(l *lab, _ *peer) { l.hub.Everyone().Close(1000, "") },
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 { // the moment is short
				bubble(t, func(t *testing.T) {
					l := newLab(t, &puppet{wait: func(ctx context.Context, s *wsctl.Socket, _ string) (any, error) {
						<-ctx.Done()
						if err := s.Send("m", 1); err != wsctl.ErrClosed {
							t.Errorf("Send: %v", err)
						}
						if err := s.Join("r"); err != wsctl.ErrClosed {
							t.Errorf("Join: %v", err)
						}
						if n := s.Hub().Everyone().Len(); n != 0 {
							t.Errorf("%d in the hub", n)
						}
						return nil, nil
					}}, nil)
					p := l.peer(t, nil)
					p.send(`{"type":"Wait","id":1}`)
					synctest.Wait()
					end(l, p)
					synctest.Wait()
					if n := l.h.Stats().Sent; n != 0 {
						t.Errorf("%d messages sent", n)
					}
				})
				if t.Failed() {
					return
				}
			}
		})
	}
}

// The context of a socket that nobody asked for before the end is done all the same.
func TestContextAfterEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		p := l.peer(t, nil)
		must(t, p.s.Close(4001, "x"))
		var ce *wsctl.CloseError
		if ctx := p.s.Context(); ctx.Err() != context.Canceled || !errors.As(context.Cause(ctx), &ce) || ce.Code != 4001 {
			t.Errorf("%v, cause %v", ctx.Err(), context.Cause(ctx))
		}
	})
}

// Functions given to OnClose run after Closer, the last first; when the socket has ended, at once.
func TestOnCloseFunctions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got []string
		note := func(s string) func(error) { return func(error) { got = append(got, s) } }
		l := newLab(t, &puppet{close: func(s *wsctl.Socket, _ error) {
			got = append(got, "Closer")
			s.OnClose(note("at once in Closer"))
		}}, nil)
		p := l.peer(t, nil)
		p.s.OnClose(note("first"))
		p.s.OnClose(func(error) { panic("contained") })
		p.s.OnClose(func(error) { p.s.OnClose(note("at once")); note("second")(nil) })
		p.s.OnClose(note("third"))
		must(t, p.s.Close(1000, ""))
		p.wantClosed(1000, "")
		synctest.Wait()
		equal(t, "order", got, []string{"Closer", "at once in Closer", "third", "at once", "second", "first"})
		p.s.OnClose(func(err error) {
			got = nil
			if err != context.Cause(p.s.Context()) {
				t.Errorf("told %v", err)
			}
		})
		if got != nil {
			t.Error("not at once")
		}
		if n := l.h.Stats().Panics; n != 1 || !strings.Contains(l.log.String(), "contained") {
			t.Errorf("%d panics, log %s", n, l.log)
		}
	})
}

// lobby and game are controllers that a socket can be given.
type lobby struct {
	t     *testing.T
	entry chan string
}

func (l *lobby) Enter(s *wsctl.Socket, name string) (string, error) {
	must(l.t, s.SetController(&game{name: name}))
	return "welcome", s.Send("Entered", name)
}

func (l *lobby) Slow(ctx context.Context, s *wsctl.Socket) (string, error) {
	l.entry <- "Slow"
	<-l.entry
	must(l.t, s.SetController(&game{name: "slow"}))
	return "lobby", nil
}

func (l *lobby) Where(*wsctl.Socket) string { return "lobby" }

type game struct{ name string }

func (g *game) Where(*wsctl.Socket) string  { return "game " + g.name }
func (g *game) Leave(s *wsctl.Socket) error { return s.SetController(nil) }

func TestSetController(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &lobby{t: t, entry: make(chan string)}
		h, log := newHandler(t, l, nil)
		srv := serve(t, h)
		c, other := srv.dial(t, nil), srv.dial(t, nil)
		c.send(`{"type":"Where","id":1}`, `{"type":"Enter","id":2,"data":"one"}`, `{"type":"Where","id":3}`)
		c.want(replied(1, `"lobby"`), message("Entered", "one"), replied(2, `"welcome"`), replied(3, `"game one"`))
		c.send(`{"type":"Enter","id":4}`)
		if got := c.read(); !strings.Contains(got, "not_found") {
			t.Errorf("a method of the controller before: %s", got)
		}
		c.send(`{"type":"Leave","id":5}`, `{"type":"Where","id":6}`, `{"type":"Where"}`, `{"type":"Leave","id":7}`)
		c.want(replied(5, ""), failed(6, "not_found", `no method "Where"`), failed(7, "not_found", `no method "Leave"`))
		c.quiet()
		if !strings.Contains(log.String(), "Where") {
			t.Error("a message that was ignored isn't logged")
		}

		// Messages that wait go to the controller that is there when their turn comes.
		other.send(`{"type":"Slow","id":1}`, `{"type":"Where","id":2}`, `{"type":"Where","id":3}`)
		<-l.entry
		synctest.Wait()
		l.entry <- ""
		other.want(replied(1, `"lobby"`), replied(2, `"game slow"`), replied(3, `"game slow"`))
	})
}

// What SetController doesn't take is what New doesn't take, in the same words.
func TestSetControllerErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		errs := make(chan error, 100)
		bad := []any{7, "x", (*game)(nil), new(int), struct{}{}, &struct{ X int }{}, game{}, badForms{}}
		l := newLab(t, &puppet{open: func(s *wsctl.Socket, _ *http.Request) error {
			for _, c := range bad {
				errs <- s.SetController(c)
			}
			return nil
		}, do: func(*wsctl.Socket, string) (any, error) { return "still here", nil }}, nil)
		p := l.peer(t, nil)
		for _, c := range bad {
			err := <-errs
			text := fmt.Sprint(panicked(func() { wsctl.New(c, nil) }))
			if err == nil {
				t.Errorf("SetController(%T) is no error", c)
			} else if core := strings.TrimPrefix(err.Error(), "wsctl: "); !strings.Contains(text, core) {
				t.Errorf("SetController(%T): %v\nNew: %s", c, err, text)
			}
		}
		p.send(`{"type":"Do","id":1}`) // after an error the controller is the one from before
		p.want(replied(1, `"still here"`))
	})
}

type badForms struct{}

func (badForms) Two(*wsctl.Socket, int, int) {}
func (badForms) OnClose(*wsctl.Socket)       {}

// A controller set in OnOpen gets the first message.
func TestSetControllerInOnOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{open: func(s *wsctl.Socket, _ *http.Request) error { return s.SetController(&game{"first"}) }}, nil)
		p := l.peer(t, nil)
		p.send(`{"type":"Where","id":1}`)
		p.want(replied(1, `"game first"`))
	})
}

// A plain client can't be called, and nobody may take that for the client's own error.
func TestCallPlain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newLab(t, &puppet{}, nil).peer(t, nil)
		start := time.Now()
		for _, typ := range []string{"ask", "", "$ask"} {
			err := p.s.Call(t.Context(), typ, 1, nil)
			var e *wsctl.Error
			if err == nil || errors.As(err, &e) || errors.Is(err, wsctl.ErrClosed) {
				t.Errorf("Call %q: %v", typ, err)
			}
		}
		if time.Since(start) > 0 {
			t.Error("it took time")
		}
		p.quiet()
	})
}

func TestIDs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		seen := map[string]bool{}
		for _, p := range newLab(t, &puppet{}, nil).peers(t, 50) {
			if id := p.s.ID(); seen[id] || len(id) < 16 || id != p.s.ID() {
				t.Errorf("ID %q", id)
			} else {
				seen[id] = true
			}
		}
	})
}

// Values of Options.Context are the socket's; the end of that context is the socket's with 1001.
func TestOptionsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type key struct{}
		root, cancel := context.WithCancel(t.Context())
		got := make(chan any, 1)
		l := newLab(t, &puppet{wait: func(ctx context.Context, _ *wsctl.Socket, _ string) (any, error) {
			got <- ctx.Value(key{})
			return nil, nil
		}}, &wsctl.Options{Context: func(r *http.Request) context.Context {
			return context.WithValue(root, key{}, r.Header.Get("User"))
		}})
		p := l.peer(t, asUser("ann"))
		if v := p.s.Context().Value(key{}); v != "ann" {
			t.Errorf("Socket.Context has %v", v)
		}
		p.send(`{"type":"Wait"}`)
		if v := <-got; v != "ann" {
			t.Errorf("a method's context has %v", v)
		}
		if p.s.Context().Err() != nil {
			t.Error("the context ended when ServeHTTP returned")
		}
		cancel()
		p.wantClosed(1001, "")
		if _, _, err := l.tryDial(t, nil); err != nil { // refused or closed: it must not hang
			t.Logf("dial with an ended root: %v", err)
		}
	})
}
