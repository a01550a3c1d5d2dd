package wsctl

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Numbers of wsctl.v1 that are the server's to choose.
const (
	subprotocol  = "wsctl.v1"
	ackEvery     = 64       // messages, both ways: it goes in $welcome
	ackBytes     = 64 << 10 // the same in bytes
	streamWindow = 64       // first credit of streams towards the client: it goes in $welcome
	maxStuck     = 3        // resumes in a row that may bring no count forward
)

// session is what a Socket of wsctl.v1 has beside a plain one; guarded by the socket's mu. Both sides count the messages that
// they send, from 1, so that each can tell the other after a lost connection what it has, and gets the rest. What was sent
// is in the outbox's sendLog.
type session struct {
	try       int64  // the highest number of a $hello
	received  uint64 // messages of the client
	acked     uint64 // received as the client was last told
	bytes     int    // of messages received since then
	confirmed bool   // an $ack has come: the client knows the session
	noResume  bool   // the client was given no session, and nothing is acknowledged

	lost     *CloseError   // how the last connection ended
	parkedAt time.Time     // when; zero: there is one
	place    *list.Element // in Handler.parked, which Handler.mu guards

	mark  progress // of the last resume that had something to send again
	stuck int      // resumes in a row that brought no count forward

	former string  // hash of a lost session that this node doesn't know, until the client has this one
	recall *recall // what the client remembers of a lost session; nil: nothing

	pinged   time.Time // when the client's last $ping was answered
	lastCall int64
	calls    map[int64]*ask
	auth     bool // an $auth is being looked at
}

// progress is where the counts of a session are.
type progress struct{ received, sent uint64 }

// newSecret returns the id of a new session, which lets a client resume it: it is told to nobody else, and not kept. The
// Socket.ID is a hash of it.
func newSecret() string { return rand.Text() }

