package wsctl

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// ServeHTTP upgrades the request and returns once the socket is open (upgrade, $hello, Authenticate, OnOpen) or refused; the
// connection lives on. Middleware around it therefore sees only the handshake; see the package comment.
//
// Refused are, in this order: what is no WebSocket handshake (426, 405, 400), pages of other origins (403), everybody while
// MaxConns is reached or after Shutdown has begun (503), whom Authenticate refuses (401, 403, 429, 500), and, by close code
// after the upgrade, whom OnOpen refuses. A client of wsctl.v1 is told by close code, which a page can see, where another one
// gets 403 for its origin or Authenticate's refusal.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !websocket.IsWebSocketUpgrade(r):
		h.refuseUpgrade(w, "This is a WebSocket.")
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		h.refuse(w, http.StatusMethodNotAllowed, "A WebSocket handshake is a GET.")
		return
	case r.Header.Get("Sec-Websocket-Version") != "13":
		w.Header().Set("Sec-Websocket-Version", "13") // RFC 6455, section 4.4
		h.refuseUpgrade(w, "The WebSocket version must be 13.")
		return
	case !validKey(r.Header.Get("Sec-Websocket-Key")):
		h.refuse(w, http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64.")
		return
	}
	allowed := h.originAllowed(r)
	if !allowed {
		h.log().Warn("wsctl: refused a page of another origin; Options.Origins would allow it", "origin", r.Header.Get("Origin"), "host", r.Host)
	}
	if slices.Contains(websocket.Subprotocols(r), subprotocol) {
		h.serveSession(w, r, allowed)
		return
	}
	switch {
	case !allowed:
		h.refuse(w, http.StatusForbidden, "This origin is not allowed.")
		return
	case !h.reserve():
		h.refuse(w, http.StatusServiceUnavailable, "No more connections are taken.")
		return
	}
	s := h.newSocket(rand.Text() + h.hub.suffix())
	upgraded := false
	defer func() {
		if !upgraded { // refused, or Authenticate has ended the goroutine by runtime.Goexit
			s.release()
		}
	}()
	id, err := h.authenticate(r.Context(), r, bearer(r))
	if err != nil {
		h.refuseUnauthenticated(w, err)
		return
	}
	s.identify(id)
	if h.isStopping() { // since Authenticate was asked
		h.refuse(w, http.StatusServiceUnavailable, "No more connections are taken.")
		return
	}
	if s.root = h.rootContext(r); s.root == nil {
		h.refuse(w, http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError))
		return
	}
	if c := h.upgrade(w, r, s); c != nil {
		upgraded = true
		h.open(s, c, r, nil)
	}
}

// validKey tells whether a key is one of RFC 6455, section 4.2.1.
func validKey(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(b) == 16
}

// refuse answers a handshake.
func (h *Handler) refuse(w http.ResponseWriter, status int, text string) {
	h.refused.Add(1)
	http.Error(w, text, status)
}

// refuseUpgrade answers a request that would have to be another one (RFC 9110, section 15.5.22).
func (h *Handler) refuseUpgrade(w http.ResponseWriter, text string) {
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	h.refuse(w, http.StatusUpgradeRequired, text)
}

// originAllowed tells whether a page of the request's Origin may connect: one of the same host, or of Options.Origins.
// Browsers enforce no same-origin policy for WebSockets (RFC 6455, section 10.2).
func (h *Handler) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	if u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	for _, pattern := range h.opts.Origins {
		if pattern == "*" {
			return true
		}
		if ok, _ := path.Match(strings.ToLower(pattern), strings.ToLower(u.Host)); ok && u.Host != "" {
			return true
		}
	}
	return false
}

// newSocket returns a Socket without a connection.
func (h *Handler) newSocket(id string) *Socket {
	s := &Socket{h: h, id: id, root: context.Background()}
	s.identity.Store(&noIdentity)
	s.refs.Store(1)
	s.out.init(s)
	s.inbox.opening = true
	s.current.Store(h.controller)
	return s
}

