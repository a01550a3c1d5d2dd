package wsctl

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"slices"
)

// sendLog is the messages of a session that have a number and that the client hasn't acknowledged. Numbers go from 1 in
// every session; none travels, since both sides count. Guarded by the outbox's mu.
type sendLog struct {
	base   uint64    // number of the newest message that is kept no more: the client has it, or it is forgotten
	sent   uint64    // number of the newest message that was handed to a connection
	kept   []segment // written on this connection, or an earlier one: base+1 and following
	bytes  int       // of kept
	replay int       // bytes at the queue's head that have numbers: to be written again, behind kept
}

// minShare is the size of a shared frame from which a segment that refers to it takes less memory than a copy.
const minShare = 64

// keep takes a segment that is handed to the connection. Shared and large ones are referred to; of others it has a copy, since the
// writer gives their memory back. The oldest messages are forgotten if more than limit bytes wait for the client.
func (l *sendLog) keep(s segment, limit int) {
	l.bytes += len(s.b)
	last := len(l.kept) - 1
	switch {
	case s.shared && len(s.b) > minShare, !s.pooled && len(s.b) > minRefer:
		l.kept = append(l.kept, segment{b: s.b, messages: s.messages, shared: true})
	case last >= 0 && l.kept[last].holds(len(s.b)):
		l.kept[last].b = append(l.kept[last].b, s.b...)
		l.kept[last].messages += s.messages
	default:
		l.kept = append(l.kept, newSegment(s.b, s.messages))
	}
	for l.bytes > limit && (len(l.kept) > 1 || l.kept[0].messages > 1) {
		l.bytes -= l.trim(&l.kept, 1)
	}
}

// ack drops what the client has. It reports false if n was never sent.
func (l *sendLog) ack(n uint64, o *outbox) bool {
	if n > l.sent {
		return false
	}
	had := l.kept
	for n > l.base && len(l.kept) > 0 {
		l.bytes -= l.trim(&l.kept, n-l.base)
	}
	if gone := len(had) - len(l.kept); gone > 0 && len(l.kept) > 0 { // what follows needs no other memory
		l.kept = slices.Delete(had, 0, gone)
	}
	for n > l.base { // it knows what it was not sent again
		before := len(o.queue)
		l.replay -= l.trim(&o.queue, n-l.base)
		o.events.advance(before - len(o.queue))
	}
	return true
}

// trim drops at most n messages of the first segment of a list, and returns their bytes.
func (l *sendLog) trim(list *[]segment, n uint64) (dropped int) {
	s := &(*list)[0]
	if n < uint64(s.messages) {
		for range n {
			dropped += frameLen(s.b[dropped:])
		}
		l.base += n
		s.messages -= int32(n)
		if s.pooled {
			s.b = s.b[:copy(s.b, s.b[dropped:])]
		} else {
			s.b = s.b[dropped:]
		}
		return dropped
	}
	l.base += uint64(s.messages)
	dropped = len(s.b)
	s.free()
	*s = segment{}
	if *list = (*list)[1:]; len(*list) == 0 {
		*list = nil
	}
	return dropped
}

// rewind puts what is kept before everything that waits in o, to be sent again.
func (l *sendLog) rewind(o *outbox) {
	if len(l.kept) == 0 {
		return
	}
	for i := range l.kept {
		l.kept[i].numbered = true
	}
	o.events.advance(-len(l.kept))
	o.queue = append(l.kept, o.queue...)
	l.kept = nil
	l.replay += l.bytes
	l.bytes = 0
}

// free forgets everything.
func (l *sendLog) free() {
	for _, s := range l.kept {
		s.free()
	}
	l.kept, l.bytes = nil, 0
}

// inflate makes the frames of o's queue such that a connection without compression can have them.
func (o *outbox) inflate() {
	for i, s := range o.queue {
		if len(s.b) == 0 || !hasDeflated(s.b) {
			continue
		}
		plain := segment{b: inflateFrames(s.b), messages: s.messages, numbered: s.numbered, mark: s.mark}
		if s.numbered {
			o.log.replay += len(plain.b) - len(s.b)
		} else {
			o.grow(len(plain.b) - len(s.b))
		}
		s.free()
		o.queue[i] = plain
	}
}

func hasDeflated(b []byte) bool {
	for ; len(b) > 0; b = b[frameLen(b):] {
		if b[0]&rsv1 != 0 {
			return true
		}
	}
	return false
}

// inflateFrames returns frames of ours without compression.
func inflateFrames(b []byte) (plain []byte) {
	for len(b) > 0 {
		n := frameLen(b)
		if b[0]&rsv1 == 0 {
			plain = append(plain, b[:n]...)
		} else {
			var one bytes.Buffer
			one.Write(zeros[:])
			const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff" // what deflateFrame cut off, and an end
			r := flate.NewReader(io.MultiReader(bytes.NewReader(b[n-payloadLen(b):n]), bytes.NewReader([]byte(tail))))
			_, _ = one.ReadFrom(r) // we made it
			plain = append(plain, frame(one.Bytes(), frameText)...)
		}
		b = b[n:]
	}
	return plain
}

// frameLen is the length of the frame, one of ours, that b begins with.
func frameLen(b []byte) int {
	n := payloadLen(b)
	switch {
	case n < 126:
		return 2 + n
	case n < 1<<16:
		return 4 + n
	}
	return 10 + n
}

func payloadLen(b []byte) int {
	switch n := b[1]; n {
	case 126:
		return int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return int(binary.BigEndian.Uint64(b[2:]))
	default:
		return int(n)
	}
}
