package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
)

// tap is a controller that streams.
type tap struct {
	produced atomic.Int64
	over     atomic.Int64
	closed   atomic.Int64
	ctx      context.Context
	got      []string
}

// Count streams 1 to n, whoever listens.
func (tp *tap) Count(ctx context.Context, _ *wsctl.Socket, n int) iter.Seq2[int, error] {
	tp.ctx = ctx
	return func(yield func(int, error) bool) {
		defer tp.over.Add(1)
		for i := range n {
			tp.produced.Add(1)
			if !yield(i+1, nil) {
				return
			}
		}
	}
}

type pair struct {
	A int    `json:"a"`
	B string `json:"b"`
}

// Fail streams one pair, then fails as it is told.
func (tp *tap) Fail(_ *wsctl.Socket, how string) (iter.Seq2[pair, error], error) {
	if how == "early" {
		return nil, wsctl.Errorf("early", "no stream")
	}
	if how == "nil" {
		return nil, nil
	}
	return func(yield func(pair, error) bool) {
		yield(pair{1, "x"}, nil)
		switch how {
		case "error":
			yield(pair{}, wsctl.Errorf("mine", "sorry"))
			yield(pair{2, "after the end"}, nil)
		case "hidden":
			yield(pair{}, errors.New("secret"))
		case "panic":
			panic("secret")
		case "goexit":
			runtime.Goexit()
		case "close":
			yield(pair{}, &wsctl.CloseError{Code: 4001, Reason: "enough"})
		}
	}, nil
}

// Sum adds up what the client streams.
func (tp *tap) Sum(_ *wsctl.Socket, start int, in iter.Seq2[int, error]) (int, error) {
	for n, err := range in {
		if err != nil {
			return start, err
		}
		if start += n; n == 13 {
			break
		}
	}
	for _, err := range in {
		tp.got = append(tp.got, fmt.Sprint("again: ", err != nil))
	}
	return start, nil
}

// Hold never looks at its stream until it is told to.
func (tp *tap) Hold(ctx context.Context, _ *wsctl.Socket, in iter.Seq2[json.RawMessage, error]) error {
	<-ctx.Done()
	return nil
}

// Double answers each item with its double.
func (tp *tap) Double(_ *wsctl.Socket, in iter.Seq2[int, error]) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for n, err := range in {
			if !yield(2*n, err) {
				return
			}
		}
	}
}

// Now is a call beside the streams.
func (tp *tap) Now(*wsctl.Socket) string { return "now" }

func (tp *tap) OnClose(*wsctl.Socket, error) { tp.closed.Add(1) }

func tapLab(t *testing.T, opts *wsctl.Options) (*server, *wsctl.Handler, *tap, *logBuffer) {
	t.Helper()
	tp := &tap{}
	o := wsctl.Options{PingInterval: -1}
	if opts != nil {
		o = *opts
		o.PingInterval = -1
	}
	h, log := newHandler(t, tp, &o)
	return serve(t, h), h, tp, log
}

func item(id int, data any) string {
	return fmt.Sprintf(`{"type":"$item","id":%d,"data":%v}`, id, data)
}
func more(id, n int) string { return fmt.Sprintf(`{"type":"$more","id":%d,"data":%d}`, id, n) }

// wantItems reads items from to to.
func (c *client) wantItems(id, from, to int) {
	c.t.Helper()
	for i := from; i <= to; i++ {
		c.want(item(id, i))
	}
}

