package wsctl

import (
	"context"
	"slices"
)

// frames is a message as frames of the two kinds that sockets may take.
type frames struct {
	plain    []byte
	deflated []byte     // nil: not made, plain will do
	mark     *eventMark // its event has a queue policy
	control  bool       // it is of the protocol: clients of wsctl.v1 get it
}

// of returns the frame for a socket that takes deflated ones, or not. Uncompressed frames are always allowed (RFC 7692,
// section 6).
func (f frames) of(deflated bool) []byte {
	if deflated && f.deflated != nil {
		return f.deflated
	}
	return f.plain
}

// makeFrames encodes a message once for all its receivers.
func makeFrames(typ string, data any, deflating bool) (frames, error) {
	b := getBuffer()
	b.Write(zeros[:headRoom])
	if err := appendMessage(b, typ, 0, data); err != nil {
		putBuffer(b)
		return frames{}, err
	}
	f := framesIn(b.Bytes(), deflating)
	putBuffer(b)
	return f, nil
}

// framesOf makes frames of a message that is encoded.
func framesOf(message []byte, deflating bool) frames {
	b := getBuffer()
	defer putBuffer(b)
	b.Write(zeros[:headRoom])
	b.Write(message)
	return framesIn(b.Bytes(), deflating)
}

// framesIn makes frames of a message that has headRoom before it.
func framesIn(b []byte, deflating bool) (f frames) {
	if deflating {
		f.deflated = deflateFrame(b)
	}
	f.plain = slices.Clone(frame(b, frameText))
	return f
}

// batch is messages sent to one room one after the other, with nothing sent to another room between them.
type batch struct {
	room    *room
	except  []*Socket
	first   uint64 // number of the first message; the others follow it without a gap
	frames  []frames
	members []member // once the fan-out has it
}

func (b *batch) last() uint64 { return b.first + uint64(len(b.frames)) - 1 }

// maxPending is how many bytes may wait for the fan-out. Who sends more waits for it: it waits for nobody itself, but a queue
// must end somewhere.
const maxPending = 4 << 20

// publish gives a message its number. The fan-out comes when the burst of messages ends in which it may have been sent,
// or at once if there is none.
func (h *Hub) publish(key roomKey, f frames, except []*Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.makeRoomLocked()
	h.publishLocked(key, f, except)
}

// makeRoomLocked waits while too much waits for the fan-out. mu is held, but not while it waits.
func (h *Hub) makeRoomLocked() {
	for h.bytes > maxPending {
		if h.taken.L == nil {
			h.taken.L = &h.mu
		}
		h.startLocked()
		h.taken.Wait()
	}
}

// publishLocked is publish with mu held, and doesn't wait.
func (h *Hub) publishLocked(key roomKey, f frames, except []*Socket) {
	r := h.rooms[key]
	if r == nil {
		return
	}
	h.bytes += len(f.plain) + len(f.deflated)
	number := h.tail.Add(1)
	if n := len(h.pending); n > 0 && h.pending[n-1].room == r && len(except) == 0 && len(h.pending[n-1].except) == 0 {
		h.pending[n-1].frames = append(h.pending[n-1].frames, f)
	} else {
		h.pending = append(h.pending, &batch{room: r, except: except, first: number, frames: []frames{f}})
	}
	if h.bursts.Load() == 0 {
		h.startLocked()
	}
}

// kick starts the fan-out of what is pending.
func (h *Hub) kick() {
	if h.tail.Load() == h.done.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) > 0 {
		h.startLocked()
	}
}

func (h *Hub) startLocked() {
	if h.quiet == nil {
		h.quiet = make(chan struct{})
		go h.fanOut()
	}
}

// waitQuiet waits until everything sent to rooms is in the members' queues, if this is soon enough for ctx.
func (h *Hub) waitQuiet(ctx context.Context) error {
	h.mu.Lock()
	quiet := h.quiet
	h.mu.Unlock()
	return waitFor(ctx, quiet)
}

