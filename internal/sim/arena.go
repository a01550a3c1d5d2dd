package sim

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/wsctl/wsctl"
)

// peer is what the server knows of a socket.
type peer struct {
	w      *world
	client int // whose it is
	plain  bool
	socket *wsctl.Socket
	ctx    context.Context
	begin  int // messages to everyone before it was open

	mu      sync.Mutex // guards following
	sent    int        // of send
	puts    []int      // handled, in order
	shaken  int        // newest number of Shake
	gen     int        // of its controller
	running int
	closed  int               // how often its controller's OnClose was told
	told    bool              // New's controller was told, after another
	spans   map[string][]span // what it is to get of rooms
	events  map[string]int    // sent of each type with a queue policy
	latest  map[int]int       // newest of each key
}

// span is membership: after message from, up to message to; -1: it lasts.
type span struct{ from, to int }

func (w *world) peer(s *wsctl.Socket) *peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peers[s.ID()]
}

// send sends the next numbered message.
func (p *peer) send(pad int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.socket.Send("Ev", payload{N: p.sent + 1, Sock: p.socket.ID(), Pad: padding(pad)}); err == nil {
		p.sent++
	} else if !errors.Is(err, wsctl.ErrClosed) && !errors.Is(err, wsctl.ErrSlow) {
		p.w.trace.breach("Socket.Send", "%v", err)
	}
}

// events are those with queue policies.
type events [3]*wsctl.Event[payload]

var eventTypes = [3]string{"Oldest", "Newest", "Latest"}

func newEvents() events {
	return events{wsctl.NewEvent[payload](eventTypes[0]).DropOldest(), wsctl.NewEvent[payload](eventTypes[1]).DropNewest(),
		wsctl.NewEvent[payload](eventTypes[2]).Latest(func(m payload) string { return strconv.Itoa(m.key()) })}
}

// key is the key of an event of which only the newest counts.
func (m payload) key() int { return m.N % 3 }

// send sends the next message of an event.
func (e *events) send(p *peer, which, pad int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	typ := eventTypes[which]
	m := payload{N: p.events[typ] + 1, Sock: p.socket.ID(), Pad: padding(pad)}
	switch err := e[which].Send(p.socket, m); {
	case err == nil:
		p.events[typ] = m.N
		if typ == "Latest" {
			p.latest[m.key()] = m.N
		}
	case errors.Is(err, wsctl.ErrSlow) && typ == "Latest": // there was nothing to replace
	case !errors.Is(err, wsctl.ErrClosed):
		p.w.trace.breach("Event.Send", "%s: %v", typ, err)
	}
}