// A method's loop stands still until the client wants more, costs others nothing meanwhile, and goes on after a lost connection.
func TestStreamCredit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv, h, tp, _ := tapLab(t, nil)
		c, w := srv.enter(t)
		window := int(w.Window)
		c.send(call(1, "Count", "1000"), call(2, "Now", ""))
		next, answered := 1, false
		for next <= window || !answered { // beside the order
			switch m := c.read(); m {
			case item(1, next):
				next++
			case replied(2, `"now"`):
				answered = true
			default:
				t.Fatal(m)
			}
		}
		synctest.Wait()
		if n := tp.produced.Load(); n != int64(window)+1 {
			t.Errorf("%d items were produced for a credit of %d", n, window)
		}
		if st := h.Stats(); st.Streams != 1 || st.Calls != 1 {
			t.Errorf("%+v", st)
		}
		c.send(more(1, 3), more(1, 0), more(1, -5), `{"type":"$more","id":1}`, `{"type":"$more","id":1,"data":"x"}`, more(9, 1))
		c.wantItems(1, window+1, window+3)
		c.quiet()
		c.send(fmt.Sprintf(`{"type":"$ack","data":%d}`, window+4))
		c.send(more(1, 10))
		synctest.Wait()
		c.cut()
		c, w2 := srv.comeBack(t, w.Session, window+4, 2)
		if !w2.Resumed {
			t.Fatalf("%+v", w2)
		}
		c.wantItems(1, window+4, window+13)
		c.send(more(1, 1<<31-1), more(1, 1<<31-1)) // it saturates
		c.wantItems(1, window+14, 1000)
		c.want(call(1, "$reply", ""))
		synctest.Wait()
		if st := h.Stats(); st.Streams+st.Calls != 0 || tp.ctx.Err() == nil || tp.over.Load() != 1 {
			t.Errorf("%+v, context %v", st, tp.ctx.Err())
		}
		c.cut()
	})
}

// $cancel ends a stream whose method waits, or doesn't look at its context; so does the end of the session.
func TestStreamCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv, h, tp, _ := tapLab(t, nil)
		c, w := srv.enter(t)
		c.send(call(1, "Count", "1000000"))
		c.wantItems(1, 1, int(w.Window))
		c.send(call(1, "$cancel", ""))
		c.want(failed(1, "canceled", ""))
		synctest.Wait()
		if tp.over.Load() != 1 || h.Stats().Streams != 0 {
			t.Errorf("it goes on: %+v", h.Stats())
		}
		c.send(call(1, "Count", "1000000")) // the id is free
		c.wantItems(1, 1, int(w.Window))
		c.raw(closeFrame(1000, ""))
		synctest.Wait()
		if tp.over.Load() != 2 || h.Stats().Streams != 0 || tp.ctx.Err() == nil {
			t.Errorf("it goes on: %+v", h.Stats())
		}
		if n := tp.closed.Load(); n != 1 {
			t.Errorf("OnClose was told %d times", n)
		}
	})
}

// How a stream ends.
func TestStreamEnds(t *testing.T) {
	cases := []struct {
		how  string
		want []string
	}{
		{"", []string{item(1, `{"a":1,"b":"x"}`), call(1, "$reply", "")}},
		{"nil", []string{call(1, "$reply", "")}},
		{"early", []string{failed(1, "early", "no stream")}},
		{"error", []string{item(1, `{"a":1,"b":"x"}`), failed(1, "mine", "sorry")}},
		{"hidden", []string{item(1, `{"a":1,"b":"x"}`), failed(1, "internal", "")}},
		{"panic", []string{item(1, `{"a":1,"b":"x"}`), failed(1, "internal", "")}},
	}
	bubble(t, func(t *testing.T) {
		srv, h, _, log := tapLab(t, nil)
		c, _ := srv.enter(t)
		for _, tc := range cases {
			c.send(call(1, "Fail", fmt.Sprintf("%q", tc.how)))
			c.want(tc.want...)
		}
		if !strings.Contains(log.String(), "secret") || h.Stats().Panics != 1 {
			t.Errorf("%+v, log %s", h.Stats(), log)
		}
		c.send(call(1, "Fail", `"close"`))
		c.want(item(1, `{"a":1,"b":"x"}`))
		c.wantClosed(4001, "enough")
		c, _ = srv.enter(t)
		c.send(call(1, "Fail", `"goexit"`))
		c.wantClosed(1011, "")
		synctest.Wait()
		if st := h.Stats(); st.Streams+st.Sockets+st.Calls != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Streams that can't be: too many, of a plain client, without an id.
func TestStreamRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv, h, tp, log := tapLab(t, &wsctl.Options{MaxStreams: 2})
		plain := srv.dial(t, nil)
		plain.send(call(1, "Count", "5"), call(2, "Sum", "5"))
		for range 2 {
			if m := plain.read(); !strings.Contains(m, "bad_request") {
				t.Error(m)
			}
		}
		c, w := srv.enter(t)
		c.send(msg("Count", "5"))
		c.quiet()
		if !strings.Contains(log.String(), "needs an id") {
			t.Errorf("log: %s", log)
		}
		for id := 1; id <= 2; id++ {
			c.send(call(id, "Count", "1000"))
			c.wantItems(id, 1, int(w.Window))
		}
		c.send(call(3, "Count", "1000"))
		c.want(failed(3, "too_many", "at most 2 streams at once"))
		c.send(call(2, "Count", "1")) // in use
		c.quiet()
		c.send(call(2, "$cancel", ""))
		c.want(failed(2, "canceled", ""))
		synctest.Wait()
		c.send(call(3, "Count", "1"))
		c.want(item(3, 1), call(3, "$reply", ""))
		if st := h.Stats(); st.Streams != 1 || st.BadMessages != 1 {
			t.Errorf("%+v", st)
		}
		_ = tp
		c.raw(closeFrame(1000, ""))
		synctest.Wait()
	})
}

