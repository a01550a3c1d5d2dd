//go:build linux && !wsctl_nowatch

package wsctl

import (
	"context"
	"os"
	"sync"
	"syscall"
)

// canWatch tells whether idle connections can do without a goroutine: here they can.
const canWatch = true

// watcher waits for all idle connections of a Handler: each costs some hundred bytes instead of a goroutine with its stack.
// It has an epoll instance of its own, which in turn waits in the runtime's, so it takes no thread, and one goroutine, which
// lives while there are connections that were idle once. It reads nothing: it starts a reader where there is something
// to read, the end of the connection too.
//
// Nothing gets lost: readiness is asked for by level, so a byte that came before it was asked is told at once; and it is told
// once (EPOLLONESHOT), under a ticket that is never used again, so neither a descriptor that is another connection's by
// then nor a connection that was closed meanwhile starts a reader. Of a net.Conn that is closed behind wsctl's back the kernel
// says nothing: that is noticed with the next write, of a ping at the latest.
type watcher struct {
	mu     sync.Mutex // guards following, and the watching of conns
	epoll  *os.File   // nil: no conn is known
	fd     int        // its descriptor
	idle   map[uint64]*conn
	ticket uint64 // the last one
	known  int
	ended  chan struct{} // closed with the goroutine's end
}

// watching is what the watcher notes of a conn.
type watching struct {
	ticket uint64 // 0: it isn't idle
	known  bool   // to the epoll instance, until it is closed
}

// watch takes an idle conn, with its reader's reference, and starts a reader when there is something to read. It reports
// false if it can't.
func (w *watcher) watch(c *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoll == nil && !w.start() {
		return false
	}
	op := syscall.EPOLL_CTL_MOD
	if !c.known {
		op = syscall.EPOLL_CTL_ADD
	}
	w.ticket++
	event := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT,
		Fd:     int32(w.ticket), // the descriptor would tell less
		Pad:    int32(w.ticket >> 32),
	}
	var err error
	closed := c.raw.rc.Control(func(fd uintptr) { err = syscall.EpollCtl(w.fd, op, int(fd), &event) })
	if closed == nil && err == nil {
		if !c.known {
			c.known = true
			w.known++
		}
		c.ticket = w.ticket
		w.idle[c.ticket] = c
		return true
	}
	w.stopUnused()
	return false
}

// start makes the epoll instance and the goroutine. mu is held.
func (w *watcher) start() bool {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	if err = syscall.SetNonblock(fd, true); err != nil { // so that the runtime's poller takes it
		_ = syscall.Close(fd)
		return false
	}
	f := os.NewFile(uintptr(fd), "epoll")
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return false
	}
	w.epoll, w.fd, w.idle, w.ended = f, fd, make(map[uint64]*conn), make(chan struct{})
	go w.run(raw, w.ended)
	return true
}

// stopUnused ends the goroutine if no conn is known. mu is held.
func (w *watcher) stopUnused() {
	if w.known == 0 && w.epoll != nil {
		_ = w.epoll.Close()
		w.epoll, w.idle = nil, nil
	}
}

// run is the goroutine: it ends when the epoll instance is closed.
func (w *watcher) run(epoll syscall.RawConn, ended chan struct{}) {
	defer close(ended)
	var events [128]syscall.EpollEvent
	for {
		n := 0
		err := epoll.Read(func(fd uintptr) bool {
			n, _ = ignoringEINTR(func(fd int, _ []byte) (int, error) { return syscall.EpollWait(fd, events[:], 0) }, fd, nil)
			return n > 0
		})
		if err != nil {
			return
		}
		w.mu.Lock()
		for _, e := range events[:n] {
			w.wake(uint64(uint32(e.Pad))<<32 | uint64(uint32(e.Fd)))
		}
		w.mu.Unlock()
	}
}

// wait waits for the end of the goroutine, if this is soon enough for ctx.
func (w *watcher) wait(ctx context.Context) error {
	w.mu.Lock()
	ended := w.ended
	w.mu.Unlock()
	return waitFor(ctx, ended)
}

// forget is told that a conn is closed: the kernel has forgotten it, and won't say so. The reader of an idle one is started,
// to find out.
func (w *watcher) forget(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake(c.ticket)
	if c.known {
		c.known = false
		w.known--
		w.stopUnused()
	}
}

// wake starts a reader for the conn of a ticket, unless that was done. mu is held.
func (w *watcher) wake(ticket uint64) {
	c := w.idle[ticket]
	if c == nil {
		return
	}
	delete(w.idle, ticket)
	c.ticket = 0
	c.woken = true
	c.setAt(busy)
	go c.read()
}
