// Command dashboard is a live page of what a server on wsctl is doing: goroutines, memory, messages a second and connected
// sockets, as charts. Run it, open http://localhost:42000, pull the plug, put it back, and look at the lines:
//
//	go run ./examples/dashboard
//
// recorder.go measures and controller.go is what pages can call; index.html, dashboard.css, dashboard.js (what is asked and
// told) and chart.js (a line chart on a canvas) are the page; this file is the server, in the manner of examples/starter.
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
	"sync"
	"syscall"
	"time"

	"github.com/wsctl/wsctl"
)

// The page is part of the program: one file to deploy.
//
//go:embed index.html dashboard.css dashboard.js chart.js favicon.svg
var files embed.FS

func main() {
	addr := flag.String("addr", "localhost:42000", "`host:port` to listen on; port 0 takes a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if err := run(ctx, *addr, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
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
	ctx, stop := context.WithCancel(ctx)
	srv, sockets, recorder := newServer()
	var recording sync.WaitGroup
	recording.Go(func() { recorder.Run(ctx, sockets) })
	defer recording.Wait()
	defer stop()
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
	// The recorder has ended with ctx, and with it the streams, for whose end Shutdown waits.
	// Both, in this order: the http.Server knows nothing of WebSockets, it would neither close them nor wait for them.
	return errors.Join(sockets.Shutdown(ctx), srv.Shutdown(ctx))
}

// newServer returns the server, the handler of its WebSockets, which wants a Shutdown of its own, and the recorder, whose Run
// is to be called.
func newServer() (*http.Server, *wsctl.Handler, *Recorder) {
	recorder := NewRecorder()
	sockets := wsctl.New(&Dashboard{recorder}, &wsctl.Options{
		TypeName: wsctl.SnakeCase, // Metrics is called metrics
		Events:   []wsctl.Declaration{gauge, server, pong},
	})
	mux := http.NewServeMux()
	mux.Handle("GET /ws", sockets)
	mux.Handle("GET /js/{file}", wsctl.JS())      // the browser client
	mux.Handle("GET /", http.FileServerFS(files)) // of "/" it makes index.html
	return &http.Server{
		Handler:           secure(mux),
		ReadHeaderTimeout: 10 * time.Second, // for clients that send half a request and stop
		IdleTimeout:       2 * time.Minute,
	}, sockets, recorder
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
