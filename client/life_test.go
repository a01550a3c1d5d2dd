package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// diary notes the states of a client with the seconds since its making.
type diary struct {
	start time.Time
	lines []string
}

func (d *diary) state(s client.State, err error) {
	line := fmt.Sprintf("%v %d", s, time.Since(d.start)/time.Second)
	var ce *wsctl.CloseError
	if errors.As(err, &ce) {
		line += fmt.Sprintf(" %d", ce.Code)
	}
	d.lines = append(d.lines, line)
}

func (d *diary) check(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(d.lines, want) {
		t.Errorf("got  %q\nwant %q", d.lines, want)
	}
}

func newDiary() *diary { return &diary{start: time.Now()} }

// Silence for ping and timeout is the end of a connection; everything received counts against it.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := serve(t)
		c, p := s.open(client.Options{State: d.state, MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
		time.Sleep(30 * time.Second)
		p.send(`{"type":"$ping"}`)
		p.expect(`{"type":"$pong"}`)
		time.Sleep(30 * time.Second)
		p.send(`{"type":"$unknown"}`) // counted, and acknowledged a second later
		p.expect(`{"type":"$ack","data":1}`)
		p.expectClose(4408)
		s.welcomed(`{"session":"s1","received":1,"try":2}`, strings.Replace(fresh, "false", "true", 1))
		d.check(t, "Connecting 0", "Open 0", "Waiting 95 4408", "Connecting 95", "Open 95")
		c.Abort()
		d.check(t, "Connecting 0", "Open 0", "Waiting 95 4408", "Connecting 95", "Open 95", "Closed 95")
	})
}

// Acks go by number, by size, by time, and before a $pong.
func TestAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		_, p := s.open(client.Options{})
		start := time.Now()
		p.send(`{"type":"x"}`, `nonsense`, `{"type":"$later","id":4}`, `{"type":"$gap","data":{"type":"x","dropped":1}}`)
		p.expect(`{"type":"$ack","data":4}`)
		p.send(`{"type":"x","data":"` + strings.Repeat("x", 70_000) + `"}`)
		p.expect(`{"type":"$ack","data":5}`)
		p.send(`{"type":"x"}`, `{"type":"$ping"}`)
		p.expect(`{"type":"$ack","data":6}`, `{"type":"$pong"}`)
		if d := time.Since(start); d != 0 {
			t.Errorf("acknowledged after %v", d)
		}
		p.send(`{"type":"x"}`)
		time.Sleep(500 * time.Millisecond)
		p.send(`{"type":"x"}`)
		p.expect(`{"type":"$ack","data":8}`)
		if d := time.Since(start); d != time.Second {
			t.Errorf("acknowledged after %v", d)
		}
		p.send(`{"type":"$ping"}`)
		p.expect(`{"type":"$pong"}`)
	})
}

// Redial on an open connection asks for a sign of life.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := serve(t)
		c, p := s.open(client.Options{State: d.state})
		time.Sleep(10 * time.Second)
		c.Redial()
		c.Redial()
		p.expect(`{"type":"$ping"}`)
		time.Sleep(3 * time.Second)
		p.send(`{"type":"$pong"}`)
		time.Sleep(10 * time.Second)
		c.Redial()
		p.expect(`{"type":"$ping"}`)
		p.expectClose(4408)
		d.check(t, "Connecting 0", "Open 0", "Waiting 27 4408")
	})
}

// After $goaway the client waits for the close, then as long as it was told.
func TestGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := serve(t)
		_, p := s.open(client.Options{State: d.state})
		time.Sleep(10 * time.Second)
		p.send(`{"type":"$goaway","data":{"min":60000,"max":60001}}`)
		time.Sleep(10 * time.Second)
		p.close(1012)
		p = s.welcomed(`{"session":"s1","received":0,"try":2}`, strings.Replace(fresh, "false", "true", 1))
		p.send(`{"type":"$goaway","data":{"min":1000,"max":1001}}`)
		for range 3 { // signs of life don't prolong it
			time.Sleep(10 * time.Second)
			p.send(`{"type":"x"}`)
		}
		time.Sleep(7 * time.Second)
		d.check(t, "Connecting 0", "Open 0", "Waiting 20 1012", "Connecting 80", "Open 80", "Waiting 115 4408", "Connecting 116")
	})
}

