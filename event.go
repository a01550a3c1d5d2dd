package wsctl

import (
	"reflect"
	"runtime"
)

// Event is a message type of the server, with the type of its data. Declare it once, as a variable, and list it in
// Options.Events. Its methods may be called from any goroutine, but for those that set a policy.
//
// The policies, set where it is declared, say what happens when a socket's queue is full: without one, and in rooms that keep history,
// the socket is closed with [CloseSlow]. What is dropped is counted in Stats.Dropped, and a client of wsctl.v1 is told by a $gap in its place.
type Event[T any] struct {
	typ    string
	pc     uintptr // of NewEvent's caller
	policy policy
	key    func(T) string
}

// NewEvent returns an Event whose messages have the type typ. It panics if an application can't send that type, or if it
// is open, close, error or gap, which are local events of clients.
func NewEvent[T any](typ string) *Event[T] {
	if fault := eventFault(typ); fault != "" {
		panic("wsctl: NewEvent: " + fault)
	}
	return &Event[T]{typ: typ, pc: callerPC()}
}

// callerPC is where NewEvent or NewRequest, which calls it, is called: WriteTypes finds the doc comment there.
func callerPC() uintptr {
	var pc [1]uintptr
	runtime.Callers(3, pc[:])
	return pc[0]
}

// eventFault says why typ can't be an event's; empty if it can.
func eventFault(typ string) string {
	if err := checkType(typ); err != nil {
		return err.Error()
	}
	switch typ {
	case "open", "close", "error", "gap":
		return "clients have a local event " + typ
	}
	return ""
}

// DropOldest has a full queue drop the oldest of the event's messages that wait in it, or the new one if none does.
func (e *Event[T]) DropOldest() *Event[T] { return e.set(policyOldest, nil) }

// DropNewest has a full queue drop the new message.
func (e *Event[T]) DropNewest() *Event[T] { return e.set(policyNewest, nil) }

// Latest has a newer value take the place of one with the same key that waits in a queue, full or not; this is no drop. One
// that finds none to replace is queued, and closes the socket if there is no room for it. A nil key means that all values
// have the same.
func (e *Event[T]) Latest(key func(T) string) *Event[T] {
	if key == nil {
		key = func(T) string { return "" }
	}
	return e.set(policyLatest, key)
}

func (e *Event[T]) set(p policy, key func(T) string) *Event[T] {
	if e.policy != policyNone {
		panic("wsctl: Event " + e.typ + " has a queue policy already")
	}
	e.policy, e.key = p, key
	return e
}

// Send sends v to a *[Socket] or a [Room]. Errors are those of their Send; a message that the event's policy drops is no
// error.
func (e *Event[T]) Send(to Target, v T) error {
	if e.policy == policyNone {
		return to.Send(e.typ, v)
	}
	m := &eventMark{typ: e.typ, policy: e.policy}
	if e.key != nil {
		m.key = e.key(v)
	}
	return to.sendMarked(v, m)
}

func (e *Event[T]) declaration() declared {
	return declared{typ: e.typ, pc: e.pc, data: reflect.TypeFor[T]()}
}

// Target is what an [Event] goes to: a *[Socket] or a [Room].
type Target interface {
	// Send is that of Socket and Room.
	Send(typ string, data any) error

	target()
	sendMarked(data any, m *eventMark) error
}

// Declaration is an *[Event] or a *[Request].
type Declaration interface{ declaration() declared }

// declared is what a Declaration declares.
type declared struct {
	typ    string
	pc     uintptr
	data   reflect.Type
	answer reflect.Type // nil: an Event
}
