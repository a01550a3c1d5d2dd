package wsctlnats

import (
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
)

// Conn returns the connection.
func (b *Broker) Conn() *nats.Conn { return b.nc }

// SetMaxQueue sets how many bytes may wait in the queue of a subscription. It is to be called before there is one.
func (b *Broker) SetMaxQueue(bytes int) { b.maxQueue = bytes }

// SetArriving sets how many messages may wait for brokers that are made until restore is called.
func SetArriving(n int) (restore func()) {
	before := arriving
	arriving = n
	return func() { arriving = before }
}

// SetLeastAge sets for how long at least the streams of brokers keep entries that are made until restore is called.
func SetLeastAge(d time.Duration) (restore func()) {
	before := leastAge
	leastAge = d
	return func() { leastAge = before }
}

// Hold has nothing be dispatched to the only subscription until fn has returned true, which is called with the number of messages
// that NATS has dropped.
func (b *Broker) Hold(fn func(dropped int) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for sub := range b.subs {
		for {
			if n, err := sub.Dropped(); err != nil || fn(n) {
				break
			}
			runtime.Gosched()
		}
	}
}
