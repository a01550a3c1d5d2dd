package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// Functions are called in the order of arrival, one at a time; a panic or bad data ends none of the others.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var got []string
		note := func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }
		s := serve(t)
		c, p := s.open(client.Options{
			Message: func(typ string, data json.RawMessage) { note("%s %s", typ, data) },
			Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		})
		client.On(c, "a", func(n int) { panic("of a") })
		client.On(c, "a", func(n int) { note("a%d", n) })
		client.On(c, "b", func(n *int) { note("b%v", n) })
		p.send(`{"type":"a","data":1}`, `{"type":"b"}`, `{"type":"c","data":{"x":1,"x":2}}`, `{"type":"a","data":"bad"}`,
			`{"type":"$gap","data":{"type":"a","dropped":1}}`, `{"type":"$none"}`, `{"type":"a","data":2}`, `{"type":"d"}`)
		synctest.Wait()
		want := []string{"a1", "b<nil>", `c {"x":1,"x":2}`, `$gap {"type":"a","dropped":1}`, "a2", "d "}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		c.Abort()
		synctest.Wait()
		if l := log.String(); !strings.Contains(l, "of a") || !strings.Contains(l, "doesn't decode") {
			t.Errorf("the log is %s", l)
		}
	})
}

// A function may use the client as it likes, and end it.
func TestInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []client.State
		s := serve(t)
		c, p := s.open(client.Options{State: func(s client.State, _ error) { states = append(states, s) }})
		var got int
		var closed error
		after := false
		client.On(c, "a", func(struct{}) {
			if err := c.Call(context.Background(), "x", nil, &got); err != nil {
				t.Error(err)
			}
			if err := c.Send("y", nil); err != nil {
				t.Error(err)
			}
			closed = c.Close(context.Background())
		})
		client.On(c, "b", func(struct{}) { after = true })
		p.send(`{"type":"a"}`, `{"type":"b"}`)
		p.expect(`{"type":"x","id":1}`)
		p.send(`{"type":"$reply","id":1,"data":5}`)
		p.expect(`{"type":"y"}`, `{"type":"$ping"}`)
		p.send(`{"type":"$ack","data":2}`, `{"type":"$pong"}`)
		p.expectClose(1000)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got != 5 || closed != nil || !after {
			t.Errorf("got %d, %v, %v", got, closed, after)
		}
		if n := len(states); states[n-1] != client.Closed {
			t.Errorf("states %v", states)
		}
	})
}

// A function that blocks holds up reading, once enough waits; not if it waits for a call.
func TestBlockedFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		got := 0
		wait := make(chan struct{})
		client.On(c, "wait", func(struct{}) { <-wait })
		client.On(c, "a", func(string) { got++ })
		p.send(`{"type":"wait"}`)
		msg := `{"type":"a","data":"` + strings.Repeat("x", 30_000) + `"}`
		sent := 0
		go func() {
			for range 100 {
				p.send(msg)
				sent++
			}
		}()
		go func() {
			for { // acks
				if _, _, err := p.ws.ReadMessage(); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if sent < 30 || sent > 50 {
			t.Errorf("%d messages of 30 KB are taken while a function blocks", sent)
		}
		done := make(chan error)
		go func() { done <- c.Call(context.Background(), "x", nil, nil) }()
		synctest.Wait()
		if sent != 100 {
			t.Errorf("%d messages are taken while a call waits", sent)
		}
		p.send(`{"type":"$reply","id":1}`)
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(wait)
		synctest.Wait()
		if got != 100 {
			t.Errorf("got %d", got)
		}
		c.Abort()
	})
}

