package sim

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// path says how bytes travel in one direction. It is made when the conn is dialed and says all that will happen to it, so
// that nothing depends on which goroutine comes first.
type path struct {
	delay, jitter time.Duration
	chop          int       // most bytes that arrive together; 0: as written
	weather       []weather // one after the other
	cut           time.Time // what would arrive from then on is lost; zero: never
}

// weather is a time in which a path is slow, or holds everything back.
type weather struct {
	from, to time.Time
	rate     int // bytes a second; 0: what would arrive arrives at the end
}

// arrival is when n bytes that are sent now arrive, or never, if what was sent before arrives at last.
func (p *path) arrival(dice *rand.Rand, now, last time.Time, n int) (at time.Time, ok bool) {
	at = now.Add(p.delay)
	if p.jitter > 0 {
		at = at.Add(time.Duration(dice.Int64N(int64(p.jitter))))
	}
	if at.Before(last) {
		at = last
	}
	for _, w := range p.weather {
		if at.Before(w.from) || !at.Before(w.to) {
			continue
		}
		if w.rate == 0 {
			at = w.to
		} else if slow := at.Add(time.Duration(n) * time.Second / time.Duration(w.rate)); slow.Before(w.to) {
			at = slow
		} else {
			at = w.to
		}
	}
	return at, p.cut.IsZero() || at.Before(p.cut)
}

// link is one direction of a conn: what its writer has sent and its reader hasn't read.
type link struct {
	size int // bytes that may be under way or wait for the reader
	path path

	mu           sync.Mutex // guards following
	changed      sync.Cond  // anything that a waiting call looks at
	dice         *rand.Rand
	observe      func(b []byte, read bool) // told of every byte in order, when written and when read
	buf          []byte                    // from head on
	head         int
	pieces       []piece
	swallowed    int       // bytes that never arrive, but take up room
	last         time.Time // nothing arrives before
	writing      bool      // a Write waits: it is written in one piece
	readerClosed bool
	writerClosed bool
	lost         bool // something was sent that never arrives, so nothing after it does
	readBy       time.Time
	writeBy      time.Time
	fin          time.Time // the reader learns that the writer has closed; zero: it doesn't (yet)
	reset        bool      // ... by a reset, which overtakes what is unread
	gone         time.Time // the writer learns that the reader has closed
	readerDies   end       // of the conn: what its ends see of a cut
	writerDies   end
}

// piece is bytes that arrive together.
type piece struct {
	n  int
	at time.Time
}

// end is when and how an end of a conn finds that it was cut.
type end struct {
	at  time.Time // zero: never
	err error
}

func (e end) reached(now time.Time) bool { return reached(e.at, now) }

func reached(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

func (l *link) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		now := time.Now()
		finished := reached(l.fin, now)
		switch {
		case l.readerClosed:
			return 0, net.ErrClosed
		case reached(l.readBy, now):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case finished && l.reset:
			return 0, syscall.ECONNRESET
		case l.readerDies.reached(now) && l.readerDies.err != io.EOF:
			return 0, l.readerDies.err
		case len(l.pieces) > 0 && !now.Before(l.pieces[0].at):
			return l.take(p, now), nil
		case l.readerDies.reached(now), finished && len(l.pieces) == 0:
			return 0, io.EOF
		}
		next := earliest(l.readBy, l.fin, l.readerDies.at)
		if len(l.pieces) > 0 {
			next = earliest(next, l.pieces[0].at)
		}
		l.wait(next, now)
	}
}

// write writes all of p if it may wait, else what there is room for.
func (l *link) write(p []byte, wait bool) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing {
		now := time.Now()
		if err := l.writable(now); err != nil || !wait {
			return 0, err
		}
		l.wait(earliest(l.writeBy, l.writerDies.at, l.gone), now)
	}
	l.writing = true
	defer func() {
		l.writing = false
		if wait {
			l.changed.Broadcast() // for another Write that waits its turn
		}
	}()
	for {
		now := time.Now()
		if err := l.writable(now); err != nil {
			return n, err
		}
		n += l.put(p[n:], now)
		if n == len(p) || !wait {
			return n, nil
		}
		l.wait(earliest(l.writeBy, l.writerDies.at, l.gone), now)
	}
}

