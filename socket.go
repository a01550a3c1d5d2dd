package wsctl

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// Socket is one client: of wsctl.v1 across all connections of its session, else of its one connection. All methods may be
// called from any goroutine.
type Socket struct {
	h        *Handler
	id       string
	root     context.Context // of Options.Context
	current  atomic.Pointer[controller]
	identity atomic.Pointer[Identity] // the newest
	refs     atomic.Int32             // goroutines that aren't through, and the socket until its hooks are; see release
	out      outbox

	mu       sync.Mutex      // guards following
	conn     *conn           // the connection; nil: it has none, or is being opened
	session  *session        // nil: plain
	ending   bool            // end is at work, or was
	ended    *CloseError     // how it ended
	over     bool            // end is through: the context is done, Send fails
	ctx      context.Context // made when asked for
	cancel   context.CancelCauseFunc
	stopRoot func() bool // ends the watch on root
	onClose  []func(error)
	inbox    inbox
	finished bool    // the hooks of the end have their turn, or had it
	faults   *faults // nil: none yet
	rate     *rate   // nil: nothing was counted yet

	stopping atomic.Bool // Shutdown: nothing more is taken
	swept    sweepState

	rooms memberships // guarded by the hub's mu
	left  bool        // guarded by the hub's mu: it has left everything
	slot  int         // index in Handler.sockets, from 1, guarded by its mu; 0: not in it
}

// ID returns a random name of the socket, unique on all nodes. It is no secret, nor does it say the session's.
func (s *Socket) ID() string { return s.id }

// Hub returns the hub of the socket's handler.
func (s *Socket) Hub() *Hub { return s.h.hub }

// Identity returns what Options.Authenticate found the last time that it was asked, or the zero Identity.
func (s *Socket) Identity() Identity { return *s.identity.Load() }

// Context returns a context that carries the values of Options.Context and is done when the socket ends, with a
// [*CloseError] as its [context.Cause]. A session that waits for its client to come back has not ended.
func (s *Socket) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		// The root's end ends the socket, which ends this context with its cause.
		root := context.WithValue(context.WithoutCancel(s.root), stoppingKey{}, s.h.stops)
		s.ctx, s.cancel = context.WithCancelCause(root)
		if s.ended != nil {
			s.cancel(s.ended)
		}
	}
	return s.ctx
}

// Send queues a message and never blocks; nil data leaves data out. The error is [ErrClosed], [ErrSlow] (the message doesn't
// fit Options.SendBuffer beside what is queued, and the socket is closing with [CloseSlow]), that of data which can't be
// encoded, or of a type that is empty, longer than 128 bytes, not UTF-8, or begins with $. No error means that the message
// was queued, not that the client has it.
func (s *Socket) Send(typ string, data any) error {
	if err := checkType(typ); err != nil {
		return err
	}
	return s.sendMessage(typ, 0, data)
}

// sendMessage sends a message of the application or the protocol.
func (s *Socket) sendMessage(typ string, id int64, data any) error {
	b := getBuffer()
	b.Write(zeros[:headRoom])
	err := appendMessage(b, typ, id, data)
	if err == nil {
		err = s.sendPayload(b.Bytes())
	}
	putBuffer(b)
	return err
}

// sendPayload frames b, which begins with headRoom free bytes, and sends it.
func (s *Socket) sendPayload(b []byte) error {
	if s.out.deflated.Load() {
		if f := deflateFrame(b); f != nil {
			return s.sendFrames(frames{plain: f})
		}
	}
	return s.sendFrames(frames{plain: frame(b, frameText)})
}

// sendFrames sends a message after what was sent to s's rooms before. Its frames are the caller's, unless it has a queue policy.
func (s *Socket) sendFrames(f frames) (err error) {
	s.pushed(false, s.h.hub.catchUp(s))
	if f.mark == nil {
		err = s.out.send(f.of(s.out.deflated.Load()))
	} else {
		err = s.out.sendEvent(f)
	}
	s.pushed(false, err)
	return err
}

func (s *Socket) target() {}

func (s *Socket) sendMarked(data any, m *eventMark) error {
	f, err := makeFrames(m.typ, data, s.out.deflated.Load())
	if err != nil {
		return err
	}
	f.mark = m
	return s.sendFrames(f)
}

var errSlowClose = &CloseError{Code: CloseSlow, Reason: "too slow"}

// pushed does what is left to do after a push.
func (s *Socket) pushed(flush bool, err error) {
	if err == ErrSlow {
		s.end(errSlowClose, false)
	} else if flush {
		s.out.flush()
	}
}

