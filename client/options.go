package client

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// Options are a client's settings. The zero value is valid; New takes a copy.
//
// Message, State and Lost are called one after the other and together with the functions given to [On], in the order in
// which it happened, and never while the client holds a lock. They may call any method of the client. While one of them
// blocks, the others wait; see [On].
type Options struct {
	// Token returns the credential. It is asked before every dial, and again before the credential expires. An error is
	// a failed attempt, which is tried again like others. ctx ends with the attempt. Token mustn't call Close.
	// At the plain level it is sent as the header Authorization: Bearer, elsewhere in the first message.
	// nil: none.
	Token func(ctx context.Context) (string, error)

	// Header is sent with every dial.
	Header http.Header

	// Plain speaks the protocol's plain level: any server of {"type", "data"} messages understands it, but what is under
	// way when a connection drops is lost, and there are no streams and no calls by the server.
	Plain bool

	// Dialer makes the connections; nil: a copy of websocket.DefaultDialer, which uses the proxy of the environment. Its
	// Subprotocols and HandshakeTimeout don't count.
	Dialer *websocket.Dialer

	// Message gets the messages that no function of [On] takes, also $gap and $room of the protocol: what the server's
	// queue policy dropped, and what became of a room's history, a [RoomState]. nil: they are dropped; those of the application are logged.
	Message func(typ string, data json.RawMessage)

	// State is told every change of the state. err says why it left Open, or why an attempt failed: a *wsctl.CloseError if
	// there was a close code, 1006 for a connection that was lost. nil: nobody is told.
	State func(s State, err error)

	// Lost is told that a session was lost, and with it n messages of Send and SendVolatile that were written but not
	// acknowledged: each of them may or may not have been handled. They are not sent again. Calls are not among them, as
	// each of them fails. nil: it is logged.
	Lost func(n int)

	// Manual leaves the client in Waiting after a failed attempt or a lost connection, until Connect or Redial.
	Manual bool

	// MinDelay and MaxDelay shape the pause before the n-th dial in a row: MinDelay and a random part of 1 s, 2 s, 4 s, … up to
	// MaxDelay. 0: 100 ms and 20 s. A restarting server may ask for other delays.
	MinDelay, MaxDelay time.Duration

	// StableAfter is how long a connection must have been open for the delays to begin anew. 0: 5 s.
	StableAfter time.Duration

	// ConnectTimeout bounds one attempt: token, dial, handshakes, and the server's welcome. 0: 10 s.
	ConnectTimeout time.Duration

	// CallTimeout bounds a Call or Upload whose context has no deadline. 0: 10 s, negative: none.
	CallTimeout time.Duration

	// ProbeTimeout is how long Redial waits for a sign of life on a connection that is open. 0: 4 s.
	ProbeTimeout time.Duration

	// MaxQueue is how many messages and calls wait while the client isn't open. 0: 256, negative: none.
	MaxQueue int

	// QueueTTL is how long a message of Send waits for a connection; then it is dropped and logged. 0: 60 s.
	QueueTTL time.Duration

	// MaxBuffer bounds the bytes that wait to be written or acknowledged, open or not. A message enters an empty buffer
	// whatever its size. 0: 16 MiB.
	MaxBuffer int

	// MaxMessage is the largest message taken, in bytes after decompression. A larger one ends the client, with close
	// code 1009. 0: 16 MiB.
	MaxMessage int

	// Logger gets what goes wrong and has nobody else to be told to. nil: slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var r Options
	if o != nil {
		r = *o
	}
	r.Header = r.Header.Clone()
	if r.Dialer == nil {
		r.Dialer = websocket.DefaultDialer
	}
	d := *r.Dialer
	r.Dialer = &d
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&r.MinDelay, 100 * time.Millisecond},
		{&r.MaxDelay, 20 * time.Second},
		{&r.StableAfter, 5 * time.Second},
		{&r.ConnectTimeout, 10 * time.Second},
		{&r.CallTimeout, 10 * time.Second},
		{&r.ProbeTimeout, 4 * time.Second},
		{&r.QueueTTL, 60 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *int
		value int
	}{
		{&r.MaxQueue, 256},
		{&r.MaxBuffer, 16 << 20},
		{&r.MaxMessage, 16 << 20},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	return r
}
