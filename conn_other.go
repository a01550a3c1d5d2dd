//go:build !unix

package wsctl

import "net"

// rawConn is for systems whose sockets can be read and written without waiting. Here, writes go through the drain
// goroutine, and reads through gorilla's buffer.
type rawConn struct{}

func (rawConn) init(net.Conn) {}
func (rawConn) ok() bool      { return false }

func (rawConn) read(*[blockSize]byte, int) (*[blockSize]byte, int, error) {
	panic("wsctl: no raw connections on this system")
}
func (rawConn) tryWrite([]byte) (int, error) { panic("wsctl: no raw connections on this system") }
func (rawConn) write([]byte) (int, error)    { panic("wsctl: no raw connections on this system") }
