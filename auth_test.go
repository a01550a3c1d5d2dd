package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// Authenticate gets what a plain client can show: the token of the Authorization header, cookies, other headers.
func TestAuthenticateSees(t *testing.T) {
	for _, c := range []struct{ header, token string }{
		{"Bearer abc.def-_~+/==", "abc.def-_~+/=="},
		{"bearer abc", "abc"},
		{"BEARER  abc ", "abc"},
		{"Bearer", ""},
		{"Bearer ", ""},
		{"Bearerabc", ""},
		{"Basic abc", ""},
		{"Token Bearer abc", ""},
		{"abc", ""},
		{"", ""},
	} {
		t.Run(c.header, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				calls := 0
				l := newLab(t, &puppet{}, &wsctl.Options{Authenticate: func(ctx context.Context, r *http.Request, token string) (wsctl.Identity, error) {
					calls++
					cookie, err := r.Cookie("sid")
					if err != nil || r.Header.Get("X-Own") != "x" || token != c.token {
						t.Errorf("token %q, want %q; cookie %v; headers %v", token, c.token, cookie, r.Header)
					}
					if by, ok := ctx.Deadline(); !ok || time.Until(by) != 10*time.Second {
						t.Errorf("deadline %v", by)
					}
					return wsctl.Identity{User: "u", Value: cookie.Value}, nil
				}})
				h := http.Header{"Cookie": {"a=b; sid=42"}, "X-Own": {"x"}}
				if c.header != "" {
					h.Set("Authorization", c.header)
				}
				p := l.peer(t, h)
				if id := p.s.Identity(); id.User != "u" || id.Value != "42" || !id.Expires.IsZero() || calls != 1 {
					t.Errorf("%+v after %d calls", id, calls)
				}
				must(t, l.hub.User("u").Send("m", 1))
				p.want(message("m", 1))
			})
		})
	}
}

// Nobody is asked without Authenticate, and then a socket is nobody in particular.
func TestNoAuthenticate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newLab(t, &puppet{}, nil).peer(t, http.Header{"Authorization": {"Bearer x"}})
		if id := p.s.Identity(); id != (wsctl.Identity{}) {
			t.Errorf("%+v", id)
		}
	})
}

// Whom Authenticate refuses gets an HTTP status, the text of an *Error and never another error's; and nothing is left.
func TestAuthenticateRefuses(t *testing.T) {
	secret := errors.New("secret")
	for _, c := range []struct {
		name   string
		err    error // nil: panics
		status int
		body   string
		logged bool
	}{
		{"unauthenticated", wsctl.Errorf(wsctl.CodeUnauthenticated, "log in"), 401, "log in", false},
		{"forbidden", wsctl.Errorf(wsctl.CodeForbidden, "go away"), 403, "go away", false},
		{"too many", wsctl.Errorf(wsctl.CodeTooMany, "slowly"), 429, "slowly", false},
		{"wrapped", fmt.Errorf("secret: %w", wsctl.Errorf(wsctl.CodeForbidden, "not you")), 403, "not you", false},
		{"joined", errors.Join(secret, wsctl.Errorf(wsctl.CodeForbidden, "not you")), 403, "not you", false},
		{"another code", wsctl.Errorf(wsctl.CodeNotFound, "secret"), 500, "Internal Server Error", true},
		{"own code", wsctl.Errorf("own", "secret"), 500, "Internal Server Error", true},
		{"another error", secret, 500, "Internal Server Error", true},
		{"CloseError", &wsctl.CloseError{Code: 4401, Reason: "secret"}, 500, "Internal Server Error", true},
		{"panic", nil, 500, "Internal Server Error", true},
		{"nil *Error", nilError, 500, "Internal Server Error", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				refuse := true
				l := newLab(t, &puppet{open: func(*wsctl.Socket, *http.Request) error {
					if refuse {
						t.Error("OnOpen is asked")
					}
					return nil
				}}, &wsctl.Options{MaxConns: 1, Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
					if !refuse {
						return wsctl.Identity{}, nil
					}
					if c.err == nil {
						panic("secret panic")
					}
					return wsctl.Identity{User: "ann"}, c.err
				}})
				_, resp, err := l.tryDial(t, nil)
				if err == nil || resp == nil {
					t.Fatalf("dial: %v", err)
				}
				body, _ := io.ReadAll(resp.Body)
				if got := strings.TrimSpace(string(body)); resp.StatusCode != c.status || got != c.body {
					t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, c.status, c.body)
				}
				if got := resp.Header.Get("WWW-Authenticate"); (got != "") != (c.status == 401) {
					t.Errorf("WWW-Authenticate: %q", got)
				}
				if strings.Contains(l.log.String(), "secret") != c.logged {
					t.Errorf("log: %s", l.log)
				}
				if st := l.h.Stats(); st.Refused != 1 || st.Opened != 0 || st.Sockets != 0 {
					t.Errorf("%+v", st)
				}
				if n := l.hub.User("ann").Len(); n != 0 {
					t.Errorf("%d sockets of the refused user", n)
				}
				refuse = false
				l.peer(t, nil) // its place is free again
			})
		})
	}
}

