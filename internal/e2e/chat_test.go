package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

var chatBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "chat.exe")
	build := exec.Command("go", "build", "-o", path, "./examples/chat")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the chat: %w\n%s", err, out)
	}
	return path, nil
})

// startChat runs the chat and waits until it listens.
func startChat(t *testing.T, addr string) *starter {
	t.Helper()
	skipIfOff(t)
	path, err := chatBinary()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, "the chat", path, addr)
}

const connected = `document.querySelector('#state').textContent === 'Connected'`

// openChat opens the chat as somebody of that name. Tabs share what the browser remembers, so each begins with nothing.
func openChat(t *testing.T, url, name string, allowed ...string) *page {
	t.Helper()
	p := open(t, url, allowed...)
	p.giveName(name)
	p.js(`localStorage.clear()`)
	return p
}

// giveName answers the question for a name.
func (p *page) giveName(name string) {
	p.t.Helper()
	p.wait(`document.querySelector('#naming').open`)
	p.js(fmt.Sprintf(`document.querySelector('#nick').value = %q; document.querySelector('#naming-form').requestSubmit()`, name))
	p.wait(connected)
}

// waitName waits until somebody is there.
func (p *page) waitName(name string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`[...document.querySelectorAll('#people .name')].some((e) => e.textContent === %q)`, name))
}

// say types a line and sends it.
func (p *page) say(text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS("#text"), text), chromedp.Click(chromedp.CSS("#composer button")))
}

// waitLine waits until the last line has that text, and there is one of it.
func (p *page) waitLine(text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`(() => {
		const lines = [...document.querySelectorAll('#lines .text')].map((e) => e.textContent);
		return lines.at(-1) === %q && lines.filter((l) => l === %[1]q).length === 1;
	})()`, text))
}

func (p *page) waitNote(text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`[...document.querySelectorAll('#lines .note')].at(-1)?.textContent === %q`, text))
}

func TestChatTalk(t *testing.T) {
	s := startChat(t, "localhost:0")
	ada := openChat(t, s.url, "Ada")
	grace := openChat(t, s.url, "Grace")
	for _, p := range []*page{ada, grace} {
		p.waitText("#count", "2")
	}
	ada.waitNote("Grace has come")

	grace.do(chromedp.SendKeys(chromedp.CSS("#text"), "Hello"))
	ada.waitText("#typing", "Grace is typing…")
	grace.do(chromedp.SendKeys(chromedp.CSS("#text"), ", Ada!\r"))
	for _, p := range []*page{ada, grace} {
		p.waitLine("Hello, Ada!")
		p.waitText("#outbox", "")
	}
	ada.waitText("#typing", "")

	// What others write is text.
	const evil = `<img src=x onerror="document.title='caught'"><b>bold</b>`
	ada.say(evil)
	grace.waitLine(evil)
	if n := eval[int](grace, `document.querySelectorAll('#lines img, #lines .text b').length`); n != 0 {
		t.Errorf("%d elements were made of text", n)
	}

	// Another name, by the dialog.
	grace.do(chromedp.Click(chromedp.CSS("#me")))
	grace.wait(`document.querySelector('#naming').open && document.activeElement.id === 'nick'`)
	grace.do(chromedp.SetValue(chromedp.CSS("#nick"), "ada"), chromedp.KeyEvent("\r"))
	ada.waitNote("Grace is now ada 2")

	grace.close()
	ada.waitNote("ada 2 has left")
	ada.waitText("#count", "1")
}

// Who comes for the first time is asked for a name; the address says which room.
func TestChatFirstVisit(t *testing.T) {
	s := startChat(t, "localhost:0")
	p := open(t, s.url+"/#gophers")
	p.wait(`document.querySelector('#naming').open`)
	p.waitText("#room-name", "#gophers")
	p.do(chromedp.KeyEvent("\x1b"))
	p.wait(`document.querySelector('#naming').open`) // nobody is here without a name
	p.do(chromedp.SendKeys(chromedp.CSS("#nick"), "!!!\r"))
	p.waitText("#naming-error", "A name has at least one letter or digit.")
	p.giveName(" Rob   Pike ")
	p.waitName("Rob Pike")
	p.waitText("#my-face", "RP")
	p.do(chromedp.Reload())
	p.waitName("Rob Pike")
	p.waitText("#room-name", "#gophers")
}