// The server's calls run beside each other, and get one end each.
func TestAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := serve(t)
		c, p := s.open(client.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		off := client.Handle(c, "wait", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		client.Handle(c, "err", func(_ context.Context, how string) (any, error) {
			switch how {
			case "own":
				return nil, fmt.Errorf("wrapped: %w", &wsctl.Error{Code: "own", Message: "m", Data: 1})
			case "secret":
				return nil, errors.New("secret")
			case "big":
				return strings.Repeat("x", 2000), nil
			case "nothing":
				return nil, nil
			}
			return make(chan int), nil
		})
		p.send(`{"type":"wait","id":1}`, `{"type":"err","id":2,"data":"own"}`)
		p.expect(`{"type":"$error","id":2,"data":{"code":"own","message":"m","data":1}}`)
		p.send(`{"type":"err","id":3,"data":"secret"}`)
		p.expect(`{"type":"$error","id":3,"data":{"code":"internal","message":""}}`)
		p.send(`{"type":"err","id":4,"data":"big"}`)
		p.expect(`{"type":"$ack","data":4}`, `{"type":"$error","id":4,"data":{"code":"too_big","message":"the message is larger than the server takes"}}`)
		p.send(`{"type":"err","id":5,"data":"nothing"}`)
		p.expect(`{"type":"$reply","id":5}`)
		p.send(`{"type":"err","id":6,"data":"other"}`)
		p.expect(`{"type":"$error","id":6,"data":{"code":"internal","message":""}}`)
		p.send(`{"type":"err","id":7,"data":7}`)
		p.expect(`{"type":"$error","id":7,"data":{"code":"bad_request","message":"data doesn't decode into string"}}`)
		p.send(`{"type":"$cancel","id":1}`)
		p.expect(`{"type":"$ack","data":8}`, `{"type":"$error","id":1,"data":{"code":"canceled","message":""}}`)
		off()
		p.send(`{"type":"wait","id":8}`)
		p.expect(`{"type":"$error","id":8,"data":{"code":"not_found","message":"the client doesn't handle wait"}}`)
		synctest.Wait() // what is logged is logged in turn
		if !strings.Contains(log.String(), "secret") {
			t.Error("the hidden error isn't logged")
		}
	})
}

// More calls of the server than the client runs at once are refused.
func TestAskedTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		var running, ended atomic.Int64
		client.Handle(c, "wait", func(ctx context.Context, _ int) (int, error) {
			running.Add(1)
			<-ctx.Done()
			ended.Add(1)
			return 0, nil
		})
		for i := range 257 {
			p.send(fmt.Sprintf(`{"type":"wait","id":%d}`, i+1))
			synctest.Wait()
		}
		for {
			_, b, err := p.ws.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "$error") {
				if !strings.Contains(string(b), `"id":257,"data":{"code":"too_many"`) {
					t.Errorf("got %s", b)
				}
				break
			}
		}
		if n := running.Load(); n != 256 {
			t.Errorf("%d run", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			for {
				if _, _, err := p.ws.ReadMessage(); err != nil {
					return
				}
			}
		}()
		_ = c.Close(ctx)
		synctest.Wait()
		if n := ended.Load(); n != 256 {
			t.Errorf("%d have ended", n)
		}
	})
}

func TestMisuse(t *testing.T) {
	c := client.New("ws://server", nil)
	for name, f := range map[string]func(){
		"On of nothing":    func() { client.On(c, "", func(int) {}) },
		"On of $ping":      func() { client.On(c, "$ping", func(int) {}) },
		"Handle of $reply": func() { client.Handle(c, "$reply", func(context.Context, int) (int, error) { return 0, nil }) },
		"Handle of an epic": func() {
			client.Handle(c, strings.Repeat("x", 200), func(context.Context, int) (int, error) { return 0, nil })
		},
		"On of invalid UTF-8": func() { client.On(c, "\xff", func(int) {}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s doesn't panic", name)
				}
			}()
			f()
		}()
	}
	client.On(c, "$gap", func(int) {})()
	client.On(c, "$room", func(int) {})()
	if got := []string{client.Idle.String(), client.Closed.String(), client.State(9).String(), client.State(-1).String()}; !slices.Equal(got, []string{"Idle", "Closed", "State(9)", "State(-1)"}) {
		t.Errorf("states %q", got)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Connect(t.Context()); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}
