package wsctlredis_test

import (
	"log"
	"net/http"
	"time"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

// Chat is a controller.
type Chat struct{}

func (Chat) Join(s *wsctl.Socket, room string) error { return s.Join(room) }

func Example() {
	broker, err := wsctlredis.New(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	hub := &wsctl.Hub{
		Broker: broker,
		History: func(room string) wsctl.Retention {
			return wsctl.Retention{Messages: 100, Age: time.Hour}
		},
	}
	http.Handle("GET /ws", wsctl.New(Chat{}, &wsctl.Options{Hub: hub}))
	log.Print(http.ListenAndServe(":8080", nil))
}

// A Redis Cluster: some of its nodes are enough.
func ExampleNew_cluster() {
	broker, err := wsctlredis.New(rueidis.ClientOption{InitAddress: []string{"redis-1:6379", "redis-2:6379", "redis-3:6379"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
}

// A master and replicas that are watched by Sentinel: the addresses are the sentinels'.
func ExampleNew_sentinel() {
	broker, err := wsctlredis.New(rueidis.ClientOption{
		InitAddress: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
		Sentinel:    rueidis.SentinelOption{MasterSet: "main"},
		Password:    "secret",
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
}

// One Redis with appendonly yes and appendfsync always, which loses nothing: histories go on when it was restarted.
func ExampleNew_durable() {
	broker, err := wsctlredis.New(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}}, &wsctlredis.Options{Durable: true})
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
}
