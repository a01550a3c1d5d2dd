package wsctl_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// A member that doesn't read is closed when its queue is full; the others get everything, at once.
func TestSlowMember(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan error, 10)
		l := newLab(t, &puppet{close: func(_ *wsctl.Socket, err error) { ended <- err }}, &wsctl.Options{SendBuffer: 8 << 10})
		l.Listener.Size = 2 << 10
		all := l.peers(t, 4, "r")
		slow, others := all[0], all[1:]
		synctest.Wait() // the handshakes are written, and known to be
		text := strings.Repeat("x", 1000)
		start := time.Now()
		var want []string
		for i := range 40 {
			m := fmt.Sprint(i, text)
			must(t, l.hub.Room("r").Send("m", m))
			want = append(want, message("m", m))
			for _, p := range others {
				p.want(message("m", m))
			}
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("the others waited %v", d)
		}
		if err := <-ended; err.(*wsctl.CloseError).Code != wsctl.CloseSlow {
			t.Errorf("the slow one ended with %v", err)
		}
		if n := l.hub.Room("r").Len(); n != 3 {
			t.Errorf("%d members are left", n)
		}
		if err := slow.s.Send("m", 1); err != wsctl.ErrClosed {
			t.Errorf("Send to the slow one: %v", err)
		}
		if n := l.h.Stats().Closed[wsctl.CloseSlow]; n != 1 {
			t.Errorf("Stats.Closed: %d slow ones", n)
		}
		// What it did get is whole and in order, then comes the close frame.
		n := 0
		for ; ; n++ {
			slow.ws.SetReadDeadline(time.Now().Add(patience))
			_, b, err := slow.ws.ReadMessage()
			if err != nil {
				if !strings.Contains(err.Error(), "4510") {
					t.Errorf("after %d messages: %v", n, err)
				}
				break
			}
			if string(b) != want[n] {
				t.Fatalf("message %d: %.40s", n, b)
			}
		}
		if n == 0 || n > 12 {
			t.Errorf("the slow one got %d messages, more than its pipe and a write hold", n)
		}
	})
}

// Send tells the caller who is slow, once.
func TestErrSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{SendBuffer: 4 << 10})
		l.Listener.Size = 1 << 10
		p := l.peer(t, nil)
		synctest.Wait() // the handshake is written, and known to be
		text := strings.Repeat("x", 1000)
		var got []error
		for range 20 {
			if err := p.s.Send("m", text); err != nil {
				got = append(got, err)
			}
		}
		if len(got) < 2 || got[0] != wsctl.ErrSlow || got[1] != wsctl.ErrClosed {
			t.Errorf("errors: %v", got)
		}
		if n := 20 - len(got); n < 4 || n > 6 {
			t.Errorf("%d messages were queued", n)
		}
		p.wantClosed(wsctl.CloseSlow, "")
	})
}

// A client that is too slow for what OnOpen sends is still told so by a WebSocket, not by half a handshake.
func TestSlowInOnOpen(t *testing.T) {
	for name, end := range map[string]func(s *wsctl.Socket) error{
		"queue full": func(s *wsctl.Socket) error {
			for s.Send("m", strings.Repeat("x", 1000)) == nil {
			}
			return nil
		},
		"refused as slow": func(*wsctl.Socket) error { return &wsctl.CloseError{Code: wsctl.CloseSlow, Reason: "too slow"} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, &puppet{open: func(s *wsctl.Socket, _ *http.Request) error { return end(s) }}, &wsctl.Options{SendBuffer: 4 << 10})
				l.Listener.Size = 1 << 10
				l.dial(t, nil).wantClosed(wsctl.CloseSlow, "too slow")
			})
		})
	}
}

// One message may be larger than the whole queue, if it is the only one.
func TestLargeMessageIntoEmptyQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, &wsctl.Options{SendBuffer: 1 << 10})
		l.Listener.Size = 1 << 10
		p := l.peer(t, nil)
		synctest.Wait() // the handshake is written, and known to be
		join(t, p.s, "r")
		big := strings.Repeat("x", 100_000)
		must(t, p.s.Send("m", big))
		p.want(message("m", big))
		synctest.Wait()
		must(t, l.hub.Room("r").Send("m", big))
		p.want(message("m", big))
		p.quiet()
	})
}

