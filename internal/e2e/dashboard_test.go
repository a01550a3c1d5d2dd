package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

var dashboardBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "dashboard.exe")
	build := exec.Command("go", "build", "-o", path, "./examples/dashboard")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the dashboard: %w\n%s", err, out)
	}
	return path, nil
})

// startDashboard runs the dashboard and waits until it listens.
func startDashboard(t *testing.T, addr string) *starter {
	t.Helper()
	skipIfOff(t)
	path, err := dashboardBinary()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, "the dashboard", path, addr)
}

// openDashboard opens the dashboard and waits for what is live. states, a variable of the page, tells what its connection was.
func openDashboard(t *testing.T, url string, allowed ...string) *page {
	t.Helper()
	p := newPage(t, allowed...)
	p.do(chromedp.EmulateViewport(1280, 800), chromedp.Navigate(url))
	p.waitText("#state", "Live")
	p.waitSamples(2)
	p.js(`window.states = []; new MutationObserver(() => states.push(document.body.dataset.connection))
		.observe(document.body, { attributeFilter: ['data-connection'] })`)
	// pixels is how many pixels of a chart have a colour, #rrggbb or a custom property that has such a one.
	p.js(`window.pixels = (metric, colour) => {
		const canvas = document.querySelector('[data-metric=' + metric + '] canvas');
		if (colour.startsWith('--')) colour = getComputedStyle(canvas).getPropertyValue(colour).trim();
		const want = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
		const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
		copy.drawImage(canvas, 0, 0);
		const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
		let n = 0;
		for (let i = 0; i < data.length; i += 4) {
			if (data[i + 3] === 255 && want.every((v, k) => Math.abs(data[i + k] - v) < 4)) n++;
		}
		return n;
	}`)
	return p
}

// waitSamples waits until the page has n samples.
func (p *page) waitSamples(n int) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`document.querySelector('#charts').samples?.length >= %d`, n))
}

// reading is a sample as the page has it.
type reading struct {
	Run                                   string
	N                                     int
	Messages, Sockets, Goroutines, Memory float64
}

