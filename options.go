package wsctl

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Options configures a [Handler]. Zero means the default given. A negative MaxMessage, SendBuffer, ParkBuffer,
// Concurrency, MaxStreams, RateBurst or HandshakeTimeout is an error of the program, with which [New] panics; of the others it
// means what is said there.
type Options struct {
	// Hub is shared with other handlers. Nil: a new one.
	Hub *Hub

	// Controllers are values of the types, beside New's, that Socket.SetController will be given: New checks them, and
	// Handler.Routes lists them.
	Controllers []any

	// TypeName gives the message type of a method. Nil: the method's name. See SnakeCase and CamelCase.
	TypeName func(method string) string

	// Middleware goes round the handling of each message, of unknown types too. The first is outermost. It doesn't see the
	// protocol's own messages, nor those that don't follow it.
	Middleware []func(MessageFunc) MessageFunc

	// Events are the events and requests of the server, which the controllers' methods don't show.
	Events []Declaration

	// Origins are the origins of pages that may connect, beside the request's own host: patterns as of path.Match, in any
	// case, for the Origin's host[:port], as "app.example.com", "*.example.com", "localhost:*", `\[::1\]:*` or "*". Requests
	// without an Origin header, which browsers always send, are not asked for one.
	Origins []string

	// Authenticate is asked in the handshake: before the upgrade of a plain client, with its $hello of another one, also when it
	// resumes a session, which must be the same User's. token is that of $hello, or else of an "Authorization: Bearer" header, or
	// empty; cookies and other headers are in r. An *Error of CodeUnauthenticated, CodeForbidden or CodeTooMany refuses
	// with status 401, 403 or 429 and its message as the response's body, or with close code 4401, 4403 or 4429; any other
	// error, and a panic, is logged and refuses with 500 or 1011. It is also asked at each $auth, by which a client renews its
	// credential: r is nil then, and its errors are the answer. ctx ends with the request or the socket, or after
	// HandshakeTimeout. Nil: nobody is asked.
	Authenticate func(ctx context.Context, r *http.Request, token string) (Identity, error)

	// Context gives the root of Socket.Context: its values, and its end, which closes the socket with CloseGoingAway.
	// Nil: context.Background. Not r.Context(), which ends when ServeHTTP returns; and routers recycle what its values
	// point to (chi, gin): copy what is needed.
	Context func(r *http.Request) context.Context

	Logger      *slog.Logger // nil: slog.Default() at the time of logging
	Compression bool         // permessage-deflate, without context takeover, for clients that offer it

	MaxMessage  int     // bytes of a message received, when inflated: 64 KiB. A longer one closes the socket with 1009
	SendBuffer  int     // bytes queued for a socket: 1 MiB, or one message of any size. One that needs more is closed with CloseSlow
	Concurrency int     // methods of one socket that run at once: 1, in order
	MaxStreams  int     // streams of one socket at once: 16
	MaxConns    int     // sockets of this handler; more are refused with 503. Zero or negative: no limit
	RateLimit   float64 // messages a second of one socket; a client that sends more is read more slowly. Zero or negative: no limit
	RateBurst   int     // messages that may come at once: 2 s of RateLimit, at least 1

	HandshakeTimeout time.Duration // for $hello, and for Authenticate: 10 s
	PingInterval     time.Duration // between pings: 25 s. Negative: no pings, and silence is allowed
	PingTimeout      time.Duration // of silence beyond PingInterval, and for the answer to a close frame: 10 s. Negative: silence is allowed
	WriteTimeout     time.Duration // without progress in writing: 10 s. Negative: no limit

	// Resume is how long a session that has lost its connection is kept: 30 s. Its Socket lives on meanwhile. Negative: sessions
	// end with their connection.
	Resume time.Duration
	// ParkBuffer is how many bytes are kept for all such sessions together: 64 MiB. The oldest ends where they would be more.
	ParkBuffer int
}

