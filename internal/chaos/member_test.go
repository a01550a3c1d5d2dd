//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/internal/position"
)

// member is a client: in some rooms, to which it sends.
type member struct {
	w    *world
	id   int
	c    *client.Client
	dice *rand.Rand

	mu    sync.Mutex // guards following
	seats map[string]*seat
	sent  []*message
}

// seat is what a member knows of a room.
type seat struct {
	at     position.Position // after what was delivered; zero: nothing is known yet
	got    map[position.Position]string
	recent []string // what happened last, to be shown with a fault
	faulty bool     // one was told: others follow from it
}

// message is one that a member tried to send.
type message struct {
	room, text string
	accepted   bool
}

// newMember returns a member, which isn't connected yet.
func newMember(w *world, id int, rooms []string) *member {
	m := &member{w: w, id: id, dice: rand.New(rand.NewPCG(w.seed, uint64(id))), seats: make(map[string]*seat)}
	for _, room := range rooms {
		m.seats[room] = &seat{got: make(map[position.Position]string)}
	}
	return m
}

// connect connects it to the cluster.
func (m *member) connect(ctx context.Context) error {
	rooms := strings.Join(slices.Sorted(maps.Keys(m.seats)), ",")
	m.c = client.New("ws://"+m.w.front.addr+"/?rooms="+rooms, &client.Options{
		State:          m.state,
		MaxDelay:       2 * time.Second,
		ConnectTimeout: 5 * time.Second,
		CallTimeout:    5 * time.Second,
		Lost:           func(int) {},
		Logger:         slog.New(slog.DiscardHandler),
	})
	client.OnMessage(m.c, "said", m.said)
	client.OnMessage(m.c, "$room", func(s client.Message[client.RoomState]) { m.told(s.Data) })
	client.OnMessage(m.c, "$gap", func(g client.Message[json.RawMessage]) { m.w.fault("member %d: $gap %s", m.id, g.Data) })
	return m.c.Connect(ctx)
}

// state counts sessions.
func (m *member) state(s client.State, err error) {
	switch {
	case s == client.Closed && !m.w.over.Load():
		m.w.fault("member %d: the client has given up: %v", m.id, err)
	case s == client.Open && m.c.Info().Resumed:
		m.w.count.resumed.Add(1)
	case s == client.Open:
		m.w.count.sessions.Add(1)
	}
}

// said takes a message, the next one after what the member has.
func (m *member) said(msg client.Message[line]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.w.count.deliveries.Add(1)
	text := short(msg.Data.Text)
	s, p := m.seat(msg.Room, msg.Pos)
	if s == nil {
		return
	}
	s.note("%s at %s", text, p)
	if msg.Data.Room != msg.Room {
		m.fault(msg.Room, "the message is of room %q", msg.Data.Room)
	}
	if old, ok := s.got[p]; ok {
		m.fault(msg.Room, "%s was at that position before", old)
	}
	if s.at.Epoch == "" || p.Epoch != s.at.Epoch || p.Offset != s.at.Offset+1 {
		m.fault(msg.Room, "the message doesn't follow %s", s.at)
	}
	s.got[p], s.at = text, p
}

// told takes a $room: where the member is, and whether messages are missing up to there.
func (m *member) told(r client.RoomState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	recovered := "null"
	if r.Recovered != nil {
		recovered = fmt.Sprint(*r.Recovered)
	}
	s, p := m.seat(r.Room, r.Pos)
	if s == nil {
		return
	}
	s.note("$room at %s, recovered %s", p, recovered)
	switch {
	case r.Missed():
		if small(r.Room) {
			m.w.count.toldSmall.Add(1)
		} else {
			m.w.count.told.Add(1)
		}
		if p.Epoch == s.at.Epoch && p.Offset < s.at.Offset {
			m.fault(r.Room, "it was at %s before", s.at)
		}
	case s.at.Epoch == "": // the first join
	case p != s.at:
		m.fault(r.Room, "it was at %s before, and isn't told", s.at)
	case r.Recovered != nil:
		m.w.count.recovered.Add(1)
	}
	s.at = p
}

// seat returns a room of the member, and a position; nil: there is something wrong with them.
func (m *member) seat(room, pos string) (*seat, position.Position) {
	s := m.seats[room]
	p, ok := position.Parse(pos)
	if s == nil || !ok {
		m.w.fault("member %d: room %q, position %q", m.id, room, pos)
		return nil, p
	}
	return s, p
}

// fault fails the test, once for each seat.
func (m *member) fault(room, format string, args ...any) {
	s := m.seats[room]
	if s.faulty {
		return
	}
	s.faulty = true
	m.w.fault("member %d, room %s: %s: %s", m.id, room, s.history(), fmt.Sprintf(format, args...))
}

func (s *seat) note(format string, args ...any) {
	s.recent = append(s.recent[max(0, len(s.recent)-7):], fmt.Sprintf(format, args...))
}

func (s *seat) history() string { return "…, " + strings.Join(s.recent, ", ") }

// where is how far the member has come in a room.
func (m *member) where(room string) position.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seats[room].at
}

// short is a text without what only makes it long.
func short(text string) string {
	head, _, _ := strings.Cut(text, ">")
	return head + ">"
}

// send sends messages to its rooms now and then, one after the other, until ctx is over.
func (m *member) send(ctx context.Context) {
	rooms := slices.Sorted(maps.Keys(m.seats))
	for n := 0; pause(ctx, time.Duration(m.dice.Float64()*2*float64(m.w.every))); n++ {
		msg := &message{room: rooms[m.dice.IntN(len(rooms))], text: fmt.Sprintf("<%d.%d>", m.id, n)}
		long := ""
		if m.dice.IntN(10) == 0 {
			long = strings.Repeat("x", m.dice.IntN(5000))
		}
		m.mu.Lock()
		m.sent = append(m.sent, msg)
		m.mu.Unlock()
		err := m.c.Call(context.Background(), "Say", line{msg.room, msg.text + long}, nil)
		m.w.failed(err)
		m.mu.Lock()
		msg.accepted = err == nil
		m.mu.Unlock()
	}
}

// pause waits; it reports false when ctx is over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
