package wsctlnats_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// TestRestart restarts a server that keeps files: everything goes on.
func TestRestart(t *testing.T) {
	srv := newServer(t, nil)
	b := connect(t, srv.url(), nil)
	l := listen(t, b, "room")
	_, birth, _ := since(t, b, "room", "")
	for n := 1; n <= 3; n++ {
		keep(t, b, "room", "before")
		srv.stop()
		eventually(t, func() error { // as soon as the loss is known
			if err := b.Publish(within(t), "none", []byte("x")); err == nil {
				return errors.New("Publish succeeds without a server")
			}
			return nil
		})
		srv.start()
		keep(t, b, "room", "after")
		l.noticed(n)
	}
	if texts, newest, ok := since(t, b, "room", birth); !ok || len(texts) != 6 || newest != epoch(birth)+".6" {
		t.Errorf("%q up to %s, %v", texts, newest, ok)
	}
	got := l.take(6)
	if got[5] != (delivery{epoch(birth) + ".6", "after"}) {
		t.Errorf("got %q", got)
	}
}

// TestMemory restarts a server that keeps nothing: a new epoch begins.
func TestMemory(t *testing.T) {
	srv := newServer(t, nil)
	b := connect(t, srv.url(), &wsctlnats.Options{Storage: jetstream.MemoryStorage})
	l := listen(t, b, "room")
	_, birth, _ := since(t, b, "room", "")
	for range 5 {
		keep(t, b, "room", "before")
	}
	srv.stop()
	srv.start()
	keep(t, b, "room", "after")
	texts, newest, ok := since(t, b, "room", epoch(birth)+".3")
	if ok || texts != nil || newest == epoch(birth)+".1" || !strings.HasSuffix(newest, ".1") {
		t.Errorf("%q up to %s, %v", texts, newest, ok)
	}
	if got := l.take(6); got[5] != (delivery{newest, "after"}) {
		t.Errorf("got %q", got)
	}
}

// backup makes a copy of what the server keeps, which restore has it go back to.
func (n *natsServer) backup() (restore func()) {
	n.t.Helper()
	copied := filepath.Join(n.t.TempDir(), "backup")
	copy := func(to, from string) {
		n.t.Helper()
		n.stop()
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
			n.t.Fatal(err)
		}
		n.start()
	}
	copy(copied, n.opts.StoreDir)
	return func() {
		n.t.Helper()
		copy(n.opts.StoreDir, copied)
	}
}

// TestBackup has the server go back to an older state: positions that were given away since aren't given to other messages.
func TestBackup(t *testing.T) {
	for _, other := range []bool{false, true} {
		srv := newServer(t, nil)
		b := connect(t, srv.url(), nil)
		listen(t, b, "room")
		listen(t, b, "quiet")
		for range 5 {
			keep(t, b, "room", "before")
			keep(t, b, "quiet", "before")
		}
		restore := srv.backup()
		for range 5 {
			keep(t, b, "room", "lost")
			keep(t, b, "quiet", "lost")
		}
		_, newest, _ := since(t, b, "room", "")
		_, quiet, _ := since(t, b, "quiet", "")
		restore()
		if other { // one that doesn't know what was lost gives the same positions away
			c := connect(t, srv.url(), nil)
			for range 10 {
				keep(t, c, "room", "other")
			}
		} else {
			keep(t, b, "room", "new")
		}
		for topic, pos := range map[string]string{"room": newest, "quiet": quiet} {
			if texts, now, ok := since(t, b, topic, pos); ok || epoch(now) == epoch(pos) {
				t.Errorf("%s goes on after %s: %q up to %s", topic, pos, texts, now)
			}
		}
	}
}

