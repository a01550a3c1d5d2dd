package wsctlnats_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is a way to a server on which things go wrong.
type proxy struct {
	t      testing.TB
	ln     net.Listener
	server string
	delay  time.Duration // of what goes either way
	wg     sync.WaitGroup

	mu    sync.Mutex // guards following
	conns map[net.Conn]bool
	mute  bool // nothing comes from the server
}

func newProxy(t testing.TB, n *natsServer, delay time.Duration) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, ln: ln, server: n.server().Addr().String(), delay: delay, conns: make(map[net.Conn]bool)}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.ln.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(server, client, false) })
		p.wg.Go(func() { p.pass(client, server, true) })
	}
}

// pass passes what comes from one to the other.
func (p *proxy) pass(to, from net.Conn, fromServer bool) {
	type chunk struct {
		b  []byte
		at time.Time
	}
	chunks := make(chan chunk, 1<<16)
	p.wg.Go(func() {
		defer to.Close()
		for c := range chunks {
			timer := time.NewTimer(time.Until(c.at))
			<-timer.C
			if _, err := to.Write(c.b); err != nil {
				from.Close()
			}
		}
	})
	defer close(chunks)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if err != nil {
			p.mu.Lock()
			delete(p.conns, from)
			p.mu.Unlock()
			return
		}
		p.mu.Lock()
		mute := p.mute && fromServer
		p.mu.Unlock()
		if !mute {
			chunks <- chunk{b[:n], time.Now().Add(p.delay)}
		}
	}
}

// silence loses what comes from the server, until cut.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// cut cuts all connections. New ones can be made.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = false
	for c := range p.conns {
		c.Close()
	}
}
