package wsctl_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// stages is a controller whose sockets go from one controller to another.
type stages struct{ ended chan error }

func (st *stages) OnOpen(s *wsctl.Socket, _ *http.Request) error { return s.Join("lobby") }

func (st *stages) OnClose(_ *wsctl.Socket, err error) { st.ended <- err }

func (st *stages) Enter(s *wsctl.Socket, name string) error {
	return s.SetController(&match{name: name})
}

// match is what a socket that has entered plays.
type match struct {
	name  string
	score int
}

func (g *match) Score(s *wsctl.Socket, n int) int {
	g.score += n
	_ = s.Hub().Room("lobby").Send("scored", fmt.Sprint(g.name, " ", g.score))
	return g.score
}

// Think takes its time, whatever becomes of the connection.
func (g *match) Think(ctx context.Context, _ *wsctl.Socket, seconds int) (string, error) {
	select {
	case <-time.After(time.Duration(seconds) * time.Second):
		return g.name + " has thought", nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// A session keeps its controller, its rooms and its calls over many lost connections, and its end is told once.
func TestSessionFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &stages{make(chan error, 10)}
		h := wsctl.New(st, &wsctl.Options{Controllers: []any{&match{}}})
		ann := wsctltest.Dial(t, h, nil)
		bob := wsctltest.Dial(t, h, nil)
		for i, c := range []*wsctltest.Client{ann, bob} {
			if err := c.Call("Enter", []string{"ann", "bob"}[i], nil); err != nil {
				t.Fatal(err)
			}
		}
		thought := make(chan error, 1)
		go func() {
			var s string
			err := ann.Call("Think", 5, &s)
			if err == nil && s != "ann has thought" {
				err = fmt.Errorf("answered %q", s)
			}
			thought <- err
		}()
		synctest.Wait()
		for i := 1; i <= 5; i++ {
			ann.Cut()
			var n int
			if err := bob.Call("Score", 1, &n); err != nil || n != i {
				t.Fatal(n, err)
			}
			if !ann.Reconnect() {
				t.Fatal("not resumed")
			}
			want := fmt.Sprint("bob ", i)
			for _, c := range []*wsctltest.Client{ann, bob} {
				if got := wsctltest.Expect[string](c, "scored"); got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
			}
		}
		if err := <-thought; err != nil {
			t.Error(err)
		}
		ann.Quiet()
		if len(st.ended) != 0 || h.Hub().Room("lobby").Len() != 2 {
			t.Error("a session has ended")
		}
		ann.Cut()
		time.Sleep(40 * time.Second)
		if len(st.ended) != 1 || h.Hub().Room("lobby").Len() != 1 {
			t.Errorf("%d ends were told, %d are in the lobby", len(st.ended), h.Hub().Room("lobby").Len())
		}
	})
}

// What was deflated on one connection arrives on the next, which doesn't inflate; and the other way round.
func TestResumeWithoutCompression(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{Compression: true})
		dial := func(compression bool) *client {
			c := &client{t: t}
			d := websocket.Dialer{EnableCompression: compression, Subprotocols: []string{"wsctl.v1"}, NetDialContext: l.netDial(c)}
			ws, resp, err := d.Dial("ws://example.com/", nil)
			must(t, err)
			if agreed := strings.Contains(resp.Header.Get("Sec-WebSocket-Extensions"), "deflate"); agreed != compression {
				t.Errorf("compression: %v", agreed)
			}
			c.ws = ws
			t.Cleanup(func() { ws.Close() })
			return c
		}
		c := dial(true)
		c.send(helloOf("", 0, 1))
		w := c.welcomed()
		c.send(`{"type":"$ack","data":0}`)
		s := <-l.p.sockets
		join(t, s, "r")
		var want []string
		send := func(n int) {
			text := strings.Repeat(fmt.Sprint(n), 400)
			want = append(want, message("m", text))
			if n%2 == 0 {
				must(t, s.Send("m", text))
			} else {
				must(t, l.hub.Room("r").Send("m", text))
			}
			synctest.Wait()
		}
		send(1)
		send(2)
		c.want(want...)
		for try, compression := range []bool{false, true, false} {
			c.cut()
			send(10 + 2*try)
			send(11 + 2*try)
			c = dial(compression)
			c.send(helloOf(w.Session, 0, try+2))
			if w := c.welcomed(); !w.Resumed {
				t.Fatal("not resumed")
			}
			c.want(want...)
			send(20 + 2*try)
			send(21 + 2*try)
			c.want(want[len(want)-2:]...)
		}
	})
}
