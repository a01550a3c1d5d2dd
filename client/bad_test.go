package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// A server that breaks the protocol loses its connection, and the session with it; the client comes back as new.
func TestBadServer(t *testing.T) {
	for name, tt := range map[string]struct {
		send []string
		code int
	}{
		"a second welcome":       {[]string{`{"type":"$welcome","data":` + fresh + `}`}, 4400},
		"an ack above":           {[]string{`{"type":"$ack","data":2}`}, 4400},
		"an ack of nonsense":     {[]string{`{"type":"$ack","data":"1"}`}, 4400},
		"eleven bad messages":    {repeat("nonsense", 11), 4400},
		"more than the window":   {[]string{`{"type":"$item","id":1,"data":1}`, `{"type":"$item","id":1}`, `{"type":"$item","id":1}`, `{"type":"$item","id":1}`}, 4400},
		"a call twice at once":   {repeat(`{"type":"wait","id":1}`, 12), 4400},
		"a message too large":    {[]string{`{"type":"x","data":"` + strings.Repeat("x", 5000) + `"}`}, 1009},
		"a binary message":       {nil, 1003},
		"silence":                {[]string{}, 4408},
		"a frame that is no UTF": {repeat("{\"type\":\"\xff\",\"id\":\"\xff\"}", 11), 4400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t)
				c, p := s.open(client.Options{MaxMessage: 4000})
				client.Handle(c, "wait", func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, nil })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { // takes nothing, so that the window fills
					for range client.Stream[int](ctx, c, "s", nil) {
						<-ctx.Done()
					}
				}()
				p.expect(`{"type":"s","id":1}`)
				if tt.send == nil {
					_ = p.ws.WriteMessage(websocket.BinaryMessage, []byte("x"))
				}
				for _, m := range tt.send { // the client may close in the middle
					_ = p.ws.WriteMessage(websocket.TextMessage, []byte(m))
				}
				for { // what it sends before it notices doesn't matter
					_, _, err := p.ws.ReadMessage()
					if err == nil {
						continue
					}
					var ce *websocket.CloseError
					if !errors.As(err, &ce) || ce.Code != tt.code {
						t.Fatalf("closed with %v, want %d", err, tt.code)
					}
					break
				}
				p.cut()
				switch tt.code {
				case 1009:
					synctest.Wait()
					if c.State() != client.Closed {
						t.Errorf("%v", c.State())
					}
				case 4408:
					s.welcomed(`{"session":"s1","received":0,"try":2}`, fresh2)
				default:
					s.welcomed(`{"try":2}`, fresh2)
				}
			})
		})
	}
}

func repeat(s string, n int) []string { return slices.Repeat([]string{s}, n) }

