package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
)

// restart is what goes on when a server goes away, and with it the session: what the server knew of it is lost.
type restart struct {
	*site
	*page
	t       *testing.T
	sending sync.WaitGroup
	asked   error // how the server's question ended
}

// beforeRestart is how many messages the page sends before it is told that the server is away, or some more: the others are for
// later, however slow this machine is, and so is the end of the stream.
const beforeRestart = messages * 6 / 10

// openRestart is in the midst of 200 messages each way, with calls and a question under way.
func openRestart(t *testing.T, begin string) *restart {
	s, p := openTraffic(t, 0, begin)
	r := &restart{site: s, page: p, t: t}
	half := messages / 2
	p.js(fmt.Sprintf(`sendUpTo(%d)`, half))
	socket := s.socket()
	r.sending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		r.asked = socket.Call(ctx, "half", 42, nil)
	})
	p.wait(fmt.Sprintf(`seen.asked.length && seen.sent === %d`, half))
	p.js(fmt.Sprintf(`sendUpTo(%d)`, beforeRestart))
	r.sending.Go(func() { tick(t, 0, messages, s.handler.Hub().Broadcast) })
	p.wait(fmt.Sprintf(`seen.sent > %d && seen.ticks.length > 10`, half))
	return r
}

// comeBack starts the server again when all has been sent, and checks what holds for every message. exact: the page is told of
// no message that was handled, since the server could say goodbye.
func (r *restart) comeBack(exact bool) (comeback, seen) {
	t := r.t
	t.Helper()
	r.wait(fmt.Sprintf(`seen.closes.length === 1 && seen.sent >= %d`, beforeRestart))
	r.js(fmt.Sprintf(`sendUpTo(%d)`, messages))
	r.wait(fmt.Sprintf(`seen.sent === %d`, messages))
	r.sending.Wait()
	back := time.Now()
	r.revive()
	r.wait(`seen.opens.length === 2`)
	result := r.comeback(back)
	if got := eval[int](r.page, `client.call('Add', [1, 2])`); got != 3 {
		t.Errorf("the call at the end: %d", got)
	}
	// What the new server sends arrives: it has a new session.
	tick(t, messages, 2*messages, r.handler.Hub().Broadcast)
	r.wait(fmt.Sprintf(`seen.ticks.at(-1) === %d`, 2*messages-1))
	got := r.seen()
	if got.Opens[1].Resumed || got.Closes[0].Sent == messages || len(got.Closes) != 1 || !got.Closes[0].Reconnect {
		t.Errorf("opened %v, closed %v", got.Opens, got.Closes)
	}
	if len(got.Gaps)+len(got.Thrown) > 0 {
		t.Errorf("gaps %q, thrown %q", got.Gaps, got.Thrown)
	}
	if !increasing(got.Ticks) || !slices.Equal(got.Ticks[len(got.Ticks)-messages:], numbersFrom(messages, messages)) {
		t.Errorf("messages of the server: %v", got.Ticks)
	}

	// Of the page's messages none comes twice. Those that may be missing were written and not acknowledged: the page has
	// been told how many. Those that waited for the connection have come.
	notes := r.noted()
	missing, unwritten := messages-len(notes), numbersFrom(got.Closes[0].Sent, messages-got.Closes[0].Sent)
	told := 0
	for _, e := range got.Errors {
		told += e.Dropped
		if e.Code != "unavailable" || e.Dropped == 0 {
			t.Errorf("error %v", e)
		}
	}
	if !increasing(notes) || missing > told || exact && missing < told || len(got.Errors) > 1 {
		t.Errorf("%d messages of the page are missing, it was told of %d: %v", missing, told, notes)
	}
	if at := len(notes) - len(unwritten); at < 0 || !slices.Equal(notes[at:], unwritten) {
		t.Errorf("of the %d messages that waited not all have come: %v", len(unwritten), notes)
	}
	t.Logf("%d of %d messages missing, told of %d, %d had waited", missing, messages, told, len(unwritten))
	if r.asked == nil || len(got.Asked) != 1 {
		t.Errorf("the question came %d times, ended with %v", len(got.Asked), r.asked)
	}
	return result, got
}

// A server crashes: what was under way fails once. A call of the page isn't part of it, since the messages behind it would
// have been taken, and so acknowledged, but not handled: nobody can tell these from others.
func crashed(t *testing.T) comeback {
	r := openRestart(t, `begin({ calls: false })`)
	r.js(`callAside(1)`)
	receive(t, "the call", r.begun)
	swallow(r.site, r.page)
	r.crash()
	r.release(3) // is called while there is no server
	result, got := r.comeBack(false)
	r.wait(`Object.keys(seen.ends).length === 4`) // the second client comes back in its own time
	got.Ends = r.seen().Ends
	if fmt.Sprint(got.Ends) != "map[slow1:unavailable slow3:ok 3 stream:unavailable upload:unavailable]" {
		t.Errorf("ends: %v", got.Ends)
	}
	if fmt.Sprint(r.runs()) != "map[1:1 3:1]" {
		t.Errorf("how often calls ran: %v", r.runs())
	}
	if !increasing(r.uploaded()) || !increasing(got.Items) {
		t.Errorf("items %v, %v", r.uploaded(), got.Items)
	}
	return result
}

// A server is shut down, and another one comes: what it had taken is answered before.
func restarted(t *testing.T) comeback {
	r := openRestart(t, `begin({ streams: false })`)
	var stopping sync.WaitGroup
	stopping.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.handler.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	until(t, "the server takes no more", func() bool { return r.handshake() == http.StatusServiceUnavailable })
	for n := range 3 {
		r.release(n + 1)
	}
	stopping.Wait()
	r.server.Close()
	result, got := r.comeBack(true)
	if got.Closes[0].Code != wsctl.CloseGoingAway {
		t.Errorf("closed with %d", got.Closes[0].Code)
	}
	if fmt.Sprint(got.Ends) != "map[slow1:ok 1 slow2:ok 2 slow3:ok 3]" || fmt.Sprint(r.runs()) != "map[1:1 2:1 3:1]" {
		t.Errorf("ends: %v; how often calls ran: %v", got.Ends, r.runs())
	}
	return result
}

// handshake is the status with which the server answers one; the connection is closed then.
func (r *restart) handshake() int {
	r.t.Helper()
	req, err := http.NewRequest("GET", r.server.URL+"/ws", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func increasing(numbers []int) bool {
	return slices.IsSorted(numbers) && len(slices.Compact(slices.Clone(numbers))) == len(numbers)
}

// numbersFrom is from, from+1, … and so on, n of them.
func numbersFrom(from, n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, from+i)
	}
	return numbers
}
