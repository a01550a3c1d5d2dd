package mempipe

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stream is one direction: a ring of bytes that one end writes and the other reads.
type stream struct {
	size int // what buf may grow to

	mu           sync.Mutex // guards following
	changed      sync.Cond  // anything that a waiting call looks at
	buf          []byte
	at, n        int   // n bytes wait, from buf[at] on, around the end
	writing      bool  // by a Write, which may wait: it is written in one piece
	writeErr     error // what writing fails with, since the writer closed
	readerClosed bool
	readBy       time.Time
	writeBy      time.Time
}

func newStream(size int) *stream {
	s := &stream{size: size}
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerClosed:
			return 0, net.ErrClosed
		case passed(s.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case s.n > 0:
			return s.take(p), nil
		case s.writeErr != nil:
			return 0, io.EOF
		}
		s.wait(s.readBy)
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		if err := s.writable(); err != nil {
			return 0, err
		}
		s.wait(s.writeBy)
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.changed.Broadcast()
	}()
	for {
		if err := s.writable(); err != nil {
			return n, err
		}
		n += s.put(p[n:])
		if n == len(p) {
			return n, nil
		}
		s.wait(s.writeBy)
	}
}

func (s *stream) tryWrite(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil || s.writing {
		return 0, err
	}
	return s.put(p), nil
}

// closeReader reports false if the reader has closed before. What waits is lost.
func (s *stream) closeReader() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readerClosed {
		return false
	}
	s.readerClosed = true
	s.buf, s.at, s.n = nil, 0, 0
	s.changed.Broadcast()
	return true
}

// closeWriter has writing fail with err from now on.
func (s *stream) closeWriter(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr == net.ErrClosed {
		return net.ErrClosed
	}
	s.writeErr = err
	s.changed.Broadcast()
	return nil
}

// writable returns what writing fails with. It wants mu, as what follows does.
func (s *stream) writable() error {
	switch {
	case s.writeErr != nil:
		return s.writeErr
	case passed(s.writeBy):
		return os.ErrDeadlineExceeded
	case s.readerClosed:
		return io.ErrClosedPipe
	}
	return nil
}

// wait waits for a change, no longer than until by. A timer for each wait, not for each deadline: most deadlines are
// set and never waited for.
func (s *stream) wait(by time.Time) {
	if !by.IsZero() {
		t := time.AfterFunc(time.Until(by), func() {
			s.mu.Lock() // not before Wait has begun
			defer s.mu.Unlock()
			s.changed.Broadcast()
		})
		defer t.Stop()
	}
	s.changed.Wait()
}

// put takes what there is room for from p.
func (s *stream) put(p []byte) int {
	p = p[:min(len(p), s.size-s.n)]
	if len(p) == 0 {
		return 0
	}
	if need := s.n + len(p); need > len(s.buf) {
		buf := make([]byte, min(s.size, max(need, 2*len(s.buf), 512)))
		s.copyTo(buf)
		s.buf, s.at = buf, 0
	}
	end := s.at + s.n
	if end >= len(s.buf) {
		end -= len(s.buf)
	}
	k := copy(s.buf[end:], p)
	copy(s.buf, p[k:])
	s.n += len(p)
	s.changed.Broadcast()
	return len(p)
}

// take moves what there is room for to p.
func (s *stream) take(p []byte) int {
	k := s.copyTo(p)
	s.n -= k
	if s.at += k; s.at >= len(s.buf) {
		s.at -= len(s.buf)
	}
	if s.n == 0 {
		s.at = 0 // so that little traffic stays in the same few bytes
	}
	s.changed.Broadcast()
	return k
}

// copyTo copies what waits to p.
func (s *stream) copyTo(p []byte) int {
	p = p[:min(len(p), s.n)]
	k := copy(p, s.buf[s.at:])
	copy(p[k:], s.buf)
	return len(p)
}

func passed(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }
