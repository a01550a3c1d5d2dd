package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// host is a server in memory, and the network before it. It lives in a synctest bubble, where a second takes no time.
type host struct {
	t        *testing.T
	ln       *mempipe.Listener
	sockets  *wsctl.Handler
	recorder *Recorder
	stop     func() // the recorder
	stopped  chan struct{}
}

// bubble runs a test with a server. Goroutines that the server leaves behind fail it: a bubble ends when all have.
func bubble(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, sockets, recorder := newServer()
		ctx, cancel := context.WithCancel(context.Background())
		h := &host{t, mempipe.Listen(), sockets, recorder, cancel, make(chan struct{})}
		go func() {
			defer close(h.stopped)
			recorder.Run(ctx, sockets)
		}()
		go srv.Serve(h.ln)
		defer func() {
			cancel()
			<-h.stopped
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := sockets.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			srv.Close()
		}()
		settle() // there is a first sample, of the second 0; the next ones are of 1, 2, 3
		test(t, h)
	})
}

// settle lets happen what is going on. It takes some milliseconds, for which a server lets messages gather.
func settle() {
	time.Sleep(5 * time.Millisecond)
	synctest.Wait()
}

// pass lets n seconds pass, and what happens in them happen.
func pass(n int) {
	time.Sleep(time.Duration(n) * time.Second)
	synctest.Wait()
}

// viewer is a page without a browser.
type viewer struct {
	*client.Client
	t *testing.T

	mu     sync.Mutex // guards following
	conn   net.Conn   // of now
	down   bool       // its network
	got    []Sample
	ended  bool
	err    error // why the stream ended
	gauges int
	pongs  []int
}

// viewer connects one, which is gone when the test ends.
func (h *host) viewer() *viewer {
	h.t.Helper()
	v := &viewer{t: h.t}
	v.Client = client.New("ws://dashboard/ws", &client.Options{
		Dialer: &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if v.down {
				return nil, errors.New("the network is down")
			}
			conn, err := h.ln.DialContext(ctx)
			v.conn = conn
			return conn, err
		}},
		MaxDelay: time.Second,
		Lost:     func(int) {},
		Logger:   slog.New(slog.DiscardHandler),
	})
	client.On(v.Client, "gauge", func(Gauge) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.gauges++
	})
	client.On(v.Client, "pong", func(n int) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.pongs = append(v.pongs, n)
	})
	client.On(v.Client, "server", func(Server) {})
	if err := v.Connect(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(v.Abort)
	return v
}

// follow streams on a goroutine of its own, until the stream ends or stop is called.
func (v *viewer) follow(since any) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	v.t.Cleanup(cancel)
	v.mu.Lock()
	v.ended, v.err = false, nil
	v.mu.Unlock()
	go func() {
		var end error
		for s, err := range client.Stream[Sample](ctx, v.Client, "metrics", since) {
			if end = err; err != nil {
				break
			}
			v.mu.Lock()
			v.got = append(v.got, s)
			v.mu.Unlock()
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.ended, v.err = true, end
	}()
	return cancel
}

// cut loses the connection. There is no other until up.
func (v *viewer) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = true
	v.conn.Close()
}

func (v *viewer) up() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = false
}

// want checks that what was got by now are the samples of those numbers, each once and in order, a second apart.
func (v *viewer) want(from, to int64) {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	next := from
	for i, s := range v.got {
		if s.N != next || i > 0 && s.At-v.got[i-1].At != 1000 {
			v.t.Errorf("after %d samples came %+v, want number %d", i, s, next)
			return
		}
		next++
	}
	if next != to+1 {
		v.t.Errorf("the last of %d samples is number %d, want %d", len(v.got), next-1, to)
	}
}

// failure is how the stream has ended.
func (v *viewer) failure() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var e *wsctl.Error
	switch {
	case !v.ended:
		return "it goes on"
	case errors.As(v.err, &e):
		return e.Code
	}
	return fmt.Sprint(v.err)
}

func TestHistoryThenLive(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		pass(9)
		a, b := h.viewer(), h.viewer()
		a.follow(nil)
		settle()
		a.want(1, 10)
		pass(1)
		a.want(1, 11)
		b.follow(Since{h.recorder.run, 5})
		pass(100)
		a.want(1, 111)
		b.want(6, 111)
		for _, s := range a.got {
			sockets := int64(0)
			if s.N > 10 {
				sockets = 2
			}
			if s.Run != h.recorder.run || s.Sockets != sockets || s.Goroutines < 3 || s.Memory < 100_000 || s.Messages < 0 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

// A page goes on where it was, however it lost its connection, without asking again.
func TestCutAndBack(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		v, other := h.viewer(), h.viewer()
		v.follow(nil)
		other.follow(nil)
		seconds := int64(1)
		for _, away := range []int{0, 1, 5, 20, 2, 0, 27} {
			pass(3)
			v.cut()
			pass(away)
			v.up()
			pass(2)
			seconds += int64(3 + away + 2)
			v.want(1, seconds)
		}
		other.want(1, seconds)
		if st := h.sockets.Stats(); st.Opened != 2 || st.Streams != 2 || st.Sockets != 2 {
			t.Errorf("%+v: two pages are two sockets with a stream each", st)
		}
	})
}

