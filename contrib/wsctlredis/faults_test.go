//go:build unix

package wsctlredis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
	"github.com/wsctl/wsctl/internal/position"
)

// durable are arguments of a server that loses nothing when it is killed.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// TestRestart kills the server with messages on their way, and starts it again.
func TestRestart(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		opts wsctlredis.Options
		same bool // the epoch
		lost bool // the data
	}{
		{"always, durable", durable, wsctlredis.Options{Durable: true}, true, false},
		{"always, not durable", durable, wsctlredis.Options{}, false, false},
		{"everysec", []string{"--appendonly", "yes", "--appendfsync", "everysec"}, wsctlredis.Options{}, false, false},
		{"nothing", nil, wsctlredis.Options{}, false, true},
		{"nothing, durable", nil, wsctlredis.Options{Durable: true}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startServer(t, test.args...)
			a, b := s.openIn(t, &test.opts), s.openIn(t, &test.opts)
			in := subscribe(t, b, "room")
			_, birth, _ := since(t, a, "room", "")
			publishKeep(t, a, "room", "first")
			old := in.has("first")

			var mu sync.Mutex
			var accepted []string
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for p := range 4 {
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						text := fmt.Sprint(p, ":", i)
						if a.PublishKeep(t.Context(), "room", []byte(text), wsctl.Retention{Age: time.Hour}) == nil {
							mu.Lock()
							accepted = append(accepted, text)
							mu.Unlock()
						}
					}
				})
			}
			in.await("messages", func(got []message) bool { return len(got) > 200 })
			s.kill()
			s.restart()
			in.noticed(1)
			close(stop)
			wg.Wait()
			publishKeep(t, a, "room", "last")
			in.has("last")

			texts, newest, ok := since(t, b, "room", birth)
			if !test.same {
				if ok || epoch(newest) == epoch(birth) {
					t.Errorf("after a restart Since(%s) is %s, %v", birth, newest, ok)
				}
			} else {
				if !ok || epoch(newest) != epoch(birth) {
					t.Fatalf("after a restart Since(%s) is %s, %v", birth, newest, ok)
				}
				count := make(map[string]int)
				for _, text := range texts {
					count[text]++
				}
				for _, text := range accepted {
					if count[text] != 1 {
						t.Errorf("%q was accepted, and is there %d times", text, count[text])
					}
				}
				for text, n := range count {
					if n > 1 {
						t.Errorf("%q is there %d times", text, n)
					}
				}
			}
			if _, _, ok := since(t, b, "room", old); ok != test.same {
				t.Errorf("Since(%s): %v", old, ok)
			}
			at := make(map[string]string) // texts by position
			for _, m := range in.all() {
				if was, ok := at[m.pos]; ok && was != m.text && !m.notice {
					t.Fatalf("%s is the position of %q and %q", m.pos, was, m.text)
				}
				at[m.pos] = m.text
			}
			if keys := s.must("DBSIZE"); keys != "2" {
				t.Errorf("there are %s keys", keys)
			}
		})
	}
}

func epoch(pos string) string {
	epoch, _, _ := strings.Cut(pos, ".")
	return epoch
}

// logged takes the first line of a log, and drops others.
type logged chan string

func (l logged) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