// TestBackupUndelivered is TestBackup for a node that has kept what is lost itself, but hasn't been given it yet.
func TestBackupUndelivered(t *testing.T) {
	for _, missing := range []int{0, 2} { // that a client lacks of what is lost
		srv := newServer(t, nil)
		b := connect(t, srv.url(), nil)
		calls, fifth, hold := 0, make(chan struct{}), make(chan struct{})
		stop, err := b.Subscribe(within(t), "room", func(string, []byte) {
			if calls++; calls == 5 {
				close(fifth)
				<-hold
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			keep(t, b, "room", "before")
		}
		<-fifth
		restore := srv.backup()
		for range 5 {
			keep(t, b, "room", "lost")
		}
		_, newest, _ := since(t, b, "room", "")
		restore()
		c := connect(t, srv.url(), nil)
		for range 10 {
			keep(t, c, "room", "other")
		}
		had := fmt.Sprint(epoch(newest), ".", 10-missing)
		if texts, now, ok := since(t, b, "room", had); ok {
			t.Errorf("%s goes on: %q up to %s", had, texts, now)
		}
		close(hold)
		stop()
	}
}

// TestStreamDeleted has the stream vanish under the nodes.
func TestStreamDeleted(t *testing.T) {
	srv := newServer(t, nil)
	a, b := connect(t, srv.url(), nil), connect(t, srv.url(), nil)
	l := listen(t, b, "room")
	for range 3 {
		keep(t, a, "room", "old")
	}
	old := l.take(3)[2].pos
	node{a, []*natsServer{srv}}.Forget(t)
	keep(t, b, "room", "new")
	keep(t, a, "room", "newer")
	got := l.take(5)[3:]
	if epoch(got[0].pos) == epoch(old) || got[1] != (delivery{epoch(got[0].pos) + ".2", "newer"}) || !strings.HasSuffix(got[0].pos, ".1") {
		t.Errorf("got %q after %s", got, old)
	}
}

// TestPurged has somebody forget all messages of the stream.
func TestPurged(t *testing.T) {
	srv := newServer(t, nil)
	b := connect(t, srv.url(), nil)
	keep(t, b, "room", "old")
	_, old, _ := since(t, b, "room", "")
	js, done := jetStream(t, srv)
	defer done()
	s, err := js.Stream(within(t), "wsctl")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(within(t), s.CachedInfo().State.LastSeq); err == nil {
		t.Error("the newest message can be deleted, so that the next one has its position")
	}
	if err := s.Purge(within(t)); err != nil {
		t.Fatal(err)
	}
	keep(t, b, "room", "new")
	if _, now, ok := since(t, b, "room", old); ok || epoch(now) == epoch(old) || !strings.HasSuffix(now, ".1") {
		t.Errorf("%s after %s, %v", now, old, ok)
	}
}

// TestNoServer connects before there is a server.
func TestNoServer(t *testing.T) {
	t.Parallel()
	srv := newServer(t, nil)
	srv.stop()
	b := connect(t, srv.url(), nil)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, "room", []byte("x")); err == nil {
		t.Error("Publish succeeds")
	}
	if _, err := b.Subscribe(ctx, "room", func(string, []byte) {}); err == nil {
		t.Error("Subscribe succeeds")
	}
	start := time.Now()
	if err := b.PublishKeep(ctx, "room", []byte("x"), keepAll); err == nil {
		t.Error("PublishKeep succeeds")
	}
	if _, _, _, err := b.Since(ctx, "room", ""); err == nil {
		t.Error("Since succeeds")
	}
	// After a moment nothing waits for a connection any more.
	eventually(t, func() error {
		begin := time.Now()
		_ = b.PublishKeep(within(t), "room", []byte("x"), keepAll)
		if time.Since(begin) > time.Second {
			return errors.New("PublishKeep waits")
		}
		return nil
	})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("PublishKeep waits for %v", took)
	}
	srv.start()
	l := listen(t, b, "room")
	eventually(t, func() error { return b.PublishKeep(within(t), "room", []byte("y"), keepAll) })
	if got := l.take(1)[0]; got.text != "y" {
		t.Errorf("got %q", got)
	}
}

// TestWrongSettings connects with what can't work.
func TestWrongSettings(t *testing.T) {
	for _, o := range []*wsctlnats.Options{
		{Prefix: "a b"}, {Prefix: "a..b"}, {Prefix: "*"}, {Prefix: ">"}, {Prefix: "é"}, {Prefix: "."}, {Replicas: -1}, {MaxMessages: -1}, {MaxAge: -1},
	} {
		if b, err := wsctlnats.Connect("nats://127.0.0.1:1", o); err == nil {
			b.Close()
			t.Errorf("Connect with %+v succeeds", o)
		}
	}
	if _, err := wsctlnats.Connect("://", nil); err == nil {
		t.Error("Connect to no URL succeeds")
	}
}

