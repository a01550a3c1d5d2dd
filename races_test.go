package wsctl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// A client that closes with 4001 gets its close frame answered, and the connection closed; the session parks.
func TestPeerCloseThatParks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, nil)
		c, _ := l.enter(t)
		synctest.Wait()
		c.raw(closeFrame(4001, ""))
		c.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, _, err := c.ws.ReadMessage()
		if code, _ := closeOf(err); code != 4001 {
			t.Errorf("the close frame was answered by %v", err)
		}
		synctest.Wait()
		if st := l.h.Stats(); st.Detached != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// What the new connection sent is acknowledged, though the old one's reader is still at work.
func TestAckAfterTakeover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		enter, leave := make(chan bool), make(chan bool)
		p := &puppet{do: func(_ *wsctl.Socket, arg string) (any, error) {
			if arg == "slow" {
				enter <- true
				<-leave
			}
			return nil, nil
		}}
		l := v1Lab(t, p, &wsctl.Options{PingInterval: -1})
		c, w := l.enter(t)
		for range 31 {
			c.send(msg("Do", `"x"`))
		}
		c.send(msg("Do", `"slow"`))
		<-enter
		c2, w2 := l.comeBack(t, w.Session, 0, 2)
		if !w2.Resumed || w2.Received != 32 {
			t.Fatalf("%+v", w2)
		}
		c2.send(msg("Do", `"y"`))
		synctest.Wait()
		leave <- true
		c2.want(`{"type":"$ack","data":33}`)
	})
}

type bomb struct{}

func (bomb) MarshalJSON() ([]byte, error) { panic("bomb") }

// A marshaler that panics in Call doesn't change how the socket is read from then on.
func TestCallPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leave := make(chan bool)
		p := &puppet{}
		p.do = func(s *wsctl.Socket, arg string) (any, error) { return nil, s.Call(t.Context(), "Ask", bomb{}, nil) }
		p.wait = func(context.Context, *wsctl.Socket, string) (any, error) { <-leave; return nil, nil }
		l := v1Lab(t, p, &wsctl.Options{MaxMessage: 1000, SendBuffer: 70_000})
		c, _ := l.enter(t)
		c.send(call(1, "Do", `"x"`))
		c.read()
		c.send(call(2, "Wait", `"x"`))
		go func() {
			for range 200 {
				if c.ws.WriteMessage(1, []byte(msg("Wait", `"`+big(900)+`"`))) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if st := l.h.Stats(); st.Sockets != 1 {
			t.Errorf("closed: %+v", st)
		}
		close(leave)
	})
}

// The answer to a call is read, though a method that takes no context waits for what the caller holds.
func TestCallBeforeMethod(t *testing.T) {
	bubble(t, func(t *testing.T) {
		done := make(chan bool)
		p := &puppet{do: func(*wsctl.Socket, string) (any, error) { <-done; return "ok", nil }}
		l := v1Lab(t, p, nil)
		c, _ := l.enter(t)
		s := <-p.sockets
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var err error
		go func() { err = s.Call(ctx, "Ask", nil, nil); close(done) }()
		c.want(`{"type":"Ask","id":1}`)
		c.send(call(1, "Do", `"x"`))
		synctest.Wait()
		c.send(replied(1, ""))
		if b := c.read(); !strings.Contains(b, "ok") && !strings.Contains(c.read(), "ok") {
			t.Error(b)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

type sink struct {
	hold chan bool
	seen []string
}

func (k *sink) Block(ctx context.Context, _ *wsctl.Socket) { <-k.hold }
func (k *sink) Put(_ *wsctl.Socket, in iter.Seq2[json.RawMessage, error]) (int, error) {
	for v, err := range in {
		if err != nil {
			k.seen = append(k.seen, "error "+err.Error())
			return 0, err
		}
		k.seen = append(k.seen, string(v))
	}
	k.seen = append(k.seen, "committed")
	return 0, nil
}

// A method whose client exceeds its credit is not told that the stream is complete.
func TestOverrunIsNoEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := &sink{hold: make(chan bool)}
		h, _ := newHandler(t, k, nil)
		sv := serve(t, h)
		c, _ := sv.enter(t)
		c.send(msg("Block", ""), call(1, "Put", ""), item(1, 1))
		synctest.Wait()
		k.hold <- true
		c.want(failed(1, "too_many", "more items than were asked for"))
		if strings.Contains(fmt.Sprint(k.seen), "committed") {
			t.Errorf("the method saw %q", k.seen)
		}
	})
}

// What OnOpen sends before it closes the socket arrives, at both levels.
func TestOpenCloses(t *testing.T) {
	for _, v1 := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			p := &puppet{open: func(s *wsctl.Socket, _ *http.Request) error {
				must(t, s.Send("why", 1))
				return s.Close(4000, "bye")
			}}
			l := v1Lab(t, p, nil)
			var c *client
			if v1 {
				c = l.knock(t)
				c.send(helloOf("", 0, 1))
				c.welcomed()
			} else {
				c = l.dial(t, nil)
			}
			messages, err := c.gone()
			if fmt.Sprint(messages) != "["+message("why", 1)+"]" {
				t.Errorf("v1 %v: got %v, %v", v1, messages, err)
			}
		})
	}
}

