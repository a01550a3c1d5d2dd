package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/wsctl/wsctl"
)

// lab is a controller for the client's tests.
type lab struct {
	notes    chan string   // of Note
	waiting  chan struct{} // Wait has begun
	canceled chan error    // the context of Wait has ended, by this cause
	closed   chan error    // of OnClose
	away     atomic.Bool   // no sockets are taken
	refused  chan struct{} // one wasn't
}

// Add is a call with a result.
func (*lab) Add(_ *wsctl.Socket, n [2]int) int { return n[0] + n[1] }

// Echo sends back what it gets, as a message and as the result.
func (*lab) Echo(s *wsctl.Socket, v any) (any, error) { return v, s.Send("Echo", v) }

// Fail is a call that fails.
func (*lab) Fail(*wsctl.Socket) error { return &wsctl.Error{Code: "full", Message: "no room", Data: 7} }

// Note writes a message down.
func (l *lab) Note(_ *wsctl.Socket, text string) { l.notes <- text }

// Wait waits until its caller doesn't.
func (l *lab) Wait(ctx context.Context, _ *wsctl.Socket) error {
	l.waiting <- struct{}{}
	<-ctx.Done()
	l.canceled <- context.Cause(ctx)
	return ctx.Err()
}

// Spoof sends messages that bear the names of local events.
func (*lab) Spoof(s *wsctl.Socket) error {
	return errors.Join(s.Send("open", "spoofed"), s.Send("close", "spoofed"), s.Send("error", "spoofed"), s.Send("gap", "spoofed"))
}

func (l *lab) OnClose(_ *wsctl.Socket, err error) { l.closed <- err }

// serveLab serves a lab, the client, and a page that has it. The page's scripts are as free as the starter's.
func serveLab(t *testing.T) (*lab, *wsctl.Hub, string) {
	t.Helper()
	skipIfOff(t)
	l := &lab{
		notes:    make(chan string, 100),
		waiting:  make(chan struct{}, 100),
		canceled: make(chan error, 100),
		closed:   make(chan error, 100),
		refused:  make(chan struct{}, 100),
	}
	h := wsctl.New(l, &wsctl.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		if l.away.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			l.refused <- struct{}{}
			return
		}
		h.ServeHTTP(w, r)
	})
	mux.Handle("GET /js/{file}", wsctl.JS())
	mux.Handle("GET /", http.FileServer(http.Dir("testdata/client")))
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		ts.Close()
	})
	return l, h.Hub(), ts.URL
}

// openLab opens the page and, in it, a client by the name of c.
func openLab(t *testing.T, url string, allowed ...string) *page {
	t.Helper()
	p := open(t, url, allowed...)
	p.wait(`window.open1`)
	p.js(`open1().then((client) => { window.c = client; })`)
	p.wait(`window.c`)
	return p
}

func TestClientCalls(t *testing.T) {
	_, _, url := serveLab(t)
	p := openLab(t, url)
	for _, test := range []struct{ call, want string }{
		{`c.call('Add', [1, 2])`, `ok 3`},
		{`c.call('Echo', { text: 'Grüße, 世界 🙂' })`, `ok {"text":"Grüße, 世界 🙂"}`},
		{`c.call('Echo', '\u2028')`, "ok \"\u2028\""},
		{`c.call('Note', 'x')`, `ok undefined`},
		{`c.call('Add', 'no')`, `bad_request`},
		{`c.call('Nothing')`, `not_found`},
		{`c.call('Fail')`, `full`},
		{`Promise.all([1, 2, 3].map((n) => c.call('Add', [n, n])))`, `ok [2,4,6]`},
	} {
		if got := eval[string](p, `end(`+test.call+`)`); got != test.want {
			t.Errorf("%s: %s, want %s", test.call, got, test.want)
		}
	}
	if got := eval[string](p, `c.call('Fail').catch((e) => [e.message, e.data, e instanceof Error].join())`); got != "no room,7,true" {
		t.Errorf("the error is %s", got)
	}
	got := eval[string](p, `new Promise((done) => { c.on('Echo', (data, m) => done([data, m.type].join())); c.send('Echo', 5); })`)
	if got != "5,Echo" {
		t.Errorf("the message is %s", got)
	}
}

func TestClientCancels(t *testing.T) {
	l, _, url := serveLab(t)
	p := openLab(t, url)
	const begin = `window.stop = new AbortController(); window.ended = end(c.call('Wait', null, { signal: stop.signal }))`
	p.js(begin)
	receive(t, "the call", l.waiting)
	if got := eval[string](p, `stop.abort(); ended`); got != "canceled" {
		t.Errorf("an aborted call ends with %s", got)
	}
	if err := receive(t, "the end of the context", l.canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended by %v", err)
	}
	if got := eval[string](p, `end(c.call('Wait', null, { timeout: 20 }))`); got != "timeout" {
		t.Errorf("a call past its limit ends with %s", got)
	}
	receive(t, "the call", l.waiting)
	receive(t, "the end of the context", l.canceled)
	if got := eval[string](p, `end(c.call('Add', [1, 2]))`); got != "ok 3" {
		t.Errorf("the next call: %s", got)
	}
}

