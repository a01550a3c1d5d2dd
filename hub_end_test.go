package wsctl_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// Shutdown with a broker that hangs returns when its ctx ends.
func TestShutdownCtxHang(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{})
		c := wsctltest.Dial(t, n1.handler, nil)
		c.Send("Join", "r")
		time.Sleep(5 * time.Second)
		b1.Calls(func(ctx context.Context, _, _ string, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		})
		c.Cut()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := n1.handler.Shutdown(ctx)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Shutdown with 100 ms took %v: %v", took, err)
		}
		b1.Calls(nil)
		time.Sleep(10 * time.Second)
	})
}

// After Shutdown the hub asks nothing of the broker any more that nobody ends.
func TestAfterShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, _ := twoNodes(t, wsctl.Options{})
		c := wsctltest.Dial(t, n1.handler, nil)
		c.Send("Join", "r")
		time.Sleep(5 * time.Second)
		c.Cut()
		synctest.Wait()
		if err := n1.handler.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		subscribed := 0
		b1.Calls(func(ctx context.Context, method, _ string, call func() error) error {
			if method == "Subscribe" {
				subscribed++
			}
			return call()
		})
		_, err := n1.hub.Room("r").Members(t.Context())
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for range n1.hub.Room("r").Watch(ctx) {
		}
		if subscribed > 0 {
			t.Errorf("%d subscriptions after Shutdown; err %v", subscribed, err)
		}
	})
}

// A hub that has ended, and is still asked, is no node for which others wait.
func TestHubEndedIsNoNode(t *testing.T) {
	for _, watches := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			_, _, n1, n2 := twoNodes(t, wsctl.Options{})
			crowd(t, n1, "r", 1)
			crowd(t, n2, "r", 1)
			time.Sleep(5 * time.Second)
			if err := n1.handler.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if watches { // an application that goes on watching
				v := watchRoom(t, n1.hub.Room("r"))
				defer v.cancel()
				time.Sleep(time.Minute)
			} else if m, err := n1.hub.Room("r").Members(t.Context()); err == nil {
				t.Errorf("Members of a hub that has ended: %v", m)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			m, err := n2.hub.Room("r").Members(ctx)
			if took := time.Since(start); err != nil || len(m) != 1 || took > time.Second {
				t.Errorf("Members took %v: %v, %v", took, m, err)
			}
		})
	}
}
