package mempipe

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// Listener accepts what is dialed by its own methods. It is a [net.Listener], for an http.Server.
type Listener struct {
	// Size is how many bytes a conn holds in each direction; 0: 64 KiB. It is set before the first Dial.
	Size int

	conns  chan *Conn
	done   chan struct{}
	close  sync.Once
	dialed atomic.Int64
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a listener, to be closed by Close. In a synctest bubble it is called inside.
func Listen() *Listener {
	return &Listener{conns: make(chan *Conn), done: make(chan struct{})}
}

// Dial waits until the listener accepts, and returns the other end, a [*Conn]. After Close it returns [net.ErrClosed].
func (l *Listener) Dial() (net.Conn, error) { return l.DialContext(context.Background()) }

// DialContext is Dial, but returns the error of ctx when ctx ends first.
func (l *Listener) DialContext(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	dialer := Addr("mem:" + strconv.FormatInt(l.dialed.Add(1), 10))
	near, far := pipe(l.Size, dialer, "mem")
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for the next Dial. After Close it returns [net.ErrClosed].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial, not the conns that were accepted.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.close.Do(func() {
		close(l.done)
		err = nil
	})
	return err
}

// Addr returns an [Addr].
func (l *Listener) Addr() net.Addr { return Addr("mem") }