// A slow consumer's stream stands still when its queue is half full, whatever its credit, and costs nobody else anything.
func TestStreamSlowConsumer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tp := &tap{}
		h, _ := newHandler(t, tp, &wsctl.Options{PingInterval: -1, SendBuffer: 10_000, WriteTimeout: -1})
		srv := serveOver(t, h, 500, nil)
		slow, _ := srv.enter(t)
		slow.send(more(1, 1)) // for nobody
		slow.send(call(1, "Count", "100000"), more(1, 1<<30))
		synctest.Wait()
		time.Sleep(time.Minute)
		if n := tp.produced.Load(); n < 64 || n > 700 {
			t.Errorf("%d items were produced for a queue of 10,000 bytes", n)
		}
		other, _ := srv.enter(t)
		other.send(call(1, "Now", ""))
		other.want(replied(1, `"now"`))
		// A message still fits: half of the queue is for those that can't wait.
		must(t, h.Hub().Broadcast("m", big(3000)))
		for _, s := range []*client{other} {
			s.want(message("m", big(3000)))
		}
		slow.ws.SetReadDeadline(time.Time{})
		go func() { // it wakes
			for range 100_100 {
				if _, _, err := slow.ws.ReadMessage(); err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		if n := tp.produced.Load(); n != 100_000 {
			t.Errorf("%d items", n)
		}
		slow.nc.Close()
		other.nc.Close()
	})
}

// What a client streams reaches the method as it asks for it, and no faster.
func TestUpload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv, h, tp, _ := tapLab(t, nil)
		c, w := srv.enter(t)
		end := func(id int) string { return call(id, "$end", "") }
		c.send(call(1, "Sum", "100"))
		c.want(more(1, 32))
		for i := 1; i <= 10; i++ {
			c.send(item(1, i))
		}
		c.quiet()
		c.cut()
		c, w2 := srv.comeBack(t, w.Session, 1, 2)
		if !w2.Resumed || w2.Received != 11 {
			t.Errorf("%+v", w2)
		}
		for i := 11; i <= 12; i++ {
			c.send(item(1, i))
		}
		c.quiet()
		c.send(item(1, 100), item(1, 1), item(1, 1), item(1, 1))
		c.want(more(1, 16))
		c.send(end(1), end(1), item(1, 5))
		c.want(replied(1, fmt.Sprint(100+78+103)))

		// It ends early: what comes then is for nobody.
		c.send(call(1, "Sum", "0"))
		c.want(more(1, 32))
		c.send(item(1, 13), item(1, 14), end(1))
		c.want(replied(1, "13"))

		// The client's stream breaks, and an item doesn't decode.
		c.send(call(2, "Sum", "0"))
		c.want(more(2, 32))
		c.send(call(2, "$end", `{"code":"disk","message":"no more"}`))
		c.want(failed(2, "disk", "no more"))
		c.send(call(2, "Sum", "0"))
		c.want(more(2, 32))
		c.send(item(2, `"one"`))
		c.want(failed(2, "bad_request", "data: found string, want number"))

		// Both ways at once.
		c.send(call(3, "Double", ""))
		c.want(more(3, 32))
		c.send(item(3, 4))
		c.want(item(3, 8))
		c.send(item(3, 5), end(3))
		c.want(item(3, 10), call(3, "$reply", ""))

		c.send(item(77, 1), end(77), call(77, "$end", "5"), msg("$item", "1"))
		c.quiet()
		equal(t, "second range", tp.got, []string{"again: true", "again: true"})
		if st := h.Stats(); st.Streams+st.Calls != 0 || st.BadMessages != 0 {
			t.Errorf("%+v", st)
		}
		c.raw(closeFrame(1000, ""))
		synctest.Wait()
	})
}

