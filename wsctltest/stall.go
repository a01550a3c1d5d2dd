package wsctltest

import (
	"net"
	"sync"
)

// stallable is a conn whose reads can be held up.
type stallable struct {
	net.Conn

	wrote  func() // called after each write
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex    // guards following
	stalled chan struct{} // closed when it isn't any more; nil: it isn't
}

// wrap makes nc the client's newest conn.
func (c *Client) wrap(nc net.Conn) net.Conn {
	s := &stallable{Conn: nc, closed: make(chan struct{})}
	s.wrote = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.writes++
		c.change()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.stall(c.stalled)
	c.conn, c.writes = s, 0
	return s
}

func (s *stallable) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.wrote()
	return n, err
}

func (s *stallable) stall(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && s.stalled == nil:
		s.stalled = make(chan struct{})
	case !on && s.stalled != nil:
		close(s.stalled)
		s.stalled = nil
	}
}

// Read waits while the conn is stalled, also with what it has read already.
func (s *stallable) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	for {
		s.mu.Lock()
		stalled := s.stalled
		s.mu.Unlock()
		if stalled == nil {
			return n, err
		}
		select {
		case <-stalled:
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
}

func (s *stallable) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}
