package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// What $welcome says, and that it comes first.
func TestWelcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{open: func(s *wsctl.Socket, _ *http.Request) error { return s.Send("early", 1) }}
		l := v1Lab(t, p, &wsctl.Options{MaxMessage: 5000, PingInterval: 2 * time.Second, PingTimeout: 3 * time.Second})
		c := l.knock(t)
		synctest.Wait()
		must(t, l.hub.Broadcast("before", 1)) // no socket yet
		c.send(helloOf("", 0, 1))
		w := c.welcomed()
		if w.Session == "" || w.Resumed || w.Received != 0 || w.Ping != 2000 || w.Timeout != 3000 || w.Max != 5000 ||
			w.Ack < 1 || w.Ack > 64 || w.Window < 1 || w.Schema == "" || w.Expires != nil {
			t.Errorf("%+v", w)
		}
		c.want(message("early", 1))
		s := <-p.sockets
		if s.ID() == w.Session || s.ID() == "" {
			t.Errorf("the session %q is the socket's ID %q", w.Session, s.ID())
		}
		if strings.Contains(l.log.String(), w.Session) {
			t.Error("the session is logged")
		}
		// The schema changes with what clients can call, and with nothing else.
		other, _ := newHandler(t, &kit{}, nil)
		c2, w2 := serve(t, other).enter(t)
		if w2.Schema == w.Schema {
			t.Error("the schema of another controller is the same")
		}
		_ = c2
		_, w3 := l.enter(t)
		if w3.Schema != w.Schema || w3.Session == w.Session {
			t.Errorf("%+v, %+v", w, w3)
		}
	})
}

// A session goes on over a new connection: the same Socket, rooms and controller, calls in flight, nothing lost or twice.
func TestResume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		finish := make(chan string)
		var closed []error
		p := &puppet{close: func(_ *wsctl.Socket, err error) { closed = append(closed, err) }}
		var ctx context.Context
		p.wait = func(c context.Context, _ *wsctl.Socket, _ string) (any, error) {
			ctx = c
			return <-finish, c.Err()
		}
		l := v1Lab(t, p, nil)
		c, w := l.enter(t)
		s := <-p.sockets
		join(t, s, "r")
		c.send(call(1, "Wait", `"x"`), call(2, "Do", `"no"`))
		must(t, s.Send("a", 1))
		must(t, l.hub.Room("r").Send("b", 2))
		c.want(message("a", 1), message("b", 2))
		c.cut()
		if st := l.h.Stats(); st.Detached != 1 || st.Sockets != 1 {
			t.Errorf("%+v", st)
		}
		must(t, s.Send("c", 3))
		must(t, l.hub.Room("r").Send("d", 4))
		finish <- "done"
		synctest.Wait()

		// The client has a, but not b.
		c, w2 := l.comeBack(t, w.Session, 1, 2)
		if !w2.Resumed || w2.Session != w.Session || w2.Received != 2 {
			t.Errorf("%+v", w2)
		}
		c.want(message("b", 2), message("c", 3), message("d", 4), replied(1, `"done"`), replied(2, `"no"`))
		must(t, l.hub.Room("r").Send("e", 5))
		c.want(message("e", 5))
		if st := l.h.Stats(); st.Detached != 0 || st.Sockets != 1 || st.Opened != 1 || st.QueuedBytes != 0 {
			t.Errorf("%+v", st)
		}
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("the call's context lives on after its end")
		}
		if s.Context().Err() != nil || len(closed) > 0 {
			t.Errorf("ended: %v %v", s.Context().Err(), closed)
		}
		c.send(`{"type":"$ack","data":6}`)
		c.cut()
		time.Sleep(29 * time.Second)
		if st := l.h.Stats(); st.Sockets != 1 {
			t.Errorf("too early: %+v", st)
		}
		time.Sleep(2 * time.Second)
		var ce *wsctl.CloseError
		if st := l.h.Stats(); st.Sockets+st.Detached+st.Rooms != 0 || len(closed) != 1 || !errors.As(closed[0], &ce) || ce.Code != 1006 {
			t.Errorf("%+v, closed %v", st, closed)
		}
		if context.Cause(s.Context()) != closed[0] || s.Send("x", 1) != wsctl.ErrClosed {
			t.Error("the socket lives on")
		}
		_, w3 := l.comeBack(t, w.Session, 6, 3)
		if w3.Resumed || w3.Session == w.Session || w3.Received != 0 {
			t.Errorf("%+v", w3)
		}
	})
}