// Before the welcome too.
func TestBadWelcome(t *testing.T) {
	for _, bad := range []string{
		`{"type":"x"}`,
		`nonsense`,
		`{"type":"$ping"}`,
		`{"type":"$welcome"}`,
		`{"type":"$welcome","data":{"session":"s1","ping":-1,"timeout":1}}`,
		`{"type":"$welcome","data":{"session":"s1","ping":1000,"timeout":1,"ack":65}}`,
		`{"type":"$welcome","data":{"session":"","ping":1000,"timeout":1,"ack":6}}`,
		`{"type":"$welcome","data":{"session":"s1","resumed":true,"ping":1000,"timeout":1,"ack":6}}`,
		`{"type":"$welcome","data":{"session":"s1","received":1,"ping":1000,"timeout":1,"ack":6}}`,
		`{"type":"$welcome","data":{"session":"s1","received":-1,"ping":1000,"timeout":1,"ack":6}}`,
	} {
		t.Run(bad, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t)
				c := client.New("ws://server", s.options(client.Options{}))
				t.Cleanup(c.Abort)
				c.Redial()
				p := s.accept()
				p.expect(`{"type":"$hello","data":{"try":1}}`)
				p.send(bad)
				p.expectClose(4400)
				s.welcomed(`{"try":2}`, fresh)
				if err := c.Connect(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A server that says nothing is given up after ConnectTimeout, at each step.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		silent := func(ctx context.Context, _, _ string) (net.Conn, error) {
			a, b := net.Pipe()
			go func() {
				buf := make([]byte, 1000)
				for {
					if _, err := b.Read(buf); err != nil {
						return
					}
				}
			}()
			return a, nil
		}
		stuck := func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		token := func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}
		mute := *s.options(client.Options{}).Dialer
		for name, o := range map[string]client.Options{
			"token":     {Token: token, Dialer: &mute},
			"dial":      {Dialer: &websocket.Dialer{NetDialContext: stuck}},
			"handshake": {Dialer: &websocket.Dialer{NetDialContext: silent}},
			"welcome":   {Dialer: &mute},
		} {
			start := time.Now()
			failed := make(chan time.Duration, 10)
			o.Manual = true
			o.State = func(s client.State, err error) {
				if s == client.Waiting {
					failed <- time.Since(start)
				}
			}
			c := client.New("ws://server/", &o)
			if err := c.Connect(t.Context()); err == nil {
				t.Errorf("%s: no error", name)
			}
			if d := <-failed; d != 10*time.Second {
				t.Errorf("%s: given up after %v", name, d)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// HTTP answers are read like close codes.
func TestRefused(t *testing.T) {
	for status, want := range map[int]struct {
		code  int
		final bool
	}{
		401: {4401, true}, 403: {4403, true}, 404: {0, true}, 429: {0, false}, 503: {0, false}, 500: {0, false}, 200: {0, true},
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t)
				s.refuse(status)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := client.Dial(ctx, "ws://server/", s.options(client.Options{}))
				var ce *wsctl.CloseError
				if errors.As(err, &ce) != (want.code != 0) || ce != nil && ce.Code != want.code {
					t.Errorf("got %v", err)
				}
				if errors.Is(err, client.ErrClosed) != want.final || errors.Is(err, context.DeadlineExceeded) == want.final {
					t.Errorf("final or not: %v", err)
				}
			})
		})
	}
	for _, url := range []string{"ftp://x", ":", "server:80", ""} {
		if _, err := client.Dial(t.Context(), url, nil); !errors.Is(err, client.ErrClosed) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A server that doesn't know the protocol is refused, not spoken to without its guarantees.
func TestOnlyPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		s.up.Subprotocols = nil
		if _, err := client.Dial(t.Context(), "ws://server/", s.options(client.Options{})); !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
		c, err := client.Dial(t.Context(), "ws://server/", s.options(client.Options{Plain: true}))
		if err != nil {
			t.Fatal(err)
		}
		c.Abort()
	})
}

// Whatever way a Dialer is told to dial, that is taken, and its value isn't changed.
func TestDialers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		for name, d := range map[string]*websocket.Dialer{
			"NetDial":        {NetDial: func(_, _ string) (net.Conn, error) { return s.l.Dial() }},
			"NetDialContext": {NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.l.DialContext(ctx) }},
		} {
			before := *d
			c := client.New("http://server/", &client.Options{Dialer: d, Header: http.Header{"X-Test": {name}}})
			c.Redial()
			p := s.welcomed(first, fresh)
			if got := p.header.Get("X-Test"); got != name {
				t.Errorf("%s: the header is %q", name, got)
			}
			c.Abort()
			if len(d.Subprotocols) != len(before.Subprotocols) || (d.NetDialContext == nil) != (before.NetDialContext == nil) {
				t.Errorf("%s is changed", name)
			}
		}
		secure := client.New("https://server/", &client.Options{Dialer: &websocket.Dialer{
			NetDialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.l.DialContext(ctx) },
		}})
		secure.Redial()
		s.welcomed(first, fresh)
		secure.Abort()
	})
}

// At the plain level the token is a header.
func TestPlainToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := client.New("ws://server/", s.options(client.Options{Plain: true, Token: func(context.Context) (string, error) { return "t", nil }}))
		c.Redial()
		p := s.accept()
		if got := p.header.Get("Authorization"); got != "Bearer t" {
			t.Errorf("the header is %q", got)
		}
		if got := p.header.Get("Sec-WebSocket-Protocol"); got != "" {
			t.Errorf("offers %q", got)
		}
		c.Abort()
	})
}
