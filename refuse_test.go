package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// Requests that are no handshake, in the order that ServeHTTP promises: nobody is asked about them.
func TestNoHandshake(t *testing.T) {
	good := map[string]string{
		"Connection": "keep-alive, Upgrade", "Upgrade": "websocket",
		"Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	tests := []struct {
		name, method string
		change       map[string]string
		want         int
	}{
		{"plain GET", "GET", map[string]string{"Connection": "", "Upgrade": ""}, http.StatusUpgradeRequired},
		{"plain POST", "POST", map[string]string{"Connection": "", "Upgrade": ""}, http.StatusUpgradeRequired},
		{"another upgrade", "GET", map[string]string{"Upgrade": "h2c"}, http.StatusUpgradeRequired},
		{"no Connection", "GET", map[string]string{"Connection": "close"}, http.StatusUpgradeRequired},
		{"POST", "POST", nil, http.StatusMethodNotAllowed},
		{"another version", "GET", map[string]string{"Sec-Websocket-Version": "8"}, http.StatusUpgradeRequired},
		{"no key", "GET", map[string]string{"Sec-Websocket-Key": ""}, http.StatusBadRequest},
		{"short key", "GET", map[string]string{"Sec-Websocket-Key": "abc"}, http.StatusBadRequest},
		{"another origin", "GET", map[string]string{"Origin": "https://evil.example"}, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := false
			h, _ := newHandler(t, &kit{}, &wsctl.Options{Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
				asked = true
				return wsctl.Identity{}, nil
			}})
			r := httptest.NewRequest(tt.method, "http://example.com/ws", nil)
			for _, m := range []map[string]string{good, tt.change} {
				for k, v := range m {
					r.Header.Set(k, v)
					if v == "" {
						r.Header.Del(k)
					}
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want || w.Body.Len() == 0 {
				t.Errorf("status %d %q, want %d", w.Code, w.Body, tt.want)
			}
			if tt.want == http.StatusUpgradeRequired && w.Header().Get("Upgrade") != "websocket" {
				t.Errorf("header %v", w.Header())
			}
			if asked {
				t.Error("Authenticate was asked")
			}
			if st := h.Stats(); st.Refused != 1 || st.Opened != 0 {
				t.Errorf("%+v", st)
			}
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// What Authenticate and OnOpen answer, also the worst, leaves nothing behind.
func TestRefusals(t *testing.T) {
	secret := errors.New("secret")
	var nilPath *fs.PathError
	tests := []struct {
		name    string
		err     func() error
		status  int // of Authenticate
		code    int // of OnOpen
		message string
	}{
		{"unauthenticated", func() error { return wsctl.Errorf("unauthenticated", "who?") }, 401, 4401, "who?"},
		{"forbidden", func() error { return fmt.Errorf("secret: %w", wsctl.Errorf("forbidden", "no")) }, 403, 4403, "no"},
		{"too many", func() error { return wsctl.Errorf("too_many", "slowly") }, 429, 4429, "slowly"},
		{"another code", func() error { return wsctl.Errorf("bad_request", "secret") }, 500, 1011, ""},
		{"another error", func() error { return secret }, 500, 1011, ""},
		{"CloseError", func() error { return &wsctl.CloseError{Code: 4000, Reason: "own"} }, 500, 4000, ""},
		{"panic", func() error { panic(secret) }, 500, 1011, ""},
		{"nil pointer in an error", func() error { return nilPath }, 500, 1011, ""},
		{"nil Error", func() error { return (*wsctl.Error)(nil) }, 500, 1011, ""},
		{"nil CloseError", func() error { return (*wsctl.CloseError)(nil) }, 500, 1011, ""},
	}
	for _, tt := range tests {
		t.Run("Authenticate/"+tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, log := newHandler(t, &kit{}, &wsctl.Options{Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
					return wsctl.Identity{}, tt.err()
				}})
				_, resp, err := serve(t, h).tryDial(t, nil)
				if resp == nil {
					t.Fatalf("no response: %v", err)
				}
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.message) || strings.Contains(string(body), "secret") {
					t.Errorf("%s: %s", resp.Status, body)
				}
				if (tt.status == 500) != strings.Contains(log.String(), "ERROR") {
					t.Errorf("logged %s", log)
				}
				nothingLeft(t, h)
			})
		})
		t.Run("OnOpen/"+tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				told := false
				h, log := newHandler(t, &kit{
					opened: func(*wsctl.Socket, *http.Request) error { return tt.err() },
					closed: func(*wsctl.Socket, error) { told = true },
				}, nil)
				c := serve(t, h).dial(t, nil)
				code, reason := c.closed()
				if code != tt.code || !strings.Contains(reason, tt.message) || strings.Contains(reason, "secret") {
					t.Errorf("closed with %d %q, want %d", code, reason, tt.code)
				}
				if (tt.code == 1011) != strings.Contains(log.String(), "ERROR") {
					t.Errorf("logged %s", log)
				}
				c.ws.Close()
				synctest.Wait()
				if told {
					t.Error("OnClose was told")
				}
				nothingLeft(t, h)
			})
		})
	}
}

// nothingLeft fails unless one handshake was refused, and Shutdown has nothing to wait for.
func nothingLeft(t *testing.T, h *wsctl.Handler) {
	t.Helper()
	if st := h.Stats(); st.Refused != 1 || st.Opened != 0 || st.Sockets != 0 || len(st.Closed) != 0 || h.Hub().Everyone().Len() != 0 {
		t.Errorf("%+v, %d members", st, h.Hub().Everyone().Len())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A middleware that can only be unwrapped works, one that hides the connection fails, and the log says why.
func TestWrappedResponseWriter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{}, nil)
		wrap := func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(onlyUnwrap{onlyUnwrap{w}}, r) }
		serve(t, http.HandlerFunc(wrap)).dial(t, nil).lives()
	})
	bubble(t, func(t *testing.T) {
		h, log := newHandler(t, &kit{}, nil)
		_, resp, err := serve(t, http.TimeoutHandler(h, time.Minute, "")).tryDial(t, nil)
		if resp == nil || resp.StatusCode != http.StatusInternalServerError {
			t.Fatalf("%v, %v", resp, err)
		}
		if !strings.Contains(log.String(), "TimeoutHandler") {
			t.Errorf("logged %s", log)
		}
		nothingLeft(t, h)
	})
}

type onlyUnwrap struct{ w http.ResponseWriter }

func (u onlyUnwrap) Header() http.Header         { return u.w.Header() }
func (u onlyUnwrap) Write(b []byte) (int, error) { return u.w.Write(b) }
func (u onlyUnwrap) WriteHeader(status int)      { u.w.WriteHeader(status) }
func (u onlyUnwrap) Unwrap() http.ResponseWriter { return u.w }

// MaxConns counts what is open, or being opened, and nothing else.
func TestMaxConns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{opened: func(_ *wsctl.Socket, r *http.Request) error {
			if r.Header.Get("X-Refuse") != "" {
				return errors.New("no")
			}
			return nil
		}}, &wsctl.Options{MaxConns: 2})
		srv := serve(t, h)
		for range 5 {
			c := srv.dial(t, http.Header{"X-Refuse": {"1"}})
			c.wantClosed(1011, "")
			c.ws.Close()
			synctest.Wait()
		}
		a, b := srv.dial(t, nil), srv.dial(t, nil)
		if _, resp, err := srv.tryDial(t, nil); err == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a third client: %v", err)
		}
		a.ws.Close()
		synctest.Wait()
		srv.dial(t, nil).lives()
		b.lives()
	})
}
