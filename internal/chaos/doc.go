// Package chaos breaks a cluster of wsctl as chance will have it, and checks that no message of a room with history gets lost
// in silence: three nodes, each a process, a NATS or Redis server, a few hundred clients, and between them proxies that cut.
//
//	go test ./...                      about a minute for each broker
//	go test -run Redis -long 10m       longer
//	go test -run NATS -seed 7          the faults of another run, in their order
//
// By a seed, nodes are killed, paused, restarted one after the other, connections of clients and brokers are cut or fall
// silent, and the broker's server is killed, stopped, paused. Each client is a member of some rooms and sends to them. What holds:
//
//   - A message whose sender was told that it is sent is delivered to each member of the room exactly once, and in one order,
//     the same for all; or the member was told in its place that messages are missing.
//   - One whose sender was told that it failed, or nothing, is delivered likewise, or to nobody.
//   - Nothing else is delivered, and when all is well again, all members are up to date.
//   - Most of what is sent is accepted, and most members who come back find all that they have missed.
//
// The truth is read from the broker itself, by a reader that no proxy cuts.
package chaos
