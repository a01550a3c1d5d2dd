package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	chromium "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	chromiumpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/wsctl/wsctl"
)

const (
	messages  = 200 // each way
	beforeCut = 150 // of them; the others are sent when the connection is lost, however long a busy machine takes to lose it
)

// spoiled is what the console says of connections that were spoiled on purpose.
const spoiled = `WebSocket connection to|ERR_INTERNET_DISCONNECTED`

// seen is what the page of testdata/traffic has written down.
type seen struct {
	Sent, Dials int
	Opens       []struct {
		At      int64 // milliseconds since 1970
		Resumed bool
	}
	Closes []struct {
		At                int64
		Code, Sent        int
		Opened, Reconnect bool
	}
	Errors []struct {
		Code, Message string
		Dropped       int
	}
	Gaps, Thrown        []string
	Ticks, Asked, Items []int
	Ends                map[string]string
}

func (p *page) seen() (s seen) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(eval[string](p, `JSON.stringify(window.seen)`)), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// cut is a way to lose a connection, or to be suspected of it, and to get it back.
type cut struct {
	name string
	// ping is both PingInterval and PingTimeout where the defaults would take too long; the server would even have given
	// up the session.
	ping time.Duration
	lose func(s *site, p *page)
	back func(s *site, p *page) // nil: a new connection can be had at once
	// until: the network comes back when this holds of the page; else, when the page has noticed the loss.
	until  string
	code   int  // that the page is told; 0: none, the connection outlives it
	asleep bool // the page can't be asked anything until it's back, and notices the loss only then
	runs   int  // how often to measure
}

const (
	failed  = `seen.dials > 1 && client.state === 'waiting'`      // another attempt was made, and failed
	hanging = `seen.dials > 1 && Date.now() > seen.dialed + 1500` // another attempt was made, and isn't answered
)

var cuts = []cut{
	{
		name: "FIN", code: 1006, runs: 3,
		lose: func(s *site, p *page) { swallow(s, p); s.fin() },
	}, {
		name: "RST", code: 1006, runs: 3,
		lose: func(s *site, p *page) { swallow(s, p); s.rst() },
	}, {
		name: "refused", code: 1006, until: failed, runs: 3,
		lose: func(s *site, p *page) { swallow(s, p); s.refuse() }, back: restore,
	}, {
		name: "handshake never answered", code: 1006, until: hanging, runs: 1,
		lose: func(s *site, p *page) { swallow(s, p); s.hang() }, back: restore,
	}, {
		name: "black hole", code: wsctl.CloseTimeout, ping: time.Second, runs: 3,
		lose: func(s *site, _ *page) { s.hole() }, back: restore,
	}, {
		name: "offline", code: wsctl.CloseTimeout, until: failed, runs: 3, // found by a probe
		lose: offline(true), back: offline(false),
	}, {
		name: "offline for a moment", runs: 1,
		lose: offline(true), back: offline(false),
	}, {
		name: "page put aside and back", code: 4001, asleep: true, runs: 3,
		lose: putAside, back: goBack,
	}, {
		name: "minimised", ping: time.Second, runs: 1,
		lose: minimise, back: show,
	}, {
		name: "minimised, black hole", code: wsctl.CloseTimeout, ping: time.Second, until: hanging, runs: 1,
		lose: func(s *site, p *page) { minimise(s, p); s.hole() },
		back: func(s *site, p *page) { s.restore(); show(s, p) },
	}, {
		name: "minimised, black hole, found when shown", code: wsctl.CloseTimeout, asleep: true, runs: 1, // by a probe
		lose: func(s *site, p *page) {
			minimise(s, p)
			s.hole()
			p.wait(`Date.now() > seen.heard + 2000`)
		},
		back: func(s *site, p *page) { s.restore(); show(s, p) },
	}, {
		name: "frozen", code: 1006, ping: time.Second, asleep: true, runs: 3,
		lose: freeze, back: thaw,
	},
}

// Whatever happens to the connection: 200 messages each way arrive once and in order, and calls, a stream, an upload and a
// question of the server that were under way have their one end.
func TestCuts(t *testing.T) {
	var returns returns
	t.Run("all", func(t *testing.T) {
		for _, c := range cuts {
			returns.expect(c.name)
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s, p := openTraffic(t, c.ping, `begin()`)
				c.traffic(t, s, p)
				for range c.runs {
					returns.add(c.name, c.measure(s, p))
				}
			})
		}
		restart := func(name string, test func(*testing.T) comeback) {
			returns.expect(name)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				returns.add(name, test(t))
			})
		}
		restart("server crashed", crashed)
		restart("server restarted", restarted)
	})
	t.Logf("from “network back” to “open again”:\n\n%s", &returns)
}