var noIdentity Identity

// identify gives the socket another identity.
func (s *Socket) identify(id Identity) {
	if id == noIdentity { // as of all whom nobody was asked for
		s.identity.Store(&noIdentity)
		return
	}
	own := id // so that only this one is an allocation
	s.identity.Store(&own)
}

// authenticate asks Options.Authenticate, which has HandshakeTimeout. The error is an [*Error] with a code of refusals, or one that is logged.
func (h *Handler) authenticate(ctx context.Context, r *http.Request, token string) (id Identity, err error) {
	if h.opts.Authenticate == nil {
		return id, nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.HandshakeTimeout)
	defer cancel()
	err = h.guard("Authenticate", func() (err error) {
		id, err = h.opts.Authenticate(ctx, r, token)
		return err
	})
	if err == nil && len(id.User) > maxName {
		err = fmt.Errorf("wsctl: Authenticate gave a User of %d bytes: at most %d are allowed", len(id.User), maxName)
	}
	if err == nil && !id.Expires.IsZero() && !time.Now().Before(id.Expires) {
		err = &Error{Code: CodeUnauthenticated, Message: "The credential has expired."}
	}
	if err == nil {
		return id, nil
	}
	var seen *Error
	if errors.As(err, &seen) && refusals[seen.Code].status != 0 {
		return Identity{}, seen
	}
	if err != errPanicked {
		h.log().Error("wsctl: Authenticate failed", "error", err)
	}
	return Identity{}, errPanicked
}

// refuseUnauthenticated answers a handshake with authenticate's error.
func (h *Handler) refuseUnauthenticated(w http.ResponseWriter, err error) {
	seen, ok := err.(*Error)
	if !ok {
		h.refuse(w, http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError))
		return
	}
	status := refusals[seen.Code].status
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110, section 11.6.1
	}
	h.refuse(w, status, seen.Message)
}

// refusals are the codes with which Authenticate and OnOpen refuse: the HTTP status before the upgrade, the close code after
// it.
var refusals = map[string]struct{ status, close int }{
	CodeUnauthenticated: {http.StatusUnauthorized, CloseUnauthenticated},
	CodeForbidden:       {http.StatusForbidden, CloseForbidden},
	CodeTooMany:         {http.StatusTooManyRequests, CloseTooMany},
}

// bearer returns the token of RFC 6750, section 2.1.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// rootContext asks Options.Context; nil: it gave none.
func (h *Handler) rootContext(r *http.Request) (root context.Context) {
	if h.opts.Context == nil {
		return context.Background()
	}
	err := h.guard("Options.Context", func() error {
		if root = h.opts.Context(r); root != nil {
			root.Done() // a nil pointer panics here, not when the socket is half open
		}
		return nil
	})
	if err != nil || root == nil {
		h.log().Error("wsctl: Options.Context gave no context")
		return nil
	}
	return root
}

// upgrade answers the handshake. The answer to a plain client, whose Socket s is, waits in the conn's queue until the hub knows
// the socket; a client of wsctl.v1 gets it at once. It returns nil if that failed, and was counted.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, s *Socket) *conn {
	hijack := &hijacker{ResponseWriter: w, h: h, s: s}
	ws, err := h.upgrader.Upgrade(hijack, r, nil)
	if err != nil {
		h.refused.Add(1)
		if hijack.c != nil {
			h.log().Warn("wsctl: handshake failed", "error", err)
			if s != nil {
				hijack.c.hangUp(true)
				s.release() // there is no reader
			}
		}
		if hijack.err != nil {
			h.log().Error("wsctl: the connection can't be taken over from the HTTP server: a middleware hides http.Hijacker "+
				"(http.TimeoutHandler does, and can't work with WebSockets), or this is HTTP/2", "error", hijack.err)
		}
		return nil
	}
	hijack.c.in.begin(ws)
	return hijack.c
}

