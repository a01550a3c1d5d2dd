package wsctltest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// room is a controller with a bit of everything.
type room struct{ sockets chan *wsctl.Socket }

func (r *room) OnOpen(s *wsctl.Socket, req *http.Request) error {
	if strings.HasPrefix(req.URL.Path, "/closed") {
		return &wsctl.CloseError{Code: 4403, Reason: "closed"}
	}
	r.sockets <- s
	return s.Join("all")
}

func (r *room) Say(s *wsctl.Socket, text string) error {
	if text == "" {
		return wsctl.Errorf("empty", "say something")
	}
	return s.Hub().Room("all").Send("said", text)
}

func (r *room) Ask(s *wsctl.Socket, q string) (string, error) {
	var a string
	err := s.Call(s.Context(), "question", q, &a)
	return a + "!", err
}

func (r *room) Leave(*wsctl.Socket) error { return &wsctl.CloseError{Code: 4000, Reason: "bye"} }

func newRoom(opts *wsctl.Options) (*wsctl.Handler, *room) {
	r := &room{make(chan *wsctl.Socket, 100)}
	return wsctl.New(r, opts), r
}

func TestConversation(t *testing.T) {
	for _, plain := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := newRoom(nil)
			a := wsctltest.Dial(t, h, &wsctltest.Options{Plain: plain})
			b := wsctltest.Dial(t, h, nil)
			a.Send("Say", "hello")
			for _, c := range []*wsctltest.Client{a, b} {
				if got := wsctltest.Expect[string](c, "said"); got != "hello" {
					t.Error(got)
				}
				c.Quiet()
			}
			var e *wsctl.Error
			if err := a.Call("Say", "", nil); !errors.As(err, &e) || e.Code != "empty" || e.Message != "say something" {
				t.Error(err)
			}
			if err := a.Call("Say", "x", nil); err != nil {
				t.Error(err)
			}
			wsctltest.Expect[string](a, "said")
			a.Send("Leave", nil)
			if ce := a.Closed(); ce.Code != 4000 || ce.Reason != "bye" {
				t.Error(ce)
			}
		})
	}
}

func TestHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newRoom(nil)
		c := wsctltest.Dial(t, h, nil)
		c.Handle("question", func(data json.RawMessage) (any, error) { return "re " + string(data), nil })
		var a string
		if err := c.Call("Ask", "why", &a); err != nil || a != `re "why"!` {
			t.Error(a, err)
		}
		c.Handle("question", func(json.RawMessage) (any, error) { return nil, wsctl.Errorf("mine", "no") })
		var e *wsctl.Error
		if err := c.Call("Ask", "why", &a); !errors.As(err, &e) || e.Code != "mine" {
			t.Error(err)
		}
	})
}

func TestCutAndReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := newRoom(nil)
		c := wsctltest.Dial(t, h, nil)
		s := <-r.sockets
		for i := range 10 {
			_ = s.Send("n", i)
			c.Cut()
			_ = s.Send("n", -i)
			if !c.Reconnect() {
				t.Fatal("not resumed")
			}
			for _, want := range []int{i, -i} {
				if got := wsctltest.Expect[int](c, "n"); got != want {
					t.Fatalf("got %d, want %d", got, want)
				}
			}
			c.Quiet()
		}
		if !c.Reconnect() { // in place of an open one
			t.Error("not resumed")
		}
		c.Cut()
		time.Sleep(40 * time.Second)
		if c.Reconnect() {
			t.Error("resumed after the window")
		}
		if s2 := <-r.sockets; s2 == s || s.Context().Err() == nil {
			t.Error("the first socket lives on")
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := newRoom(&wsctl.Options{SendBuffer: 100_000, WriteTimeout: -1})
		c := wsctltest.Dial(t, h, nil)
		s := <-r.sockets
		c.Stall(true)
		_ = s.Send("n", 1)
		c.Quiet()
		c.Stall(false)
		wsctltest.Expect[int](c, "n")
		c.Stall(true)
		var err error
		for i := 0; err == nil && i < 100; i++ {
			err = s.Send("big", strings.Repeat("x", 10_000))
			synctest.Wait()
		}
		if err != wsctl.ErrSlow {
			t.Error(err)
		}
		c.Stall(false)
		if ce := c.Closed(); ce.Code != wsctl.CloseSlow {
			t.Error(ce)
		}
	})
}

// What a test does wrong, or a controller, fails it with a message that says what.
func TestFailures(t *testing.T) {
	cases := []struct {
		want string
		do   func(t testing.TB, c *wsctltest.Client, s *wsctl.Socket)
	}{
		{`Expect "x": nothing has come`, func(t testing.TB, c *wsctltest.Client, _ *wsctl.Socket) { wsctltest.Expect[int](c, "x") }},
		{`Expect "x": got "said" with data "y"`, func(t testing.TB, c *wsctltest.Client, _ *wsctl.Socket) {
			c.Send("Say", "y")
			wsctltest.Expect[int](c, "x")
		}},
		{`Expect "said": data "y"`, func(t testing.TB, c *wsctltest.Client, _ *wsctl.Socket) {
			c.Send("Say", "y")
			wsctltest.Expect[int](c, "said")
		}},
		{`Quiet: got "said"`, func(t testing.TB, c *wsctltest.Client, _ *wsctl.Socket) {
			c.Send("Say", "y")
			c.Quiet()
		}},
		{`Expect "x": wsctl: closed with 4000: bye`, func(t testing.TB, c *wsctltest.Client, s *wsctl.Socket) {
			_ = s.Close(4000, "bye")
			wsctltest.Expect[int](c, "x")
		}},
		{`Closed: the connection is open`, func(t testing.TB, c *wsctltest.Client, _ *wsctl.Socket) { c.Closed() }},
		{`Send "$x"`, func(t testing.TB, c *wsctltest.Client, _ *wsctl.Socket) { c.Send("$x", nil) }},
		{`connecting: `, func(t testing.TB, c *wsctltest.Client, s *wsctl.Socket) {
			h, _ := newRoom(nil)
			wsctltest.Dial(t, h, &wsctltest.Options{Path: "/closed"})
		}},
	}
	for _, tc := range cases {
		synctest.Test(t, func(t *testing.T) {
			h, r := newRoom(nil)
			f := &failing{TB: t}
			c := wsctltest.Dial(f, h, nil)
			s := <-r.sockets
			done := make(chan bool)
			go func() {
				defer close(done)
				tc.do(f, c, s)
			}()
			<-done
			if !strings.Contains(f.text, tc.want) {
				t.Errorf("failed with %q, want %q", f.text, tc.want)
			}
		})
	}
}

// failing is a test that notes its failure, and ends the goroutine, without failing.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Helper() {}
func (f *failing) Fatal(args ...any) {
	f.text = fmt.Sprint(args...)
	runtime.Goexit()
}
func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// Outside a bubble, over real time.
func TestOutsideBubble(t *testing.T) {
	h, _ := newRoom(nil)
	c := wsctltest.Dial(t, h, &wsctltest.Options{Header: http.Header{"X": {"y"}}, Path: "/x?y=z"})
	c.Send("Say", "hello")
	if got := wsctltest.Expect[string](c, "said"); got != "hello" {
		t.Error(got)
	}
}
