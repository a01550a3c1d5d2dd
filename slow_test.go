package wsctl_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// socketsOf returns an OnOpen that hands out the sockets.
func socketsOf(ch chan *wsctl.Socket) func(*wsctl.Socket, *http.Request) error {
	return func(s *wsctl.Socket, _ *http.Request) error { ch <- s; return nil }
}

// A client that never reads is closed once its queue would pass SendBuffer; the others have everything, at once.
func TestSlowClient(t *testing.T) {
	const bound, pipe = 64 << 10, 4 << 10
	const room, everyone, direct = "room", "everyone", "direct"
	for _, way := range []string{room, everyone, direct} {
		for _, size := range []int{10, 1000, 3000, 20 << 10} {
			t.Run(fmt.Sprintf("%s/%d", way, size), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					opened := make(chan *wsctl.Socket, 2)
					h, _ := newHandler(t, &kit{opened: socketsOf(opened)}, &wsctl.Options{SendBuffer: bound})
					srv := serveOver(t, h, pipe, nil)
					slow, fast := srv.dial(t, nil), srv.dial(t, nil)
					s, f := <-opened, <-opened
					if err := errors.Join(s.Join("r"), f.Join("r")); err != nil {
						t.Fatal(err)
					}
					data := strings.Repeat("x", size)
					frame := len(msg("m", `"`+data+`"`)) + 10
					start, sent := time.Now(), 0
					for ; s.Context().Err() == nil; sent++ {
						if sent*frame > 2*bound {
							t.Fatal("the slow client is still open")
						}
						var err error
						switch way {
						case room:
							err = h.Hub().Room("r").Send("m", data)
						case everyone:
							err = h.Hub().Broadcast("m", data)
						case direct:
							if err = s.Send("m", data); err == wsctl.ErrSlow {
								if err = s.Send("m", data); err != wsctl.ErrClosed {
									t.Errorf("Send after ErrSlow: %v", err)
								}
							}
							err = f.Send("m", data)
						}
						if err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
						if n := h.Stats().QueuedBytes; n > bound+frame {
							t.Fatalf("%d bytes are queued, the bound is %d", n, bound)
						}
						if got := fast.read(); !strings.Contains(got, data) {
							t.Fatalf("the fast client got %.80q", got)
						}
					}
					if (sent+1)*frame < bound {
						t.Errorf("closed after %d bytes, the bound is %d", sent*frame, bound)
					}
					if d := time.Since(start); d != 0 {
						t.Errorf("the fast client was held up for %v", d)
					}
					if err := s.Send("m", nil); err != wsctl.ErrClosed || !errors.Is(err, net.ErrClosed) {
						t.Errorf("Send to the closed socket: %v", err)
					}
					if n := h.Hub().Room("r").Len(); n != 1 {
						t.Errorf("%d members", n)
					}
					fast.lives()

					// Whoever reads again sees whole messages, then why.
					messages, err := slow.gone()
					if code, _ := closeOf(err); code != wsctl.CloseSlow {
						t.Errorf("the slow client sees %v", err)
					}
					for _, m := range messages {
						if m != msg("m", `"`+data+`"`) {
							t.Fatalf("a torn message: %.80q", m)
						}
					}
					if len(messages) == 0 || len(messages) >= sent {
						t.Errorf("%d messages of %d", len(messages), sent)
					}
				})
			})
		}
	}
}