// A User that couldn't name a room is no user.
func TestAuthenticateLongUser(t *testing.T) {
	for n, ok := range map[int]bool{0: true, 128: true, 129: false} {
		bubble(t, func(t *testing.T) {
			user := strings.Repeat("x", n)
			l := newLab(t, &puppet{}, &wsctl.Options{Authenticate: userOf})
			_, resp, err := l.tryDial(t, asUser(user))
			if (err == nil) != ok || !ok && resp.StatusCode != 500 {
				t.Errorf("a user of %d bytes: %v", n, err)
			}
		})
	}
}

// Authenticate may take HandshakeTimeout; its context ends earlier if the client goes.
func TestAuthenticateContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		start := time.Now()
		l := newLab(t, &puppet{}, &wsctl.Options{HandshakeTimeout: 3 * time.Second, Authenticate: func(ctx context.Context, _ *http.Request, _ string) (wsctl.Identity, error) {
			<-ctx.Done()
			ended <- time.Since(start)
			return wsctl.Identity{}, ctx.Err()
		}})
		if _, resp, _ := l.tryDial(t, nil); resp == nil || resp.StatusCode != 500 {
			t.Errorf("%+v", resp)
		}
		if d := <-ended; d != 3*time.Second {
			t.Errorf("the context ended after %v", d)
		}
		start = time.Now()
		nc, err := l.Dial()
		must(t, err)
		fmt.Fprint(nc, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
		synctest.Wait()
		nc.Close()
		if d := <-ended; d != 0 {
			t.Errorf("after the client had gone the context ended after %v", d)
		}
	})
}

// A credential's end closes the socket, when it comes, and no other.
func TestIdentityExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		start := time.Now()
		told := make(chan error, 10)
		l := newLab(t, &puppet{close: func(_ *wsctl.Socket, err error) { told <- err }}, &wsctl.Options{
			PingInterval: -1, PingTimeout: -1, WriteTimeout: -1,
			Authenticate: func(_ context.Context, r *http.Request, _ string) (wsctl.Identity, error) {
				d, err := time.ParseDuration(r.Header.Get("User"))
				if err != nil {
					return wsctl.Identity{}, nil
				}
				return wsctl.Identity{Expires: start.Add(d)}, nil
			}})
		other := l.peer(t, nil)
		p := l.peer(t, asUser("45s"))
		if got := p.s.Identity().Expires; !got.Equal(start.Add(45 * time.Second)) {
			t.Errorf("Expires %v", got)
		}
		p.wantClosed(4401, "")
		if d := time.Since(start) - 45*time.Second; d < 0 || d > time.Second {
			t.Errorf("closed %v after the time", d)
		}
		if err := <-told; err.(*wsctl.CloseError).Code != wsctl.CloseUnauthenticated {
			t.Errorf("told %v", err)
		}
		_, resp, err := l.tryDial(t, asUser("1s")) // has expired already
		if err == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("expired before: %v %v", resp, err)
		}
		time.Sleep(time.Hour)
		must(t, other.s.Send("m", 1))
		other.want(message("m", 1))
	})
}

