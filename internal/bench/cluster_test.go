package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/wsctl/wsctl/internal/bench/figures"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

func TestClusterTables(t *testing.T) {
	works := []work{
		explained("One room.", cluster(broadcast("fanout", 10, 1))),
		explained("Rooms are joined.", firstJoins("first-joins", 1, 10)),
		explained("They are held.", heldRooms("held-rooms", 1, 10)),
		comeBack("recovery", 1, 1, 1), // not measured
	}
	rows := []row{
		{work: "fanout", stack: "wsctl, NATS", figure: 1.5, least: 1, most: 2, perMessage: 1500, broker: 20, rate: 1000, p50: 300, p99: 900, rounds: 3, noisy: 1},
		{work: "fanout", stack: "wsctl, Redis", errors: []string{"redis-server isn't installed"}},
		{work: "first-joins", stack: "wsctl, NATS", figure: 20, least: 19, most: 21, broker: 5, rate: 5000, p50: 100, p99: 200, roomBytes: 1234.4, keptBytes: 99.6, rounds: 3},
		{work: "held-rooms", stack: "wsctl, NATS", figure: 7, least: 7, most: 7, broker: 3, rate: 166.7, rounds: 1},
	}
	var got strings.Builder
	writeCluster(&got, rows, works)
	want := clusterLegend + `## fanout

One room.

| stack | CPU µs of a delivery | least–most | of a message | broker, of a message | units/s | p50 µs | p99 µs | |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
| wsctl, NATS | 1.50 | 1.00–2.00 | 1500 | 20.0 | 1000 | 300 | 900 | ~ |
| wsctl, Redis | | | | | | | | 1 of 1 rounds failed: redis-server isn't installed |

## first-joins

Rooms are joined.

| stack | CPU µs of a join | least–most | broker | units/s | p50 µs | p99 µs | bytes, nodes | bytes, broker | |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
| wsctl, NATS | 20.0 | 19.0–21.0 | 5.00 | 5000 | 100 | 200 | 1234 | 100 |  |

## held-rooms

They are held.

| stack | CPU µs of a room | least–most | broker | |
| --- | ---: | ---: | ---: | --- |
| wsctl, NATS | 7.00 | 7.00–7.00 | 3.00 |  |

`
	if got.String() != want {
		t.Errorf("got\n%s\nexpected\n%s", got.String(), want)
	}
}

func TestAccount(t *testing.T) {
	s := sample{Result: figures.Result{Units: 4}}
	s.account(
		consumption{nodes: []kit.Stats{{CPU: 1000, RSS: 1}, {CPU: 2000, RSS: 2}}, broker: kit.Stats{CPU: 5000}},
		consumption{nodes: []kit.Stats{{CPU: 9000, RSS: 3}, {CPU: 6000, RSS: 4}}, broker: kit.Stats{CPU: 9000}})
	if s.CPU != 3 || !slices.Equal(s.NodesCPU, []float64{2, 1}) || s.BrokerCPU != 1 || s.Before.RSS != 3 || s.After.RSS != 7 {
		t.Errorf("%+v", s)
	}
	alone := sample{Result: figures.Result{Units: 2}}
	alone.account(consumption{nodes: []kit.Stats{{CPU: 1000}}}, consumption{nodes: []kit.Stats{{CPU: 5000}}})
	if alone.CPU != 2 || alone.NodesCPU != nil || alone.BrokerCPU != 0 {
		t.Errorf("%+v", alone)
	}
}

func TestSite(t *testing.T) {
	s := &site{nodes: []*process{startFake(t, "good"), startFake(t, "good")}}
	used, err := s.ask("stats")
	if err != nil || len(used.nodes) != 2 || used.sum().CPU != 10 {
		t.Errorf("%+v, %v", used, err)
	}
	if err := s.order("profile", "a b.pprof"); err != nil {
		t.Error(err)
	}
	if err := s.close(nil); err != nil {
		t.Error(err)
	}
	s = &site{nodes: []*process{startFake(t, "broken"), startFake(t, "good")}, broker: startFake(t, "good")}
	_, err = s.nodes[0].listening()
	expectError(t, err, "no more")
	expectError(t, s.close(err), "no more")
	if s.nodes[1].cmd.ProcessState == nil || s.broker.cmd.ProcessState == nil {
		t.Error("a process is left")
	}
}

func TestClients(t *testing.T) {
	one, four := &site{addresses: []string{"a"}}, &site{addresses: []string{"a", "b", "c", "d"}}
	for _, c := range []struct {
		site *site
		work work
		want string
	}{
		{one, work{}, "-addr a"},
		{one, work{speakers: true}, "-addr a -speakers a"},
		{four, work{}, "-addr b -addr c -addr d"},
		{four, work{speakers: true}, "-addr b -addr c -addr d -speakers a"},
	} {
		if got := strings.Join(c.site.clients(c.work), " "); got != c.want {
			t.Errorf("%s, expected %s", got, c.want)
		}
	}
}

func TestListening(t *testing.T) {
	p := startFake(t, "listening")
	if address, err := p.listening(); address != "nats://127.0.0.1:4222 17" || err != nil {
		t.Error(address, err)
	}
	p = startFake(t, "chatty")
	_, err := p.listening()
	expectError(t, err, `begins with "one"`)
	_ = p.abandon()
}

// Every work about several nodes is explained, and has stacks of both, which have all that they need.
func TestClusterIsMeasured(t *testing.T) {
	for _, w := range clusterWorks {
		if w.about == "" {
			t.Errorf("%s isn't explained", w.name)
		}
		for _, dialect := range []string{"v1", "centrifuge"} {
			if !slices.ContainsFunc(clusterStacks, func(s stack) bool { return s.dialect == dialect && s.nodes(w) >= 2 && s.can(w) }) {
				t.Errorf("%s: no two nodes speak %s", w.name, dialect)
			}
		}
		if w.nodes == 0 && !slices.ContainsFunc(clusterStacks, func(s stack) bool { return s.nodes(w) == 1 && s.can(w) }) {
			t.Errorf("%s: it isn't compared with one node", w.name)
		}
	}
	for _, s := range clusterStacks {
		if keeps := slices.Contains(s.args, "-history"); keeps != s.can(work{needs: classHistory}) || s.broker == "nats" && keeps {
			t.Errorf("%s: history %t", s.name, keeps)
		}
	}
}
