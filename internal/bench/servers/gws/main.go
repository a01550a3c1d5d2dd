// Command gws is the benchmark's server on lxzan/gws.
package main

import (
	"log"
	"net/http"

	"github.com/lxzan/gws"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

// handler gets the events of all connections.
type handler struct {
	gws.BuiltinEventHandler
	rooms *kit.Rooms[*gws.Conn]
}

func (h *handler) OnOpen(conn *gws.Conn)           { h.rooms.Enter(conn) }
func (h *handler) OnClose(conn *gws.Conn, _ error) { h.rooms.Exit(conn) }

func (h *handler) OnMessage(conn *gws.Conn, message *gws.Message) {
	defer message.Close()
	if err := kit.Handle(client{conn, h.rooms}, message.Bytes()); err != nil {
		log.Print(err)
		conn.WriteClose(1002, nil)
	}
}

type client struct {
	conn  *gws.Conn
	rooms *kit.Rooms[*gws.Conn]
}

func (c client) Answer(message []byte) {
	c.conn.WriteMessage(gws.OpcodeText, message) // an error closes the connection
}

func (c client) Join(room string)  { c.rooms.Join(room, c.conn) }
func (c client) Leave(room string) { c.rooms.Leave(room, c.conn) }

func (c client) Say(room string, message []byte) {
	b := gws.NewBroadcaster(gws.OpcodeText, message)
	defer b.Close()
	c.rooms.Each(room, func(conn *gws.Conn) { b.Broadcast(conn) })
}

func main() {
	config := kit.Parse()
	h := &handler{rooms: kit.NewRooms[*gws.Conn]()}
	upgrader := gws.NewUpgrader(h, &gws.ServerOption{
		CheckUtf8Enabled:  true,
		PermessageDeflate: gws.PermessageDeflate{Enabled: config.Compress},
	})
	kit.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go conn.ReadLoop() // on a goroutine of its own, so that the request can be collected
	}))
}
