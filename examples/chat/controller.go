package main

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wsctl/wsctl"
)

// Limits of what a guest may send. The page knows them, too (maxlength), but anybody can send anything.
const (
	maxName  = 24   // characters of a nickname
	maxText  = 2000 // characters of a line
	minKey   = 16   // bytes of a key
	maxKey   = 64
	maxRooms = 16 // rooms of one guest
)

// typingFor is how long a guest is shown as typing after the last word of it.
const typingFor = 5 * time.Second

// OnOpen gives each socket a Guest of its own.
func (c *Chat) OnOpen(s *wsctl.Socket, _ *http.Request) error {
	return s.SetController(&Guest{
		chat:   c,
		moves:  pace{every: time.Second, burst: 32},
		lines:  pace{every: 500 * time.Millisecond, burst: 10},
		typing: pace{every: time.Second, burst: 5},
	})
}

// Guest is the controller of one socket. Its messages are handled one after the other, so its fields need no lock.
type Guest struct {
	chat                 *Chat
	moves, lines, typing pace
}

// OnClose runs when the socket has ended, not when it has lost its connection for a moment. The socket has left its rooms
// by itself; here the others are told.
func (g *Guest) OnClose(s *wsctl.Socket, _ error) {
	for _, room := range s.Rooms() {
		g.chat.leave(s, room)
	}
}

// Entry is the wish to be in a room under a name.
type Entry struct {
	Room string `json:"room"`
	Name string `json:"name"`
	Key  string `json:"key"` // optional: a secret that makes a page the same member again when it comes back on another socket
}

// Validate is called by wsctl before Enter is. Its error reaches the client.
func (e Entry) Validate() error {
	if err := checkRoom(e.Room); err != nil {
		return err
	}
	if n := len(e.Key); n > 0 && n < minKey || n > maxKey {
		return fmt.Errorf("a key has %d to %d bytes", minKey, maxKey)
	}
	return checkName(tidyName(e.Name))
}

// Enter handles {"type":"enter","data":{"room":"lobby","name":"Ada"}}. The guest gets "room", which says who is there, and
// from then on what happens in the room. A name that another has becomes "Ada 2". To enter again is to be told again who is
// there; under another name, it is to be renamed.
func (g *Guest) Enter(s *wsctl.Socket, e Entry) error {
	if err := g.moves.take(); err != nil {
		return err
	}
	return g.chat.enter(s, e.Room, tidyName(e.Name), e.Key)
}

// Place names a room.
type Place struct {
	Room string `json:"room"`
}

// Leave handles {"type":"leave","data":{"room":"lobby"}}.
func (g *Guest) Leave(s *wsctl.Socket, p Place) error {
	if err := g.moves.take(); err != nil {
		return err
	}
	g.chat.leave(s, p.Room)
	return nil
}

// Words are a line before it is said.
type Words struct {
	Room string `json:"room"`
	Text string `json:"text"`
}

// Validate is called by wsctl before Say is.
func (w Words) Validate() error { return checkText(strings.TrimSpace(w.Text)) }

// Say handles {"type":"say","data":{"room":"lobby","text":"Hello!"}}: everybody in the room gets "said", the guest as well.
// A call is answered with the line's number.
func (g *Guest) Say(s *wsctl.Socket, w Words) (int64, error) {
	if err := g.lines.take(); err != nil {
		return 0, err
	}
	return g.chat.say(s, w.Room, strings.TrimSpace(w.Text))
}

// Keys tell whether somebody types.
type Keys struct {
	Room string `json:"room"`
	On   bool   `json:"on"`
}

// Typing handles {"type":"typing","data":{"room":"lobby","on":true}}: the others in the room get "typing". A page says so
// every few seconds while there is something to say; more is ignored, and so is who isn't in the room.
func (g *Guest) Typing(s *wsctl.Socket, k Keys) error {
	if g.typing.take() != nil {
		return nil
	}
	return g.chat.typing(s, k.Room, k.On)
}

// roomName is what a room may be called: letters of any alphabet, digits and hyphens. 32 characters have at most the 128
// bytes that a room of a Hub may.
var roomName = regexp.MustCompile(`^[\pL\pN][\pL\pM\pN-]{0,31}$`)

func checkRoom(name string) error {
	if !roomName.MatchString(name) || strings.ToLower(name) != name {
		return errors.New("a room's name has 1 to 32 small letters, digits or hyphens, and doesn't begin with a hyphen")
	}
	return nil
}

// tidyName makes one space of many, so that names which look alike are alike.
func tidyName(name string) string { return strings.Join(strings.Fields(name), " ") }

func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName {
		return fmt.Errorf("a nickname has 1 to %d characters", maxName)
	}
	// What isn't printed, or turns the direction of text round, makes one name look like another.
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("a nickname has only characters that can be seen")
	}
	if !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) {
		return errors.New("a nickname has at least one letter or digit")
	}
	return nil
}

func checkText(text string) error {
	if n := utf8.RuneCountInString(text); n == 0 || n > maxText {
		return fmt.Errorf("a line has 1 to %d characters", maxText)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return errors.New("a line has no control characters")
	}
	return nil
}

// pace allows a burst at once and then one more in every period.
type pace struct {
	every time.Duration
	burst int
	used  time.Time // when all that was taken is given back
}

// take takes one. The error says when to try again, in the milliseconds of data.retry.
func (p *pace) take() error {
	now := time.Now()
	if p.used.Before(now) {
		p.used = now
	}
	if wait := p.used.Add(p.every).Sub(now) - time.Duration(p.burst)*p.every; wait > 0 {
		return &wsctl.Error{
			Code:    wsctl.CodeTooMany,
			Message: "not so fast",
			Data:    map[string]int64{"retry": int64((wait + time.Millisecond - 1) / time.Millisecond)},
		}
	}
	p.used = p.used.Add(p.every)
	return nil
}
