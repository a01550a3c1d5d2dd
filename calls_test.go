package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/wsctl/wsctl"
)

type panicsAsJSON struct{}

func (panicsAsJSON) MarshalJSON() ([]byte, error) { panic("secret of a marshaler") }

type failsAsJSON struct{}

func (failsAsJSON) MarshalJSON() ([]byte, error) { return nil, errors.New("secret of a marshaler") }

// brokenError is an error with the usual bug: a nil pointer to it is no nil error, and asking it panics.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// ends are what a method returns, and what its caller gets.
var ends = []struct {
	name   string
	method func() (any, error)
	want   string // of the call 1
	log    string // what the log has then; empty: nothing
	panics uint64
}{
	{"nothing", func() (any, error) { return nil, nil }, replied(1, ""), "", 0},
	{"a result", func() (any, error) { return map[string]int{"n": 1}, nil }, replied(1, `{"n":1}`), "", 0},
	{"a nil slice", func() (any, error) { return []int(nil), nil }, replied(1, `[]`), "", 0},
	{"a typed nil", func() (any, error) { return (*int)(nil), nil }, replied(1, `null`), "", 0},
	{"an Error", func() (any, error) { return "dropped", wsctl.Errorf("late", "by %d s", 3) }, failed(1, "late", "by 3 s"), "", 0},
	{"an Error with data", func() (any, error) { return nil, &wsctl.Error{Code: "late", Data: []int{3}} },
		call(1, "$error", `{"code":"late","message":"","data":[3]}`), "", 0},
	{"an Error without a code", func() (any, error) { return nil, &wsctl.Error{Message: "hm"} }, failed(1, "internal", "hm"), "", 0},
	{"a wrapped Error", func() (any, error) { return nil, fmt.Errorf("secret: %w", wsctl.Errorf("late", "seen")) },
		failed(1, "late", "seen"), "", 0},
	{"a joined Error", func() (any, error) { return nil, errors.Join(errors.New("secret"), wsctl.Errorf("late", "seen")) },
		failed(1, "late", "seen"), "", 0},
	{"another error", func() (any, error) { return nil, errors.New("secret of a method") }, failed(1, "internal", ""), "secret of a method", 0},
	{"canceled", func() (any, error) { return nil, fmt.Errorf("secret: %w", context.Canceled) }, failed(1, "canceled", ""), "", 0},
	{"timeout", func() (any, error) { return nil, fmt.Errorf("secret: %w", context.DeadlineExceeded) }, failed(1, "timeout", ""), "", 0},
	{"panic", func() (any, error) { panic("secret of a panic") }, failed(1, "internal", ""), "secret of a panic", 1},
	{"panic with an Error", func() (any, error) { panic(wsctl.Errorf("late", "secret of a panic")) }, failed(1, "internal", ""), "calls_test.go", 1},
	{"a runtime error", func() (any, error) { return []int{}[len("x")], nil }, failed(1, "internal", ""), "index out of range", 1},
	{"a result that isn't JSON", func() (any, error) { return make(chan int), nil }, failed(1, "internal", ""), "chan", 0},
	{"a result that fails", func() (any, error) { return failsAsJSON{}, nil }, failed(1, "internal", ""), "secret of a marshaler", 0},
	{"a result that panics", func() (any, error) { return []any{1, panicsAsJSON{}}, nil }, failed(1, "internal", ""), "secret of a marshaler", 1},
	{"an Error's data that isn't JSON", func() (any, error) { return nil, &wsctl.Error{Code: "late", Message: "seen", Data: func() {}} },
		failed(1, "internal", ""), "func", 0},
	{"an Error's data that panics", func() (any, error) { return nil, &wsctl.Error{Code: "late", Data: panicsAsJSON{}} },
		failed(1, "internal", ""), "secret of a marshaler", 1},
}

func TestEnds(t *testing.T) {
	for _, e := range ends {
		for _, typ := range []string{"Now", "Ctx"} {
			t.Run(e.name+"/"+typ, func(t *testing.T) {
				bubble(t, func(t *testing.T) { testEnd(t, typ, e.method, e.want, e.log, e.panics) })
			})
		}
	}
}

func testEnd(t *testing.T, typ string, method func() (any, error), want, wantLog string, panics uint64) {
	h, log := newHandler(t, &kit{
		now: func(*wsctl.Socket, json.RawMessage) (any, error) { return method() },
		ctx: func(context.Context, *wsctl.Socket, json.RawMessage) (any, error) { return method() },
	}, nil)
	c := serve(t, h).dial(t, nil)
	c.send(call(1, typ, ""))
	c.want(want)
	c.quiet()
	got := log.String()
	if !strings.Contains(got, wantLog) || wantLog == "" && strings.Contains(got, "level=ERROR") && !strings.Contains(got, "context") {
		t.Errorf("logged %q, want %q", got, wantLog)
	}
	if hasStack := strings.Contains(got, "goroutine "); hasStack != (panics > 0) {
		t.Errorf("a stack in the log: %v, after %d panics", hasStack, panics)
	}
	if n := h.Stats().Panics; n != panics {
		t.Errorf("%d panics counted, want %d", n, panics)
	}
	c.send(msg(typ, "")) // not a call: never answered, whatever it comes to
	c.quiet()
	c.send(call(1, typ, "")) // the id is free again
	c.want(want)
	c.lives()
	if n := h.Stats().Calls; n != 0 {
		t.Errorf("%d calls in flight", n)
	}
}

