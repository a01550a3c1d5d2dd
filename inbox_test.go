package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// While a method runs, messages wait up to max(64 KiB, MaxMessage) bytes; past it the client is held back. Then all are
// handled.
func TestWaitingMessages(t *testing.T) {
	tests := []struct {
		name    string
		opts    wsctl.Options
		payload int // bytes of data
		bound   int
	}{
		{"1 KiB each", wsctl.Options{}, 1 << 10, 64 << 10},
		{"empty", wsctl.Options{}, 0, 64 << 10},
		{"small MaxMessage", wsctl.Options{MaxMessage: 4 << 10}, 1 << 10, 64 << 10},
		{"large MaxMessage", wsctl.Options{MaxMessage: 1 << 20}, 30 << 10, 1 << 20},
		{"two at once", wsctl.Options{Concurrency: 2}, 1 << 10, 64 << 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				release := make(chan bool)
				var handled atomic.Int64
				h, _ := newHandler(t, &kit{
					ctx: func(context.Context, *wsctl.Socket, json.RawMessage) (any, error) { <-release; return nil, nil },
					now: func(*wsctl.Socket, json.RawMessage) (any, error) { handled.Add(1); return nil, nil },
				}, &tt.opts)
				const pipe = 4 << 10
				c := serveOver(t, h, pipe, nil).dial(t, nil)
				for range max(tt.opts.Concurrency, 1) {
					c.send(msg("Ctx", ""))
				}
				m := msg("Now", "")
				if tt.payload > 0 {
					m = msg("Now", `"`+strings.Repeat("x", tt.payload)+`"`)
				}
				total := 2*tt.bound/len(m) + 10
				var sent atomic.Int64
				done := make(chan bool)
				go func() {
					defer close(done)
					for range total {
						c.send(m)
						sent.Add(1)
					}
				}()
				synctest.Wait()
				// What the pipe and the reader's buffer hold, the message that passed the bound, and one in writing.
				n, slack := int(sent.Load())*len(m), pipe+4<<10+2*len(m)
				if n < tt.bound/10 || n > tt.bound+slack {
					t.Errorf("%d bytes were taken, want %d or a little more", n, tt.bound)
				}
				close(release)
				<-done
				synctest.Wait()
				if n := int(handled.Load()); n != total {
					t.Errorf("%d of %d handled", n, total)
				}
				c.lives()
			})
		})
	}
}

// A method with a context learns of the socket's end at once, and returns to nobody.
func TestContextEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(*wsctl.Socket, *client)
		want wsctl.CloseError
	}{
		{"peer closes", func(_ *wsctl.Socket, c *client) { c.raw(closeFrame(1000, "bye")) }, wsctl.CloseError{Code: 1000, Reason: "bye"}},
		{"peer closes without a code", func(_ *wsctl.Socket, c *client) { c.raw(rawFrame(0x88, "")) }, wsctl.CloseError{Code: 1005}},
		{"connection lost", func(_ *wsctl.Socket, c *client) { c.nc.Close() }, wsctl.CloseError{Code: 1006}},
		{"lost within a message", func(_ *wsctl.Socket, c *client) {
			c.raw(rawHeader(0x81, 1000))
			c.nc.Close()
		}, wsctl.CloseError{Code: 1006}},
		{"application closes", func(s *wsctl.Socket, _ *client) { s.Close(4000, "done") }, wsctl.CloseError{Code: 4000, Reason: "done"}},
		{"binary message", func(_ *wsctl.Socket, c *client) { c.raw(rawFrame(0x82, "x")) },
			wsctl.CloseError{Code: 1003, Reason: "binary messages are not understood"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				sockets := make(chan *wsctl.Socket, 1)
				causes, ended := make(chan error, 2), make(chan error, 1)
				h, log := newHandler(t, &kit{
					ctx: func(ctx context.Context, s *wsctl.Socket, _ json.RawMessage) (any, error) {
						sockets <- s
						<-ctx.Done()
						causes <- context.Cause(ctx)
						return nil, context.Cause(ctx) // the usual thing
					},
					closed: func(_ *wsctl.Socket, err error) { ended <- err },
				}, nil)
				c := serve(t, h).dial(t, nil)
				c.send(call(1, "Ctx", ""))
				s := <-sockets
				start := time.Now()
				tt.end(s, c)
				causes <- context.Cause(s.Context())
				for _, ch := range []chan error{causes, causes, ended} {
					err := <-ch
					if err == nil { // read from s before the end was noticed
						synctest.Wait()
						err = context.Cause(s.Context())
					}
					if got, ok := errors.AsType[*wsctl.CloseError](err); !ok || *got != tt.want {
						t.Errorf("cause %v, want %v", err, &tt.want)
					}
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("noticed after %v", d)
				}
				if n := h.Stats().Closed[tt.want.Code]; n != 1 {
					t.Errorf("Stats.Closed %v", h.Stats().Closed)
				}
				if strings.Contains(log.String(), "level=ERROR") {
					t.Errorf("an end isn't the application's failure, but logged was %s", log)
				}
				if err := s.Send("late", nil); err != wsctl.ErrClosed {
					t.Errorf("Send after the end: %v", err)
				}
			})
		})
	}
}

