package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// serve runs the server of main on a free port.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	srv, sockets := newServer()
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

// client is a page without a browser. Any WebSocket library does.
type client struct {
	t  *testing.T
	ws *websocket.Conn
}

// connect opens a socket. It reads the number of pages, which comes first.
func connect(t *testing.T, ts *httptest.Server, pages int) *client {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(strings.Replace(ts.URL, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	c := &client{t, ws}
	c.want(fmt.Sprintf(`{"type":"pages","data":%d}`, pages))
	return c
}

func (c *client) send(message string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		c.t.Fatal(err)
	}
}

// want reads messages, which must be these.
func (c *client) want(messages ...string) {
	c.t.Helper()
	for _, want := range messages {
		c.ws.SetReadDeadline(time.Now().Add(patience))
		_, got, err := c.ws.ReadMessage()
		if err != nil {
			c.t.Fatalf("%v instead of %s", err, want)
		}
		if string(got) != want {
			c.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestHello(t *testing.T) {
	ts := serve(t)
	one := connect(t, ts, 1)
	two := connect(t, ts, 2)
	one.want(`{"type":"pages","data":2}`)
	texts := []string{
		"Hey, you !",
		"Hey, again !",
		"You are kind of repeating yourself... It's the 3th time !",
		"You are kind of repeating yourself... It's the 4th time !",
	}
	for _, text := range texts {
		one.send(`{"type":"hello","data":""}`)
		one.want(fmt.Sprintf(`{"type":"hello_world","data":%q}`, text))
	}
	for _, text := range texts[:2] { // counts for itself
		two.send(`{"type":"hello"}`)
		two.want(fmt.Sprintf(`{"type":"hello_world","data":%q}`, text))
	}
}

func TestComputeGDC(t *testing.T) {
	tests := []struct {
		data string
		gdc  int64 // 0: wrong
	}{
		{`[12,18]`, 6},
		{`"[12, 18]"`, 6},
		{`" [ 12 , 18 ] "`, 6},
		{`[18,12]`, 6},
		{`[7,7]`, 7},
		{`[1,9007199254740991]`, 1},
		{`[9007199254740991,9007199254740991]`, 9007199254740991},
		{`"[9007199254740991,6361]"`, 6361},
		{`[5702887,9227465]`, 1}, // Fibonacci numbers: the most steps

		{`[0,18]`, 0},
		{`[12,0]`, 0},
		{`[0,0]`, 0},
		{`"[0,0]"`, 0},
		{`[-12,18]`, 0},
		{`"[12,-18]"`, 0},
		{`[12]`, 0},
		{`"[12]"`, 0},
		{`[]`, 0},
		{`[12,18,24]`, 0},
		{`12`, 0},
		{`"12"`, 0},
		{`""`, 0},
		{`"twelve"`, 0},
		{`["12","18"]`, 0},
		{`"\"[12,18]\""`, 0},
		{`[12,"eighteen"]`, 0},
		{`[12.5,18]`, 0},
		{`[1e400,18]`, 0},
		{`[9007199254740992,2]`, 0},
		{`"[2,9007199254740992]"`, 0},
		{`[9223372036854775807,2]`, 0},
		{`[9223372036854775808,2]`, 0},
		{`[2,123456789012345678901234567890]`, 0},
		{`[null,18]`, 0},
		{`null`, 0},
		{`"null"`, 0},
		{`true`, 0},
		{`{}`, 0},
		{`{"a":12,"b":18}`, 0},
		{`[[12,18]]`, 0},
		{`"[12,18"`, 0},
		{`"[12,18] and more"`, 0},
		{`"\ud800"`, 0},
	}
	ts := serve(t)
	c := connect(t, ts, 1)
	check := func(data string, gdc int64) {
		t.Run(data, func(t *testing.T) {
			c.t = t
			message, end := fmt.Sprintf(`{"type":"gdc","data":%d}`, gdc), fmt.Sprintf(`{"type":"$reply","id":1,"data":%d}`, gdc)
			if gdc == 0 {
				message = fmt.Sprintf(`{"type":"gdc","data":%q}`, wrongNumbers)
				end = fmt.Sprintf(`{"type":"$error","id":1,"data":{"code":"bad_request","message":%q}}`, wrongNumbers)
			}
			if data != "" {
				data = `,"data":` + data
			}
			c.send(`{"type":"compute_gdc"` + data + `}`)
			c.want(message)
			c.send(`{"type":"compute_gdc","id":1` + data + `}`)
			c.want(message, end)
		})
	}
	for _, test := range tests {
		check(test.data, test.gdc)
	}
	check("", 0) // no data at all
}

func TestPages(t *testing.T) {
	ts := serve(t)
	one := connect(t, ts, 1)
	two := connect(t, ts, 2)
	one.want(`{"type":"pages","data":2}`)
	three := connect(t, ts, 3)
	one.want(`{"type":"pages","data":3}`)
	two.want(`{"type":"pages","data":3}`)

	two.ws.Close() // without a word
	one.want(`{"type":"pages","data":2}`)
	three.want(`{"type":"pages","data":2}`)
	three.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(patience))
	one.want(`{"type":"pages","data":1}`)
	connect(t, ts, 2)
	one.want(`{"type":"pages","data":2}`)
}

// However many come and go at once, what is told last is right.
func TestPagesAtOnce(t *testing.T) {
	ts := serve(t)
	one := connect(t, ts, 1)
	const n = 20
	url := strings.Replace(ts.URL, "http", "ws", 1) + "/ws"
	dialed := make(chan *websocket.Conn)
	for range n {
		go func() {
			ws, _, err := websocket.DefaultDialer.Dial(url, nil)
			if err != nil {
				t.Error(err)
			}
			dialed <- ws
		}()
	}
	var others []*websocket.Conn
	for range n {
		if ws := <-dialed; ws != nil {
			others = append(others, ws)
		}
	}
	one.until(n, `{"type":"pages","data":21}`)
	for _, ws := range others {
		go ws.Close()
	}
	one.until(n, `{"type":"pages","data":1}`)
}

// until reads n messages, of which the last must be that one.
func (c *client) until(n int, last string) {
	c.t.Helper()
	var got []byte
	for range n {
		var err error
		c.ws.SetReadDeadline(time.Now().Add(patience))
		if _, got, err = c.ws.ReadMessage(); err != nil {
			c.t.Fatal(err)
		}
	}
	if string(got) != last {
		c.t.Fatalf("the last of %d messages is %s, want %s", n, got, last)
	}
}

// What a page must not reach it doesn't reach, by whatever name.
func TestOnlyMethodsOfPage(t *testing.T) {
	_, sockets := newServer()
	var exposed []string
	for _, r := range sockets.Routes() {
		if r.Type != "" {
			exposed = append(exposed, r.Type)
		}
	}
	if got := strings.Join(exposed, " "); got != "compute_gdc hello" {
		t.Errorf("pages can call %q", got)
	}
}

func TestPageIsServed(t *testing.T) {
	ts := serve(t)
	tests := []struct{ path, contentType, contains string }{
		{"/", "text/html", `src="/starter.js"`},
		{"/index", "text/html", `src="/starter.js"`},
		{"/starter.js", "text/javascript", "import { Client } from '/js/wsctl.js'"},
		{"/starter.css", "text/css", "prefers-color-scheme: dark"},
		{"/favicon.svg", "image/svg+xml", "<svg"},
		{"/js/wsctl.js", "text/javascript", "export"},
		{"/js/wsctl.global.js", "text/javascript", "SimpleSocketHandler"},
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
	for _, path := range []string{"/controller.go", "/nothing", "/js/nothing.js", "/index/"} {
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

// A client that stops in the middle of its handshake doesn't keep its connection.
func TestHalfAHandshake(t *testing.T) {
	srv, _ := newServer()
	if limit := srv.ReadHeaderTimeout; limit <= 0 || limit > time.Minute {
		t.Errorf("ReadHeaderTimeout is %v", limit)
	}
	srv.ReadHeaderTimeout = 50 * time.Millisecond // the test has no time
	ts := httptest.NewUnstartedServer(srv.Handler)
	ts.Config = srv
	ts.Start()
	defer ts.Close()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgr")
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Error("the connection is still there")
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
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

// Ctrl-C ends the program, and tells its pages to come back later.
func TestShutdown(t *testing.T) {
	url, stop, ended := start(t)
	ws, _, err := websocket.DefaultDialer.Dial(strings.Replace(url, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	stop()
	for {
		ws.SetReadDeadline(time.Now().Add(patience))
		if _, _, err = ws.ReadMessage(); err != nil {
			break
		}
	}
	if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the page sees %v, want 1001", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
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
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
}

// The sentence tells the limit that is checked.
func TestSentence(t *testing.T) {
	if limit := fmt.Sprint(maxNumber); !strings.Contains(wrongNumbers, limit) {
		t.Errorf("%q doesn't name %s", wrongNumbers, limit)
	}
}
