//go:build unix

package wsctlnats_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// pause stops the process. It has returned when that has happened.
func (p *process) pause() {
	p.t.Helper()
	pid := p.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err == nil && status.Stopped() {
			return
		} else if err != nil && err != syscall.EINTR {
			p.t.Fatal(err)
		}
	}
}

func (p *process) resume() {
	p.t.Helper()
	if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGCONT); err != nil {
		p.t.Fatal(err)
	}
}

// TestPausedServer stops the server's process, so that it neither answers nor loses connections: calls end with their context, and
// what failed and was kept nevertheless is there once.
func TestPausedServer(t *testing.T) {
	p := startProcess(t, serverSettings{Port: freePorts(t, 1)[0]})
	a, b := connect(t, p.url(), roomy), connect(t, p.url(), roomy)
	w := newWriters(t, "room", a, b)
	w.more(50)
	p.pause()
	limited := func(what string, call func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s of a server that doesn't answer: %v", what, err)
		}
		if took := time.Since(start); took > 3500*time.Millisecond { // the server would be given 4 seconds
			t.Errorf("%s took %v", what, took)
		}
	}
	limited("Subscribe", func(ctx context.Context) error {
		_, err := a.Subscribe(ctx, "other", func(string, []byte) { t.Error("a subscription that failed delivers") })
		return err
	})
	limited("PublishKeep", func(ctx context.Context) error { return a.PublishKeep(ctx, "other", []byte("x"), retention) })
	limited("Since", func(ctx context.Context) error {
		_, _, _, err := a.Since(ctx, "other", "")
		return err
	})
	p.resume()
	w.more(50)
	w.end()
	w.check(b)
}

// TestDeadServer stops the server's process for good: that is noticed, and calls fail at once.
func TestDeadServer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds until a connection counts as lost")
	}
	p := startProcess(t, serverSettings{Port: freePorts(t, 1)[0]})
	b := connect(t, p.url(), &wsctlnats.Options{})
	l := listen(t, b, "room")
	p.pause()
	eventually(t, func() error {
		if b.Publish(within(t), "room", make([]byte, 100<<10)) == nil {
			return errors.New("Publish succeeds for so long")
		}
		return nil
	})
	p.resume()
	l.noticed(1)
}
