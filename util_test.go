package wsctl_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// In these tests a server and its clients live in a synctest bubble, over a network in memory: time passes only while
// everybody waits, so a timeout of seconds costs nothing, and "nothing happens" can be known.

// bubble runs fn in a synctest bubble.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, fn)
}

// server is an HTTP server in memory.
type server struct {
	*mempipe.Listener
	http *http.Server
	log  *logBuffer
}

// serve serves h until t ends. Goroutines that h then leaves behind fail the bubble.
func serve(t testing.TB, h http.Handler) *server {
	s := &server{Listener: mempipe.Listen(), log: &logBuffer{}}
	s.http = &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(s.log, nil), slog.LevelError)}
	go s.http.Serve(s.Listener)
	t.Cleanup(func() { s.http.Close() })
	return s
}

// newHandler is wsctl.New with a log that doesn't disturb the tests' own.
func newHandler(t testing.TB, controller any, opts *wsctl.Options) (*wsctl.Handler, *logBuffer) {
	o := wsctl.Options{}
	if opts != nil {
		o = *opts
	}
	log := &logBuffer{}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return wsctl.New(controller, &o), log
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu sync.Mutex // guards following
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// client is a plain WebSocket client that doesn't know wsctl.
type client struct {
	t  testing.TB
	ws *websocket.Conn
	nc *mempipe.Conn
}

// dial opens a client; header may be nil.
func (s *server) dial(t testing.TB, header http.Header) *client {
	t.Helper()
	c, resp, err := s.tryDial(t, header)
	if err != nil {
		status := ""
		if resp != nil {
			status = resp.Status
		}
		t.Fatalf("dial: %v %s", err, status)
	}
	return c
}

// tryDial is dial where it may be refused.
func (s *server) tryDial(t testing.TB, header http.Header) (*client, *http.Response, error) {
	c := &client{t: t}
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		nc, err := s.Listener.DialContext(ctx)
		if err == nil {
			c.nc = nc.(*mempipe.Conn)
		}
		return nc, err
	}}
	ws, resp, err := d.Dial("ws://example.com/ws", header)
	c.ws = ws
	if err == nil {
		t.Cleanup(func() { ws.Close() })
	}
	return c, resp, err
}

// send writes text messages.
func (c *client) send(messages ...string) {
	c.t.Helper()
	for _, m := range messages {
		if err := c.ws.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			c.t.Fatalf("send %.100s: %v", m, err)
		}
	}
}

// patience is how long a client waits for what must come: a minute, which in a bubble takes no time.
const patience = time.Minute

// read returns the next message.
func (c *client) read() string {
	c.t.Helper()
	c.ws.SetReadDeadline(time.Now().Add(patience))
	_, b, err := c.ws.ReadMessage()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return string(b)
}

// want fails unless these are the next messages, to the letter.
func (c *client) want(messages ...string) {
	c.t.Helper()
	for _, m := range messages {
		if got := c.read(); got != m {
			c.t.Fatalf("got  %s\nwant %s", got, m)
		}
	}
}

// quiet fails if there is a message to read. In a bubble only: it waits until nothing more can happen.
func (c *client) quiet() {
	c.t.Helper()
	synctest.Wait()
	if n := c.nc.Buffered(); n > 0 {
		c.t.Fatalf("%d bytes to read, among them %s", n, c.read())
	}
}

// closed reads until the server's close frame, answers it, and returns its code and reason. Messages are skipped.
func (c *client) closed() (code int, reason string) {
	c.t.Helper()
	c.ws.SetReadDeadline(time.Now().Add(patience))
	for {
		_, _, err := c.ws.ReadMessage()
		var ce *websocket.CloseError
		if errors.As(err, &ce) {
			return ce.Code, ce.Text
		}
		if err != nil {
			c.t.Fatalf("read: %v", err)
		}
	}
}

// wantClosed fails unless the server closes with code and a reason that contains text.
func (c *client) wantClosed(code int, text string) {
	c.t.Helper()
	if got, reason := c.closed(); got != code || !strings.Contains(reason, text) {
		c.t.Fatalf("closed with %d %q, want %d %q", got, reason, code, text)
	}
}
