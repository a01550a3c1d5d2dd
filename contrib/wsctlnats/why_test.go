package wsctlnats_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// logged is what a logger has written.
type logged struct {
	mu   sync.Mutex // guards following
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines returns those that have a text.
func (l *logged) lines(text string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestWhy has servers that can't be reached, or that don't let us in: the log says so once, and the errors of calls say it, with
// the address, and without the password.
func TestWhy(t *testing.T) {
	users := func(password string) func(o *server.Options) {
		return func(o *server.Options) { o.Username, o.Password = "user", password }
	}
	gone, locked, changed := newServer(t, nil), newServer(t, users("another")), newServer(t, users("secret"))
	gone.stop()
	for _, test := range []struct {
		name, why string
		srv       *natsServer
		change    bool
	}{
		{"gone", "connection refused", gone, false},
		{"wrong password", "Authorization Violation", locked, false},
		{"another password", "Authorization Violation", changed, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log logged
			var once sync.Once
			const tries = 50
			tried := make(chan struct{})
			address := strings.TrimPrefix(test.srv.url(), "nats://")
			b := connect(t, "nats://user:secret@"+address, &wsctlnats.Options{
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
				NATS: []nats.Option{nats.CustomReconnectDelay(func(rounds int) time.Duration {
					if rounds == tries {
						once.Do(func() { close(tried) })
					}
					return time.Millisecond
				})},
			})
			if test.change {
				listen(t, b, "room")
				test.srv.stop()
				users("new")(&test.srv.opts)
				test.srv.start()
			}
			<-tried
			eventually(t, func() error {
				err := b.Publish(within(t), "room", []byte("x"))
				if err == nil || !strings.Contains(err.Error(), test.why) || !strings.Contains(err.Error(), address) || strings.Contains(err.Error(), "secret") {
					return fmt.Errorf("Publish: %v; want %q, and the address", err, test.why)
				}
				return nil
			})
			if lines := log.lines("there is no connection"); len(lines) != 1 || !strings.Contains(lines[0], address) || strings.Contains(lines[0], "secret") {
				t.Errorf("the log has %q", lines)
			}
			if n := len(log.lines("level=ERROR")); n > 0 {
				t.Errorf("the log has %d errors", n)
			}
			if why := log.lines(test.why); !test.change && len(why) != 1 { // else the server may be found stopped before
				t.Errorf("the log doesn't say %q once: %q", test.why, why)
			}
		})
	}
}
