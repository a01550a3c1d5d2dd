package wsctlnats_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
	rate  int  // bytes a second that come from the server; 0: any number
}

func newProxy(t testing.TB, n *natsServer, delay time.Duration) *proxy {
	t.Helper()
	return newProxyTo(t, n.server().Addr().String(), delay)
}

func newProxyTo(t testing.TB, addr string, delay time.Duration) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, ln: ln, server: addr, delay: delay, conns: make(map[net.Conn]bool)}
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
		var slow time.Duration
		if fromServer && p.rate > 0 {
			slow = time.Duration(n) * time.Second / time.Duration(p.rate)
		}
		p.mu.Unlock()
		if slow > 0 {
			timer := time.NewTimer(slow)
			<-timer.C
		}
		if !mute {
			chunks <- chunk{b[:n], time.Now().Add(p.delay)}
		}
	}
}

// slow limits how many bytes a second come from the server.
func (p *proxy) slow(rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
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

// TestNoticeAfterReconnect has the server hear late of subscriptions that are made again: what is published after the notice comes.
func TestNoticeAfterReconnect(t *testing.T) {
	srv := newServer(t, nil)
	way := newProxy(t, srv, 100*time.Millisecond)
	a, b := connect(t, way.url(), nil), connect(t, srv.url(), nil)
	l := listen(t, a, "room")
	way.cut()
	l.noticed(1)
	if err := b.Publish(within(t), "room", []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.take(1)
}

// TestManyHistories asks for many histories at once, which are more than the server lets wait for a connection, over a network that
// takes its time.
func TestManyHistories(t *testing.T) {
	t.Parallel()
	const rooms, messages, size = 32, 16, 64 << 10
	srv := newServer(t, func(o *server.Options) { o.MaxPending = 17 << 20 })
	way := newProxy(t, srv, 0)
	a, b := connect(t, srv.url(), nil), connect(t, way.url(), nil)
	var births [rooms]string
	for i := range rooms {
		_, births[i], _ = since(t, a, fmt.Sprint("room", i), "")
		for range messages {
			keep(t, a, fmt.Sprint("room", i), string(make([]byte, size)))
		}
	}
	l := listen(t, b, "other")
	way.slow(16 << 20) // all take 2 seconds
	var wg sync.WaitGroup
	for i := range rooms {
		wg.Go(func() {
			if msgs, _, ok, err := b.Since(within(t), fmt.Sprint("room", i), births[i]); err != nil || !ok || len(msgs) != messages {
				t.Errorf("room %d: %d messages, %v, %v", i, len(msgs), ok, err)
			}
		})
	}
	wg.Wait()
	if _, notices := l.count(); notices > 0 {
		t.Errorf("the connection was lost %d times", notices)
	}
}
