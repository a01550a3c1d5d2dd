package wsctlnats_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// permissions are those of the README.
var permissions = &server.Permissions{
	Publish: &server.SubjectPermission{Allow: []string{
		"wsctl.>", "_INBOX.>", "$JS.API.STREAM.*.wsctl", "$JS.API.STREAM.MSG.GET.wsctl", "$JS.API.DIRECT.GET.wsctl",
	}},
	Subscribe: &server.SubjectPermission{Allow: []string{
		"wsctl.live.*", "wsctl.claim", "wsctl.sync", "wsctl.sync.*", "_INBOX.>", "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.wsctl",
	}},
}

// TestPermissions has the server allow only what the README says.
func TestPermissions(t *testing.T) {
	srv := newServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "user", Password: "secret", Permissions: permissions}}
	})
	log := &errorLog{}
	b := connect(t, srv.url(), &wsctlnats.Options{NATS: []nats.Option{nats.UserInfo("user", "secret")}, Logger: slog.New(log)})
	l := listen(t, b, "room")
	_, birth, _ := since(t, b, "room", "")
	for i := range 200 { // some are purged
		if err := b.PublishKeep(within(t), "room", fmt.Append(nil, i), wsctl.Retention{Messages: 10}); err != nil {
			t.Fatal(err)
		}
	}
	l.take(200)
	if texts, _, ok := since(t, b, "room", epoch(birth)+".190"); !ok || len(texts) != 10 {
		t.Errorf("%q, %v", texts, ok)
	}
	js, done := jetStreamAs(t, srv, nats.UserInfo("user", "secret"))
	defer done()
	s, err := js.Stream(within(t), "wsctl")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n > 100 {
		t.Errorf("%d messages are stored of 10", n)
	}
	if n := log.errors.Load(); n > 0 {
		t.Errorf("%d errors are logged, the last: %v", n, log.last.Load())
	}
	if _, err := b.Subscribe(within(t), "room", func(string, []byte) {}); err != nil {
		t.Error(err)
	}
}

// TestForbidden has the server allow nothing: that is logged, and fails where it can.
func TestForbidden(t *testing.T) {
	nothing := &server.SubjectPermission{Allow: []string{"_INBOX.>"}}
	srv := newServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "user", Password: "secret", Permissions: &server.Permissions{Publish: nothing, Subscribe: nothing}}}
	})
	log := &errorLog{}
	b := connect(t, srv.url(), &wsctlnats.Options{NATS: []nats.Option{nats.UserInfo("user", "secret")}, Logger: slog.New(log)})
	if _, err := b.Subscribe(within(t), "room", func(string, []byte) {}); err == nil {
		t.Error("Subscribe succeeds")
	}
	eventually(t, func() error {
		if log.errors.Load() == 0 {
			return fmt.Errorf("nothing is logged")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := b.PublishKeep(ctx, "room", []byte("x"), keepAll)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "$JS.API.STREAM") {
		t.Errorf("PublishKeep: %v", err)
	}
}

// errorLog counts errors.
type errorLog struct {
	errors atomic.Int32
	last   atomic.Value
}

func (l *errorLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

func (l *errorLog) Handle(_ context.Context, r slog.Record) error {
	l.errors.Add(1)
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	l.last.Store(text)
	return nil
}

func (l *errorLog) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *errorLog) WithGroup(string) slog.Handler { return l }
