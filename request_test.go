package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

var askNumber = wsctl.NewRequest[string, int]("Number")

// A method may ask its own client, whether it takes a context or not, and keeps its turn.
func TestCallFromMethod(t *testing.T) {
	for _, method := range []string{"Do", "Wait"} {
		t.Run(method, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := &puppet{}
				p.do = func(s *wsctl.Socket, arg string) (any, error) {
					if arg == "plain" {
						return arg, nil
					}
					a, err := askNumber.Call(t.Context(), s, arg+"1")
					if err != nil {
						return nil, err
					}
					b, err := askNumber.Call(t.Context(), s, arg+"2")
					return a + b, err
				}
				p.wait = func(_ context.Context, s *wsctl.Socket, arg string) (any, error) { return p.do(s, arg) }
				l := v1Lab(t, p, nil)
				c, _ := l.enter(t)
				for i := range 3 { // each time another goroutine reads
					id := 10 * (i + 1)
					c.send(call(id, method, `"x"`), call(id+1, "Do", `"plain"`), call(id+2, "Wait", `"plain"`))
					c.want(fmt.Sprintf(`{"type":"Number","id":%d,"data":"x1"}`, 2*i+1))
					c.quiet()
					c.send(replied(2*i+1, "3"))
					c.want(fmt.Sprintf(`{"type":"Number","id":%d,"data":"x2"}`, 2*i+2))
					c.send(replied(2*i+2, "4"))
					c.want(replied(id, "7"), replied(id+1, `"plain"`), replied(id+2, `"plain"`))
				}
				// A client that calls back before it answers waits for the turn.
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				p.do = func(s *wsctl.Socket, arg string) (any, error) {
					if arg == "plain" {
						return arg, nil
					}
					return nil, s.Call(ctx, "Ask", nil, nil)
				}
				c.send(call(50, method, `"x"`))
				c.want(`{"type":"Ask","id":7}`)
				c.send(call(51, "Do", `"plain"`))
				c.want(call(7, "$cancel", ""), failed(50, "timeout", ""), replied(51, `"plain"`))
				c.cut()
			})
		})
	}
}

// The client's error is the method's to look at, reaches that client, and no other one.
func TestCallError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var first *wsctl.Socket
		p := &puppet{do: func(s *wsctl.Socket, arg string) (any, error) {
			if arg == "other" {
				s = first
			}
			err := s.Call(t.Context(), "Ask", nil, nil)
			var e *wsctl.Error
			if !errors.As(err, &e) || e.Code != "mine" || e.Message != "secret" || string(e.Data.(json.RawMessage)) != `{"a":1}` {
				t.Errorf("%#v", err)
			}
			if arg == "stripped" {
				return nil, e
			}
			return nil, fmt.Errorf("wrapped: %w", err)
		}}
		l := v1Lab(t, p, nil)
		a, _ := l.enter(t)
		first = <-p.sockets
		b, _ := l.enter(t)
		<-p.sockets
		fail := func(id int) string { return call(id, "$error", `{"code":"mine","message":"secret","data":{"a":1}}`) }
		b.send(call(1, "Do", `"other"`))
		a.want(call(1, "Ask", ""))
		a.send(fail(1))
		b.want(failed(1, "internal", ""))
		a.send(call(1, "Do", `"stripped"`))
		a.want(call(2, "Ask", ""))
		a.send(fail(2))
		a.want(fail(1))
	})
}

