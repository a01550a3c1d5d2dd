package wsctl

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// input is gorilla below a conn. It does the handshake, and what the conn doesn't: fragments, compression, large frames, the
// peer's close, and its faults. Its net.Conn reads what the conn hasn't taken, and writes into the conn's queue. Between
// messages gorilla has no state, so one serves many conns; where it is, the input knows by the bytes that it has given.
type input struct {
	*conn // nil: it is spare
	ws    *websocket.Conn
	br    *bufio.Reader // gorilla's

	// Where in a message gorilla is, if the conn has a rawConn.
	header  [14]byte // of the frame, as far as it was given
	headerN int
	left    uint64 // bytes of the frame's payload that weren't given
	open    bool   // the message has more frames
}

// readBuffer is the size of gorilla's buffer: for headers of frames, since longer reads go past it. It takes no buffer of 256
// bytes or less from us.
const readBuffer = 512

// hijack gives gorilla the input as a connection. header is a buffer for its answer.
func (in *input) hijack(header *bufio.Writer) (net.Conn, *bufio.ReadWriter, error) {
	in.br = bufio.NewReaderSize(in, readBuffer)
	return in, bufio.NewReadWriter(in.br, header), nil
}

// begin is told what gorilla made of the connection.
func (in *input) begin(ws *websocket.Conn) {
	in.ws = ws
	ws.SetPingHandler(func(payload string) error { in.pong(payload); return nil })
	ws.SetPongHandler(func(string) error { return nil })
	ws.SetCloseHandler(func(int, string) error { return nil }) // the reader answers
}

// inputs are spare inputs of a Handler, without and with compression.
type inputs [2]sync.Pool

func (p *inputs) of(c *conn) *sync.Pool {
	if c.deflate {
		return &p[1]
	}
	return &p[0]
}

// idle tells whether gorilla is between messages, and has nothing that was read. That a message was read doesn't say so: an
// inflater is through with a final block (RFC 7692, section 7.2.3.4), and what follows of the message isn't read before the
// next one is.
func (in *input) idle() bool { return in.left == 0 && !in.open && in.br.Buffered() == 0 }

// give copies what gorilla may have of b to p: nothing behind a header, or a frame, so that it has read nothing behind a message.
func (in *input) give(p, b []byte) (n int) {
	if in.left > 0 {
		n = copy(p, b[:min(uint64(len(b)), in.left)])
		in.left -= uint64(n)
		return n
	}
	size, length := 2, uint64(in.header[1]&0x7f)
	switch {
	case in.headerN < 2: // it says how long the header is
	case length == 126:
		size = 2 + 2 + 4
	case length == 127:
		size = 2 + 8 + 4
	default:
		size = 2 + 4 // with the mask: after a frame without one gorilla reads no more
	}
	n = copy(p, b[:min(len(b), size-in.headerN)])
	copy(in.header[in.headerN:], p[:n])
	if in.headerN += n; size == 2 || in.headerN < size {
		return n
	}
	switch size {
	case 8:
		length = uint64(binary.BigEndian.Uint16(in.header[2:]))
	case 14:
		length = binary.BigEndian.Uint64(in.header[2:])
	}
	if in.headerN, in.left = 0, length; in.header[0]&0x08 == 0 { // no control frame
		in.open = in.header[0]&0x80 == 0
	}
	return n
}

// plug gives c an input.
func (c *conn) plug() {
	c.in, _ = c.out.s.h.inputs.of(c).Get().(*input)
	if c.in == nil {
		c.in = newInput(c)
	}
	c.in.conn = c
}

// unplug takes c's input away, if it isn't needed.
func (c *conn) unplug() {
	if in := c.in; in != nil && c.raw.ok() && in.idle() {
		in.conn, c.in = nil, nil
		c.out.s.h.inputs.of(c).Put(in)
	}
}

// newInput makes an input. Gorilla makes a Conn in a handshake only, so this is one, with nobody.
func newInput(c *conn) *input {
	in := &input{}
	r := &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}}
	if c.deflate {
		r.Header.Set("Sec-Websocket-Extensions", "permessage-deflate")
	}
	ws, err := c.out.s.h.upgrader.Upgrade(nobody{in: in}, r, nil)
	if err != nil {
		panic("wsctl: a handshake without a peer: " + err.Error())
	}
	in.begin(ws)
	return in
}

