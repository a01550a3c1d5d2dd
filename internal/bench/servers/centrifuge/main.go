// Command centrifuge is the benchmark's server on centrifugal/centrifuge, in its JSON protocol.
package main

import (
	"context"
	"encoding/json"

	"github.com/centrifugal/centrifuge"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

// everyone is the channel that all clients are subscribed to.
const everyone = "all"

func main() {
	config := kit.Parse()
	node, err := centrifuge.New(centrifuge.Config{ClientChannelLimit: 1 << 20})
	if err != nil {
		kit.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{},
			Subscriptions: map[string]centrifuge.SubscribeOptions{everyone: {}},
		}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
		client.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			done(centrifuge.PublishReply{}, nil)
		})
		client.OnRPC(func(event centrifuge.RPCEvent, done centrifuge.RPCCallback) { done(call(event)) })
	})
	if err := node.Run(); err != nil {
		kit.Fatal(err)
	}
	kit.ServeHTTP(centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		Compression:      config.Compress,
		CompressionLevel: 1, // that of the others
	}))
}

func call(event centrifuge.RPCEvent) (centrifuge.RPCReply, error) {
	if event.Method != "Echo" {
		return centrifuge.RPCReply{}, centrifuge.ErrorMethodNotFound
	}
	var line kit.Line
	if err := json.Unmarshal(event.Data, &line); err != nil {
		return centrifuge.RPCReply{}, centrifuge.ErrorBadRequest
	}
	data, err := json.Marshal(line)
	return centrifuge.RPCReply{Data: data}, err
}