// A nil pointer in an error, the oldest trap of Go, mustn't end the process when it is asked what it wraps.
func TestNilErrors(t *testing.T) {
	errs := map[string]error{
		"own":        (*brokenError)(nil),
		"wrapped":    fmt.Errorf("wrapped: %w", error(&brokenError{(*brokenError)(nil)})),
		"Error":      (*wsctl.Error)(nil),
		"CloseError": (*wsctl.CloseError)(nil),
	}
	for name, err := range errs {
		for _, typ := range []string{"Now", "Ctx"} {
			t.Run(name+"/"+typ, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					k := &kit{now: func(*wsctl.Socket, json.RawMessage) (any, error) { return nil, err }}
					k.ctx = func(_ context.Context, s *wsctl.Socket, d json.RawMessage) (any, error) { return k.now(s, d) }
					h, _ := newHandler(t, k, nil)
					c := serve(t, h).dial(t, nil)
					c.send(msg(typ, ""), call(1, typ, ""))
					c.want(failed(1, "internal", ""))
					c.lives()
				})
			})
		}
	}
}

// A returned CloseError closes, and is no answer.
func TestReturnedCloseError(t *testing.T) {
	long := strings.Repeat("é", 70) // 140 bytes
	tests := []struct {
		code     int
		reason   string
		wantCode int
	}{
		{1000, "bye", 1000}, {3000, "", 3000}, {4000, "x", 4000}, {4403, "x", 4403}, {4999, long, 4999},
		{1001, "x", 1001}, {1008, "x", 1008}, {1011, "x", 1011}, {1012, "x", 1012}, {1013, "x", 1013},
		{0, "x", 1011}, {-1, "x", 1011}, {999, "x", 1011}, {1002, "x", 1011}, {1003, "x", 1011}, {1004, "x", 1011},
		{1005, "x", 1011}, {1006, "x", 1011}, {1007, "x", 1011}, {1009, "x", 1011}, {1010, "x", 1011}, {1014, "x", 1011},
		{1015, "x", 1011}, {2999, "x", 1011}, {5000, long, 1011}, {65536 + 4000, "x", 1011},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.code), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				method := func() (any, error) {
					return "result", fmt.Errorf("wrapped: %w", &wsctl.CloseError{Code: tt.code, Reason: tt.reason})
				}
				h, log := newHandler(t, &kit{now: func(*wsctl.Socket, json.RawMessage) (any, error) { return method() }}, nil)
				c := serve(t, h).dial(t, nil)
				c.send(call(1, "Now", ""))
				code, reason := 0, ""
				messages, err := c.gone()
				if code, reason = closeOf(err); code != tt.wantCode || len(messages) > 0 {
					t.Errorf("closed with %d after %q, want %d", code, messages, tt.wantCode)
				}
				if !strings.HasPrefix(tt.reason, reason) || len(tt.reason) <= 123 && reason != tt.reason ||
					len(tt.reason) > 123 && len(reason) < 120 || !utf8.ValidString(reason) {
					t.Errorf("reason %q of %q", reason, tt.reason)
				}
				if logged := strings.Contains(log.String(), "level=ERROR"); logged != (tt.code != tt.wantCode) {
					t.Errorf("logged: %q", log)
				}
			})
		})
	}
}

// Cancel while a method runs, while its message waits, and when there is nothing to cancel.
func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var ran []string
		h, log := newHandler(t, &kit{
			ctx: func(ctx context.Context, _ *wsctl.Socket, data json.RawMessage) (any, error) {
				ran = append(ran, string(data))
				<-ctx.Done()
				return nil, ctx.Err()
			},
			now: func(_ *wsctl.Socket, data json.RawMessage) (any, error) {
				ran = append(ran, string(data))
				return nil, nil
			},
		}, nil)
		c := serve(t, h).dial(t, nil)
		c.send(msg("$cancel", ""), call(77, "$cancel", "")) // the first is bad, the second names nothing
		c.send(call(1, "Ctx", "1"), call(2, "Now", "2"), call(3, "Ctx", "3"), call(4, "Now", "4"))
		c.send(call(2, "$cancel", ""), call(3, "$cancel", ""), call(3, "$cancel", ""))
		c.quiet() // the waiting ones are answered in their turn
		if got := fmt.Sprint(ran); got != "[1]" {
			t.Errorf("ran %s while 1 was running", got)
		}
		c.send(call(1, "$cancel", ""))
		c.want(failed(1, "canceled", ""), failed(2, "canceled", ""), failed(3, "canceled", ""), replied(4, ""))
		c.send(call(1, "$cancel", ""), call(4, "$cancel", "")) // after the end
		c.quiet()
		if got := fmt.Sprint(ran); got != "[1 4]" {
			t.Errorf("ran %s", got)
		}
		if n := h.Stats().BadMessages; n != 1 {
			t.Errorf("%d bad messages, want the one without an id", n)
		}
		if strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("a caller's wish is no failure: %s", log)
		}
	})
}

