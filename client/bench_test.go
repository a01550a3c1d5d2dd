package client_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// A call there and back, in memory, the server's half included.
func BenchmarkCall(b *testing.B) {
	l := mempipe.Listen()
	h := wsctl.New(&desk{}, &wsctl.Options{Logger: slog.New(slog.DiscardHandler)})
	hs := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.Serve(l)
	}()
	defer func() {
		_ = h.Shutdown(context.Background())
		_ = hs.Close()
		<-done
	}()
	c, err := client.Dial(b.Context(), "ws://server/", &client.Options{
		Dialer: &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Abort()
	b.ReportAllocs()
	for b.Loop() {
		if n, err := client.Call[int](b.Context(), c, "Add", [2]int{1, 2}); n != 3 || err != nil {
			b.Fatal(n, err)
		}
	}
}
