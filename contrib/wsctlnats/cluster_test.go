package wsctlnats_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

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
	try := func(i int) {
		topic := fmt.Sprint("room", i)
		l := listen(t, nodes[i%3], topic)
		l.name = topic
		if err := nodes[(i+1)%3].Publish(within(t), topic, []byte("x")); err != nil {
			t.Error(err)
			return
		}
		if got := l.take(1)[0]; got != (delivery{"", "x"}) {
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
}
