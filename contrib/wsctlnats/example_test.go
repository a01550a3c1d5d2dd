package wsctlnats_test

import (
	"log"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

type Chat struct{}

func Example() {
	broker, err := wsctlnats.Connect("nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222", &wsctlnats.Options{
		NATS:     []nats.Option{nats.UserCredentials("chat.creds")},
		Replicas: 3,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close() // when the handler has been shut down
	hub := &wsctl.Hub{
		Broker:  broker,
		History: func(room string) wsctl.Retention { return wsctl.Retention{Messages: 100, Age: time.Hour} },
	}
	http.Handle("/ws", wsctl.New(&Chat{}, &wsctl.Options{Hub: hub}))
	log.Print(http.ListenAndServe(":8080", nil))
}