// More than MaxConns are refused; a place is free again when a socket has gone. Those of Authenticate count.
func TestMaxConnsPlaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		inside, release := make(chan bool, 10), make(chan bool, 10)
		l := newLab(t, &puppet{}, &wsctl.Options{MaxConns: 2, Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
			inside <- true
			<-release
			return wsctl.Identity{}, nil
		}})
		full := func() {
			t.Helper()
			_, resp, err := l.tryDial(t, nil)
			if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("got %v %v", resp, err)
			}
		}
		release <- true
		a := l.peer(t, nil)
		dialed := make(chan *peer)
		go func() { dialed <- l.peer(t, nil) }()
		<-inside
		<-inside
		full()
		release <- true
		<-dialed
		full()
		must(t, a.s.Close(1000, ""))
		a.wantClosed(1000, "")
		a.ws.Close()
		synctest.Wait()
		release <- true
		b := l.peer(t, nil)
		full()
		b.nc.Close()
		synctest.Wait()
		release <- true
		l.peer(t, nil)
		if n := l.h.Stats().Refused; n != 3 {
			t.Errorf("%d refused", n)
		}
	})
	bubble(t, func(t *testing.T) { // negative: no limit
		newLab(t, &puppet{}, &wsctl.Options{MaxConns: -1}).peers(t, 5)
	})
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		origin   string
		patterns []string
		ok       bool
	}{
		{"", nil, true}, // no browser
		{"http://example.com", nil, true},
		{"https://example.com", nil, true}, // behind a proxy that ends TLS
		{"http://EXAMPLE.com", nil, true},
		{"http://example.com:80", nil, false}, // browsers leave the scheme's port out
		{"http://example.com:8080", nil, false},
		{"http://sub.example.com", nil, false},
		{"http://example.com.evil.com", nil, false},
		{"http://evilexample.com", nil, false},
		{"http://evil.com#example.com", nil, false},
		{"http://example.com@evil.com", nil, false},
		{"null", nil, false},
		{"example.com", nil, false},
		{"file://", nil, false},
		{"http://[::1", nil, false},
		{"http://exa mple.com", nil, false},
		{"%zz", nil, false},
		{"null", []string{"*"}, true},
		{"http://other.com:1234", []string{"*"}, true},
		{"chrome-extension://abcdef", []string{"abcdef"}, true},
		{"null", []string{"null", "?*", "*.com"}, false},
		{"http://app.example.com", []string{"app.example.com"}, true},
		{"http://APP.example.com", []string{"app.example.COM"}, true},
		{"http://app.example.com:81", []string{"app.example.com"}, false},
		{"http://app.example.com", []string{"x", "*.example.com"}, true},
		{"http://a.b.example.com", []string{"*.example.com"}, true},
		{"http://www.other.com", []string{"*.example.com"}, false},
		{"http://evilexample.com", []string{"*.example.com"}, false},
		{"http://app.example.com.evil.com", []string{"*.example.com"}, false},
		{"http://app.example.com:81", []string{"*.example.com"}, false},
		{"http://app.example.com:81", []string{"*.example.com:81"}, true},
		{"http://localhost:3000", []string{"localhost:*"}, true},
		{"http://localhost", []string{"localhost:*"}, false},
		{"http://localhost.evil.com:3000", []string{"localhost:*"}, false},
		{"http://[::1]:3000", []string{`\[::1\]:*`}, true},
		{"http://example.com", []string{"other.com"}, true}, // its own host needs no pattern
	} {
		t.Run(fmt.Sprint(c.origin, c.patterns), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				asked := false
				l := newLab(t, &puppet{}, &wsctl.Options{Origins: c.patterns, Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
					asked = true
					return wsctl.Identity{}, nil
				}})
				header := http.Header{}
				if c.origin != "" {
					header.Set("Origin", c.origin)
				}
				_, resp, err := l.tryDial(t, header)
				if (err == nil) != c.ok || asked != c.ok {
					t.Errorf("dial: %v, want ok %t; Authenticate was asked: %t", err, c.ok, asked)
				}
				if !c.ok && (resp == nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(l.log.String(), "origin")) {
					t.Errorf("refused with %v, log %s", resp, l.log)
				}
				if n := l.h.Stats().Refused; (n == 0) != c.ok {
					t.Errorf("%d refused", n)
				}
			})
		})
	}
}

// Whoever offers other subprotocols is served as whoever offers none.
func TestSubprotocols(t *testing.T) {
	for _, offer := range []string{"wsctl.v2", "chat", "chat, WSCTL.V1"} {
		bubble(t, func(t *testing.T) {
			l := newLab(t, &puppet{}, nil)
			c, resp, err := l.tryDial(t, http.Header{"Sec-Websocket-Protocol": {offer}})
			must(t, err)
			if got := resp.Header.Values("Sec-WebSocket-Protocol"); len(got) > 0 || c.ws.Subprotocol() != "" {
				t.Errorf("%s: selected %v", offer, got)
			}
			must(t, l.hub.Broadcast("m", 1))
			c.want(message("m", 1)) // no $welcome
			c.send(`{"type":"$hello","data":{"try":1}}`, `{"type":"$ping"}`)
			c.quiet()
			if n := l.h.Stats().BadMessages; n != 0 {
				t.Errorf("%d bad messages", n)
			}
		})
	}
}

// What is no WebSocket handshake gets an HTTP answer, and Authenticate isn't asked where that is clear from the start.
func TestPlainGET(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		tr := &http.Transport{DialContext: l.transportDial, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr}).Get("http://example.com/ws")
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUpgradeRequired || resp.Header.Get("Upgrade") != "websocket" {
			t.Errorf("%s %v", resp.Status, resp.Header)
		}
		if n := l.h.Stats().Refused; n != 1 {
			t.Errorf("%d refused", n)
		}
	})
}
