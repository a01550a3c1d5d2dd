package wsctl

import (
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Optional interfaces of controllers. Errors are treated as those of methods.
type (
	// Opener is asked of the controller given to [New], after the upgrade, before the first message. The socket is already
	// a member of Hub.Everyone and of its user's room. An error refuses the socket: a [*CloseError] with its code, an
	// [*Error] of [CodeUnauthenticated], [CodeForbidden] or [CodeTooMany] with 4401, 4403 or 4429; any other is logged and
	// refuses with [CloseInternal]. r must not be used after the return. Send, Join and SetController work; Socket.Call
	// fails.
	Opener interface {
		OnOpen(s *Socket, r *http.Request) error
	}
	// Closer is told once, when the socket's last method has returned: the socket's controller of that time, then the
	// one given to [New] if it is another. err is that of context.Cause(s.Context()), a [*CloseError]. s.Rooms still
	// answers; s gets nothing more. After a refusal it isn't told; functions given to s.OnClose are.
	Closer interface {
		OnClose(s *Socket, err error)
	}
	// Fallback gets the messages of types that have no method. Without it they are logged and ignored, and calls fail
	// with [CodeNotFound].
	Fallback interface {
		OnUnknown(ctx context.Context, s *Socket, m Message) (any, error)
	}
)

// Message is a message as received. Data is valid until the method or middleware returns.
type Message struct {
	Type string
	ID   int64           // 0: not a call
	Data json.RawMessage // nil: absent
}

// MessageFunc handles a message. The result answers a call; nil: without data.
type MessageFunc func(ctx context.Context, s *Socket, m Message) (any, error)

// Handler serves WebSockets and routes each message to the method of its type on a controller. All methods may be called
// from any goroutine.
type Handler struct {
	opts       Options
	hub        *Hub
	ownHub     bool
	controller *controller
	tables     *tables
	chain      MessageFunc // middleware round dispatch; nil: there is none
	upgrader   *websocket.Upgrader
	waitLimit  int // bytes of messages of one socket that wait while a method runs
	corks      corks
	watcher    watcher
	inputs     inputs

	opened, refused, dropped, panics, badMessages atomic.Uint64

	parkedSize atomic.Int64 // bytes that sessions without a connection keep
	relieving  atomic.Bool  // a goroutine sees to it that they aren't too many

	schemaOnce sync.Once
	schemaText string

	types func() ([]byte, error) // what WriteTypes writes, made once

	mu       sync.Mutex // guards following
	conns    int        // sockets, from before Authenticate until nothing is left of them
	sockets  []*Socket
	sessions map[string]*Socket // by Socket.ID: those that can be resumed
	parked   list.List          // of *Socket: those of them that have no connection, the oldest first
	pending  list.List          // of *handshake: connections without $welcome, the oldest first
	lingers  int                // refused ones that wait for the peer's close
	closed   map[int]uint64
	gone     traffic // of the sockets of which nothing is left
	sweeper  sweeper
	stopping bool
	stops    chan struct{} // closed when Shutdown begins
	shut     bool          // it has told the hub
	empty    chan struct{} // made by Shutdown, closed when nothing of all these is left
}

// New returns a Handler for controller, a struct or a pointer to one. A method is a route, called for messages of its type,
// if and only if it takes a *[Socket]:
//
//	func (c *T) Name([ctx context.Context,] s *Socket [, in In] [, seq iter.Seq2[Item, error]]) [out Out] [, err error]
//	func (c *T) Name(…the same…) iter.Seq2[Out, error]
//	func (c *T) Name(…the same…) (iter.Seq2[Out, error], error)
//
// The latter two stream their answer; seq is a stream of the client's.
//
// No other method can be reached by a client: not Run(ctx), nor String, nor those of an embedded *sql.DB. Methods of one
// socket run one after the other, unless Options.Concurrency allows more; those of different sockets at the same time, on
// one controller.
//
// New panics, like [http.ServeMux.Handle], with one message that names every method (file:line) and option that is wrong.
// Nil opts is the zero Options; opts is copied.
func New(controller any, opts *Options) *Handler {
	o, problems := opts.withDefaults()
	h := &Handler{
		opts:      o,
		hub:       o.Hub,
		ownHub:    opts == nil || opts.Hub == nil,
		tables:    newTables(o.TypeName),
		upgrader:  newUpgrader(&o),
		waitLimit: max(64<<10, o.MaxMessage),
		sessions:  make(map[string]*Socket),
		closed:    make(map[int]uint64),
		stops:     make(chan struct{}),
	}
	h.types = sync.OnceValues(h.makeTypes)
	h.corks.hub = h.hub
	h.sweeper.every = sweepEvery(&o)
	for i, c := range append([]any{controller}, o.Controllers...) {
		if err := h.tables.declare(c); err != nil {
			problems = append(problems, strings.TrimPrefix(err.Error(), "wsctl: "))
		} else if i == 0 {
			h.controller, _ = h.tables.bind(c)
		}
	}
	if len(problems) > 0 {
		panic("wsctl: New: " + strings.Join(problems, "\n"))
	}
	if n := len(o.Middleware); n > 0 {
		h.chain = func(ctx context.Context, s *Socket, m Message) (any, error) {
			e := envelope{typ: []byte(m.Type), id: m.ID, data: m.Data} // the middleware may have changed it
			return s.lookup(e, nil).dispatch(ctx, s, e, false)
		}
		for i := n - 1; i >= 0; i-- {
			if h.chain = o.Middleware[i](h.chain); h.chain == nil {
				panic(fmt.Sprintf("wsctl: New: Options.Middleware[%d] returned nil", i))
			}
		}
	}
	h.hub.addHandler(&h.opts)
	return h
}

// dispatch hands a message to the method of its type. encode says that the result is for nothing but to be encoded.
func (t target) dispatch(ctx context.Context, s *Socket, e envelope, encode bool) (any, error) {
	switch {
	case t.streams:
		return s.callStream(ctx, t, e)
	case t.r != nil:
		return t.r.call(t.c, ctx, s, e.data, encode)
	}
	typ := string(e.typ)
	if t.c != nil && t.c.fallback != nil {
		return t.c.fallback.OnUnknown(ctx, s, Message{Type: typ, ID: e.id, Data: e.data})
	}
	hint := ""
	if e.id != 0 {
		if near := t.c.nearest(typ); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
	}
	return nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("no method %q%s", typ, hint)}
}

