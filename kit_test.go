package wsctl_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// kit is a controller whose methods are the test's. Now takes no context, so the reader handles it; Ctx takes one.
type kit struct {
	now    func(s *wsctl.Socket, data json.RawMessage) (any, error)
	ctx    func(ctx context.Context, s *wsctl.Socket, data json.RawMessage) (any, error)
	opened func(s *wsctl.Socket, r *http.Request) error
	closed func(s *wsctl.Socket, err error)
}

func (k *kit) Now(s *wsctl.Socket, data json.RawMessage) (any, error) { return k.now(s, data) }

func (k *kit) Ctx(ctx context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) {
	return k.ctx(ctx, s, data)
}

func (k *kit) Echo(_ *wsctl.Socket, data json.RawMessage) json.RawMessage { return data }

func (k *kit) Typed(_ *wsctl.Socket, n int) int { return n }

func (k *kit) OnOpen(s *wsctl.Socket, r *http.Request) error {
	if k.opened == nil {
		return nil
	}
	return k.opened(s, r)
}

func (k *kit) OnClose(s *wsctl.Socket, err error) {
	if k.closed != nil {
		k.closed(s, err)
	}
}

// msg and call are messages to the server, with data as JSON or empty.
func msg(typ, data string) string { return call(0, typ, data) }

func call(id int, typ, data string) string {
	s := fmt.Sprintf(`{"type":%q`, typ)
	if id != 0 {
		s += fmt.Sprintf(`,"id":%d`, id)
	}
	if data != "" {
		s += `,"data":` + data
	}
	return s + "}"
}

// replied and failed are ends of calls as the server writes them.
func replied(id int, data string) string { return call(id, "$reply", data) }

func failed(id int, code, message string) string {
	return call(id, "$error", fmt.Sprintf(`{"code":%q,"message":%q}`, code, message))
}

// lives fails unless the socket answers a call, and nothing else came before.
func (c *client) lives() {
	c.t.Helper()
	c.send(call(987, "Echo", `"alive"`))
	c.want(replied(987, `"alive"`))
}

// gone reads what the server sends until the connection ends, and returns it.
func (c *client) gone() (messages []string, err error) {
	c.t.Helper()
	c.ws.SetReadDeadline(time.Now().Add(patience))
	for {
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			return messages, err
		}
		messages = append(messages, string(b))
	}
}

// raw writes bytes below the WebSocket.
func (c *client) raw(parts ...[]byte) {
	c.t.Helper()
	for _, b := range parts {
		if _, err := c.ws.UnderlyingConn().Write(b); err != nil {
			c.t.Fatalf("write: %v", err)
		}
	}
}

// rawFrame is a client's frame, masked with zeros. first has the opcode and the flags.
func rawFrame(first byte, payload string) []byte {
	return append(rawHeader(first, uint64(len(payload))), payload...)
}

// rawHeader is the beginning of a client's frame of n bytes.
func rawHeader(first byte, n uint64) []byte {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), n)
	}
	return append(b, 0, 0, 0, 0)
}

// closeFrame is a client's close frame.
func closeFrame(code int, reason string) []byte {
	return rawFrame(0x88, string(websocket.FormatCloseMessage(code, reason)))
}

// serveOver is serve with conns that wrap makes of the accepted ones, of size bytes in each direction.
func serveOver(t testing.TB, h http.Handler, size int, wrap func(*mempipe.Conn) net.Conn) *server {
	s := &server{Listener: mempipe.Listen(), log: &logBuffer{}}
	s.Listener.Size = size
	s.http = &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(s.log, nil), slog.LevelError)}
	go s.http.Serve(wrapListener{s.Listener, wrap})
	t.Cleanup(func() { s.http.Close() })
	return s
}

type wrapListener struct {
	*mempipe.Listener
	wrap func(*mempipe.Conn) net.Conn
}

func (l wrapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || l.wrap == nil {
		return c, err
	}
	return l.wrap(c.(*mempipe.Conn)), nil
}

// tapped is a conn whose writes are counted, and can be held.
type tapped struct {
	*mempipe.Conn
	writes atomic.Int64
	hold   atomic.Pointer[func(b []byte) (int, error)] // in place of the next TryWrite
}

func (c *tapped) TryWrite(b []byte) (int, error) {
	c.writes.Add(1)
	if hold := c.hold.Swap(nil); hold != nil {
		return (*hold)(b)
	}
	return c.Conn.TryWrite(b)
}

func (c *tapped) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// closeOf returns the code and reason of a WebSocket's end.
func closeOf(err error) (int, string) {
	if e, ok := errors.AsType[*websocket.CloseError](err); ok {
		return e.Code, e.Text
	}
	return 0, fmt.Sprint(err)
}

// netDial is for a dialer of c's own.
func (s *server) netDial(c *client) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		nc, err := s.Listener.DialContext(ctx)
		if err == nil {
			c.nc = nc.(*mempipe.Conn)
		}
		return nc, err
	}
}
