package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

// The page is part of the program: one file to deploy.
//
//go:embed index.html cluster.css cluster.js favicon.svg
var files embed.FS

// runNode is one node: a server as any other, but for its hub's Broker.
func runNode(ctx context.Context, c config, out io.Writer) error {
	broker, disconnect, err := connect(c)
	if err != nil {
		return err
	}
	defer disconnect()
	ln, err := listen(c.addr)
	if err != nil {
		return err
	}
	srv, sockets := newServer(c.node, broker)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	fmt.Fprintf(out, "%s serves %s\n", c.node, url(c.addr, ln))

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopping)
	defer cancel()
	// In this order: the http.Server knows nothing of WebSockets, and these may use the broker until they are closed.
	return errors.Join(sockets.Shutdown(ctx), srv.Shutdown(ctx))
}

// connect makes the connection to the other nodes.
func connect(c config) (b wsctl.HistoryBroker, disconnect func(), err error) {
	if c.redis != "" {
		b, err := wsctlredis.New(rueidis.ClientOption{InitAddress: []string{c.redis}}, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("no Redis: %w", err)
		}
		return b, b.Close, nil
	}
	b2, err := wsctlnats.Connect(c.nats, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("no NATS: %w", err)
	}
	return b2, b2.Close, nil
}

// newServer returns the server of a node, and the handler of its WebSockets, which wants a Shutdown of its own.
func newServer(name string, broker wsctl.HistoryBroker) (*http.Server, *wsctl.Handler) {
	sockets := wsctl.New(&Node{name}, &wsctl.Options{
		Hub: &wsctl.Hub{
			Broker:  broker,
			History: func(string) wsctl.Retention { return wsctl.Retention{Messages: 1000, Age: 10 * time.Minute} },
		},
		TypeName:     wsctl.SnakeCase, // Say is called say
		Authenticate: identify,
		RateLimit:    50,
		Events:       []wsctl.Declaration{welcome, said},
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