func (p *peer) join(name string) {
	r := p.w.room(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	err := p.socket.Join(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	spans := p.spans[name]
	if err == nil && (len(spans) == 0 || spans[len(spans)-1].to >= 0) {
		p.spans[name] = append(spans, span{r.sent, -1})
		p.w.trace.add(event{what: "join", typ: name, a: int64(p.client), id: int64(r.sent)})
	}
}

func (p *peer) leave(name string) {
	r := p.w.room(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	p.socket.Leave(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if spans := p.spans[name]; len(spans) > 0 && spans[len(spans)-1].to < 0 {
		spans[len(spans)-1].to = r.sent
		p.w.trace.add(event{what: "leave", typ: name, a: int64(p.client), id: int64(r.sent)})
	}
}

// begins and ends go round everything that the server runs for a socket.
func (p *peer) begins() {
	p.w.running.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running++
	if p.closed > 0 {
		p.w.trace.breach("OnClose", "a method of client %d begins afterwards", p.client)
	}
}

func (p *peer) ends() {
	p.w.running.Add(-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if p.closed > 0 {
		p.w.trace.breach("OnClose", "a method of client %d ends afterwards", p.client)
	}
}

// checkEnd checks a socket after Shutdown.
func (p *peer) checkEnd() {
	if p.closed != 1 || p.told != (p.gen != 0) {
		p.w.trace.breach("OnClose", "told %d times, client %d; New's controller too: %v", p.closed, p.client, p.told)
	}
	if p.ctx.Err() == nil {
		p.w.trace.breach("Socket.Context", "still alive, client %d", p.client)
	}
	if err := p.socket.Send("Ev", nil); !errors.Is(err, wsctl.ErrClosed) {
		p.w.trace.breach("Socket.Send", "after the end: %v", err)
	}
}

// expect is what the client is to get of a room, as far as it is known, and whether that is all.
func (p *peer) expect(name string, sent int) (all []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.spans[name] {
		to := s.to
		if to < 0 {
			to = sent
		}
		for n := s.from + 1; n <= to; n++ {
			all = append(all, n)
		}
	}
	return all
}

// arena is the controller.
type arena struct {
	w   *world
	gen int
}

func (c *arena) OnOpen(s *wsctl.Socket, r *http.Request) error {
	client, _ := strconv.Atoi(r.Header.Get("Client"))
	everyone := c.w.room("")
	everyone.mu.Lock()
	p := &peer{w: c.w, client: client, plain: r.Header.Get("Plain") != "", socket: s, ctx: s.Context(), begin: everyone.sent,
		spans: make(map[string][]span), events: make(map[string]int), latest: make(map[int]int)}
	everyone.mu.Unlock()
	c.w.mu.Lock()
	if c.w.peers[s.ID()] != nil {
		c.w.trace.breach("Socket.ID", "a second socket with it")
	}
	c.w.peers[s.ID()] = p
	c.w.newest[client] = p
	c.w.opened++
	c.w.mu.Unlock()
	c.w.trace.add(event{what: "OnOpen", a: int64(client), typ: s.ID()})
	if err := s.Send("Hello", s.ID()); err != nil && !errors.Is(err, wsctl.ErrClosed) {
		c.w.trace.breach("Socket.Send", "in OnOpen: %v", err)
	}
	return nil
}

func (c *arena) OnClose(s *wsctl.Socket, err error) {
	p := c.w.peer(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.w.trace.add(event{what: "OnClose", a: int64(p.client), typ: s.ID(), text: err.Error()})
	if p.running != 0 || s.Context().Err() == nil {
		c.w.trace.breach("OnClose", "%d methods run, context %v", p.running, s.Context().Err())
	}
	switch { // the socket's controller is told, then New's if it is another
	case c.gen == p.gen && p.closed == 0:
		p.closed++
	case c.gen == 0 && p.closed == 1 && !p.told:
		p.told = true
	default:
		c.w.trace.breach("OnClose", "controller %d is told, of %d, after %d", c.gen, p.gen, p.closed)
	}
}

// Put takes the next numbered message.
func (c *arena) Put(s *wsctl.Socket, put payload) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	c.put(p, put)
}

// PutSlow is Put in a method that takes time.
func (c *arena) PutSlow(ctx context.Context, s *wsctl.Socket, put payload) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	c.put(p, put)
	_ = sleep(ctx, 20*time.Millisecond)
}

func (c *arena) put(p *peer, put payload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.puts); n > 0 && put.N <= p.puts[n-1] && !c.w.concurrent() {
		c.w.trace.breach("order", "client %d: message %d is handled after %d", p.client, put.N, p.puts[n-1])
	}
	if c.gen != p.gen && !c.w.concurrent() {
		c.w.trace.breach("SetController", "client %d: message %d is handled by controller %d, not %d", p.client, put.N, c.gen, p.gen)
	}
	p.puts = append(p.puts, put.N)
}

// Shake takes a numbered message that may be dropped on its way.
func (c *arena) Shake(s *wsctl.Socket, put payload) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	p.mu.Lock()
	defer p.mu.Unlock()
	if put.N <= p.shaken && !c.w.concurrent() {
		c.w.trace.breach("order", "client %d: volatile message %d is handled after %d", p.client, put.N, p.shaken)
	}
	p.shaken = put.N
	c.w.report.add("volatile handled", 1)
}

// concurrent tells whether methods of one socket run at once.
func (w *world) concurrent() bool { return w.options.Concurrency > 1 }

// Become changes the controller.
func (c *arena) Become(s *wsctl.Socket, _ payload) error {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	p.mu.Lock()
	defer p.mu.Unlock()
	err := s.SetController(&arena{w: c.w, gen: p.gen + 1})
	if err == nil {
		p.gen++
	}
	return err
}

// Enter and Exit change rooms.
func (c *arena) Enter(s *wsctl.Socket, room string) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	p.join(room)
}

func (c *arena) Exit(s *wsctl.Socket, room string) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	p.leave(room)
}

// Tell sends to a room from a method.
func (c *arena) Tell(s *wsctl.Socket, m roomMessage) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	c.w.sendRoom(m.Room, m.N)
	p.send(m.N)
}

