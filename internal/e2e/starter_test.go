package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// refused is what the browser's console has to say about a server that isn't there.
const refused = `^(network|javascript) error: .*(WebSocket connection to|ERR_CONNECTION_REFUSED)`

const (
	hello   = chromedp.CSS("#hello")
	compute = chromedp.CSS("#compute")

	noNotice = `document.querySelector('#notice').textContent === '' && getComputedStyle(document.querySelector('#notice')).display === 'none'`
	enabled  = `[...document.querySelectorAll('button')].every((b) => !b.disabled)`
	disabled = `[...document.querySelectorAll('button')].every((b) => b.disabled)`
)

func openStarter(t *testing.T, url string, allowed ...string) *page {
	t.Helper()
	p := open(t, url, allowed...)
	p.wait(enabled)
	return p
}

func TestStarterHello(t *testing.T) {
	s := startStarter(t, "localhost:0")
	p := openStarter(t, s.url)
	for _, text := range []string{
		"Hey, you !",
		"Hey, again !",
		"You are kind of repeating yourself... It's the 3th time !",
		"You are kind of repeating yourself... It's the 4th time !",
	} {
		p.do(chromedp.Click(hello))
		p.waitText("#greeting", text)
	}
	// Another page has a count of its own.
	other := openStarter(t, s.url+"/index")
	other.do(chromedp.Click(hello))
	other.waitText("#greeting", "Hey, you !")
}

func TestStarterGCD(t *testing.T) {
	s := startStarter(t, "localhost:0")
	p := openStarter(t, s.url)
	const sentence = "Please give me two whole numbers from 1 to 9007199254740991."
	for _, test := range []struct{ a, b, want string }{
		{"12", "18", "6"},
		{"0", "18", sentence},
		{"9007199254740991", "6361", "6361"},
		{"12", "-18", sentence},
		{"7", "7", "7"},
		{"1.5", "3", sentence},
		{"17", "4", "1"},
		{"9007199254740993", "3", sentence},
		{"12", "4", "4"},
		{"", "18", sentence},
		{"1e3", "50", "50"}, // JavaScript's number, so JSON's 1000
		{"1e300", "2", sentence},
	} {
		t.Run(test.a+","+test.b, func(t *testing.T) {
			p.t = t
			// (chromedp.SetValue makes "undefined" of "".)
			p.js(fmt.Sprintf(`document.querySelector('#a').value = %q; document.querySelector('#b').value = %q`, test.a, test.b))
			p.do(chromedp.Click(compute))
			p.waitText("#result", test.want)
			if wrong := eval[bool](p, `document.querySelector('#result').matches('.wrong')`); wrong != (test.want == sentence) {
				t.Errorf("shown as wrong: %v", wrong)
			}
		})
	}
	p.t = t
}

// What can be done with a mouse can be done with a keyboard.
func TestStarterKeyboard(t *testing.T) {
	s := startStarter(t, "localhost:0")
	p := openStarter(t, s.url)
	tab := chromedp.KeyEvent("\t")
	p.do(tab)
	for _, id := range []string{"hello", "a", "b", "compute"} {
		if got := eval[string](p, `document.activeElement.id`); got != id {
			t.Errorf("Tab went to %q, want %q", got, id)
		}
		if !eval[bool](p, `document.activeElement.matches(':focus-visible') && getComputedStyle(document.activeElement).outlineStyle === 'solid'`) {
			t.Errorf("the focus on %s can't be seen", id)
		}
		p.do(tab)
	}
	p.do(chromedp.Focus(hello), chromedp.KeyEvent(" "))
	p.waitText("#greeting", "Hey, you !")
	p.do(chromedp.Focus(chromedp.CSS("#b")), chromedp.KeyEvent("\r"))
	p.waitText("#result", "6")
}

func TestStarterCountsPages(t *testing.T) {
	s := startStarter(t, "localhost:0")
	one := openStarter(t, s.url)
	one.waitText("#pages", "1 page connected")
	two := openStarter(t, s.url)
	three := openStarter(t, s.url)
	for _, p := range []*page{one, two, three} {
		p.waitText("#pages", "3 pages connected")
	}
	three.close()
	two.waitText("#pages", "2 pages connected")
	two.do(chromedp.Reload()) // goes and comes back
	two.waitText("#pages", "2 pages connected")
	two.close()
	one.waitText("#pages", "1 page connected")
}

