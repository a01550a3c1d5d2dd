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

	func (c *T) Name([ctx context.Context,] s *Socket [, in In]) [out Out] [, err error]

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

# The handshake, and what is around it

[Handler.ServeHTTP] returns as soon as the socket is open; the connection lives on without the HTTP server's goroutine,
request and buffers. So middleware round the handler sees the handshake alone: a duration that it measures is that of the
handshake, a gauge of open requests doesn't count sockets ([Handler.Stats] does), a span ends before the first message, and
values that it puts into the request's context are gone, unless Options.Context copies them into [Socket.Context]. Nothing of
the request is kept; [Opener] may use it until it returns. Middleware that wraps the http.ResponseWriter must have either
http.Hijacker or an Unwrap method, as [http.ResponseController] wants it. [http.TimeoutHandler] has neither and can't be used.
[Options].Middleware goes round each message.

A page of another origin is refused unless Options.Origins allows it. Options.Authenticate sees cookies and headers.

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

# The browser

[JS] serves an embedded client, a few KB without dependencies. A page on the same origin does

	import { Client } from '/js/wsctl.js'

	const client = new Client('/ws', { plain: true })
	client.on('Said', (line) => console.log(line.Room, line.Text))
	client.send('Say', { Room: 'go', Text: 'hi' })
	const sum = await client.call('Add', [1, 2])

It connects again by itself, with delays that grow and differ from page to page, unless the close code is final; what is sent
meanwhile waits, within limits. Local events (open, close, error) tell how it goes. wsctl.d.ts has the types and the rest of
the documentation. For pages without modules, the classic script wsctl.global.js sets SimpleSocketHandler and MessageTypes.
*/
package wsctl
