package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
	"github.com/wsctl/wsctl/wsctltest"
)

// The position of each room goes into the next $hello: of the newest message that waits for a function, or of $room.
func TestRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		c, p := s.open(client.Options{})
		var got []string
		release := make(chan struct{})
		client.OnMessage(c, "said", func(m client.Message[int]) {
			<-release
			got = append(got, fmt.Sprintf("%d %s %s", m.Data, m.Room, m.Pos))
		})
		client.On(c, "said", func(n int) { got = append(got, fmt.Sprint(n)) })
		client.On(c, "$room", func(r client.RoomState) { got = append(got, fmt.Sprintf("%s %q %v", r.Room, r.Pos, r.Missed())) })
		p.send(
			`{"type":"$room","data":{"room":"a","pos":"e.0","recovered":null}}`,
			`{"type":"said","data":1,"room":"a","pos":"e.1"}`,
			`{"pos":"f.7","room":"\u00e4\"","type":"said","data":2}`,
			`{"type":"said","data":3,"room":"gone","pos":"g.1"}`,
			`{"type":"said","data":4,"room":"a","pos":"e.2"}`,
			`{"type":"$room","data":{"room":"gone","pos":null}}`,
			`{"type":"said","data":5}`,
			`{"type":"said","data":6,"room":"no","pos":6}`,
			`{"type":"said","data":7,"room":["no"],"pos":"x"}`,
			`{"type":"$room","data":{"room":"a"}}`,
			`{"type":"$room","data":{"room":"b","pos":"h.9","recovered":true}}`,
			`{"type":"$room","data":{"room":"no","pos":8}}`,
			`{"type":"$room","data":[]}`,
			`{"type":"$room"}`,
		)
		synctest.Wait()
		p.cut()
		const rooms = `"rooms":{"b":"h.9","a":"e.2","ä\"":"f.7"}`
		p = s.welcomed(`{"session":"s1","received":14,"try":2,`+rooms+`}`, fresh2)
		p.expect(`{"type":"$ack","data":0}`)
		p.send(`{"type":"$room","data":{"room":"a","pos":"z.3","recovered":false}}`)
		synctest.Wait()
		p.cut()
		s.welcomed(`{"session":"s2","received":1,"try":3,"rooms":{"a":"z.3","b":"h.9","ä\"":"f.7"}}`, fresh)
		synctest.Wait() // all of it still waits for the first function, and comes in order
		close(release)
		synctest.Wait()
		want := []string{`a "e.0" false`, "1 a e.1", "1", `2 ä" f.7`, "2", "3 gone g.1", "3", "4 a e.2", "4", `gone "" false`, "5  ", "5",
			"6 no ", "6", "7  x", "7", `a "" false`, `b "h.9" false`, ` "" false`, `a "z.3" true`}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		c.Abort()
	})
}

// Of many rooms the newest 100 are remembered, and as many of them sent as fit.
func TestManyRooms(t *testing.T) {
	tests := []struct {
		name  string
		room  func(n int) string
		token int // bytes
		sent  int // of 150 rooms
	}{
		{"short names", func(n int) string { return fmt.Sprint(n) }, 0, 100},
		{"long names", func(n int) string { return strings.Repeat("x", 123) + fmt.Sprintf("%05d", n) }, 0, 43}, // (6,000 - 1) / 138 bytes
		{"a large token", func(n int) string { return fmt.Sprintf("%03d", n) }, 16_000, 24},
		{"a token without room for any", func(n int) string { return fmt.Sprintf("%03d", n) }, 16_300, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t)
				secret := "t" + strings.Repeat("o", max(0, tt.token-1))
				c := client.New("ws://server/", s.options(client.Options{Token: func(context.Context) (string, error) { return secret, nil }}))
				c.Redial()
				p := s.welcomed(`{"try":1,"token":"`+secret+`"}`, fresh)
				client.On(c, "a", func(int) {})
				for n := range 150 {
					p.send(fmt.Sprintf(`{"type":"a","room":"%s","pos":"e.%d"}`, tt.room(n), n%10))
				}
				for n := range 150 { // the newest are the lowest
					p.send(fmt.Sprintf(`{"type":"a","room":"%s","pos":"f.%d"}`, tt.room(149-n), n%10))
				}
				synctest.Wait()
				p.cut()
				var rooms []string
				for n := range tt.sent {
					rooms = append(rooms, fmt.Sprintf(`"%s":"f.%d"`, tt.room(n), (149-n)%10))
				}
				want := `{"session":"s1","received":300,"try":2,"rooms":{` + strings.Join(rooms, ",") + `},"token":"` + secret + `"}`
				want = strings.Replace(want, `"rooms":{},`, "", 1)
				s.welcomed(want, fresh2)
				if n := len(`{"type":"$hello","data":}`) + len(want); n > 16<<10 {
					t.Errorf("$hello has %d bytes", n)
				}
				c.Abort()
			})
		})
	}
}

