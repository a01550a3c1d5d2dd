package wsctl_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/wsctl/wsctl"
)

// Odd names of rooms with history: what clients are told must be UTF-8, and name the room that they can come back with.
func TestOddNames(t *testing.T) {
	for _, room := range []string{"a\xffb", "a\xfeb", "k\x00", `k"\`, "k\u2028", strings.Repeat("k", 128)} {
		bubble(t, func(t *testing.T) {
			n := newNode(t, &wsctl.Hub{History: func(string) wsctl.Retention { return wsctl.Retention{Messages: 10} }}, wsctl.Options{})
			var sock *wsctl.Socket
			s := serve(t, n.handler)
			c := s.knock(t)
			c.send(`{"type":"$hello","data":{"try":1}}`)
			c.welcomed()
			synctest.Wait()
			for one := range n.hub.Everyone().Sockets() {
				sock = one
			}
			if err := sock.Join(room); err == nil != utf8.ValidString(room) {
				t.Errorf("%q: %v", room, err)
			} else if err != nil {
				return
			}
			say(t, n.hub.Room(room), "x")
			synctest.Wait()
			m1, m2 := c.read(), c.read()
			if !utf8.ValidString(m1) || !utf8.ValidString(m2) {
				t.Errorf("%q: %q %q", room, m1, m2)
			}
			name := decode[struct{ Room string }](t, m2).Room
			if name != room {
				t.Errorf("%q comes as %q", room, name)
			}
		})
	}
}
