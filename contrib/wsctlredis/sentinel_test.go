//go:build unix

package wsctlredis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

// pair is a master and its replica, watched by a sentinel.
type pair struct {
	t        *testing.T
	servers  [2]*server
	sentinel *server
}

// startPair starts them. The master is taken for dead when it hasn't answered for so many milliseconds.
func startPair(t *testing.T, patience string) *pair {
	t.Helper()
	p := &pair{t: t}
	for i := range p.servers {
		p.servers[i] = startServer(t, "--repl-diskless-sync-delay", "0")
	}
	p.servers[1].must("REPLICAOF", "127.0.0.1", port(p.servers[0].addr))
	p.follows(1)
	p.sentinel = startProgram(t, "redis-sentinel")
	_, _ = p.sentinel.ask("SENTINEL", "DEBUG", "info-period", "200") // else the test takes longer
	p.sentinel.must("SENTINEL", "MONITOR", "main", "127.0.0.1", port(p.servers[0].addr), "1")
	p.sentinel.must("SENTINEL", "SET", "main", "down-after-milliseconds", patience)
	p.sentinel.must("SENTINEL", "SET", "main", "failover-timeout", "3000")
	until(t, "the sentinel", func() bool {
		return strings.Contains(p.sentinel.must("INFO", "sentinel"), "status=ok") && p.slaves() == 1
	})
	return p
}

func (p *pair) slaves() (n int) {
	_, info, _ := strings.Cut(p.sentinel.must("INFO", "sentinel"), ",slaves=")
	_, _ = fmt.Sscan(info, &n)
	return n
}

// follows waits until a server is the replica of the other one.
func (p *pair) follows(i int) {
	p.t.Helper()
	until(p.t, "a replica", func() bool {
		return strings.Contains(p.servers[i].must("INFO", "replication"), "master_link_status:up")
	})
}

func (p *pair) open(t *testing.T, opts *wsctlredis.Options) *node {
	t.Helper()
	sentinel := rueidis.SentinelOption{MasterSet: "main", TopologyRefreshInterval: time.Second}
	n := connect(t, rueidis.ClientOption{InitAddress: []string{p.sentinel.addr}, Sentinel: sentinel}, opts)
	n.forget = func() {
		for _, s := range p.servers {
			_, _ = s.ask("FLUSHALL") // of a replica it is refused
		}
	}
	return n
}

// TestSentinel has the master fail, then change places on demand.
func TestSentinel(t *testing.T) {
	t.Parallel()
	p := startPair(t, "1000")
	a, b := p.open(t, nil), p.open(t, nil)
	in := subscribe(t, b, "room")
	publishKeep(t, a, "room", "0")
	at := in.has("0")

	check := func(notices int) {
		t.Helper()
		in.noticed(notices)
		goesOn(t, a, "room", in)
		_, newest, ok := since(t, b, "room", at)
		if ok || epoch(newest) == epoch(at) {
			t.Errorf("another server has taken over: Since(%s) is %s, %v", at, newest, ok)
		}
		at = newest
	}
	p.servers[0].kill()
	check(1)
	p.servers[0].restart()
	p.servers[0].must("REPLICAOF", "127.0.0.1", port(p.servers[1].addr)) // the sentinel would see to it, in 8 seconds
	p.follows(0)
	until(t, "the sentinel", func() bool { return p.slaves() == 1 })
	until(t, "another failover", func() bool {
		_, err := p.sentinel.ask("SENTINEL", "FAILOVER", "main")
		return err == nil
	})
	p.follows(1)
	check(2)
}

// TestSentinelElsewhere has the sentinel name another master, while the one before goes on as if nothing had happened.
func TestSentinelElsewhere(t *testing.T) {
	t.Parallel()
	p := startPair(t, "30000")
	a := p.open(t, nil)
	in := subscribe(t, a, "room")
	p.servers[1].must("REPLICAOF", "NO", "ONE")
	p.sentinel.must("SENTINEL", "REMOVE", "main")
	p.sentinel.must("SENTINEL", "MONITOR", "main", "127.0.0.1", port(p.servers[1].addr), "1")
	in.noticed(1)
	goesOn(t, p.open(t, nil), "room", in)
}
