//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	patience   = int64(20 * time.Second) // nothing that is awaited may take longer
	tick       = 200 * time.Millisecond  // the longest sleep
	bufferSize = 256 << 10
	batch      = 128 // sockets handled at a time
)

// work is what the connections of a loop are for.
type work interface {
	// prepare connects, and warms up.
	prepare() error
	// phases are what is measured, in this order.
	phases() []phase
	// receive takes a message, which is valid during the call, to an open connection.
	receive(c *conn, message []byte) error
	// settle is called when a batch of sockets has been handled.
	settle() error
}

// phase is a part of a work that is measured by itself.
type phase struct {
	name     string // empty: it is the only one
	waits    bool   // it is measured from ready, or the end of the phase before, since its work is to wait for its go
	run      func() error
	messages *int // that were sent in it to all whose deliveries are counted; nil: its units aren't deliveries
}

// loop does all input and output, on the thread of its caller.
type loop struct {
	dialect  dialect
	compress bool
	work     work

	conns   []*conn
	byFD    []*conn // by file descriptor; nil: not a connection's
	epoll   int
	events  [batch]unix.EpollEvent
	buffer  []byte // all sockets are read into it
	request []byte // of the handshake
	flate   *inflater
	input   input
	pace    *pace // nil: nothing is paced

	waiting  []*conn // to be dialed
	opening  int     // dials in flight
	inflight int     // ... at most
	dialed   int     // so far

	now      int64 // nanoseconds, as of the newest wait or read
	progress int64 // when something last came that was awaited
	acked    int64 // until when a v1 dialect has looked for what is owed an acknowledgment
	ackNext  int   // number of the connection that it looks at next
	bytesIn  int64
	meter    meter
}

var started = time.Now()

// clock returns monotonic nanoseconds.
func clock() int64 { return int64(time.Since(started)) }

// newLoop returns a loop for n connections, which are spread over the servers. None is dialed yet.
func newLoop(servers []netip.AddrPort, d dialect, compress bool, n int) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{dialect: d, compress: compress, epoll: epoll, buffer: make([]byte, bufferSize), flate: newInflater()}
	l.request = upgradeRequest(servers[0].String(), d.subprotocol(), compress)
	all := make([]conn, n)
	for i := range all {
		all[i].loop, all[i].index, all[i].address, all[i].fd = l, i, servers[i%len(servers)], -1
		l.conns = append(l.conns, &all[i])
	}
	return l, nil
}

// listen takes lines of standard input from now on.
func (l *loop) listen() error {
	if err := l.watch(0, unix.EPOLLIN); err != nil {
		return fmt.Errorf("standard input, which has to be a pipe: %w", err)
	}
	return nil
}

func (l *loop) watch(fd int, events uint32) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// open dials connections, at most so many at once, until all are open.
func (l *loop) open(conns []*conn, inflight int) error {
	l.waiting, l.inflight = conns, inflight
	if err := l.dialMore(); err != nil {
		return err
	}
	return l.until(func() bool { return len(l.waiting)+l.opening == 0 }, func() string {
		return fmt.Sprintf("%d of %d connections to open, %d of them dialed", len(l.waiting)+l.opening, len(conns), l.opening)
	})
}

func (l *loop) dialMore() error {
	for len(l.waiting) > 0 && l.opening < l.inflight {
		c := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.opening++
		if err := c.dial(); err != nil {
			return fmt.Errorf("dialing connection %d: %w", c.index, err)
		}
	}
	return nil
}

// until handles sockets until it is done. It fails if for a long time nothing comes of what is awaited.
func (l *loop) until(done func() bool, awaited func() string) error {
	l.now = clock()
	l.progress = l.now
	for !done() {
		if err := l.step(); err != nil {
			return err
		}
		if l.now-l.progress > patience {
			return fmt.Errorf("nothing has come for %v, awaited: %s", time.Duration(patience), awaited())
		}
	}
	return nil
}

// line waits for a line of standard input, handling sockets meanwhile. ok is false at its end.
func (l *loop) line() (text string, ok bool, err error) {
	for {
		if text, ok := l.input.line(); ok || l.input.ended {
			return text, ok, nil
		}
		if err := l.step(); err != nil {
			return "", false, err
		}
	}
}

// step handles the sockets that are ready, or waits for some, not for long.
func (l *loop) step() error {
	n, err := epollWait(l.epoll, l.events[:], int(tick.Milliseconds()))
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	l.now = clock()
	for _, e := range l.events[:n] {
		if e.Fd == 0 {
			if err := l.input.read(); err != nil {
				return fmt.Errorf("standard input: %w", err)
			}
			if l.input.ended {
				_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, 0, nil) // it would be ready for ever
			}
			continue
		}
		if l.pace != nil && int(e.Fd) == l.pace.fd {
			if err := l.pace.read(); err != nil {
				return fmt.Errorf("timer: %w", err)
			}
			continue
		}
		c := l.byFD[e.Fd]
		if c == nil {
			continue // cut since
		}
		if err := c.ready(e.Events); err != nil {
			return fmt.Errorf("connection %d: %w", c.index, err)
		}
	}
	if err := l.dialMore(); err != nil {
		return err
	}
	if err := l.dialect.tick(l); err != nil {
		return err
	}
	return l.work.settle()
}

// frame returns the frame of a message of the application.
func (l *loop) frame(message []byte) []byte {
	if l.compress {
		return appendFrame(nil, bitDeflated, opText, deflate(message))
	}
	return appendFrame(nil, 0, opText, message)
}
