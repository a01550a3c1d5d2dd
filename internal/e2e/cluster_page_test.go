package e2e

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/wsctl/wsctl"
)

// stage is the controller of the cluster's page where a test is the cluster: whatever is said waits until the test has answered.
type stage struct {
	answers chan fate
}

// fate is what becomes of a line.
type fate int

const (
	heard  fate = iota
	lost        // kept, but nobody hears it: the broker has begun anew
	denied      // for what is in it
)

type words struct {
	Page string `json:"page"`
	N    int    `json:"n"`
	Text string `json:"text"`
}

func (st *stage) OnOpen(s *wsctl.Socket, _ *http.Request) error {
	return s.Send("welcome", map[string]string{"node": "node-1"})
}

func (st *stage) Say(ctx context.Context, s *wsctl.Socket, w words) error {
	select {
	case what := <-st.answers:
		switch what {
		case lost:
			return nil
		case denied:
			return wsctl.Errorf(wsctl.CodeBadRequest, "not that")
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.Send("said", struct {
		words
		At   time.Time `json:"at"`
		From string    `json:"from"`
		Node string    `json:"node"`
	}{w, time.Now(), s.Identity().User, "node-1"})
}

// People is nobody.
func (st *stage) People(*wsctl.Socket) iter.Seq2[int, error] { return func(func(int, error) bool) {} }

// Kill spares the node.
func (st *stage) Kill(*wsctl.Socket) {}

// openStage shows the page of the cluster. Its network is the proxy.
func openStage(t *testing.T) (*stage, *proxy, *page) {
	t.Helper()
	skipIfOff(t)
	st := &stage{answers: make(chan fate, 1000)}
	sockets := wsctl.New(st, &wsctl.Options{
		TypeName: wsctl.SnakeCase,
		Authenticate: func(_ context.Context, _ *http.Request, token string) (wsctl.Identity, error) {
			return wsctl.Identity{User: token}, nil
		},
	})
	mux := http.NewServeMux()
	mux.Handle("GET /ws", sockets)
	mux.Handle("GET /js/{file}", wsctl.JS())
	mux.Handle("GET /", http.FileServer(http.Dir("../../examples/cluster")))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sockets.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		server.Close()
	})
	network := newProxy(t, strings.TrimPrefix(server.URL, "http://"))
	p := newPage(t, refused)
	p.do(chromedp.EmulateViewport(780, 500), chromedp.Navigate(network.url()))
	p.wait(`document.querySelector('#naming').open`)
	return st, network, p
}

// enter gives a name by the keyboard.
func (p *page) enter(name string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(name + "\r"))
	p.waitNode(``)
}

// say is the statement that says n lines at once.
func say(n int) string {
	return fmt.Sprintf(`for (let i = 0; i < %d; i++) {
		document.querySelector('#text').value = 'Some words';
		document.querySelector('#composer').requestSubmit();
	}`, n)
}

func (st *stage) answer(n int, what fate) {
	for range n {
		st.answers <- what
	}
}

// waitInSight waits until n lines were heard, and the last can be seen, all of it.
func (p *page) waitInSight(n int) {
	p.t.Helper()
	p.waitText("#heard", fmt.Sprint(n))
	p.wait(`(() => {
		const log = document.querySelector('#log').getBoundingClientRect();
		const line = document.querySelector('#log').lastChild.getBoundingClientRect();
		return line.top >= log.top && line.bottom <= log.bottom;
	})()`)
}

// frames lets the page be shown some times.
func (p *page) frames() {
	p.t.Helper()
	eval[int](p, `new Promise((done) => { let n = 0; const next = () => (n++ < 3 ? requestAnimationFrame(next) : done(n)); next(); })`)
}