// TestOptions has the user's options of the connection kept, but for those that the broker relies on.
func TestOptions(t *testing.T) {
	srv := newServer(t, func(o *server.Options) { o.Username, o.Password = "user", "secret" })
	connected := make(chan struct{}, 1)
	b := connect(t, srv.url(), &wsctlnats.Options{Prefix: "app.one", NATS: []nats.Option{
		nats.UserInfo("user", "secret"), nats.NoEcho(), nats.MaxReconnects(0), nats.Name("test"),
		nats.ConnectHandler(func(*nats.Conn) { connected <- struct{}{} }),
	}})
	<-connected
	l := listen(t, b, "room")
	if err := b.Publish(within(t), "room", []byte("own")); err != nil {
		t.Fatal(err)
	}
	keep(t, b, "room", "own")
	l.take(2)
	js, done := jetStreamAs(t, srv, nats.UserInfo("user", "secret"))
	defer done()
	if _, err := js.Stream(within(t), "app_one"); err != nil {
		t.Error(err)
	}
}

// TestExistingStream has a stream be there already.
func TestExistingStream(t *testing.T) {
	srv := newServer(t, nil)
	small := connect(t, srv.url(), &wsctlnats.Options{MaxMessages: 10, MaxAge: time.Hour})
	keepN := wsctl.Retention{Messages: 10, Age: time.Hour}
	if err := small.PublishKeep(within(t), "room", []byte("x"), keepN); err != nil {
		t.Fatal(err)
	}
	_, pos, _ := since(t, small, "room", "")
	for _, keep := range []wsctl.Retention{{Messages: 11}, {Age: time.Hour + 1}, {Messages: -1}, {Age: -1}} {
		if err := small.PublishKeep(within(t), "room", []byte("x"), keep); err == nil {
			t.Errorf("%+v is kept of 10 messages and an hour", keep)
		}
	}
	large := connect(t, srv.url(), &wsctlnats.Options{MaxMessages: 50, MaxAge: 2 * time.Hour})
	for range 50 {
		if err := large.PublishKeep(within(t), "room", []byte("x"), wsctl.Retention{Messages: 50}); err != nil {
			t.Fatal(err)
		}
	}
	if texts, _, ok := since(t, large, "room", pos); !ok || len(texts) != 50 {
		t.Errorf("%d messages of 50, %v", len(texts), ok)
	}
	js, done := jetStream(t, srv)
	defer done()
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "other", Subjects: []string{"other.keep.g.*"}},
		{Name: "another", Subjects: []string{"another.>"}, AllowDirect: true},
	} {
		if _, err := js.CreateStream(within(t), cfg); err != nil {
			t.Fatal(err)
		}
		b := connect(t, srv.url(), &wsctlnats.Options{Prefix: cfg.Name})
		if err := b.PublishKeep(within(t), "room", []byte("x"), keepAll); err == nil || !strings.Contains(err.Error(), cfg.Name) {
			t.Errorf("PublishKeep with a stranger's stream: %v", err)
		}
	}
}

// TestNoJetStream does without.
func TestNoJetStream(t *testing.T) {
	srv := newServer(t, func(o *server.Options) { o.JetStream = false })
	b := connect(t, srv.url(), nil)
	l := listen(t, b, "room")
	if err := b.Publish(within(t), "room", []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.take(1)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := b.PublishKeep(ctx, "room", []byte("x"), keepAll); err == nil || !strings.Contains(err.Error(), "isn't enabled") {
		t.Errorf("PublishKeep: %v", err)
	}
}

// TestClose closes a broker at work.
func TestClose(t *testing.T) {
	srv := newServer(t, nil)
	before := goroutines()
	b, err := wsctlnats.Connect(srv.url(), &wsctlnats.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, b, "room")
	keep(t, b, "room", "x")
	l.take(1)
	failed := make(chan error)
	go func() {
		for {
			if err := b.PublishKeep(context.Background(), "room", []byte("y"), keepAll); err != nil {
				failed <- err
				return
			}
		}
	}()
	l.take(5)
	b.Close()
	b.Close()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("PublishKeep: %v", err)
	}
	n, _ := l.count()
	for _, err := range []error{
		b.Publish(within(t), "room", []byte("x")),
		b.PublishKeep(within(t), "room", []byte("x"), keepAll),
	} {
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("after Close: %v", err)
		}
	}
	if _, err := b.Subscribe(within(t), "room", func(string, []byte) {}); err == nil {
		t.Error("Subscribe after Close succeeds")
	}
	if _, _, _, err := b.Since(within(t), "room", ""); err == nil {
		t.Error("Since after Close succeeds")
	}
	noGoroutines(t, before)
	if m, _ := l.count(); m != n {
		t.Errorf("%d messages came after Close", m-n)
	}
}
