package wsctltest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// Egg is the controller under test: a kitchen timer.
type Egg struct{}

func (Egg) Boil(ctx context.Context, s *wsctl.Socket, minutes int) (string, error) {
	select {
	case <-time.After(time.Duration(minutes) * time.Minute):
		return "done", s.Send("ring", minutes)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// A controller is tested in a bubble, where ten minutes take no time.
func TestEgg(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wsctltest.Dial(t, wsctl.New(Egg{}, nil), nil)
		start := time.Now()
		c.Send("Boil", 10)
		c.Quiet()
		c.Cut() // the timer goes on
		time.Sleep(20 * time.Second)
		if !c.Reconnect() {
			t.Error("the session is lost")
		}
		time.Sleep(10*time.Minute - time.Since(start))
		if n := wsctltest.Expect[int](c, "ring"); n != 10 {
			t.Errorf("rang for %d minutes", n)
		}
	})
}
