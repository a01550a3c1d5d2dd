package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// server is a scripted server of wsctl.v1: the test accepts each connection and says every word itself.
type server struct {
	t     *testing.T
	l     *mempipe.Listener
	conns chan *peer
	up    websocket.Upgrader

	status atomic.Int64 // to answer instead; 0: none
}

// refuse has the server answer with an HTTP status.
func (s *server) refuse(status int) { s.status.Store(int64(status)) }

// peer is the server's end of one connection.
type peer struct {
	t      *testing.T
	ws     *websocket.Conn
	header http.Header // of the client's request
}

// serve starts a server. In a synctest bubble it is called inside.
func serve(t *testing.T) *server {
	s := &server{t: t, l: mempipe.Listen(), conns: make(chan *peer, 100)}
	s.up.Subprotocols = []string{"wsctl.v1"}
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := s.status.Load(); status != 0 {
			w.WriteHeader(int(status))
			return
		}
		ws, err := s.up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		s.conns <- &peer{t, ws, r.Header}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.Serve(s.l)
	}()
	t.Cleanup(func() {
		_ = hs.Close()
		<-done
	})
	return s
}

// options are o with a dialer that reaches the server, and no log.
func (s *server) options(o client.Options) *client.Options {
	o.Dialer = &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.l.DialContext(ctx) }}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &o
}

// accept waits for the next connection.
func (s *server) accept() *peer {
	s.t.Helper()
	select {
	case p := <-s.conns:
		return p
	case <-time.After(time.Hour):
		s.t.Fatal("the client doesn't dial")
		return nil
	}
}

// welcomed accepts the next connection, and takes its $hello, which must be want, and answers with data.
func (s *server) welcomed(want, data string) *peer {
	s.t.Helper()
	p := s.accept()
	p.expect(`{"type":"$hello","data":` + want + `}`)
	p.send(`{"type":"$welcome","data":` + data + `}`)
	return p
}

const (
	first  = `{"try":1}`
	fresh  = `{"session":"s1","resumed":false,"received":0,"ping":25000,"timeout":10000,"max":1000,"ack":4,"window":2,"schema":"x"}`
	fresh2 = `{"session":"s2","resumed":false,"received":0,"ping":25000,"timeout":10000,"max":1000,"ack":4,"window":2,"schema":"x"}`
)

// open starts a client and a session s1.
func (s *server) open(o client.Options) (*client.Client, *peer) {
	s.t.Helper()
	c := client.New("ws://server/", s.options(o))
	s.t.Cleanup(c.Abort)
	c.Redial()
	p := s.welcomed(first, fresh)
	p.expect(`{"type":"$ack","data":0}`)
	return c, p
}

func (p *peer) send(messages ...string) {
	p.t.Helper()
	for _, m := range messages {
		if err := p.ws.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			p.t.Fatalf("writing %s: %v", m, err)
		}
	}
}

// expect reads messages, which must be these.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		_, b, err := p.ws.ReadMessage()
		if err != nil {
			p.t.Fatalf("reading %s: %v", w, err)
		}
		if string(b) != w {
			p.t.Fatalf("the client sent %s, want %s", b, w)
		}
	}
}

// expectClose reads the client's close frame, or its sudden end, which is 1006.
func (p *peer) expectClose(code int) {
	p.t.Helper()
	_, b, err := p.ws.ReadMessage()
	var ce *websocket.CloseError
	switch {
	case err == nil:
		p.t.Fatalf("the client sent %s, want a close with %d", b, code)
	case !errors.As(err, &ce):
		ce = &websocket.CloseError{Code: 1006}
	}
	if ce.Code != code {
		p.t.Fatalf("the client closed with %v, want %d", err, code)
	}
	_ = p.ws.Close()
}

// close closes with a code, and waits for the client's answer.
func (p *peer) close(code int) {
	p.t.Helper()
	_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "why"), time.Now().Add(time.Second))
	for {
		if _, _, err := p.ws.ReadMessage(); err != nil {
			_ = p.ws.Close()
			return
		}
	}
}

// cut is the loss of the connection.
func (p *peer) cut() { _ = p.ws.NetConn().Close() }
