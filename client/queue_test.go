package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// What is sent before there is a connection waits, within bounds.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := client.New("ws://server/", s.options(client.Options{MaxQueue: 3, QueueTTL: time.Minute}))
		t.Cleanup(c.Abort)
		send := func(typ, want string) {
			t.Helper()
			err := c.Send(typ, nil)
			if want == "" && err != nil || want != "" && code(err) != want {
				t.Errorf("%s: %v", typ, err)
			}
		}
		send("old", "")
		send("old", "")
		time.Sleep(40 * time.Second)
		send("a", "")
		send("b", wsctl.CodeTooMany)
		if err := c.SendVolatile("v", nil); err != nil {
			t.Error(err)
		}
		time.Sleep(40 * time.Second)
		send("b", "") // the old ones are gone
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := c.Call(ctx, "call", nil, nil); code(err) != wsctl.CodeTimeout {
			t.Error(err)
		}
		cancel()
		send("c", "") // and the call
		c.Redial()
		p := s.welcomed(first, fresh)
		p.expect(`{"type":"$ack","data":0}`, `{"type":"a"}`, `{"type":"b"}`, `{"type":"c"}`)
		for range 20 {
			send("d", "")
		}
		for range 20 {
			p.expect(`{"type":"d"}`)
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := client.New("ws://server/", s.options(client.Options{MaxBuffer: 3000}))
		t.Cleanup(c.Abort)
		long := strings.Repeat("x", 2000)
		failed := make(chan error)
		go func() { failed <- c.Call(context.Background(), "x", long, nil) }()
		synctest.Wait()
		if err := c.Send("x", long); code(err) != wsctl.CodeTooMany {
			t.Errorf("over MaxBuffer: %v", err)
		}
		c.Redial()
		p := s.welcomed(first, fresh)
		if err := <-failed; code(err) != client.CodeTooBig {
			t.Errorf("a call that waited, over the server's limit: %v", err)
		}
		p.expect(`{"type":"$ack","data":0}`)
		if err := c.Send("x", long); code(err) != client.CodeTooBig {
			t.Errorf("over the server's limit: %v", err)
		}
		for _, typ := range []string{"", "$x", "$ping", strings.Repeat("x", 129), "\xff"} {
			if err := c.Send(typ, nil); code(err) != wsctl.CodeBadRequest {
				t.Errorf("type %q: %v", typ, err)
			}
		}
		for _, data := range []any{make(chan int), func() {}} {
			if err := c.Call(t.Context(), "x", data, nil); code(err) != wsctl.CodeBadRequest {
				t.Errorf("%T: %v", data, err)
			}
		}
		if err := c.Send(`a"\`, nil); err != nil {
			t.Error(err)
		}
		p.expect(`{"type":"a\"\\"}`)
	})
}

// A session that is over: written messages are told, answers to the old server die, the rest goes on.
func TestNotResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost []int
		s := serve(t)
		c, p := s.open(client.Options{Lost: func(n int) { lost = append(lost, n) }})
		client.Handle(c, "ask", func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 1, nil })
		ended := make(chan error, 2)
		go func() { ended <- c.Call(context.Background(), "one", nil, nil) }()
		synctest.Wait()
		if err := errors.Join(c.Send("two", nil), c.Send("three", nil), c.SendVolatile("four", nil)); err != nil {
			t.Fatal(err)
		}
		p.expect(`{"type":"one","id":1}`, `{"type":"two"}`, `{"type":"three"}`, `{"type":"four"}`)
		p.send(`{"type":"ask","id":1}`, `{"type":"$ack","data":2}`)
		synctest.Wait()
		p.cut()
		synctest.Wait()
		next := make(chan error, 1)
		go func() { next <- c.Call(context.Background(), "five", nil, nil) }()
		synctest.Wait()
		p = s.welcomed(`{"session":"s1","received":1,"try":2}`, fresh2)
		p.expect(`{"type":"$ack","data":0}`, `{"type":"five","id":2}`)
		if err := <-ended; code(err) != wsctl.CodeUnavailable {
			t.Errorf("the call of the old session: %v", err)
		}
		p.send(`{"type":"$reply","id":1}`, `{"type":"$reply","id":2}`)
		if err := <-next; err != nil {
			t.Errorf("the call of the new session: %v", err)
		}
		synctest.Wait()
		if len(lost) != 1 || lost[0] != 2 {
			t.Errorf("told as lost: %v", lost)
		}
		p.expect(`{"type":"$ack","data":2}`)
	})
}

// A server whose received makes no sense gets a client without a session.
func TestReceivedOutOfRange(t *testing.T) {
	for _, received := range []string{"0", "3"} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t)
			c, p := s.open(client.Options{})
			if err := errors.Join(c.Send("a", nil), c.Send("b", nil)); err != nil {
				t.Fatal(err)
			}
			p.expect(`{"type":"a"}`, `{"type":"b"}`)
			p.send(`{"type":"$ack","data":1}`)
			synctest.Wait()
			p.cut()
			p = s.welcomed(`{"session":"s1","received":0,"try":2}`, strings.NewReplacer("false", "true", `"received":0`, `"received":`+received).Replace(fresh))
			p.expectClose(4400)
			p = s.welcomed(`{"try":3}`, fresh2)
			p.expect(`{"type":"$ack","data":0}`)
		})
	}
}
