//go:build unix

package wsctlredis_test

import (
	"testing"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
	"github.com/wsctl/wsctl/wsctltest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	wsctltest.TestBroker(t, func(t *testing.T) wsctl.Broker { return s.openIn(t, nil) })
}

// TestConformanceKilled takes the server away by killing it.
func TestConformanceKilled(t *testing.T) {
	t.Parallel()
	s := startServer(t, durable...)
	wsctltest.TestBroker(t, func(t *testing.T) wsctl.Broker {
		n := s.openIn(t, &wsctlredis.Options{Durable: true})
		n.away = func() (back func()) {
			s.kill()
			return s.restart
		}
		return n
	})
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, 0)
	wsctltest.TestBroker(t, func(t *testing.T) wsctl.Broker { return c.open(t, nil) })
}

func TestConformanceSentinel(t *testing.T) {
	t.Parallel()
	p := startPair(t, "30000")
	wsctltest.TestBroker(t, func(t *testing.T) wsctl.Broker { return p.open(t, nil) })
}