func TestChatRooms(t *testing.T) {
	s := startChat(t, "localhost:0")
	ada := openChat(t, s.url, "Ada")
	grace := openChat(t, s.url, "Grace")
	const unread = `[...document.querySelectorAll('#rooms .unread')].map((e) => e.textContent).join()`
	grace.do(chromedp.Click(chromedp.CSS(`#rooms a[href="#random"]`)))
	grace.waitText("#room-name", "#random")
	ada.waitText("#count", "2")
	grace.say("One")
	grace.say("Two")
	ada.wait(unread + ` === 'random2'`)
	ada.wait(`document.title === '(2) #lobby · wsctl chat'`)
	ada.do(chromedp.SendKeys(chromedp.CSS("#text"), "Not yet"))
	ada.do(chromedp.Click(chromedp.CSS(`#rooms a[href="#random"]`)))
	ada.waitLine("Two")
	ada.wait(unread + ` === ''`)
	if draft := eval[string](ada, `document.querySelector('#text').value`); draft != "" {
		t.Errorf("%q was meant for another room", draft)
	}
	ada.do(chromedp.SendKeys(chromedp.CSS("#new-room"), "Go phers!\r"))
	ada.waitText("#room-name", "#go-phers")
	ada.wait(`location.hash === '#go-phers'`)
	ada.waitText("#count", "1")
	ada.do(chromedp.Click(chromedp.CSS("#leave")))
	ada.waitText("#room-name", "#lobby")
	ada.wait(`document.querySelector('#text').value === 'Not yet'`)
	if n := eval[int](ada, `document.querySelectorAll('#rooms a').length`); n != 2 {
		t.Errorf("%d rooms", n)
	}
}

// The page says that the connection is lost, keeps what is written, and sends it in order when the server is back.
func TestChatServerGone(t *testing.T) {
	s := startChat(t, "localhost:0")
	ada := openChat(t, s.url, "Ada", refused)
	grace := openChat(t, s.url, "Grace", refused)
	ada.say("Before")
	grace.waitLine("Before")

	s.stop()
	for _, p := range []*page{ada, grace} {
		p.wait(`document.querySelector('#notice').textContent.startsWith('Connection lost.')`)
		p.waitText("#state", "Reconnecting…")
	}
	ada.say("While it was away, 1")
	ada.say("While it was away, 2")
	ada.wait(`document.querySelectorAll('#outbox .text').length === 2`)
	ada.do(chromedp.SendKeys(chromedp.CSS("#text"), "Not finished"))
	ada.shotChat(t, "offline")

	startChat(t, s.host())
	for _, p := range []*page{ada, grace} {
		p.wait(connected)
		p.waitText("#notice", "")
		p.waitText("#count", "2")
		// Whoever of them is back later misses what was said meanwhile: a new server knows nobody.
	}
	ada.waitLine("While it was away, 2")
	ada.waitText("#outbox", "")
	if lines := eval[string](ada, `[...document.querySelectorAll('#lines .text')].map((e) => e.textContent).join('|')`); lines != "Before|While it was away, 1|While it was away, 2" {
		t.Errorf("lines: %s", lines)
	}
	ada.wait(`document.querySelector('#text').value === 'Not finished'`)
	grace.say("Welcome back")
	ada.waitLine("Welcome back")
}

// What is said while a page's connection is lost is in both pages, once, in one order: nobody notices.
func TestChatCut(t *testing.T) {
	t.Parallel()
	s := startChat(t, "localhost:0")
	network := newProxy(t, s.host())
	ada := openChat(t, network.url(), "Ada", refused)
	grace := openChat(t, s.url, "Grace")
	ada.waitText("#count", "2")
	var want []string
	say := func(p *page, text string) {
		p.js(fmt.Sprintf(`document.querySelector('#text').value = %q; document.querySelector('#composer').requestSubmit()`, text))
		want = append(want, text)
	}
	const lines = `[...document.querySelectorAll('#lines .text')].map((e) => e.textContent).join('|')`
	for name, cut := range map[string]func(){"fin": network.fin, "rst": network.rst, "refused": network.refuse} {
		say(ada, "Before "+name)
		grace.waitLine("Before " + name)
		cut()
		ada.waitText("#state", "Reconnecting…")
		say(grace, "Meanwhile, "+name)
		grace.waitLine("Meanwhile, " + name)
		say(ada, "From afar, "+name)
		network.restore()
		ada.wait(connected)
		for _, p := range []*page{ada, grace} {
			p.waitLine("From afar, " + name)
			if got := eval[string](p, lines); got != strings.Join(want, "|") {
				t.Errorf("%s: %s\nwant %s", name, got, strings.Join(want, "|"))
			}
		}
		ada.waitText("#outbox", "")
	}
	if notes := eval[string](grace, `[...document.querySelectorAll('#lines .note')].map((e) => e.textContent).join('|')`); notes != "" {
		t.Errorf("Grace was told: %s", notes)
	}
}

