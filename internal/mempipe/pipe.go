// Package mempipe is a network in memory, for tests: conns with buffers of a chosen size, so that a slow reader is one
// that doesn't read, and a listener for them. It starts no goroutine and keeps nothing global, so it works inside a
// testing/synctest bubble, where blocked calls are durably blocked.
package mempipe

import (
	"io"
	"net"
	"time"
)

const defaultSize = 64 << 10

// Addr is the address of one end.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

func (a Addr) String() string { return string(a) }

// Conn is one end of a pipe. It is a [net.Conn], and like a TCP conn in what it returns: [net.ErrClosed] after its own
// Close, [io.EOF] once what the peer wrote before its Close or CloseWrite has been read, [os.ErrDeadlineExceeded].
// Writing to a peer that has closed fails with [io.ErrClosedPipe]. All methods may be called at the same time; each
// Write is written in one piece.
type Conn struct {
	in, out       *stream
	local, remote Addr
}

var _ net.Conn = (*Conn)(nil)

// Pipe returns the two ends of a conn that holds up to size bytes in each direction; 0: 64 KiB.
func Pipe(size int) (a, b *Conn) { return pipe(size, "mem:a", "mem:b") }

func pipe(size int, a, b Addr) (*Conn, *Conn) {
	if size <= 0 {
		size = defaultSize
	}
	ab, ba := newStream(size), newStream(size)
	return &Conn{ba, ab, a, b}, &Conn{ab, ba, b, a}
}

// Read waits until there is something to read, or the peer writes no more.
func (c *Conn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write waits until all of p is in the peer's buffer. With an error, n bytes of it are.
func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }

// TryWrite writes what there is room for and never waits: 0 and no error where there is none, or while a Write waits.
func (c *Conn) TryWrite(p []byte) (int, error) { return c.out.tryWrite(p) }

// Buffered returns how many bytes wait for this end to read them.
func (c *Conn) Buffered() int {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.n
}

// Close ends both directions. The peer can read what was written before.
func (c *Conn) Close() error {
	if !c.in.closeReader() {
		return net.ErrClosed
	}
	return c.out.closeWriter(net.ErrClosed)
}

// CloseWrite ends the direction to the peer, who reads [io.EOF] after what was written before. Write then fails with
// [io.ErrClosedPipe].
func (c *Conn) CloseWrite() error { return c.out.closeWriter(io.ErrClosedPipe) }

// LocalAddr returns an [Addr].
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns an [Addr].
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets when Read fails, also one that waits already. The zero time: never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.in.readerClosed {
		return net.ErrClosed
	}
	c.in.readBy = t
	c.in.changed.Broadcast() // who waits has to look at it
	return nil
}

// SetWriteDeadline sets when Write and TryWrite fail, also a Write that waits already. The zero time: never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.writeErr == net.ErrClosed {
		return net.ErrClosed
	}
	c.out.writeBy = t
	c.out.changed.Broadcast()
	return nil
}
