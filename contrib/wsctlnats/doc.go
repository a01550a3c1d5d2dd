// Package wsctlnats joins the hubs of several nodes over NATS, as the Broker of a [wsctl.Hub]:
//
//	broker, err := wsctlnats.Connect("nats://10.0.0.1,nats://10.0.0.2", &wsctlnats.Options{Replicas: 3})
//	if err != nil {
//		return err
//	}
//	defer broker.Close()
//	hub := &wsctl.Hub{Broker: broker}
//
// Rooms without history use core NATS. Rooms with history need JetStream, of NATS 2.11 or later: one stream, which is made
// when it is first needed, keeps the messages of all of them. No consumers are needed: the server sends copies of what it
// has stored to the subscribers of a room, and a node that may have missed some asks for them.
//
// # How positions are kept
//
// Nodes that keep messages in one room at the same time agree on their offsets by the stream itself. A message is stored
// together with its position, and on condition that the room's last message is still the one whose position precedes it. Where
// that fails, another node's message was faster, and the next place is tried. Messages that come on a node while one is
// being stored are stored together, as one entry of the stream, so that a busy room isn't limited by the time that this
// takes. A node that doesn't get its turn asks the others to wait for a moment. A try without an answer is repeated in the
// same place, where only one copy can be; so it is kept once.
//
// The epoch of a room's positions is stored with them, and begins anew where its last message isn't there: when the stream
// was lost, or all messages were older than Options.MaxAge. A server that has lost its newest messages only (a backup was
// restored, or a machine without replicas lost its power before the file was written) is noticed by nodes that have the room
// subscribed; where none has, nobody notices.
package wsctlnats