// What a method sends gathers for a moment. That must not make a client slow that would have taken it all.
func TestCorkIsNoSlowness(t *testing.T) {
	text := strings.Repeat("x", 100)
	sends := map[string]func(l *lab, s *wsctl.Socket, i int) error{
		"socket": func(_ *lab, s *wsctl.Socket, i int) error { return s.Send("m", fmt.Sprint(i, text)) },
		"room":   func(l *lab, _ *wsctl.Socket, i int) error { return l.hub.Room("a").Send("m", fmt.Sprint(i, text)) },
		"two rooms": func(l *lab, _ *wsctl.Socket, i int) error {
			return l.hub.Room("ab"[i%2:][:1]).Send("m", fmt.Sprint(i, text))
		},
		"both": func(l *lab, s *wsctl.Socket, i int) error {
			if i%2 == 0 {
				return s.Send("m", fmt.Sprint(i, text))
			}
			return l.hub.Room("a").Send("m", fmt.Sprint(i, text))
		},
		"then a large one": func(_ *lab, s *wsctl.Socket, i int) error {
			if i == 1 {
				return s.Send("m", fmt.Sprint(i, strings.Repeat(text, 50)))
			}
			return s.Send("m", fmt.Sprint(i, text))
		},
	}
	for name, send := range sends {
		for _, where := range []string{"method", "OnOpen"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var l *lab
					sendAll := func(s *wsctl.Socket) error {
						join(t, s, "a")
						join(t, s, "b")
						for i := range 40 { // 4 KB for a queue of 2 KiB, but a network of 64 KiB
							if err := send(l, s, i); err != nil {
								t.Errorf("message %d: %v", i, err)
								return nil
							}
						}
						return nil
					}
					p := &puppet{do: func(s *wsctl.Socket, _ string) (any, error) { return nil, sendAll(s) }}
					if where == "OnOpen" {
						p.open = func(s *wsctl.Socket, _ *http.Request) error { return sendAll(s) }
					}
					l = newLab(t, p, &wsctl.Options{SendBuffer: 2 << 10})
					c := l.dial(t, nil)
					if where == "method" {
						c.send(`{"type":"Do"}`)
					}
					for i := range 40 {
						if m := c.read(); !strings.HasPrefix(m, fmt.Sprintf(`{"type":"m","data":"%dx`, i)) {
							t.Fatalf("message %d: %.40s", i, m)
						}
					}
				})
			})
		}
	}
}

// Several goroutines that send to one socket near its limit get no other errors than those that Send promises, and what they
// were told was sent arrives.
func TestSendAtTheLimit(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			const senders, each = 3, 200
			var sent atomic.Int64
			text := strings.Repeat("x", 600)
			l := newLab(t, &puppet{do: func(s *wsctl.Socket, _ string) (any, error) {
				var wg sync.WaitGroup
				for range senders {
					wg.Go(func() {
						for range each {
							switch err := s.Send("m", text); err {
							case nil:
								sent.Add(1)
							case wsctl.ErrSlow, wsctl.ErrClosed:
								return
							default:
								t.Errorf("Send: %v", err)
								return
							}
						}
					})
				}
				wg.Wait()
				return nil, nil
			}}, &wsctl.Options{SendBuffer: 1000})
			l.Listener.Size = 1 << 20
			p := l.peer(t, nil)
			p.send(`{"type":"Do","id":1}`)
			n := int64(0)
			for {
				_, b, err := p.ws.ReadMessage()
				if websocket.IsCloseError(err, wsctl.CloseSlow) {
					return // what was queued is dropped then
				}
				must(t, err)
				if b[9] == '$' {
					break
				}
				n++
			}
			if n != sent.Load() {
				t.Errorf("%d messages arrived, %d were sent", n, sent.Load())
			}
		})
	}
}

// What was sent to a room before Close arrives before the close frame, or the client learns that it was too slow for it. A
// normal close after a loss would tell it that it has everything.
func TestCloseBehindFullQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const messages = 10
		var l *lab
		l = newLab(t, &puppet{do: func(s *wsctl.Socket, _ string) (any, error) {
			for range messages { // to be fanned out when the method returns
				must(t, l.hub.Room("r").Send("m", strings.Repeat("x", 1000)))
			}
			return nil, s.Close(1000, "that's all")
		}}, &wsctl.Options{SendBuffer: 4 << 10})
		l.Listener.Size = 1 << 10
		p := l.peer(t, nil)
		join(t, p.s, "r")
		p.send(`{"type":"Do"}`)
		synctest.Wait()
		n := 0
		for {
			_, _, err := p.ws.ReadMessage()
			if err == nil {
				n++
				continue
			}
			if websocket.IsCloseError(err, 1000) && n < messages {
				t.Errorf("closed as if all were well, after %d of %d messages", n, messages)
			} else if !websocket.IsCloseError(err, 1000, wsctl.CloseSlow) {
				t.Error(err)
			}
			break
		}
	})
}

