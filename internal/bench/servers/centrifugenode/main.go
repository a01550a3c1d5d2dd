// Command centrifugenode is the benchmark's server on centrifugal/centrifuge as one of several nodes, which meet over its Redis
// broker, or over NATS as its example shows.
package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/centrifugal/centrifuge"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

func main() {
	config := kit.ParseNode()
	node, err := centrifuge.New(centrifuge.Config{ClientChannelLimit: 1 << 20})
	if err != nil {
		kit.Fatal(err)
	}
	if err := join(node, config.Broker); err != nil {
		kit.Fatal(err)
	}
	subscribed, published := centrifuge.SubscribeReply{}, centrifuge.PublishReply{}
	if config.History {
		subscribed.Options.EnableRecovery = true
		published.Options.HistorySize, published.Options.HistoryTTL = kit.HistoryMessages, kit.HistoryAge
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) { done(subscribed, nil) })
		client.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) { done(published, nil) })
	})
	if err := node.Run(); err != nil {
		kit.Fatal(err)
	}
	kit.ServeHTTP(centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
}

// join gives the node the broker at url. Without one it is alone, with what it has in memory.
func join(node *centrifuge.Node, url string) error {
	scheme, _, _ := strings.Cut(url, ":")
	switch scheme {
	case "":
		return nil
	case "nats":
		b, err := connectNATS(node.ID(), url)
		if err != nil {
			return err
		}
		node.SetBroker(b)
		return nil
	case "redis":
		shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: url})
		if err != nil {
			return err
		}
		b, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
		if err != nil {
			return err
		}
		node.SetBroker(b)
		return nil
	}
	return fmt.Errorf("there is no broker for %q", url)
}