// Bye closes the socket by an error.
func (c *arena) Bye(s *wsctl.Socket, code int) error {
	return &wsctl.CloseError{Code: code, Reason: "bye"}
}

// job is the argument of a call.
type job struct {
	N     int    `json:"n"` // the call's number
	Items int    `json:"items"`
	Pause int64  `json:"pause"` // ns
	Break int    `json:"break"` // after so many items the callee stops, with an error; 0: not
	Pad   string `json:"pad"`
}

// Add answers at once.
func (c *arena) Add(s *wsctl.Socket, j job) int {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	c.w.ran(c.w.calls, j.N)
	return j.N + 1
}

// Work takes time, and notices a cancel.
func (c *arena) Work(ctx context.Context, s *wsctl.Socket, j job) (int, error) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	c.w.ran(c.w.calls, j.N)
	return j.N + 1, sleep(ctx, time.Duration(j.Pause))
}

// Fail answers with an error, Crash with a panic.
func (c *arena) Fail(s *wsctl.Socket, j job) error {
	c.w.ran(c.w.calls, j.N)
	return wsctl.Errorf("custom", "%d", j.N)
}

func (c *arena) Crash(s *wsctl.Socket, j job) { c.w.ran(c.w.calls, j.N); panic("crash") }

// Ask calls the client back.
func (c *arena) Ask(ctx context.Context, s *wsctl.Socket, j job) (int, error) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	c.w.ran(c.w.calls, j.N)
	return j.N + 1, c.w.ask(p, ctx, time.Duration(j.Pause))
}

// ask calls the client.
func (w *world) ask(p *peer, ctx context.Context, timeout time.Duration) error {
	n, call := w.newAsk()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var answer int
	err := p.socket.Call(ctx, "Ask", n, &answer)
	if err == nil && answer != 2*n {
		w.trace.breach("calls", "the client answers %d with %d", n, answer)
	}
	w.ended(call, outcome(err))
	if errors.Is(err, wsctl.ErrClosed) {
		if time.Sleep(10 * time.Millisecond); p.ctx.Err() == nil {
			w.trace.breach("calls", "call %d to client %d ends with ErrClosed, and the session lives on", n, p.client)
		}
	}
	return err
}

// Count streams numbers.
func (c *arena) Count(ctx context.Context, s *wsctl.Socket, j job) iter.Seq2[payload, error] {
	c.w.ran(c.w.calls, j.N)
	return func(yield func(payload, error) bool) {
		p := c.w.peer(s)
		p.begins()
		defer p.ends()
		for i := 1; i <= j.Items; i++ {
			if i == j.Break {
				yield(payload{}, wsctl.Errorf("broken", "at %d", i))
				return
			}
			if err := sleep(ctx, time.Duration(j.Pause)); err != nil {
				yield(payload{}, err)
				return
			}
			if !yield(payload{N: i, Pad: j.Pad}, nil) {
				return
			}
		}
	}
}

// Sum takes a stream of numbers.
func (c *arena) Sum(ctx context.Context, s *wsctl.Socket, j job, items iter.Seq2[payload, error]) (int, error) {
	p := c.w.peer(s)
	p.begins()
	defer p.ends()
	c.w.ran(c.w.calls, j.N)
	last := 0
	for item, err := range items {
		if err != nil {
			return last, err
		}
		if item.N != last+1 {
			c.w.trace.breach("upload", "item %d after %d", item.N, last)
		}
		if last = item.N; last == j.Break {
			return last, nil
		}
		if err := sleep(ctx, time.Duration(j.Pause)); err != nil {
			return last, err
		}
	}
	return last, nil
}

// Mirror streams what it is streamed.
func (c *arena) Mirror(ctx context.Context, s *wsctl.Socket, j job, items iter.Seq2[payload, error]) iter.Seq2[payload, error] {
	c.w.ran(c.w.calls, j.N)
	return func(yield func(payload, error) bool) {
		p := c.w.peer(s)
		p.begins()
		defer p.ends()
		for item, err := range items {
			if !yield(item, err) || item.N == j.Break {
				return
			}
		}
	}
}

// outcome names how a call ended.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*wsctl.Error](err); ok {
		return e.Code
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return wsctl.CodeTimeout
	case errors.Is(err, context.Canceled):
		return wsctl.CodeCanceled
	case errors.Is(err, wsctl.ErrSlow):
		return "slow"
	case errors.Is(err, net.ErrClosed): // of both packages
		return "closed"
	}
	return "other: " + err.Error()
}
