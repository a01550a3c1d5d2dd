package e2e

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// templateSite is the starter with pages of the template in front of it: /t/?scripts=a.js,b.js loads these, in that order,
// as classic scripts. A path without a directory is one of testdata/template.
func templateSite(t *testing.T, s *starter) *httptest.Server {
	t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the page's origin, which the starter compares
		},
		ErrorLog: log.New(io.Discard, "", 0), // the starter may be away
	})
	mux.Handle("GET /t/{file}", http.StripPrefix("/t/", http.FileServer(http.Dir("testdata/template"))))
	mux.HandleFunc("GET /t/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		io.WriteString(w, `<!doctype html><title>template</title><link rel="icon" href="/favicon.svg">
<button id="hello" disabled>Hello</button> <button id="gdc" disabled>GDC</button> <p id="answer"></p>`)
		for _, src := range strings.Split(r.FormValue("scripts"), ",") {
			fmt.Fprintf(w, "<script src=%q></script>\n", html.EscapeString(src))
		}
	})
	ts := httptest.NewServer(mux)
	t.Cleanup(ts.Close)
	return ts
}

// happened is what the page has written down.
func (p *page) happened() string {
	p.t.Helper()
	return eval[string](p, `JSON.stringify(happened)`)
}

func TestTemplatePage(t *testing.T) {
	s := startStarter(t, "localhost:0")
	site := templateSite(t, s)
	for name, scripts := range map[string]string{
		"its own MessageTypes":         "/js/wsctl.global.js,names.js,page.js,more.js",
		"its own MessageTypes, before": "names.js,/js/wsctl.global.js,page.js,more.js",
		"the client's MessageTypes":    "/js/wsctl.global.js,page.js,more.js",
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, site.URL+"/t/?scripts="+url.QueryEscape(scripts))
			var want []any
			happens := func(events ...any) {
				t.Helper()
				want = append(want, events...)
				text, err := json.Marshal(want)
				if err != nil {
					t.Fatal(err)
				}
				p.wait(fmt.Sprintf(`happened.length >= %d`, len(want)))
				if got := p.happened(); got != string(text) {
					t.Fatalf("happened:\n%s, want\n%s", got, text)
				}
			}
			happens([]any{"types", []string{"open", "close"}}, []any{"open", nil})
			for _, text := range []string{
				"Hey, you !", "Hey, again !", "You are kind of repeating yourself... It's the 3th time !",
			} {
				p.do(chromedp.Click(hello))
				happens([]any{"hello_world", text}, []any{"hello_world again", text})
				p.waitText("#answer", text)
			}
			p.do(chromedp.Click(chromedp.CSS("#gdc")))
			happens([]any{"gdc", 6})
		})
	}
}

// The template's page learns of a lost connection by close, and, which is new, of its return by another open.
func TestTemplatePageComesBack(t *testing.T) {
	s := startStarter(t, "localhost:0")
	site := templateSite(t, s)
	p := open(t, site.URL+"/t/?scripts=/js/wsctl.global.js,names.js,page.js", `WebSocket connection to|favicon`)
	p.wait(enabled)
	s.stop()
	p.wait(disabled)
	startStarter(t, s.host())
	p.wait(enabled)
	// One close, however many attempts have failed: a page of the template alerts at each.
	if got := p.happened(); got != `[["open",null],["close",null],["open",null]]` {
		t.Errorf("happened: %s", got)
	}
	p.do(chromedp.Click(hello))
	p.waitText("#answer", "Hey, you !")
}
