//go:build unix

package wsctl

import (
	"io"
	"net"
	"syscall"
)

// rawConn reads and writes a socket's file descriptor, which the runtime has made non-blocking, by way of
// [syscall.RawConn]: so a write can be tried without waiting, and a read needs no buffer while there is nothing to
// read. The functions are made once, since each would be an allocation.
type rawConn struct {
	rc     syscall.RawConn
	readFn func(fd uintptr) bool
	tryFn  func(fd uintptr) bool
	in     *[chunkSize]byte
	inN    int
	inErr  error
	out    []byte
	outN   int
	outErr error
}

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
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	r.rc = rc
	r.readFn = func(fd uintptr) bool {
		r.in = chunks.Get().(*[chunkSize]byte)
		if r.inN, r.inErr = ignoringEINTR(syscall.Read, fd, r.in[:]); r.inErr != syscall.EAGAIN {
			return true
		}
		chunks.Put(r.in)
		r.in = nil
		return false
	}
	r.tryFn = func(fd uintptr) bool {
		r.outN, r.outErr = ignoringEINTR(syscall.Write, fd, r.out)
		return true
	}
}

func (r *rawConn) ok() bool { return r.rc != nil }

// read waits until there is something to read, and returns it in a chunk of the pool; nil with an error.
func (r *rawConn) read() (*[chunkSize]byte, int, error) {
	err := r.rc.Read(r.readFn)
	chunk, n := r.in, r.inN
	r.in = nil
	switch {
	case err != nil:
	case r.inErr != nil:
		err = r.inErr
	case n == 0:
		err = io.EOF
	default:
		return chunk, n, nil
	}
	if chunk != nil {
		chunks.Put(chunk)
	}
	return nil, 0, err
}

// tryWrite writes what the kernel takes at once.
func (r *rawConn) tryWrite(b []byte) (int, error) {
	r.out = b
	err := r.rc.Write(r.tryFn)
	return r.written(err)
}

// write waits until the kernel takes something.
func (r *rawConn) write(b []byte) (int, error) {
	r.out = b
	err := r.rc.Write(func(fd uintptr) bool {
		r.tryFn(fd)
		return r.outErr != syscall.EAGAIN
	})
	return r.written(err)
}

func (r *rawConn) written(err error) (int, error) {
	n := max(r.outN, 0)
	if err == nil && r.outErr != syscall.EAGAIN {
		err = r.outErr
	}
	r.out, r.outN, r.outErr = nil, 0, nil
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
