package client_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
)

// proxy tunnels what is asked for by CONNECT.
type proxy struct {
	url     *url.URL
	tunnels atomic.Int64
	ended   chan struct{} // gets one for each direction of a tunnel
}

func newProxy(t *testing.T) *proxy {
	p := &proxy{ended: make(chan struct{}, 100)}
	s := httptest.NewServer(p)
	t.Cleanup(func() {
		s.Close()
		for range 2 * p.tunnels.Load() {
			<-p.ended
		}
	})
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.url = u
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	p.tunnels.Add(1)
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	tunnel := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_ = from.Close()
		p.ended <- struct{}{}
	}
	go tunnel(there, here)
	go tunnel(here, there)
}
