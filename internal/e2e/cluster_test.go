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

var clusterBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "cluster.exe")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = filepath.Join("..", "..", "examples", "cluster") // a module of its own
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the cluster: %w\n%s", err, out)
	}
	return path, nil
})

// openCluster opens a page of the cluster as somebody of that name.
func openCluster(t *testing.T, url, name string) *page {
	t.Helper()
	p := open(t, url)
	p.wait(`document.querySelector('#naming').open`)
	p.js(fmt.Sprintf(`document.querySelector('#name').value = %q; document.querySelector('#naming-form').requestSubmit()`, name))
	p.waitNode(``)
	return p
}

// waitNode waits until the page is on a node, and on another one than that.
func (p *page) waitNode(other string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`/^node-\d$/.test(document.querySelector('#node').textContent) && document.querySelector('#node').textContent !== %q`, other))
}

// waitHeard waits until the page has heard n lines, the last of which is text, and is sure that none is missing. It has
// nothing to say but what waits.
func (p *page) waitHeard(n int, text string, waits ...string) {
	p.t.Helper()
	p.waitText("#heard", fmt.Sprint(n))
	p.wait(fmt.Sprintf(`[...document.querySelectorAll('#log .text')].at(-1).textContent === %q`, text))
	p.waitText("#missing", "0")
	p.waitText("#waiting", strings.Join(waits, ""))
}

func (p *page) sayToAll(text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS("#text"), text+"\r"))
}

// A node is killed while its pages talk: they go on with another one, and no line is missing anywhere.
func TestCluster(t *testing.T) {
	skipIfOff(t)
	path, err := clusterBinary()
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "the cluster", path, "localhost:0")
	ada, grace, linus := openCluster(t, s.url, "Ada"), openCluster(t, s.url, "Grace"), openCluster(t, s.url, "Linus")
	all := []*page{ada, grace, linus}
	nodes := make(map[string]bool)
	for _, p := range all {
		p.waitText("#people", "AdaGraceLinus")
		nodes[eval[string](p, `document.querySelector('#node').textContent`)] = true
	}
	if len(nodes) < 2 { // three, where none had to try again
		t.Errorf("all are on the same node: %v", nodes)
	}
	ada.sayToAll("Which node are you on?")
	grace.waitHeard(1, "Which node are you on?")
	grace.sayToAll("Another one than you.")
	linus.waitHeard(2, "Another one than you.")
	linus.sayToAll("And we all see the same.")
	for _, p := range all {
		p.waitHeard(3, "And we all see the same.")
	}
	// The one who kills goes on counting.
	ada.do(chromedp.Click(chromedp.CSS("#count")))
	grace.wait(`document.querySelector('#heard').textContent >= 6`)
	node := eval[string](ada, `document.querySelector('#node').textContent`)
	ada.do(chromedp.Click(chromedp.CSS("#kill")))
	ada.waitNode(node)
	ada.do(chromedp.Click(chromedp.CSS("#count")))
	ada.waitText("#waiting", "")
	n := eval[int](ada, `+document.querySelector('#heard').textContent`)
	grace.sayToAll("Nothing is missing here.")
	for _, p := range all {
		p.waitHeard(n+1, "Nothing is missing here.")
		p.waitInSight(n + 1)
		p.waitText("#people", "AdaGraceLinus")
	}
	ada.waitText("#moves", "1")
	if same := eval[bool](ada, `[...document.querySelectorAll('#log .text')].every((e, i, all) => all.findIndex((x) => x.textContent === e.textContent) === i)`); !same {
		t.Error("a line is there twice")
	}
	background := make(map[string]string)
	for _, width := range []int64{1280, 820, 390, 320} {
		for _, scheme := range []string{"light", "dark"} {
			ada.do(chromedp.EmulateViewport(width, 800))
			ada.media("prefers-color-scheme", scheme)
			if over := eval[int](ada, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
				t.Errorf("%d wide: %d pixels too much", width, over)
			}
			background[scheme] = eval[string](ada, `getComputedStyle(document.body).backgroundColor`)
			ada.shot(fmt.Sprintf("cluster-%d-%s.png", width, scheme))
		}
	}
	if background["light"] == background["dark"] {
		t.Errorf("dark is as light: %v", background)
	}

	// What others write is text.
	const evil = `<img src=x onerror="document.title='caught'"><b>bold</b>`
	linus.sayToAll(evil)
	ada.waitHeard(n+2, evil)
	if n := eval[int](ada, `document.querySelectorAll('#log img, #log .text b').length`); n != 0 {
		t.Errorf("%d elements were made of text", n)
	}
}
