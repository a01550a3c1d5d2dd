//go:build unix

package wsctl

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// rawConn reads and writes a socket's file descriptor, which the runtime has made non-blocking, by way of
// [syscall.RawConn]: so a write can be tried without waiting, and a read needs no buffer while there is nothing to
// read.
type rawConn struct{ rc syscall.RawConn }

// init uses nc if it is a socket itself: whatever wraps one may count, limit or encrypt, and isn't passed by.
func (r *rawConn) init(nc net.Conn) {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return
	}
	r.rc, _ = sc.SyscallConn()
}

func (r rawConn) ok() bool { return r.rc != nil }

// rawCall is a read or a write that is under way. It is pooled for its functions, each of which would be an allocation.
type rawCall struct {
	block *[blockSize]byte // to be read into
	from  int
	stash []byte // the first bytes of block, while there is none
	b     []byte // to be written
	n     int
	err   error

	try         func(fd uintptr)
	read, write func(fd uintptr) bool // true: it needn't be called again when the socket is ready
}

var rawCalls = sync.Pool{New: func() any {
	c := new(rawCall)
	c.read = func(fd uintptr) bool {
		if c.block == nil {
			c.unstash()
		}
		if c.n, c.err = ignoringEINTR(recvNow, fd, c.block[c.from:]); c.err != syscall.EAGAIN {
			return true
		}
		if c.from <= maxStash { // else a byte, and many are sent nothing but that, would hold a block
			c.stash = append(c.stash[:0], c.block[:c.from]...)
			blocks.Put(c.block)
			c.block = nil
		}
		return false
	}
	c.try = func(fd uintptr) { c.n, c.err = ignoringEINTR(sendNow, fd, c.b) }
	c.write = func(fd uintptr) bool {
		c.try(fd)
		return c.err != syscall.EAGAIN
	}
	return c
}}

const maxStash = 256

// unstash takes a block.
func (c *rawCall) unstash() {
	c.block = blocks.Get().(*[blockSize]byte)
	copy(c.block[:c.from], c.stash)
}

// read waits until there is something to read, and has it in a block, of the pool unless one is given, behind its first bytes.
func (r rawConn) read(block *[blockSize]byte, from int) (*[blockSize]byte, int, error) {
	c := rawCalls.Get().(*rawCall)
	c.block, c.from = block, from
	err := r.rc.Read(c.read)
	if c.block == nil && from > 0 {
		c.unstash()
	}
	block, n := c.block, max(c.n, 0)
	if err == nil {
		err = c.err
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	c.block, c.n, c.err = nil, 0, nil
	rawCalls.Put(c)
	return block, n, err
}

// tryWrite writes what the kernel takes at once. It has no need of the runtime's poller, which Write would prepare for a wait.
func (r rawConn) tryWrite(b []byte) (int, error) {
	c := rawCalls.Get().(*rawCall)
	c.b = b
	return c.written(r.rc.Control(c.try))
}

// write waits until the kernel takes something.
func (r rawConn) write(b []byte) (int, error) {
	c := rawCalls.Get().(*rawCall)
	c.b = b
	return c.written(r.rc.Write(c.write))
}

func (c *rawCall) written(err error) (int, error) {
	n := max(c.n, 0)
	if err == nil && c.err != syscall.EAGAIN {
		err = c.err
	}
	c.b, c.n, c.err = nil, 0, nil
	rawCalls.Put(c)
	return n, err
}

func ignoringEINTR(fn func(int, []byte) (int, error), fd uintptr, b []byte) (int, error) {
	for {
		n, err := fn(int(fd), b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
