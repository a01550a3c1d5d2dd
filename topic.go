package wsctl

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wsctl/wsctl/internal/position"
)

// topic is a room, a user, or all nodes, at the broker: what is published there comes to this node's members from here. It
// lives a little longer than the node's interest in it, so that a client that comes back doesn't cost a subscription.
type topic struct {
	l    *link
	key  roomKey
	name string
	keep Retention

	// Guarded by the hub's mu:
	state   topicState
	users   int           // the room's members, as one, and who is about to join or publish
	idle    time.Time     // since when there are none
	due     time.Time     // when chores look at it; zero: not at all
	turn    int           // index in the link's agenda
	opening chan struct{} // topicOpening: closed when that is over
	err     error         // how it ended last
	stop    func()        // ends the subscription

	// Of one that keeps history:
	pos       position.Position // of the newest message that members were given
	checked   time.Time         // when pos was last seen to be the newest
	holding   bool              // what comes waits until pos has been brought up to date
	held      []delivery
	asked     int // of held, those that had come when the history was asked last: what it doesn't know of them is void
	heldBytes int
	overflow  bool // more came than may wait
	recent    recent
	ahead     []aheadMember
	was       map[string]formerMember // by the hash of the socket that they were
	quiet     time.Duration           // after which the history is asked whether nothing was missed
}

type topicState byte

const (
	topicClosed topicState = iota
	topicOpening
	topicOpen
	topicGone // not in link.topics any more
)

// linger is how long a topic is kept that nobody on this node needs.
const linger = 5 * time.Second

// maxHeld is how many bytes of messages wait for the history.
const maxHeld = 1 << 20

// delivery is a message of a topic that keeps history.
type delivery struct {
	at     position.Position
	p      *packet // nil: it says nothing
	frames frames
	lost   bool // it says something to members, but not in a way that this node understands
	size   int
}

func (d delivery) follows(p position.Position) bool {
	return d.at.Epoch == p.Epoch && d.at.Offset == p.Offset+1
}

// acquire returns the topic of a room, subscribed, until release. On its error there is none.
func (l *link) acquire(key roomKey, keep Retention) (*topic, error) {
	h := l.h
	h.mu.Lock()
	if l.stopped {
		h.mu.Unlock()
		return nil, errEnded
	}
	t := l.topicLocked(key, keep)
	for t.state != topicOpen {
		if t.state == topicOpening {
			opening := t.opening
			h.mu.Unlock()
			<-opening
			h.mu.Lock()
			if t.state == topicClosed || t.state == topicGone { // one's failure is that of all who waited with it
				err := t.err
				t.releaseLocked()
				h.mu.Unlock()
				return nil, err
			}
			continue
		}
		t.state, t.opening = topicOpening, make(chan struct{})
		t.holding = keep.keeps()
		h.mu.Unlock()
		_ = t.open() // it is t.err
		h.mu.Lock()
		if t.state != topicOpen {
			err := t.err
			t.releaseLocked()
			h.mu.Unlock()
			return nil, err
		}
	}
	h.mu.Unlock()
	return t, nil
}

// topicLocked returns a topic with one user more. The hub's mu is held.
func (l *link) topicLocked(key roomKey, keep Retention) *topic {
	t := l.topics[key]
	if t == nil {
		t = &topic{l: l, key: key, name: l.topicName(key), keep: keep}
		l.topics[key] = t
		l.tickLocked()
	}
	t.users++
	return t
}

func (l *link) release(t *topic) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	t.releaseLocked()
}

func (t *topic) releaseLocked() {
	if t.users--; t.users == 0 {
		if t.idle = time.Now(); t.state == topicClosed {
			t.forgetLocked()
		} else {
			t.dueAgainLocked(t.idle)
		}
	}
}

// forgetLocked takes a topic out of the link. Its subscription, if any, is the caller's to end.
func (t *topic) forgetLocked() (stop func()) {
	t.state, t.err = topicGone, errEnded
	if t.l.topics[t.key] == t {
		delete(t.l.topics, t.key)
	}
	t.undueLocked()
	stop, t.stop = t.stop, nil
	t.held, t.recent, t.ahead = nil, recent{}, nil
	return stop
}

// open subscribes. The topic is topicOpening.
func (t *topic) open() (err error) {
	l := t.l
	ctx, cancel := l.limit()
	defer cancel()
	var stop func()
	var pos position.Position
	err = errors.New("wsctl: the broker has ended the goroutine")
	defer func() {
		if err != nil {
			l.end(stop)
		}
		l.end(t.opened(stop, pos, err))
	}()
	err = l.safely(func() (err error) {
		if stop, err = l.broker.Subscribe(ctx, t.name, t.deliver); err != nil || !t.keep.keeps() {
			return err
		}
		var newest string
		if _, newest, _, err = l.keeper.Since(ctx, t.name, ""); err == nil {
			pos, err = newestOf(newest)
		}
		return err
	})
	if err = l.outcome(subscribing, "subscribing to "+t.key.String(), err); err != nil {
		err = unavailable{err, notJoined}
	}
	return err
}