// A call that was cancelled may still come to something.
func TestCancelIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{ctx: func(ctx context.Context, _ *wsctl.Socket, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			return "done", nil
		}}, &wsctl.Options{PingInterval: -1}) // a ping isn't quiet
		c := serve(t, h).dial(t, nil)
		c.send(call(1, "Ctx", ""))
		c.quiet() // it runs
		c.send(call(1, "$cancel", ""))
		c.want(replied(1, `"done"`))
		c.quiet()
	})
}

// An id in flight can't be used again; the first call keeps it.
func TestIDInUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan bool)
		var ran atomic.Int32
		h, _ := newHandler(t, &kit{ctx: func(context.Context, *wsctl.Socket, json.RawMessage) (any, error) {
			ran.Add(1)
			<-release
			return "first", nil
		}}, nil)
		c := serve(t, h).dial(t, nil)
		c.send(call(1, "Ctx", ""))
		c.send(call(1, "Echo", `"second"`), call(1, "Nope", ""), `{"type":"Echo","id":1,"data":}`) // in use by a running one
		c.send(call(2, "Echo", `"2"`), call(2, "Echo", `"again"`))                                 // by one that waits
		c.quiet()
		if n := h.Stats().BadMessages; n != 4 {
			t.Errorf("%d bad messages, want 4", n)
		}
		close(release)
		c.want(replied(1, `"first"`), replied(2, `"2"`))
		c.send(call(1, "Echo", `"free"`))
		c.want(replied(1, `"free"`))
		c.quiet()
		if n := ran.Load(); n != 1 {
			t.Errorf("ran %d times", n)
		}
	})
}

// Bad messages that are owed an answer, unknown types and wrong data keep their place among the answers.
func TestAnswersInOrder(t *testing.T) {
	for _, mix := range []string{"Now", "Ctx", "Now Ctx", "Ctx Now Now"} {
		t.Run(mix, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := &kit{now: func(_ *wsctl.Socket, data json.RawMessage) (any, error) { return data, nil }}
				k.ctx = func(_ context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) {
					time.Sleep(time.Duration(len(data)) * time.Millisecond)
					return data, s.Send("between", nil)
				}
				h, _ := newHandler(t, k, nil)
				c := serve(t, h).dial(t, nil)
				types := strings.Fields(mix)
				var sent []string
				for i := 1; i <= 40; i += 4 {
					sent = append(sent, call(i, types[i/4%len(types)], fmt.Sprintf("%d", i)),
						call(i+1, "Nope", ""), call(i+2, "Typed", `"x"`), `{"type":"Echo","id":`+fmt.Sprint(i+3)+`,"data":nil}`)
				}
				c.send(sent...)
				for i := 1; i <= 40; i++ {
					m := c.read()
					for strings.HasPrefix(m, `{"type":"between"`) {
						m = c.read()
					}
					want := [...]string{`"bad_request"`, `"$reply"`, `"not_found"`, `"bad_request"`}[i%4]
					if !strings.Contains(m, fmt.Sprintf(`"id":%d,`, i)) || !strings.Contains(m, want) {
						t.Fatalf("answer %d is %s, want %s", i, m, want)
					}
				}
				c.quiet()
			})
		})
	}
}

func TestConcurrency(t *testing.T) {
	for _, typ := range []string{"Now", "Ctx"} {
		t.Run(typ, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var running, most atomic.Int32
				release := make(chan bool)
				k := &kit{now: func(_ *wsctl.Socket, data json.RawMessage) (any, error) {
					if n := running.Add(1); n > most.Load() {
						most.Store(n)
					}
					<-release
					running.Add(-1)
					return data, nil
				}}
				k.ctx = func(_ context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) { return k.now(s, data) }
				h, _ := newHandler(t, k, &wsctl.Options{Concurrency: 3})
				c := serve(t, h).dial(t, nil)
				for i := 1; i <= 10; i++ {
					c.send(call(i, typ, fmt.Sprint(i)))
				}
				c.quiet()
				if n := running.Load(); n != 3 {
					t.Errorf("%d at once, want 3", n)
				}
				if n := h.Stats().Calls; n != 10 {
					t.Errorf("%d calls in flight, want 10", n)
				}
				for range 10 {
					release <- true
					synctest.Wait()
				}
				seen := map[string]bool{}
				for range 10 {
					seen[c.read()] = true
				}
				if len(seen) != 10 || most.Load() != 3 {
					t.Errorf("%d different answers, %d at once", len(seen), most.Load())
				}
				c.quiet()
			})
		})
	}
}
