package wsctl_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// TestDeep sends a message nested deeper than a client may. Where it would be read on its way to members, the sender is told.
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
					err := n.hub.Room(room).Send("said", data)
					if refused := name == "broker" || name == "history" && room == "k"; refused != (err != nil) {
						t.Fatal(err)
					} else if refused {
						c.Quiet()
						return
					}
					wsctltest.Expect[json.RawMessage](c, "said")
				})
			})
		}
	}
}
