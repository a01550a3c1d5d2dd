package wsctl_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/wsctl/wsctl"
)

// puppet is a controller whose methods and hooks are the test's.
type puppet struct {
	open  func(s *wsctl.Socket, r *http.Request) error
	close func(s *wsctl.Socket, err error)
	do    func(s *wsctl.Socket, arg string) (any, error)
	wait  func(ctx context.Context, s *wsctl.Socket, arg string) (any, error)

	sockets chan *wsctl.Socket // as they come to OnOpen
}

func (p *puppet) OnOpen(s *wsctl.Socket, r *http.Request) error {
	p.sockets <- s
	if p.open != nil {
		return p.open(s, r)
	}
	return nil
}

func (p *puppet) OnClose(s *wsctl.Socket, err error) {
	if p.close != nil {
		p.close(s, err)
	}
}

// Do is handled by the reader itself.
func (p *puppet) Do(s *wsctl.Socket, arg string) (any, error) { return p.do(s, arg) }

// Wait is handled by a worker.
func (p *puppet) Wait(ctx context.Context, s *wsctl.Socket, arg string) (any, error) {
	return p.wait(ctx, s, arg)
}

// lab is a handler of a puppet, being served.
type lab struct {
	*server
	h   *wsctl.Handler
	hub *wsctl.Hub
	p   *puppet
	log *logBuffer
}

func newLab(t testing.TB, p *puppet, opts *wsctl.Options) *lab {
	t.Helper()
	p.sockets = make(chan *wsctl.Socket, 1000)
	h, log := newHandler(t, p, opts)
	return &lab{server: serve(t, h), h: h, hub: h.Hub(), p: p, log: log}
}

// peer is both ends of a connection.
type peer struct {
	*client
	s *wsctl.Socket
}

// peer connects one; header may be nil.
func (l *lab) peer(t testing.TB, header http.Header) *peer {
	t.Helper()
	c := l.dial(t, header)
	return &peer{c, <-l.p.sockets}
}

// peers connects n, each in those rooms.
func (l *lab) peers(t testing.TB, n int, rooms ...string) []*peer {
	t.Helper()
	all := make([]*peer, n)
	for i := range all {
		all[i] = l.peer(t, nil)
		for _, room := range rooms {
			join(t, all[i].s, room)
		}
	}
	return all
}

// asUser is the header with which userOf makes a client that user.
func asUser(name string) http.Header { return http.Header{"User": {name}} }

// userOf is an Options.Authenticate that believes the client.
func userOf(_ context.Context, r *http.Request, _ string) (wsctl.Identity, error) {
	return wsctl.Identity{User: r.Header.Get("User")}, nil
}

func join(t testing.TB, s *wsctl.Socket, room string) {
	t.Helper()
	if err := s.Join(room); err != nil {
		t.Fatalf("Join %q: %v", room, err)
	}
}

// must fails if a Send, Close or the like failed.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// message is a message of the server with a number, string or the like as its data.
func message(typ string, data any) string { return fmt.Sprintf(`{"type":%q,"data":%#v}`, typ, data) }

// quiet fails if there is anything to read for one of them.
func quiet(all ...*peer) {
	synctest.Wait()
	for _, p := range all {
		p.t.Helper()
		p.quiet()
	}
}

// equal compares slices of the test's results.
func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// transportDial is an http.Transport's way to the server.
func (s *server) transportDial(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.Listener.DialContext(ctx)
}

// newLogger is a log that nobody reads.
func newLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
