package sim

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// Network is a faulty network in memory, for a testing/synctest bubble. Bytes arrive in order after a delay, split anywhere,
// in bounded buffers; conns are slow, hold back what they carry in one direction or both, heal, or are cut, which
// their ends learn at different times, or never; dials are refused, or never answered.
//
// All of it is decided by the seed when a conn is dialed: by the client's number, the number of its dial, and the time.
// A bubble doesn't say in which order goroutines run that are woken at one moment, so a run isn't repeated exactly; but
// what the network does doesn't depend on that order, so it is repeated closely. No goroutine is started.
type Network struct {
	Seed    uint64
	Heals   time.Time            // from then on nothing fails any more; zero: never does
	Faults  Odds                 // until then
	Observe func(*Conn) Observer // makes the observer of a conn that was dialed; nil: there is none
	Count   func(Fault)          // told of what has happened; nil: nobody is
	accept  chan net.Conn        // made by Listen
	closed  chan struct{}        // closed by the listener
	once    sync.Once            // for it
}

// Observer sees the bytes of a conn. Written calls come before the Read calls of the same bytes. Calls for one direction
// come one at a time, with a lock of the conn held: they mustn't use it.
type Observer interface {
	Written(fromClient bool, b []byte) // by one end, to the network
	Read(fromClient bool, b []byte)    // by the other, from the network
}

// Conn is one end of a connection. Where it is the server's, it may have a method TryWrite, or not.
type Conn struct {
	Client, Dial int // which client, its how manieth dial from 1
	in, out      *link
	resets       bool // a close with something unread is a reset, as TCP's
	closed       func()
	local        addr
	remote       addr
}

// tryConn is a Conn that can write without waiting.
type tryConn struct{ *Conn }

// TryWrite writes what there is room for: maybe nothing.
func (c tryConn) TryWrite(p []byte) (int, error) { return c.out.write(p, false) }

type addr string

func (addr) Network() string  { return "sim" }
func (a addr) String() string { return string(a) }

func (c *Conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p, true) }

// Close ends both directions. The peer reads what is under way, and then learns of the end, unless all of that is lost, or
// this end had something left to read.
func (c *Conn) Close() error {
	unread, first := c.in.closeReader()
	if !first {
		return net.ErrClosed
	}
	c.in.peerGone(c.out.closeWriter(unread && c.resets))
	if c.closed != nil {
		c.closed()
	}
	return nil
}

func (c *Conn) LocalAddr() net.Addr  { return c.local }
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *Conn) SetReadDeadline(t time.Time) error  { return c.in.setReadBy(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.out.setWriteBy(t) }

// Listen returns the network's one listener, for an http.Server.
func (n *Network) Listen() net.Listener {
	n.accept = make(chan net.Conn, 64)
	n.closed = make(chan struct{})
	return listener{n}
}

type listener struct{ n *Network }

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.n.accept:
		return c, nil
	case <-l.n.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. Conns that were not accepted are closed.
func (l listener) Close() error {
	l.n.once.Do(func() { close(l.n.closed) })
	for {
		select {
		case c := <-l.n.accept:
			c.Close()
		default:
			return nil
		}
	}
}

func (l listener) Addr() net.Addr { return addr("server") }

// Dialer returns the dial function of a client, for websocket.Dialer.NetDialContext. Its calls come one after the other.
func (n *Network) Dialer(client int) func(ctx context.Context, network, address string) (net.Conn, error) {
	dials := 0
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials++
		dice := rand.New(rand.NewPCG(n.Seed, uint64(client)<<32|uint64(dials)))
		p := n.plan(dice)
		if err := sleep(ctx, p.dialing); err != nil {
			return nil, err
		}
		if p.refused {
			n.count(FaultRefused)
		}
		if p.refused || n.isClosed() {
			return nil, &net.OpError{Op: "dial", Net: "sim", Err: syscall.ECONNREFUSED}
		}
		mine, theirs := n.connect(client, dials, p, dice)
		select {
		case n.accept <- theirs:
			return mine, nil
		case <-n.closed:
			mine.closed = nil
			mine.Close()
			theirs.Close()
			return nil, &net.OpError{Op: "dial", Net: "sim", Err: syscall.ECONNREFUSED}
		}
	}
}

func (n *Network) connect(client, dial int, p plan, dice *rand.Rand) (mine *Conn, theirs net.Conn) {
	up, down := newLink(p.up, p.size, dice), newLink(p.down, p.size, dice)
	up.writerDies, down.readerDies = p.clientDies, p.clientDies
	down.writerDies, up.readerDies = p.serverDies, p.serverDies
	mine = &Conn{Client: client, Dial: dial, in: down, out: up, resets: p.resets, local: "client", remote: "server"}
	server := &Conn{Client: client, Dial: dial, in: up, out: down, resets: p.resets, local: "server", remote: "client"}
	mine.closed = func() {
		now := time.Now()
		for _, f := range p.faults {
			if !now.Before(f.at) {
				n.count(f.Fault)
			}
		}
	}
	if n.Observe != nil {
		o := n.Observe(mine)
		up.observe = func(b []byte, read bool) { observe(o, true, b, read) }
		down.observe = func(b []byte, read bool) { observe(o, false, b, read) }
	}
	if p.try {
		return mine, tryConn{server}
	}
	return mine, server
}

func observe(o Observer, fromClient bool, b []byte, read bool) {
	if read {
		o.Read(fromClient, b)
	} else {
		o.Written(fromClient, b)
	}
}

func newLink(p path, size int, dice *rand.Rand) *link {
	l := &link{size: size, path: p, dice: rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64())), observe: func([]byte, bool) {}}
	l.changed.L = &l.mu
	return l
}

func (n *Network) isClosed() bool {
	select {
	case <-n.closed:
		return true
	default:
		return false
	}
}

func (n *Network) count(f Fault) {
	if n.Count != nil {
		n.Count(f)
	}
}

// sleep waits for a time, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dieWith is what an end of a cut conn reads.
func dieWith(dice *rand.Rand) error {
	if dice.IntN(2) == 0 {
		return io.EOF
	}
	return syscall.ECONNRESET
}
