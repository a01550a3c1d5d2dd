package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// trace is what middlewares of a test saw.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf(format, args...))
}

// take returns what was seen since the last time.
func (tr *trace) take() []string {
	synctest.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	lines := tr.lines
	tr.lines = nil
	return lines
}

// middle makes a middleware of a function that knows the next one.
func middle(fn func(ctx context.Context, s *wsctl.Socket, m wsctl.Message, next wsctl.MessageFunc) (any, error)) func(wsctl.MessageFunc) wsctl.MessageFunc {
	return func(next wsctl.MessageFunc) wsctl.MessageFunc {
		return func(ctx context.Context, s *wsctl.Socket, m wsctl.Message) (any, error) { return fn(ctx, s, m, next) }
	}
}

func (tr *trace) middle(name string) func(wsctl.MessageFunc) wsctl.MessageFunc {
	return middle(func(ctx context.Context, s *wsctl.Socket, m wsctl.Message, next wsctl.MessageFunc) (any, error) {
		tr.add("%s< %s", name, m.Type)
		result, err := next(ctx, s, m)
		tr.add("%s> %v %v", name, result, err)
		return result, err
	})
}

// The first middleware is outermost, and what the method returns passes through all.
func TestMiddlewareOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var tr trace
		l := newLab(t, &puppet{
			do: func(_ *wsctl.Socket, arg string) (any, error) { tr.add("Do %s", arg); return arg + "!", nil },
			wait: func(context.Context, *wsctl.Socket, string) (any, error) {
				return nil, wsctl.Errorf("own", "text")
			},
		}, &wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{tr.middle("a"), tr.middle("b"), tr.middle("c")}})
		p := l.peer(t, nil)
		p.send(`{"type":"Do","id":1,"data":"x"}`)
		p.want(replied(1, `"x!"`))
		equal(t, "a method", tr.take(), []string{"a< Do", "b< Do", "c< Do", "Do x", "c> x! <nil>", "b> x! <nil>", "a> x! <nil>"})
		p.send(`{"type":"Wait"}`)
		equal(t, "an error", tr.take(), []string{"a< Wait", "b< Wait", "c< Wait", "c> <nil> own: text", "b> <nil> own: text", "a> <nil> own: text"})
		p.send(`{"type":"nope","id":2}`)
		const none = `not_found: no method "nope"`
		equal(t, "an unknown type", tr.take(), []string{"a< nope", "b< nope", "c< nope", "c> <nil> " + none, "b> <nil> " + none, "a> <nil> " + none})
		p.want(failed(2, "not_found", `no method "nope"`))
		must(t, p.s.SetController(nil))
		p.send(`{"type":"Do"}`)
		if got := tr.take(); len(got) != 6 {
			t.Errorf("without a controller: %v", got)
		}
	})
}

// Neither the protocol's messages nor those that break it come to a middleware.
func TestMiddlewareDoesntSee(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var tr trace
		l := newLab(t, &puppet{}, &wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{tr.middle("a")}})
		p := l.peer(t, nil)
		p.send(`{"type":"$ping"}`, `{"type":"$cancel","id":4}`, `{"type":"$new","id":5}`, `{"type":"$reply","id":6}`,
			`{"type":""}`, `{"type":"bad","id":7,"data":}`, `x`, `[]`, `{"type":"bad","type":"bad"}`)
		if m := p.read(); !strings.HasPrefix(m, `{"type":"$error","id":7,"data":{"code":"bad_request"`) {
			t.Error(m)
		}
		p.quiet()
		equal(t, "seen", tr.take(), nil)
	})
}