// A page that was away for longer than its session is kept asks again, and nothing is missing either.
func TestLostSession(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		v := h.viewer()
		v.follow(nil)
		pass(10)
		v.want(1, 11)
		v.cut()
		pass(100)
		if st := h.sockets.Stats(); st.Sockets != 0 || st.Streams != 0 {
			t.Errorf("after it has gone: %+v", st)
		}
		v.up()
		pass(10)
		if got := v.failure(); got != wsctl.CodeUnavailable {
			t.Fatalf("the stream: %s", got)
		}
		last := v.got[len(v.got)-1]
		v.follow(Since{last.Run, last.N})
		pass(5)
		v.want(1, 126)
	})
}

// Only so much is kept. Who comes late gets that; who knows more than that gets no more than he asked for.
func TestKept(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		pass(1000)
		for _, test := range []struct {
			since Since
			first int64
		}{
			{Since{}, 702},
			{Since{h.recorder.run, 0}, 702},
			{Since{h.recorder.run, 100}, 702},
			{Since{h.recorder.run, 701}, 702},
			{Since{h.recorder.run, 702}, 703},
			{Since{h.recorder.run, 1000}, 1001},
			{Since{h.recorder.run, 1001}, 1002},
			{Since{"another", 1 << 60}, 702},
		} {
			v := h.viewer()
			stop := v.follow(test.since)
			settle()
			v.want(test.first, 1001)
			stop()
			v.Abort()
		}
	})
}

// A page that takes nothing for ten minutes costs the others nothing, and sees by the numbers what it has missed.
func TestSlowPage(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		slow, quick := h.viewer(), h.viewer()
		quick.follow(nil)
		goOn := make(chan struct{})
		got := make(chan []int64)
		go func() {
			var ns []int64
			for s, err := range client.Stream[Sample](t.Context(), slow.Client, "metrics", nil) {
				if err != nil {
					t.Error(err)
					break
				}
				if ns = append(ns, s.N); s.N == 1 {
					<-goOn
				}
				if s.N == 601 {
					break
				}
			}
			got <- ns
		}()
		pass(600)
		quick.want(1, 601)
		close(goOn)
		ns := <-got
		hole := 0
		for i := 1; i < len(ns); i++ {
			switch step := ns[i] - ns[i-1]; {
			case step > 1 && ns[i] == 302: // the oldest that is kept
				hole++
			case step != 1:
				t.Fatalf("%d comes after %d", ns[i], ns[i-1])
			}
		}
		if hole != 1 || ns[len(ns)-1] != 601 {
			t.Errorf("%d holes in %v", hole, ns)
		}
	})
}

// A stream ends when its page has enough, or has gone, or the server stops.
func TestStreamEnds(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		enough, gone, stays := h.viewer(), h.viewer(), h.viewer()
		stop := enough.follow(nil)
		gone.follow(nil)
		stays.follow(nil)
		streams := func(want int) {
			t.Helper()
			settle()
			if st := h.sockets.Stats(); st.Streams != want {
				t.Errorf("%d streams, want %d", st.Streams, want)
			}
		}
		streams(3)
		stop()
		streams(2)
		if err := gone.Close(t.Context()); err != nil {
			t.Error(err)
		}
		streams(1)
		h.stop()
		<-h.stopped
		streams(0)
		if got := stays.failure(); got != wsctl.CodeUnavailable {
			t.Errorf("the stream: %s", got)
		}
		stays.follow(nil) // a page that asks at once gets what there is, and the same answer
		streams(0)
		if got := stays.failure(); got != wsctl.CodeUnavailable {
			t.Errorf("the next stream: %s", got)
		}
	})
}

// Of a gauge, a page that was away gets the newest value, not all that it has missed.
func TestGauges(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		v := h.viewer()
		pass(10)
		if v.gauges < 190 || v.gauges > 210 {
			t.Errorf("%d gauges in 10 seconds, want 5 of them 4 times a second", v.gauges)
		}
		v.cut()
		settle()
		told := v.gauges
		pass(20)
		v.up()
		v.Redial()
		settle()
		if v.State() != client.Open {
			t.Fatal(v.State())
		}
		if n := v.gauges - told; n < 5 || n > 30 {
			t.Errorf("%d gauges at the return after 20 seconds", n)
		}
	})
}

// All messages are counted once.
func TestMessagesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		v := h.viewer()
		for i := range 300 {
			if err := v.Send("ping", i+1); err != nil {
				t.Fatal(err)
			}
			if i%100 == 50 {
				v.cut()
				v.up()
			}
			time.Sleep(10 * time.Millisecond)
		}
		pass(5)
		if len(v.pongs) != 300 || !slices.IsSorted(v.pongs) || v.pongs[299] != 300 {
			t.Errorf("the answers: %v", v.pongs)
		}
		v.Abort()
		pass(60) // its session has ended: nobody sends or gets anything
		samples, _, _ := h.recorder.after(0)
		sum := int64(0)
		for _, s := range samples {
			sum += s.Messages
		}
		if st := h.sockets.Stats(); sum != int64(st.Received+st.Sent) || st.Received < 300 || st.Sent < 300 {
			t.Errorf("the samples have %d messages, of %d received and %d sent", sum, st.Received, st.Sent)
		}
	})
}