// A message enters an empty queue whatever its size. What only waits for the end of a burst, or is the answer to the
// handshake, doesn't make a client slow.
func TestLargerThanSendBuffer(t *testing.T) {
	const bound = 8 << 10
	big := strings.Repeat("x", 100<<10)
	bigMsg := msg("big", `"`+big+`"`)
	many := func(send func(string, any) error) error {
		for range 12 {
			if err := send("some", big[:1<<10]); err != nil {
				return err
			}
		}
		return nil
	}
	someMsg := msg("some", `"`+big[:1<<10]+`"`)
	tests := []struct {
		name string
		k    func(k *kit)
		want []string
	}{
		{"in OnOpen", func(k *kit) {
			k.opened = func(s *wsctl.Socket, _ *http.Request) error { return s.Send("big", big) }
		}, []string{bigMsg}},
		{"to a room in OnOpen", func(k *kit) {
			k.opened = func(s *wsctl.Socket, _ *http.Request) error { return s.Hub().Broadcast("big", big) }
		}, []string{bigMsg}},
		{"in a method", func(k *kit) {
			k.now = func(s *wsctl.Socket, _ json.RawMessage) (any, error) { return nil, s.Send("big", big) }
		}, []string{bigMsg}},
		{"behind a small one", func(k *kit) {
			k.now = func(s *wsctl.Socket, _ json.RawMessage) (any, error) {
				return nil, errors.Join(s.Send("small", nil), s.Send("big", big))
			}
		}, []string{msg("small", ""), bigMsg}},
		{"behind a small one to a room", func(k *kit) {
			k.now = func(s *wsctl.Socket, _ json.RawMessage) (any, error) {
				return nil, errors.Join(s.Send("small", nil), s.Hub().Broadcast("big", big))
			}
		}, []string{msg("small", ""), bigMsg}},
		{"a result", func(k *kit) {
			k.now = func(s *wsctl.Socket, _ json.RawMessage) (any, error) { return big, s.Send("small", nil) }
		}, []string{msg("small", "")}},
		{"many small ones", func(k *kit) {
			k.now = func(s *wsctl.Socket, _ json.RawMessage) (any, error) { return nil, many(s.Send) }
		}, []string{someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg}},
		{"many small ones to a room", func(k *kit) {
			k.now = func(s *wsctl.Socket, _ json.RawMessage) (any, error) { return nil, many(s.Hub().Broadcast) }
		}, []string{someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg, someMsg}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := &kit{now: func(*wsctl.Socket, json.RawMessage) (any, error) { return nil, nil }}
				tt.k(k)
				h, _ := newHandler(t, k, &wsctl.Options{SendBuffer: bound})
				c := serveOver(t, h, 1<<20, nil).dial(t, nil)
				synctest.Wait()
				c.send(call(1, "Now", ""))
				c.want(tt.want...)
				if got := c.read(); !strings.HasPrefix(got, `{"type":"$reply","id":1`) {
					t.Errorf("got %.80s", got)
				}
			})
		})
	}
}

// A socket that is too slow from the start still gets the answer to its handshake, before it is closed.
func TestSlowFromStart(t *testing.T) {
	for name, wrap := range map[string]func(*mempipe.Conn) net.Conn{"memory": nil, "no TryWrite": hideTryWrite} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, _ := newHandler(t, &kit{opened: func(s *wsctl.Socket, _ *http.Request) error {
					for s.Send("m", strings.Repeat("x", 1<<10)) == nil {
					}
					return nil
				}}, &wsctl.Options{SendBuffer: 8 << 10})
				c := serveOver(t, h, 1<<10, wrap).dial(t, nil)
				c.wantClosed(4510, "")
			})
		})
	}
}

// A burst to a room is bounded as all else is: only the first message may be over the bound.
func TestSlowMemberOfBurst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const bound, pipe = 16 << 10, 1 << 10
		opened := make(chan *wsctl.Socket, 2)
		h, _ := newHandler(t, &kit{opened: func(s *wsctl.Socket, _ *http.Request) error {
			if len(opened) == 0 {
				defer s.Join("r")
			}
			opened <- s
			return nil
		}, now: func(s *wsctl.Socket, _ json.RawMessage) (any, error) {
			for range 100 {
				if err := s.Hub().Room("r").Send("m", strings.Repeat("x", 1<<10)); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}}, &wsctl.Options{SendBuffer: bound})
		srv := serveOver(t, h, pipe, nil)
		slow, c := srv.dial(t, nil), srv.dial(t, nil)
		s := <-opened
		c.send(call(1, "Now", ""))
		c.want(replied(1, ""))
		synctest.Wait()
		if n := h.Stats().QueuedBytes; n > bound+2<<10 {
			t.Errorf("%d bytes are queued, the bound is %d", n, bound)
		}
		if s.Context().Err() == nil {
			t.Error("the slow client is still open")
		}
		slow.ws.Close()
	})
}

