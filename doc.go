/*
Package wsctl puts real-time messages behind a Go struct: its methods are what clients can call over a WebSocket.

	type Chat struct{}

	type Line struct{ Room, Text string }

	// Say handles {"type":"Say","data":{"Room":"go","Text":"hi"}}.
	func (c *Chat) Say(s *wsctl.Socket, l Line) error {
		if err := s.Join(l.Room); err != nil {
			return err
		}
		return s.Hub().Room(l.Room).Send("Said", l)
	}

	// Add answers a call: await client.call("Add", [1, 2]) is 3.
	func (c *Chat) Add(_ *wsctl.Socket, n [2]int) (int, error) { return n[0] + n[1], nil }

	func main() {
		mux := http.NewServeMux()
		mux.Handle("GET /ws", wsctl.New(&Chat{}, nil))
		mux.Handle("GET /js/{file}", wsctl.JS())
		log.Fatal(http.ListenAndServe("localhost:42000", mux))
	}

# Methods

A method is a route if and only if it takes a *[Socket]. Its message type is its name, or what [Options].TypeName makes of
it. These are its forms:

	func (c *T) Name([ctx context.Context,] s *Socket [, in In] [, seq iter.Seq2[Item, error]]) [out Out] [, err error]
	func (c *T) Name(…the same…) iter.Seq2[Out, error]
	func (c *T) Name(…the same…) (iter.Seq2[Out, error], error)

In is what the data of the message decodes into. A pointer may be absent: it is nil then, while any other In is its zero value.
A [encoding/json.RawMessage] is a copy of the data, not checked further than that it is JSON. Data for a method without In is ignored.
An In with a method Validate() error is asked before the call. Out is what answers a call. JSON is that of encoding/json/v2, in
its mirror github.com/go-json-experiment/json: names are case-sensitive, none may stand twice, nil slices are [].

[New] checks all of this and panics with every problem at once. [Handler.Routes] lists what clients can call, and why they
can't call the rest; its text is stable, for a golden file. [Socket.SetController] gives one socket's messages to another
controller: one for each connection, or for each stage, as login, lobby and game.

Three methods are hooks, never routes: OnOpen ([Opener]), OnClose ([Closer]) and OnUnknown ([Fallback]).

# The wire

One JSON object for each text message, the same both ways:

	{"type": "Say", "id": 7, "data": {"Room": "go", "Text": "hi"}}

A message with an id is a call, and gets exactly one end with that id: $reply with the result as its data, or $error with
{"code", "message", "data"}. A message without an id is never answered, not even with an error. {"type": "$cancel", "id": 7}
ends the context of a call's method. Other types that begin with $ are reserved. Any WebSocket client can speak this; the
file docs/PROTOCOL.md has the rules to the letter.

An [*Error] that a method returns is what the client sees. Of any other error it sees only that there was one ([CodeInternal]);
the log has the rest. A [*CloseError] closes the socket. A panic is logged with its stack and answered as an error, and the
socket lives on.

# Sessions

A client that speaks the subprotocol wsctl.v1, as the package client does, has a session: when it loses its connection and comes
back within Options.Resume, its [Socket] lives on, with its rooms, its controller and its calls in flight, and each side gets what
it lacks, once and in order. Nothing in a controller is to be done for that: Send, Join and Call work meanwhile, contexts end and
OnClose is told when the session ends. What waits is bounded by Options.SendBuffer for one client, and by Options.ParkBuffer for all
that are away. Other clients are plain: they are served as they always were, and their Socket ends with the connection.

# Streams

A method that returns an iter.Seq2[Out, error] streams its answer. It runs beside the order of messages, on a goroutine of its own:

	func (c *Chat) Lines(ctx context.Context, s *wsctl.Socket, q Query) iter.Seq2[Line, error] {
		return func(yield func(Line, error) bool) {
			for line := range c.search(ctx, q) {
				if !yield(line, nil) {
					return
				}
			}
		}
	}

Its loop stands still while the client doesn't take what it yields, and ends when the client cancels or goes: yield returns
false then, and ctx is done. A method with an argument seq iter.Seq2[Item, error] ranges over what its client streams, no faster
than it asks. Options.MaxStreams bounds the streams of one socket. Streams need wsctl.v1.

# Asking a client

[Socket.Call], or a typed [Request], asks the client and waits for its answer, also from a method of the same socket:

	var Confirm = wsctl.NewRequest[string, bool]("Confirm")

	func (c *Chat) Drop(ctx context.Context, s *wsctl.Socket, room string) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if ok, err := Confirm.Call(ctx, s, "Drop "+room+"?"); err != nil || !ok {
			return err
		}
		return c.drop(room)
	}

# Events

An [Event] is a message type of the server with the type of its data, and, if it is to have one, a policy for clients that
don't keep up, in place of closing them:

	var Moved = wsctl.NewEvent[Position]("Moved").Latest(func(p Position) string { return p.Player })

	err := Moved.Send(s.Hub().Room("field"), p)

# Order and concurrency

  - Messages of one socket are handled one at a time, in the order received, unless Options.Concurrency allows more. Methods
    of different sockets run at the same time, on one controller: guard what they share.
  - While a method runs that takes a ctx, the connection is still read: when the client goes, or cancels the call, the ctx is
    done at once. A method that may wait should take one. Messages that arrive meanwhile wait, up to the larger of 64 KiB and
    Options.MaxMessage; then TCP holds the client back.
  - While a method runs that takes no ctx, nothing is read; it needs no second goroutine, so it is the cheaper form.
  - Send never blocks. A queue is bounded in bytes by Options.SendBuffer; the client that doesn't keep up is closed
    with [CloseSlow], and [Room.Send] goes on to the others. Nothing is dropped silently.
  - Messages arrive in the order of the Sends: those to a socket and those to any of the rooms that it is in.
  - What a method sends gathers until the messages that came with its own are handled, for about a millisecond at the most,
    and shares a write.
  - A socket that ends leaves the hub, its user and its rooms at once, also while a method of it still runs. OnClose comes
    when the last one has returned.

# History

Hub.History has rooms keep their last messages, so that clients which come back too late for their session, or after a restart, don't
miss any:

	hub := &wsctl.Hub{History: func(room string) wsctl.Retention { return wsctl.Retention{Messages: 500, Age: 10 * time.Minute} }}
	h := wsctl.New(&Chat{}, &wsctl.Options{Hub: hub})

A client of wsctl.v1 remembers how far it has got in such a room. When it has a new Socket, and that joins the room again, it gets what
was sent meanwhile, between the join and the next message, none missing and none twice; where that can't be, it is told: gap in the
browser, $room in Go. Nothing else is to be done, but to join. Messages of these rooms are never dropped or replaced by the policy of an
Event. Whoever may join a room may read its history. Without a Broker it is kept in memory, Hub.HistoryBuffer bytes for all rooms.

# Several machines

Hub.Broker joins the hubs of several nodes. [Room.Send], Broadcast, [Hub.User], [Hub.Socket], [Room.Close], [Room.Members] and
[Room.Watch] are of all nodes then; [Room.Len] and [Room.Sockets] remain this one's. The modules contrib/wsctlnats and
contrib/wsctlredis have brokers; another is a type of two methods, four with history: see [Broker] and [HistoryBroker].

A message to a room goes to the broker, and comes back to the members of all nodes, in the broker's order. So Send may fail, and says
so: members of this node have the message nevertheless, unless the room keeps history, where nobody gets what isn't kept. Send to such
a room returns when the message is kept: what was accepted reaches every member, on whatever node and after whatever loss, or the member is told.
Rooms without history are cheaper and lose what is sent while a client, or a node, is away. [Socket.Join] waits for the broker
where it is the first of the room on this node.

A node needs nothing of its load balancer: a client may come to any, each time. Its session, with calls and streams in
flight, lives on one node: a client that comes back to another begins a new one there, and its rooms recover. docs/CLUSTER.md has the
rest: what is promised when what fails, numbers, and a plan for many. A Hub with a Broker and no Handler sends, too: from a job, say.

# What a connection costs

A connection that waits for a message has one goroutine and no buffer. On Linux, without TLS, it gives up the goroutine when it
has waited for some seconds, and one that has just been opened has none yet: it takes about 2.5 KB then, also while its
client answers pings. That holds if the HTTP server's connections are TCP's or Unix sockets' own: a net.Listener that wraps them
costs them this, and the shorter way to the network. Messages to a room are framed once, and what gathers for a socket
shares a write. The module internal/bench measures all of it beside other libraries; docs/PERFORMANCE.md has the results, and
how they grow with connections and rooms.

# The handshake, and what is around it

[Handler.ServeHTTP] returns as soon as the socket is open; the connection lives on without the HTTP server's goroutine,
request and buffers. So middleware round the handler sees the handshake alone: a duration that it measures is that of the
handshake, a gauge of open requests doesn't count sockets ([Handler.Stats] does), a span ends before the first message, and
values that it puts into the request's context are gone, unless Options.Context copies them into [Socket.Context]. Nothing of
the request is kept; [Opener] may use it until it returns. Middleware that wraps the http.ResponseWriter must have either
http.Hijacker or an Unwrap method, as [http.ResponseController] wants it. [http.TimeoutHandler] has neither and can't be used.
[Options].Middleware goes round each message.

A page of another origin is refused unless Options.Origins allows it. Options.Authenticate sees cookies and headers, and the token
of a $hello, which is not in a URL, and so in no log.

# Shutdown

[http.Server.Shutdown] knows nothing of WebSockets: it neither closes them nor waits. Call [Handler.Shutdown] and wait for
it, then shut the server down:

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() { log.Print(srv.ListenAndServe()); stop() }()
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second) // clients have 10 s to answer the close
	defer cancel()
	h.Shutdown(ctx)
	srv.Shutdown(ctx)

# Testing

Package wsctltest connects a client to a handler over memory, inside a [testing/synctest] bubble too, where time costs nothing; it
can cut the connection, and not read.

# The browser

[JS] serves an embedded client, 4 KB without dependencies. A page on the same origin does

	import { Client } from '/js/wsctl.js'

	const client = new Client('/ws')
	client.on('Said', (line) => console.log(line.Room, line.Text))
	client.send('Say', { Room: 'go', Text: 'hi' })
	const sum = await client.call('Add', [1, 2])
	for await (const line of client.stream('Lines', { Room: 'go' })) console.log(line.Text)

It has a session: a lost connection is made again, with delays that grow and differ from page to page, unless the close code is
final, and at once when the network or the page is back; messages, calls and streams go on as if nothing had happened. What is
sent meanwhile waits, within limits. Local events (open, close, error, gap) tell how it goes. wsctl.d.ts has the types and the
rest of the documentation. [Handler.WriteTypes] writes those of your controller, so that a wrong name or payload doesn't
compile:

	const client = new Client<Protocol>('/ws')

For pages without modules, the classic script wsctl.global.js sets SimpleSocketHandler and MessageTypes: a plain client, which any
server of {"type", "data"} understands.
*/
package wsctl