// A page that is left, by whatever way, cancels what it asked for.
func TestClientReload(t *testing.T) {
	l, _, url := serveLab(t)
	p := openLab(t, url)
	code := func() int {
		t.Helper()
		var ce *wsctl.CloseError
		if err := receive(t, "the close", l.closed); !errors.As(err, &ce) {
			t.Fatalf("OnClose was told %v", err)
		}
		return ce.Code
	}
	p.js(`c.call('Wait').catch(() => {})`)
	receive(t, "the call", l.waiting)
	p.do(chromedp.Reload())
	if got := code(); got != wsctl.CloseGoingAway {
		t.Errorf("a reload closes with %d, want 1001", got)
	}
	var ce *wsctl.CloseError
	if err := receive(t, "the end of the context", l.canceled); !errors.As(err, &ce) || ce.Code != wsctl.CloseGoingAway {
		t.Errorf("the context ended by %v", err)
	}

	p.wait(`window.open1`)
	p.js(`open1().then((client) => { client.close(); })`)
	if got := code(); got != wsctl.CloseNormal {
		t.Errorf("close() closes with %d, want 1000", got)
	}
	p.js(`open1().then((client) => { client.close(4123, 'bye'); })`)
	if got := code(); got != 4123 {
		t.Errorf("close(4123) closes with %d", got)
	}
}

// What is sent while the server is away waits, and is there before the page hears of the new connection.
func TestClientQueue(t *testing.T) {
	l, hub, url := serveLab(t)
	p := openLab(t, url, `WebSocket connection to`)
	p.js(`window.states = []; c.on('open', () => { states.push('open'); c.send('Note', 'from open'); }); c.on('close', (e) => states.push('close ' + e.code))`)
	p.js(`window.waiting = end(c.call('Wait'))`)
	receive(t, "the call", l.waiting)
	l.away.Store(true)
	if err := hub.Everyone().Close(4900, "away"); err != nil {
		t.Fatal(err)
	}
	p.wait(`states[0] === 'close 4900'`)
	if got := eval[string](p, `waiting`); got != "unavailable" {
		t.Errorf("the call in flight ended with %s", got)
	}
	p.js(`c.send('Note', 'first').send('Note', 'second'); window.sum = end(c.call('Add', [3, 4])); c.send('Note', 'third')`)
	receive(t, "an attempt that is in vain", l.refused)
	p.js(`c.send('Note', 'fourth'); c.send('Note', 'never', { volatile: true })`)
	l.away.Store(false)
	for _, want := range []string{"first", "second", "third", "fourth", "from open"} {
		if got := receive(t, "a message that waited", l.notes); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := eval[string](p, `sum`); got != "ok 7" {
		t.Errorf("the call that waited: %s", got)
	}
	if got := eval[string](p, `c.state`); got != "open" {
		t.Errorf("the client is %s", got)
	}
}

// Close codes that are final end it; others don't.
func TestClientCloseCodes(t *testing.T) {
	_, hub, url := serveLab(t)
	p := openLab(t, url)
	for _, test := range []struct {
		code int
		back bool
	}{{4900, true}, {4510, true}, {4403, false}, {1000, false}} {
		p.js(`window.info = null; c.on('close', (i) => { info = i; }, { once: true })`)
		if err := hub.Everyone().Close(test.code, "because"); err != nil {
			t.Fatal(err)
		}
		p.wait(`info`)
		want := fmt.Sprintf("%d,because,true,%v", test.code, test.back)
		if got := eval[string](p, `[info.code, info.reason, info.opened, info.reconnect].join()`); got != want {
			t.Errorf("close tells %s, want %s", got, want)
		}
		if !test.back {
			if got := eval[string](p, `c.state`); got != "closed" {
				t.Errorf("%d: %s", test.code, got)
			}
			p.js(`c.connect()`)
		}
		p.wait(`c.state === 'open'`)
	}
}

// A page that is put aside for the way back closes its connection, and has one again when it is shown again.
func TestClientBackForwardCache(t *testing.T) {
	l, _, url := serveLab(t)
	p := openLab(t, url)
	p.js(`window.mark = 'kept'`)
	p.do(chromedp.Navigate("about:blank"))
	end := receive(t, "the close", l.closed)
	// Not NavigateBack, which waits for a load that doesn't come. The page may be gone while it is asked.
	_ = chromedp.Do(p.ctx, chromedp.Evaluate[chromedp.Void](`history.back()`))
	p.wait(`window.open1`)
	if eval[string](p, `String(window.mark)`) != "kept" {
		t.Skip("this browser doesn't keep pages")
	}
	if ce := new(wsctl.CloseError); !errors.As(end, &ce) || ce.Code != 4001 {
		t.Errorf("OnClose was told %v, want 4001", end)
	}
	p.wait(`c.state === 'open'`)
	if got := eval[string](p, `end(c.call('Add', [1, 2]))`); got != "ok 3" {
		t.Errorf("the call after the return: %s", got)
	}
}

// A server can't pretend that something local happened.
func TestClientIsNotSpoofed(t *testing.T) {
	_, _, url := serveLab(t)
	p := openLab(t, url, `^warning: .*wsctl: ignored`)
	p.js(`window.got = []; for (const type of ['open', 'close', 'error', 'gap']) c.on(type, (data) => got.push(data))`)
	if got := eval[string](p, `end(c.call('Spoof'))`); got != "ok undefined" {
		t.Fatal(got)
	}
	if got := eval[int](p, `got.length`); got != 0 {
		t.Errorf("%d messages were taken for local events", got)
	}
	if n := len(p.lines()); n != 4 {
		t.Errorf("%d warnings, want 4: %q", n, p.lines())
	}
}

// The tests would notice a violation of the Content-Security-Policy.
func TestViolationsAreNoticed(t *testing.T) {
	p := newPage(t, "Content Security Policy")
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:")
		io.WriteString(w, `<!doctype html><title>inline</title><link rel="icon" href="data:,"><script>alert(1)</script>`)
	}))
	defer ts.Close()
	p.do(chromedp.Navigate(ts.URL))
	p.wait(`document.readyState === 'complete'`)
	if !strings.Contains(strings.Join(p.lines(), "\n"), "Content Security Policy") {
		t.Errorf("an inline script goes unnoticed: %q", p.lines())
	}
}