// fanOut moves what is pending into the queues of the members and writes it, until nothing is pending. All that is pending
// goes in one round, so that messages share writes: several workers would fall out of step and lose that.
func (h *Hub) fanOut() {
	var members []member
	var touched []*outbox
	h.mu.Lock()
	for len(h.pending) > 0 {
		h.inflight, h.pending, h.bytes = h.pending, h.inflight, 0
		h.taken.Broadcast()
		number := h.tail.Load()
		members = members[:0]
		for i, b := range h.inflight {
			if i > 0 && h.inflight[i-1].room == b.room {
				b.members = h.inflight[i-1].members
				continue
			}
			from := len(members)
			members = append(members, b.room.members...)
			b.members = members[from:len(members):len(members)] // stays good if members is moved
		}
		h.mu.Unlock()

		touched = h.deliver(touched[:0])

		h.mu.Lock()
		clear(h.inflight)
		h.inflight = h.inflight[:0]
		h.done.Store(number)
	}
	close(h.quiet)
	h.quiet = nil
	h.mu.Unlock()
}

// deliver gives each member its messages. With one room at work each member is written to at once; with more, when it has
// the messages of all.
func (h *Hub) deliver(touched []*outbox) []*outbox {
	for _, b := range h.inflight {
		whole := b.join()
		for _, m := range b.members {
			if slices.Contains(b.except, m.s) {
				continue
			}
			flush, err := m.s.out.push(b, m.since, whole)
			for err == errFlushFirst {
				m.s.out.flush()
				flush, err = m.s.out.push(b, m.since, whole)
			}
			if flush && err == nil && len(h.inflight) > 1 {
				touched = append(touched, &m.s.out)
				continue
			}
			m.s.pushed(flush, err)
		}
	}
	for i, o := range touched {
		o.flush()
		touched[i] = nil
	}
	return touched
}

// join makes one frame of a batch's: a run of bytes that all members share. It makes none of messages with a queue policy,
// or of the protocol, which must be told apart.
func (b *batch) join() frames {
	if slices.ContainsFunc(b.frames, func(f frames) bool { return f.mark != nil || f.control }) {
		return frames{}
	}
	if len(b.frames) == 1 {
		return b.frames[0]
	}
	var whole frames
	deflated := false
	for _, f := range b.frames {
		whole.plain = append(whole.plain, f.plain...)
		deflated = deflated || f.deflated != nil
	}
	for _, f := range b.frames {
		if !deflated {
			break
		} else if f.deflated == nil {
			f.deflated = f.plain
		}
		whole.deflated = append(whole.deflated, f.deflated...)
	}
	return whole
}

// catchUp puts into s's queue what was sent to its rooms and isn't there yet, so that what comes next comes after it. The
// fan-out passes over it then. The caller is about to send, which writes both.
func (h *Hub) catchUp(s *Socket) error {
	if h.tail.Load() == h.done.Load() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.catchUpLocked(s)
	return err
}

// catchUpLocked is catchUp with mu held. It lets go of mu where the queue must be written before it takes more.
func (h *Hub) catchUpLocked(s *Socket) (flush bool, err error) {
	for {
		flush, err = h.pushLocked(s)
		if err != errFlushFirst {
			return flush, err
		}
		h.mu.Unlock()
		s.out.flush()
		h.mu.Lock()
	}
}

func (h *Hub) pushLocked(s *Socket) (flush bool, err error) {
	if s.left { // with what it was owed
		return false, nil
	}
	for _, list := range [2][]*batch{h.inflight, h.pending} {
		for _, b := range list {
			i := s.rooms.find(b.room)
			if i < 0 || slices.Contains(b.except, s) {
				continue
			}
			f, e := s.out.push(b, s.rooms.list[i].since, frames{})
			if flush = flush || f; e != nil {
				return flush, e
			}
		}
	}
	return flush, nil
}