// No progress in writing ends a socket, slow progress doesn't. Pings are off, so that nothing else does.
func TestWriteTimeout(t *testing.T) {
	tests := []struct {
		name  string
		every time.Duration // the client reads 2 KiB
		opts  wsctl.Options
		wrap  func(*mempipe.Conn) net.Conn
		after time.Duration // it is closed; 0: never
	}{
		{"never reads", 0, wsctl.Options{}, nil, 10 * time.Second},
		{"never reads, 3 s", 0, wsctl.Options{WriteTimeout: 3 * time.Second}, nil, 3 * time.Second},
		{"never reads, no TryWrite", 0, wsctl.Options{}, hideTryWrite, 10 * time.Second},
		{"no limit", 0, wsctl.Options{WriteTimeout: -1}, nil, 0},
		{"slow progress", 4 * time.Second, wsctl.Options{}, nil, 0},
		{"slow progress, no TryWrite", 4 * time.Second, wsctl.Options{}, hideTryWrite, 0},
		{"too slow progress", 15 * time.Second, wsctl.Options{}, nil, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opened := make(chan *wsctl.Socket, 2)
				tt.opts.PingInterval = -1
				h, _ := newHandler(t, &kit{opened: socketsOf(opened)}, &tt.opts)
				c := serveOver(t, h, 1<<10, tt.wrap).dial(t, nil)
				s := <-opened
				start := time.Now()
				if err := s.Send("m", strings.Repeat("x", 300<<10)); err != nil {
					t.Fatal(err)
				}
				stop := make(chan bool)
				if tt.every > 0 {
					go func() {
						b := make([]byte, 2<<10)
						for tick := time.Tick(tt.every); ; {
							select {
							case <-tick:
								io.ReadFull(c.nc, b)
							case <-stop:
								return
							}
						}
					}()
				}
				time.AfterFunc(5*time.Minute, func() { close(stop) })
				select {
				case <-s.Context().Done():
					d := time.Since(start)
					if tt.after == 0 || d < tt.after || d > tt.after+2*time.Second {
						t.Errorf("closed after %v, want %v", d, tt.after)
					}
					if n := h.Stats().Closed[4408]; n != 1 {
						t.Errorf("closed %v", h.Stats().Closed)
					}
				case <-stop:
					if tt.after > 0 {
						t.Error("still open")
					}
					return
				}
				<-stop
			})
		})
	}
}

func hideTryWrite(nc *mempipe.Conn) net.Conn { return struct{ net.Conn }{nc} }

// Pings are answered with what they carry; a flood of them from a client that never reads is no way into the memory.
func TestPings(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{}, nil)
		c := serve(t, h).dial(t, nil)
		var pongs []string
		c.ws.SetPongHandler(func(p string) error { pongs = append(pongs, p); return nil })
		long := strings.Repeat("p", 125)
		c.raw(rawFrame(0x89, ""), rawFrame(0x89, "hello"), rawFrame(0x01, `{"type":"Ec`), rawFrame(0x89, long),
			rawFrame(0x80, `ho","id":1}`))
		c.want(replied(1, "null"))
		if len(pongs) != 3 || pongs[0] != "" || pongs[1] != "hello" || pongs[2] != long {
			t.Errorf("pongs %q", pongs)
		}
	})
	bubble(t, func(t *testing.T) {
		const bound = 16 << 10
		h, _ := newHandler(t, &kit{}, &wsctl.Options{SendBuffer: bound})
		c := serveOver(t, h, 4<<10, nil).dial(t, nil)
		ping := rawFrame(0x89, strings.Repeat("p", 125))
		start := time.Now()
		for range 2000 {
			c.raw(ping)
			if n := h.Stats().QueuedBytes; n > bound+200 {
				t.Fatalf("%d bytes are queued", n)
			}
		}
		time.Sleep(30 * time.Second)
		if st := h.Stats(); st.Sockets != 0 || st.Closed[4408] != 1 {
			t.Errorf("%v after %v", st.Closed, time.Since(start))
		}
	})
}
