package client

import (
	"errors"
	"time"
)

// session is the client's half of the protocol's rules about counts: what was written and not acknowledged, what waits to
// be written, and what has come. It does no I/O, knows no connection and takes no lock.
//
// One list is both the resend buffer and the offline queue. Its first numbered messages have a number in this session, of
// which the first sent were written to this connection; what follows has no number yet and may still be dropped.
type session struct {
	id       string // empty: none, or one that can't be resumed
	try      int64  // of the last $hello
	keep     bool   // what is written is kept until it is acknowledged
	received uint64 // the server's messages of this session
	acked    uint64 // ... of which the server has been told

	base     uint64 // the client's messages that the server has acknowledged
	queue    []*message
	numbered int
	sent     int
	bytes    int // in queue
}

// message is one counted message on its way to the server.
type message struct {
	data     []byte
	call     *call     // that it begins, or nil
	bound    bool      // to the session, as an answer is: nothing of it goes into the next one
	since    time.Time // of a Send: it expires after QueueTTL
	volatile bool      // worth nothing on a later connection
	written  bool      // it has a number
}

var (
	errAckRange      = errors.New("$ack is above what was sent")
	errReceivedRange = errors.New("received of $welcome is out of range")
	errResumed       = errors.New("$welcome resumes another session")
)

// send appends a message. It is written when next comes to it.
func (s *session) send(m *message) {
	s.queue = append(s.queue, m)
	s.bytes += len(m.data)
}

// next is the message to write now, which takes its number, or nil.
func (s *session) next() *message {
	if s.sent == len(s.queue) {
		return nil
	}
	m := s.queue[s.sent]
	m.written = true
	if !s.keep {
		s.cut(1)
		return m
	}
	s.sent++
	s.numbered = max(s.numbered, s.sent)
	return m
}

// waiting is how many messages have no number.
func (s *session) waiting() int { return len(s.queue) - s.numbered }

// cut removes the first n.
func (s *session) cut(n int) {
	for _, m := range s.queue[:n] {
		s.bytes -= len(m.data)
	}
	clear(s.queue[:n])
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
}

// withdraw removes a message that has no number. It reports whether it has.
func (s *session) withdraw(m *message) bool {
	if m.written {
		return false
	}
	for i := s.numbered; i < len(s.queue); i++ {
		if s.queue[i] == m {
			s.remove(func(x *message) bool { return x == m })
			return true
		}
	}
	return false
}

// remove drops the messages without a number that it is told to.
func (s *session) remove(drop func(*message) bool) (dropped []*message) {
	kept := s.queue[:s.numbered]
	for _, m := range s.queue[s.numbered:] {
		if drop(m) {
			dropped = append(dropped, m)
			s.bytes -= len(m.data)
		} else {
			kept = append(kept, m)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
	return dropped
}

// dial composes what the $hello of the next connection says. The old connection is detached by then.
func (s *session) dial() (id string, received uint64, try int64) {
	s.try++
	s.sent = 0
	s.acked = s.received
	return s.id, s.received, s.try
}

// readWelcome begins the session on this connection. lost are the messages that were written in one that is over: they may
// have been handled. An error says that this session can't go on; the caller forgets it.
func (s *session) readWelcome(id string, resumed bool, received uint64, keep bool) (lost []*message, err error) {
	if !resumed {
		lost = s.forget()
		s.id, s.keep = id, keep
		if received != 0 {
			return lost, errReceivedRange
		}
		return lost, nil
	}
	if s.id == "" || id != s.id || !keep {
		return nil, errResumed
	}
	if received < s.base || received > s.base+uint64(s.numbered) {
		return nil, errReceivedRange
	}
	n := int(received - s.base)
	s.cut(n)
	s.numbered -= n
	s.base = received
	return nil, nil
}

// readAck takes the server's $ack.
func (s *session) readAck(n uint64) error {
	if n > s.base+uint64(s.sent) {
		return errAckRange
	}
	if n > s.base {
		d := int(n - s.base)
		s.cut(d)
		s.numbered -= d
		s.sent -= d
		s.base = n
	}
	return nil
}

// readData counts a message of the server.
func (s *session) readData() { s.received++ }

// ack is the number to acknowledge now.
func (s *session) ack() uint64 {
	s.acked = s.received
	return s.received
}

// forget drops the session: the next $hello asks for a new one. It returns what was written and not acknowledged. What
// waits for its number stays, unless it answers something of this session.
func (s *session) forget() (lost []*message) {
	lost = append(lost, s.queue[:s.numbered]...)
	s.cut(s.numbered)
	s.id, s.keep, s.received, s.acked, s.base, s.numbered, s.sent = "", false, 0, 0, 0, 0, 0
	s.remove(func(m *message) bool { return m.bound })
	return lost
}
