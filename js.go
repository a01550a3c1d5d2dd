package wsctl

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The browser client is made by esbuild, from the module proxy: neither Node nor an entry in go.mod is needed. A test
// compares js/dist with what these lines make. What isn't a flag here is in js/tsconfig.json; js/src/mangle.json has
// the short names of private members, those of a Client such as a subclass won't have. js/types.sh makes the types.
//
//go:generate go run github.com/evanw/esbuild/cmd/esbuild@v0.28.2 wsctl=js/src/index.ts wsctl.core=js/src/core.ts --outdir=js/dist --format=esm --bundle --minify --target=es2022 --mangle-props=^_ --mangle-cache=js/src/mangle.json --charset=utf8 --legal-comments=none --sourcemap=external --log-level=warning
//go:generate go run github.com/evanw/esbuild/cmd/esbuild@v0.28.2 wsctl.global=js/src/global.ts --outdir=js/dist --format=iife --bundle --minify --target=es2022 --mangle-props=^_ --mangle-cache=js/src/mangle.json --charset=utf8 --legal-comments=none --sourcemap=external --log-level=warning

//go:embed js/dist
var jsDist embed.FS

// JS returns a handler that serves the browser client, which is part of the program, so that the two can't drift
// apart. It goes by the last element of the path, and can be mounted anywhere:
//
//	mux.Handle("GET /js/{file}", wsctl.JS())
//
// The files are wsctl.js and wsctl.core.js (ES modules), wsctl.global.js (a classic script, which sets the globals
// wsctl, SimpleSocketHandler and MessageTypes), their source maps (.js.map), and the types wsctl.d.ts and
// wsctl.core.d.ts; any other name is 404, any method but GET and HEAD 405. wsctl.core.js has no streams and no rooms. They
// need no inline script and no eval: a Content-Security-Policy of script-src 'self' is enough.
//
// Each has a strong ETag and is revalidated at every use (no-cache), which costs a 304. Under ?v= and the hash that
// begins its ETag, it is kept for a year without asking (immutable). Clients that accept gzip get it.
func JS() http.Handler {
	entries, err := jsDist.ReadDir("js/dist")
	if err != nil {
		panic(err) // embedded: can't be
	}
	files := make(jsFiles, len(entries))
	for _, e := range entries {
		data, err := jsDist.ReadFile("js/dist/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		f := &jsFile{
			contentType: jsTypes[path.Ext(e.Name())],
			hash:        fmt.Sprintf("%x", sum[:16]),
			data:        data,
			gzip:        sync.OnceValue(func() []byte { return gzipped(data) }),
		}
		if path.Ext(e.Name()) == ".js" {
			f.sourceMap = e.Name() + ".map"
		}
		files[e.Name()] = f
	}
	return files
}

// jsTypes has no type of TypeScript's own: none is registered, and as text a browser shows it.
var jsTypes = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".map": "application/json",
	".ts":  "text/plain; charset=utf-8",
}

// jsFiles is the handler: file by name. It is never changed.
type jsFiles map[string]*jsFile

type jsFile struct {
	contentType string
	sourceMap   string // the file of it; a header in place of a comment, which every page would load
	hash        string
	data        []byte
	gzip        func() []byte // made by the first who asks
}

func (files jsFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Not path.Base, to which "/wsctl.js/" is wsctl.js.
	f := files[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Type", f.contentType)
	if f.sourceMap != "" {
		h.Set("SourceMap", f.sourceMap)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if r.URL.RawQuery != "" && r.URL.Query().Get("v") == f.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	// The two encodings differ byte by byte, so their strong ETags must.
	data, etag := f.data, f.hash
	if acceptsGzip(r.Header) {
		data, etag = f.gzip(), f.hash+"-gzip"
		h.Set("Content-Encoding", "gzip")
		// ServeContent leaves the length out beside an encoding. With If-Match it may answer 412, without a body.
		if r.Header.Get("If-Match") == "" {
			h.Set("Content-Length", strconv.Itoa(len(data)))
		}
	}
	h.Set("Etag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// acceptsGzip reports whether gzip is acceptable by RFC 9110, 12.5.3, and not less wanted than no encoding.
func acceptsGzip(h http.Header) bool {
	gzip, identity, other := -1.0, -1.0, 0.0
	for coding := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		q := 1.0
		if weight, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
			q, _ = strconv.ParseFloat(weight, 64) // 0 if malformed
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			gzip = q
		case "identity":
			identity = q
		case "*":
			other = q
		}
	}
	if gzip < 0 {
		gzip = other
	}
	return gzip > 0 && gzip >= identity
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // into memory, at a level that there is: can't be
	}
	return b.Bytes()
}