func TestChatKeyboard(t *testing.T) {
	s := startChat(t, "localhost:0")
	p := openChat(t, s.url, "Ada")
	p.js(`document.activeElement.blur()`)
	p.do(chromedp.EmulateViewport(390, 844))
	p.do(chromedp.Focus(chromedp.CSS("#show-rooms")), chromedp.KeyEvent("\r"))
	p.wait(`document.querySelector('#show-rooms').ariaExpanded === 'true' && document.querySelector('#rooms a').checkVisibility({ visibilityProperty: true })`)
	p.do(chromedp.KeyEvent("\x1b"))
	p.wait(`document.activeElement.id === 'show-rooms' && !document.querySelector('#rooms a').checkVisibility({ visibilityProperty: true })`)
	var stops []string
	for range 6 {
		stops = append(stops, eval[string](p, `document.activeElement.id || document.activeElement.textContent || document.activeElement.ariaLabel`))
		if !eval[bool](p, `document.activeElement.matches(':focus-visible')`) {
			t.Errorf("the focus on %s can't be seen", stops[len(stops)-1])
		}
		p.do(chromedp.KeyEvent("\t"))
	}
	if got := fmt.Sprint(stops[:5]); got != "[show-rooms leave show-people log text]" {
		t.Errorf("Tab goes to %s", got)
	}
}

// The longest name, and lines without a place to break it, fit every width.
func TestChatLongName(t *testing.T) {
	s := startChat(t, "localhost:0")
	grace := openChat(t, s.url, "Grace")
	long := openChat(t, s.url, strings.Repeat("W", 24))
	line := strings.Repeat("x", 200)
	long.say(line)
	grace.waitLine(line)
	for _, p := range []*page{grace, long} {
		for _, width := range []int64{320, 390, 1280} {
			p.do(chromedp.EmulateViewport(width, 800))
			for _, place := range []string{"#log", "#rooms-panel", "#people-panel"} {
				if over := eval[int](p, fmt.Sprintf(`document.querySelector(%q).scrollWidth - document.querySelector(%[1]q).clientWidth`, place)); over > 0 {
					t.Errorf("%d wide: %s is %d pixels too wide", width, place, over)
				}
			}
		}
	}
}

// The page fits every width in both colour schemes. With WSCTL_E2E_SHOTS it is also there to be looked at.
func TestChatLooks(t *testing.T) {
	s := startChat(t, "localhost:0")
	ada := openChat(t, s.url, "Ada")
	grace := openChat(t, s.url, "Grace Hopper")
	linus := openChat(t, s.url, "Zoë")
	for _, l := range []struct {
		p    *page
		text string
	}{
		{grace, "Morning! Has anybody tried to pull the plug on the new chat?"},
		{grace, "Mine said “Trying again…”, and I went on writing."},
		{linus, "I restarted the server three times. Everybody came back, nobody had to reload."},
		{ada, "That's the client: it waits a random while, so that we don't all knock at once."},
		{linus, "And on the server it's a struct. Say is a method:\n\nfunc (g *Guest) Say(s *wsctl.Socket, w Words) (int64, error)"},
		{ada, "Nice. And a name that is too long, or a line with control characters?"},
		{grace, "Validate() error on the argument, and I get told what was wrong."},
	} {
		// By script: the keys of a line with more than one would send the first.
		l.p.js(fmt.Sprintf(`document.querySelector('#text').value = %q; document.querySelector('#composer').requestSubmit()`, l.text))
		ada.waitLine(l.text)
	}
	linus.do(chromedp.Click(chromedp.CSS(`#rooms a[href="#random"]`)))
	linus.say("Coffee?")
	ada.wait(`document.querySelectorAll('#rooms .unread').length === 1`)
	grace.do(chromedp.SendKeys(chromedp.CSS("#text"), "And"))
	ada.waitText("#typing", "Grace Hopper is typing…")
	ada.shotChat(t, "chat")
	fresh := open(t, s.url)
	fresh.wait(`document.querySelector('#naming').open`)
	fresh.shotChat(t, "name")
}

// shotChat looks at the page in all widths and both schemes.
func (p *page) shotChat(t *testing.T, state string) {
	t.Helper()
	background := make(map[string]string)
	for _, width := range []int64{1280, 820, 390, 320} {
		for _, scheme := range []string{"light", "dark"} {
			p.do(chromedp.EmulateViewport(width, 800))
			p.media("prefers-color-scheme", scheme)
			if over := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
				t.Errorf("%s, %d wide: %d pixels too much", state, width, over)
			}
			background[scheme] = eval[string](p, `getComputedStyle(document.body).backgroundColor`)
			p.shot(fmt.Sprintf("chat-%s-%d-%s.png", state, width, scheme))
		}
	}
	if background["light"] == background["dark"] {
		t.Errorf("dark is as light: %v", background)
	}
}
