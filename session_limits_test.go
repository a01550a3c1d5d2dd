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

// The server acknowledges at least every so many messages or 64 KiB, after a second at most, and before a $pong.
func TestServerAcks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{PingInterval: -1})
		c, w := l.enter(t)
		ack := func(n int) string { return fmt.Sprintf(`{"type":"$ack","data":%d}`, n) }
		c.quiet()

		c.send(msg("Do", `"x"`))
		start := time.Now()
		c.want(ack(1))
		if d := time.Since(start); d > time.Second {
			t.Errorf("after %v", d)
		}
		time.Sleep(5 * time.Second)
		c.quiet() // nothing is owed

		start = time.Now()
		sent := 1
		for range w.Ack {
			c.send(msg("Do", `"x"`))
			sent++
		}
		synctest.Wait()
		if c.nc.Buffered() == 0 || time.Since(start) != 0 {
			t.Errorf("no $ack after %d messages", w.Ack)
		}
		c.read()
		c.read()

		start = time.Now()
		for range 3 {
			c.send(msg("Do", `"`+big(30<<10)+`"`))
			sent++
		}
		synctest.Wait()
		if c.nc.Buffered() == 0 || time.Since(start) != 0 {
			t.Error("no $ack after 90 KB")
		}
		c.read()
		c.send(msg("Do", `"x"`), `{"type":"$ping"}`)
		sent++
		for m := ""; m != `{"type":"$pong"}`; {
			if m = c.read(); m == ack(sent) {
				sent = -sent
			}
		}
		if sent > 0 {
			t.Error("no $ack before the $pong")
		}
		// Probes are answered once a second.
		c.send(`{"type":"$ping"}`, `{"type":"$ping"}`)
		c.quiet()
		time.Sleep(time.Second)
		c.send(`{"type":"$ping"}`)
		c.want(`{"type":"$pong"}`)
	})
}

// Bad, unknown and refused messages count; those of the connection alone don't.
func TestWhatCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		c, w := l.enter(t)
		c.send(`nonsense`, `{"type":"Nobody"}`, call(1, "Nobody", ""), `{"type":"$future"}`, `{"type":"$reply","id":5}`,
			`{"type":"$end","id":5}`, `{"type":"$item","id":5}`, `{"type":"$more","id":5,"data":1}`, `{"type":"$cancel","id":5}`)
		c.send(`{"type":"$pong"}`, `{"type":"$ack","data":0}`, `{"type":"$ping"}`, `{"type":"$welcome"}`, `{"type":"$goaway"}`)
		synctest.Wait()
		c.cut()
		if _, w2 := l.comeBack(t, w.Session, 0, 2); w2.Received != 9 {
			t.Errorf("%d messages were counted, want 9", w2.Received)
		}
	})
}

// The server keeps SendBuffer bytes of what its client hasn't acknowledged: who has less than what is kept begins anew.
func TestForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			has     int
			resumed bool
		}{{0, false}, {4, false}, {5, true}} {
			l := v1Lab(t, &puppet{}, &wsctl.Options{SendBuffer: 1000})
			cl, w := l.enter(t)
			s := <-l.p.sockets
			for i := range 10 {
				must(t, s.Send("m", strings.Repeat(fmt.Sprint(i), 150)))
				cl.read()
			}
			cl.cut()
			cl, w2 := l.comeBack(t, w.Session, c.has, 2)
			if w2.Resumed != c.resumed {
				t.Errorf("has %d: %+v", c.has, w2)
			}
			for i := c.has; i < 10 && w2.Resumed; i++ {
				if m := cl.read(); !strings.Contains(m, strings.Repeat(fmt.Sprint(i), 150)) {
					t.Errorf("message %d: %s", i, m)
				}
			}
			cl.cut()
		}
	})
}

// A session that dies again and again while it is sent what it lacks isn't resumed for ever; one that is merely idle is.
func TestResumeThatDies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		c, w := l.enter(t)
		s := <-l.p.sockets
		c.cut()
		try := 1
		resumed := func(received int) bool {
			try++
			c, w2 := l.comeBack(t, w.Session, received, try)
			c.cut()
			return w2.Resumed
		}
		for range 5 {
			if !resumed(0) {
				t.Fatal("an idle session is lost")
			}
		}
		must(t, s.Send("m", 1))
		must(t, s.Send("m", 2))
		for i, want := range []bool{true, true, true, true} {
			if resumed(i) != want && i < 3 { // it gets on by one each time
				t.Fatalf("resume %d, which got on, failed", i)
			}
			if i == 1 {
				must(t, s.Send("m", 3))
			}
		}
	})
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		c, w := l.enter(t)
		s := <-l.p.sockets
		must(t, s.Send("m", 1))
		c.cut()
		for try := 2; ; try++ {
			c, w2 := l.comeBack(t, w.Session, 0, try)
			c.cut()
			if !w2.Resumed {
				if try != 5 {
					t.Errorf("try %d: %+v", try, w2)
				}
				break
			}
		}
	})
}

