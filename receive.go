package wsctl

import (
	"errors"
	"io"
	"os"
	"time"
)

// readBuffer is gorilla's buffer of a conn: for headers of frames, since longer reads go past it. Gorilla takes none of
// 256 bytes or less from us.
const readBuffer = 512

// idleTime is how long a connection waits for a message until it gives up its goroutine, where there is a watcher.
const idleTime = 5 * time.Second

// waitState is what a conn's reader is at.
type waitState int32

const (
	busy    waitState = iota // it handles what it has read
	reading                  // it waits for the rest of a message
	resting                  // it waits for a message to begin
	watched                  // there is none: the watcher waits
)

func (c *conn) at() waitState       { return waitState(c.waits.Load()) }
func (c *conn) setAt(now waitState) { c.waits.Store(int32(now)) }

// Read is gorilla's way to the network.
func (c *conn) Read(p []byte) (n int, err error) {
	for len(c.unread) == 0 {
		n, err = c.receive(p, reading)
		switch {
		case err != nil && c.roused(err): // not to be told to gorilla, for which every error is the end
		case err != nil || n > 0:
			return n, err
		}
	}
	n = copy(p, c.unread)
	c.consume(n)
	return n, nil
}

// receive waits for more from the peer. Where that needs no buffer it comes into c.unread, else it is n bytes of p. When
// gorilla has asked for more than there is, everything read has been handled.
func (c *conn) receive(p []byte, at waitState) (n int, err error) {
	if c.owner != nil {
		c.owner.idle(c)
	}
	c.setAt(at)
	raw := c.raw.ok()
	if raw {
		c.chunk, n, err = c.raw.read()
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
		c.unread = c.chunk[:n]
		n = 0
	}
	return n, err
}

// consume takes n bytes of c.unread, and gives its memory back when nothing is left.
func (c *conn) consume(n int) {
	if c.unread = c.unread[n:]; len(c.unread) == 0 {
		chunks.Put(c.chunk)
		c.chunk, c.unread = nil, nil
	}
}

// await returns when there is something to read, where a read needs no buffer: so gorilla isn't asked for a message before
// one begins, and an idle connection needs neither gorilla nor a goroutine. errWatched: the watcher waits instead, and the
// conn isn't the caller's any more. Elsewhere gorilla waits.
func (c *conn) await() error {
	if !c.raw.ok() {
		return nil
	}
	for len(c.unread) == 0 && c.br.Buffered() == 0 {
		if c.drowsy && !c.woken && c.watch() {
			return errWatched
		}
		c.woken = false
		if _, err := c.receive(nil, resting); err != nil {
			if !c.roused(err) {
				return err
			}
			c.drowsy = true
		}
		c.takeControls()
	}
	return nil
}

// takeControls takes the pings and pongs that c.unread begins with. Gorilla would go on to wait for the message behind them,
// and a connection whose client answers pings would never be without a goroutine.
func (c *conn) takeControls() {
	for c.whole && len(c.unread) >= 2 && c.br.Buffered() == 0 {
		const masked, header, mask = 0x80, 2, 4
		first, n := c.unread[0], int(c.unread[1]&^masked)
		end := header + mask + n
		if first != framePing && first != framePong || c.unread[1]&masked == 0 || n > 125 || end > len(c.unread) {
			return // it is for gorilla
		}
		if first == framePing && !c.ending() {
			payload := make([]byte, n)
			for i := range payload {
				payload[i] = c.unread[header+mask+i] ^ c.unread[header+i%mask]
			}
			c.pong(string(payload))
		}
		c.consume(end)
	}
}

// rouse has the reader of an idle connection give up its goroutine, or try again later.
func (c *conn) rouse() {
	if canWatch && c.raw.ok() && c.at() == resting {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// roused tells whether a read was ended by rouse, and not by the network.
func (c *conn) roused(err error) bool {
	if c.owner == nil || !errors.Is(err, os.ErrDeadlineExceeded) { // a handshake has a deadline
		return false
	}
	_ = c.Conn.SetReadDeadline(time.Time{})
	return true
}

// watch gives the conn to the watcher.
func (c *conn) watch() bool {
	c.owner.idle(c)
	c.setAt(watched)
	if c.out.s.h.watcher.watch(c) {
		return true
	}
	c.setAt(busy)
	c.drowsy = false // not again before idleTime
	return false
}
