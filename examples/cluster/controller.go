package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wsctl/wsctl"
)

const (
	lobby   = "lobby" // the one room of this chat
	maxName = 24      // characters
	maxText = 2000
	maxPage = 32 // bytes
)

// Node is the controller of all sockets of one node. It knows nothing of the other nodes: a room is the same on all of them.
type Node struct {
	name string
}

// What is sent to pages.
var (
	welcome = wsctl.NewEvent[Welcome]("welcome")
	said    = wsctl.NewEvent[Line]("said")
)

type (
	// Welcome is "welcome", the first message to a page on this node.
	Welcome struct {
		Node string `json:"node"`
	}
	// Line is "said".
	Line struct {
		Words
		At   time.Time `json:"at"`
		From string    `json:"from"` // a name
		Node string    `json:"node"` // to which it was said
	}
	// Words are a line before it is said. The page numbers its lines, from 1. Where it loses its node in the middle of a call
	// it doesn't know whether the line was said, and says it again. Whoever hears the same number of a page twice takes it for
	// one line.
	Words struct {
		Page string `json:"page"` // a random name of the page
		N    int64  `json:"n"`
		Text string `json:"text"`
	}
	// Person is who has come into the room, or left it, by one connection to any node.
	Person struct {
		ID   string `json:"id"` // of the connection
		Name string `json:"name"`
		Here bool   `json:"here"`
	}
)

// identify takes a visitor's token for a name. There are no passwords here.
func identify(_ context.Context, _ *http.Request, token string) (wsctl.Identity, error) {
	name := strings.Join(strings.Fields(token), " ")
	unseen := func(r rune) bool { return !unicode.IsPrint(r) }
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName || strings.ContainsFunc(name, unseen) {
		return wsctl.Identity{}, wsctl.Errorf(wsctl.CodeForbidden, "a name has 1 to %d characters that can be seen", maxName)
	}
	return wsctl.Identity{User: name}, nil
}

// OnOpen brings each socket into the room. One that comes from another node, and has been there before, gets what was said
// meanwhile: its page remembers the position.
func (n *Node) OnOpen(s *wsctl.Socket, _ *http.Request) error {
	if err := welcome.Send(s, Welcome{n.name}); err != nil {
		return err
	}
	return s.Join(lobby)
}

// Validate is called by wsctl before Say is.
func (w Words) Validate() error {
	if w.Page == "" || len(w.Page) > maxPage || w.N < 1 {
		return fmt.Errorf("a line has the name of its page, of at most %d bytes, and a number", maxPage)
	}
	if n := utf8.RuneCountInString(w.Text); n == 0 || n > maxText {
		return fmt.Errorf("a line has 1 to %d characters", maxText)
	}
	if strings.ContainsFunc(w.Text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return errors.New("a line has no control characters")
	}
	return nil
}

// Say handles {"type":"say","data":{"page":"x1","n":1,"text":"Hello!"}}: everybody gets "said", on all nodes. The call's good
// end says that the line is kept: from then on no node needs this one for it.
func (n *Node) Say(s *wsctl.Socket, w Words) error {
	line := Line{Words: w, At: time.Now().UTC().Truncate(time.Millisecond), From: s.Identity().User, Node: n.name}
	if err := said.Send(s.Hub().Room(lobby), line); err != nil {
		// The broker is away; the hub logs that. Perhaps it has kept the line before it went.
		return wsctl.Errorf(wsctl.CodeUnavailable, "nobody knows whether the line is kept")
	}
	return nil
}

// People handles {"type":"people"}: a stream of who is in the room, on all nodes, and then of who comes and goes.
func (n *Node) People(ctx context.Context, s *wsctl.Socket) iter.Seq2[Person, error] {
	return func(yield func(Person, error) bool) {
		for p, err := range s.Hub().Room(lobby).Watch(ctx) {
			if !yield(Person{p.Socket, p.User, p.Joined}, err) {
				return
			}
		}
	}
}

// Kill handles {"type":"kill"}: the process of this node ends at once, without a word to anybody, as by kill -9 or when the
// power fails. Don't copy that.
func (n *Node) Kill(_ *wsctl.Socket) error {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	return err
}