// A page that is left may come back as it was: until then the server keeps what it knows of it, and counts it.
func TestStarterGoesBack(t *testing.T) {
	s := startStarter(t, "localhost:0")
	one := openStarter(t, s.url)
	two := openStarter(t, s.url)
	two.do(chromedp.Click(hello))
	two.waitText("#greeting", "Hey, you !")
	two.do(chromedp.Navigate("about:blank"))
	goBack(nil, two)
	two.wait(enabled)
	two.js(`document.querySelector('#hello').click()`) // chromedp looks for the elements of the page in between
	two.waitText("#greeting", "Hey, again !")
	for _, p := range []*page{one, two} {
		p.waitText("#pages", "2 pages connected")
	}
}

func TestStarterServerGone(t *testing.T) {
	s := startStarter(t, "localhost:0")
	p := openStarter(t, s.url, refused)
	p.wait(noNotice)
	p.do(chromedp.Click(hello), chromedp.Click(hello))
	p.waitText("#greeting", "Hey, again !")

	s.stop()
	p.waitText("#notice", "Connection lost. Trying again…")
	p.wait(disabled)
	p.waitText("#pages", "Not connected")
	if !eval[bool](p, `document.querySelector('#notice').checkVisibility() && document.querySelector('#notice').getBoundingClientRect().top === 0`) {
		t.Error("the notice can't be seen")
	}
	// Enter in a field sends nothing while the button is disabled.
	p.do(chromedp.Focus(chromedp.CSS("#a")), chromedp.KeyEvent("\r"))

	startStarter(t, s.host())
	p.wait(noNotice)
	p.wait(enabled)
	p.waitText("#pages", "1 page connected")
	p.do(chromedp.Click(hello)) // a new socket, which has greeted nobody
	p.waitText("#greeting", "Hey, you !")
	if got := eval[string](p, `document.querySelector('#result').textContent`); got != "" {
		t.Errorf("result %q of a form that couldn't be sent", got)
	}
}

// A page that is loaded again is a new one for the server.
func TestStarterReload(t *testing.T) {
	s := startStarter(t, "localhost:0")
	p := openStarter(t, s.url)
	p.do(chromedp.Click(hello))
	p.waitText("#greeting", "Hey, you !")
	p.do(chromedp.Reload())
	p.wait(enabled)
	p.do(chromedp.Click(hello))
	p.waitText("#greeting", "Hey, you !")
}

// The page fits every width in both colour schemes. With WSCTL_E2E_SHOTS it is also there to be looked at.
func TestStarterLooks(t *testing.T) {
	s := startStarter(t, "localhost:0")
	p := openStarter(t, s.url, refused)
	background := make(map[string]string)
	look := func(state string) {
		for _, width := range []int64{1280, 820, 390, 320} {
			for _, scheme := range []string{"light", "dark"} {
				p.do(chromedp.EmulateViewport(width, 1020))
				p.media("prefers-color-scheme", scheme)
				if over := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
					t.Errorf("%s, %d wide: %d pixels too much", state, width, over)
				}
				background[scheme] = eval[string](p, `getComputedStyle(document.body).backgroundColor`)
				p.shot(fmt.Sprintf("%s-%d-%s.png", state, width, scheme))
			}
		}
	}
	p.waitText("#pages", "1 page connected")
	look("fresh")
	for range 3 {
		p.do(chromedp.Click(hello))
	}
	p.do(chromedp.Click(compute))
	p.waitText("#result", "6")
	look("used")
	p.do(chromedp.SetValue(chromedp.CSS("#b"), "0"), chromedp.Click(compute))
	p.wait(`document.querySelector('#result').matches('.wrong')`)
	look("wrong")
	s.stop()
	p.wait(disabled)
	look("lost")
	if background["light"] == background["dark"] {
		t.Errorf("dark is as light: %v", background)
	}
}

// media emulates a feature that style sheets ask for.
func (p *page) media(feature, value string) {
	p.t.Helper()
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	}); err != nil {
		p.t.Fatal(err)
	}
}

// shot writes a screenshot if that is wished for.
func (p *page) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("WSCTL_E2E_SHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), png, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
