package wsctlnats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	spare = 8                      // entries that a topic has beyond its messages, for those that only say the position
	fresh = 250 * time.Millisecond // for so long what the server has said of the stream isn't asked again
)

// leastAge is the least that the stream keeps entries for. What Since has said of a position is to hold for 5 minutes at least, and
// half of the time may have gone by before. Tests change it.
var leastAge = 10 * time.Minute

// stream is the stream that keeps the messages of all topics.
type stream struct {
	b     *Broker
	js    jetstream.JetStream
	name  string
	turn  chan struct{} // has a value while somebody asks the server about the stream
	inbox string        // answers to ask come to subjects below it
	age   time.Duration // that entries are kept for
	came  atomic.Uint64 // messages that were answers to ask

	mu      sync.Mutex // guards following
	gen     string     // empty: the server has to be asked
	asked   time.Time
	asks    uint64
	answers map[string]*answer // by their subjects
}

func newStream(b *Broker) (*stream, error) {
	js, err := jetstream.New(b.nc)
	if err != nil {
		return nil, err
	}
	s := &stream{
		b: b, js: js, name: strings.ReplaceAll(b.opts.Prefix, ".", "_"), turn: make(chan struct{}, 1), inbox: b.nc.NewInbox(),
		age: max(b.opts.MaxAge, leastAge), answers: make(map[string]*answer),
	}
	_, err = b.nc.Subscribe(s.inbox+".*", s.answered)
	return s, err
}

// known returns the gen of the stream, if it is known.
func (s *stream) known() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gen
}

// generation returns the gen of the stream, which it makes if there is none.
func (s *stream) generation(ctx context.Context) (string, error) {
	if gen := s.known(); gen != "" {
		return gen, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if gen := s.known(); gen != "" {
		return gen, nil
	}
	gen, err := s.open(ctx)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen, s.asked = gen, time.Now()
	return gen, nil
}

// doubt has the server be asked again: something was said of the stream of gen that may mean that it isn't there any more.
func (s *stream) doubt(gen string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen == gen && time.Since(s.asked) > fresh {
		s.gen = ""
	}
}

// open looks for the stream, makes it if there is none, and returns its gen.
func (s *stream) open(ctx context.Context) (string, error) {
	o := &s.b.opts
	js, err := s.js.Stream(ctx, s.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		gen := randomText(6)
		js, err = s.js.CreateStream(ctx, jetstream.StreamConfig{
			Name:              s.name,
			Description:       "messages of wsctl rooms with history",
			Subjects:          []string{s.b.keepSubject(gen, "*")},
			MaxMsgsPerSubject: int64(o.MaxMessages + spare),
			MaxAge:            s.age,
			Storage:           o.Storage,
			Replicas:          o.Replicas,
			RePublish:         &jetstream.RePublish{Source: s.b.keepSubject(gen, "*"), Destination: s.live()},
			AllowDirect:       true,
			DenyDelete:        true, // of single messages, the newest of which would have its position given away again
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by another node, just now
			js, err = s.js.Stream(ctx, s.name)
		}
	}
	if err != nil {
		return "", err
	}
	cfg := js.CachedInfo().Config
	if len(cfg.Subjects) != 1 || cfg.Subjects[0] != s.b.keepSubject(generation(cfg.Subjects[0]), "*") ||
		cfg.RePublish == nil || cfg.RePublish.Destination != s.live() || cfg.RePublish.HeadersOnly || !cfg.AllowDirect {
		return "", fmt.Errorf("stream %s has subjects %q, or other settings, that aren't those of wsctlnats", s.name, cfg.Subjects)
	}
	less := cfg.MaxMsgsPerSubject > 0 && cfg.MaxMsgsPerSubject < int64(o.MaxMessages+spare)
	if younger := cfg.MaxAge > 0 && cfg.MaxAge < s.age; less || younger {
		if less {
			cfg.MaxMsgsPerSubject = int64(o.MaxMessages + spare)
		}
		if younger {
			cfg.MaxAge = s.age
		}
		if _, err := s.js.UpdateStream(ctx, cfg); err != nil {
			return "", fmt.Errorf("stream %s keeps less than Options ask for: %w", s.name, err)
		}
	}
	return generation(cfg.Subjects[0]), nil
}

// live is where the server sends what it has stored.
func (s *stream) live() string { return s.b.opts.Prefix + ".live.{{wildcard(1)}}" }
