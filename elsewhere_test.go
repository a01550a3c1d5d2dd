package wsctl_test

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

func sessionNodes(t *testing.T, opts wsctl.Options, k *kit) (n1, n2 *server, h1, h2 *wsctl.Handler) {
	b1 := wsctltest.NewBroker()
	opts.Logger = slog.New(slog.DiscardHandler)
	opts.Resume = 5 * time.Minute
	mk := func(b wsctl.Broker, c any, opts wsctl.Options) (*server, *wsctl.Handler) {
		opts.Hub = &wsctl.Hub{Broker: b}
		h := wsctl.New(c, &opts)
		t.Cleanup(func() { _ = h.Shutdown(context.Background()) })
		return serve(t, h), h
	}
	n1, h1 = mk(b1, &kit{}, wsctl.Options{Logger: opts.Logger, Resume: opts.Resume})
	n2, h2 = mk(b1.Node(), k, opts)
	return
}

// A node that refuses a client has no business ending its session elsewhere.
func TestAnnounceRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n1, n2, _, _ := sessionNodes(t, wsctl.Options{}, &kit{opened: func(*wsctl.Socket, *http.Request) error {
			return &wsctl.CloseError{Code: 1013, Reason: "full"}
		}})
		c, w := n1.enter(t)
		c.cut()
		d := n2.knock(t)
		d.send(helloOf(w.Session, 0, 2))
		if _, err := d.gone(); err == nil || !strings.Contains(err.Error(), "1013") {
			t.Fatal(err)
		}
		synctest.Wait()
		_, w = n1.comeBack(t, w.Session, 0, 3)
		if !w.Resumed {
			t.Error("a node that refused the client (1013: try again) has ended its session on the other")
		}
	})
}

// A connection that its client has given up, and whose $hello is looked at late, ends no session elsewhere.
func TestAnnounceStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		asked := make(chan struct{})
		n1, n2, _, _ := sessionNodes(t, wsctl.Options{Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
			<-asked
			return wsctl.Identity{}, nil
		}}, &kit{})
		c, w := n1.enter(t)
		c.cut()
		d := n2.knock(t)
		d.send(helloOf(w.Session, 0, 2))
		synctest.Wait()
		d.cut() // the client has waited long enough, and goes to another node
		c, w2 := n1.comeBack(t, w.Session, 0, 3)
		if !w2.Resumed {
			t.Fatal("not resumed")
		}
		close(asked)
		synctest.Wait()
		c.lives()
	})
}

// A session stays where another user's $hello names it, and so do plain sockets.
func TestAnnounceOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n1, n2, h1, _ := sessionNodes(t, wsctl.Options{Authenticate: func(context.Context, *http.Request, string) (wsctl.Identity, error) {
			return wsctl.Identity{User: "bob"}, nil
		}}, &kit{})
		c, w := n1.enter(t)
		_, w2 := n2.comeBack(t, w.Session, 0, 2)
		if w2.Resumed || w2.Session == w.Session {
			t.Error("resumed")
		}
		synctest.Wait()
		c.lives()
		if h1.Stats().Sockets != 1 {
			t.Error("gone")
		}
	})
}

// who is a controller that streams presence.
type who struct{}

func (who) Join(s *wsctl.Socket, room string) error { return s.Join(room) }
func (who) Leave(s *wsctl.Socket, room string)      { s.Leave(room) }
func (who) Who(ctx context.Context, s *wsctl.Socket, room string) iter.Seq2[wsctl.Presence, error] {
	return s.Hub().Room(room).Watch(ctx)
}
func (who) All(ctx context.Context, s *wsctl.Socket, room string) ([]wsctl.Member, error) {
	return s.Hub().Room(room).Members(ctx)
}

func TestWatchStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := wsctl.New(who{}, &wsctl.Options{Logger: slog.New(slog.DiscardHandler)})
		n := serve(t, h)
		c, _ := n.enter(t)
		d, _ := n.enter(t)
		d.send(msg("Join", `"r"`))
		synctest.Wait()
		var member string
		for s := range h.Hub().Room("r").Sockets() {
			member = s.ID()
		}
		c.send(call(1, "Who", `"r"`))
		c.want(call(1, "$item", `{"Socket":"`+member+`","User":"","Joined":true}`))
		d.send(msg("Leave", `"r"`))
		c.want(call(1, "$item", `{"Socket":"`+member+`","User":"","Joined":false}`))
		c.send(call(1, "$cancel", ""))
		c.want(replied(1, ""))
		c.send(call(2, "Who", `""`))
		c.want(failed(2, "internal", ""))
		c.send(call(3, "All", `"r"`))
		c.want(replied(3, "[]"))
		var b bytes.Buffer
		if err := h.WriteTypes(&b); err != nil || !strings.Contains(b.String(), "Who: { req: string; item: Presence }") {
			t.Errorf("%v: %s", err, b.String())
		}
		d.send(call(1, "Who", `"r"`))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil { // ends the stream
			t.Error(err)
		}
	})
}
