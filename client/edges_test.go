package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// explosive is a result that can't be encoded, and says so by a panic.
type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("boom") }

// A function of On that ends its goroutine, as t.FailNow does, ends nothing else.
func TestListenerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		got := make(chan int, 10)
		client.On(c, "a", func(int) { runtime.Goexit() })
		client.On(c, "b", func(n int) { got <- n })
		p.send(`{"type":"a","data":1}`, `{"type":"b","data":2}`)
		if n := <-got; n != 2 {
			t.Errorf("got %d", n)
		}
		if err := c.Send("x", nil); err != nil {
			t.Error(err)
		}
	})
}

// Handlers that panic in their result's marshaler, or end their goroutine, are answered, and the client lives.
func TestHandlersThatDoNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		client.Handle(c, "panics", func(context.Context, int) (explosive, error) { return explosive{}, nil })
		client.Handle(c, "exits", func(context.Context, int) (int, error) { runtime.Goexit(); return 0, nil })
		p.send(`{"type":"panics","id":1,"data":1}`)
		p.expect(`{"type":"$error","id":1,"data":{"code":"internal","message":""}}`)
		p.send(`{"type":"exits","id":2,"data":1}`)
		p.expect(`{"type":"$error","id":2,"data":{"code":"internal","message":""}}`)
		if err := c.Send("x", explosive{}); err == nil || errors.Is(err, client.ErrClosed) {
			t.Errorf("Send of what can't be encoded: %v", err)
		}
	})
}

// The end of ctx ends a stream also while items wait, however fast the server is.
func TestStreamEndsWithContextWhileItemsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		go func() { // a server that always has a window of items under way
			p.expect(`{"type":"n","id":1}`)
			p.send(`{"type":"$item","id":1,"data":1}`, `{"type":"$item","id":1,"data":2}`)
			for {
				_, b, err := p.ws.ReadMessage()
				if err != nil || string(b) == `{"type":"$cancel","id":1}` {
					return
				}
				if strings.HasPrefix(string(b), `{"type":"$more"`) {
					p.send(`{"type":"$item","id":1,"data":3}`)
				}
			}
		}()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for _, err := range client.Stream[int](ctx, c, "n", nil) {
			synctest.Wait() // until the next items are there
			if err != nil {
				var e *wsctl.Error
				if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Code != wsctl.CodeCanceled {
					t.Errorf("ended with %v", err)
				}
				break
			}
			if n++; n == 3 {
				cancel()
			}
			if n > 10 {
				t.Error("items come for ever")
				break
			}
		}
		if n != 3 {
			t.Errorf("%d items, want the 3 before the end of ctx", n)
		}
	})
}

// What the server says when it closes is heard, also when the client finds out first by a write that fails.
func TestCloseHeardWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(wsctl.CloseForbidden, "no"), time.Now().Add(time.Second))
		p.cut()
		_ = c.Send("x", 1)
		synctest.Wait()
		var ce *wsctl.CloseError
		if err := c.Send("y", 1); !errors.As(err, &ce) || ce.Code != wsctl.CloseForbidden {
			t.Errorf("Send after the server's close: %v", err)
		}
	})
}

// deaf is a network connection whose writes fail when they are told to, while reads go on.
type deaf struct {
	net.Conn
	broken *atomic.Bool
}

func (d deaf) Write(b []byte) (int, error) {
	if d.broken.Load() {
		return 0, errors.New("broken")
	}
	return d.Conn.Write(b)
}

