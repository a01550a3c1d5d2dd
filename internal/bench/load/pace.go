//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pace is a clock that ticks at a fixed rate, however late its ticks are taken.
type pace struct {
	fd  int
	due int // ticks that are not taken yet
}

// paced calls run while l has a pace of that many ticks a second.
func (l *loop) paced(rate int, run func() error) (err error) {
	if l.pace, err = l.newPace(rate); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	defer func() {
		err = errors.Join(err, unix.Close(l.pace.fd))
		l.pace = nil
	}()
	return run()
}

func (l *loop) newPace(rate int) (*pace, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	interval := unix.NsecToTimespec(int64(time.Second) / int64(rate))
	err = unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: interval, Value: interval}, nil)
	if err == nil {
		err = l.watch(fd, unix.EPOLLIN|unix.EPOLLET)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &pace{fd: fd}, nil
}

// take returns how many ticks are due.
func (p *pace) take() int {
	n := p.due
	p.due = 0
	return n
}

// read notes the ticks since it was last called.
func (p *pace) read() error {
	var b [8]byte
	switch _, err := unix.Read(p.fd, b[:]); err {
	case nil:
		p.due += int(binary.NativeEndian.Uint64(b[:]))
		return nil
	case unix.EAGAIN, unix.EINTR:
		return nil
	default:
		return err
	}
}
