package e2e

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy is a TCP proxy before a server: the network that a test can spoil. Its methods may be called from any goroutine.
type proxy struct {
	t    *testing.T
	addr string // host:port; it stays the same

	mu       sync.Mutex // guards following
	target   string     // the server's host:port
	listener net.Listener
	mute     bool // new connections are accepted, and that is all
	links    map[*link]bool
	dials    []time.Time
	over     bool

	running sync.WaitGroup
}

// newProxy returns a proxy that passes everything on to target, until the test ends.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{t: t, target: target, links: make(map[*link]bool)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	p.mu.Lock()
	p.listen(l)
	p.mu.Unlock()
	t.Cleanup(p.close)
	return p
}

// url is where a page finds the server.
func (p *proxy) url() string { return "http://" + p.addr }

// setTarget says where new connections go. Without a server there they are reset.
func (p *proxy) setTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// fin ends all connections as a server does that closes them, without a word of the WebSocket protocol.
func (p *proxy) fin() { p.each((*link).fin) }

// rst resets all connections.
func (p *proxy) rst() { p.each((*link).rst) }

// silence loses what is sent either way on the connections of now. New ones work.
func (p *proxy) silence() { p.each((*link).silence) }

// hole is a network that has gone: what is sent either way is swallowed, nothing is closed. New connections are accepted
// (by the kernel of a router, say) and fare the same. The connections of now are lost for good, restore or not.
func (p *proxy) hole() {
	p.setMute(true)
	p.silence()
}

// hang resets all connections, and lets new ones wait for ever for an answer to their handshake.
func (p *proxy) hang() {
	p.setMute(true)
	p.rst()
}

// refuse resets all connections and refuses new ones.
func (p *proxy) refuse() {
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.rst()
}

// restore passes new connections on again.
func (p *proxy) restore() {
	p.setMute(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.over {
		return
	}
	l, err := net.Listen("tcp", p.addr)
	for limit := time.Now().Add(patience); err != nil && time.Now().Before(limit); l, err = net.Listen("tcp", p.addr) {
		<-time.After(20 * time.Millisecond) // somebody's connection may have the port for its own end
	}
	if err != nil {
		p.t.Errorf("listening again: %v", err)
		return
	}
	p.listen(l)
}

// dialsSince is how many connections have come since then. None comes while they are refused.
func (p *proxy) dialsSince(then time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, at := range p.dials {
		if !at.Before(then) {
			n++
		}
	}
	return n
}

// close ends the proxy and all its connections.
func (p *proxy) close() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.refuse()
	p.running.Wait()
}

func (p *proxy) setMute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

func (p *proxy) each(do func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		do(l)
	}
}

// listen accepts the connections of l. The proxy's mu is held.
func (p *proxy) listen(l net.Listener) {
	p.listener = l
	p.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.carry(c.(*net.TCPConn)) })
		}
	})
}

// carry joins a client to the server.
func (p *proxy) carry(client *net.TCPConn) {
	l := &link{client: client}
	p.mu.Lock()
	p.dials = append(p.dials, time.Now())
	p.links[l] = true
	l.silent = p.mute
	target, over := p.target, p.over
	p.mu.Unlock()
	switch {
	case over:
		l.rst()
	case !l.isSilent():
		if server, err := net.Dial("tcp", target); err != nil || !l.join(server.(*net.TCPConn)) {
			l.rst()
		}
	}
	l.run()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// link is one connection through the proxy.
type link struct {
	client *net.TCPConn

	mu     sync.Mutex   // guards following
	server *net.TCPConn // nil: none yet, or never
	silent bool         // nothing is passed on, nor that an end has gone
	gone   bool
}

// join gives the link its other end, unless it has been cut.
func (l *link) join(server *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent || l.gone {
		server.Close()
		return l.silent
	}
	l.server = server
	return true
}

func (l *link) isSilent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent
}

func (l *link) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

// fin says to both ends that nothing more comes. Not by Close: with bytes that wait to be read it would reset.
func (l *link) fin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
	for _, c := range l.ends() {
		c.CloseWrite()
	}
}

func (l *link) rst() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, c := range l.ends() {
		c.SetLinger(0)
		c.Close()
	}
}

func (l *link) ends() []*net.TCPConn {
	if l.server == nil {
		return []*net.TCPConn{l.client}
	}
	return []*net.TCPConn{l.client, l.server}
}

// run passes on what comes until both ends have gone.
func (l *link) run() {
	l.mu.Lock()
	ends := l.ends()
	l.mu.Unlock()
	var both sync.WaitGroup
	for i, from := range ends {
		both.Go(func() { l.pass(from, ends[len(ends)-1-i]) })
	}
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.ends() {
		c.Close()
	}
}

// pass passes on what comes from one end to the other.
func (l *link) pass(from, to *net.TCPConn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !l.isSilent() {
			to.Write(b[:n]) // where it fails, the other direction learns why
		}
		switch {
		case err == nil:
		case l.isSilent():
			return
		case errors.Is(err, io.EOF):
			to.CloseWrite()
			return
		default:
			l.rst()
			return
		}
	}
}