// A middleware gets the message as it came, and may answer itself, change type, data and result, or ask twice.
func TestMiddlewareChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{do: func(_ *wsctl.Socket, arg string) (any, error) { return arg, nil }},
			&wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{
				middle(func(ctx context.Context, s *wsctl.Socket, m wsctl.Message, next wsctl.MessageFunc) (any, error) {
					switch m.Type {
					case "show":
						return fmt.Sprintf("%d %s %t", m.ID, m.Data, m.Data == nil), nil
					case "refuse":
						return nil, wsctl.Errorf(wsctl.CodeForbidden, "no")
					case "close":
						return nil, &wsctl.CloseError{Code: 4001, Reason: "no"}
					case "alias":
						m.Type = "Do"
					case "data":
						m.Type, m.Data = "Do", json.RawMessage(`"other"`)
					case "broken":
						m.Type, m.Data = "Do", json.RawMessage(`{`)
					case "id":
						m.Type, m.ID = "Do", 99
					case "twice":
						m.Type = "Do"
						first, err := next(ctx, s, m)
						second, _ := next(ctx, s, m)
						return []any{first, second}, err
					case "reserved":
						m.Type = "$reply"
					case "empty":
						m.Type = ""
					case "panic":
						panic("middle")
					}
					result, err := next(ctx, s, m)
					if m.Type == "Add" {
						return nil, errors.New("secret")
					}
					return result, err
				}),
			}})
		p := l.peer(t, nil)
		for i, c := range []struct{ typ, data, want string }{
			{"show", `[1, "ü"]`, `"1 [1, \"ü\"] false"`},
			{"show", `null`, `"2 null false"`},
			{"show", ``, `"3  true"`},
			{"alias", `"x"`, `"x"`},
			{"data", `"x"`, `"other"`},
			{"twice", `"x"`, `["x","x"]`},
			{"id", `"x"`, `"x"`}, // answered by the number that the client knows
			{"refuse", ``, `forbidden`},
			{"broken", ``, `bad_request`},
			{"reserved", ``, `not_found`},
			{"empty", ``, `not_found`},
			{"panic", ``, `internal`},
			{"Do", `1`, `bad_request`},
		} {
			data := ""
			if c.data != "" {
				data = `,"data":` + c.data
			}
			p.send(fmt.Sprintf(`{"type":%q,"id":%d%s}`, c.typ, i+1, data))
			got := p.read()
			if strings.HasPrefix(c.want, `"`) || strings.HasPrefix(c.want, "[") {
				if got != replied(i+1, c.want) {
					t.Errorf("%s: got %s, want %s", c.typ, got, c.want)
				}
			} else if !strings.HasPrefix(got, fmt.Sprintf(`{"type":"$error","id":%d,"data":{"code":%q`, i+1, c.want)) {
				t.Errorf("%s: got %s, want %s", c.typ, got, c.want)
			}
		}
		p.send(`{"type":"panic"}`, `{"type":"refuse"}`) // never answered
		p.quiet()
		if n := l.h.Stats().Panics; n != 2 {
			t.Errorf("%d panics", n)
		}
		p.send(`{"type":"close","id":50}`)
		p.wantClosed(4001, "no")
	})
}

// A middleware may wait: the connection is read meanwhile, so $cancel and a close end its context.
func TestMiddlewareWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan error, 1)
		l := newLab(t, &puppet{do: func(_ *wsctl.Socket, arg string) (any, error) { return arg, nil }},
			&wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{
				middle(func(ctx context.Context, s *wsctl.Socket, m wsctl.Message, next wsctl.MessageFunc) (any, error) {
					if m.Type != "wait" {
						return next(ctx, s, m)
					}
					<-ctx.Done()
					ended <- context.Cause(ctx)
					return nil, ctx.Err()
				}),
			}})
		p := l.peer(t, nil)
		p.send(`{"type":"wait","id":1}`, `{"type":"Do","id":2,"data":"x"}`, `{"type":"Do","id":3,"data":"y"}`)
		p.quiet()
		p.send(`{"type":"$cancel","id":3}`, `{"type":"$cancel","id":1}`)
		p.want(failed(1, "canceled", ""), replied(2, `"x"`), failed(3, "canceled", ""))
		if err := <-ended; err != context.Canceled {
			t.Errorf("the cause of $cancel is %v", err)
		}
		p.send(`{"type":"wait"}`)
		synctest.Wait()
		p.nc.Close()
		var ce *wsctl.CloseError
		if err := <-ended; !errors.As(err, &ce) || ce.Code != wsctl.CloseAbnormal {
			t.Errorf("the cause of the end is %v", err)
		}
	})
}

// A middleware sees each method's time, errors and what it waits for: the usual reason to have one.
func TestMiddlewareTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var took []time.Duration
		l := newLab(t, &puppet{wait: func(ctx context.Context, _ *wsctl.Socket, arg string) (any, error) {
			d, _ := time.ParseDuration(arg)
			select {
			case <-time.After(d):
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}, &wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{
			middle(func(ctx context.Context, s *wsctl.Socket, m wsctl.Message, next wsctl.MessageFunc) (any, error) {
				ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				start := time.Now()
				result, err := next(ctx, s, m)
				took = append(took, time.Since(start))
				return result, err
			})}})
		p := l.peer(t, nil)
		p.send(`{"type":"Wait","id":1,"data":"1s"}`, `{"type":"Wait","id":2,"data":"5s"}`)
		p.want(replied(1, ""), failed(2, "timeout", ""))
		equal(t, "durations", took, []time.Duration{time.Second, 3 * time.Second})
	})
}