func socketID(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// uncounted tells whether a message is one of those that have no number. The list is closed for v1.
func uncounted(typ []byte) bool {
	switch string(typ) {
	case "$hello", "$welcome", "$ping", "$pong", "$ack", "$goaway":
		return true
	}
	return false
}

// count gives a message, of so many bytes, its number: unknown, bad and refused ones too. It tells whether an $ack is due.
func (ss *session) count(e envelope, err error, bytes int) bool {
	if err == nil && uncounted(e.typ) {
		return false
	}
	ss.received++
	ss.bytes += bytes
	return !ss.noResume && (ss.received-ss.acked >= ackEvery/2 || ss.bytes >= ackBytes/2)
}

// owed tells whether the client doesn't know of all that was received.
func (ss *session) owed() bool { return !ss.noResume && ss.received > ss.acked }

// sendAck tells the client what was received, if it doesn't know: now, or with what is sent later.
func (s *Socket) sendAck(c *conn, later bool) {
	s.mu.Lock()
	due := s.session.owed() && s.conn == c
	if due {
		s.acknowledge(c, nil)
	}
	s.mu.Unlock()
	if due && !later {
		s.out.flush()
	}
}

// acknowledge puts the $ack that is owed, if one is, and another frame among what c has to say itself: it goes with what is queued.
// mu is held, so that none overtakes another.
func (s *Socket) acknowledge(c *conn, then []byte) {
	ss := s.session
	var frames []byte
	if ss.owed() {
		frames = textFrame(append(strconv.AppendUint([]byte(`{"type":"$ack","data":`), ss.received, 10), '}'))
	}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if c.controlLocked(append(frames, then...)) {
		ss.told()
	}
}

// told notes that the client knows what was received.
func (ss *session) told() { ss.acked, ss.bytes = ss.received, 0 }

var (
	v1Ping = textFrame([]byte(`{"type":"$ping"}`))
	v1Pong = textFrame([]byte(`{"type":"$pong"}`))
)

// parks tells whether the session waits for another connection after this end of one. mu is held.
func (s *Socket) parks(ce *CloseError, byPeer bool) bool {
	ss := s.session
	if ss == nil || ss.noResume || !ss.confirmed || !s.inbox.opened || s.stopping.Load() {
		return false
	}
	if byPeer {
		return ce.Code != CloseNormal && ce.Code != CloseGoingAway
	}
	return ce.Code == CloseUnauthenticated || ce.Code == CloseTimeout
}

// expired tells whether the session has waited for so long.
func (ss *session) expired(now time.Time, window time.Duration) bool {
	return !ss.parkedAt.IsZero() && now.Sub(ss.parkedAt) >= window
}

// expire ends a session that waits, in the way in which its last connection ended. It tells whether it did: a connection may
// have come.
func (s *Socket) expire(why string) bool {
	s.mu.Lock()
	ce := s.session.lost
	s.mu.Unlock()
	if ce == nil {
		return false
	}
	if ce.Reason == "" {
		ce = &CloseError{Code: ce.Code, Reason: why}
	}
	return s.endUnless(ce, true, func() bool { return s.conn != nil })
}

// errHeld says that the session is another connection's.
var errHeld = errors.New("wsctl: the session is held by another connection")

// resume makes c the connection of its session, in one step: from then on nothing that comes from the old one concerns it, and
// received is fixed. It returns the old one, which the caller closes. With an error nothing has happened: errHeld, or
// errLost where the client needs a new session.
func (s *Socket) resume(c *conn, hello *hello, id Identity) (old *conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss, o := s.session, &s.out
	switch {
	case s.ending || !s.inbox.opened || s.stopping.Load():
		return nil, errLost
	case hello.Try <= ss.try:
		return nil, errHeld
	case s.Identity().User != id.User:
		return nil, errLost
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.log
	if hello.Received < l.base || hello.Received > l.sent {
		return nil, errLost
	}
	if now := (progress{ss.received, hello.Received}); hello.Received == l.sent && len(l.kept) == 0 {
		ss.stuck, ss.mark = 0, now
	} else if ss.mark == now && ss.stuck > 0 {
		if ss.stuck >= maxStuck {
			return nil, errLost
		}
		ss.stuck++
	} else {
		ss.stuck, ss.mark = 1, now
	}

	old = s.conn
	o.detach(o.conn)
	o.unpark()
	s.detach()
	ss.try, ss.confirmed, ss.parkedAt = hello.Try, true, time.Time{}
	s.identify(id)
	c.begin(s)
	s.conn = c
	l.ack(hello.Received, o)
	l.rewind(o)
	if !c.deflate {
		o.inflate()
	}
	ss.told()
	c.first = append(c.first, s.h.welcome(hello.Session, true, ss.received, id)...)
	o.attach(c)
	return old, nil
}

var errLost = errors.New("wsctl: the session is lost")

// control takes a message of the protocol. At the plain level that is $cancel; the others are ignored, so that the protocol
// can grow.
func (s *Socket) control(c *conn, e envelope) {
	typ := string(e.typ)
	if typ == "$cancel" {
		s.cancelCall(c, e)
		return
	}
	if s.session == nil {
		return
	}
	switch typ {
	case "$hello":
		s.fail(c, &CloseError{Code: CloseBadRequest, Reason: "a second $hello"})
	case "$ack":
		s.acknowledged(c, e)
	case "$ping":
		s.answerPing(c)
	case "$reply", "$error":
		s.answered(e)
	case "$auth":
		s.renew(c, e)
	}
}

// badControl counts a message of the protocol that breaks it.
func (s *Socket) badControl(c *conn, err error) {
	s.mu.Lock()
	s.bad(c, envelope{}, err)
}

// cancelCall ends a call's context, and keeps one whose turn hasn't come from running.
func (s *Socket) cancelCall(c *conn, e envelope) {
	if e.id == 0 {
		s.badControl(c, errors.New("$cancel without an id"))
		return
	}
	s.mu.Lock()
	var cancel func(error)
	if m := s.inbox.calls[e.id]; m != nil {
		m.canceled = true
		cancel = m.cancel
	}
	s.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
}

// acknowledged takes an $ack: what the client has need not be kept.
func (s *Socket) acknowledged(c *conn, e envelope) {
	n, err := strconv.ParseUint(string(e.data), 10, 64)
	if err != nil {
		s.badControl(c, errors.New("$ack without a count"))
		return
	}
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		return
	}
	s.session.confirmed = true
	former, try := s.session.former, s.session.try
	s.session.former = ""
	s.out.mu.Lock()
	ok := s.out.closed || s.out.log == nil || s.out.log.ack(n, &s.out)
	s.out.mu.Unlock()
	s.mu.Unlock()
	if former != "" {
		s.h.hub.announce(former, s.Identity().User, try)
	}
	if !ok {
		s.fail(c, &CloseError{Code: CloseBadRequest, Reason: "$ack of what was never sent"})
	}
}

// answerPing answers a probe, after what is owed, at most once a second.
func (s *Socket) answerPing(c *conn) {
	s.mu.Lock()
	now := time.Now()
	if now.Sub(s.session.pinged) < time.Second || s.conn != c {
		s.mu.Unlock()
		return
	}
	s.session.pinged = now
	s.acknowledge(c, v1Pong)
	s.mu.Unlock()
	s.out.flush()
}

// hello is the data of $hello.
type hello struct {
	Session  string         `json:"session"`
	Received uint64         `json:"received"`
	Try      int64          `json:"try"`
	Token    string         `json:"token"`
	Rooms    jsontext.Value `json:"rooms"`
}

const maxHello = 16 << 10

// parseHello reads the first message of a connection.
func parseHello(b []byte) (*hello, error) {
	e, err := scan(b)
	if err != nil {
		return nil, err
	}
	if string(e.typ) != "$hello" {
		return nil, errors.New("the first message must be $hello")
	}
	var h hello
	if err := json.Unmarshal(e.data, &h); e.data == nil || err != nil {
		return nil, errors.New("$hello is malformed")
	}
	if h.Try < 1 || h.Try > maxID {
		return nil, errors.New("$hello without a try")
	}
	return &h, nil
}

// welcome returns the frame that answers $hello.
func (h *Handler) welcome(secret string, resumed bool, received uint64, id Identity) []byte {
	o := &h.opts
	w := struct {
		Session  string `json:"session,omitempty"`
		Resumed  bool   `json:"resumed"`
		Received uint64 `json:"received"`
		Ping     int64  `json:"ping"`
		Timeout  int64  `json:"timeout"`
		Max      int    `json:"max"`
		Ack      int    `json:"ack"`
		Window   int    `json:"window"`
		Schema   string `json:"schema"`
		Expires  *int64 `json:"expires,omitempty"`
	}{
		Session: secret, Resumed: resumed, Received: received,
		Ping: max(0, o.PingInterval.Milliseconds()), Timeout: o.closeTimeout().Milliseconds(),
		Max: o.MaxMessage, Ack: ackEvery, Window: streamWindow, Schema: h.schema(), Expires: expiresIn(id),
	}
	if o.Resume < 0 {
		w.Session, w.Ack = "", 0
	}
	b := getBuffer()
	defer putBuffer(b)
	_ = appendMessage(b, "$welcome", 0, &w) // nothing in it can fail
	return textFrame(b.Bytes())
}

// expiresIn is how long a credential is good for, in milliseconds; nil: for ever.
func expiresIn(id Identity) *int64 {
	if id.Expires.IsZero() {
		return nil
	}
	ms := max(0, time.Until(id.Expires).Milliseconds())
	return &ms
}

// schema is a hash of the methods that clients can call.
func (h *Handler) schema() string {
	h.schemaOnce.Do(func() {
		sum := sha256.New()
		for _, r := range h.Routes() {
			if r.Type != "" {
				sum.Write([]byte(r.Type + " " + r.Signature + "\n"))
			}
		}
		h.schemaText = strconv.FormatUint(binary.BigEndian.Uint64(sum.Sum(nil)), 36)
	})
	return h.schemaText
}
