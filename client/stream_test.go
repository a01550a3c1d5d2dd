package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// Credit follows the consumer; the window is 2.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		step := make(chan struct{})
		var got []int
		ended := make(chan error)
		go func() {
			var end error
			for v, err := range client.Stream[int](t.Context(), c, "s", "x") {
				if err != nil {
					end = err
					break
				}
				got = append(got, v)
				<-step
			}
			ended <- end
		}()
		p.expect(`{"type":"s","id":1,"data":"x"}`)
		p.send(`{"type":"$item","id":1,"data":1}`, `{"type":"$item","id":1,"data":2}`)
		p.expect(`{"type":"$more","id":1,"data":1}`)
		p.send(`{"type":"$item","id":1,"data":3}`)
		synctest.Wait()
		step <- struct{}{}
		p.expect(`{"type":"$more","id":1,"data":1}`)
		p.send(`{"type":"$error","id":1,"data":{"code":"mine","message":"sorry"}}`)
		step <- struct{}{}
		step <- struct{}{}
		if err := <-ended; code(err) != "mine" || !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := collect(client.Stream[int](ctx, c, "s", nil))
			ended <- err
		}()
		p.expect(`{"type":"s","id":1}`)
		cancel()
		p.expect(`{"type":"$cancel","id":1}`)
		if err := <-ended; code(err) != wsctl.CodeCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("a stream whose ctx ends: %v", err)
		}
		if _, err := collect(client.Stream[int](ctx, c, "s", nil)); code(err) != wsctl.CodeCanceled {
			t.Errorf("a stream without a ctx: %v", err)
		}
		p.send(`{"type":"$item","id":1,"data":1}`, `{"type":"$reply","id":1}`) // too late
		go func() {
			_, err := collect(client.Stream[int](t.Context(), c, "s", nil))
			ended <- err
		}()
		p.expect(`{"type":"s","id":2}`)
		p.send(`{"type":"$item","id":2,"data":"x"}`)
		p.expect(`{"type":"$more","id":2,"data":1}`, `{"type":"$cancel","id":2}`)
		if err := <-ended; err == nil {
			t.Error("an item that doesn't decode: no error")
		}
		go func() {
			_, err := collect(client.Stream[int](t.Context(), c, "s", nil))
			ended <- err
		}()
		p.expect(`{"type":"s","id":3}`)
		c.Abort()
		if err := <-ended; code(err) != wsctl.CodeUnavailable {
			t.Errorf("a stream of a closed client: %v", err)
		}
		if _, err := collect(client.Stream[int](t.Context(), c, "s", nil)); !errors.Is(err, client.ErrClosed) {
			t.Errorf("a stream of a closed client: %v", err)
		}
	})
}

// Items are asked for when the server wants them, not before.
func TestUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		asked := 0
		items := func(yield func(int, error) bool) {
			for {
				asked++
				if !yield(asked, nil) {
					return
				}
			}
		}
		type result struct {
			n   int
			err error
		}
		done := make(chan result, 1)
		go func() {
			n, err := client.Upload[int](t.Context(), c, "up", nil, items)
			done <- result{n, err}
		}()
		p.expect(`{"type":"up","id":1}`)
		synctest.Wait()
		if asked != 0 {
			t.Errorf("%d items are asked for too early", asked)
		}
		p.send(`{"type":"$more","id":1,"data":2}`)
		p.expect(`{"type":"$item","id":1,"data":1}`, `{"type":"$item","id":1,"data":2}`)
		synctest.Wait()
		if asked != 3 {
			t.Errorf("%d items are asked for", asked)
		}
		p.send(`{"type":"$more","id":1,"data":0}`, `{"type":"$more","id":1,"data":99999999999}`, `{"type":"$reply","id":1,"data":7}`)
		if r := <-done; r.n != 7 || r.err != nil {
			t.Errorf("got %v", r)
		}
		go func() {
			n, err := client.Upload[int](t.Context(), c, "up", nil, numbers(1, errors.New("secret")))
			done <- result{n, err}
		}()
		for { // what was sent of the first one in the meantime
			_, b, err := p.ws.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			if string(b) == `{"type":"up","id":2}` {
				break
			}
		}
		p.send(`{"type":"$more","id":2,"data":5}`)
		p.expect(`{"type":"$item","id":2,"data":0}`, `{"type":"$end","id":2,"data":{"code":"internal","message":""}}`)
		p.send(`{"type":"$error","id":2,"data":{"code":"internal","message":""}}`)
		if r := <-done; r.err == nil || r.err.Error() != "secret" {
			t.Errorf("got %v", r)
		}
		start := time.Now()
		if _, err := client.Upload[int](t.Context(), c, "up", nil, items); code(err) != wsctl.CodeTimeout || time.Since(start) != 10*time.Second {
			t.Errorf("an upload without an answer: %v after %v", err, time.Since(start))
		}
	})
}

// A panic of the items is the caller's where the caller runs them; elsewhere it ends them.
func TestItemsPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		items := func(func(int, error) bool) { panic("items") }
		caught := make(chan any, 1)
		go func() {
			defer func() { caught <- recover() }()
			_, _ = client.Upload[int](t.Context(), c, "up", nil, items)
		}()
		p.expect(`{"type":"up","id":1}`)
		p.send(`{"type":"$more","id":1,"data":2}`)
		p.expect(`{"type":"$cancel","id":1}`)
		if v := <-caught; v != "items" {
			t.Errorf("recovered %v", v)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := collect(client.Exchange[int](t.Context(), c, "both", nil, items))
			ended <- err
		}()
		p.expect(`{"type":"both","id":2}`)
		p.send(`{"type":"$more","id":2,"data":2}`)
		p.expect(`{"type":"$end","id":2,"data":{"code":"internal","message":""}}`)
		p.send(`{"type":"$reply","id":2}`)
		if err := <-ended; code(err) != wsctl.CodeInternal {
			t.Errorf("got %v", err)
		}
	})
}
