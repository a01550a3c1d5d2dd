package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/wsctl/wsctl"
)

// Starter is the controller that all pages share: wsctl.New gets it. Here it only greets and counts them.
type Starter struct {
	counting sync.Mutex // held while pages are counted and told, so that the newest count is told last
}

// OnOpen runs when a page has connected, before its first message.
func (c *Starter) OnOpen(s *wsctl.Socket, _ *http.Request) error {
	// From here on a Page of its own answers this socket's messages: the place for what belongs to one connection.
	if err := s.SetController(&Page{}); err != nil {
		return err
	}
	c.tellPages(s.Hub())
	return nil
}

// OnClose runs when a page has gone, however it went. By then it isn't counted any more.
func (c *Starter) OnClose(s *wsctl.Socket, _ error) { c.tellPages(s.Hub()) }

// tellPages sends every page the number of pages. It takes no *wsctl.Socket, so no page can call it.
func (c *Starter) tellPages(hub *wsctl.Hub) {
	c.counting.Lock()
	defer c.counting.Unlock()
	if err := hub.Broadcast("pages", hub.Everyone().Len()); err != nil {
		slog.Error("can't tell the number of pages", "error", err)
	}
}

// Page is the controller of one page. Its methods that take a *wsctl.Socket are what the page can call: the message type
// is the method's name in snake case, as Options.TypeName says. Messages of one page are handled one after the other, so
// its fields need no lock.
type Page struct {
	hellos int
}

// Hello handles {"type":"hello"}.
func (p *Page) Hello(s *wsctl.Socket) error {
	p.hellos++
	switch p.hellos {
	case 1:
		return s.Send("hello_world", "Hey, you !")
	case 2:
		return s.Send("hello_world", "Hey, again !")
	default:
		return s.Send("hello_world", fmt.Sprintf("You are kind of repeating yourself... It's the %dth time !", p.hellos))
	}
}

// maxNumber is the greatest integer that JavaScript holds exactly.
const maxNumber = 1<<53 - 1

const wrongNumbers = "Please give me two whole numbers from 1 to 9007199254740991."

// ComputeGDC handles {"type":"compute_gdc","data":[12,18]}, and the same with the array in a string: "[12,18]".
// It answers with a message, {"type":"gdc","data":6}, and, if the page made a call, with the result, too. An error made by
// wsctl.Errorf is one that the page may see; of any other it would only learn that there was one.
//
// Most methods let wsctl decode their argument, as in ComputeGDC(s *wsctl.Socket, numbers [2]int64). This one takes the
// JSON as it came, because it comes in two forms and because it answers wrong ones itself.
func (p *Page) ComputeGDC(s *wsctl.Socket, data json.RawMessage) (int64, error) {
	a, b, ok := twoNumbers(data)
	if !ok {
		if err := s.Send("gdc", wrongNumbers); err != nil {
			return 0, err
		}
		return 0, wsctl.Errorf(wsctl.CodeBadRequest, wrongNumbers)
	}
	for b != 0 {
		a, b = b, a%b
	}
	return a, s.Send("gdc", a)
}

// twoNumbers reads [12,18] or "[12,18]". Never trust what a browser sends: anybody can send anything.
func twoNumbers(data json.RawMessage) (a, b int64, ok bool) {
	var text string
	if json.Unmarshal(data, &text) == nil {
		data = json.RawMessage(text)
	}
	var n []int64
	if err := json.Unmarshal(data, &n); err != nil || len(n) != 2 {
		return 0, 0, false
	}
	for _, v := range n {
		if v < 1 || v > maxNumber {
			return 0, 0, false
		}
	}
	return n[0], n[1], true
}