// Hub returns Options.Hub, or the handler's own.
func (h *Handler) Hub() *Hub { return h.hub }

// Routes returns every exported method of the controllers known at New: those that clients can call with their Type, the
// others with the Reason why not. Its order is stable, and so is the text of each: print them into a golden file, and a
// review shows every change of what clients may call.
func (h *Handler) Routes() []Route { return h.tables.routes() }

func (h *Handler) log() *slog.Logger {
	if h.opts.Logger != nil {
		return h.opts.Logger
	}
	return slog.Default()
}

// Stats is a snapshot of a [Handler].
type Stats struct {
	// Of now.
	Sockets      int  // open, or being asked for by OnOpen
	Detached     int  // of them, those that wait for their client to come back
	Rooms        int  // of the hub, with members
	Topics       int  // of the hub, at its Broker
	Calls        int  // read and not answered
	Streams      int  // of them, those that stream
	QueuedBytes  int  // to be written
	HistoryBytes int  // of rooms of the hub, in memory
	BrokerDown   bool // the hub's Broker fails: to publish, to keep, to subscribe or to say what it has kept

	// Since New.
	Opened      uint64         // sockets that OnOpen agreed to
	Refused     uint64         // handshakes and sockets that were not
	Received    uint64         // messages
	Sent        uint64         // messages that were queued for a socket
	Dropped     uint64         // messages that were dropped by the queue policy of their Event
	Panics      uint64         // of methods, hooks and marshalers
	BadMessages uint64         // that broke the protocol
	Closed      map[int]uint64 // sockets by close code

	// Of the hub, since its first handler.
	BrokerErrors uint64 // failures of its Broker, and messages of it that weren't understood
	BrokerGaps   uint64 // times that messages of a room had to be looked for, or may have been missed
	Recovered    uint64 // joins by which a client got what it had missed
	NotRecovered uint64 // those, and rooms, by which it was told that it can't
}

// Stats returns a snapshot. To time methods, use a Middleware.
func (h *Handler) Stats() Stats {
	st := Stats{
		Rooms:       h.hub.namedRooms(),
		Opened:      h.opened.Load(),
		Refused:     h.refused.Load(),
		Dropped:     h.dropped.Load(),
		Panics:      h.panics.Load(),
		BadMessages: h.badMessages.Load(),
	}
	h.hub.addTo(&st)
	h.mu.Lock()
	st.Closed = maps.Clone(h.closed)
	st.Detached = h.parked.Len()
	st.Received, st.Sent = h.gone.received, h.gone.sent
	all := slices.Clone(h.sockets)
	h.mu.Unlock()
	for _, s := range all {
		s.addTo(&st)
	}
	return st
}

// traffic counts messages. Each socket has its own: a counter that all share is memory for which processors fight.
type traffic struct{ received, sent uint64 }

