//go:build unix

package wsctlredis_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

// cluster is a Redis Cluster.
type cluster struct {
	masters, replicas []*server
}

const slots = 16384

// startCluster starts masters, each with all its share of slots, and as many replicas of each as given.
func startCluster(t *testing.T, masters, replicas int) *cluster {
	t.Helper()
	c := new(cluster)
	timeout := "4000" // on a busy machine a master mustn't be taken for dead
	if replicas > 0 {
		timeout = "2000"
	}
	for i := range masters * (1 + replicas) {
		s := startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", timeout, "--cluster-port", anyPort, "--cluster-replica-validity-factor", "0",
			"--repl-diskless-sync-delay", "0")
		if i < masters {
			s.must("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/masters), strconv.Itoa((i+1)*slots/masters-1))
			c.masters = append(c.masters, s)
		} else {
			c.replicas = append(c.replicas, s)
		}
	}
	all := append(append([]*server(nil), c.masters...), c.replicas...)
	tried := 0
	until(t, "the cluster", func() bool {
		ready := true
		for _, s := range all {
			if tried%200 == 0 && s != all[0] { // on a busy machine one try may be too slow
				s.must("CLUSTER", "MEET", "127.0.0.1", port(all[0].addr), all[0].bus)
			}
			info := s.must("CLUSTER", "INFO")
			ready = ready && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprint("cluster_known_nodes:", len(all)))
		}
		tried++
		return ready
	})
	for i, s := range c.replicas {
		id := c.masters[i%masters].must("CLUSTER", "MYID")
		until(t, "a replica", func() bool {
			_, err := s.ask("CLUSTER", "REPLICATE", id)
			return err == nil
		})
		until(t, "its data", func() bool { return strings.Contains(s.must("INFO", "replication"), "master_link_status:up") })
	}
	return c
}

func (c *cluster) open(t *testing.T, opts *wsctlredis.Options) *node {
	t.Helper()
	var redis rueidis.ClientOption
	for _, s := range c.masters {
		redis.InitAddress = append(redis.InitAddress, s.addr)
	}
	n := connect(t, redis, opts)
	n.forget = func() {
		for _, s := range c.masters {
			s.must("FLUSHALL")
		}
	}
	return n
}

// TestCluster has rooms on all nodes, each with its connection.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 0)
	a, b := c.open(t, nil), c.open(t, nil)
	inboxes := make(map[string]*inbox)
	for i := range 60 {
		topic := fmt.Sprint("room", i)
		inboxes[topic] = subscribe(t, b, topic)
		publishKeep(t, a, topic, topic)
		if err := a.Publish(t.Context(), topic, []byte("live "+topic)); err != nil {
			t.Fatal(err)
		}
	}
	for topic, in := range inboxes {
		in.has(topic)
		in.has("live " + topic)
	}
	for _, s := range c.masters {
		if n := strings.Count(s.must("CLIENT", "LIST"), " ssub="); n == 0 {
			t.Errorf("%s has no clients", s.addr)
		}
		if n := s.must("PUBSUB", "SHARDCHANNELS"); n == "0" {
			t.Errorf("%s has no channels", s.addr)
		}
	}
}

// TestNames has topics whose names could be taken for something else: their keys must be in one slot, and their own.
func TestNames(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 0)
	a := c.open(t, nil)
	names := []string{"}", "{", "{}", "}{", "a}b", "{a}", "a", "A", "a b", "a+b", "a%20b", "a*", "*", "?", "[a]", ":h", "a:h", "a}:h", "\x00", "\xff", "\r\n",
		"é", strings.Repeat("}", 160), strings.Repeat("\xff", 159)}
	inboxes := make(map[string]*inbox)
	for _, name := range names {
		inboxes[name] = subscribe(t, a, name)
	}
	for _, name := range names {
		_, birth, _ := since(t, a, name, "")
		publishKeep(t, a, name, "to "+name)
		if texts, _, ok := since(t, a, name, birth); !ok || len(texts) != 1 || texts[0] != "to "+name {
			t.Errorf("%q: Since = %q, %v", name, texts, ok)
		}
	}
	for _, name := range names {
		inboxes[name].has("to " + name)
		if got := inboxes[name].all(); len(got) != 1 {
			t.Errorf("%q got %v", name, got)
		}
	}
}