// What waits for lost clients is bounded: for one of them, and for all together. The oldest goes first.
func TestParkBuffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{SendBuffer: 10_000, ParkBuffer: 15_000})
		var all []*wsctl.Socket
		for range 3 {
			c, _ := l.enter(t)
			s := <-l.p.sockets
			all = append(all, s)
			c.cut()
			must(t, s.Send("m", big(6000)))
			synctest.Wait()
			time.Sleep(time.Second)
		}
		alive := func() (list []bool) {
			for _, s := range all {
				list = append(list, s.Context().Err() == nil)
			}
			return list
		}
		equal(t, "alive", alive(), []bool{false, true, true})
		if err := all[1].Send("m", big(6000)); err != wsctl.ErrSlow {
			t.Errorf("a lost client's queue has no end: %v", err)
		}
		synctest.Wait()
		equal(t, "alive", alive(), []bool{false, false, true})
		st := l.h.Stats()
		if st.Closed[1006] != 1 || st.Closed[4510] != 1 || st.Detached != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// Sessions without a connection have places of MaxConns, and give them up for new clients, the oldest first.
func TestParkedPlaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{MaxConns: 2})
		a, wa := l.enter(t)
		b, wb := l.enter(t)
		if _, resp, err := l.tryDial(t, offersV1()); err == nil || resp == nil || resp.StatusCode != 503 {
			t.Errorf("a third: %v", err)
		}
		a.cut()
		time.Sleep(time.Second)
		b.cut()
		_, w := l.enter(t)
		if w.Resumed {
			t.Errorf("%+v", w)
		}
		if c, w := l.comeBack(t, wb.Session, 0, 2); !w.Resumed {
			t.Errorf("the newer one is gone: %+v", w)
		} else {
			c.send(call(1, "Do", `"x"`))
			c.want(replied(1, `"x"`))
		}
		if c, resp, err := l.tryDial(t, offersV1()); err == nil {
			c.send(helloOf(wa.Session, 0, 2))
			c.wantClosed(1013, "")
		} else if resp == nil || resp.StatusCode != 503 {
			t.Error(err)
		}
	})
}

// A flood of sessions whose clients never come back leaves nothing behind.
func TestParkedFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{MaxConns: 50})
		for range 300 {
			c, _ := l.enter(t)
			<-l.p.sockets
			c.cut()
			if st := l.h.Stats(); st.Sockets > 50 {
				t.Fatalf("%+v", st)
			}
		}
		time.Sleep(32 * time.Second)
		if st := l.h.Stats(); st.Sockets+st.Detached != 0 || st.Closed[1006] != 300 {
			t.Errorf("%+v", st)
		}
	})
}

// Connections that say nothing have their own limit, and the oldest goes first.
func TestPendingLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{MaxConns: 10})
		var all []*client
		for range 103 {
			all = append(all, l.knock(t))
			synctest.Wait()
		}
		for _, c := range all[:3] {
			c.wantClosed(4429, "")
		}
		for _, c := range all[3:] {
			if c.nc.Buffered() > 0 {
				t.Fatal("a younger one was told something")
			}
			c.cut()
		}
		c, _ := l.enter(t)
		c.send(call(1, "Do", `"x"`))
		c.want(replied(1, `"x"`))
		for _, c := range all {
			c.nc.Close()
		}
	})
}

