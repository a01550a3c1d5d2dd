/*
Package client is the Go client of wsctl.v1, the protocol of a wsctl server: messages, calls and streams over a WebSocket that
may be lost and made again without anything being lost with it.

	c, err := client.Dial(ctx, "wss://example.com/ws", nil)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	client.On(c, "Said", func(l Line) { fmt.Println(l.Text) })
	sum, err := client.Call[int](ctx, c, "Add", [2]int{1, 2})

# Messages and calls

[Client.Send] is for messages that nobody answers; [Client.Call], or [Call] with the type of its result, for methods that do.
[Stream] loops over what a method yields, [Upload] sends a method a sequence, and [Exchange] does both. [On] and [Handle] are
for the other direction: messages of the server, and its calls to the client. Where the server greets its clients at once,
make the client by [New], give it its functions, and only then let it [Client.Connect], so that nothing arrives before them.

Data is JSON as of encoding/json/v2, in its mirror github.com/go-json-experiment/json: names are case-sensitive, none may
stand twice, nil slices are []. A [encoding/json.RawMessage] is taken and given as it is.

# Connections and sessions

A client that has once been told to connect goes on until it is closed: by [Client.Close], or by a server that says for good
that it doesn't want it. [Client.State] and Options.State say where it is.

A connection may be lost, also without a word: then nothing comes for longer than the server said it would take. The client
dials again, first after 100 ms to 1.1 s, then after growing pauses with a random part, so that the clients of a server that
restarts don't come back all at once. If the server still knows the session, both sides send what the other lacks. Everything
has then been sent once and in order, and calls and streams just took a little longer. [Info].Resumed says so.

If it doesn't, the client begins a new session, and what was under way may or may not have happened: calls and streams fail with
the code unavailable, and Options.Lost is told how many messages were written but not acknowledged. None of them is sent
again. What hadn't been written yet goes into the new session, in its order.

While the client isn't open, messages and calls wait, up to Options.MaxQueue of them; messages of Send up to Options.QueueTTL, a
call as long as its context. An application that knows that the network is back says so by [Client.Redial].

# Rooms

Which rooms a client is in is the server's decision. Of rooms that keep history the client remembers its position in the newest
100, that of the last message which it has taken for the functions of [On]. Where a session is lost, the server sends what was
missed in these rooms as soon as the new socket has joined them, in order and none twice, also on another node; the functions
notice nothing. Where the server can't, it says so by $room, and an application that listens to it by means of [RoomState] reads
its state anew. [OnMessage] tells a message's room and position.

# Credentials

Options.Token is asked before every dial, and again some time before the credential ends, if the server says when that is; the
new one is sent on the open connection. When the server refuses a credential, a fresh one is tried once, at once. The
token never is a part of the URL.

# Errors

What the server's methods answer, and what goes wrong with one message or call, is an [*wsctl.Error]: its Code is for
programs. How a connection ended is a [*wsctl.CloseError]. A client that is closed for good answers with [ErrClosed].

	code                  fails
	what the method says  the call
	CodeUnavailable       the call: the session was lost after it was written, so it may have run
	CodeTimeout           the call: its context's deadline passed, or Options.CallTimeout
	CodeCanceled          the call: its context was canceled
	CodeTooMany           nothing was sent: Options.MaxQueue or MaxBuffer is reached
	CodeTooBig            nothing was sent: the server takes no message of this size
	CodeBadRequest        nothing was sent: type or data can't be; or the server says so of the data

Close codes are read like HTTP: 1000, most of 1002 to 1010, and 4400 to 4499 are final, but for 4401 (once, with a fresh token),
4408, 4409 (once, as new) and 4429. After any other the client comes back. Before the upgrade the HTTP status 401 counts as 4401,
403 as 4403. Any other below 500 is final for a client that has never been open, except 408, 425 and 429.

# Concurrency

All methods and functions may be used from any goroutine. An open client has two goroutines of its own, one that reads and
one that writes. The functions of On and of the Options are called by a third, which lives as long as there is work for it;
those of Handle by one for each call. No function is called while the client holds a lock, and all of them may use the client.
*/
package client