// TestReshard moves a slot from node to node, under a subscription.
func TestReshard(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 0)
	a, b := c.open(t, nil), c.open(t, nil)
	another := ""
	for i := 0; another == "" || c.slotOf(another)*3/slots == c.slotOf("room")*3/slots; i++ {
		another = fmt.Sprint("another", i)
	}
	in, other := subscribe(t, b, "room"), subscribe(t, b, another)
	publishKeep(t, a, "room", "0")
	in.has("0")
	slot := strconv.Itoa(c.slotOf("room"))
	from := c.masters[c.slotOf("room")*3/slots]
	i := slices.Index(c.masters, from)
	for i, to := range []*server{c.masters[(i+1)%3], c.masters[(i+2)%3], from} {
		ids := []string{from.must("CLUSTER", "MYID"), to.must("CLUSTER", "MYID")}
		to.must("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
		from.must("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
		move := func(key string) { from.must("MIGRATE", "127.0.0.1", port(to.addr), "wsctl:{room}"+key, "0", "5000") }
		try := func(when string) {
			if err := a.PublishKeep(t.Context(), "room", []byte(when), keep); err != nil {
				t.Errorf("PublishKeep %s: %v", when, err)
			}
			if _, _, _, err := a.Since(t.Context(), "room", ""); err != nil {
				t.Errorf("Since %s: %v", when, err)
			}
			if err := a.Publish(t.Context(), "room", []byte(when)); err != nil {
				t.Errorf("Publish %s: %v", when, err)
			}
		}
		try("before its keys move")
		move(":h")
		between := make(chan struct{})
		go func() {
			defer close(between)
			try("between them")
		}()
		move(":s")
		<-between
		try("when its keys have moved")
		for _, s := range append([]*server{to, from}, c.masters...) { // the others would learn it later
			s.must("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
		}
		from = to
		in.noticed(i + 1)
		goesOn(t, a, "room", in)
		// A topic that nobody had subscribed before.
		fresh := subscribe(t, b, fmt.Sprint("fresh", i))
		publishKeep(t, a, fmt.Sprint("fresh", i), "x")
		fresh.has("x")
	}
	publishKeep(t, a, another, "untouched")
	other.has("untouched")
	if len(other.all()) != 1 {
		t.Errorf("another topic got %v", other.all())
	}
}

// TestClusterFailover kills a master: its replica takes over, and it comes back as a replica.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 1)
	a, b := c.open(t, nil), c.open(t, nil)
	inboxes := make(map[string]*inbox)
	at := make(map[string]string)
	for i := range 30 {
		topic := fmt.Sprint("room", i)
		inboxes[topic] = subscribe(t, b, topic)
		publishKeep(t, a, topic, "before")
		at[topic] = inboxes[topic].has("before")
	}
	c.masters[0].kill()
	for topic, in := range inboxes {
		moved := c.slotOf(topic) < slots/3
		if moved {
			in.noticed(1)
		}
		goesOn(t, a, topic, in)
		if _, newest, ok := since(t, b, topic, at[topic]); ok == moved || moved == (epoch(newest) == epoch(at[topic])) {
			t.Errorf("%s, moved %v: Since(%s) = %s, %v", topic, moved, at[topic], newest, ok)
		}
	}
	c.masters[0].restart()
	until(t, "the old master, a replica", func() bool {
		return strings.Contains(c.masters[0].must("INFO", "replication"), "master_link_status:up")
	})
	for topic, in := range inboxes {
		publishKeep(t, a, topic, "back")
		in.has("back")
	}
}

func (c *cluster) slotOf(topic string) int {
	n, _ := strconv.Atoi(c.masters[1].must("CLUSTER", "KEYSLOT", "wsctl:{"+topic+"}"))
	return n
}
