package wsctl

import (
	"sync"
	"time"
)

// corkTime is how long what a handler sends may gather.
const corkTime = time.Millisecond

// corks are the corked outboxes of a Handler: those whose handlers are at work. One timer, armed only while there are any,
// uncorks them all, so that what a slow handler sent goes out.
type corks struct {
	hub *Hub

	mu    sync.Mutex // guards following; taken after an outbox's
	list  []*outbox
	timer *time.Timer
	armed bool
}

func (k *corks) add(c *outbox) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.corkSlot > 0 {
		return
	}
	k.hub.bursts.Add(1)
	k.list = append(k.list, c)
	c.corkSlot = int32(len(k.list))
	if k.armed {
		return
	}
	k.armed = true
	if k.timer == nil {
		k.timer = time.AfterFunc(corkTime, k.fire)
	} else {
		k.timer.Reset(corkTime)
	}
}

func (k *corks) remove(c *outbox) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.corkSlot == 0 {
		return
	}
	k.hub.bursts.Add(-1)
	last := k.list[len(k.list)-1]
	k.list[c.corkSlot-1], last.corkSlot = last, c.corkSlot
	k.list[len(k.list)-1] = nil
	k.list = k.list[:len(k.list)-1]
	c.corkSlot = 0
}

// fire uncorks what is corked. A burst that has just begun may lose its cork early: at most once in corkTime.
func (k *corks) fire() {
	k.mu.Lock()
	all := append([]*outbox(nil), k.list...)
	if k.armed = len(all) > 0; k.armed {
		k.timer.Reset(corkTime)
	}
	k.mu.Unlock()
	for _, c := range all {
		c.uncork()
	}
	if len(all) > 0 {
		k.hub.kick()
	}
}

// beginBurst corks the outbox: what its handlers send gathers until endBurst, for about a millisecond at the most.
func (o *outbox) beginBurst() {
	o.mu.Lock()
	o.bursts++
	o.corkLocked()
	o.mu.Unlock()
}

// cork has what a handler sends gather again, in a burst whose cork was pulled.
func (o *outbox) cork() {
	if o.corked.Load() {
		return
	}
	o.mu.Lock()
	o.corkLocked()
	o.mu.Unlock()
}

func (o *outbox) corkLocked() {
	if !o.corked.Load() {
		o.corked.Store(true)
		o.s.h.corks.add(o)
	}
}

// endBurst writes what has gathered.
func (o *outbox) endBurst() {
	o.mu.Lock()
	if o.bursts--; o.bursts == 0 {
		o.uncorkLocked()
	}
	o.flushLocked()
}

// uncork writes what has gathered, and lets the rest of the burst write directly.
func (o *outbox) uncork() {
	o.mu.Lock()
	o.uncorkLocked()
	o.flushLocked()
}

func (o *outbox) uncorkLocked() {
	if o.corked.Load() {
		o.corked.Store(false)
		o.s.h.corks.remove(o)
	}
}
