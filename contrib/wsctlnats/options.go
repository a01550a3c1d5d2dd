package wsctlnats

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options are those of [Connect]. They are to be the same on all nodes.
type Options struct {
	// NATS are options of the connection, for its TLS, credentials or name. Those for reconnecting are overruled.
	NATS []nats.Option

	// Prefix begins the subjects that are used, and names the stream, in which it has _ for each dot; so applications that
	// share an account have different ones. It is words of letters, digits, - and _, separated by dots. Empty means wsctl.
	Prefix string

	// Replicas is how many servers of a cluster keep each message. Zero means 1; 3 outlives the loss of one.
	Replicas int

	// Storage is where servers keep messages. Zero means files; with [jetstream.MemoryStorage] they get lost with the servers.
	Storage jetstream.StorageType

	// MaxMessages and MaxAge are the most that a room can keep: [Broker.PublishKeep] refuses a Retention of more, and takes
	// these where the Retention has no limit. Zero means 1,000 messages and 24 hours. The stream is made with them, and gets
	// them where it has less; it isn't reduced. It keeps entries for 10 minutes at least, so that positions outlive messages.
	MaxMessages int
	MaxAge      time.Duration

	// Logger gets what happens to the connection. Nil means slog.Default().
	Logger *slog.Logger
}

// complete returns opts with its defaults.
func (opts *Options) complete() (Options, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Prefix == "" {
		o.Prefix = "wsctl"
	}
	for word := range strings.SplitSeq(o.Prefix, ".") {
		if word == "" || strings.IndexFunc(word, func(c rune) bool { return c > 0x7f || !plain(byte(c)) }) >= 0 {
			return Options{}, fmt.Errorf("wsctlnats: Options.Prefix %q isn't words of letters, digits, - and _, separated by dots", o.Prefix)
		}
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.MaxMessages == 0 {
		o.MaxMessages = 1000
	}
	if o.MaxAge == 0 {
		o.MaxAge = 24 * time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Replicas < 0 || o.MaxMessages < 0 || o.MaxMessages > math.MaxInt32 || o.MaxAge < time.Second {
		return Options{}, fmt.Errorf("wsctlnats: Options: Replicas %d, MaxMessages %d, MaxAge %v can't be", o.Replicas, o.MaxMessages, o.MaxAge)
	}
	return o, nil
}
