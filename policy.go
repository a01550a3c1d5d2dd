package wsctl

import "fmt"

// policy is what a full queue does with an event's messages.
type policy uint8

const (
	policyNone policy = iota // the socket is closed
	policyOldest
	policyNewest
	policyLatest
)

// eventMark is of a queued message whose event has a queue policy. Shared by all its receivers, and never changed.
type eventMark struct {
	typ     string
	policy  policy
	key     string // policyLatest
	dropped int    // not 0: it is a $gap in place of so many messages
}

// eventKey names what a newer value takes the place of.
type eventKey struct{ typ, key string }

// queuedEvents finds messages with a queue policy in an outbox's queue. Places count from the first segment that the queue
// had when this was made.
type queuedEvents struct {
	gone   int              // places that have left the queue
	latest map[eventKey]int // the place of the newest value
	oldest map[string]int   // by type, a place before which there is none
	dead   int              // segments of the queue that are empty
}

func newQueuedEvents() *queuedEvents {
	return &queuedEvents{latest: make(map[eventKey]int), oldest: make(map[string]int)}
}

// advance notes that n segments have left the queue's head.
func (e *queuedEvents) advance(n int) {
	if e != nil {
		e.gone += n
	}
}

// offerEvent queues a message, a shared frame, as its event's policy says. ErrSlow: the policy doesn't help. mu is held.
func (o *outbox) offerEvent(frame []byte, m *eventMark) error {
	if m.policy == policyLatest && !o.closed {
		if i, ok := o.findLatest(m); ok {
			o.grow(len(frame) - len(o.queue[i].b))
			o.queue[i].b = frame
			return nil
		}
	}
	err := o.admit(len(frame))
	if err == ErrSlow {
		switch m.policy {
		case policyOldest:
			for err == ErrSlow && o.dropOldest(m) {
				err = o.admit(len(frame))
			}
			if err == ErrSlow { // there is none of its own to drop
				o.dropNewest(m)
				return nil
			}
		case policyNewest:
			o.dropNewest(m)
			return nil
		}
	}
	if err != nil {
		return err
	}
	o.grow(len(frame))
	if o.events == nil {
		o.events = newQueuedEvents()
	}
	if m.policy == policyLatest {
		o.events.latest[eventKey{m.typ, m.key}] = o.events.gone + len(o.queue)
	}
	o.queue = append(o.queue, segment{b: frame, messages: 1, shared: true, mark: m})
	return nil
}

// findLatest returns where the value waits that m's takes the place of.
func (o *outbox) findLatest(m *eventMark) (i int, ok bool) {
	if o.events == nil {
		return 0, false
	}
	key := eventKey{m.typ, m.key}
	place, ok := o.events.latest[key]
	if i = place - o.events.gone; ok && i < 0 || ok && o.queue[i].numbered {
		delete(o.events.latest, key)
		ok = false
	}
	return i, ok
}

// dropOldest drops the oldest waiting message of m's type, and notes it in its place. It reports false if there is none.
func (o *outbox) dropOldest(m *eventMark) bool {
	if o.events == nil {
		return false
	}
	for i := max(0, o.events.oldest[m.typ]-o.events.gone); i < len(o.queue); i++ {
		s := &o.queue[i]
		if s.mark == nil || s.numbered || s.mark.dropped > 0 || s.mark.typ != m.typ {
			continue
		}
		o.events.oldest[m.typ] = o.events.gone + i + 1
		o.grow(-len(s.b))
		*s = segment{}
		o.events.dead++
		o.gap(i, m.typ)
		o.compact()
		return true
	}
	return false
}

// dropNewest notes at the queue's end that a message wasn't taken.
func (o *outbox) dropNewest(m *eventMark) {
	if o.events == nil {
		o.events = newQueuedEvents()
	}
	o.queue = append(o.queue, segment{})
	o.events.dead++
	o.gap(len(o.queue)-1, m.typ)
	if last := len(o.queue) - 1; o.queue[last].mark == nil {
		o.queue = o.queue[:last]
		o.events.dead--
	}
}

// gap notes that a message of a type was dropped at i: in the gap that stands there already, or a new one. Plain clients
// are told nothing.
func (o *outbox) gap(i int, typ string) {
	o.s.h.dropped.Add(1)
	if o.s.session == nil {
		return
	}
	for j := i - 1; j >= 0; j-- {
		s := &o.queue[j]
		if s.mark != nil && s.mark.dropped > 0 && s.b == nil && s.mark.typ == typ {
			s.mark.dropped++ // a gap's mark is its own
			return
		}
		if len(s.b) > 0 {
			break
		}
	}
	o.queue[i] = segment{messages: 1, mark: &eventMark{typ: typ, dropped: 1}}
	o.events.dead--
}

// settle makes the message of a gap, which is about to be sent.
func (o *outbox) settle(i int) {
	s := &o.queue[i]
	if s.mark == nil || s.mark.dropped == 0 || s.b != nil {
		return
	}
	payload := append(appendString([]byte(`{"type":"$gap","data":{"type":`), s.mark.typ), fmt.Sprintf(`,"dropped":%d}}`, s.mark.dropped)...)
	s.b = textFrame(payload)
	o.grow(len(s.b))
}

// compact rids the queue of empty segments when they are the most of it.
func (o *outbox) compact() {
	if o.events.dead <= 32 || o.events.dead <= len(o.queue)/2 {
		return
	}
	e := newQueuedEvents()
	live := o.queue[:0]
	for _, s := range o.queue {
		switch {
		case len(s.b) == 0 && s.mark == nil:
			continue
		case s.mark != nil && s.mark.policy == policyLatest && !s.numbered:
			e.latest[eventKey{s.mark.typ, s.mark.key}] = len(live)
		}
		live = append(live, s)
	}
	clear(o.queue[len(live):])
	o.queue, o.events = live, e
}
