//go:build linux

package main

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// serveEcho serves the answers that answer gives, over TCP.
func serveEcho(t *testing.T, answer func(message []byte) []byte) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upgrader := websocket.Upgrader{EnableCompression: true}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			_, message, err := c.ReadMessage()
			if err != nil {
				return
			}
			if c.WriteMessage(websocket.TextMessage, answer(message)) != nil {
				return
			}
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return netip.MustParseAddrPort(listener.Addr().String())
}

func TestEchoOverTCP(t *testing.T) {
	address := serveEcho(t, func(message []byte) []byte {
		return bytes.Replace(message, []byte(`"Echo"`), []byte(`"$reply"`), 1)
	})
	for _, compress := range []bool{false, true} {
		for _, size := range []int{minEcho, maxEcho} {
			s := settings{conns: 3, depth: 5, bytes: size, compress: compress, time: time.Millisecond}
			l, err := newLoop([]netip.AddrPort{address}, plain{}, compress, s.conns)
			if err != nil {
				t.Fatal(err)
			}
			w := newEcho(l, s)
			l.work = w
			if err := l.open(l.conns, 2); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := w.run(s.time); err != nil {
					t.Error(err)
				}
			}
			if opened, answers := s.conns, 2*s.conns*s.depth; int(l.meter.latencies.count) < opened+answers {
				t.Errorf("%d latencies, want that of %d connections and %d answers at least", l.meter.latencies.count, opened, answers)
			}
			closeLoop(t, l)
		}
	}
}

func TestEchoOverTCPFails(t *testing.T) {
	address := serveEcho(t, func(message []byte) []byte { return message })
	l, err := newLoop([]netip.AddrPort{address}, plain{}, false, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer closeLoop(t, l)
	w := newEcho(l, settings{conns: 1, depth: 1, bytes: minEcho, time: time.Millisecond})
	l.work = w
	if err := w.prepare(); err == nil {
		t.Error("a request is taken for its answer")
	}
}
