package wsctlnats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
	"github.com/wsctl/wsctl/wsctltest"
)

// node is a broker with what TestBroker needs to take its server away.
type node struct {
	*wsctlnats.Broker
	servers []*natsServer
}

func (n node) Away(t *testing.T) (back func()) {
	srv := n.servers[0]
	eventually(t, func() error { // it may have gone to another one
		for _, srv = range n.servers {
			if srv.url() == n.Conn().ConnectedUrl() {
				return nil
			}
		}
		return errors.New("the node isn't connected")
	})
	srv.stop()
	return func() {
		srv.start()
		ready(t, n.servers)
	}
}

func (n node) Forget(t *testing.T) {
	js, done := jetStream(t, n.servers[0])
	defer done()
	eventually(t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return js.DeleteStream(ctx, "wsctl")
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	srv := newServer(t, nil)
	wsctltest.TestBroker(t, func(t *testing.T) wsctl.Broker {
		return node{connect(t, srv.url(), nil), []*natsServer{srv}}
	})
}

// TestBasics is what TestBroker checks as well, in short.
func TestBasics(t *testing.T) {
	srv := newServer(t, nil)
	a, b := connect(t, srv.url(), nil), connect(t, srv.url(), nil)
	x, y := listen(t, a, "r*.>"), listen(t, b, "r*.>")
	if err := a.Publish(within(t), "r*.>", []byte("live")); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*listener{x, y} {
		if got := l.take(1)[0]; got != (delivery{"", "live"}) {
			t.Errorf("got %q", got)
		}
	}
	h := listen(t, b, "kept")
	_, birth, ok := since(t, b, "kept", "")
	if !ok || birth != epoch(birth)+".0" {
		t.Fatalf("a topic without messages is at %q, %v", birth, ok)
	}
	keep(t, a, "kept", "one")
	keep(t, b, "kept", "two")
	got := h.take(2)
	if got[0] != (delivery{epoch(birth) + ".1", "one"}) || got[1] != (delivery{epoch(birth) + ".2", "two"}) {
		t.Errorf("got %q", got)
	}
	if texts, newest, ok := since(t, a, "kept", birth); !ok || newest != got[1].pos || len(texts) != 2 || texts[0] != "one" || texts[1] != "two" {
		t.Errorf("Since = %q, %s, %v", texts, newest, ok)
	}
}

// TestStop has stop wait for the call of deliver that runs.
func TestStop(t *testing.T) {
	srv := newServer(t, nil)
	b := connect(t, srv.url(), nil)
	begun, hold := make(chan struct{}), make(chan struct{})
	calls := 0
	stop, err := b.Subscribe(within(t), "room", func(string, []byte) {
		calls++
		close(begun)
		<-hold
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Publish(within(t), "room", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	for range 10 {
		keep(t, b, "other", "x") // stop could have returned by now
	}
	select {
	case <-stopped:
		t.Error("stop has returned while deliver runs")
	default:
	}
	close(hold)
	<-stopped
	stop()
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}
