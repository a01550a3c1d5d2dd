package wsctlnats_test

import (
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
	"github.com/wsctl/wsctl/wsctltest"
)

// TestClusterConformance has each node at another server of a cluster.
func TestClusterConformance(t *testing.T) {
	t.Parallel()
	servers := newCluster(t)
	var n atomic.Int32
	wsctltest.TestBroker(t, func(t *testing.T) wsctl.Broker {
		srv := servers[int(n.Add(1))%len(servers)]
		return node{connect(t, srv.url(), &wsctlnats.Options{Replicas: 3}), servers}
	})
}

// TestNewLeader has the stream get another leader, who may not send what the old one has stored: topics with history are told.
func TestNewLeader(t *testing.T) {
	t.Parallel()
	servers := newCluster(t)
	b := connect(t, servers[0].url(), &wsctlnats.Options{Replicas: 3})
	live, kept := listen(t, b, "live"), listen(t, b, "kept")
	keep(t, b, "kept", "x")
	kept.noticed(1) // servers know the subscription by now
	if _, err := b.Conn().RequestWithContext(within(t), "$JS.API.STREAM.LEADER.STEPDOWN.wsctl", nil); err != nil {
		t.Fatal(err)
	}
	kept.noticed(2)
	keep(t, b, "kept", "y")
	kept.take(2)
	listen(t, b, "kept").noticed(1) // the leader may not have known the subscription
	if _, notices := live.count(); notices > 0 {
		t.Error("a topic without history is told of the stream")
	}
}

// TestSubscribed has topics published to at another server as soon as they are subscribed, one after the other and all at once.
func TestSubscribed(t *testing.T) {
	servers := newCluster(t)
	nodes := []*wsctlnats.Broker{connect(t, servers[0].url(), nil), connect(t, servers[1].url(), nil), connect(t, servers[2].url(), nil)}
	var told atomic.Int32 // where the machine is too slow for the nodes' answers
	try := func(i int) {
		topic := fmt.Sprint("room", i)
		l := listen(t, nodes[i%3], topic)
		defer l.stop()
		l.name = topic
		if err := nodes[(i+1)%3].Publish(within(t), topic, []byte("x")); err != nil {
			t.Error(err)
			return
		}
		if !l.came() {
			told.Add(1)
		} else if got := l.take(1)[0]; got != (delivery{"", "x"}) {
			t.Errorf("got %q", got)
		}
	}
	for i := range 300 {
		try(i)
	}
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() { try(300 + i) })
	}
	wg.Wait()
	if n := told.Load(); n > 150 {
		t.Errorf("of 600 subscriptions %d were told that messages may have been missed", n)
	}
}

// TestFarServer has two nodes at servers that are far from each other, so that a subscription is made before one knows of the other:
// what is published after Subscribe comes, or it is told.
func TestFarServer(t *testing.T) {
	alone := func(name string, routes ...*url.URL) *natsServer {
		return newServer(t, func(o *server.Options) {
			o.JetStream, o.ServerName, o.Routes = false, name, routes
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT}
		})
	}
	near := alone("near")
	way := newProxyTo(t, near.server().ClusterAddr().String(), 160*time.Millisecond)
	far := alone("far", &url.URL{Scheme: "nats", Host: way.ln.Addr().String()})
	for _, n := range []*natsServer{near, far} {
		eventually(t, func() error {
			if got := n.server().NumRoutes(); got < 4 {
				return fmt.Errorf("%d routes", got)
			}
			return nil
		})
	}
	a, b := connect(t, near.url(), nil), connect(t, far.url(), nil)
	timer := time.NewTimer(280 * time.Millisecond) // answers come after 320 ms, and it is thought after 300 ms that all have come
	<-timer.C
	l := listen(t, a, "room")
	if err := b.Publish(within(t), "room", []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.came()
}