// host is a controller that brings everybody into one room.
type host struct{}

func (host) OnOpen(s *wsctl.Socket, _ *http.Request) error { return s.Join("lobby") }

// A client whose session is over gets what was said meanwhile, or is told that it can't be had.
func TestRealRooms(t *testing.T) {
	tests := []struct {
		name                     string
		before, meanwhile, after int
		missed                   bool
	}{
		{"some were missed", 3, 5, 2, false},
		{"none were missed", 3, 0, 2, false},
		{"all that the client has ever had", 0, 5, 2, false},
		{"more than the room keeps", 3, 11, 2, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := &wsctl.Hub{History: func(string) wsctl.Retention { return wsctl.Retention{Messages: 10} }}
				w := serveReal(t, host{}, &wsctl.Options{Hub: hub, Resume: time.Second})
				c := client.New("http://server/", w.options(client.Options{}))
				defer c.Abort()
				var got []int
				var rooms, missed []string
				client.OnMessage(c, "said", func(m client.Message[int]) {
					got = append(got, m.Data)
					rooms = append(rooms, m.Room)
				})
				client.On(c, "$room", func(r client.RoomState) {
					if r.Missed() {
						missed = append(missed, r.Room)
					}
				})
				if err := c.Connect(t.Context()); err != nil {
					t.Fatal(err)
				}
				n := 0
				say := func(lines int) {
					for range lines {
						n++
						if err := hub.Room("lobby").Send("said", n); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
				}
				say(tt.before)
				w.network(false)
				w.cut()
				time.Sleep(5 * time.Second) // the session is over
				say(tt.meanwhile)
				w.network(true)
				if err := c.Connect(t.Context()); err != nil {
					t.Fatal(err)
				}
				if c.Info().Resumed {
					t.Error("resumed")
				}
				say(tt.after)
				var want []int
				for i := range n {
					if i+1 <= tt.before || i+1 > tt.before+tt.meanwhile || !tt.missed {
						want = append(want, i+1)
					}
				}
				if !slices.Equal(got, want) || slices.ContainsFunc(rooms, func(r string) bool { return r != "lobby" }) {
					t.Errorf("got %v of %q, want %v", got, rooms, want)
				}
				if tt.missed != slices.Equal(missed, []string{"lobby"}) {
					t.Errorf("told that these miss something: %q", missed)
				}
			})
		})
	}
}

// A client that moves between nodes, as one with a node that dies, hears everything once and in order.
func TestRealNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := wsctltest.NewBroker()
		keep := func(string) wsctl.Retention { return wsctl.Retention{Messages: 100} }
		var nodes []*world
		for range 3 {
			nodes = append(nodes, serveReal(t, host{}, &wsctl.Options{Hub: &wsctl.Hub{Broker: broker.Node(), History: keep}}))
		}
		on := 0
		dialer := websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return nodes[on].options(client.Options{}).Dialer.NetDialContext(ctx, network, addr)
		}}
		c := client.New("http://server/", &client.Options{Dialer: &dialer, Manual: true, Logger: slog.New(slog.DiscardHandler)})
		defer c.Abort()
		var got, want []int
		client.On(c, "said", func(n int) { got = append(got, n) })
		client.On(c, "$room", func(r client.RoomState) {
			if r.Missed() {
				t.Error("some were missed")
			}
		})
		for round := range 7 {
			on = round % len(nodes)
			if err := c.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				if i == 10 {
					nodes[on].cut()
				}
				n := 20*round + i
				want = append(want, n)
				if err := nodes[(on+i)%len(nodes)].h.Hub().Room("lobby").Send("said", n); err != nil {
					t.Fatal(err)
				}
				if i%10 == 5 {
					synctest.Wait()
				}
			}
			synctest.Wait()
		}
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}
