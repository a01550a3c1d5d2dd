package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// frameReader reads the frames of a server below the WebSocket, and answers none.
func frameReader(t *testing.T, c *client, each func(opcode byte, payload []byte)) (err error) {
	t.Helper()
	r := c.nc
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		if head[1] > 125 {
			t.Fatal("only short frames are expected")
		}
		payload := make([]byte, head[1])
		if _, err := io.ReadFull(r, payload); err != nil {
			return err
		}
		each(head[0], payload)
	}
}

// Pings come at a random time first, then at every interval; who answers them stays.
func TestPingTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const interval = 20 * time.Second
		h, _ := newHandler(t, &kit{}, &wsctl.Options{PingInterval: interval})
		srv := serve(t, h)
		firsts := map[time.Duration]bool{}
		for range 6 {
			c := srv.dial(t, nil)
			start := time.Now()
			var pings []time.Duration
			c.ws.SetPingHandler(func(p string) error {
				pings = append(pings, time.Since(start))
				return c.ws.WriteControl(websocket.PongMessage, []byte(p), time.Time{})
			})
			c.ws.SetReadDeadline(start.Add(5 * time.Minute))
			_, _, err := c.ws.ReadMessage()
			if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
				t.Fatalf("closed: %v", err)
			}
			if len(pings) < 14 || len(pings) > 16 || pings[0] > interval+2*time.Second {
				t.Errorf("pings at %v", pings)
			}
			for i := range len(pings) - 1 {
				if d := pings[i+1] - pings[i]; d < interval || d > interval+time.Second {
					t.Errorf("ping %d after %v", i+1, d)
				}
			}
			firsts[pings[0]] = true
			c.ws.Close()
		}
		if len(firsts) < 3 {
			t.Errorf("the first pings of six clients come at only %d times", len(firsts))
		}
	})
}

// Silence is noticed after PingInterval + PingTimeout, and whatever a client sends is life.
func TestSilence(t *testing.T) {
	never := time.Duration(0)
	tests := []struct {
		name  string
		opts  wsctl.Options
		bytes []byte        // sent every 5 s
		want  time.Duration // closed with 4408
		pings bool
	}{
		{"defaults", wsctl.Options{}, nil, 35 * time.Second, true},
		{"short", wsctl.Options{PingInterval: time.Second, PingTimeout: 500 * time.Millisecond}, nil, 1500 * time.Millisecond, true},
		{"message", wsctl.Options{}, rawFrame(0x81, msg("Nope", "")), never, true},
		{"ping", wsctl.Options{}, rawFrame(0x89, ""), never, true},
		{"unasked pong", wsctl.Options{}, rawFrame(0x8a, "x"), never, true},
		{"no pings", wsctl.Options{PingInterval: -1}, nil, never, false},
		{"no pings, timeout", wsctl.Options{PingInterval: -1, PingTimeout: time.Second}, nil, never, false},
		{"no timeout", wsctl.Options{PingTimeout: -1}, nil, never, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, _ := newHandler(t, &kit{}, &tt.opts)
				c := serve(t, h).dial(t, nil)
				start := time.Now()
				stop := time.AfterFunc(3*time.Minute, func() { c.nc.Close() })
				defer stop.Stop()
				if tt.bytes != nil {
					go func() {
						for time.Since(start) < 3*time.Minute {
							time.Sleep(5 * time.Second)
							c.nc.Write(tt.bytes)
						}
					}()
				}
				pings, code := 0, 0
				var closedAfter time.Duration
				frameReader(t, c, func(opcode byte, payload []byte) {
					switch opcode {
					case 0x89:
						pings++
					case 0x88:
						code = int(payload[0])<<8 | int(payload[1])
						closedAfter = time.Since(start)
						c.nc.Write(rawFrame(0x88, string(payload)))
					}
				})
				if tt.want == never && code != 0 {
					t.Errorf("closed with %d after %v", code, closedAfter)
				}
				if tt.want != never && (code != 4408 || closedAfter < tt.want || closedAfter > tt.want+tt.want/10) {
					t.Errorf("closed with %d after %v, want %v", code, closedAfter, tt.want)
				}
				if (pings > 0) != tt.pings {
					t.Errorf("%d pings", pings)
				}
				time.Sleep(4 * time.Minute) // let the writer end
			})
		})
	}
}

