package wsctlredis

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestSubscription goes through the life of a subscription, with a deliver that waits.
func TestSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var got []string
		s := newSubscription(func(pos string, msg []byte) {
			got = append(got, fmt.Sprintf("%s %s", pos, msg))
			<-gate
		})
		check := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		s.push(item{pos: "e.1", msg: "a"})
		s.push(item{missed: true})
		s.push(item{missed: true})
		check() // Subscribe hasn't returned
		s.begin()
		check("e.1 a")
		s.push(item{msg: "b"})
		gate <- struct{}{}
		check("e.1 a", " ")
		gate <- struct{}{}
		check("e.1 a", " ", " b")
		s.push(item{msg: "c"})
		var stopped atomic.Int32
		for range 2 {
			go func() {
				s.stop()
				stopped.Add(1)
			}()
		}
		synctest.Wait()
		if stopped.Load() != 0 {
			t.Error("stop has returned while deliver runs")
		}
		gate <- struct{}{}
		s.push(item{msg: "d"})
		check("e.1 a", " ", " b")
		if stopped.Load() != 2 {
			t.Error("stop hasn't returned")
		}
		s.stop()
	})
}

// TestUnbegun has a Subscribe that fails when messages have come already.
func TestUnbegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSubscription(func(string, []byte) { t.Error("delivered") })
		s.push(item{msg: "a"})
		s.stop()
		s.push(item{msg: "b"})
	})
}