// writable returns what writing fails with. It wants mu, as all that follows does.
func (l *link) writable(now time.Time) error {
	switch {
	case l.writerClosed:
		return net.ErrClosed
	case reached(l.writeBy, now):
		return os.ErrDeadlineExceeded
	case l.writerDies.reached(now), reached(l.gone, now):
		return syscall.EPIPE
	}
	return nil
}

// put takes what there is room for from p, and sends it on its way in pieces.
func (l *link) put(p []byte, now time.Time) int {
	room := l.size - (len(l.buf) - l.head) - l.swallowed
	if l.readerClosed {
		room = len(p) // it travels, and is thrown away
	}
	p = p[:min(len(p), max(room, 0))]
	if len(p) == 0 {
		return 0
	}
	l.observe(p, false)
	if l.readerClosed {
		return len(p)
	}
	if l.head > 0 && len(l.buf)+len(p) > cap(l.buf) {
		l.buf = l.buf[:copy(l.buf, l.buf[l.head:])]
		l.head = 0
	}
	wake := len(l.pieces) == 0
	for rest := p; len(rest) > 0; {
		n := len(rest)
		if l.path.chop > 0 {
			n = min(n, 1+l.dice.IntN(l.path.chop))
		}
		at, ok := l.path.arrival(l.dice, now, l.last, n)
		if l.lost = l.lost || !ok; l.lost {
			l.swallowed += len(rest)
			break
		}
		l.last = at
		l.buf = append(l.buf, rest[:n]...)
		if k := len(l.pieces); k > 0 && l.pieces[k-1].at.Equal(at) {
			l.pieces[k-1].n += n
		} else {
			l.pieces = append(l.pieces, piece{n, at})
		}
		rest = rest[n:]
	}
	if wake {
		l.changed.Broadcast()
	}
	return len(p)
}

// take moves what has arrived to p, as much as there is room for.
func (l *link) take(p []byte, now time.Time) int {
	total, k := 0, 0
	for ; k < len(l.pieces) && !now.Before(l.pieces[k].at) && total < len(p); k++ {
		n := min(l.pieces[k].n, len(p)-total)
		total += n
		if n < l.pieces[k].n {
			l.pieces[k].n -= n
			break
		}
	}
	copy(p, l.buf[l.head:l.head+total])
	l.pieces = l.pieces[:copy(l.pieces, l.pieces[k:])]
	if l.head += total; l.head == len(l.buf) {
		l.head, l.buf = 0, l.buf[:0]
	}
	l.observe(p[:total], true)
	if l.writing {
		l.changed.Broadcast()
	}
	return total
}

// closeReader throws away what is unread, and tells whether there was anything.
func (l *link) closeReader() (unread, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readerClosed {
		return false, false
	}
	unread = len(l.pieces) > 0 && !time.Now().Before(l.pieces[0].at)
	l.readerClosed = true
	l.buf, l.head, l.pieces, l.swallowed = nil, 0, nil, 0
	l.changed.Broadcast()
	return unread, true
}

// closeWriter sends the reader word of the close, and returns when it gets there; zero: never.
func (l *link) closeWriter(reset bool) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writerClosed = true
	last := l.last
	if reset {
		last = time.Time{}
	}
	if at, ok := l.path.arrival(l.dice, time.Now(), last, 0); ok && (!l.lost || reset) {
		l.fin, l.reset = at, reset
	}
	l.changed.Broadcast()
	return l.fin
}

// peerGone has the writer know from a time on that nobody reads.
func (l *link) peerGone(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = at
	l.changed.Broadcast()
}

func (l *link) setReadBy(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readerClosed {
		return net.ErrClosed
	}
	l.readBy = t
	l.changed.Broadcast()
	return nil
}

func (l *link) setWriteBy(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writerClosed {
		return net.ErrClosed
	}
	l.writeBy = t
	l.changed.Broadcast()
	return nil
}

// wait waits for a change, no longer than until a time, if there is one.
func (l *link) wait(until, now time.Time) {
	if !until.IsZero() {
		t := time.AfterFunc(until.Sub(now), func() {
			l.mu.Lock() // not before Wait has begun
			defer l.mu.Unlock()
			l.changed.Broadcast()
		})
		defer t.Stop()
	}
	l.changed.Wait()
}

// earliest is the first of the times that aren't zero.
func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