// addTo adds what s has to say.
func (s *Socket) addTo(st *Stats) {
	s.mu.Lock()
	if s.ended == nil {
		st.Sockets++
	}
	st.Received += s.inbox.received
	st.Streams += int(s.inbox.streams)
	if st.Calls += len(s.inbox.calls); s.inbox.inlineID.Load() != 0 {
		st.Calls++
	}
	s.mu.Unlock()
	s.out.mu.Lock()
	st.Sent += s.out.sent
	st.QueuedBytes += s.out.toWrite()
	s.out.mu.Unlock()
}

func (h *Handler) countClosed(code int) {
	h.mu.Lock()
	h.closed[code]++
	h.mu.Unlock()
}

// reserve takes a place among MaxConns.
func (h *Handler) reserve() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping || h.full() {
		return false
	}
	h.conns++
	return true
}

// full tells whether MaxConns is reached. mu is held.
func (h *Handler) full() bool { return h.opts.MaxConns > 0 && h.conns >= h.opts.MaxConns }

func (h *Handler) isStopping() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopping
}

// admit puts a socket under the eyes of the sweeper. It tells whether Shutdown has begun meanwhile.
func (h *Handler) admit(s *Socket) (stopping bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets = append(h.sockets, s)
	s.slot = len(h.sockets)
	if h.sweeper.timer == nil {
		h.sweeper.timer = time.AfterFunc(h.sweeper.every, h.sweep)
	}
	return h.stopping
}

// unreserve gives the place of a socket back: nothing of it is left.
func (h *Handler) unreserve(s *Socket) {
	var own Stats
	s.addTo(&own)
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.slot > 0 {
		last := len(h.sockets) - 1
		h.sockets[s.slot-1] = h.sockets[last]
		h.sockets[s.slot-1].slot = s.slot
		h.sockets[last] = nil
		h.sockets = h.sockets[:last]
		s.slot = 0
	}
	h.gone.received += own.Received
	h.gone.sent += own.Sent
	h.conns--
	h.left()
}

// left tells Shutdown if nothing is left. mu is held.
func (h *Handler) left() {
	if h.empty != nil && h.conns+h.pending.Len()+h.lingers == 0 {
		close(h.empty)
		h.empty = nil
	}
}

// Shutdown refuses new sockets (503), tells clients of wsctl.v1 by $goaway when to come back, so that they don't all at once,
// takes no more messages, lets those that were taken be handled and answered, and closes each socket with [CloseGoingAway] when
// its last method has returned: one that streams without end, when ctx ends. It waits until all connections and goroutines of h
// are gone, and then returns nil. When ctx ends first, it cancels the methods that still run, drops all connections, and
// returns ctx's error. A client that is gone without a word takes all of Options.PingTimeout: give ctx more than that.
//
// Call it and wait: http.Server.Shutdown neither closes sockets nor waits for functions given to RegisterOnShutdown. A method
// or hook must not call it, since it waits for them.
func (h *Handler) Shutdown(ctx context.Context) error {
	err := h.endAll(ctx)
	if left := h.leaveHub(ctx); err == nil {
		err = left
	}
	return err
}

// endAll ends all sockets, and waits until nothing of them is left.
func (h *Handler) endAll(ctx context.Context) error {
	h.mu.Lock()
	if !h.stopping {
		h.stopping = true
		close(h.stops)
	}
	if h.conns+h.pending.Len()+h.lingers > 0 && h.empty == nil {
		h.empty = make(chan struct{})
	}
	empty := h.empty
	for e := h.pending.Front(); e != nil; e = e.Next() {
		e.Value.(*handshake).abandon(errShutdown)
	}
	h.mu.Unlock()
	all := h.all()
	goaway := goawayFrame(len(all))
	for _, s := range all {
		s.goAway(goaway)
		s.stop()
	}
	if empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
			for _, s := range h.all() {
				s.end(errShutdown, false)
				s.hangUp()
			}
			return ctx.Err()
		}
	}
	if err := h.watcher.wait(ctx); err != nil {
		return err
	}
	if h.ownHub { // else others may keep it busy for ever
		return h.hub.waitQuiet(ctx)
	}
	return nil
}

// leaveHub ends the hub's tie to its broker, if h is the last of its handlers.
func (h *Handler) leaveHub(ctx context.Context) error {
	h.mu.Lock()
	first := !h.shut
	h.shut = true
	h.mu.Unlock()
	if first {
		return h.hub.removeHandler(ctx)
	}
	return nil
}

// stoppingKey finds Handler.stops in the contexts of sockets.
type stoppingKey struct{}

// waitFor waits until done is closed, if this is soon enough for ctx. Nil is closed already.
func waitFor(ctx context.Context, done <-chan struct{}) error {
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errShutdown = &CloseError{Code: CloseGoingAway, Reason: "shutting down"}

// all returns the sockets whose connections are not gone.
func (h *Handler) all() []*Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sockets)
}