// Authenticate of a client of wsctl.v1 is asked with the token of its $hello, and refuses by close code.
func TestAuthenticateHello(t *testing.T) {
	var token string
	answer := func() (wsctl.Identity, error) { return wsctl.Identity{User: "ann"}, nil }
	opts := &wsctl.Options{Authenticate: func(ctx context.Context, r *http.Request, tok string) (wsctl.Identity, error) {
		token = tok
		if r == nil || r.Header.Get("X") != "y" {
			return wsctl.Identity{}, errors.New("not the request")
		}
		if tok == "slow" {
			<-ctx.Done()
			return wsctl.Identity{}, ctx.Err()
		}
		return answer()
	}}
	cases := []struct {
		name   string
		header http.Header
		token  string
		answer func() (wsctl.Identity, error)
		code   int // 0: welcome
		logged string
	}{
		{"token", nil, "t", nil, 0, ""},
		{"bearer", http.Header{"Authorization": {"Bearer t"}}, "", nil, 0, ""},
		{"unauthenticated", nil, "t", func() (wsctl.Identity, error) { return wsctl.Identity{}, wsctl.Errorf("unauthenticated", "who?") }, 4401, ""},
		{"forbidden", nil, "t", func() (wsctl.Identity, error) { return wsctl.Identity{}, wsctl.Errorf("forbidden", "no") }, 4403, ""},
		{"too many", nil, "t", func() (wsctl.Identity, error) { return wsctl.Identity{}, wsctl.Errorf("too_many", "no") }, 4429, ""},
		{"fails", nil, "t", func() (wsctl.Identity, error) { return wsctl.Identity{}, errors.New("secret") }, 1011, "secret"},
		{"panics", nil, "t", func() (wsctl.Identity, error) { panic("secret") }, 1011, "secret"},
		{"expired", nil, "t", func() (wsctl.Identity, error) { return wsctl.Identity{Expires: time.Now()}, nil }, 4401, ""},
		{"slow", nil, "slow", nil, 1011, "deadline"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				if c.answer != nil {
					answer = c.answer
				}
				l := v1Lab(t, &puppet{}, opts)
				header := offersV1()
				header.Set("X", "y")
				for k, v := range c.header {
					header[k] = v
				}
				cl := l.dial(t, header)
				cl.send(fmt.Sprintf(`{"type":"$hello","data":{"try":1,"token":%q}}`, c.token))
				if c.code == 0 {
					cl.welcomed()
					if s := <-l.p.sockets; token != "t" || s.Identity().User != "ann" {
						t.Errorf("token %q, %+v", token, s.Identity())
					}
					return
				}
				code, reason := cl.closed()
				if code != c.code || strings.Contains(reason, "secret") {
					t.Errorf("closed with %d %q", code, reason)
				}
				if !strings.Contains(l.log.String(), c.logged) {
					t.Errorf("log: %s", l.log)
				}
				if st := l.h.Stats(); st.Refused != 1 || st.Sockets != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A page of another origin learns by close code that it is refused, and OnOpen's refusal comes without a $welcome.
func TestRefusedByCode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{open: func(s *wsctl.Socket, _ *http.Request) error {
			_ = s.Send("x", 1)
			return wsctl.Errorf("forbidden", "not today")
		}}
		l := v1Lab(t, p, nil)
		header := offersV1()
		header.Set("Origin", "https://evil.example")
		l.dial(t, header).wantClosed(4403, "origin")
		c := l.knock(t)
		c.send(helloOf("", 0, 1))
		if _, err := c.gone(); true {
			if code, reason := closeOf(err); code != 4403 || reason != "not today" {
				t.Errorf("%d %q", code, reason)
			}
		}
		if st := l.h.Stats(); st.Refused != 2 || st.Opened != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// $auth renews the credential: of the same user, and never to an earlier end.
func TestAuthRenewal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		start := time.Now()
		opts := &wsctl.Options{PingInterval: -1, Authenticate: func(ctx context.Context, r *http.Request, token string) (wsctl.Identity, error) {
			var user string
			var seconds int
			if n, _ := fmt.Sscanf(token, "%s %d", &user, &seconds); n != 2 {
				return wsctl.Identity{}, wsctl.Errorf("unauthenticated", "bad token")
			}
			return wsctl.Identity{User: user, Expires: start.Add(time.Duration(seconds) * time.Second), Value: r == nil}, nil
		}}
		l := v1Lab(t, &puppet{}, opts)
		c := l.knock(t)
		c.send(`{"type":"$hello","data":{"try":1,"token":"ann 60"}}`)
		w := c.welcomed()
		if w.Expires == nil || *w.Expires != 60_000 {
			t.Errorf("%+v", w)
		}
		c.send(`{"type":"$ack","data":0}`)
		s := <-l.p.sockets
		auth := func(id int, token string) string { return call(id, "$auth", fmt.Sprintf(`{"token":%q}`, token)) }
		c.send(auth(1, "bob 100"))
		c.want(failed(1, "forbidden", "the credential is another user's"))
		c.send(auth(2, "nonsense"))
		c.want(failed(2, "unauthenticated", "bad token"))
		c.send(auth(3, "ann 30"))
		c.want(replied(3, `{"expires":60000}`))
		if s.Identity().Value != false {
			t.Error("an older token has changed the identity")
		}
		c.send(auth(4, "ann 90"))
		c.want(replied(4, `{"expires":90000}`))
		if s.Identity().Value != true {
			t.Errorf("%+v", s.Identity())
		}
		c.send(call(5, "$auth", ""), call(6, "$auth", "5"))
		for range 2 {
			if m := c.read(); !strings.Contains(m, "bad_request") {
				t.Error(m)
			}
		}
		c.cut()
		time.Sleep(25 * time.Second)
		c = l.knock(t)
		c.send(fmt.Sprintf(`{"type":"$hello","data":{"try":2,"session":%q,"received":6,"token":"ann 70"}}`, w.Session))
		if w := c.welcomed(); !w.Resumed || *w.Expires != 45_000 {
			t.Errorf("%+v", w)
		}
		c.wantClosed(4401, "expired")
		if s.Context().Err() != nil {
			t.Error("the session doesn't wait for a fresh token")
		}
	})
}

