package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/wsctltest"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// serve runs the server of main on a free port, with a recorder that never runs.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	srv, sockets, _ := newServer()
	ts := httptest.NewUnstartedServer(srv.Handler)
	ts.Config = srv
	ts.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sockets.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		ts.Close()
	})
	return ts
}

func TestGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sockets, _ := newServer()
		c := wsctltest.Dial(t, sockets, nil)
		if s := wsctltest.Expect[Server](c, "server"); s.Go != runtime.Version() || !strings.Contains(s.OS, "/") || s.CPUs < 1 {
			t.Errorf("%+v", s)
		}
		c.Quiet()
		c.Cut()
		if !c.Reconnect() {
			t.Error("the session is lost")
		}
		c.Quiet() // it's the same server still
	})
}

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sockets, _ := newServer()
		c, other := wsctltest.Dial(t, sockets, nil), wsctltest.Dial(t, sockets, nil)
		wsctltest.Expect[Server](c, "server")
		wsctltest.Expect[Server](other, "server")
		for n := range 1000 {
			c.Send("ping", n)
			if n == 500 {
				c.Cut()
				c.Reconnect()
			}
		}
		for n := range 1000 {
			if got := wsctltest.Expect[int](c, "pong"); got != n {
				t.Fatalf("%d comes back as number %d", got, n)
			}
		}
		c.Quiet()
		other.Quiet() // it's nobody else's
	})
}

// What makes no sense is refused, and the page is told why.
func TestWrongSince(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		c := wsctltest.Dial(t, h.sockets, nil)
		for _, test := range []struct {
			since any
			text  string
		}{
			{Since{h.recorder.run, 2}, "sample 2 hasn't been measured yet"},
			{Since{h.recorder.run, 1 << 62}, "sample 4611686018427387904 hasn't been measured yet"},
			{Since{h.recorder.run, -1}, "samples are counted from 1"},
			{Since{"", -1 << 63}, "samples are counted from 1"},
			{"17", ""},
			{17, ""},
			{[]int{1, 2}, ""},
			{map[string]any{"n": "17"}, ""},
			{map[string]any{"n": 1.5}, ""},
			{map[string]any{"n": 1e30}, ""},
			{map[string]any{"run": 1}, ""},
		} {
			err := c.Call("metrics", test.since, nil)
			var e *wsctl.Error
			if !errors.As(err, &e) || e.Code != wsctl.CodeBadRequest || !strings.Contains(e.Message, test.text) {
				t.Errorf("%v: %v, want %s: %s", test.since, err, wsctl.CodeBadRequest, test.text)
			}
		}
		if st := h.sockets.Stats(); st.Streams != 0 || st.Panics != 0 {
			t.Errorf("%+v", st)
		}
		for _, data := range []any{"one", 1.5, []int{1}, nil} { // nil is none, so 0
			c.Send("ping", data)
		}
		settle()
		if st := h.sockets.Stats(); st.Sockets != 1 {
			t.Errorf("wrong pings: %+v", st)
		}
	})
}

// What a page must not reach it doesn't reach, by whatever name.
func TestRoutes(t *testing.T) {
	_, sockets, _ := newServer()
	var exposed []string
	for _, r := range sockets.Routes() {
		if r.Type != "" {
			exposed = append(exposed, r.Type+" "+r.Kind)
		}
	}
	if got := strings.Join(exposed, ", "); got != "metrics stream, ping message" {
		t.Errorf("pages can call %q", got)
	}
}

func TestPageIsServed(t *testing.T) {
	ts := serve(t)
	tests := []struct{ path, contentType, contains string }{
		{"/", "text/html", `src="/dashboard.js"`},
		{"/dashboard.js", "text/javascript", "import { Client } from '/js/wsctl.js'"},
		{"/chart.js", "text/javascript", "export class Chart"},
		{"/dashboard.css", "text/css", "prefers-color-scheme: dark"},
		{"/favicon.svg", "image/svg+xml", "<svg"},
		{"/js/wsctl.js", "text/javascript", "export"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			res, err := ts.Client().Get(ts.URL + test.path)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), test.contentType) {
				t.Errorf("%s, %s", res.Status, res.Header.Get("Content-Type"))
			}
			if !strings.Contains(string(body), test.contains) {
				t.Errorf("no %q in it", test.contains)
			}
			if got := res.Header.Get("Content-Security-Policy"); got != "default-src 'self'" {
				t.Errorf("Content-Security-Policy: %q", got)
			}
			if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("X-Content-Type-Options: %q", got)
			}
		})
	}
	for _, path := range []string{"/controller.go", "/dashboard.png", "/nothing", "/js/nothing.js"} {
		res, err := ts.Client().Get(ts.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

func TestOtherOriginsAreRefused(t *testing.T) {
	ts := serve(t)
	for origin, status := range map[string]int{
		ts.URL:                 http.StatusSwitchingProtocols,
		"https://evil.example": http.StatusForbidden,
		"null":                 http.StatusForbidden,
	} {
		ws, res, err := websocket.DefaultDialer.Dial(strings.Replace(ts.URL, "http", "ws", 1)+"/ws", http.Header{"Origin": {origin}})
		if res == nil {
			t.Fatal(err)
		}
		if ws != nil {
			ws.Close()
		}
		if res.StatusCode != status {
			t.Errorf("%s: %s, want %d", origin, res.Status, status)
		}
	}
}

// start runs the whole program, until the test's end or stop.
func start(t *testing.T) (url string, stop func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, "localhost:0", in)
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	_, line, _ = strings.Cut(line, "Open ")
	url, _, _ = strings.Cut(line, " ")
	return url, cancel, done
}

// Ctrl-C ends the program, though a page streams for as long as there is something to measure.
func TestShutdown(t *testing.T) {
	url, stop, ended := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Dial(ctx, strings.Replace(url, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	samples := 0
	for s, err := range client.Stream[Sample](ctx, c, "metrics", nil) {
		if err != nil {
			var e *wsctl.Error
			if !errors.As(err, &e) || e.Code != wsctl.CodeUnavailable {
				t.Errorf("the stream ends with %v", err)
			}
			break
		}
		if samples++; s.N != int64(samples) {
			t.Errorf("sample %d is number %d", samples, s.N)
		}
		stop()
	}
	if samples == 0 {
		t.Error("no samples")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("the program goes on")
	}
	if _, err := http.Get(url); err == nil {
		t.Error("the server still answers")
	}
}

func TestTakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	err = run(t.Context(), addr, io.Discard)
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"can't listen on " + addr, "another program", "-addr"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q isn't in the message: %v", part, err)
		}
	}
}