// In one step a second connection takes a session over; what still comes from the first concerns it no more.
func TestTakeover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		enter, leave := make(chan bool), make(chan bool)
		var handled []string
		p := &puppet{do: func(_ *wsctl.Socket, arg string) (any, error) {
			handled = append(handled, arg)
			if arg == "slow" {
				enter <- true
				<-leave
			}
			return arg, nil
		}}
		l := v1Lab(t, p, nil)
		old, w := l.enter(t)
		s := <-p.sockets
		old.send(call(1, "Do", `"slow"`))
		<-enter // the first connection's reader is in the method
		old.send(call(2, "Do", `"lost"`))
		synctest.Wait()
		c, w2 := l.comeBack(t, w.Session, 0, 2)
		if !w2.Resumed || w2.Received != 1 {
			t.Fatalf("%+v", w2)
		}
		// What it still says, and its close, concern the session no more.
		old.send(call(3, "Do", `"lost too"`))
		old.raw(closeFrame(1000, ""))
		c.send(call(2, "Do", `"again"`)) // the second message has no number yet
		c.quiet()
		close(leave)
		c.want(replied(1, `"slow"`), replied(2, `"again"`))
		equal(t, "handled", handled, []string{"slow", "again"})
		must(t, s.Send("x", 1))
		c.want(message("x", 1))
		old.wantClosed(4409, "another connection")
		synctest.Wait()
		c.send(call(3, "Do", `"alive"`))
		c.want(replied(3, `"alive"`))
	})
}

// An older attempt of the same client is refused, and changes nothing.
func TestTry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		_, w := l.enter(t)
		c, w2 := l.comeBack(t, w.Session, 0, 5)
		if !w2.Resumed {
			t.Fatalf("%+v", w2)
		}
		for _, try := range []int{1, 4, 5} {
			late := l.knock(t)
			late.send(helloOf(w.Session, 0, try))
			late.wantClosed(4409, "held")
		}
		c.send(call(1, "Do", `"x"`))
		c.want(replied(1, `"x"`))
	})
}

// What the first messages of a connection mustn't be.
func TestHelloRefused(t *testing.T) {
	cases := []struct {
		name string
		send string
		code int
		text string
	}{
		{"another type", call(1, "Do", `"x"`), 4400, "$hello"},
		{"another control type", `{"type":"$ping"}`, 4400, "$hello"},
		{"no JSON", `hello`, 4400, ""},
		{"no data", `{"type":"$hello"}`, 4400, "malformed"},
		{"no try", `{"type":"$hello","data":{}}`, 4400, "try"},
		{"try 0", `{"type":"$hello","data":{"try":0}}`, 4400, "try"},
		{"a negative count", `{"type":"$hello","data":{"try":1,"session":"x","received":-1}}`, 4400, "malformed"},
		{"a token that is no string", `{"type":"$hello","data":{"try":1,"token":5}}`, 4400, "malformed"},
		{"a token of a megabyte", `{"type":"$hello","data":{"try":1,"token":"` + big(1<<20) + `"}}`, 1009, "16384"},
		{"10,000 rooms", `{"type":"$hello","data":{"try":1,"rooms":{"x":"y"` + strings.Repeat(`,"room":"position"`, 10_000) + `}}}`, 1009, ""},
		{"nothing", "", 4408, "$hello"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := v1Lab(t, &puppet{}, nil)
				cl := l.knock(t)
				start := time.Now()
				if c.send != "" {
					go cl.ws.WriteMessage(1, []byte(c.send)) // the server may not read it all
				}
				cl.wantClosed(c.code, c.text)
				if d := time.Since(start); (d != 0) != (c.send == "") || d > 10*time.Second {
					t.Errorf("after %v", d)
				}
				cl.cut()
				time.Sleep(11 * time.Second)
				if st := l.h.Stats(); st.Refused != 1 || st.Opened != 0 || len(l.p.sockets) > 0 {
					t.Errorf("%+v", st)
				}
				must(t, l.h.Shutdown(t.Context()))
			})
		})
	}
}

// A binary first message, and a second $hello.
func TestHelloBinaryAndTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		c := l.knock(t)
		must(t, c.ws.WriteMessage(2, []byte(helloOf("", 0, 1))))
		c.wantClosed(1003, "")
		c, _ = l.enter(t)
		c.send(helloOf("", 0, 2))
		c.wantClosed(4400, "second")
	})
}

