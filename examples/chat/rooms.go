package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/wsctl/wsctl"
)

// maxMembers is how many fit into one room, where everybody hears of everybody.
const maxMembers = 200

// Chat is the controller that all guests share: wsctl.New gets it. It has no methods that take a *wsctl.Socket but its hook,
// so a page can't call any. It knows who is in which room; the lines themselves only pass through.
type Chat struct {
	// Held also while members are told, so that everybody learns what happens in the order in which it happened. Send
	// doesn't wait for the network.
	mu    sync.Mutex       // guards following
	rooms map[string]*room // those with members
}

type room struct {
	members []member // in the order in which they came
	lines   int64    // said since the first came
}

type member struct {
	Member
	socket *wsctl.Socket
}

// Member is a guest in a room.
type Member struct {
	ID   string `json:"id"` // the same in all rooms
	Name string `json:"name"`
}

// What is sent to pages.
var (
	snapshot  = wsctl.NewEvent[Snapshot]("room")
	arrival   = wsctl.NewEvent[Arrival]("joined")
	departure = wsctl.NewEvent[Departure]("left")
	said      = wsctl.NewEvent[Line]("said")
	// Of who types, a slow page gets the newest state alone.
	typing = wsctl.NewEvent[Typist]("typing").Latest(func(t Typist) string { return t.Room + " " + t.ID })
)

type (
	// Snapshot is "room": who is there, sent to who enters.
	Snapshot struct {
		Room    string   `json:"room"`
		You     string   `json:"you"`   // your Member.ID
		Again   bool     `json:"again"` // you were here all the time and have missed nothing
		Members []Member `json:"members"`
	}
	// Arrival is "joined": somebody has come, or has a new name.
	Arrival struct {
		Room string `json:"room"`
		Member
	}
	// Departure is "left".
	Departure struct {
		Room string `json:"room"`
		ID   string `json:"id"`
	}
	// Line is "said".
	Line struct {
		Room string    `json:"room"`
		N    int64     `json:"n"` // 1, 2, … as long as anybody is in the room
		At   time.Time `json:"at"`
		From string    `json:"from"` // Member.ID
		Name string    `json:"name"`
		Text string    `json:"text"`
	}
	// Typist is "typing": somebody types, to be believed for so many milliseconds; 0: no more.
	Typist struct {
		Room string `json:"room"`
		ID   string `json:"id"`
		For  int64  `json:"for"`
	}
)

// enter makes s a member of a room, or renames the one that it is.
func (c *Chat) enter(s *wsctl.Socket, name, nick, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[name]
	if r == nil {
		r = &room{}
	}
	id := memberID(s, key)
	i := slices.IndexFunc(r.members, func(m member) bool { return m.socket == s })
	again := i >= 0
	if i < 0 {
		// The member whom the server hasn't missed yet, on a connection that is lost.
		i = slices.IndexFunc(r.members, func(m member) bool { return m.ID == id })
	}
	if i < 0 && len(r.members) == maxMembers {
		return wsctl.Errorf(wsctl.CodeTooMany, "the room is full")
	}
	if !again && len(s.Rooms()) == maxRooms {
		return wsctl.Errorf(wsctl.CodeTooMany, "you are in %d rooms, that's enough", maxRooms)
	}
	if err := s.Join(name); err != nil {
		return err
	}
	if i < 0 {
		i = len(r.members)
		r.members = append(r.members, member{Member: Member{ID: id}, socket: s})
		if c.rooms == nil {
			c.rooms = make(map[string]*room)
		}
		c.rooms[name] = r
	}
	m := &r.members[i]
	if m.socket != s {
		m.socket.Leave(name)
		m.socket = s
	}
	before := m.Name
	m.Name = r.freeName(nick, m)
	if err := snapshot.Send(s, Snapshot{name, m.ID, again, r.list()}); err != nil {
		return err // s is ending: OnClose comes when this method has returned
	}
	if m.Name == before {
		return nil
	}
	return arrival.Send(s.Hub().Room(name).Except(s), Arrival{name, m.Member})
}

// leave takes s out of a room, if it is there.
func (c *Chat) leave(s *wsctl.Socket, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Leave(name)
	r, m := c.find(s, name)
	if m == nil {
		return
	}
	id := m.ID
	r.members = slices.DeleteFunc(r.members, func(m member) bool { return m.socket == s })
	if len(r.members) == 0 {
		delete(c.rooms, name)
		return
	}
	_ = departure.Send(s.Hub().Room(name), Departure{name, id}) // fails for bad names and data alone
}

// say tells everybody in the room, and returns the number of the line.
func (c *Chat) say(s *wsctl.Socket, name, text string) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, m := c.find(s, name)
	if m == nil {
		return 0, wsctl.Errorf(wsctl.CodeForbidden, "enter the room first")
	}
	r.lines++
	line := Line{Room: name, N: r.lines, At: time.Now().UTC().Truncate(time.Millisecond), From: m.ID, Name: m.Name, Text: text}
	return line.N, said.Send(s.Hub().Room(name), line)
}

// typing tells the others in the room whether s types, if it is there.
func (c *Chat) typing(s *wsctl.Socket, name string, on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, m := c.find(s, name)
	if m == nil {
		return nil
	}
	t := Typist{Room: name, ID: m.ID}
	if on {
		t.For = typingFor.Milliseconds()
	}
	return typing.Send(s.Hub().Room(name).Except(s), t)
}

// find returns a room and s in it; nil: it isn't there. c.mu is held.
func (c *Chat) find(s *wsctl.Socket, name string) (*room, *member) {
	r := c.rooms[name]
	if r == nil {
		return nil, nil
	}
	for i := range r.members {
		if r.members[i].socket == s {
			return r, &r.members[i]
		}
	}
	return r, nil
}

func (r *room) list() []Member {
	list := make([]Member, len(r.members))
	for i, m := range r.members {
		list[i] = m.Member
	}
	return list
}

// freeName is nick, or with a number if another than m has that name.
func (r *room) freeName(nick string, m *member) string {
	name := nick
	for n := 2; slices.ContainsFunc(r.members, func(o member) bool {
		return o.ID != m.ID && strings.EqualFold(o.Name, name)
	}); n++ {
		number := fmt.Sprintf(" %d", n)
		name = cut(nick, maxName-len(number)) + number
	}
	return name
}

// cut returns the first n characters.
func cut(s string, n int) string {
	for utf8.RuneCountInString(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return strings.TrimRight(s, " ")
}

// memberID is what others know a guest by. Nobody can find the key by it.
func memberID(s *wsctl.Socket, key string) string {
	if key == "" {
		return s.ID()
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}
