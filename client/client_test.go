package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

func TestSendAndListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		var got []string
		off := client.On(c, "a", func(v string) { got = append(got, "1"+v) })
		client.On(c, "a", func(v string) { got = append(got, "2"+v) })
		client.On(c, "a", func(v int) { got = append(got, "never") })
		if err := c.Send("hi", map[string]int{"n": 1}); err != nil {
			t.Fatal(err)
		}
		p.expect(`{"type":"hi","data":{"n":1}}`)
		p.send(`{"type":"a","data":"x"}`)
		synctest.Wait()
		off()
		p.send(`{"type":"a","data":"y"}`, `{"type":"a"}`)
		synctest.Wait()
		if want := []string{"1x", "2x", "2y", "2", "never"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		p.expect(`{"type":"$ack","data":3}`)
		go func() {
			p.expect(`{"type":"$ping"}`)
			p.send(`{"type":"$ack","data":1}`, `{"type":"$pong"}`)
			p.expectClose(1000)
		}()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Send("hi", nil); !errors.Is(err, client.ErrClosed) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
	})
}

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		go func() {
			p.expect(`{"type":"Add","id":1,"data":[1,2]}`)
			p.send(`{"type":"$reply","id":1,"data":3}`)
			p.expect(`{"type":"Add","id":2}`)
			p.send(`{"type":"$error","id":2,"data":{"code":"bad_request","message":"no"}}`)
		}()
		n, err := client.Call[int](t.Context(), c, "Add", [2]int{1, 2})
		if n != 3 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		var e *wsctl.Error
		if _, err = client.Call[int](t.Context(), c, "Add", nil); !errors.As(err, &e) || e.Code != "bad_request" || e.Message != "no" {
			t.Errorf("got %v", err)
		}
		start := time.Now()
		_, err = client.Call[int](t.Context(), c, "Add", nil)
		if !errors.As(err, &e) || e.Code != wsctl.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		p.expect(`{"type":"Add","id":3}`, `{"type":"$ack","data":2}`, `{"type":"$cancel","id":3}`)
		c.Abort()
		p.expectClose(1006)
	})
}

func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		for i := range 3 {
			if err := c.Send("n", i); err != nil {
				t.Fatal(err)
			}
		}
		p.send(`{"type":"x"}`)
		p.expect(`{"type":"n","data":0}`)
		synctest.Wait()
		p.cut()
		synctest.Wait()
		if c.State() != client.Waiting {
			t.Errorf("%v after a cut", c.State())
		}
		if err := c.Send("n", 3); err != nil {
			t.Fatal(err)
		}
		p = s.welcomed(`{"session":"s1","received":1,"try":2}`, `{"session":"s1","resumed":true,"received":1,"ping":25000,"timeout":10000,"max":1000,"ack":4,"window":2,"schema":"x"}`)
		p.expect(`{"type":"n","data":1}`, `{"type":"n","data":2}`, `{"type":"n","data":3}`)
		if !c.Info().Resumed {
			t.Error("not resumed")
		}
		c.Abort()
		p.expectClose(1006)
	})
}

func TestHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		client.Handle(c, "double", func(_ context.Context, n int) (int, error) { return 2 * n, nil })
		client.Handle(c, "panic", func(_ context.Context, n int) (int, error) { panic("x") })
		p.send(`{"type":"double","id":1,"data":4}`)
		p.expect(`{"type":"$reply","id":1,"data":8}`)
		p.send(`{"type":"panic","id":2}`)
		p.expect(`{"type":"$error","id":2,"data":{"code":"internal","message":""}}`)
		p.send(`{"type":"none","id":3}`)
		p.expect(`{"type":"$error","id":3,"data":{"code":"not_found","message":"the client doesn't handle none"}}`)
		c.Abort()
		p.expectClose(1006)
	})
}