// A method that was taken before Shutdown gets the answer that it waits for.
func TestShutdownCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{}
		p.wait = func(ctx context.Context, s *wsctl.Socket, _ string) (any, error) {
			return nil, s.Call(ctx, "Ask", nil, nil)
		}
		l := v1Lab(t, p, nil)
		c, _ := l.enter(t)
		c.send(call(1, "Wait", `"x"`))
		c.want(`{"type":"Ask","id":1}`)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		go func() { c.read(); c.send(replied(1, "")); c.gone() }()
		if err := l.h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// The same of a stream that waits for credit.
func TestShutdownStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sv, h, _, _ := tapLab(t, nil)
		c, _ := sv.enter(t)
		c.send(call(1, "Count", "70"))
		c.wantItems(1, 1, 64)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		go func() { c.read(); c.send(more(1, 64)); c.gone() }()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// Shutdown waits for a connection of wsctl.v1 that is being upgraded, and ends it soon.
func TestShutdownUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{}
		p.sockets = make(chan *wsctl.Socket, 10)
		h, _ := newHandler(t, p, nil)
		var returned, early atomic.Bool
		sv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(hijackHook{w, func() {
				go func() { h.Shutdown(context.Background()); returned.Store(true) }()
				synctest.Wait()
				early.Store(early.Load() || returned.Load())
			}}, r)
		}))
		start := time.Now()
		c := sv.knock(t)
		c.ws.SetReadDeadline(time.Now().Add(time.Minute))
		_, _, err := c.ws.ReadMessage()
		took := time.Since(start)
		synctest.Wait()
		if took > time.Second {
			t.Errorf("closed after %v: %v", took, err)
		}
		if early.Load() {
			t.Errorf("Shutdown returned before the connection was gone")
		}
	})
}

type hijackHook struct {
	http.ResponseWriter
	fn func()
}

func (w hijackHook) Unwrap() http.ResponseWriter { w.fn(); return w.ResponseWriter }

// An Authenticate that ends the goroutine leaves no call behind.
func TestAuthGoexit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := v1Lab(t, &puppet{}, &wsctl.Options{Authenticate: func(_ context.Context, r *http.Request, token string) (wsctl.Identity, error) {
			if token == "exit" {
				runtime.Goexit()
			}
			return wsctl.Identity{}, nil
		}})
		c, _ := l.enter(t)
		c.send(call(1, "$auth", `{"token":"exit"}`))
		c.gone()
		synctest.Wait()
		if st := l.h.Stats(); st.Calls != 0 {
			t.Errorf("%d calls", st.Calls)
		}
	})
}

// A client that reads late has all its messages acknowledged at last.
func TestAckReaderLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{do: func(s *wsctl.Socket, _ string) (any, error) { return nil, nil }}
		p.sockets = make(chan *wsctl.Socket, 10)
		h, _ := newHandler(t, p, &wsctl.Options{PingInterval: -1})
		sv := serveOver(t, h, 2000, nil)
		c, _ := sv.enter(t)
		synctest.Wait()
		for range 8000 {
			c.send(msg("Do", `"x"`))
		}
		time.Sleep(3 * time.Second)
		last := ""
		c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
		for {
			_, b, err := c.ws.ReadMessage()
			if err != nil {
				break
			}
			if strings.Contains(string(b), "$ack") {
				last = string(b)
			}
		}
		if last != `{"type":"$ack","data":8000}` {
			t.Errorf("the last is %s", last)
		}
	})
}

// For the race detector: Call beside methods.
func TestBurstRace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		waiting := make(chan struct{}, 1000) // more could be more than the server lets wait while a call does
		p := &puppet{do: func(s *wsctl.Socket, _ string) (any, error) { <-waiting; return nil, nil }}
		l := v1Lab(t, p, nil)
		c, _ := l.enter(t)
		s := <-p.sockets
		stop := make(chan bool)
		go func() {
			defer close(stop)
			for range 3000 {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				s.Call(ctx, "Ask", nil, nil)
			}
		}()
		go func() {
			for {
				if _, _, err := c.ws.ReadMessage(); err != nil {
					return
				}
			}
		}()
		for done := false; !done; {
			select {
			case <-stop:
				done = true
			case waiting <- struct{}{}:
				c.send(msg("Do", `"x"`))
			}
		}
		c.cut()
	})
}

// For the race detector: the sweeper acknowledges while the reader works.
func TestSweepRace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &puppet{do: func(s *wsctl.Socket, _ string) (any, error) { return nil, nil }}
		l := v1Lab(t, p, &wsctl.Options{PingInterval: 20 * time.Millisecond, PingTimeout: time.Hour})
		var cs []*client
		for range 50 {
			c, _ := l.enter(t)
			cs = append(cs, c)
			go func() {
				for {
					if _, _, err := c.ws.ReadMessage(); err != nil {
						return
					}
				}
			}()
		}
		for range 200 {
			time.Sleep(time.Millisecond)
			for _, c := range cs {
				c.send(msg("Do", `"x"`))
			}
		}
		for _, c := range cs {
			c.cut()
		}
	})
}
