// Command melody is the benchmark's server on olahol/melody.
package main

import (
	"log"
	"net/http"

	"github.com/olahol/melody"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

// client is a session of melody. Rooms are keys of the session, by which melody filters.
type client struct {
	melody  *melody.Melody
	session *melody.Session
}

func (c client) Answer(message []byte) {
	if err := c.session.Write(message); err != nil {
		log.Print(err)
	}
}

func (c client) Join(room string)  { c.session.Set(room, true) }
func (c client) Leave(room string) { c.session.UnSet(room) }

func (c client) Say(room string, message []byte) {
	if room == "" {
		if err := c.melody.Broadcast(message); err != nil {
			log.Print(err)
		}
		return
	}
	err := c.melody.BroadcastFilter(message, func(s *melody.Session) bool {
		_, member := s.Get(room)
		return member
	})
	if err != nil {
		log.Print(err)
	}
}

func main() {
	kit.Parse()
	m := melody.New()
	m.Config.MaxMessageSize = 64 << 10
	m.HandleMessage(func(s *melody.Session, message []byte) {
		if err := kit.Handle(client{m, s}, message); err != nil {
			log.Print(err)
			s.Close()
		}
	})
	kit.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.HandleRequest(w, r) // its errors are those of clients that have gone
	}))
}
