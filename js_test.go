package wsctl_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wsctl/wsctl"
)

var jsNames = []string{
	"wsctl.js", "wsctl.core.js", "wsctl.global.js",
	"wsctl.js.map", "wsctl.core.js.map", "wsctl.global.js.map",
	"wsctl.d.ts", "wsctl.core.d.ts",
}

// jsGet asks JS; header is a list of names and values.
func jsGet(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func jsBody(t *testing.T, res *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func jsDist(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("js", "dist", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func jsHeader(t *testing.T, res *http.Response, name, want string) {
	t.Helper()
	if got := res.Header.Get(name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func TestJSFiles(t *testing.T) {
	h := wsctl.JS()
	dir, err := os.ReadDir("js/dist")
	if err != nil {
		t.Fatal(err)
	}
	if len(dir) != len(jsNames) {
		t.Errorf("js/dist has %d files, want %d", len(dir), len(jsNames))
	}
	types := map[string]string{
		".js":  "text/javascript; charset=utf-8",
		".map": "application/json",
		".ts":  "text/plain; charset=utf-8",
	}
	etags := map[string]string{}
	for _, name := range jsNames {
		t.Run(name, func(t *testing.T) {
			res := jsGet(t, h, "GET", "/js/"+name)
			if res.StatusCode != 200 {
				t.Fatal(res.Status)
			}
			want := jsDist(t, name)
			if !bytes.Equal(jsBody(t, res), want) {
				t.Error("not the bytes of js/dist")
			}
			jsHeader(t, res, "Content-Type", types[filepath.Ext(name)])
			jsHeader(t, res, "Content-Length", fmt.Sprint(len(want)))
			jsHeader(t, res, "X-Content-Type-Options", "nosniff")
			jsHeader(t, res, "Cache-Control", "no-cache")
			jsHeader(t, res, "Vary", "Accept-Encoding")
			jsHeader(t, res, "Content-Encoding", "")
			if sourceMap := name + ".map"; slices.Contains(jsNames, sourceMap) {
				jsHeader(t, res, "SourceMap", sourceMap)
			} else {
				jsHeader(t, res, "SourceMap", "")
			}
			tag := res.Header.Get("Etag")
			if len(tag) != 34 || tag[0] != '"' || tag[33] != '"' {
				t.Errorf("ETag %q isn't a strong one of 128 bits", tag)
			}
			if other, ok := etags[tag]; ok && !bytes.Equal(want, jsDist(t, other)) {
				t.Errorf("same ETag as %s", other)
			}
			etags[tag] = name
		})
	}
}

func TestJSMountedAnywhere(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("GET /js/{file}", wsctl.JS())
	mux.Handle("/deep/er/", wsctl.JS())
	mux.Handle("/strip/", http.StripPrefix("/strip", wsctl.JS()))
	mux.Handle("/bare/", http.StripPrefix("/bare/", wsctl.JS()))
	mux.Handle("/wsctl.js", wsctl.JS())
	s := httptest.NewServer(mux)
	defer s.Close()
	for _, path := range []string{
		"/js/wsctl.js", "/deep/er/wsctl.js", "/deep/er/and/deeper/wsctl.js", "/strip/wsctl.js", "/bare/wsctl.js", "/wsctl.js",
	} {
		res, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body := jsBody(t, res)
		res.Body.Close()
		// The client of net/http asks for gzip and undoes it.
		if res.StatusCode != 200 || !bytes.Equal(body, jsDist(t, "wsctl.js")) || !res.Uncompressed {
			t.Errorf("%s: %s, %d bytes, compressed %v", path, res.Status, len(body), res.Uncompressed)
		}
	}
}

func TestJSNotFound(t *testing.T) {
	h := wsctl.JS()
	for _, target := range []string{
		"/", "/js", "/js/", "/js/dist", "/js/none.js", "/js/WSCTL.JS", "/js/wsctl.js/", "/js/wsctl.js.gz", "/js/.", "/js/..",
		"/js/%2e%2e", "/js/..%5cwsctl.js", "/js/wsctl.js%00", "/js/..%2fjs.go", "/js/../../js.go", "/js/package.json",
		"/js/core.ts",
	} {
		for _, method := range []string{"GET", "POST"} {
			res := jsGet(t, h, method, target)
			if res.StatusCode != 404 {
				t.Errorf("%s %s: %s", method, target, res.Status)
			}
			if c := res.Header.Get("Cache-Control"); c != "" {
				t.Errorf("%s: 404 with Cache-Control %q", target, c)
			}
		}
	}
}

func TestJSMethods(t *testing.T) {
	h := wsctl.JS()
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"} {
		res := jsGet(t, h, method, "/js/wsctl.js")
		if res.StatusCode != 405 {
			t.Errorf("%s: %s", method, res.Status)
		}
		jsHeader(t, res, "Allow", "GET, HEAD")
	}
	for _, accept := range []string{"", "gzip"} {
		get := jsGet(t, h, "GET", "/js/wsctl.js", "Accept-Encoding", accept)
		head := jsGet(t, h, "HEAD", "/js/wsctl.js", "Accept-Encoding", accept)
		if head.StatusCode != 200 || len(jsBody(t, head)) != 0 {
			t.Errorf("HEAD: %s, or a body", head.Status)
		}
		jsHeader(t, head, "Content-Length", fmt.Sprint(len(jsBody(t, get))))
		for name := range get.Header {
			jsHeader(t, head, name, get.Header.Get(name))
		}
	}
}

func TestJSGzip(t *testing.T) {
	h := wsctl.JS()
	for _, name := range jsNames {
		plain := jsGet(t, h, "GET", "/js/"+name)
		res := jsGet(t, h, "GET", "/js/"+name, "Accept-Encoding", "gzip, deflate, br, zstd")
		packed := jsBody(t, res)
		zr, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(name, err)
		}
		body, err := io.ReadAll(zr)
		if err != nil || !bytes.Equal(body, jsDist(t, name)) {
			t.Error(name, "isn't what was packed:", err)
		}
		jsHeader(t, res, "Content-Encoding", "gzip")
		jsHeader(t, res, "Content-Length", fmt.Sprint(len(packed)))
		jsHeader(t, res, "Vary", "Accept-Encoding")
		jsHeader(t, res, "Content-Type", plain.Header.Get("Content-Type"))
		if res.Header.Get("Etag") == plain.Header.Get("Etag") {
			t.Error(name, "has one strong ETag for two encodings")
		}
	}
	for header, want := range map[string]bool{
		"":                          false,
		"gzip":                      true,
		"GZIP":                      true,
		"x-gzip":                    true,
		"br, gzip;q=0.5":            true,
		"gzip ; q=0.1":              true,
		"gzip;Q=1":                  true,
		"*":                         true,
		"*;q=0.5, br":               true,
		"gzip;q=0.5, identity;q=.5": true,
		"gzip;q=0":                  false,
		"gzip;q=0.000":              false,
		"gzip;q=0, *":               false,
		"*;q=0":                     false,
		"*;q=0, gzip":               true,
		"gzip;q=x":                  false,
		"gzip;q=NaN":                false,
		"identity":                  false,
		"identity, gzip;q=0.5":      false,
		"identity;q=0, gzip;q=0.1":  true,
		"identity;q=0":              false,
		"br, deflate":               false,
		"gzipped":                   false,
		"not-gzip":                  false,
	} {
		got := jsGet(t, h, "GET", "/js/wsctl.js", "Accept-Encoding", header).Header.Get("Content-Encoding") == "gzip"
		if got != want {
			t.Errorf("Accept-Encoding %q: gzip %v, want %v", header, got, want)
		}
	}
	if jsGet(t, h, "GET", "/js/wsctl.js", "Accept-Encoding", "br", "Accept-Encoding", "gzip").Header.Get("Content-Encoding") != "gzip" {
		t.Error("the second Accept-Encoding line isn't read")
	}
}

func TestJSNotModified(t *testing.T) {
	h := wsctl.JS()
	for _, accept := range []string{"", "gzip"} {
		get := jsGet(t, h, "GET", "/js/wsctl.js", "Accept-Encoding", accept)
		tag := get.Header.Get("Etag")
		for match, want := range map[string]int{
			tag:                     304,
			"W/" + tag:              304,
			`"other", ` + tag:       304,
			`W/"x",` + tag + `,"y"`: 304,
			"*":                     304,
			`"other"`:               200,
			strings.Trim(tag, `"`):  200,
			strings.ToUpper(tag):    200,
		} {
			for _, method := range []string{"GET", "HEAD"} {
				res := jsGet(t, h, method, "/js/wsctl.js", "Accept-Encoding", accept, "If-None-Match", match)
				if res.StatusCode != want {
					t.Errorf("%s If-None-Match %s: %s, want %d", method, match, res.Status, want)
				}
				if want != 304 {
					continue
				}
				if len(jsBody(t, res)) != 0 {
					t.Error("304 with a body")
				}
				for _, name := range []string{"Etag", "Cache-Control", "Vary"} {
					jsHeader(t, res, name, get.Header.Get(name))
				}
				for _, name := range []string{"Content-Encoding", "Content-Length", "Content-Type"} {
					jsHeader(t, res, name, "")
				}
			}
		}
		// The ETag of one encoding says nothing about the other.
		other := map[string]string{"": "gzip", "gzip": ""}[accept]
		if res := jsGet(t, h, "GET", "/js/wsctl.js", "Accept-Encoding", other, "If-None-Match", tag); res.StatusCode != 200 {
			t.Errorf("ETag of the other encoding: %s", res.Status)
		}
	}
}

func TestJSImmutable(t *testing.T) {
	h := wsctl.JS()
	const immutable = "public, max-age=31536000, immutable"
	hash := strings.Trim(jsGet(t, h, "GET", "/js/wsctl.js").Header.Get("Etag"), `"`)
	for query, want := range map[string]string{
		"":                        "no-cache",
		"?v=" + hash:              immutable,
		"?x=1&v=" + hash:          immutable,
		"?v=":                     "no-cache",
		"?v=" + hash[1:]:          "no-cache",
		"?v=" + hash + "-gzip":    "no-cache",
		"?v=1.0&v=" + hash:        "no-cache",
		"?v=" + hash[:31] + "%zz": "no-cache",
	} {
		for _, accept := range []string{"", "gzip"} {
			res := jsGet(t, h, "GET", "/js/wsctl.js"+query, "Accept-Encoding", accept)
			if res.StatusCode != 200 {
				t.Errorf("%s: %s", query, res.Status)
			}
			jsHeader(t, res, "Cache-Control", want)
		}
	}
	// The hash is that of the file, not of all.
	jsHeader(t, jsGet(t, h, "GET", "/js/wsctl.core.js.map?v="+hash), "Cache-Control", "no-cache")
}

// Conditions that a browser never sends must not break the answer either.
func TestJSRangesAndIfMatch(t *testing.T) {
	s := httptest.NewServer(wsctl.JS())
	defer s.Close()
	for _, accept := range []string{"identity", "gzip"} {
		for _, header := range [][2]string{
			{"If-Match", `"other"`}, {"Range", "bytes=0-9"}, {"Range", "bytes=999999-"}, {"Range", "bytes=0-1,5-6"},
		} {
			r, err := http.NewRequest("GET", s.URL+"/wsctl.js", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", accept)
			r.Header.Set(header[0], header[1])
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(res.Body); err != nil {
				t.Errorf("%s, %s: %s: %v", accept, header, res.Status, err)
			}
			res.Body.Close()
		}
	}
}

// The budget. docs/BROWSER.md says which bytes go where, and what the peers weigh.
func TestJSSize(t *testing.T) {
	for _, f := range []struct {
		name  string
		limit int
	}{{"wsctl.core.js", 3520}, {"wsctl.js", 4270}, {"wsctl.global.js", 4370}} {
		data := jsDist(t, f.name)
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, 9)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-16s %5d B, gzip -9 %d B of %d", f.name, len(data), b.Len(), f.limit)
		if b.Len() > f.limit {
			t.Errorf("%s: %d B, over its budget of %d", f.name, b.Len(), f.limit)
		}
	}
}

// The types need npm to make, so they bear the sum of the sources that they were made from: js/types.sh has the recipe.
func TestJSTypesAreOfTheseSources(t *testing.T) {
	names, err := filepath.Glob("js/src/*.ts") // sorted
	if err != nil || len(names) == 0 {
		t.Fatal("no sources:", err)
	}
	var sums strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), filepath.Base(name))
	}
	want := fmt.Sprintf("// js/src %x", sha256.Sum256([]byte(sums.String())))
	for _, name := range []string{"wsctl.d.ts", "wsctl.core.d.ts"} {
		got, _, _ := strings.Cut(string(jsDist(t, name)), "\n")
		if got != want {
			t.Errorf("%s is of other sources: run js/types.sh\n got %s\nwant %s", name, got, want)
		}
	}
}

// TestJSDrift runs the go:generate lines of js.go on a copy, and compares what they make with js/dist.
func TestJSDrift(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("SKIP: the go command isn't on PATH")
	}
	src, err := os.ReadFile("js.go")
	if err != nil {
		t.Fatal(err)
	}
	var commands [][]string
	for line := range strings.Lines(string(src)) {
		if cmd, ok := strings.CutPrefix(line, "//go:generate go "); ok {
			commands = append(commands, strings.Fields(cmd))
		}
	}
	if len(commands) == 0 {
		t.Fatal("js.go has no go:generate lines")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "js/src"), os.DirFS("js/src")); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile("js/tsconfig.json")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "js/tsconfig.json"), config, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command(goTool, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(commands[0][0], commands[0][1], "--version"); err != nil {
		t.Skipf("SKIP: esbuild can't be had: %v\n%s", err, out)
	}
	for _, args := range commands {
		if out, err := run(args...); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, name := range jsNames {
		if strings.HasSuffix(name, ".d.ts") {
			continue
		}
		made, err := os.ReadFile(filepath.Join(dir, "js/dist", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(made, jsDist(t, name)) {
			t.Errorf("js/dist/%s isn't what js/src makes: run go generate", name)
		}
		if bytes.Contains(made, []byte(dir)) {
			t.Errorf("js/dist/%s names the directory that it was made in", name)
		}
	}
}

// TestJSUnits runs the client's own tests.
func TestJSUnits(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIP: node isn't on PATH")
	}
	version, err := exec.Command(node, "-p", "process.versions.node").Output()
	if err != nil {
		t.Skip("SKIP: node doesn't run:", err)
	}
	if major, _, _ := strings.Cut(string(version), "."); len(major) < 2 || major < "20" {
		t.Skipf("SKIP: node %s has no mock timers, 20 has", bytes.TrimSpace(version))
	}
	files, err := filepath.Glob("js/test/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatal("no tests:", err)
	}
	// Names, not the directory, which Node 22 doesn't take.
	out, err := exec.Command(node, append([]string{"--no-warnings", "--test", "--test-reporter=spec"}, files...)...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("%s", out)
	} else if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, " pass ") || strings.Contains(line, " fail ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