// nobody is the peer of newInput's handshake.
type nobody struct {
	http.ResponseWriter
	in *input
}

func (n nobody) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return n.in.hijack(bufio.NewWriter(io.Discard))
}

// SetDeadline is gorilla's, which ends those of the HTTP server.
func (in *input) SetDeadline(t time.Time) error {
	if in.conn == nil {
		return nil
	}
	return in.Conn.SetDeadline(t)
}

// SetWriteDeadline is gorilla's wish for its control frames; the sweeper watches writes.
func (in *input) SetWriteDeadline(time.Time) error { return nil }

// Write takes what gorilla writes by itself: the answer to the handshake, and the close frame with its verdict on a
// peer that breaks the protocol.
func (in *input) Write(p []byte) (int, error) {
	c := in.conn
	if c == nil {
		return len(p), nil
	}
	isClose := len(p) >= 4 && p[0] == frameClose
	if !isClose {
		c.deflate = bytes.Contains(p, []byte("permessage-deflate"))
	}
	switch {
	case c.out == nil:
		return c.Conn.Write(p)
	case isClose:
		c.owner.fail(c, &CloseError{Code: int(binary.BigEndian.Uint16(p[2:])), Reason: string(p[4:])})
	default: // it waits until the hub knows the socket
		c.out.mu.Lock()
		c.first = append(c.first, p...)
		c.out.mu.Unlock()
	}
	return len(p), nil
}

// Read is gorilla's way to the network.
func (in *input) Read(p []byte) (n int, err error) {
	if !in.raw.ok() {
		in.waiting(reading)
		n, err = in.Conn.Read(p)
		in.waited(n)
		if err == io.ErrUnexpectedEOF { // a TLS record is cut: not to be taken for a message that doesn't inflate
			err = io.EOF
		}
		return n, err
	}
	for len(in.unread) == 0 {
		// Gorilla isn't told that the wait was disturbed: for it every error is the end.
		if err := in.fill(reading); err != nil && !in.roused(err) {
			return 0, err
		}
	}
	n = in.give(p, in.unread)
	in.unread = in.unread[n:]
	return n, nil
}

// nextMessage reads the next text message, into a buffer that the caller gives back. A *CloseError says how the peer has
// broken the protocol, also by one of more than limit bytes; any other error is the end.
func (in *input) nextMessage(limit int) (*bytes.Buffer, error) {
	for {
		typ, r, err := in.ws.NextReader()
		if err != nil {
			return nil, err
		}
		if in.ending() {
			continue // NextReader skips the message
		}
		if typ == websocket.BinaryMessage {
			return nil, &CloseError{Code: closeUnsupported, Reason: "binary messages are not understood"}
		}
		b := getBuffer() // not before: an idle connection has none
		err = readMessage(b, r, limit)
		if err == nil {
			return b, nil
		}
		putBuffer(b)
		var corrupt flate.CorruptInputError
		switch {
		case err == errTooBig:
			return nil, &CloseError{Code: closeTooBig, Reason: fmt.Sprintf("a message has at most %d bytes", limit)}
		case err == io.ErrUnexpectedEOF, errors.As(err, &corrupt):
			return nil, &CloseError{Code: closeProtocol, Reason: "a compressed message doesn't inflate"}
		} // any other error comes back from NextReader
	}
}

var errTooBig = errors.New("message too big")

// readMessage reads a message of at most limit bytes into b. The limit holds for the inflated message, while gorilla's
// own limit counts what travelled.
func readMessage(b *bytes.Buffer, r io.Reader, limit int) error {
	for {
		b.Grow(bytes.MinRead)
		p := b.AvailableBuffer()
		if room := limit - b.Len(); room < cap(p) {
			p = p[:room+1]
		} else {
			p = p[:cap(p)]
		}
		n, err := r.Read(p)
		b.Write(p[:n])
		switch {
		case b.Len() > limit:
			return errTooBig
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