// encodings counts how often it is encoded.
type encodings struct{ n *atomic.Int64 }

func (c encodings) MarshalJSON() ([]byte, error) { c.n.Add(1); return []byte(`"x"`), nil }

// A message is encoded once, however many get it; and once for nobody, since whether it can be encoded must not depend on
// who listens.
func TestEncodedOnce(t *testing.T) {
	for _, compression := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			l := newLab(t, &puppet{}, &wsctl.Options{Compression: compression})
			all := l.peers(t, 30, "r")
			var n atomic.Int64
			for name, send := range map[string]func(string, any) error{
				"room": l.hub.Room("r").Send, "everyone": l.hub.Everyone().Send, "broadcast": l.hub.Broadcast,
				"except": l.hub.Room("r").Except().Send, "nobody": l.hub.Room("q").Send, "socket": l.hub.Socket(all[0].s.ID()).Send,
				"no such socket": l.hub.Socket("x").Send, "direct": all[0].s.Send,
			} {
				n.Store(0)
				must(t, send("m", encodings{&n}))
				synctest.Wait()
				if n.Load() != 1 {
					t.Errorf("%s: encoded %d times", name, n.Load())
				}
			}
			for _, p := range all[1:] {
				for range 4 {
					p.want(message("m", "x"))
				}
			}
		})
	}
}

// A broadcast's allocations don't grow with its receivers.
func TestBroadcastAllocs(t *testing.T) {
	allocs := func(n int) float64 {
		h := wsctl.New(&benchEcho{}, nil)
		received, wait := audience(t, "mempipe", h, n)
		const frame = 2 + len(`{"type":"m","data":"hello, all of you"}`)
		total := received.Load()
		return testing.AllocsPerRun(100, func() {
			must(t, h.Hub().Broadcast("m", "hello, all of you"))
			total += int64(frame * n)
			wait(total)
		})
	}
	few, many := allocs(10), allocs(200)
	t.Logf("%.1f allocations with 10 receivers, %.1f with 200", few, many)
	if many > few+10 { // a read that waits may cost one; the test counts the whole program's
		t.Errorf("%.1f allocations with 10 receivers, %.1f with 200", few, many)
	}
}

// The messages of a method that goes on for long, and of one that waits, don't wait with it.
func TestLongMethodsDontHoldMessages(t *testing.T) {
	for _, method := range []string{"Do", "Wait"} {
		bubble(t, func(t *testing.T) {
			var l *lab
			run := func(s *wsctl.Socket) {
				must(t, s.Send("m", 1))
				must(t, l.hub.Room("r").Send("m", 2))
				time.Sleep(patience / 2) // in a bubble: nothing else is left to happen
			}
			l = newLab(t, &puppet{
				do:   func(s *wsctl.Socket, _ string) (any, error) { run(s); return nil, nil },
				wait: func(_ context.Context, s *wsctl.Socket, _ string) (any, error) { run(s); return nil, nil },
			}, &wsctl.Options{PingInterval: -1})
			all := l.peers(t, 2, "r")
			start := time.Now()
			all[0].send(`{"type":"` + method + `","id":1}`)
			all[0].want(message("m", 1), message("m", 2))
			all[1].want(message("m", 2))
			must(t, l.hub.Broadcast("m", 3)) // neither do those of others
			all[0].want(message("m", 3))
			all[1].want(message("m", 3))
			if d := time.Since(start); d > 20*time.Millisecond {
				t.Errorf("%s: the messages came after %v", method, d)
			}
			all[0].want(replied(1, ""))
		})
	}
}

// Who publishes faster than the fan-out gets along waits for it: what is pending has a bound. A burst would put it off.
func TestPendingIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		text := strings.Repeat("x", 64<<10)
		most := 0
		var l *lab
		l = newLab(t, &puppet{do: func(*wsctl.Socket, string) (any, error) {
			for range 200 {
				must(t, l.hub.Room("r").Send("m", text))
				most = max(most, l.hub.PendingBytes())
			}
			return nil, nil
		}}, &wsctl.Options{SendBuffer: 1 << 30})
		p, publisher := l.peer(t, nil), l.peer(t, nil)
		join(t, p.s, "r")
		publisher.send(`{"type":"Do","id":1}`)
		for range 200 {
			p.want(message("m", text))
		}
		publisher.want(replied(1, ""))
		if limit := 5 << 20; most > limit {
			t.Errorf("%d bytes were pending", most)
		}
	})
}
