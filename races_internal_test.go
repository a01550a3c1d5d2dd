package wsctl

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

type raceCtl struct{}

func (raceCtl) Do(*Socket) {}

// An $ack that meets the socket's end.
func TestAckMeetsEnd(t *testing.T) {
	h := New(raceCtl{}, nil)
	s := h.newSocket("x")
	s.session = &session{}
	s.out.log = &sendLog{}
	c := &conn{}
	s.conn = c
	s.out.mu.Lock()
	s.out.enqueue(textFrame([]byte(`{"type":"a"}`)), false, 1)
	s.out.take(c)
	s.out.end(true) // what end does between message and acknowledged
	s.out.mu.Unlock()
	s.acknowledged(c, envelope{typ: []byte("$ack"), data: []byte("1")})
}

// A connection that is lost before resume is through.
func TestLostWhileResuming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(raceCtl{}, nil)
		h.parked.Init()
		s := h.newSocket("x")
		s.inbox.opened, s.inbox.opening = true, false
		s.session = &session{try: 1, confirmed: true}
		s.out.log = &sendLog{}
		h.admit(s)
		s.session.lost = &CloseError{Code: CloseAbnormal}
		h.park(s)
		c := &conn{}
		if _, err := s.resume(c, &hello{Session: "s", Try: 2}, Identity{}); err != nil {
			t.Fatal(err)
		}
		s.lost(c, &CloseError{Code: CloseAbnormal}) // of the sweeper, after a failed write
		h.unpark(s)                                 // resume goes on
		s.release()
		time.Sleep(time.Hour)
		if !s.hasEnded() {
			t.Error("the session lives for ever")
			s.end(errShutdown, false)
		}
		time.Sleep(time.Hour)
	})
}

// Two newcomers don't take the place of one session.
func TestOnePlace(t *testing.T) {
	h := New(raceCtl{}, &Options{MaxConns: 1})
	h.reserve()
	s := h.newSocket("x")
	s.inbox.opened, s.inbox.opening = true, false
	s.session = &session{try: 1, confirmed: true, lost: &CloseError{Code: CloseAbnormal}}
	s.out.log = &sendLog{}
	h.admit(s)
	h.park(s)
	s.mu.Lock() // holds the first newcomer in expire
	first := make(chan bool)
	go func() { first <- h.reserveSession() }()
	for taken := false; !taken; runtime.Gosched() {
		h.mu.Lock()
		taken = h.conns > h.opts.MaxConns
		h.mu.Unlock()
	}
	if h.reserveSession() {
		t.Error("the second has it, too")
	}
	s.mu.Unlock()
	if !<-first {
		t.Error("the first hasn't got it")
	}
}