// The end of the conversation stays in sight, whatever takes room from it, but not while somebody reads what is above.
func TestClusterFollows(t *testing.T) {
	t.Parallel()
	st, _, p := openStage(t)
	p.enter("Ada")
	p.js(say(20))
	st.answer(20, heard)
	p.waitInSight(20)
	for n := 20; n < 40; n += 5 { // lines that wait, and come
		p.js(say(5))
		p.wait(`document.querySelectorAll('#waiting li').length === 5`)
		p.waitInSight(n)
		st.answer(5, heard)
		p.waitInSight(n + 5)
		p.waitText("#waiting", "")
	}
	// A note, and lines that wait, in one task: the log is scrolled, and has less room before that is told.
	p.js(`document.querySelector('#kill').click(); ` + say(5))
	p.waitInSight(40)
	st.answer(5, heard)
	p.waitInSight(45)
	p.do(chromedp.EmulateViewport(780, 300)) // as with the keyboard of a phone
	p.waitInSight(45)
	p.js(say(1))
	st.answer(1, heard)
	p.waitInSight(46)

	const place = `document.querySelector('#log').scrollTop`
	p.js(place + ` -= 400`)
	p.frames() // until it is told
	above := eval[float64](p, place)
	p.js(say(5))
	p.wait(`document.querySelectorAll('#waiting li').length === 5`)
	st.answer(5, heard)
	p.waitText("#heard", "51")
	p.do(chromedp.EmulateViewport(780, 500))
	p.frames()
	if at := eval[float64](p, place); at != above {
		t.Errorf("who reads at %v is taken to %v", above, at)
	}
	p.js(place + ` += 5000`)
	p.frames()
	p.waitInSight(51)
	p.js(say(5))
	st.answer(5, heard)
	p.waitInSight(56)
}

// Nobody is here without a name, and who has given one can write.
func TestClusterName(t *testing.T) {
	t.Parallel()
	st, _, p := openStage(t)
	for range 3 {
		p.do(chromedp.KeyEvent("\x1b"))
		p.wait(`document.querySelector('#naming').open && document.activeElement.id === 'name'`)
	}
	p.enter("Ada")
	p.wait(`document.activeElement.id === 'text'`)
	p.do(chromedp.KeyEvent("Hello\r"))
	st.answer(1, heard)
	p.waitHeard(1, "Hello")
}

// What is kept, or refused, doesn't wait any more, and what comes after it follows without a gap.
func TestClusterUnheard(t *testing.T) {
	t.Parallel()
	st, _, p := openStage(t)
	p.enter("Ada")
	p.js(say(3))
	p.wait(`document.querySelectorAll('#waiting li').length === 3`)
	st.answer(1, heard)
	p.waitHeard(1, "Some words", "Some words", "Some words")
	st.answer(1, denied)
	p.wait(`document.querySelector('#log').lastChild.textContent === 'not that'`)
	st.answer(1, heard)
	p.waitHeard(2, "Some words")
	p.js(say(2))
	st.answer(2, lost)
	p.waitText("#waiting", "")
	p.waitText("#heard", "2")
}

// The longest name, and lines without a place to break it, fit every width.
func TestClusterNarrow(t *testing.T) {
	t.Parallel()
	st, _, p := openStage(t)
	p.enter(strings.Repeat("W", 24))
	p.do(chromedp.KeyEvent("Words and words and words and words and " + strings.Repeat("x", 100) + "\r"))
	st.answer(1, heard)
	p.waitText("#heard", "1")
	p.do(chromedp.KeyEvent("Short\r")) // it waits
	for _, width := range []int64{320, 360, 390, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			p.do(chromedp.EmulateViewport(width, 600))
			p.media("prefers-color-scheme", scheme)
			if over := eval[int](p, `document.querySelector('#log').scrollWidth - document.querySelector('#log').clientWidth`); over > 0 {
				t.Errorf("%d wide: the conversation is %d pixels too wide", width, over)
			}
			if n := eval[float64](p, `document.querySelector('#state').getBoundingClientRect().height`); n > 30 {
				t.Errorf("%d wide: the state is %v pixels high", width, n)
			}
			p.shot(fmt.Sprintf("cluster-long-%d-%s.png", width, scheme))
		}
	}
	st.answer(1, heard)
}

// The button that kills keeps the focus, and does nothing while there is no node to kill.
func TestClusterKillByKeyboard(t *testing.T) {
	t.Parallel()
	_, network, p := openStage(t)
	p.enter("Ada")
	p.do(chromedp.Focus(chromedp.CSS("#kill")))
	network.refuse()
	p.wait(`document.querySelector('#kill').matches('[aria-disabled=true], :disabled')`)
	p.do(chromedp.KeyEvent(" "))
	const killing = `[...document.querySelectorAll('.note')].filter((e) => e.textContent === 'Killing node-1…').length`
	if n := eval[int](p, killing); n != 0 {
		t.Error("the page kills a node that it isn't on")
	}
	network.restore()
	p.wait(`!document.querySelector('#kill').matches('[aria-disabled=true], :disabled')`)
	if at := eval[string](p, `document.activeElement.id`); at != "kill" {
		t.Errorf("the focus is at %q", at)
	}
	p.do(chromedp.KeyEvent(" "))
	p.wait(killing + ` === 1`)
}