// Join adds the socket to a room: 1 to 128 bytes. What is sent to the room after Join has returned reaches it. To join twice
// is to join once. If the room keeps history, a client that has lost its session gets what it has missed before that, or is told that it
// can't. The error is [ErrClosed], or that of a bad name.
//
// With a Broker the first join of a room on this node waits for it, for 5 s at most, and so may one that recovers. Its error is an [*Error] of
// [CodeUnavailable] as well, which tells the client to try again: the socket is not in the room then.
func (s *Socket) Join(room string) error {
	r := s.h.hub.Room(room)
	if err := r.check(); err != nil {
		return err
	}
	return s.h.hub.join(s, r.key)
}

// Leave takes the socket out of a room. What is sent to the room after Leave has returned doesn't reach it, and it is never recovered.
func (s *Socket) Leave(room string) { s.h.hub.leave(s, roomKey{kindRoom, room}) }

// Rooms returns the names of the rooms that the socket is in, sorted; after its end, of those that it was in.
func (s *Socket) Rooms() []string { return s.h.hub.roomsOf(s) }

// Close sends what is queued, then closes with a code, 1000 or 3000 to 4999, and a reason of at most 123 bytes of UTF-8. It
// doesn't wait. The socket has ended when it returns nil: its context is done, its rooms are left, messages whose handling has
// not begun are dropped. The error is [ErrClosed], where it has ended already or is about to, or that of a bad code or reason. With
// 1000, or a code of the application's own from 4410 to 4499, clients of wsctl.v1 don't come back; after others they do.
func (s *Socket) Close(code int, reason string) error {
	if err := checkClose(code, reason); err != nil {
		return err
	}
	if !s.end(&CloseError{Code: code, Reason: reason}, false) {
		return ErrClosed
	}
	return nil
}

// checkClose returns the error of what Close doesn't take.
func checkClose(code int, reason string) error {
	if code != CloseNormal && (code < 3000 || code > 4999) {
		return fmt.Errorf("wsctl: close code %d: an application closes with 1000 or 3000 to 4999", code)
	}
	if cutReason(reason) != reason {
		return fmt.Errorf("wsctl: a close reason of %d bytes: it must be UTF-8 of at most 123", len(reason))
	}
	return nil
}

// sendable is how a returned CloseError goes out: with a code that Close takes, or one of RFC 6455 that tells the client
// what to do. Any other would be a lie on the wire, or mustn't stand there.
func (s *Socket) sendable(ce *CloseError) *CloseError {
	code := ce.Code
	switch code {
	case CloseGoingAway, closePolicy, CloseInternal, closeRestart, closeTryAgain:
	default:
		if checkClose(code, "") != nil {
			s.h.log().Error("wsctl: a CloseError whose code can't be sent: 1011 is sent instead", "code", code, "socket", s.id)
			code = CloseInternal
		}
	}
	return &CloseError{Code: code, Reason: cutReason(ce.Reason)}
}

// OnClose adds a function to run when the socket has ended and [Closer] was told, last added first. If the socket has
// ended already, fn is called at once. Its argument is that of OnClose.
func (s *Socket) OnClose(fn func(err error)) {
	s.mu.Lock()
	if ended := s.ended; ended != nil {
		s.mu.Unlock()
		fn(ended)
		return
	}
	s.onClose = append(s.onClose, fn)
	s.mu.Unlock()
}

// SetController gives messages whose handling starts from now on to c, a struct or a pointer to one as for [New]; nil
// ignores them, and calls fail with [CodeNotFound]. The error is the text with which New would panic.
func (s *Socket) SetController(c any) error {
	if c == nil {
		s.current.Store(nil)
		return nil
	}
	bound, err := s.h.tables.bind(c)
	if err != nil {
		return err
	}
	s.current.Store(bound)
	return nil
}

// fail is told by the reader that the peer has broken the protocol.
func (s *Socket) fail(c *conn, ce *CloseError) { s.disconnect(c, ce, false, false) }

// lost is told by the reader that the peer has closed, or is gone.
func (s *Socket) lost(c *conn, ce *CloseError) { s.disconnect(c, ce, true, true) }

// disconnect is the end of a connection, and of the socket unless its session waits for another one. byPeer: there is nobody to
// tell. keep: as of end.
func (s *Socket) disconnect(c *conn, ce *CloseError, byPeer, keep bool) {
	s.mu.Lock()
	if s.conn != c {
		s.mu.Unlock()
		return
	}
	if s.ending || !s.parks(ce, byPeer) {
		s.mu.Unlock()
		s.end(ce, keep)
		return
	}
	s.detach()
	s.session.lost = ce
	s.out.mu.Lock()
	s.out.detach(c)
	s.out.mu.Unlock()
	s.mu.Unlock()
	if !byPeer || ce.Code != CloseAbnormal { // a close frame is answered
		c.close(ce, false, false)
	}
	s.h.park(s)
}