// What a call comes to when the client doesn't answer, answers wrongly, twice, or is gone.
func TestCallEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		c, w := l.enter(t)
		s := <-l.p.sockets
		result := make(chan error, 1)
		ask := func(ctx context.Context, reply any) { go func() { result <- s.Call(ctx, "Ask", 1, reply) }() }
		want := func(what string, ok func(error) bool) {
			t.Helper()
			if err := <-result; !ok(err) {
				t.Errorf("%s: %v", what, err)
			}
		}
		var n int
		ask(t.Context(), &n)
		c.want(call(1, "Ask", "1"))
		c.send(replied(2, "9"), replied(1, `"no number"`), replied(1, "5"))
		want("an answer that doesn't decode", func(err error) bool { return err != nil && n == 0 })

		ask(t.Context(), nil)
		c.want(call(2, "Ask", "1"))
		c.send(call(2, "$error", `"nonsense"`))
		want("a malformed error", func(err error) bool { e, ok := errors.AsType[*wsctl.Error](err); return ok && e.Code == "internal" })

		ctx, cancel := context.WithCancel(t.Context())
		ask(ctx, nil)
		c.want(call(3, "Ask", "1"))
		cancel()
		want("canceled", func(err error) bool { return err == context.Canceled })
		c.want(call(3, "$cancel", ""))
		c.send(replied(3, "1"))
		if err := s.Call(ctx, "Ask", 1, nil); err != context.Canceled {
			t.Error(err)
		}
		c.quiet()

		// It spans a lost connection, and ends with the session.
		ask(t.Context(), &n)
		c.want(call(4, "Ask", "1"))
		c.cut()
		c, w = l.comeBack(t, w.Session, 4, 2)
		c.want(call(4, "Ask", "1"))
		c.send(replied(4, "7"))
		want("answered later", func(err error) bool { return err == nil && n == 7 })
		ask(t.Context(), nil)
		c.want(call(5, "Ask", "1"))
		c.raw(closeFrame(1000, ""))
		want("closed", func(err error) bool { return err == wsctl.ErrClosed })
		if err := s.Call(t.Context(), "Ask", nil, nil); err != wsctl.ErrClosed {
			t.Error(err)
		}
		if err := s.Call(t.Context(), "$x", nil, nil); err == nil {
			t.Error("a reserved type")
		}
		_ = w
	})
}

// While a method waits for its client, messages wait past the usual bound, but not without end.
func TestCallBound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{do: func(s *wsctl.Socket, _ string) (any, error) { return nil, s.Call(t.Context(), "Ask", nil, nil) }}
		l := v1Lab(t, p, &wsctl.Options{MaxMessage: 20_000, SendBuffer: 200_000})
		c, _ := l.enter(t)
		c.send(msg("Do", `"x"`))
		c.want(call(1, "Ask", ""))
		for range 9 { // 180 KB
			c.send(msg("Do", `"`+big(19_900)+`"`))
		}
		synctest.Wait()
		if st := l.h.Stats(); st.Received != 11 {
			t.Errorf("the server doesn't read: %+v", st)
		}
		go func() {
			for range 5 {
				_ = c.ws.WriteMessage(1, []byte(msg("Do", `"`+big(19_900)+`"`)))
			}
		}()
		c.wantClosed(4429, "")
	})
}

// Requests and events can't have the names of local events of clients, nor bad ones.
func TestDeclarationNames(t *testing.T) {
	for _, name := range []string{"", "$x", "open", "close", "error", "gap", big(129), "\xff"} {
		for what, fn := range map[string]func(){"NewEvent": func() { wsctl.NewEvent[int](name) }, "NewRequest": func() { wsctl.NewRequest[int, int](name) }} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s(%q) doesn't panic", what, name)
					}
				}()
				fn()
			}()
		}
	}
}

// A plain client, and one that is still being opened, can't be asked.
func TestCallRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{}
		p.open = func(s *wsctl.Socket, _ *http.Request) error {
			if err := s.Call(t.Context(), "Ask", nil, nil); err == nil {
				t.Error("it can be asked in OnOpen")
			}
			return nil
		}
		l := v1Lab(t, p, nil)
		l.enter(t)
		l.dial(t, nil)
		<-p.sockets
		s := <-p.sockets
		synctest.Wait()
		if err := s.Call(t.Context(), "Ask", nil, nil); err == nil {
			t.Error("a plain client can be asked")
		} else if _, ok := errors.AsType[*wsctl.Error](err); ok {
			t.Errorf("%v", err)
		}
	})
}
