package wsctl

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// handshake is a connection of wsctl.v1 without $welcome. It has no Socket yet: the first message says whether it goes on
// with an old one.
type handshake struct {
	place *list.Element // in Handler.pending
	taken bool          // the connection is a session's

	mu       sync.Mutex  // guards following
	c        *conn       // nil: it is being upgraded
	verdict  *CloseError // why it was given up
	finished bool
}

// abandon has the handshake end soon: whoever waits for the peer is woken.
func (hs *handshake) abandon(ce *CloseError) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.verdict == nil && !hs.finished {
		hs.verdict = ce
		hs.wake()
	}
}

// upgraded begins the wait for $hello.
func (hs *handshake) upgraded(c *conn, timeout time.Duration) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.c = c
	_ = c.Conn.SetDeadline(time.Now().Add(timeout))
	if hs.verdict != nil {
		hs.wake()
	}
}

// wake ends the reading, if there is a connection to read from. mu is held.
func (hs *handshake) wake() {
	if hs.c != nil {
		_ = hs.c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// givenUp tells why the handshake was given up; nil: it wasn't. If it is over, it can't be any more.
func (hs *handshake) givenUp(over bool) *CloseError {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.finished = over
	return hs.verdict
}

var errTooManyPending = &CloseError{Code: CloseTooMany, Reason: "too many connections are being opened"}

// expect puts a connection among those without $welcome: a tenth of MaxConns, at least 100. The oldest goes first.
// nil: none is taken.
func (h *Handler) expect() *handshake {
	hs := &handshake{}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping || h.full() && h.parked.Len() == 0 {
		return nil
	}
	if h.opts.MaxConns > 0 && h.pending.Len() >= max(100, h.opts.MaxConns/10) {
		for e := h.pending.Front(); e != nil; e = e.Next() {
			if old := e.Value.(*handshake); !old.given() {
				old.abandon(errTooManyPending)
				break
			}
		}
	}
	hs.place = h.pending.PushBack(hs)
	return hs
}

func (hs *handshake) given() bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.verdict != nil || hs.finished
}

// unexpect takes it from there. lingers: the connection is refused, and waits for the peer's close.
func (h *Handler) unexpect(hs *handshake, lingers bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending.Remove(hs.place)
	if lingers {
		h.lingers++
	}
	h.left()
}

// serveSession upgrades a client of wsctl.v1, and opens or resumes its session.
func (h *Handler) serveSession(w http.ResponseWriter, r *http.Request, allowed bool) {
	hs := h.expect()
	if hs == nil {
		h.refuse(w, http.StatusServiceUnavailable, "No more connections are taken.")
		return
	}
	c := (*conn)(nil)
	ce := &CloseError{Code: CloseInternal} // also of an Authenticate that ends the goroutine by runtime.Goexit
	defer func() {
		lingers := c != nil && !hs.taken
		h.unexpect(hs, lingers)
		if lingers {
			h.refused.Add(1)
			go c.refuse(h, ce)
		}
	}()
	if c = h.upgrade(w, r, nil); c == nil {
		return
	}
	hs.upgraded(c, h.opts.HandshakeTimeout)
	if !allowed {
		ce = &CloseError{Code: CloseForbidden, Reason: "this origin is not allowed"}
		return
	}
	ce = h.begin(hs, r)
}

// begin waits for $hello and opens or resumes the session. It returns how the connection is to be closed otherwise.
func (h *Handler) begin(hs *handshake, r *http.Request) *CloseError {
	c := hs.c
	hello, ce := c.readHello()
	if verdict := hs.givenUp(ce != nil); verdict != nil {
		return verdict
	}
	if ce != nil {
		return ce
	}
	token := hello.Token
	if token == "" {
		token = bearer(r)
	}
	id, err := h.authenticate(r.Context(), r, token)
	if verdict := hs.givenUp(true); verdict != nil {
		return verdict
	}
	if err != nil {
		seen, ok := err.(*Error)
		if !ok {
			return &CloseError{Code: CloseInternal}
		}
		return &CloseError{Code: refusals[seen.Code].close, Reason: seen.Message}
	}
	_ = c.Conn.SetDeadline(time.Time{})
	if hello.Session != "" && h.opts.Resume > 0 {
		switch h.resume(c, hello, id) {
		case errHeld:
			return &CloseError{Code: CloseReplaced, Reason: "the session is held by another connection"}
		case nil:
			hs.taken = true
			return nil
		}
	}
	root := h.rootContext(r)
	if root == nil {
		return &CloseError{Code: CloseInternal}
	}
	if !h.reserveSession() {
		return &CloseError{Code: closeTryAgain, Reason: "no more connections are taken"}
	}
	secret := newSecret()
	s := h.newSocket(socketID(secret) + h.hub.suffix())
	s.root = root
	s.identify(id)
	s.session = &session{try: hello.Try, noResume: h.opts.Resume < 0, recall: parseRecall(hello.Rooms, hello.Session)}
	if hello.Session != "" && !h.knows(hello.Session) {
		s.session.former = socketID(hello.Session)
	}
	if !s.session.noResume {
		s.out.log = &sendLog{}
	}
	c.begin(s)
	hs.taken = true
	h.open(s, c, r, h.welcome(secret, false, 0, id))
	return nil
}

// readHello reads the first message, and nothing behind it.
func (c *conn) readHello() (*hello, *CloseError) {
	b, err := c.in.nextMessage(maxHello)
	if err != nil {
		var ce *CloseError
		var timeout net.Error
		switch {
		case errors.As(err, &ce):
			return nil, ce
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil, &CloseError{Code: CloseTimeout, Reason: "no $hello"}
		}
		return nil, closeErrorOf(err)
	}
	defer putBuffer(b)
	hello, err := parseHello(b.Bytes())
	if err != nil {
		return nil, &CloseError{Code: CloseBadRequest, Reason: err.Error()}
	}
	return hello, nil
}

// refuse closes a connection that has no socket, and gives the peer PingTimeout to answer.
func (c *conn) refuse(h *Handler, ce *CloseError) {
	_ = c.Conn.SetDeadline(time.Now().Add(h.opts.closeTimeout()))
	if ce.Code != CloseAbnormal {
		_, err := c.Conn.Write(closeFrame(ce))
		for err == nil {
			_, _, err = c.in.ws.NextReader()
		}
		if !errors.As(err, new(*websocket.CloseError)) { // gorilla reads no more after an error: this may be the answer
			_, _ = c.Conn.Read(make([]byte, 128))
		}
	}
	c.closeNet()
	h.mu.Lock()
	h.lingers--
	h.left()
	h.mu.Unlock()
}

// reserveSession is reserve for a new session, which may take the place of the oldest that has no connection.
func (h *Handler) reserveSession() bool {
	h.mu.Lock()
	var oldest *Socket
	if e := h.parked.Front(); e != nil && h.full() {
		oldest = e.Value.(*Socket)
	}
	ok := !h.stopping && (!h.full() || oldest != nil)
	if ok {
		h.conns++
		if oldest != nil { // so that nobody else takes the same place
			h.unparkLocked(oldest)
		}
	}
	h.mu.Unlock()
	if oldest != nil && ok {
		oldest.expire("another client took its place")
	}
	return ok
}

// knows tells whether a session is this handler's, and not over.
func (h *Handler) knows(secret string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[socketID(secret)+h.hub.suffix()] != nil
}

// resume gives a session its new connection. The errors are those of Socket.resume.
func (h *Handler) resume(c *conn, hello *hello, id Identity) error {
	h.mu.Lock()
	s := h.sessions[socketID(hello.Session)+h.hub.suffix()]
	h.mu.Unlock()
	if s == nil {
		return errLost
	}
	old, err := s.resume(c, hello, id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.conn != nil { // else it is parked again
		h.unpark(s)
	}
	s.mu.Unlock()
	if old != nil {
		old.close(&CloseError{Code: CloseReplaced, Reason: "another connection has resumed the session"}, false, false)
	}
	s.out.flush()
	c.start()
	return nil
}

// attachFirst gives a new session the connection that it was made for. A client whom OnOpen refuses gets no $welcome. mu is
// held.
func (s *Socket) attachFirst(c *conn, welcome []byte, agreed bool) {
	s.conn = c
	if agreed && !s.ending && !s.session.noResume {
		s.h.mu.Lock()
		s.h.sessions[s.id] = s
		s.h.mu.Unlock()
	}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if agreed {
		c.first = append(c.first, welcome...)
	} else {
		s.out.end(true)
	}
	s.out.attach(c)
}

// park puts a session that has lost its connection among those that wait.
func (h *Handler) park(s *Socket) {
	s.mu.Lock()
	h.mu.Lock()
	if s.conn == nil && !s.ending {
		s.session.parkedAt = time.Now()
		h.unparkLocked(s) // of the last time: who has resumed it comes too late
		s.session.place = h.parked.PushBack(s)
		s.out.park()
	}
	h.mu.Unlock()
	stopping := s.stopping.Load()
	s.mu.Unlock()
	if stopping {
		s.conclude()
	}
}

// unpark takes it from there.
func (h *Handler) unpark(s *Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unparkLocked(s)
}

func (h *Handler) unparkLocked(s *Socket) {
	if s.session != nil && s.session.place != nil {
		h.parked.Remove(s.session.place)
		s.session.place = nil
	}
}

// forget makes a session that ends unknown.
func (h *Handler) forget(s *Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unparkLocked(s)
	delete(h.sessions, s.id)
}

// parkedBytes accounts for n more bytes that sessions without a connection keep, or fewer. It is called with an outbox's mu
// held: who sees to the limit comes later.
func (h *Handler) parkedBytes(n int) {
	if h.parkedSize.Add(int64(n)) > int64(h.opts.ParkBuffer) && n > 0 && !h.relieving.Swap(true) {
		go h.relieve()
	}
}

// relieve ends the oldest sessions without a connection while they keep too much.
func (h *Handler) relieve() {
	tooMuch := func() bool { return h.parkedSize.Load() > int64(h.opts.ParkBuffer) }
	for {
		h.mu.Lock()
		e := h.parked.Front()
		h.mu.Unlock()
		if e != nil && tooMuch() && e.Value.(*Socket).expire("too much waited for lost clients") {
			continue
		}
		h.relieving.Store(false)
		if e == nil || !tooMuch() || h.relieving.Swap(true) {
			return
		}
		// More has come meanwhile, or the oldest is just coming back and is about to leave the list.
		runtime.Gosched()
	}
}

// goawayFrame tells clients when to come back: over so long a time that no more than some 500 a second do.
func goawayFrame(sockets int) []byte {
	const first = 100 // ms
	spread := min(max(1000, 2*sockets), 30_000)
	return textFrame([]byte(`{"type":"$goaway","data":{"min":` + strconv.Itoa(first) + `,"max":` + strconv.Itoa(first+spread) + `}}`))
}

// goAway sends it.
func (s *Socket) goAway(frame []byte) {
	s.mu.Lock()
	c := s.conn
	if s.session == nil || s.ended != nil || !s.inbox.opened {
		c = nil
	}
	s.mu.Unlock()
	if c != nil {
		c.control(frame)
	}
}

// hangUp drops the connection.
func (s *Socket) hangUp() {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c != nil {
		c.hangUp(true)
	}
}