// What was read whole before the peer closed, or was lost, is handled; OnClose comes after it.
func TestWaitingOutlivesPeer(t *testing.T) {
	for name, end := range map[string]func(*client){
		"close": func(c *client) { c.raw(closeFrame(1000, "")) },
		"loss":  func(c *client) { c.nc.Close() },
	} {
		for _, first := range []string{"Ctx", "Now"} { // the reader is free, or isn't
			t.Run(name+"/"+first, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					release := make(chan bool)
					var order []string
					k := &kit{closed: func(*wsctl.Socket, error) { order = append(order, "OnClose") }}
					k.now = func(_ *wsctl.Socket, data json.RawMessage) (any, error) {
						if string(data) == "0" {
							<-release
						}
						order = append(order, string(data))
						return nil, nil
					}
					k.ctx = func(_ context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) { return k.now(s, data) }
					h, _ := newHandler(t, k, nil)
					c := serve(t, h).dial(t, nil)
					c.send(msg(first, "0"), msg("Now", "1"), msg("Ctx", "2"), msg("Now", "3"))
					synctest.Wait()
					end(c)
					synctest.Wait()
					if len(order) > 0 {
						t.Errorf("%v before the method returned", order)
					}
					close(release)
					synctest.Wait()
					if !slices.Equal(order, []string{"0", "1", "2", "3", "OnClose"}) {
						t.Errorf("order %v", order)
					}
				})
			})
		}
	}
}

// After the application's close nothing that waits begins, and nothing is answered any more.
func TestWaitingEndsWithClose(t *testing.T) {
	for _, first := range []string{"Ctx", "Now"} {
		t.Run(first, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				started, release := make(chan *wsctl.Socket), make(chan bool)
				var ran []string
				var closedWith error
				k := &kit{closed: func(_ *wsctl.Socket, err error) { closedWith = err }}
				k.now = func(s *wsctl.Socket, data json.RawMessage) (any, error) {
					ran = append(ran, string(data))
					if len(ran) == 1 {
						started <- s
						<-release
					}
					return "late", nil
				}
				k.ctx = func(_ context.Context, s *wsctl.Socket, data json.RawMessage) (any, error) { return k.now(s, data) }
				h, _ := newHandler(t, k, nil)
				c := serve(t, h).dial(t, nil)
				c.send(call(1, first, "1"), call(2, "Now", "2"), call(3, "Ctx", "3"))
				s := <-started
				synctest.Wait()
				if err := s.Close(4000, "enough"); err != nil {
					t.Error(err)
				}
				if err := s.Close(4000, "enough"); err != wsctl.ErrClosed {
					t.Errorf("second Close: %v", err)
				}
				c.wantClosed(4000, "enough") // at once: it doesn't wait for the method
				c.ws.Close()
				synctest.Wait()
				if closedWith != nil {
					t.Error("OnClose was told while a method ran")
				}
				close(release)
				synctest.Wait()
				if fmt.Sprint(ran) != "[1]" || closedWith == nil || h.Stats().Calls != 0 {
					t.Errorf("ran %v, closed with %v, %d calls", ran, closedWith, h.Stats().Calls)
				}
			})
		})
	}
}

// A client that is held back is noticed to have gone when there is room again; OnClose is told once, whatever happens at
// the same time.
func TestClosesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told atomic.Int64
		var sockets []*wsctl.Socket
		h, _ := newHandler(t, &kit{
			opened: func(s *wsctl.Socket, _ *http.Request) error { sockets = append(sockets, s); return nil },
			closed: func(*wsctl.Socket, error) { told.Add(1) },
		}, &wsctl.Options{MaxConns: 1})
		srv := serve(t, h)
		const n = 50
		for range n {
			c := srv.dial(t, nil)
			s := sockets[len(sockets)-1]
			go s.Close(4000, "")
			go h.Hub().Everyone().Close(4001, "")
			go c.nc.Write(closeFrame(1000, "")) // whichever comes first
			go c.nc.Close()
			synctest.Wait()
			if told := told.Load(); told != int64(len(sockets)) {
				t.Fatalf("OnClose was told %d times of %d ends", told, len(sockets))
			}
		}
		c := srv.dial(t, nil)
		if _, _, err := srv.tryDial(t, nil); err == nil {
			t.Error("places of MaxConns were given back twice")
		}
		c.ws.Close()
		if st := h.Stats(); st.Opened != n+1 {
			t.Errorf("%+v", st)
		}
	})
}

// A peer that closes while a write is under way, and reads no more, is still looked after: its connection is dropped
// after PingTimeout, and its place is given back once.
func TestCloseWithinWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var tap *tapped
		h, _ := newHandler(t, &kit{}, &wsctl.Options{MaxConns: 1})
		srv := serveOver(t, h, 0, func(nc *mempipe.Conn) net.Conn { tap = &tapped{Conn: nc}; return tap })
		c := srv.dial(t, nil)
		held, resume := make(chan bool), make(chan bool)
		hold := func(b []byte) (int, error) {
			close(held)
			<-resume
			return 0, nil // the network is full
		}
		tap.hold.Store(&hold)
		go h.Hub().Broadcast("x", strings.Repeat("x", 100<<10))
		<-held
		c.raw(closeFrame(1000, ""))
		synctest.Wait()
		close(resume)
		time.Sleep(11 * time.Second)
		if _, err := c.nc.Write(rawFrame(0x89, "")); err == nil {
			t.Error("a peer that doesn't read keeps its connection")
		}
		c.nc.Close()
		synctest.Wait()
		srv.dial(t, nil)
		if _, _, err := srv.tryDial(t, nil); err == nil {
			t.Error("a place of MaxConns was given back twice")
		}
	})
}
