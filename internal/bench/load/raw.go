//go:build linux

package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// These system calls are made without a word to Go's scheduler. There is nothing else that it could run meanwhile, and its
// watch over threads in system calls would cost a sixth of the whole. An interrupted call has done nothing.

// epollWait waits for events, not longer than so many milliseconds, and returns how many there are.
func epollWait(epoll int, events []unix.EpollEvent, milliseconds int) (int, error) {
	n, _, code := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(milliseconds), 0, 0)
	if code == unix.EINTR {
		return 0, nil
	}
	return outcome(n, code)
}

// read reads a socket that doesn't block into b, which isn't empty. It returns EAGAIN if there is nothing.
func read(fd int, b []byte) (int, error) {
	for {
		if n, _, code := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))); code != unix.EINTR {
			return outcome(n, code)
		}
	}
}

// write writes to a socket that doesn't block from b, which isn't empty. It returns EAGAIN if there is no room.
func write(fd int, b []byte) (int, error) {
	for {
		if n, _, code := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))); code != unix.EINTR {
			return outcome(n, code)
		}
	}
}

func outcome(n uintptr, code unix.Errno) (int, error) {
	if code == unix.EAGAIN {
		return 0, unix.EAGAIN // a constant: the interface of another code is allocated
	}
	if code != 0 {
		return 0, code
	}
	return int(n), nil
}
