package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a step may take. It is far more than any needs: a machine may be busy.
const patience = time.Minute

var (
	off     = os.Getenv("WSCTL_E2E") == "off"
	browser context.Context // of the one browser of all tests; each test has tabs of its own
	binary  string          // the starter
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // parallel tests wait for most of the time
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if off {
		fmt.Fprintln(os.Stderr, "e2e: SKIPPED, no browser test runs: WSCTL_E2E=off")
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "wsctl-e2e-")
	if err != nil {
		return 0, err
	}
	binary = filepath.Join(dir, "starter.exe") // .exe for Windows; others don't care
	build := exec.Command("go", "build", "-o", binary, "./examples/starter")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building the starter: %w\n%s", err, out)
	}
	// Few options: chromedp's defaults would make the browser unlike that of a user, who has timers throttled in hidden tabs.
	opts := []chromedp.ExecAllocatorOption{
		chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.UserDataDir(filepath.Join(dir, "profile")),
	}
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox) // Chromium has no sandbox for root
	}
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	defer cancel()
	// The library's own complaints, about events that it doesn't know, are not about us.
	browser, cancel = chromedp.NewContext(alloc, chromedp.WithErrorf(func(string, ...any) {}))
	defer cancel()
	if err := chromedp.Do(browser); errors.Is(err, exec.ErrNotFound) {
		return 0, fmt.Errorf("no browser found: install one (Debian: apt-get install --no-install-recommends chromium), "+
			"or skip these tests with WSCTL_E2E=off: %w", err)
	} else if err != nil {
		return 0, fmt.Errorf("the browser doesn't start: %w", err)
	}
	code = m.Run()
	ctx, cancel := context.WithTimeout(browser, patience)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		return code, fmt.Errorf("closing the browser: %w", err)
	}
	return code, os.RemoveAll(dir)
}

// page is a tab. What goes wrong in it fails the test: a step, and at the end every warning, error and exception on its
// console that wasn't allowed; violations of the Content-Security-Policy are among them.
type page struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards console
	console []string
}

// open shows url in a new tab. allowed are patterns of console lines that are no failure.
func open(t *testing.T, url string, allowed ...string) *page {
	t.Helper()
	p := newPage(t, allowed...)
	p.do(chromedp.Navigate(url))
	return p
}

func newPage(t *testing.T, allowed ...string) *page {
	t.Helper()
	skipIfOff(t)
	p := &page{t: t}
	p.ctx, p.cancel = chromedp.NewContext(browser)
	t.Cleanup(p.close)
	t.Cleanup(func() {
		for _, line := range p.lines() {
			if len(allowed) == 0 || !regexp.MustCompile(strings.Join(allowed, "|")).MatchString(line) {
				t.Errorf("console: %s", line)
			}
		}
	})
	// Not under a limit: the tab would end with it.
	if err := chromedp.Do(p.ctx); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(p.ctx, p.listen); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *page) listen(event any) {
	var line string
	switch e := event.(type) {
	case *log.EventEntryAdded:
		line = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *runtime.EventExceptionThrown:
		line = "exception: " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			line += " " + x.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type != runtime.ConsoleAPICalledTypeError && e.Type != runtime.ConsoleAPICalledTypeWarning {
			return
		}
		line = string(e.Type) + ":"
		for _, arg := range e.Args {
			line += " " + string(arg.Value) + arg.Description
		}
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.console = append(p.console, line)
}

func (p *page) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.console...)
}

func (p *page) close() { p.cancel() }

// do runs steps, within the limits of patience.
func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%v\npage: %s\nconsole: %q", err, p.text(), p.lines())
	}
}

// text is what can be read on the page, for failures.
func (p *page) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// wait waits until an expression of JavaScript holds. (chromedp.Poll would do, but uses eval, which our pages don't allow.)
func (p *page) wait(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	js := fmt.Sprintf(`new Promise((done) => { const look = () => (%s) ? done() : setTimeout(look, 5); look(); })`, expression)
	for {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void](js, chromedp.EvalAwaitPromise))
		if err == nil {
			return
		}
		select { // a navigation is an error; the new page may be the right one
		case <-ctx.Done():
			p.t.Fatalf("waiting for %s: %v\npage: %s\nconsole: %q", expression, err, p.text(), p.lines())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitText waits until an element has exactly that text.
func (p *page) waitText(selector, text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`document.querySelector(%q)?.textContent === %q`, selector, text))
}

// js runs a statement. It awaits nothing.
func (p *page) js(statement string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](statement))
}

// eval returns the value of an expression, awaited if it is a promise.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v\nconsole: %q", expression, err, p.lines())
	}
	return v
}

// receive waits for a value.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing came within %v", what, patience)
		panic("unreachable")
	}
}

// starter is a running example: examples/starter, or another one of its kind.
type starter struct {
	t    *testing.T
	name string
	url  string
	cmd  *exec.Cmd
	out  *bytes.Buffer
}

// skipIfOff skips a test of the browser where it is told to.
func skipIfOff(t *testing.T) {
	t.Helper()
	if off {
		t.Skip("WSCTL_E2E=off")
	}
}

// startStarter runs the starter and waits until it listens.
func startStarter(t *testing.T, addr string) *starter {
	t.Helper()
	skipIfOff(t)
	return start(t, "the starter", binary, addr)
}

// start runs an example and waits until it listens.
func start(t *testing.T, name, path, addr string) *starter {
	t.Helper()
	s := &starter{t: t, name: name, cmd: exec.Command(path, "-addr", addr), out: new(bytes.Buffer)}
	s.cmd.Stderr = s.out
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.stop()
		}
	})
	url := make(chan string, 1)
	go func() {
		defer close(url)
		for lines := bufio.NewScanner(stdout); lines.Scan(); { // it prints its address when it listens
			if at := regexp.MustCompile(`http://\S+`).FindString(lines.Text()); at != "" {
				url <- at
				return
			}
		}
	}()
	s.url = receive(t, name+"'s address", url)
	if s.url == "" {
		err := s.cmd.Wait()
		t.Fatalf("%s doesn't start on %s: %v\n%s", name, addr, err, s.out)
	}
	return s
}

// stop ends the example as Ctrl-C does, and waits for it.
func (s *starter) stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(os.Interrupt)
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("%s's end: %v\n%s", s.name, err, s.out)
	}
}

// host is host:port of the starter.
func (s *starter) host() string { return strings.TrimPrefix(s.url, "http://") }