// openTraffic shows the page.
func openTraffic(t *testing.T, ping time.Duration, begin string) (*site, *page) {
	t.Helper()
	s := serveLedger(t, wsctl.Options{PingInterval: ping, PingTimeout: ping})
	p := open(t, s.url(), spoiled)
	p.wait(`window.begin`)
	p.js(begin)
	p.wait(`seen.opens.length === 1`)
	return s, p
}

// spoil loses the connection and gets it back. When it was lost, something may be done in between. It returns when the
// network was back, or the connection lost if it has never been away.
func (c *cut) spoil(s *site, p *page, lost func()) time.Time {
	p.t.Helper()
	c.lose(s, p)
	back := time.Now()
	if c.code != 0 && !c.asleep {
		p.wait(`seen.closes.length === 1`)
	}
	if lost != nil {
		lost()
	}
	if c.back == nil {
		return back
	}
	if c.until != "" {
		p.wait(c.until)
	}
	back = time.Now()
	c.back(s, p)
	return back
}

// comeback is how the page, which is open again, got there.
func (p *page) comeback(back time.Time) comeback {
	p.t.Helper()
	s := p.seen()
	return comeback{max(0, time.UnixMilli(s.Opens[1].At).Sub(back)), s.Dials - 1}
}

// traffic spoils the connection in the midst of all that may be under way.
func (c *cut) traffic(t *testing.T, s *site, p *page) {
	socket := s.socket()
	half := messages / 2
	p.js(fmt.Sprintf(`sendUpTo(%d)`, half))
	if n := receive(t, "a call", s.begun); n != 1 {
		t.Fatalf("call %d comes before call 1", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		var answer int
		if err := socket.Call(ctx, "half", 42, &answer); answer != 21 || err != nil {
			t.Errorf("the page answers %d, %v, want 21", answer, err)
		}
	})
	p.wait(fmt.Sprintf(`seen.asked.length && seen.sent === %d`, half))
	tick(t, 0, half, socket.Send)

	p.js(fmt.Sprintf(`sendUpTo(%d)`, beforeCut))
	lost, ticking := make(chan struct{}), make(chan struct{})
	sending.Go(func() {
		defer close(ticking)
		tick(t, half, beforeCut, socket.Send)
		<-lost
		tick(t, beforeCut, messages, socket.Send)
	})
	goOn := sync.OnceFunc(func() { close(lost) })
	defer goOn()
	c.spoil(s, p, func() {
		goOn()
		s.release(1) // its answer has to wait
		if !c.asleep {
			p.js(fmt.Sprintf(`sendUpTo(%d)`, messages))
		}
		if c.back != nil {
			receive(t, "the end of what the server sends", ticking)
			if !c.asleep {
				p.wait(fmt.Sprintf(`seen.sent === %d`, messages))
			}
		}
	})
	if c.asleep {
		p.js(fmt.Sprintf(`sendUpTo(%d)`, messages))
	}
	if c.code != 0 {
		p.wait(`seen.opens.length === 2`)
	}
	s.release(2)
	s.release(3)
	p.wait(fmt.Sprintf(`Object.keys(seen.ends).length === 5 && seen.sent === %d`, messages))
	receive(t, "the end of what the server sends", ticking)
	// What was sent before it has arrived, in order; it would have been preceded by whatever came twice.
	if got := eval[int](p, `client.call('Add', [1, 2])`); got != 3 {
		t.Errorf("the call at the end: %d", got)
	}
	checkNumbers(t, "messages of the page", s.noted(), messages)
	checkNumbers(t, "items of the upload", s.uploaded(), 100)
	got := p.seen()
	checkNumbers(t, "messages of the server", got.Ticks, messages)
	checkNumbers(t, "items of the stream", got.Items, 100)
	if fmt.Sprint(got.Ends) != "map[slow1:ok 1 slow2:ok 2 slow3:ok 3 stream:ok undefined upload:ok 4950]" {
		t.Errorf("ends: %v", got.Ends)
	}
	if ran := s.runs(); fmt.Sprint(ran) != "map[1:1 2:1 3:1]" || len(got.Asked) != 1 {
		t.Errorf("how often calls ran: %v; the question came %d times", ran, len(got.Asked))
	}
	if len(got.Errors)+len(got.Gaps)+len(got.Thrown) > 0 {
		t.Errorf("errors %v, gaps %q, thrown %q", got.Errors, got.Gaps, got.Thrown)
	}
	if n := s.handler.Stats().Opened; n != 1 {
		t.Errorf("%d sessions", n)
	}
	switch closes, opens := got.Closes, got.Opens; {
	case c.code == 0:
		if len(closes) > 0 || len(opens) != 1 {
			t.Errorf("closed %v, opened %v; the connection should have stayed", closes, opens)
		}
	case len(closes) != 1 || closes[0].Code != c.code || !closes[0].Opened || !closes[0].Reconnect:
		t.Errorf("closed %v, want one close with %d", closes, c.code)
	case len(opens) != 2 || !opens[1].Resumed:
		t.Errorf("opened %v", opens)
	}
}

