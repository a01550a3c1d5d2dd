package main

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The broker is restarted while all talk: what can't be said is said again, and nobody misses anything.
func TestBrokerRestarts(t *testing.T) {
	dir := t.TempDir()
	run := func(port int) *server.Server {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(patience) {
			t.Fatal("NATS doesn't start")
		}
		return s
	}
	nats := run(server.RANDOM_PORT)
	t.Cleanup(func() { // after the nodes
		nats.Shutdown()
		nats.WaitForShutdown()
	})
	_, p, _ := net.SplitHostPort(nats.Addr().String())
	port, _ := strconv.Atoi(p)

	url := start(t, config{nodes: 3, nats: nats.ClientURL()})
	const guests, lines = 6, 60
	var all []*visitor
	for i := range guests {
		all = append(all, visit(t, url, fmt.Sprintf("Guest %d", i)))
	}
	var talking sync.WaitGroup
	for _, v := range all {
		talking.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for i := range lines {
				<-tick.C
				v.say(fmt.Sprint(i))
			}
		})
	}
	all[0].until("some lines", func() bool { return len(all[0].lines) >= guests*lines/3 })
	nats.Shutdown()
	nats.WaitForShutdown()
	nats = run(port)
	talking.Wait()
	agree(t, all, guests*lines)
}