// A client that sends more than it was granted gets too_many, and its method's context ends.
func TestUploadOverrun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		srv, h, _, _ := tapLab(t, nil)
		c, _ := srv.enter(t)
		c.send(call(1, "Hold", ""))
		c.quiet() // nothing was asked for
		c.send(item(1, 1))
		c.want(failed(1, "too_many", "more items than were asked for"))
		c.send(call(1, "Sum", "0"))
		c.want(more(1, 32))
		for range 60 { // more than it takes at once
			c.send(item(1, 0))
		}
		for m := ""; m != failed(1, "too_many", "more items than were asked for"); {
			if m = c.read(); !strings.Contains(m, "$more") && !strings.Contains(m, "$error") && !strings.Contains(m, "$ack") {
				t.Fatal(m)
			}
			if strings.Contains(m, "$more") { // it keeps up: then more and more
				for range 40 {
					c.send(item(1, 0))
				}
			}
		}
		synctest.Wait()
		if st := h.Stats(); st.Streams+st.Calls != 0 {
			t.Errorf("%+v", st)
		}
		c.raw(closeFrame(1000, ""))
		synctest.Wait()
	})
}

// A middleware goes round a stream, and returns when it has ended.
func TestStreamMiddleware(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log []string
		srv, _, _, _ := tapLab(t, &wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{func(next wsctl.MessageFunc) wsctl.MessageFunc {
			return func(ctx context.Context, s *wsctl.Socket, m wsctl.Message) (any, error) {
				log = append(log, "begin "+m.Type)
				v, err := next(ctx, s, m)
				log = append(log, fmt.Sprint("end ", m.Type, " ", v, " ", err))
				return v, err
			}
		}}})
		c, _ := srv.enter(t)
		c.send(call(1, "Count", "2"))
		c.want(item(1, 1), item(1, 2), call(1, "$reply", ""))
		equal(t, "log", log, []string{"begin Count", "end Count <nil> <nil>"})
		c.cut()
	})
}

// deserter leaves a goroutine behind in the midst of its client's items.
type deserter struct{ taken, ended chan bool }

func (d *deserter) Leave(_ *wsctl.Socket, in iter.Seq2[int, error]) {
	go func() {
		n := 0
		for range in {
			if n++; n == 16 { // the next one asks for more
				close(d.taken)
				<-d.ended
			}
		}
	}()
	<-d.taken
}

func (d *deserter) Now(*wsctl.Socket) string { return "now" }

// A call that has had its end asks its client for nothing, whoever still ranges over the items.
func TestNothingIsAskedAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &deserter{make(chan bool), make(chan bool)}
		h, _ := newHandler(t, d, &wsctl.Options{PingInterval: -1})
		c, _ := serve(t, h).enter(t)
		c.send(call(1, "Leave", ""))
		c.want(more(1, 32))
		for range 16 {
			c.send(item(1, 1))
		}
		c.want(`{"type":"$reply","id":1}`)
		close(d.ended)
		synctest.Wait()
		c.send(call(2, "Now", ""))
		c.want(replied(2, `"now"`))
	})
}