// TestPaused stops the process of the server for a while.
func TestPaused(t *testing.T) {
	s := startServer(t)
	interrupted := make(logged, 1)
	a := connect(t, rueidis.ClientOption{InitAddress: []string{s.addr}, ConnWriteTimeout: 3 * time.Second},
		&wsctlredis.Options{Logger: slog.New(slog.NewTextHandler(interrupted, nil))})
	in, kept := subscribe(t, a, "live"), subscribe(t, a, "room")
	_, birth, _ := since(t, a, "room", "")
	s.pause()
	for name, call := range map[string]func(ctx context.Context) error{
		"Publish":     func(ctx context.Context) error { return a.Publish(ctx, "live", []byte("x")) },
		"PublishKeep": func(ctx context.Context) error { return a.PublishKeep(ctx, "room", []byte("x"), keep) },
		"Since": func(ctx context.Context) error {
			_, _, _, err := a.Since(ctx, "room", birth)
			return err
		},
		"Subscribe": func(ctx context.Context) error {
			_, err := a.Subscribe(ctx, "other", func(string, []byte) { t.Error("delivered") })
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s has taken %v", name, took)
		}
		cancel()
	}
	// A call without a deadline ends as well: the server is taken for lost.
	if err := a.Publish(t.Context(), "live", []byte("y")); err == nil {
		t.Error("Publish succeeds")
	}
	if line := <-interrupted; !strings.Contains(line, "interrupted") {
		t.Errorf("the log has %q", line)
	}
	s.resume()
	in.noticed(1)
	kept.noticed(1)
	if err := a.Publish(t.Context(), "live", []byte("again")); err != nil {
		t.Fatal(err)
	}
	publishKeep(t, a, "room", "again")
	in.has("again")
	texts, newest, ok := since(t, a, "room", birth)
	if pos := kept.has("again"); pos != newest || !ok || len(texts) > 2 || texts[len(texts)-1] != "again" {
		t.Errorf("Since = %q, %s, %v; the message came at %s", texts, newest, ok, pos)
	}
}

// TestKilledConnections has the server close connections again and again: first those of subscriptions, then those that publish.
func TestKilledConnections(t *testing.T) {
	s := startServer(t)
	a := s.open(nil)
	in := subscribe(t, a, "room")
	_, birth, _ := since(t, a, "room", "")
	for round := range 5 {
		s.must("CLIENT", "KILL", "TYPE", "pubsub")
		in.noticed(round + 1)
		text := fmt.Sprint(round)
		publishKeep(t, a, "room", text)
		in.has(text)
	}
	accepted := 0
	const all = 400
	var wg sync.WaitGroup
	half := make(chan struct{}, all)
	for p := range 8 {
		wg.Go(func() {
			for i := range all / 8 {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if err := a.PublishKeep(ctx, "room", fmt.Append(nil, p, ":", i), wsctl.Retention{Messages: 2 * all}); err != nil {
					t.Errorf("a message wasn't tried again: %v", err)
				}
				cancel()
				half <- struct{}{}
			}
		})
	}
	for range all {
		<-half
		if accepted++; accepted%40 == 0 {
			s.must("CLIENT", "KILL", "TYPE", "normal")
		}
	}
	wg.Wait()
	texts, newest, ok := since(t, a, "room", birth)
	if want := fmt.Sprint(epoch(birth), ".", all+5); !ok || newest != want {
		t.Fatalf("Since(%s) is %s, %v; want %s", birth, newest, ok, want)
	}
	seen := make(map[string]bool)
	for _, text := range texts {
		if seen[text] {
			t.Errorf("%q is kept twice", text)
		}
		seen[text] = true
	}
}

// TestOverflow has a subscriber that Redis finds too slow.
func TestOverflow(t *testing.T) {
	s := startServer(t, "--client-output-buffer-limit", "pubsub 1mb 1mb 1")
	a, b := s.open(nil), s.open(nil)
	in := subscribe(t, b, "room")
	// Without reading, its connection gets full.
	goOn := b.network.stall()
	big := []byte(strings.Repeat("x", 1<<20))
	for range 16 {
		if err := a.Publish(t.Context(), "room", big); err != nil {
			t.Fatal(err)
		}
	}
	goOn()
	in.noticed(1)
	if err := a.Publish(t.Context(), "room", []byte("then")); err != nil {
		t.Fatal(err)
	}
	in.has("then")
}