// Silence isn't counted while the server doesn't read itself.
func TestSilenceOfServer(t *testing.T) {
	tests := []struct {
		name string
		busy func(c *client)
	}{
		{"method without a context", func(c *client) { c.send(msg("Now", "")) }},
		{"reader held by the bound", func(c *client) {
			c.send(msg("Ctx", ""))
			for range 3 {
				c.send(msg("Echo", `"`+strings.Repeat("x", 40<<10)+`"`))
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				release := make(chan bool)
				wait := func(*wsctl.Socket, json.RawMessage) (any, error) { <-release; return nil, nil }
				h, _ := newHandler(t, &kit{now: wait, ctx: func(_ context.Context, s *wsctl.Socket, d json.RawMessage) (any, error) {
					return wait(s, d)
				}}, nil)
				c := serveOver(t, h, 1<<20, nil).dial(t, nil)
				tt.busy(c)
				time.Sleep(10 * time.Minute)
				if n := h.Stats().Sockets; n != 1 {
					t.Fatalf("closed: %v", h.Stats().Closed)
				}
				close(release)
				synctest.Wait()
				c.raw(rawFrame(0x8a, ""))
				c.send(call(1, "Typed", "1"))
				for c.read() != replied(1, "1") {
				}
				// From now on it is counted again: the client's pongs are off.
				c.ws.SetPingHandler(func(string) error { return nil })
				c.wantClosed(4408, "")
			})
		})
	}
}

// A credential that ends closes; one that doesn't, doesn't.
func TestExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		start := time.Now()
		h, _ := newHandler(t, &kit{}, &wsctl.Options{PingInterval: -1, Authenticate: func(_ context.Context, r *http.Request, _ string) (wsctl.Identity, error) {
			d, err := time.ParseDuration(r.Header.Get("X-Expires"))
			if err != nil {
				return wsctl.Identity{}, nil
			}
			return wsctl.Identity{Expires: start.Add(d)}, nil
		}})
		srv := serve(t, h)
		forever := srv.dial(t, nil)
		minute := srv.dial(t, http.Header{"X-Expires": {"50s"}})
		if _, resp, err := srv.tryDial(t, http.Header{"X-Expires": {"-1s"}}); err == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("expired before: %v %v", resp, err)
		}
		minute.wantClosed(4401, "expired")
		if d := time.Since(start); d < 50*time.Second || d > 52*time.Second {
			t.Errorf("after %v", d)
		}
		time.Sleep(time.Hour)
		forever.lives()
		if n := h.Stats().Sockets; n != 1 {
			t.Errorf("%d sockets", n)
		}
	})
}

// Who doesn't answer our close frame is dropped after PingTimeout, whether it reads it or not.
func TestUnansweredClose(t *testing.T) {
	for name, tt := range map[string]struct {
		opts wsctl.Options
		wrap func(*mempipe.Conn) net.Conn
		want time.Duration
		full bool // nothing can be written
	}{
		"default":                {wsctl.Options{}, nil, 10 * time.Second, false},
		"2 s":                    {wsctl.Options{PingTimeout: 2 * time.Second}, nil, 2 * time.Second, false},
		"negative":               {wsctl.Options{PingTimeout: -1}, nil, 10 * time.Second, false},
		"no pings":               {wsctl.Options{PingInterval: -1}, nil, 10 * time.Second, false},
		"reads nothing":          {wsctl.Options{WriteTimeout: -1}, nil, 10 * time.Second, true},
		"reads nothing, waiting": {wsctl.Options{WriteTimeout: -1}, hideTryWrite, 10 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opened := make(chan *wsctl.Socket, 1)
				h, _ := newHandler(t, &kit{opened: socketsOf(opened)}, &tt.opts)
				c := serveOver(t, h, 1<<10, tt.wrap).dial(t, nil)
				s := <-opened
				if tt.full {
					s.Send("m", strings.Repeat("x", 100<<10))
				}
				s.Close(4000, "")
				// The client goes on talking, but doesn't answer the close.
				start := time.Now()
				for time.Since(start) < time.Minute {
					if _, err := c.nc.Write(rawFrame(0x89, "")); err != nil {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				if d := time.Since(start); d < tt.want || d > tt.want+1500*time.Millisecond {
					t.Errorf("dropped after %v, want %v", d, tt.want)
				}
				synctest.Wait()
				if st := h.Stats(); st.Closed[4000] != 1 || st.QueuedBytes != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}