// detach takes the connection from the socket, but not from the outbox. mu is held.
func (s *Socket) detach() {
	s.conn = nil
	s.inbox.piece = false
	s.inbox.wake()
}

// end ends the socket, once: the hub forgets it, its context is done, the peer is told. What was read whole and waits is
// still handled if keep, as when the peer has gone; else dropped.
func (s *Socket) end(ce *CloseError, keep bool) bool { return s.endUnless(ce, keep, nil) }

// endUnless is end, unless a condition holds, which is asked in the same step.
func (s *Socket) endUnless(ce *CloseError, keep bool, not func() bool) bool {
	s.mu.Lock()
	if s.ending || not != nil && not() {
		s.mu.Unlock()
		return false
	}
	s.ending = true
	s.refs.Add(1) // it isn't gone yet: finish comes later
	s.mu.Unlock()
	defer s.release()

	s.h.forget(s)
	if s.h.hub.exit(s) == ErrSlow && !keep {
		ce = errSlowClose // another code would say that the client has got everything
	}
	s.mu.Lock()
	s.ended = ce
	c := s.conn
	cancel, stopRoot, opened, opening := s.cancel, s.stopRoot, s.inbox.opened, s.inbox.opening
	s.endInbox(keep)
	if s.session != nil {
		s.session.failCalls()
	}
	s.mu.Unlock()

	if opened {
		s.h.countClosed(ce.Code)
	}
	if stopRoot != nil {
		stopRoot()
	}
	switch {
	case c == nil: // it has lost its connection, or gets it when OnOpen has returned
		s.out.mu.Lock()
		s.out.end(!opening || ce == errSlowClose)
		s.out.mu.Unlock()
	case ce.Code == CloseAbnormal:
		s.out.mu.Lock()
		s.out.end(true)
		s.out.mu.Unlock()
		c.hangUp(true)
	default:
		c.close(ce, true, ce == errSlowClose)
	}
	if cancel != nil {
		cancel(ce) // now that Send answers ErrClosed
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.conclude()
	return true
}

// conclude does what waits for the socket's last method to return: the end of one that is to stop, the hooks of one that
// has ended.
func (s *Socket) conclude() {
	s.mu.Lock()
	if s.inbox.busy() {
		s.mu.Unlock()
		return
	}
	stop := s.ended == nil && s.stopping.Load()
	if stop && s.session != nil && s.conn != nil {
		s.acknowledge(s.conn, nil) // all of it was handled: the client needn't fear for it
	}
	finish := s.over && !s.finished
	if finish {
		s.finished = true
	}
	s.mu.Unlock()
	switch {
	case stop:
		s.end(errShutdown, false)
	case finish:
		go s.finish()
	}
}

// stop ends the socket when its methods have returned; nothing more is taken from the client.
func (s *Socket) stop() {
	s.stopping.Store(true)
	s.mu.Lock()
	s.inbox.wake() // a reader that was slowed down
	s.mu.Unlock()
	s.conclude()
}

// finish tells everybody who wants to know that the socket has ended. It holds the socket's own reference.
func (s *Socket) finish() {
	defer s.release()
	s.mu.Lock()
	err, opened, functions := s.ended, s.inbox.opened, s.onClose
	s.onClose = nil
	s.mu.Unlock()
	var hooks []func(error)
	if opened {
		told := func(c *controller) {
			if c != nil && c.closer != nil {
				hooks = append(hooks, func(err error) { c.closer.OnClose(s, err) })
			}
		}
		current := s.current.Load()
		told(current)
		if !current.same(s.h.controller) {
			told(s.h.controller)
		}
	}
	slices.Reverse(functions) // last added first
	s.runAll(append(hooks, functions...), err)
}

// runAll runs hooks of the end, each also after one that panics or, by runtime.Goexit, ends the goroutine.
func (s *Socket) runAll(hooks []func(error), err error) {
	if len(hooks) == 0 {
		return
	}
	defer s.runAll(hooks[1:], err)
	_ = s.guard("OnClose", func() error { hooks[0](err); return nil }) // a panic is logged
}

// open asks OnOpen.
func (s *Socket) open(r *http.Request) error {
	opener := s.h.controller.opener
	if opener == nil {
		return nil
	}
	return s.guard("OnOpen", func() error { return opener.OnOpen(s, r) })
}

// retain takes a reference, unless nothing of the socket is left.
func (s *Socket) retain() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release drops a reference; the last one gives the socket's place back.
func (s *Socket) release() {
	if s.refs.Add(-1) == 0 {
		s.h.unreserve(s)
	}
}
