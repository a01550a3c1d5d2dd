// Command chat is a chat on wsctl: rooms, nicknames, who is there and who is typing. Nothing of what is said is kept: who
// comes later doesn't see it. Run it and open http://localhost:42000 in two windows:
//
//	go run ./examples/chat
//
// controller.go is what pages can call and rooms.go who is in the rooms; index.html, chat.css, chat.js (what is said and
// heard) and view.js (what is seen) are the page; this file is the server, in the manner of examples/starter.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/wsctl/wsctl"
)

// The page is part of the program: one file to deploy.
//
//go:embed index.html chat.css chat.js view.js favicon.svg
var files embed.FS

func main() {
	addr := flag.String("addr", "localhost:42000", "`host:port` to listen on; port 0 takes a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, *addr, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then shuts down and waits for it.
func run(ctx context.Context, addr string, out io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w (another program has the port: stop it, or choose another port; -addr localhost:0 takes a free one)", err)
		}
		return fmt.Errorf("can't listen on %s: %w", addr, err)
	}
	srv, sockets := newServer()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	fmt.Fprintf(out, "Open %s in a browser. Ctrl-C stops the server.\n", url(addr, ln))

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(out, "Stopping.")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second) // a page has 10 s to answer the close
	defer cancel()
	// Both, in this order: the http.Server knows nothing of WebSockets, it would neither close them nor wait for them.
	return errors.Join(sockets.Shutdown(ctx), srv.Shutdown(ctx))
}

// newServer returns the server, and the handler of its WebSockets, which wants a Shutdown of its own.
func newServer() (*http.Server, *wsctl.Handler) {
	sockets := wsctl.New(&Chat{}, &wsctl.Options{
		TypeName:    wsctl.SnakeCase, // Say is called say
		Controllers: []any{&Guest{}}, // given to SetController later; checked now
		Events:      []wsctl.Declaration{snapshot, arrival, departure, said, typing},
	})
	mux := http.NewServeMux()
	mux.Handle("GET /ws", sockets)
	mux.Handle("GET /js/{file}", wsctl.JS())      // the browser client
	mux.Handle("GET /", http.FileServerFS(files)) // of "/" it makes index.html
	return &http.Server{
		Handler:           secure(mux),
		ReadHeaderTimeout: 10 * time.Second, // for clients that send half a request and stop
		IdleTimeout:       2 * time.Minute,
	}, sockets
}

// secure lets pages load only what this server has: no scripts, styles or connections from elsewhere, and none inline.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// url is where a browser finds the listener.
func url(addr string, ln net.Listener) string {
	host, _, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // every address of this machine
	}
	port := ln.Addr().(*net.TCPAddr).Port
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}
