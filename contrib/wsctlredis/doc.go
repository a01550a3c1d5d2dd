// Package wsctlredis is a broker of wsctl on Redis, from 6.2 on, or Valkey: the hubs of all nodes that have one share their
// rooms, and the history of these.
//
//	broker, err := wsctlredis.New(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer broker.Close()
//	hub := &wsctl.Hub{Broker: broker}
//
// Messages go over Pub/Sub, in a cluster (from Redis 7 on) over its sharded channels. Those that are kept are in a stream for
// each room, written and published by one script, so that both have one order.
package wsctlredis