// hijacker gives gorilla a connection of ours. It finds the server's through wrappers that have only Unwrap, which gorilla
// doesn't look for.
type hijacker struct {
	http.ResponseWriter
	h   *Handler
	s   *Socket // nil: it isn't known yet
	c   *conn
	err error
}

func (j *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := http.NewResponseController(j.ResponseWriter).Hijack()
	if err != nil {
		j.err = err
		return nil, nil, err
	}
	j.c = newConn(nc)
	if j.s != nil {
		j.c.begin(j.s)
	}
	if brw.Reader.Buffered() > 0 {
		return nc, brw, nil // gorilla refuses
	}
	return j.c.in.hijack(brw.Writer)
}

// writeBuffers satisfies gorilla, which would else keep a buffer for each connection's writes; it makes none of them.
var writeBuffers sync.Pool

func newUpgrader(o *Options) *websocket.Upgrader {
	return &websocket.Upgrader{
		ReadBufferSize:    0, // the input's own
		WriteBufferPool:   &writeBuffers,
		Subprotocols:      []string{subprotocol},
		EnableCompression: o.Compression,
		CheckOrigin:       func(*http.Request) bool { return true }, // checked
	}
}

// open makes a socket known, asks OnOpen, and starts the reader of its connection. welcome, if any, is sent first when OnOpen
// has agreed.
func (h *Handler) open(s *Socket, c *conn, r *http.Request, welcome []byte) {
	s.out.mu.Lock()
	s.out.bursts++
	if welcome == nil {
		s.conn = c // nobody else knows s
		s.out.attach(c)
	}
	s.out.corked.Store(true) // not before the hub knows it
	s.out.mu.Unlock()
	h.hub.enter(s)
	if h.admit(s) {
		s.stopping.Store(true)
	}
	s.out.mu.Lock()
	if s.out.corked.Load() { // the timer may see it
		h.corks.add(&s.out)
	}
	s.out.mu.Unlock()
	if s.root.Done() != nil {
		stop := context.AfterFunc(s.root, func() { s.end(errShutdown, false) })
		s.mu.Lock()
		s.stopRoot = stop
		ended := s.ended
		s.mu.Unlock()
		if ended != nil {
			stop()
		}
	}
	err := errPanicked // also of an OnOpen that ends the goroutine by runtime.Goexit
	defer func() { h.finishOpen(s, c, welcome, err) }()
	err = s.open(r)
}

// finishOpen goes on with a socket that OnOpen has agreed to, or not.
func (h *Handler) finishOpen(s *Socket, c *conn, welcome []byte, err error) {
	s.mu.Lock()
	s.inbox.opening = false
	s.inbox.opened = err == nil
	if welcome != nil {
		s.attachFirst(c, welcome, err == nil)
	}
	ended := s.ended
	s.mu.Unlock()
	if err != nil {
		h.refused.Add(1)
		s.end(h.refusal(s, err), false)
	} else {
		h.opened.Add(1)
		if ended != nil { // while OnOpen was asked
			h.countClosed(ended.Code)
		}
	}
	if welcome != nil && ended != nil {
		c.close(ended, true, ended == errSlowClose)
	}
	s.endBurst()
	s.conclude()
	c.start()
}

// refusal is how an error of OnOpen closes the socket.
func (h *Handler) refusal(s *Socket, err error) *CloseError {
	var ce *CloseError
	var seen *Error
	switch {
	case errors.As(err, &ce):
		return s.sendable(ce)
	case errors.As(err, &seen) && refusals[seen.Code].close != 0:
		return &CloseError{Code: refusals[seen.Code].close, Reason: cutReason(seen.Message)}
	case err != errPanicked:
		h.log().Error("wsctl: OnOpen failed", "socket", s.id, "error", err)
	}
	return &CloseError{Code: CloseInternal}
}
