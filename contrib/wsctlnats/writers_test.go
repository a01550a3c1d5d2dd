package wsctlnats_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// writers keep messages of one topic on several nodes, whatever happens to the servers, and readers follow it there.
type writers struct {
	t       testing.TB
	topic   string
	birth   string
	readers []*listener
	nodes   []*wsctlnats.Broker
	wg      sync.WaitGroup
	quit    chan struct{}

	mu       sync.Mutex // guards following
	accepted []string
	failed   int
	changed  chan struct{} // closed and replaced when a message is accepted
}

// Enough for all that writers write.
var (
	retention = wsctl.Retention{Messages: 50_000}
	roomy     = &wsctlnats.Options{MaxMessages: 50_000}
)

func newWriters(t testing.TB, topic string, nodes ...*wsctlnats.Broker) *writers {
	t.Helper()
	w := &writers{t: t, topic: topic, nodes: nodes, quit: make(chan struct{}), changed: make(chan struct{})}
	_, w.birth, _ = since(t, nodes[0], topic, "")
	for _, b := range nodes {
		w.readers = append(w.readers, listen(t, b, topic))
	}
	for n, b := range nodes {
		w.wg.Go(func() { w.write(fmt.Sprint(n), b) })
	}
	return w
}

// write keeps one message after the other.
func (w *writers) write(name string, b *wsctlnats.Broker) {
	ticker := time.NewTicker(2 * time.Millisecond) // what is kept has to be enough for all
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ticker.C:
		case <-w.quit:
			return
		}
		text := fmt.Sprint(name, ":", i)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := b.PublishKeep(ctx, w.topic, []byte(text), retention)
		cancel()
		w.mu.Lock()
		if err == nil {
			w.accepted = append(w.accepted, text)
			close(w.changed)
			w.changed = make(chan struct{})
		} else {
			w.failed++
		}
		w.mu.Unlock()
	}
}

// more waits until n messages more are accepted of each node, about.
func (w *writers) more(n int) {
	w.t.Helper()
	timer := time.NewTimer(2 * patience)
	defer timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for want := len(w.accepted) + n; len(w.accepted) < want; {
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			w.t.Error("messages aren't accepted any more")
			w.mu.Lock()
			return
		}
		w.mu.Lock()
	}
}

// end stops the writers; each node has a message accepted at last.
func (w *writers) end() {
	w.t.Helper()
	close(w.quit)
	w.wg.Wait()
	for n, b := range w.nodes {
		i := 0
		eventually(w.t, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			i++
			return b.PublishKeep(ctx, w.topic, fmt.Appendf(nil, "last of %d:%d", n, i), retention)
		})
	}
}

// check compares what is kept with what was accepted, and with what readers have got.
func (w *writers) check(b *wsctlnats.Broker) {
	w.t.Helper()
	texts, newest, ok := since(w.t, b, w.topic, w.birth)
	if !ok {
		w.t.Fatalf("the history doesn't go on from %s to %s", w.birth, newest)
	}
	seen, next := make(map[string]int), make(map[string]int)
	for i, text := range texts {
		if seen[text] > 0 {
			w.t.Errorf("%q is kept twice", text)
		}
		seen[text] = i + 1
		writer, number, _ := strings.Cut(text, ":")
		if n, err := strconv.Atoi(number); err != nil || n < next[writer] {
			w.t.Errorf("%q is kept after %d of that writer", text, next[writer]-1)
		} else {
			next[writer] = n + 1
		}
	}
	for _, text := range w.accepted {
		if seen[text] == 0 {
			w.t.Errorf("%q was accepted, but isn't kept", text)
		}
	}
	for n, r := range w.readers {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		for _, d := range got {
			if i := seen[d.text]; i == 0 || d.pos != fmt.Sprint(epoch(w.birth), ".", i) {
				w.t.Errorf("reader %d got %q at %s, which is kept at offset %d", n, d.text, d.pos, i)
			}
		}
	}
	w.t.Logf("%d messages were accepted, %d failed, %d are kept", len(w.accepted), w.failed, len(texts))
}

// leader returns which server leads the stream.
func leader(t testing.TB, nc *nats.Conn, servers []*process) int {
	t.Helper()
	i := -1
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		s, err := js.Stream(ctx, "wsctl")
		if err != nil {
			return err
		}
		if i = slices.IndexFunc(servers, func(p *process) bool { return p.Name == s.CachedInfo().Cluster.Leader }); i < 0 {
			return errors.New("no leader")
		}
		return nil
	})
	return i
}

// connected returns which server a connection goes to.
func connected(t testing.TB, nc *nats.Conn, servers []*process) int {
	t.Helper()
	i := -1
	eventually(t, func() error {
		if i = slices.IndexFunc(servers, func(p *process) bool { return p.Name == nc.ConnectedServerName() }); i < 0 {
			return errors.New("not connected")
		}
		return nil
	})
	return i
}