// A connection on which writing fails is given up soon, though the server goes on talking.
func TestWriteFailureEndsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		var broken atomic.Bool
		o := s.options(client.Options{Manual: true})
		dial := o.Dialer.NetDialContext
		o.Dialer.NetDialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return deaf{conn, &broken}, err
		}
		c := client.New("ws://server/", o)
		defer c.Abort()
		c.Redial()
		p := s.welcomed(first, fresh)
		p.expect(`{"type":"$ack","data":0}`)
		broken.Store(true)
		if err := c.Send("x", 1); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			_ = p.ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"noise"}`)) // fails once it is given up
		}
		synctest.Wait()
		if c.State() != client.Waiting {
			t.Errorf("%v, though nothing can be written", c.State())
		}
		broken.Store(false)
		c.Redial()
		q := s.accept()
		_, hello, err := q.ws.ReadMessage()
		if err != nil || !strings.Contains(string(hello), `"session":"s1"`) {
			t.Fatalf("dialed with %s, %v", hello, err)
		}
		q.send(`{"type":"$welcome","data":` + resumed + `}`)
		q.expect(`{"type":"x","data":1}`)
	})
}

// A volatile message that wasn't written when the connection was lost isn't sent on the next.
func TestVolatileIsNotSentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		s.l.Size = 600
		c, p := s.open(client.Options{})
		_ = c.Send("big", strings.Repeat("x", 700)) // fills the network
		synctest.Wait()
		_ = c.SendVolatile("where", 1)
		_ = c.Send("last", nil)
		p.cut()
		q := s.welcomed(`{"session":"s1","received":0,"try":2}`, resumed)
		q.expect(`{"type":"big","data":"`+strings.Repeat("x", 700)+`"}`, `{"type":"last"}`)
	})
}

// A server that grants no window is told how many items a stream wants.
func TestStreamWithoutWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := client.New("ws://server/", s.options(client.Options{}))
		defer c.Abort()
		c.Redial()
		p := s.welcomed(first, strings.Replace(fresh, `"window":2`, `"window":0`, 1))
		p.expect(`{"type":"$ack","data":0}`)
		go func() {
			for {
				_, b, err := p.ws.ReadMessage()
				if err != nil {
					return
				}
				if string(b) == `{"type":"$more","id":1,"data":64}` {
					p.send(`{"type":"$item","id":1,"data":5}`, `{"type":"$reply","id":1}`)
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		sum := 0
		for n, err := range client.Stream[int](ctx, c, "n", nil) {
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		if sum != 5 {
			t.Errorf("sum %d", sum)
		}
	})
}

// A server without pings may be silent as long as it likes, and Redial asks it all the same.
func TestServerWithoutPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c := client.New("ws://server/", s.options(client.Options{Manual: true}))
		defer c.Abort()
		c.Redial()
		p := s.welcomed(first, strings.Replace(fresh, `"ping":25000`, `"ping":0`, 1))
		p.expect(`{"type":"$ack","data":0}`)
		time.Sleep(time.Hour)
		synctest.Wait()
		if c.State() != client.Open {
			t.Fatalf("%v after an hour of silence", c.State())
		}
		p.send(`{"type":"$goaway","data":{"min":0,"max":0}}`)
		synctest.Wait()
		if c.State() != client.Open {
			t.Fatalf("%v after $goaway, before the close", c.State())
		}
		c.Redial()
		p.expect(`{"type":"$ping"}`)
		p.send(`{"type":"$pong"}`)
		time.Sleep(time.Minute)
		synctest.Wait()
		if c.State() != client.Open {
			t.Fatalf("%v though the server has answered", c.State())
		}
		c.Redial()
		p.expect(`{"type":"$ping"}`)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if c.State() != client.Waiting {
			t.Fatalf("%v though the server hasn't answered", c.State())
		}
	})
}

// The same with wsctl's own server.
func TestRealServerWithoutPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := realServer(t, &desk{}, &wsctl.Options{PingInterval: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := client.Dial(ctx, "ws://server/", w.options(client.Options{Logger: slog.New(slog.DiscardHandler)}))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := client.Call[int](ctx, c, "Add", [2]int{1, 2}); n != 3 || err != nil {
			t.Errorf("Add: %d, %v", n, err)
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// resumed is the welcome of a server that has nothing of session s1.
const resumed = `{"session":"s1","resumed":true,"received":0,"ping":25000,"timeout":10000,"max":1000,"ack":4,"window":2,"schema":"x"}`