// Identity is whom Options.Authenticate found.
type Identity struct {
	User    string    // names the room Hub.User, so at most 128 bytes; empty: nobody in particular
	Expires time.Time // closes the socket with CloseUnauthenticated, or refuses it if it is past; zero: never
	Value   any       // the application's
}

const (
	defaultMaxMessage   = 64 << 10
	defaultSendBuffer   = 1 << 20
	defaultTimeout      = 10 * time.Second
	defaultPingInterval = 25 * time.Second
	defaultMaxStreams   = 16
	defaultResume       = 30 * time.Second
	defaultParkBuffer   = 64 << 20
)

// withDefaults returns a copy of o, which may be nil, with defaults in place of zeros, and what is wrong with it.
func (o *Options) withDefaults() (opts Options, problems []string) {
	if o != nil {
		opts = *o
	}
	number := func(name string, n *int, value int) {
		if *n < 0 {
			problems = append(problems, fmt.Sprintf("Options.%s is %d: it must not be negative", name, *n))
		} else if *n == 0 {
			*n = value
		}
	}
	number("MaxMessage", &opts.MaxMessage, defaultMaxMessage)
	number("SendBuffer", &opts.SendBuffer, defaultSendBuffer)
	number("Concurrency", &opts.Concurrency, 1)
	number("MaxStreams", &opts.MaxStreams, defaultMaxStreams)
	number("ParkBuffer", &opts.ParkBuffer, defaultParkBuffer)
	number("RateBurst", &opts.RateBurst, max(1, int(min(2*opts.RateLimit, 1<<30))))
	if opts.RateLimit != opts.RateLimit || opts.RateLimit > 0 && opts.RateLimit < 1e-3 {
		problems = append(problems, fmt.Sprintf("Options.RateLimit is %v: it must be at least one message in 1,000 s", opts.RateLimit))
	}
	if opts.HandshakeTimeout < 0 {
		problems = append(problems, fmt.Sprintf("Options.HandshakeTimeout is %v: it must not be negative", opts.HandshakeTimeout))
	}
	duration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	duration(&opts.HandshakeTimeout, defaultTimeout)
	duration(&opts.PingInterval, defaultPingInterval)
	duration(&opts.PingTimeout, defaultTimeout)
	duration(&opts.WriteTimeout, defaultTimeout)
	duration(&opts.Resume, defaultResume)
	if opts.Hub == nil {
		opts.Hub = new(Hub)
	}
	if b := reflect.ValueOf(opts.Hub.Broker); b.Kind() == reflect.Pointer && b.IsNil() {
		problems = append(problems, fmt.Sprintf("Options.Hub.Broker is a nil %T: leave the field out where there is none", opts.Hub.Broker))
	}
	for i, m := range opts.Middleware {
		if m == nil {
			problems = append(problems, fmt.Sprintf("Options.Middleware[%d] is nil", i))
		}
	}
	for i, d := range opts.Events {
		if d == nil || reflect.ValueOf(d).IsNil() {
			problems = append(problems, fmt.Sprintf("Options.Events[%d] is nil", i))
		}
	}
	for i, p := range opts.Origins {
		if _, err := path.Match(p, ""); err != nil {
			problems = append(problems, fmt.Sprintf("Options.Origins[%d] is %q: %v", i, p, err))
		} else if strings.Contains(p, "/") {
			problems = append(problems, fmt.Sprintf("Options.Origins[%d] is %q: it is matched with host[:port], without a scheme", i, p))
		}
	}
	opts.Controllers, opts.Middleware, opts.Origins = slices.Clone(opts.Controllers), slices.Clone(opts.Middleware), slices.Clone(opts.Origins)
	opts.Events = slices.Clone(opts.Events)
	return opts, problems
}

// closeTimeout is how long the peer has to answer a close frame.
func (o *Options) closeTimeout() time.Duration {
	if o.PingTimeout < 0 {
		return defaultTimeout
	}
	return o.PingTimeout
}
