package wsctl_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wsctl/wsctl"
)

// offersV1 is the header of a client of wsctl.v1.
func offersV1() http.Header { return http.Header{"Sec-Websocket-Protocol": {"wsctl.v1"}} }

// welcome is the data of $welcome.
type welcome struct {
	Session                         string
	Resumed                         bool
	Received                        uint64
	Ping, Timeout, Max, Ack, Window int64
	Schema                          string
	Expires                         *int64
}

// knock connects with wsctl.v1 and says nothing yet.
func (s *server) knock(t testing.TB) *client {
	t.Helper()
	return s.dial(t, offersV1())
}

func helloOf(session string, received, try int) string {
	if session == "" {
		return fmt.Sprintf(`{"type":"$hello","data":{"try":%d}}`, try)
	}
	return fmt.Sprintf(`{"type":"$hello","data":{"session":%q,"received":%d,"try":%d}}`, session, received, try)
}

// welcomed reads $welcome.
func (c *client) welcomed() welcome {
	c.t.Helper()
	var m struct {
		Type string
		Data welcome
	}
	b := c.read()
	if err := json.Unmarshal([]byte(b), &m); err != nil || m.Type != "$welcome" {
		c.t.Fatalf("want $welcome, got %s", b)
	}
	return m.Data
}

// enter begins a session, and has the server know that the client has it.
func (s *server) enter(t testing.TB) (*client, welcome) {
	t.Helper()
	c := s.knock(t)
	c.send(helloOf("", 0, 1))
	w := c.welcomed()
	c.send(`{"type":"$ack","data":0}`)
	synctest.Wait() // the session is known to be confirmed
	return c, w
}

// comeBack resumes a session, or not.
func (s *server) comeBack(t testing.TB, session string, received, try int) (*client, welcome) {
	t.Helper()
	c := s.knock(t)
	c.send(helloOf(session, received, try))
	return c, c.welcomed()
}

// cut loses the connection without a word.
func (c *client) cut() {
	c.nc.Close()
	synctest.Wait()
}

// v1Lab is a handler of a puppet that serves clients of wsctl.v1.
func v1Lab(t testing.TB, p *puppet, opts *wsctl.Options) *lab {
	t.Helper()
	if p.do == nil {
		p.do = func(_ *wsctl.Socket, arg string) (any, error) { return arg, nil }
	}
	return newLab(t, p, opts)
}

func big(n int) string { return strings.Repeat("x", n) }

// decode reads JSON.
func decode[T any](t testing.TB, s string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
	return v
}
