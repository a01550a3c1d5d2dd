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
	"time"

	"github.com/gorilla/websocket"
)

// input is the reading side of a conn: gorilla, which does the handshake, masks, fragments, control frames and inflating, over
// a net.Conn that reads from the conn's network and writes into its queue. Between messages it has no state, so a conn that
// the watcher waits for does without, and gets another one when it wakes.
type input struct {
	*conn  // nil: it is spare
	ws     *websocket.Conn
	br     *bufio.Reader    // gorilla's
	chunk  *[chunkSize]byte // pooled; nil while there is nothing to hand over
	unread []byte           // what gorilla hasn't taken of chunk
	cut    bool             // the last message was not read to its end
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

// newInput makes an input for a conn whose handshake is over. Gorilla makes a Conn in a handshake only, so this is one, with
// nobody.
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
	in.conn = c
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
	for len(in.unread) == 0 {
		n, err = in.receive(p, reading)
		switch {
		case err != nil && in.roused(err): // not to be told to gorilla, for which every error is the end
		case err != nil || n > 0:
			return n, err
		}
	}
	n = copy(p, in.unread)
	in.consume(n)
	return n, nil
}

// receive waits for more from the peer. Where that needs no buffer it comes into unread, else it is n bytes of p. When
// it is called, everything read has been handled.
func (in *input) receive(p []byte, at waitState) (n int, err error) {
	c := in.conn
	if c.owner != nil {
		c.owner.idle(c)
	}
	c.setAt(at)
	raw := c.raw.ok()
	if raw {
		in.chunk, n, err = c.raw.read()
	} else {
		n, err = c.Conn.Read(p)
	}
	c.setAt(busy)
	if n > 0 {
		c.seen.Store(true)
		if c.owner != nil {
			c.owner.heard(c)
		}
	}
	if err == io.ErrUnexpectedEOF { // a TLS record is cut: not to be taken for a message that doesn't inflate
		err = io.EOF
	}
	if raw && err == nil {
		in.unread = in.chunk[:n]
		n = 0
	}
	return n, err
}

// consume takes n bytes of unread, and gives its memory back when nothing is left.
func (in *input) consume(n int) {
	if in.unread = in.unread[n:]; len(in.unread) == 0 {
		chunks.Put(in.chunk)
		in.chunk, in.unread = nil, nil
	}
}

// empty tells whether everything that was read is handled.
func (in *input) empty() bool { return len(in.unread) == 0 && in.br.Buffered() == 0 }

// takeControls takes the pings and pongs that a frame's beginning begins with. Gorilla would go on to wait for the message
// behind them, and a connection whose client answers pings would never be without a goroutine.
func (in *input) takeControls() {
	for !in.cut && len(in.unread) >= 2 && in.br.Buffered() == 0 {
		const masked, header, mask = 0x80, 2, 4
		b, n := in.unread, int(in.unread[1]&^masked)
		end := header + mask + n
		if b[0] != framePing && b[0] != framePong || b[1]&masked == 0 || n > 125 || end > len(b) {
			return // it is for gorilla
		}
		if b[0] == framePing {
			payload := make([]byte, n)
			for i := range payload {
				payload[i] = b[header+mask+i] ^ b[header+i%mask]
			}
			in.pong(string(payload))
		}
		in.consume(end)
	}
}

// nextMessage reads the next text message, into a buffer that the caller gives back. A *CloseError says how the peer has
// broken the protocol, also by one of more than limit bytes; any other error is the end.
func (in *input) nextMessage(limit int) (*bytes.Buffer, error) {
	for {
		in.cut = true
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
			in.cut = false
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
