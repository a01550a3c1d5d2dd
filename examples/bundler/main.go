// Command bundler is a web application whose page is made by a bundler: TypeScript and Vite in web, with the types of
// controller.go. It needs npm. In this folder:
//
//	npm install && npm run build   # makes web/dist
//	go run .                       # serves it on http://localhost:42000
//
// While working on the page, run both of these, and open what the second says. It passes /ws on to the first:
//
//	go run .
//	npm run dev
//
// package.json has the client from this repository. A copy of this folder makes a package of the one in its Go module, so
// that the two are of one version, and commits it:
//
//	npm pack "$(go list -m -f '{{.Dir}}' github.com/wsctl/wsctl)/js" && npm install ./wsctl-*.tgz
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/wsctl/wsctl"
)

func main() {
	addr := flag.String("addr", "localhost:42000", "`host:port` to listen on")
	web := flag.String("web", "web/dist", "`folder` with the page, made by npm run build")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, *addr, *web, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bundler:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then shuts down and waits for it.
func run(ctx context.Context, addr, web string, out io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv, sockets := newServer(os.DirFS(web))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	fmt.Fprintf(out, "Open http://%s in a browser. Ctrl-C stops the server.\n", ln.Addr())
	if !built(os.DirFS(web)) {
		fmt.Fprintf(out, "There is no page in %s yet. %s\n", web, howToBuild)
	}

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second) // a page has 10 s to answer the close
	defer cancel()
	return errors.Join(sockets.Shutdown(ctx), srv.Shutdown(ctx))
}

const howToBuild = "Run npm install && npm run build in examples/bundler, and start this program there " +
	"(or say by -web where the page is). Or open what npm run dev serves."

// built reports whether the page is there.
func built(page fs.FS) bool {
	_, err := fs.Stat(page, "index.html")
	return err == nil
}

// newServer returns the server, and the handler of its WebSockets, which wants a Shutdown of its own.
func newServer(page fs.FS) (*http.Server, *wsctl.Handler) {
	sockets := wsctl.New(&Table{}, options())
	mux := http.NewServeMux()
	mux.Handle("GET /ws", sockets)
	mux.Handle("GET /", servePage(page))
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}, sockets
}

// options are those of the handler; the types of the page are made from them, too.
func options() *wsctl.Options {
	return &wsctl.Options{TypeName: wsctl.CamelCase, Events: []wsctl.Declaration{rolled}}
}

// servePage serves what the bundler made. The names of its assets change with what is in them.
func servePage(page fs.FS) http.Handler {
	files := http.FileServerFS(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !built(page) { // asked each time: it can be built while the server runs
			http.Error(w, howToBuild, http.StatusServiceUnavailable)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		if _, err := fs.Stat(page, strings.TrimPrefix(r.URL.Path, "/")); err == nil && strings.HasPrefix(r.URL.Path, "/assets/") {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		files.ServeHTTP(w, r)
	})
}