// measure spoils a connection of which nothing is asked meanwhile, and measures the way back.
func (c *cut) measure(s *site, p *page) comeback {
	p.t.Helper()
	if c.code == 0 {
		return comeback{took: -1}
	}
	p.js(`begin()`)
	// The connection counts as good then, and the client's beginning is history.
	p.wait(`seen.opens.length === 1 && Date.now() > seen.opens[0].at + 5500`)
	back := c.spoil(s, p, nil)
	p.wait(`seen.opens.length === 2`)
	return p.comeback(back)
}

// swallow loses what is on its way when a connection is cut: what page and server send from now on until the page has sent ten
// more. It does nothing where nothing is sent.
func swallow(s *site, p *page) {
	p.t.Helper()
	s.silence()
	if n := p.seen().Sent; n > 0 {
		p.js(fmt.Sprintf(`sendUpTo(%d)`, n+10))
		p.wait(fmt.Sprintf(`seen.sent >= %d`, n+10))
	}
}

func restore(s *site, _ *page) { s.restore() }

// offline is the switch of the developer tools: an open connection is held, new ones fail at once.
func offline(on bool) func(*site, *page) {
	type params struct {
		Offline            bool    `json:"offline"`
		Latency            float64 `json:"latency"`
		DownloadThroughput float64 `json:"downloadThroughput"`
		UploadThroughput   float64 `json:"uploadThroughput"`
	}
	emulate := cdp.Command[params, cdp.Empty]{Method: "Network.emulateNetworkConditions"}
	return func(_ *site, p *page) {
		p.t.Helper()
		if !on && eval[int](p, `seen.ticks.length`) == messages {
			p.t.Error("messages have arrived at a page that is offline")
		}
		command(p, emulate, params{on, 0, -1, -1})
		p.wait(fmt.Sprintf(`navigator.onLine === %v`, !on))
	}
}

// putAside leaves the page, which the browser keeps for the way back. It closes its connection; nobody else would.
func putAside(s *site, p *page) {
	p.t.Helper()
	p.do(chromedp.Navigate("about:blank"))
	untilParked(s, p)
}

// goBack shows the page before, which the browser has kept.
func goBack(_ *site, p *page) {
	p.t.Helper()
	// Not NavigateBack, which waits for a load that doesn't come. The page may be gone while it is asked.
	_ = chromedp.Do(p.ctx, chromedp.Evaluate[chromedp.Void](`history.back()`))
	p.wait(`location.href !== 'about:blank' && document.readyState === 'complete'`)
	if why := eval[string](p, `JSON.stringify(performance.getEntriesByType('navigation')[0]?.notRestoredReasons ?? null)`); why != "null" {
		p.t.Fatalf("the browser has loaded the page anew: %s", why)
	}
}

// freeze stops the page, as browsers do with one that was hidden for long.
func freeze(s *site, p *page) {
	p.t.Helper()
	command(p, chromiumpage.SetWebLifecycleState, chromiumpage.SetWebLifecycleStateParams{
		State: chromiumpage.SetWebLifecycleStateStateFrozen,
	})
	untilParked(s, p)
}

func thaw(_ *site, p *page) {
	p.t.Helper()
	command(p, chromiumpage.SetWebLifecycleState, chromiumpage.SetWebLifecycleStateParams{
		State: chromiumpage.SetWebLifecycleStateStateActive,
	})
}

// untilParked waits until the server has lost the connection and keeps the session.
func untilParked(s *site, p *page) {
	p.t.Helper()
	until(p.t, "the server keeps the session", func() bool { return s.handler.Stats().Detached == 1 })
}

// minimise hides the page's window. Its timers are slow from then on.
func minimise(_ *site, p *page) {
	p.t.Helper()
	p.window(chromium.WindowStateMinimized)
	p.wait(`document.hidden`)
	if n := eval[int](p, `timerRate()`); n > 5 {
		p.t.Errorf("a timer of 10 ms fires %d times a second in a hidden page", n)
	}
}

func show(_ *site, p *page) {
	p.t.Helper()
	p.window(chromium.WindowStateNormal)
	p.wait(`!document.hidden`)
}

func (p *page) window(state chromium.WindowState) {
	p.t.Helper()
	window := command(p, chromium.GetWindowForTarget, chromium.GetWindowForTargetParams{})
	command(p, chromium.SetWindowBounds, chromium.SetWindowBoundsParams{
		WindowID: window.WindowID, Bounds: &chromium.Bounds{WindowState: state},
	})
}

func command[P, R any](p *page, c cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, c, params)
	if err != nil {
		p.t.Fatalf("%s: %v", c.Method, err)
	}
	return result
}
