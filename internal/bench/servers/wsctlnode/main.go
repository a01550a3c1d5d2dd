// Command wsctlnode is the benchmark's server on wsctl as one of several nodes, which meet over NATS or Redis.
package main

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

type controller struct{}

func (controller) Join(s *wsctl.Socket, line kit.Line) error { return s.Join(line.Room) }

func (controller) Say(s *wsctl.Socket, line kit.Line) error {
	return s.Hub().Room(line.Room).Send("Said", line)
}

func main() {
	config := kit.ParseNode()
	broker, err := brokerAt(config.Broker)
	if err != nil {
		kit.Fatal(err)
	}
	hub := &wsctl.Hub{Broker: broker}
	if config.History {
		hub.History = func(string) wsctl.Retention {
			return wsctl.Retention{Messages: kit.HistoryMessages, Age: kit.HistoryAge}
		}
	}
	kit.ServeHTTP(wsctl.New(controller{}, &wsctl.Options{Hub: hub}))
}

// brokerAt returns the broker at url, nil if there is none.
func brokerAt(url string) (wsctl.Broker, error) {
	scheme, address, _ := strings.Cut(url, "://")
	switch scheme {
	case "":
		return nil, nil
	case "nats":
		return wsctlnats.Connect(url, &wsctlnats.Options{Storage: jetstream.MemoryStorage})
	case "redis":
		return wsctlredis.New(rueidis.ClientOption{InitAddress: []string{address}}, nil)
	}
	return nil, fmt.Errorf("there is no broker for %q", url)
}
