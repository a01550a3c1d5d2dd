package wsctl_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// stats waits until nothing happens any more, and fails unless the handler's are st.
func (l *lab) stats(t *testing.T, what string, want wsctl.Stats) {
	t.Helper()
	synctest.Wait()
	if want.Closed == nil {
		want.Closed = map[int]uint64{}
	}
	if got := l.h.Stats(); !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

// Each field moves when it should, and no other does.
func TestStats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan bool)
		l := newLab(t, &puppet{
			do: func(s *wsctl.Socket, arg string) (any, error) {
				switch arg {
				case "panic":
					panic(arg)
				case "burst":
					for range 3 {
						must(t, s.Hub().Room("r").Send("m", 1))
					}
				}
				return arg, nil
			},
			wait: func(ctx context.Context, _ *wsctl.Socket, _ string) (any, error) {
				select {
				case <-release:
				case <-ctx.Done():
				}
				return nil, nil
			},
		}, nil)
		var want wsctl.Stats
		l.stats(t, "new", want)

		a, b := l.peer(t, nil), l.peer(t, nil)
		want.Sockets, want.Opened = 2, 2
		l.stats(t, "two sockets", want)

		join(t, a.s, "r")
		join(t, b.s, "r")
		join(t, b.s, "q")
		want.Rooms = 2
		l.stats(t, "two rooms", want)

		must(t, a.s.Send("m", 1))
		must(t, l.hub.Room("r").Send("m", 1))
		must(t, l.hub.Room("r").Except(a.s).Send("m", 1))
		must(t, l.hub.Room("none").Send("m", 1))
		must(t, l.hub.Broadcast("m", 1))
		must(t, l.hub.Socket(b.s.ID()).Send("m", 1))
		want.Sent = 1 + 2 + 1 + 2 + 1
		l.stats(t, "messages out", want)
		a.s.Send("$m", 1)
		l.stats(t, "a message that wasn't sent", want)

		a.send(`{"type":"Do","id":1,"data":"x"}`, `{"type":"Do"}`, `{"type":"none"}`, `{"type":"$own"}`)
		want.Received += 4
		want.Sent++
		l.stats(t, "messages in", want)

		a.send(`{"type":"Do","data":"burst"}`)
		want.Received++
		want.Sent += 2 * 3
		l.stats(t, "a burst of messages to a room", want)

		a.send(`{"type":"Do","data":"panic"}`, `{"type":"Do","id":1,"data":"panic"}`)
		want.Received += 2
		want.Panics += 2
		want.Sent++
		l.stats(t, "panics", want)

		a.send(`x`, `{"type":1}`, `{"type":"Do","id":1,"data":}`, `{"type":"$cancel"}`)
		want.Received += 4
		want.BadMessages += 4
		want.Sent++
		l.stats(t, "bad messages", want)

		for i := range 5 {
			a.send(fmt.Sprintf(`{"type":"Wait","id":%d}`, i+1))
		}
		a.send(`{"type":"Wait"}`)
		want.Received += 6
		want.Calls = 5
		l.stats(t, "calls", want)
		a.send(`{"type":"Wait","id":3}`) // in use
		want.Received++
		want.BadMessages++
		l.stats(t, "an id in use", want)
		release <- true
		want.Calls--
		want.Sent++
		l.stats(t, "an answer", want)
		a.send(`{"type":"$cancel","id":4}`)
		want.Received++
		l.stats(t, "a cancel of a call that waits", want)
		a.send(`{"type":"$cancel","id":2}`, `{"type":"$cancel","id":3}`)
		want.Received += 2
		want.Calls = 1
		want.Sent += 3
		l.stats(t, "cancels", want)

		a.ws.Close() // with a call running, and a message waiting
		want.Sockets, want.Calls = 1, 0
		want.Closed = map[int]uint64{1006: 1}
		l.stats(t, "a loss", want)

		b.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
		want.Sockets, want.Rooms = 0, 0
		want.Closed[1000]++
		l.stats(t, "a close", want)
		for _, code := range []int{4000, 4000, 4001} {
			p := l.peer(t, nil)
			must(t, p.s.Close(code, ""))
			p.wantClosed(code, "")
			want.Opened++
			want.Closed[code]++
		}
		l.stats(t, "closes", want)

		got := l.h.Stats() // a snapshot is the caller's
		got.Closed[4000] = 77
		l.stats(t, "after a change of a snapshot", want)
		must(t, l.h.Shutdown(t.Context()))
		if _, _, err := l.tryDial(t, nil); err == nil {
			t.Error("a socket after Shutdown")
		}
		want.Refused++
		l.stats(t, "after Shutdown", want)
	})
}

// QueuedBytes is what clients haven't taken, and is zero again when they have, or have gone.
func TestStatsQueuedBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, &puppet{}, nil)
		l.Listener.Size = 1 << 10
		all := l.peers(t, 3, "r")
		queued := func(what string, least, most int) {
			t.Helper()
			synctest.Wait()
			if n := l.h.Stats().QueuedBytes; n < least || n > most {
				t.Errorf("%s: %d bytes are queued, want %d to %d", what, n, least, most)
			}
		}
		queued("at first", 0, 0)
		text := strings.Repeat("x", 10_000)
		for range 5 {
			must(t, l.hub.Room("r").Send("m", text))
		}
		must(t, all[0].s.Send("m", text))
		size := len(message("m", text)) + 4
		queued("nobody reads", 16*size-3<<10, 16*size)
		for range 5 {
			all[0].read()
			all[1].read()
		}
		all[0].read()
		queued("two have read", 5*size-1<<10, 5*size)
		all[2].nc.Close()
		queued("the third has gone", 0, 0)
		must(t, all[1].s.Send("m", text))
		must(t, all[1].s.Close(4000, ""))
		queued("one is being closed", size-1<<10, size+4)
		all[1].wantClosed(4000, "")
		all[1].nc.Close()
		queued("closed", 0, 0)
	})
}
