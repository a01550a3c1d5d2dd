package wsctltest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

// broken is a broker that does some calls in ways of its own. Nil: as Broker does.
type broken struct {
	memory
	publish     func(ctx context.Context, topic string, msg []byte) error
	publishKeep func(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error
	subscribe   func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error)
	since       func(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error)
	away        func() (back func())
	forget      func()
}

func (b *broken) Publish(ctx context.Context, topic string, msg []byte) error {
	if b.publish == nil {
		return b.memory.Publish(ctx, topic, msg)
	}
	return b.publish(ctx, topic, msg)
}

func (b *broken) PublishKeep(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
	if b.publishKeep == nil {
		return b.memory.PublishKeep(ctx, topic, msg, keep)
	}
	return b.publishKeep(ctx, topic, msg, keep)
}

func (b *broken) Subscribe(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
	if b.subscribe == nil {
		return b.memory.Subscribe(ctx, topic, deliver)
	}
	return b.subscribe(ctx, topic, deliver)
}

func (b *broken) Since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	if b.since == nil {
		return b.memory.Since(ctx, topic, pos)
	}
	return b.since(ctx, topic, pos)
}

func (b *broken) Away(t *testing.T) (back func()) {
	if b.away == nil {
		return b.memory.Away(t)
	}
	return b.away()
}

func (b *broken) Forget(t *testing.T) {
	if b.forget == nil {
		b.memory.Forget(t)
		return
	}
	b.forget()
}

// delivering breaks deliveries: each of a subscription's, numbered from 1. Notices pass.
func delivering(fn func(n int, pos string, msg []byte, deliver func(pos string, msg []byte))) func(*testing.T, memory) wsctl.Broker {
	return func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (func(), error) {
			n := 0
			return m.Subscribe(ctx, topic, func(pos string, msg []byte) {
				if msg == nil {
					deliver(pos, msg)
					return
				}
				n++
				fn(n, pos, msg, deliver)
			})
		}}
	}
}

// naming breaks topics.
func naming(fn func(topic string) string) func(*testing.T, memory) wsctl.Broker {
	return func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{
			memory:  m,
			publish: func(ctx context.Context, topic string, msg []byte) error { return m.Publish(ctx, fn(topic), msg) },
			publishKeep: func(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
				return m.PublishKeep(ctx, fn(topic), msg, keep)
			},
			subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
				return m.Subscribe(ctx, fn(topic), deliver)
			},
			since: func(ctx context.Context, topic, pos string) ([][]byte, string, bool, error) {
				return m.Since(ctx, fn(topic), pos)
			},
		}
	}
}

// keeping breaks retention.
func keeping(fn func(keep wsctl.Retention) wsctl.Retention) func(*testing.T, memory) wsctl.Broker {
	return func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, publishKeep: func(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
			return m.PublishKeep(ctx, topic, msg, fn(keep))
		}}
	}
}

// calling breaks the calls of a method.
func calling(method string, fn func(ctx context.Context, call func() error) error) func(*testing.T, memory) wsctl.Broker {
	return func(_ *testing.T, m memory) wsctl.Broker {
		m.Calls(func(ctx context.Context, called, _ string, call func() error) error {
			if called != method {
				return call()
			}
			return fn(ctx, call)
		})
		return m
	}
}

// positions breaks positions: from the broker, and to it.
func positions(from, to func(pos string) string) func(*testing.T, memory) wsctl.Broker {
	return func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{
			memory: m,
			subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
				return m.Subscribe(ctx, topic, func(pos string, msg []byte) { deliver(from(pos), msg) })
			},
			since: func(ctx context.Context, topic, pos string) ([][]byte, string, bool, error) {
				msgs, newest, ok, err := m.Since(ctx, topic, to(pos))
				return msgs, from(newest), ok, err
			},
		}
	}
}

// pause is time for others.
func pause(d time.Duration) { <-time.After(d) }

func same(pos string) string { return pos }

// shift adds n to the offset of a position.
func shift(pos string, n int64) string {
	p, ok := position.Parse(pos)
	if !ok || p.Offset == 0 && n < 0 {
		return pos
	}
	p.Offset = uint64(int64(p.Offset) + n)
	return p.String()
}

func reepoch(pos, epoch string) string {
	p, ok := position.Parse(pos)
	if !ok {
		return pos
	}
	p.Epoch = epoch
	return p.String()
}

// blocking has a method that waits for the server, whatever its ctx says.
func blocking(method string) func(*testing.T, memory) wsctl.Broker {
	return func(t *testing.T, m memory) wsctl.Broker {
		var calls sync.WaitGroup
		t.Cleanup(calls.Wait)
		return calling(method, func(_ context.Context, call func() error) error {
			calls.Add(1)
			defer calls.Done()
			for range 3600 {
				if err := call(); err != errCut {
					return err
				}
				pause(time.Second)
			}
			return errCut
		})(t, m)
	}
}
