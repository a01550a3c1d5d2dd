//go:build unix && !(linux && (amd64 || arm64) && !race)

package wsctl

import "syscall"

// recvNow and sendNow are a read and a write of a non-blocking socket.

func recvNow(fd int, b []byte) (int, error) { return syscall.Read(fd, b) }
func sendNow(fd int, b []byte) (int, error) { return syscall.Write(fd, b) }
