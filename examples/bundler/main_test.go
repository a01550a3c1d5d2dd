package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/wsctltest"
)

func TestRoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := wsctl.New(&Table{}, options())
		one, two := wsctltest.Dial(t, h, nil), wsctltest.Dial(t, h, nil)
		var throw Throw
		if err := one.Call("roll", Dice{3, 6}, &throw); err != nil {
			t.Fatal(err)
		}
		if len(throw.Faces) != 3 || throw.Total != sum(throw.Faces) {
			t.Errorf("3 dice show %+v", throw)
		}
		if told := wsctltest.Expect[Throw](two, "rolled"); told.Total != throw.Total {
			t.Errorf("the other page is told %+v, not %+v", told, throw)
		}
		one.Quiet() // it has the answer
	})
}

func TestDice(t *testing.T) {
	for _, d := range []Dice{{1, 2}, {6, 20}} {
		for range 1000 {
			for _, face := range d.throw() {
				if face < 1 || face > d.Sides {
					t.Fatalf("a die with %d sides shows %d", d.Sides, face)
				}
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c := wsctltest.Dial(t, wsctl.New(&Table{}, options()), nil)
		for _, d := range []Dice{{0, 6}, {7, 6}, {2, 1}, {2, 21}, {-1, -1}} {
			err := c.Call("roll", d, nil)
			if e := (*wsctl.Error)(nil); !errors.As(err, &e) || e.Code != wsctl.CodeBadRequest {
				t.Errorf("%+v: %v", d, err)
			}
		}
	})
}

// The stream over the wire: how many items, what they add up to, and that it can be left.
func TestOdds(t *testing.T) {
	srv, sockets := newServer(fstest.MapFS{})
	ts := httptest.NewServer(srv.Handler)
	defer ts.Close()
	defer sockets.Shutdown(context.WithoutCancel(t.Context()))
	c, err := client.Dial(t.Context(), strings.Replace(ts.URL, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context()))
	items := 0
	for odds, err := range client.Stream[Odds](t.Context(), c, "odds", Dice{2, 6}) {
		if err != nil {
			t.Fatal(err)
		}
		items++
		all := 0.0
		for _, share := range odds.Shares {
			all += share
		}
		if odds.Throws != items*oddsStep || len(odds.Shares) != 11 || all < 0.999 || all > 1.001 {
			t.Fatalf("item %d: %+v", items, odds)
		}
	}
	if items != oddsItems {
		t.Errorf("%d items, want %d", items, oddsItems)
	}
	for range new(Table).Odds(nil, Dice{1, 2}) {
		break // would panic if the method went on
	}
}

// The page's types are those of the controller.
func TestTypes(t *testing.T) {
	wsctltest.Types(t, wsctl.New(&Table{}, options()), "web/src/protocol.d.ts")
}

// get asks for a path of the page.
func get(t *testing.T, page fs.FS, path string) *http.Response {
	t.Helper()
	srv, _ := newServer(page)
	w := httptest.NewRecorder()
	srv.Handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Result()
}

func TestPage(t *testing.T) {
	page := fstest.MapFS{
		"index.html":         {Data: []byte("<!doctype html>")},
		"assets/index-1a.js": {Data: []byte("1")},
	}
	for path, want := range map[string]struct {
		status int
		cache  string
	}{
		"/":                   {200, "no-cache"},
		"/assets/index-1a.js": {200, "public, max-age=31536000, immutable"},
		"/assets/index-2b.js": {404, ""}, // of another build: not to be kept
		"/none":               {404, ""},
	} {
		res := get(t, page, path)
		if res.StatusCode != want.status || res.Header.Get("Cache-Control") != want.cache {
			t.Errorf("%s: %s, Cache-Control %q", path, res.Status, res.Header.Get("Cache-Control"))
		}
		if csp := res.Header.Get("Content-Security-Policy"); csp != "default-src 'self'" {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
	}
}

// Without a page the program runs, for npm run dev, and says what to do.
func TestNotBuilt(t *testing.T) {
	dir := t.TempDir() + "/none"
	res := get(t, os.DirFS(dir), "/")
	body := make([]byte, 1000)
	n, _ := res.Body.Read(body)
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body[:n]), "npm run build") {
		t.Errorf("%s: %s", res.Status, body[:n])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if err := run(ctx, "localhost:0", dir, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), dir) || !strings.Contains(out.String(), "npm run build") {
		t.Error(out.String())
	}
}
