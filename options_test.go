package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// newPanic returns what New panics with, empty if it doesn't.
func newPanic(controller any, opts *wsctl.Options) string {
	if p := panicked(func() { wsctl.New(controller, opts) }); p != nil {
		return fmt.Sprint(p)
	}
	return ""
}

func TestNewPanics(t *testing.T) {
	same := func(next wsctl.MessageFunc) wsctl.MessageFunc { return next }
	for _, c := range []struct {
		name       string
		controller any // nil: a good one
		opts       wsctl.Options
		want       []string // nil: none
	}{
		{"zero", nil, wsctl.Options{}, nil},
		{"MaxMessage", nil, wsctl.Options{MaxMessage: -1}, []string{"MaxMessage"}},
		{"SendBuffer", nil, wsctl.Options{SendBuffer: -2}, []string{"SendBuffer", "-2"}},
		{"Concurrency", nil, wsctl.Options{Concurrency: -1}, []string{"Concurrency"}},
		{"HandshakeTimeout", nil, wsctl.Options{HandshakeTimeout: -time.Second}, []string{"HandshakeTimeout", "-1s"}},
		{"those where it means something", nil, wsctl.Options{MaxConns: -1, PingInterval: -1, PingTimeout: -1, WriteTimeout: -1}, nil},
		{"middleware", nil, wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{same, nil, same, nil}}, []string{"Middleware[1]", "Middleware[3]"}},
		{"origins", nil, wsctl.Options{Origins: []string{"good.com", "[", "*", "a[b", "[]", `x\`, "[a-]"}},
			[]string{"Origins[1]", "Origins[3]", "Origins[4]", "Origins[5]", "Origins[6]"}},
		{"an origin with its scheme", nil, wsctl.Options{Origins: []string{"https://app.example.com"}}, []string{"Origins[0]", "without a scheme"}},
		{"middleware that returns nil", nil, wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{
			func(wsctl.MessageFunc) wsctl.MessageFunc { return nil },
		}}, []string{"Middleware[0] returned nil"}},
		{"a nil pointer to a broker", nil, wsctl.Options{Hub: &wsctl.Hub{Broker: (*wsctltest.Broker)(nil)}}, []string{"Hub.Broker", "*wsctltest.Broker"}},
		{"controller", badForms{}, wsctl.Options{}, []string{"Two", "OnClose", "options_test.go"}},
		{"nil controller", struct{}{}, wsctl.Options{}, []string{"nothing to do"}},
		{"other controllers", nil, wsctl.Options{Controllers: []any{&game{}, badForms{}, 7}}, []string{"Two", "OnClose", "int"}},
		{"nil among the others", nil, wsctl.Options{Controllers: []any{nil}}, []string{"nil"}},
		{"all at once", badForms{}, wsctl.Options{MaxMessage: -1, SendBuffer: -1, Concurrency: -1, HandshakeTimeout: -1,
			Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{nil}, Origins: []string{"["}, Controllers: []any{7}},
			[]string{"MaxMessage", "SendBuffer", "Concurrency", "HandshakeTimeout", "Middleware[0]", "Origins[0]", "Two", "OnClose", "int"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			controller := c.controller
			if controller == nil {
				controller = &puppet{}
			}
			text := newPanic(controller, &c.opts)
			if (text == "") != (c.want == nil) || c.want != nil && !strings.HasPrefix(text, "wsctl: ") {
				t.Errorf("New panics with %q", text)
			}
			for _, want := range c.want {
				if want == "options_test.go" {
					want = "socket_test.go:" // where badForms is
				}
				if !strings.Contains(text, want) {
					t.Errorf("%q isn't in\n%s", want, text)
				}
			}
			if strings.Contains(text, "Origins[0]") && c.name == "origins" || strings.Contains(text, "Origins[2]") || strings.Contains(text, "Middleware[2]") {
				t.Errorf("a good one is named in\n%s", text)
			}
		})
	}
	if text := newPanic(nil, nil); !strings.Contains(text, "nil") {
		t.Errorf("New(nil, nil) panics with %q", text)
	}
}

// What the caller does with its Options after New changes nothing.
func TestOptionsAreCopied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		pass := middle(func(ctx context.Context, s *wsctl.Socket, m wsctl.Message, next wsctl.MessageFunc) (any, error) {
			return next(ctx, s, m)
		})
		fail := middle(func(context.Context, *wsctl.Socket, wsctl.Message, wsctl.MessageFunc) (any, error) {
			return nil, errors.New("changed")
		})
		opts := &wsctl.Options{
			Logger: newLogger(), TypeName: wsctl.SnakeCase, Origins: []string{"other.com"},
			Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{pass}, Controllers: []any{&game{}},
		}
		l := &puppet{do: func(_ *wsctl.Socket, arg string) (any, error) { return arg, nil }, sockets: make(chan *wsctl.Socket, 9)}
		h := wsctl.New(l, opts)
		if opts.MaxMessage != 0 || opts.Hub != nil || opts.PingInterval != 0 {
			t.Errorf("New changed the caller's Options: %+v", opts)
		}
		routes := len(h.Routes())
		opts.Middleware[0], opts.Origins[0], opts.Controllers[0] = fail, "[", 7
		*opts = wsctl.Options{MaxMessage: 1, MaxConns: -1, SendBuffer: 1, Hub: new(wsctl.Hub), Concurrency: 5,
			Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
				return wsctl.Identity{}, errors.New("changed")
			}}
		c := serve(t, h).dial(t, http.Header{"Origin": {"http://other.com"}})
		c.send(`{"type":"do","id":1,"data":"x"}`)
		c.want(replied(1, `"x"`))
		if n := len(h.Routes()); n != routes {
			t.Errorf("%d routes, %d before", n, routes)
		}
	})
}

// Nil Options are the zero Options.
func TestNilOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := serve(t, wsctl.New(&Chat{}, nil)).dial(t, nil)
		c.send(`{"type":"Add","id":1,"data":[1,2]}`)
		c.want(replied(1, "3"))
	})
}

// controllers for TypeName.
type named struct{}

func (named) ComputeGDC(*wsctl.Socket) int { return 1 }
func (named) HTTPGet(*wsctl.Socket) int    { return 2 }
func (named) Say(*wsctl.Socket) int        { return 3 }

func TestTypeName(t *testing.T) {
	for _, c := range []struct {
		name  string
		fn    func(string) string
		types [3]string
	}{
		{"nil", nil, [3]string{"ComputeGDC", "HTTPGet", "Say"}},
		{"SnakeCase", wsctl.SnakeCase, [3]string{"compute_gdc", "http_get", "say"}},
		{"CamelCase", wsctl.CamelCase, [3]string{"computeGDC", "httpGet", "say"}},
		{"own", func(m string) string { return "v2/" + m }, [3]string{"v2/ComputeGDC", "v2/HTTPGet", "v2/Say"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, _ := newHandler(t, named{}, &wsctl.Options{TypeName: c.fn})
				cl := serve(t, h).dial(t, nil)
				for i, typ := range c.types {
					cl.send(fmt.Sprintf(`{"type":%q,"id":1}`, typ))
					cl.want(replied(1, fmt.Sprint(i+1)))
				}
				if c.fn != nil { // the method's own name is no type then
					cl.send(`{"type":"Say","id":1}`)
					if m := cl.read(); !strings.Contains(m, "not_found") {
						t.Error(m)
					}
				}
				types := map[string]bool{}
				for _, r := range h.Routes() {
					types[r.Type] = true
				}
				for _, typ := range c.types {
					if !types[typ] {
						t.Errorf("Routes has no %s: %v", typ, h.Routes())
					}
				}
			})
		})
	}
	for name, fn := range map[string]func(string) string{
		"empty": func(string) string { return "" }, "one for all": func(string) string { return "x" },
		"reserved": func(m string) string { return "$" + m }, "long": func(string) string { return strings.Repeat("x", 129) },
	} {
		if text := newPanic(named{}, &wsctl.Options{TypeName: fn}); !strings.Contains(text, "Say") {
			t.Errorf("%s: New panics with %q", name, text)
		}
	}
	// A controller set later is named the same way.
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{TypeName: wsctl.SnakeCase})
		p := l.peer(t, nil)
		must(t, p.s.SetController(named{}))
		p.send(`{"type":"compute_gdc","id":1}`)
		p.want(replied(1, "1"))
	})
}

// order is an argument that checks itself.
type order struct{ Count int }

func (o *order) Validate() error {
	switch {
	case o.Count == 13:
		panic("secret")
	case o.Count == 12:
		return wsctl.Errorf("unlucky", "not 12")
	case o.Count < 1:
		return errors.New("Count must be positive")
	}
	return nil
}

type shop struct{ got chan int }

func (sh *shop) Order(_ *wsctl.Socket, o order)     { sh.got <- o.Count }
func (sh *shop) OrderPtr(_ *wsctl.Socket, o *order) { sh.got <- o.Count }
func (sh *shop) OrderCtx(_ context.Context, _ *wsctl.Socket, o order) int {
	sh.got <- o.Count
	return o.Count
}

// Validate has its say before the method, and its text reaches the client.
func TestValidate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sh := &shop{got: make(chan int, 10)}
		h, _ := newHandler(t, sh, nil)
		c := serve(t, h).dial(t, nil)
		for _, method := range []string{"Order", "OrderPtr", "OrderCtx"} {
			result := ""
			if method == "OrderCtx" {
				result = "7"
			}
			send := func(count string) { c.send(fmt.Sprintf(`{"type":%q,"id":1,"data":{"Count":%s}}`, method, count)) }
			send("7")
			c.want(replied(1, result))
			if n := <-sh.got; n != 7 {
				t.Errorf("%s got %d", method, n)
			}
			send("0")
			c.want(failed(1, "bad_request", "Count must be positive"))
			send("12")
			c.want(failed(1, "unlucky", "not 12"))
			send("13")
			c.want(failed(1, "internal", ""))
			c.send(fmt.Sprintf(`{"type":%q,"data":{"Count":0}}`, method))
			c.quiet()
			if len(sh.got) > 0 {
				t.Errorf("%s was called with %d", method, <-sh.got)
			}
		}
		if n := h.Stats().Panics; n != 3 {
			t.Errorf("%d panics", n)
		}
	})
}
