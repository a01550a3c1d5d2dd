package wsctltest_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

type hall struct{}

func (hall) Enter(s *wsctl.Socket, room string) error { return s.Join(room) }

// Who streams who is in a room.
func (hall) Who(ctx context.Context, s *wsctl.Socket, room string) iter.Seq2[wsctl.Presence, error] {
	return s.Hub().Room(room).Watch(ctx)
}

// Count streams n numbers, and fails then.
func (hall) Count(s *wsctl.Socket, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		yield(0, &wsctl.Error{Code: wsctl.CodeForbidden})
	}
}

// Wait streams nothing.
func (hall) Wait(ctx context.Context, s *wsctl.Socket) iter.Seq2[int, error] {
	return func(func(int, error) bool) { <-ctx.Done() }
}

// TestStream watches a room on two nodes, one of which dies.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := wsctltest.NewBroker()
		far := b.Node()
		one := wsctltest.Dial(t, wsctl.New(hall{}, &wsctl.Options{Hub: &wsctl.Hub{Broker: b}}), nil)
		two := wsctltest.Dial(t, wsctl.New(hall{}, &wsctl.Options{Hub: &wsctl.Hub{Broker: far}}), nil)
		if err := two.Call("Enter", "go", nil); err != nil {
			t.Fatal(err)
		}
		var joins []bool
		var died time.Time
		for p, err := range wsctltest.Stream[wsctl.Presence](one, "Who", "go") {
			if err != nil {
				t.Fatal(err)
			}
			if joins = append(joins, p.Joined); !p.Joined {
				break
			}
			died = time.Now()
			far.Cut()
		}
		if len(joins) != 2 || !joins[0] || time.Since(died) < 5*time.Second {
			t.Errorf("%v, the last after %v", joins, time.Since(died))
		}
	})
}

func TestStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wsctltest.Dial(t, wsctl.New(hall{}, nil), nil)
		code := func(err error) string {
			e, _ := errors.AsType[*wsctl.Error](err)
			if e == nil {
				return ""
			}
			return e.Code
		}
		var got []int
		var last error
		for n, err := range wsctltest.Stream[int](c, "Count", 100) {
			if last = err; err == nil {
				got = append(got, n)
			}
		}
		if len(got) != 100 || got[99] != 99 || code(last) != wsctl.CodeForbidden {
			t.Errorf("%v, %v", got, last)
		}
		start := time.Now()
		for _, err := range wsctltest.Stream[int](c, "Wait", nil) {
			last = err
		}
		if took := time.Since(start); code(last) != wsctl.CodeTimeout || took != time.Minute {
			t.Errorf("%v after %v", last, took)
		}
		c.Quiet()
	})
}
