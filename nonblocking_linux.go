//go:build linux && (amd64 || arm64) && !race

package wsctl

import (
	"syscall"
	"unsafe"
)

// recvNow and sendNow are a read and a write of a non-blocking socket. They wait for nothing, so the runtime isn't told of the
// system call, which would have it look for another thread to run goroutines meanwhile; and being a socket's own calls they pass
// by the file system. Together that is a sixth of what a broadcast costs, and a tenth of an echo.
//
// The race detector takes what goes through the syscall package's calls for synchronisation, as programs do that are tested over
// a real network: for it, they are those.

func recvNow(fd int, b []byte) (int, error) { return transfer(syscall.SYS_RECVFROM, fd, b, 0) }

// maxNow is how much a system call may copy that the runtime doesn't know of.
const maxNow = 64 << 10

func sendNow(fd int, b []byte) (int, error) {
	if len(b) > maxNow {
		return syscall.Write(fd, b)
	}
	return transfer(syscall.SYS_SENDTO, fd, b, syscall.MSG_NOSIGNAL)
}

func transfer(call uintptr, fd int, b []byte, flags uintptr) (int, error) {
	n, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags|syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