// TestSlowDeliver has a deliver that doesn't return, beside one that does.
func TestSlowDeliver(t *testing.T) {
	s := startServer(t)
	a := s.open(nil)
	gate, first, told := make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 1)
	var mu sync.Mutex
	var offsets []uint64
	var notices int
	stop, err := a.Subscribe(t.Context(), "room", func(pos string, msg []byte) {
		select {
		case first <- struct{}{}:
		default:
		}
		<-gate
		mu.Lock()
		defer mu.Unlock()
		if msg == nil {
			notices++
			told <- struct{}{}
			return
		}
		p, _ := position.Parse(pos)
		offsets = append(offsets, p.Offset)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	in := subscribe(t, a, "room")
	big := []byte(strings.Repeat("x", 1<<20))
	for range 40 {
		if err := a.PublishKeep(t.Context(), "room", big, wsctl.Retention{Messages: 2}); err != nil {
			t.Fatal(err)
		}
	}
	<-first
	in.await("all messages", func(got []message) bool { return len(got) == 40 })
	close(gate)
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("nobody is told that messages were dropped")
	}
	publishKeep(t, a, "room", "then")
	last := in.has("then")
	if want := epoch(last) + ".41"; last != want {
		t.Errorf("the last message is at %s, want %s", last, want)
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	if notices != 1 || len(offsets) < 32 || len(offsets) > 35 {
		t.Errorf("%d notices, %d messages", notices, len(offsets))
	}
	for i, n := range offsets[:32] {
		if n != uint64(i)+1 {
			t.Errorf("message %d is at %d", i+1, n)
		}
	}
}

// TestAway has no server at all for a while.
func TestAway(t *testing.T) {
	s := startServer(t)
	a := s.open(nil)
	in := subscribe(t, a, "room")
	_, birth, _ := since(t, a, "room", "")
	s.kill()
	until(t, "the end of the connection", func() bool {
		start := time.Now()
		err := a.Publish(t.Context(), "room", []byte("x"))
		return err != nil && time.Since(start) < time.Second
	})
	for name, call := range map[string]func(ctx context.Context) error{
		"Publish":     func(ctx context.Context) error { return a.Publish(ctx, "room", []byte("x")) },
		"PublishKeep": func(ctx context.Context) error { return a.PublishKeep(ctx, "room", []byte("x"), keep) },
		"Since": func(ctx context.Context) error {
			_, _, _, err := a.Since(ctx, "room", birth)
			return err
		},
		"Subscribe": func(ctx context.Context) error {
			_, err := a.Subscribe(ctx, "other", func(string, []byte) { t.Error("delivered") })
			return err
		},
	} {
		start := time.Now()
		err := call(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "wsctlredis: ") {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > 4500*time.Millisecond { // Since tries for 2 seconds, and with ctx it would be 5
			t.Errorf("%s fails only after %v", name, took)
		}
	}
	late := s.open(nil)
	if err := late.Publish(t.Context(), "room", []byte("x")); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Publish of a node that was never connected: %v", err)
	}
	if _, err := late.Subscribe(t.Context(), "room", func(string, []byte) {}); err == nil {
		t.Error("Subscribe of a node that was never connected succeeds")
	}
	s.restart()
	until(t, "the late node", func() bool { return late.Publish(t.Context(), "other", []byte("x")) == nil })
	goesOn(t, late, "third", subscribe(t, late, "third"))
	in.noticed(1)
	if err := a.Publish(t.Context(), "room", []byte("again")); err != nil {
		t.Fatal(err)
	}
	in.has("again")
}

// TestRefusedLater has a server come that refuses the password: the log says so, though New couldn't.
func TestRefusedLater(t *testing.T) {
	s := startServer(t, "--requirepass", "secret")
	s.kill()
	lines := make(logged, 1)
	a := connect(t, rueidis.ClientOption{InitAddress: []string{s.addr}, Password: "wrong"},
		&wsctlredis.Options{Logger: slog.New(slog.NewTextHandler(lines, nil))})
	if line := <-lines; !strings.Contains(line, "connection refused") {
		t.Errorf("the log has %q", line)
	}
	s.restart()
	if line := <-lines; !strings.Contains(line, "WRONGPASS") {
		t.Errorf("the log has %q", line)
	}
	if err := a.Publish(t.Context(), "room", []byte("x")); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("Publish: %v", err)
	}
}
