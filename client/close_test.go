package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// Close waits for what is under way, refuses what is new, and closes with 1000.
func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		called, closed, streamed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { called <- c.Call(context.Background(), "slow", nil, nil) }()
		synctest.Wait()
		go func() {
			_, err := collect(client.Stream[int](context.Background(), c, "news", nil))
			streamed <- err
		}()
		p.expect(`{"type":"slow","id":1}`, `{"type":"news","id":2}`)
		go func() { closed <- c.Close(t.Context()) }()
		p.expect(`{"type":"$ping"}`)
		if err := c.Send("late", nil); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Send: %v", err)
		}
		if err := c.Connect(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Connect: %v", err)
		}
		time.Sleep(5 * time.Second)
		p.send(`{"type":"$ack","data":2}`, `{"type":"$pong"}`)
		synctest.Wait()
		if len(closed) != 0 {
			t.Error("Close doesn't wait for the call")
		}
		p.send(`{"type":"$reply","id":1}`)
		p.expectClose(1000)
		if err := errors.Join(<-called, <-closed); err != nil {
			t.Error(err)
		}
		if err := <-streamed; code(err) != wsctl.CodeUnavailable {
			t.Errorf("the stream: %v", err)
		}
	})
}

// What can't be delivered until ctx ends is told.
func TestCloseUndelivered(t *testing.T) {
	for name, prepare := range map[string]func(p *peer){
		"no ack":         func(*peer) {},
		"no connection":  func(p *peer) { p.cut() },
		"already closed": func(p *peer) { p.close(4444) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lost := 0
				s := serve(t)
				c, p := s.open(client.Options{Lost: func(n int) { lost += n }})
				if err := c.Send("a", nil); err != nil {
					t.Fatal(err)
				}
				p.expect(`{"type":"a"}`)
				prepare(p)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				start := time.Now()
				err := c.Close(ctx)
				if again := c.Close(t.Context()); again != nil {
					t.Errorf("Close again: %v", again)
				}
				if name == "already closed" {
					if err != nil || lost != 1 {
						t.Errorf("got %v, %d lost", err, lost)
					}
					return
				}
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 message") || lost != 1 {
					t.Errorf("got %v, %d lost", err, lost)
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("closed after %v", d)
				}
			})
		})
	}
}

// A client that is lost while it closes comes back to deliver the rest.
func TestCloseReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		p.cut()
		synctest.Wait()
		if err := c.Send("a", nil); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- c.Close(t.Context()) }()
		p = s.welcomed(`{"session":"s1","received":0,"try":2}`, strings.Replace(fresh, "false", "true", 1))
		p.expect(`{"type":"a"}`, `{"type":"$ping"}`)
		p.send(`{"type":"$ack","data":1}`)
		p.expectClose(1000)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// A peer that reads nothing holds up neither Close nor Abort, nor does one that doesn't answer the close.
func TestCloseStuck(t *testing.T) {
	for _, abort := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t)
			c, _ := s.open(client.Options{})
			for range 200 {
				if err := c.Send("a", strings.Repeat("x", 900)); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait() // the writer is stuck
			start := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if abort {
				c.Abort()
				synctest.Wait()
			} else if err := c.Close(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Close: %v", err)
			}
			if d := time.Since(start); d > time.Second || c.State() != client.Closed {
				t.Errorf("%v after %v", c.State(), d)
			}
		})
	}
}

// Abort and Close end a client in every state, and leave nothing: the bubble would not end.
func TestCloseEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		stuck := &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		for name, make := range map[string]func() *client.Client{
			"idle": func() *client.Client { return client.New("ws://server", s.options(client.Options{})) },
			"dialing": func() *client.Client {
				c := client.New("ws://server", &client.Options{Dialer: stuck})
				c.Redial()
				return c
			},
			"before welcome": func() *client.Client {
				c := client.New("ws://server", s.options(client.Options{}))
				c.Redial()
				s.accept()
				return c
			},
			"waiting": func() *client.Client {
				c := client.New("ws://server", s.options(client.Options{}))
				c.Redial()
				p := s.accept()
				synctest.Wait()
				p.cut()
				synctest.Wait()
				return c
			},
			"manual": func() *client.Client {
				c := client.New("ws://server", s.options(client.Options{Manual: true}))
				c.Redial()
				p := s.accept()
				synctest.Wait()
				p.cut()
				synctest.Wait()
				return c
			},
		} {
			c := make()
			start := time.Now()
			if err := c.Close(t.Context()); err != nil {
				t.Errorf("%s: Close: %v", name, err)
			}
			c = make()
			c.Abort()
			synctest.Wait()
			if err := c.Close(t.Context()); err != nil || c.State() != client.Closed || time.Since(start) > time.Second {
				t.Errorf("%s: %v, %v after %v", name, err, c.State(), time.Since(start))
			}
		}
	})
}
