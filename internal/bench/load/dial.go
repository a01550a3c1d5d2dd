//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// sources is how many addresses of this machine connections come from: one has too few ports for all, and for those that
// were closed a moment ago.
const sources = 16

// dial begins to open c, which is closed. c.opened is called when it is open.
func (c *conn) dial() error {
	l := c.loop
	l.dialed++
	if c.since == 0 {
		c.since = clock()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.fd, c.state = fd, connecting
	if grow := fd + 1 - len(l.byFD); grow > 0 {
		l.byFD = append(l.byFD, slices.Repeat([]*conn{nil}, grow)...)
	}
	l.byFD[fd] = c
	if err := c.configure(); err != nil {
		return err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(c.address.Port()), Addr: c.address.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect: %w", err)
	}
	return l.watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
}

// configure sets what has to be set before a socket connects.
func (c *conn) configure() error {
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("TCP_NODELAY: %w", err)
	}
	if c.receiveBuffer > 0 {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.receiveBuffer); err != nil {
			return fmt.Errorf("SO_RCVBUF: %w", err)
		}
	}
	if !c.address.Addr().IsLoopback() {
		return nil
	}
	// With this option the port is chosen by connect, which knows that only the pair of addresses has to be free.
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	if err := unix.Bind(c.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + c.loop.dialed%sources)}}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// connected goes on with the handshake.
func (c *conn) connected() error {
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("SO_ERROR: %w", err)
	}
	if code != 0 {
		return fmt.Errorf("connect: %w", unix.Errno(code))
	}
	c.state = upgrading
	c.out = append(c.out, c.loop.request...)
	return c.flush()
}

// upgraded goes on with the greeting, if there is one.
func (c *conn) upgraded() {
	hello := c.loop.dialect.greet(c)
	if hello == nil {
		c.opened()
		return
	}
	c.state = greeting
	c.out = appendFrame(c.out, 0, opText, hello)
}

// opened records how long the opening took.
func (c *conn) opened() {
	l := c.loop
	c.state = open
	l.opening--
	l.progress = l.now
	l.meter.latencies.record(l.now - c.since)
	c.since = 0
}

// cut closes c without a word to the server.
func (c *conn) cut() error {
	c.loop.byFD[c.fd] = nil
	err := unix.Close(c.fd)
	c.fd, c.state, c.blocked = -1, closed, false
	c.rest, c.parts, c.out = c.rest[:0], nil, c.out[:0]
	return err
}

// stall stops reading c for good.
func (c *conn) stall() error {
	c.state = stalled
	return unix.EpollCtl(c.loop.epoll, unix.EPOLL_CTL_DEL, c.fd, nil)
}
