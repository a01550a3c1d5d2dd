package wsctl

import (
	"bytes"
	"encoding/binary"
)

// frameKind is what a conn does with a frame.
type frameKind uint8

const (
	framePart  frameKind = iota // more must be read to tell, or to have it whole
	frameOdd                    // it is for gorilla
	frameUsual                  // a whole text message, a ping or a pong, as nearly all are
)

// parseFrame looks at the frame of a client that b begins with. A usual one ends at end, and its payload, masked still, begins
// at from (RFC 6455, section 5.2). A text of more than limit bytes is none: gorilla's reader finds out before it has come.
func parseFrame(b []byte, limit int) (kind frameKind, from, end int) {
	const masked, mask = 0x80, 4
	if len(b) < 2 {
		return framePart, 0, 0
	}
	n := int(b[1] &^ masked)
	if b[1]&masked == 0 || n == 127 {
		return frameOdd, 0, 0
	}
	switch b[0] {
	case frameText:
		from = 2 + mask
		if n == 126 {
			if len(b) < 4 {
				return framePart, 0, 0
			}
			n, from = int(binary.BigEndian.Uint16(b[2:])), 4+mask
		}
		if n > limit {
			return frameOdd, 0, 0
		}
	case framePing, framePong:
		if from = 2 + mask; n > 125 {
			return frameOdd, 0, 0
		}
	default:
		return frameOdd, 0, 0
	}
	switch end = from + n; {
	case end > blockSize:
		return frameOdd, 0, 0
	case end > len(b):
		return framePart, 0, 0
	}
	return frameUsual, from, end
}

// unmask unmasks a payload, which its key stands before (RFC 6455, section 5.3).
func unmask(b []byte, from, end int) []byte {
	key, payload := b[from-4:from], b[from:end:end]
	word := uint64(binary.LittleEndian.Uint32(key))
	word |= word << 32
	i := 0
	for ; len(payload)-i >= 8; i += 8 {
		binary.LittleEndian.PutUint64(payload[i:], binary.LittleEndian.Uint64(payload[i:])^word)
	}
	for ; i < len(payload); i++ {
		payload[i] ^= key[i%4]
	}
	return payload
}

// receive returns the next text message: in c.block, or in a pooled buffer that the caller gives back. A *CloseError says how the
// peer has broken the protocol, also by a message of more than limit bytes. errWatched: the watcher waits, and c isn't the
// caller's any more. Any other error is the end.
func (c *conn) receive(limit int) (b []byte, pooled *bytes.Buffer, err error) {
	for {
		if c.in != nil {
			if pooled, err = c.in.nextMessage(limit); err != nil {
				return nil, nil, err
			}
			c.unplug()
			return pooled.Bytes(), pooled, nil
		}
		kind, from, end := parseFrame(c.unread, limit)
		switch kind {
		case framePart:
			if err := c.more(); err != nil {
				return nil, nil, err
			}
			continue
		case frameOdd:
			c.plug()
			continue
		}
		first := c.unread[0]
		b = unmask(c.unread, from, end)
		c.unread = c.unread[end:]
		switch {
		case first == framePing:
			c.pong(string(b))
		case first == framePong:
		default:
			return b, nil, nil
		}
	}
}

// more waits for more to read, or has the watcher wait.
func (c *conn) more() error {
	at := resting
	switch {
	case len(c.unread) > 0:
		at = reading
	case c.drowsy && !c.woken && c.watch():
		return errWatched
	}
	c.woken = false
	err := c.fill(at)
	if err != nil && c.roused(err) {
		c.drowsy, err = true, nil
	}
	return err
}

// fill waits for more to read, and has it behind what is unread: less than a block.
func (c *conn) fill(at waitState) error {
	c.tidy()
	c.waiting(at)
	from := len(c.unread)
	block, n, err := c.raw.read(c.block, from)
	if c.block = block; block != nil { // maybe another one
		c.unread = block[:from+n]
	}
	c.waited(n)
	return err
}

// tidy moves what is unread to the beginning of its block, or gives the block back.
func (c *conn) tidy() {
	switch {
	case c.block == nil:
	case len(c.unread) > 0:
		c.unread = c.block[:copy(c.block[:], c.unread)]
	default:
		blocks.Put(c.block)
		c.block, c.unread = nil, nil
	}
}

// part leaves the block to who handles a message in it, and has the reader that goes on begin another one.
func (c *conn) part() {
	rest := c.unread
	if c.block, c.unread = nil, nil; len(rest) > 0 {
		c.block = blocks.Get().(*[blockSize]byte)
		c.unread = c.block[:copy(c.block[:], rest)]
	}
}

// waiting begins a wait for the peer: everything that was read whole has been handled.
func (c *conn) waiting(at waitState) {
	if c.owner != nil {
		c.owner.idle(c)
	}
	c.setAt(at)
}

// waited ends a wait that n bytes have come of.
func (c *conn) waited(n int) {
	c.setAt(busy)
	if n > 0 {
		c.seen.Store(true)
		if c.owner != nil {
			c.owner.heard(c)
		}
	}
}
