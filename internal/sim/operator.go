package sim

import (
	"context"
	"strings"
	"time"
)

func (w *world) room(name string) *room {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.rooms[name]
	if r == nil {
		r = &room{}
		w.rooms[name] = r
	}
	return r
}

// sendRoom sends the next message of a room; "" is everyone.
func (w *world) sendRoom(name string, pad int) {
	r := w.room(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	to := w.hub.Everyone()
	if name != "" {
		to = w.hub.Room(name)
	}
	r.sent++
	if err := to.Send("Room", roomMessage{Room: name, N: r.sent, Pad: padding(pad)}); err != nil {
		w.trace.breach("Room.Send", "%v", err)
	}
	w.trace.add(event{what: "room send", typ: name, id: int64(r.sent)})
}

// operate is the server acting by itself.
func (w *world) operate(clients int) {
	dice := w.dice(1)
	for {
		time.Sleep(time.Duration(dice.ExpFloat64() * float64(700*time.Millisecond)))
		if !time.Now().Before(w.ends) {
			return
		}
		w.mu.Lock()
		p := w.newest[1+dice.IntN(clients)]
		w.mu.Unlock()
		pad := pads[dice.IntN(len(pads))]
		n, kind, timeout := 1+dice.IntN(8), dice.IntN(40), time.Duration(1+dice.IntN(12))*time.Second
		name := roomNames[dice.IntN(len(roomNames))]
		switch {
		case kind < 12:
			w.sendRoom(name, pad)
		case kind < 15:
			w.sendRoom("", pad)
		case p == nil:
		case kind < 24:
			for range n {
				p.send(pad)
			}
		case kind < 30:
			for range n {
				w.events.send(p, kind%3, pad)
			}
		case kind < 36:
			if !p.plain {
				w.methods.Go(func() { _ = w.ask(p, context.Background(), timeout) })
			}
		case kind < 38:
			p.leave(name)
		case kind < 39 && dice.IntN(6) == 0:
			_ = p.socket.Close(4000+dice.IntN(3), "by the operator")
		case kind == 39 && n == 1 && len(w.old) == 0:
			w.restart(timeout)
		}
	}
}

var (
	roomNames = []string{"a", "b", "c"}
	pads      = []int{0, 0, 0, 10, 100, 600, 3000} // bytes that the server's messages carry
	fewPads   = []int{0, 0, 0, 0, 0, 10, 50, 1000} // the clients'; the race detector looks at each
)

var longPadding = strings.Repeat("0123456789", 300)

func padding(n int) string { return longPadding[:n] }