// readings are the samples that the page has. Their numbers must be 1, 2, 3 and so on for each run of a server, of which there
// must be so many. The page must think so, too.
func (p *page) readings(runs int) (all []reading) {
	p.t.Helper()
	type state struct {
		Samples []reading
		Text    string
	}
	text := eval[string](p, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(JSON.stringify(
		{ Samples: document.querySelector('#charts').samples, Text: document.querySelector('#samples').textContent })))))`)
	var got state
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		p.t.Fatal(err)
	}
	all = got.Samples
	for i, s := range all {
		switch {
		case i == 0 || s.Run != all[i-1].Run:
			runs--
			if s.N != 1 {
				p.t.Errorf("the first sample of run %s is number %d", s.Run, s.N)
			}
		case s.N != all[i-1].N+1:
			p.t.Errorf("sample %d comes after %d", s.N, all[i-1].N)
		}
	}
	if runs != 0 {
		p.t.Errorf("%d runs too few in %v", runs, all)
	}
	if want := fmt.Sprintf("%d samples received, none missing, none twice.", len(all)); got.Text != want {
		p.t.Errorf("the page says: %s want: %s", got.Text, want)
	}
	return all
}

var metrics = []string{"messages", "sockets", "goroutines", "memory"}

func TestDashboardIsLive(t *testing.T) {
	t.Parallel()
	s := startDashboard(t, "localhost:0")
	p := openDashboard(t, s.url)
	if n := eval[int](p, `[...document.querySelectorAll('.chart canvas')].filter((c) => c.checkVisibility() && c.clientWidth > 300 && c.clientHeight > 100).length`); n != 4 {
		t.Errorf("%d charts", n)
	}
	for _, metric := range metrics {
		p.wait(fmt.Sprintf(`/^[0-9]/.test(document.querySelector('[data-metric=%s] .value').textContent)`, metric))
		p.wait(fmt.Sprintf(`/: now [0-9].* from [0-9].* to [0-9]/.test(document.querySelector('[data-metric=%s] canvas').ariaLabel)`, metric))
		p.wait(fmt.Sprintf(`pixels(%q, '--series') > 30`, metric)) // a line, not only the dot at its end
	}
	p.wait(`/^Go 1.* on .+\/.+, [0-9]+ CPU/.test(document.querySelector('#server').textContent)`)
	for _, gauge := range []string{"uptime", "calls", "away", "queued", "messages"} {
		p.wait(fmt.Sprintf(`/^[0-9]/.test(document.querySelector('[data-gauge=%s]').textContent)`, gauge))
	}

	// What happens is seen: here by the next sample, there at once. The keyboard can do it, again and again.
	p.do(chromedp.Focus(chromedp.CSS("#burst")))
	for range 2 {
		p.js(`document.querySelector('#answers').textContent = ''`)
		p.do(chromedp.KeyEvent(" "))
		p.wait(`/^1,000 answers in [0-9,]+ ms, all in order\.$/.test(document.querySelector('#answers').textContent)`)
	}
	p.wait(`document.querySelector('#charts').samples.some((s) => s.messages >= 1000)`)
	p.wait(`parseFloat(document.querySelector('[data-gauge=messages]').textContent.replace(',', '')) > 2000`)
	other := openDashboard(t, s.url)
	for _, p := range []*page{p, other} {
		p.waitText("[data-metric=sockets] .value", "2")
	}
	other.close()
	p.waitText("[data-metric=sockets] .value", "1")
	last := p.readings(1)[len(p.readings(1))-1]
	if last.Goroutines < 3 || last.Memory < 100_000 {
		t.Errorf("%+v", last)
	}

	// A chart moves as time goes on, also if its values don't.
	const picture = `document.querySelector('[data-metric=sockets] canvas').toDataURL()`
	p.js(`window.before = ` + picture)
	p.wait(picture + ` !== before`)
}

// The page goes on where it was, whatever happened to its connection: nothing is missing, nothing comes twice.
func TestDashboardGoesOn(t *testing.T) {
	t.Parallel()
	s := startDashboard(t, "localhost:0")
	network := newProxy(t, s.host())
	witness := openDashboard(t, s.url) // by another way
	p := openDashboard(t, network.url(), refused)
	away := func(n int) { t.Helper(); witness.waitText("[data-gauge=away]", strconv.Itoa(n)) }
	for _, cut := range []struct {
		name string
		lose func()
		late bool // it stays lost for some samples
	}{
		{"FIN", network.fin, false},
		{"RST", network.rst, false},
		{"refused", network.refuse, true},
	} {
		p.js(`states.length = 0; document.querySelector('#burst').click()`) // with messages under way
		cut.lose()
		p.wait(`states.includes('waiting')`)
		if cut.late {
			p.waitText("#state", "Reconnecting…")
			away(1)
			p.wait(`document.querySelector('#burst').ariaDisabled === 'true'`)
			witness.waitSamples(len(witness.readings(1)) + 2)
			network.restore()
		}
		p.wait(`states.at(-1) === 'open'`)
		away(0)
		p.waitText("#state", "Live")
		p.wait(`document.querySelector('#answers').textContent.endsWith('all in order.') && document.querySelector('#burst').ariaDisabled === 'false'`)
		p.waitSamples(len(witness.readings(1)) + 1)
		p.readings(1)
		if t.Failed() {
			t.Fatalf("after %s", cut.name)
		}
	}
	a, b := p.readings(1), witness.readings(1)
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("one page has %+v, the other %+v", a[i], b[i])
		}
	}
	if n := eval[int](p, `pixels('memory', '--break')`); n != 0 {
		t.Errorf("%d pixels tell of a restart", n)
	}
}

// Another run of the server has its own numbers. The page shows where they begin, after those that it has.
func TestDashboardServerRestarted(t *testing.T) {
	t.Parallel()
	s := startDashboard(t, "localhost:0")
	p := openDashboard(t, s.url, refused)
	p.waitSamples(3)
	s.stop()
	p.waitText("#state", "Reconnecting…")
	before := p.readings(1)
	startDashboard(t, s.host())
	p.waitText("#state", "Live")
	p.waitSamples(len(before) + 3)
	after := p.readings(2)
	for i, s := range before {
		if after[i] != s {
			t.Errorf("sample %d was %+v and is %+v", i, s, after[i])
		}
	}
	for _, metric := range metrics {
		p.wait(fmt.Sprintf(`pixels(%q, '--break') > 10`, metric))
	}
	p.do(chromedp.Click(chromedp.CSS("#burst")))
	p.wait(`document.querySelector('#answers').textContent.endsWith('all in order.')`)
}

// Who points at one chart sees the same moment in all of them, by mouse or by keyboard.
func TestDashboardPointing(t *testing.T) {
	t.Parallel()
	s := startDashboard(t, "localhost:0")
	p := openDashboard(t, s.url)
	p.waitSamples(4)
	const tips = `[...document.querySelectorAll('.tip')].filter((e) => e.checkVisibility()).map((e) => e.querySelector('time').textContent)`
	same := func() {
		t.Helper()
		p.wait(`(() => { const tips = ` + tips + `; return tips.length === 4 && new Set(tips).size === 1; })()`)
	}
	at := eval[[]float64](p, `(() => { const r = document.querySelector('[data-metric=memory] canvas').getBoundingClientRect(); return [r.right - 20, r.top + 30]; })()`)
	move := func(x, y float64) {
		t.Helper()
		p.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x, y))
	}
	move(at[0], at[1])
	same()
	move(1, 1)
	p.wait(tips + `.length === 0`)

	p.do(chromedp.Focus(chromedp.CSS("[data-metric=sockets] canvas")), chromedp.KeyEvent("\u0302")) // ArrowLeft
	same()
	first := eval[string](p, tips+`[0]`)
	p.do(chromedp.KeyEvent("\u0302"), chromedp.KeyEvent("\u0302"))
	p.wait(tips + `[0] < "` + first + `"`)
	same()
	p.do(chromedp.KeyEvent("\x1b"))
	p.wait(tips + `.length === 0`)
	if !eval[bool](p, `document.activeElement.matches('[data-metric=sockets] canvas:focus-visible')`) {
		t.Error("the focus can't be seen")
	}
}

// The page fits every width in both colour schemes, and its charts have the colours of the scheme. With WSCTL_E2E_SHOTS it is
// also there to be looked at.
func TestDashboardLooks(t *testing.T) {
	t.Parallel()
	s := startDashboard(t, "localhost:0")
	p := openDashboard(t, s.url)
	p.do(chromedp.Click(chromedp.CSS("#burst")))
	p.waitSamples(4)
	series := make(map[string]string)
	for _, width := range []int64{1280, 820, 390, 320} {
		for _, scheme := range []string{"light", "dark"} {
			p.do(chromedp.EmulateViewport(width, 800))
			p.media("prefers-color-scheme", scheme)
			if over := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
				t.Errorf("%d wide: %d pixels too much", width, over)
			}
			series[scheme] = eval[string](p, `getComputedStyle(document.querySelector('[data-metric=memory]')).getPropertyValue('--series').trim()`)
			for _, metric := range metrics {
				p.wait(fmt.Sprintf(`pixels(%q, '--series') > 30`, metric))
			}
			// The canvas is as sharp as the screen.
			p.wait(`[...document.querySelectorAll('canvas')].every((c) => Math.abs(c.width - c.clientWidth * devicePixelRatio) < 2)`)
			p.shot(fmt.Sprintf("dashboard-%d-%s.png", width, scheme))
		}
	}
	if series["light"] == series["dark"] || !strings.HasPrefix(series["dark"], "#") {
		t.Errorf("colours: %v", series)
	}
	if n := eval[int](p, fmt.Sprintf(`pixels('memory', %q)`, series["light"])); n > 5 {
		t.Errorf("%d pixels are light in the dark", n)
	}
}