// Over its rate a client is read more slowly, and nothing is lost; a close by the server doesn't wait for that.
func TestRateLimit(t *testing.T) {
	for _, v1 := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			var times []time.Duration
			start := time.Now()
			p := &puppet{do: func(*wsctl.Socket, string) (any, error) {
				times = append(times, time.Since(start))
				return nil, nil
			}}
			l := v1Lab(t, p, &wsctl.Options{RateLimit: 10, RateBurst: 5})
			var c *client
			if v1 {
				c, _ = l.enter(t)
			} else {
				c = l.dial(t, nil)
			}
			for range 25 {
				c.send(msg("Do", `"x"`))
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if len(times) != 25 || times[4] != 0 || times[24] < 1900*time.Millisecond || times[24] > 2100*time.Millisecond {
				t.Errorf("%v", times)
			}
			for i := range times[5:] {
				if times[i+5]-times[i+4] > 110*time.Millisecond {
					t.Errorf("%v", times)
				}
			}
			for range 1000 {
				c.send(msg("Do", `"x"`))
			}
			s := <-l.p.sockets
			synctest.Wait()
			now := time.Now()
			must(t, s.Close(4000, ""))
			c.wantClosed(4000, "")
			synctest.Wait()
			if d := time.Since(now); d != 0 {
				t.Errorf("the close took %v", d)
			}
			if st := l.h.Stats(); st.Dropped != 0 || st.BadMessages != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// Shutdown tells clients when to come back, before it closes, and ends sessions that wait for theirs.
func TestGoaway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		finish := make(chan bool)
		p := &puppet{wait: func(context.Context, *wsctl.Socket, string) (any, error) { <-finish; return "done", nil }}
		l := v1Lab(t, p, nil)
		c, _ := l.enter(t)
		lost, _ := l.enter(t)
		quiet := l.knock(t)
		lost.cut()
		c.send(call(1, "Wait", `""`))
		synctest.Wait()
		result := make(chan error, 1)
		go func() { result <- l.h.Shutdown(t.Context()) }()
		c.want(`{"type":"$goaway","data":{"min":100,"max":1100}}`)
		quiet.wantClosed(1001, "")
		synctest.Wait()
		if st := l.h.Stats(); st.Detached != 0 || st.Sockets != 1 {
			t.Errorf("%+v", st)
		}
		c.send(msg("Do", `"too late"`))
		c.send(`{"type":"$more","id":1,"data":1}`)
		synctest.Wait()
		close(finish)
		// What was handled is acknowledged, so that the client needn't fear for it, and nothing behind what wasn't.
		c.want(replied(1, `"done"`), `{"type":"$ack","data":1}`)
		c.wantClosed(1001, "")
		must(t, <-result)
		if _, resp, err := l.tryDial(t, offersV1()); err == nil || resp.StatusCode != 503 {
			t.Error("it is still open")
		}
	})
}

// A session's v1 pings are messages, and silence parks it.
func TestV1Liveness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{PingInterval: 10 * time.Second, PingTimeout: 5 * time.Second})
		c, _ := l.enter(t)
		start := time.Now()
		for range 3 {
			c.want(`{"type":"$ping"}`)
			c.send(`{"type":"$pong"}`)
		}
		if d := time.Since(start); d < 20*time.Second || d > 31*time.Second {
			t.Errorf("three pings in %v", d)
		}
		c.wantClosed(4408, "no sign of life")
		if d := time.Since(start); d > 47*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}