// opened takes the outcome of open. It returns the end of a subscription that came too late: the hub has ended meanwhile.
func (t *topic) opened(stop func(), pos position.Position, err error) (late func()) {
	h := t.l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	t.err = err
	close(t.opening)
	t.opening = nil
	switch {
	case t.state == topicGone:
		if err == nil {
			late, t.err = stop, errEnded
		}
	case err != nil:
		t.state = topicClosed
		t.holding, t.held, t.heldBytes, t.overflow = false, nil, 0, false
		t.dueAgainLocked(time.Now())
	default:
		t.state, t.stop = topicOpen, stop
		if t.keep.keeps() {
			t.pos, t.checked, t.quiet = pos, time.Now(), checkEvery
			t.goOnLocked()
			t.dueAgainLocked(t.checked)
		}
		if c := &t.l.cluster; (t == c.all || t == c.own) && c.hearsLocked() {
			t.l.heardAgainLocked()
		}
	}
	return late
}

var errEnded = unavailable{errors.New("wsctl: the hub has ended: its handlers are shut down"), notJoined}

// unavailable is an error of the broker, of which a client is told that it may try again.
type unavailable struct {
	error
	message string // for the client
}

const (
	notJoined = "The room can't be joined now. Try again later."
	notSent   = "It isn't known whether the message reaches everybody."
)

func (u unavailable) Unwrap() []error {
	return []error{u.error, &Error{Code: CodeUnavailable, Message: u.message}}
}

// deliver takes what comes from the broker.
func (t *topic) deliver(pos string, msg []byte) {
	l, h := t.l, t.l.h
	if msg == nil {
		t.missed()
		return
	}
	p, err := decodePacket(msg)
	if err != nil {
		l.stranger(t.key, err)
	}
	if !t.keep.keeps() {
		if err == nil {
			l.take(t, p)
		}
		return
	}
	at, ok := position.Parse(pos)
	if !ok {
		if err == nil {
			l.stranger(t.key, fmt.Errorf("its position is %.50q, which is none: is Hub.History the same on all nodes?", pos))
		}
		return
	}
	d := t.delivery(at, p, err, len(msg))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.makeRoomLocked()
	t.takeLocked(d)
}

// delivery makes the frames of a message of a topic that keeps history.
func (t *topic) delivery(at position.Position, p *packet, err error, size int) delivery {
	d := delivery{at: at, p: p, size: size, lost: err != nil && !errors.Is(err, errStranger)}
	switch {
	case err == nil && p.kind == packetMessage:
		d.frames = framesOf(placed(p.body, t.key.name, at), t.l.h.deflating.Load() > 0)
	case err != nil || p.kind != packetClose:
		d.p = nil
	}
	return d
}

// placed returns a message, an object of JSON, with its room and position.
func placed(body []byte, room string, at position.Position) []byte {
	b := make([]byte, 0, len(body)+len(room)+len(at.Epoch)+40)
	b = append(append(b, body[:len(body)-1]...), `,"room":`...)
	b = append(appendString(b, room), `,"pos":"`...)
	return append(append(b, at.String()...), `"}`...)
}

// takeLocked gives members a message if it is the next one; else what is between is looked for. mu is held.
func (t *topic) takeLocked(d delivery) {
	switch {
	case t.state == topicGone || t.state == topicClosed:
	case t.holding:
		t.holdLocked(d)
	case d.at.Epoch == t.pos.Epoch && d.at.Offset <= t.pos.Offset: // they have it
	case d.follows(t.pos):
		t.giveLocked(d)
	default:
		t.holdLocked(d)
		t.findLocked()
	}
}

func (t *topic) holdLocked(d delivery) {
	if t.heldBytes+d.size > maxHeld {
		t.overflow = true // the history has it
		return
	}
	t.held = append(t.held, d)
	t.heldBytes += d.size
}

// giveLocked gives members the message that is next. mu is held.
func (t *topic) giveLocked(d delivery) {
	t.pos, t.checked, t.quiet = d.at, time.Now(), checkEvery
	if t.recent.add(d); t.keep.Messages > 0 && len(t.recent.all) > t.keep.Messages {
		t.recent.drop()
	}
	have := t.aheadLocked(d.at.Offset)
	switch {
	case d.lost:
		t.tellLostLocked(have)
	case d.p != nil && d.p.kind == packetClose:
		t.tellLocked("", have) // so that who comes back with its position isn't closed again
		t.l.closeLocked(t.key, d.p, have)
	case d.p != nil:
		except := t.exceptLocked(d)
		t.l.h.publishLocked(t.key, d.frames, append(slices.Clip(except), have...))
		t.l.skippedLocked(t, except)
	}
}

// tellLostLocked tells members that they have missed something. mu is held.
func (t *topic) tellLostLocked(except []*Socket) {
	t.l.notRecovered.Add(1)
	t.tellLocked("false", except)
}

// tellLocked tells members where they are in the room. mu is held.
func (t *topic) tellLocked(recovered string, except []*Socket) {
	pos := ""
	if t.keep.keeps() {
		pos = t.pos.String()
	}
	t.l.h.publishLocked(t.key, frames{plain: roomFrame(t.key.name, pos, recovered), control: true}, except)
}

// missed is told by the broker that it may have missed messages.
func (t *topic) missed() {
	h := t.l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case t.state == topicGone || t.state == topicClosed:
	case t.holding:
		t.overflow = true // the history is asked again
	case t.keep.keeps():
		t.findLocked()
	case t.key.kind == kindRoom:
		t.l.gaps.Add(1)
		t.tellLostLocked(nil)
	case t.key.kind == kindEveryone:
		t.l.gaps.Add(1)
		t.l.heardAgainLocked()
		t.l.askAgainLocked()
	}
}
