//go:build unix

package chaos

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy passes connections on to a server, and spoils them. Its methods may be called from any goroutine.
type proxy struct {
	addr string

	ln      net.Listener
	targets func() []string // in the order in which they are tried
	running sync.WaitGroup

	mu      sync.Mutex // guards following
	links   map[*link]bool
	refuses bool // new connections are reset
	mute    bool // new connections are accepted, and that is all
	over    bool
}

// link is a connection through a proxy. What is sent on a silent one gets lost.
type link struct {
	silent atomic.Bool

	mu   sync.Mutex // guards following
	ends []net.Conn
	gone bool
}

func newProxy(t *testing.T, targets func() []string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: ln.Addr().String(), ln: ln, targets: targets, links: make(map[*link]bool)}
	p.running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.carry(c) })
		}
	})
	t.Cleanup(p.close)
	return p
}

func (p *proxy) close() {
	p.ln.Close()
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.cut(func() bool { return true })
	p.running.Wait()
}

// cut resets the connections of now that which picks.
func (p *proxy) cut(which func() bool) { p.each(which, (*link).reset) }

// silence loses all that is sent on those connections, for good.
func (p *proxy) silence(which func() bool) { p.each(which, func(l *link) { l.silent.Store(true) }) }

func (p *proxy) each(which func() bool, do func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if which() {
			do(l)
		}
	}
}

// refuse resets all connections, and new ones, until the next call.
func (p *proxy) refuse(on bool) {
	p.mu.Lock()
	p.refuses = on
	p.mu.Unlock()
	if on {
		p.cut(func() bool { return true })
	}
}

// hole swallows what is sent, also on new connections, until the next call. Then those are reset.
func (p *proxy) hole(on bool) {
	p.mu.Lock()
	p.mute = on
	p.mu.Unlock()
	if on {
		p.silence(func() bool { return true })
	} else {
		p.cut(func() bool { return true })
	}
}

// share picks about so much of all connections.
func share(dice *rand.Rand, part float64) func() bool {
	return func() bool { return dice.Float64() < part }
}

func (p *proxy) carry(c net.Conn) {
	l := &link{ends: []net.Conn{c}}
	p.mu.Lock()
	p.links[l] = true
	l.silent.Store(p.mute)
	refused := p.refuses || p.over
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	if refused {
		l.reset()
		return
	}
	if l.silent.Load() {
		l.pass(c, nil)
		return
	}
	for _, target := range p.targets() {
		if s, err := net.DialTimeout("tcp", target, time.Second); err == nil {
			if l.join(s) {
				var other sync.WaitGroup
				other.Go(func() { l.pass(s, c) })
				l.pass(c, s)
				other.Wait()
			}
			return
		}
	}
	l.reset() // nobody is there
}

// join gives the link its other end, unless it has been reset.
func (l *link) join(s net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		s.Close()
		return false
	}
	l.ends = append(l.ends, s)
	return true
}

func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, c := range l.ends {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// pass passes on what comes, until an end has gone. Of a silent link the other end learns nothing of it.
func (l *link) pass(from, to net.Conn) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !l.silent.Load() {
			_, _ = to.Write(b[:n]) // where it fails, the other direction learns why
		}
		if err != nil {
			if l.silent.Load() {
				from.Close()
			} else {
				l.reset() // also what was written is lost then: it is chaos
			}
			return
		}
	}
}