// A session is given only to its user, to a client that is where the session is, and to nobody who makes it up.
func TestNotResumed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{Authenticate: func(_ context.Context, _ *http.Request, token string) (wsctl.Identity, error) {
			return wsctl.Identity{User: token}, nil
		}})
		enter := func(user, session string, received, try int) (*client, welcome) {
			c := l.knock(t)
			c.send(fmt.Sprintf(`{"type":"$hello","data":{"session":%q,"received":%d,"try":%d,"token":%q}}`, session, received, try, user))
			return c, c.welcomed()
		}
		c, w := enter("ann", "", 0, 1)
		s := <-l.p.sockets
		c.send(`{"type":"$ack","data":0}`)
		must(t, s.Send("m", 1))
		must(t, s.Send("m", 2))
		c.want(message("m", 1), message("m", 2))
		c.send(`{"type":"$ack","data":1}`)
		c.cut()
		for _, bad := range []struct {
			name, user, session string
			received            int
		}{
			{"another user", "bob", w.Session, 2},
			{"nobody's", "ann", "made up", 0},
			{"the socket's id", "ann", s.ID(), 0},
			{"before what is kept", "ann", w.Session, 0},
			{"after what was sent", "ann", w.Session, 3},
		} {
			c, got := enter(bad.user, bad.session, bad.received, 2)
			if got.Resumed || got.Session == w.Session {
				t.Errorf("%s: %+v", bad.name, got)
			}
			c.ws.Close()
			<-l.p.sockets
		}
		if s.Context().Err() != nil {
			t.Error("the session was ended by a stranger")
		}
		c, got := enter("ann", w.Session, 1, 3)
		if !got.Resumed {
			t.Errorf("%+v", got)
		}
		c.want(message("m", 2))
	})
}

// How connections end, and whether the session waits for another one.
func TestParkedOrEnded(t *testing.T) {
	cases := []struct {
		name  string
		end   func(c *client, s *wsctl.Socket)
		parks bool
	}{
		{"lost", func(c *client, _ *wsctl.Socket) { c.cut() }, true},
		{"given up", func(c *client, _ *wsctl.Socket) { c.raw(closeFrame(4408, "")) }, true},
		{"put aside", func(c *client, _ *wsctl.Socket) { c.raw(closeFrame(4001, "")) }, true},
		{"no status", func(c *client, _ *wsctl.Socket) { c.raw(rawFrame(0x88, "")) }, true},
		{"closed", func(c *client, _ *wsctl.Socket) { c.raw(closeFrame(1000, "")) }, false},
		{"going away", func(c *client, _ *wsctl.Socket) { c.raw(closeFrame(1001, "")) }, false},
		{"by the application", func(_ *client, s *wsctl.Socket) { _ = s.Close(4000, "") }, false},
		{"silence", func(*client, *wsctl.Socket) { time.Sleep(36 * time.Second) }, true},
		{"protocol", func(c *client, _ *wsctl.Socket) { c.raw(rawFrame(0x83, "")) }, false},
		{"binary", func(c *client, _ *wsctl.Socket) { c.raw(rawFrame(0x82, "x")) }, false},
		{"too big", func(c *client, _ *wsctl.Socket) { c.raw(rawFrame(0x81, big(70<<10))) }, false},
		{"an ack of what was never sent", func(c *client, _ *wsctl.Socket) { c.send(`{"type":"$ack","data":1}`) }, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := v1Lab(t, &puppet{}, nil)
				cl, w := l.enter(t)
				s := <-l.p.sockets
				synctest.Wait()
				c.end(cl, s)
				synctest.Wait()
				if parked := s.Context().Err() == nil; parked != c.parks || l.h.Stats().Detached == 1 != c.parks {
					t.Fatalf("parked: %v, %+v", parked, l.h.Stats())
				}
				if _, w2 := l.comeBack(t, w.Session, 0, 2); w2.Resumed != c.parks {
					t.Errorf("%+v", w2)
				}
			})
		})
	}
}

// A session whose client hasn't shown that it knows it isn't kept.
func TestUnconfirmedSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		c := l.knock(t)
		c.send(helloOf("", 0, 1))
		c.welcomed()
		s := <-l.p.sockets
		c.cut()
		if s.Context().Err() == nil {
			t.Error("it is kept")
		}
	})
}

// Without Options.Resume there is no session to come back to, and nothing is acknowledged.
func TestNoResume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{Resume: -1, PingInterval: -1})
		c := l.knock(t)
		c.send(helloOf("", 0, 1))
		if w := c.welcomed(); w.Session != "" || w.Ack != 0 {
			t.Errorf("%+v", w)
		}
		s := <-l.p.sockets
		for i := range 200 {
			c.send(call(i+1, "Do", `"x"`))
			c.want(replied(i+1, `"x"`))
		}
		time.Sleep(5 * time.Second)
		c.quiet()
		c.cut()
		if s.Context().Err() == nil {
			t.Error("it is kept")
		}
	})
}