// 4401: once with a fresh token, at once. 4409: once as new.
func TestOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := serve(t)
		n := 0
		c := client.New("ws://server/", s.options(client.Options{State: d.state, Token: func(context.Context) (string, error) {
			n++
			return fmt.Sprint("t", n), nil
		}}))
		t.Cleanup(c.Abort)
		c.Redial()
		p := s.welcomed(`{"try":1,"token":"t1"}`, fresh)
		p.close(4401)
		p = s.welcomed(`{"session":"s1","received":0,"try":2,"token":"t2"}`, strings.Replace(fresh, "false", "true", 1))
		p.close(4409)
		p = s.welcomed(`{"try":3,"token":"t3"}`, fresh2)
		time.Sleep(6 * time.Second)
		p.close(4409)
		p = s.welcomed(`{"try":4,"token":"t4"}`, fresh)
		p.close(4409)
		d.check(t, "Connecting 0", "Open 0", "Waiting 0 4401", "Connecting 0", "Open 0", "Waiting 0 4409", "Connecting 0", "Open 0",
			"Waiting 6 4409", "Connecting 6", "Open 6", "Closed 6 4409")
	})
}

// A closed client says why.
func TestClosedByServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := 0
		s := serve(t)
		c, p := s.open(client.Options{Lost: func(n int) { lost += n }})
		done := make(chan error)
		go func() { done <- c.Call(context.Background(), "x", nil, nil) }()
		synctest.Wait()
		if err := c.Send("y", nil); err != nil {
			t.Fatal(err)
		}
		p.close(4444)
		if err := <-done; code(err) != wsctl.CodeUnavailable {
			t.Errorf("Call: %v", err)
		}
		synctest.Wait()
		for what, err := range map[string]error{
			"Send":         c.Send("x", nil),
			"SendVolatile": c.SendVolatile("x", nil),
			"Call":         c.Call(t.Context(), "x", nil, nil),
			"Connect":      c.Connect(t.Context()),
		} {
			var ce *wsctl.CloseError
			if !errors.Is(err, client.ErrClosed) || !errors.As(err, &ce) || ce.Code != 4444 || ce.Reason != "why" {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		c.Abort()
		c.Redial()
		if lost != 1 || c.State() != client.Closed {
			t.Errorf("%d lost, %v", lost, c.State())
		}
	})
}

// A manual client waits to be told; each Connect is one attempt.
func TestManual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := serve(t)
		c, p := s.open(client.Options{State: d.state, Manual: true})
		p.close(1011)
		time.Sleep(time.Hour)
		d.check(t, "Connecting 0", "Open 0", "Waiting 0 1011")
		s.refuse(503)
		if err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("Connect: %v", err)
		}
		s.refuse(0)
		connected := make(chan error)
		go func() { connected <- c.Connect(t.Context()) }()
		s.welcomed(`{"session":"s1","received":0,"try":2}`, fresh2)
		if err := <-connected; err != nil {
			t.Error(err)
		}
		d.check(t, "Connecting 0", "Open 0", "Waiting 0 1011", "Connecting 3600", "Waiting 3600", "Connecting 3600", "Open 3600")
	})
}

// A pause grows with the attempts, and begins anew when the application says so.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		s := serve(t)
		s.refuse(503)
		c := client.New("ws://server/", s.options(client.Options{State: func(s client.State, _ error) {
			if s == client.Connecting {
				attempts.Add(1)
			}
		}}))
		t.Cleanup(c.Abort)
		c.Redial()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		before := attempts.Load()
		if before < 40 || before > 100 {
			t.Errorf("%d attempts in 10 minutes", before)
		}
		c.Redial()
		synctest.Wait()
		if attempts.Load() != before+1 {
			t.Error("Redial doesn't dial at once")
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if attempts.Load() < before+2 {
			t.Error("the pause doesn't begin anew")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "503") {
			t.Errorf("Connect: %v", err)
		}
	})
}

// A token that fails or panics is a failed attempt, not the end.
func TestTokenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := serve(t)
		c := client.New("ws://server/", s.options(client.Options{Token: func(context.Context) (string, error) {
			switch n++; n {
			case 1:
				return "", errors.New("no token")
			case 2:
				panic("no token")
			case 3:
				return strings.Repeat("x", 20_000), nil
			}
			return "t", nil
		}}))
		t.Cleanup(c.Abort)
		c.Redial()
		s.accept() // of the long one, and closed again
		s.welcomed(`{"try":2,"token":"t"}`, fresh)
		if err := c.Connect(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
