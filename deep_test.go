package wsctl_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// TestDeep sends a message nested deeper than a client may: either members get it, or the sender is told.
func TestDeep(t *testing.T) {
	data := json.RawMessage(strings.Repeat("[", 1500) + strings.Repeat("]", 1500))
	for name, hub := range map[string]*wsctl.Hub{
		"alone":   {},
		"history": {History: keepTen},
		"broker":  {Broker: nil},
	} {
		for _, room := range []string{"r", "k"} {
			t.Run(name+" "+room, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					h := &wsctl.Hub{History: hub.History}
					if name == "broker" {
						h.Broker, h.History = wsctltest.NewBroker(), keepTen
					}
					n := newNode(t, h, wsctl.Options{})
					c := wsctltest.Dial(t, n.handler, nil)
					c.Send("Join", room)
					if room == "k" && name != "alone" {
						told(c, t, room)
					}
					synctest.Wait()
					if err := n.hub.Room(room).Send("said", data); err != nil {
						t.Log(err)
						return
					}
					wsctltest.Expect[json.RawMessage](c, "said")
				})
			})
		}
	}
}
