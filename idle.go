package wsctl

import (
	"errors"
	"os"
	"time"
)

// idleTime is how long a connection waits for a message until it gives up its goroutine, where there is a watcher.
const idleTime = 5 * time.Second

// waitState is what a conn's reader is at.
type waitState int32

const (
	busy    waitState = iota // it handles what it has read
	reading                  // it waits for the rest of a message
	resting                  // it waits for a message to begin
	watched                  // there is none: the watcher waits
)

func (c *conn) at() waitState       { return waitState(c.waits.Load()) }
func (c *conn) setAt(now waitState) { c.waits.Store(int32(now)) }

// start begins reading. A connection begins idle: many that come at once need no goroutines until their clients say something.
func (c *conn) start() {
	c.unplug()
	if c.drowsy = true; c.in == nil && len(c.unread) == 0 && c.watch() {
		return
	}
	go c.read()
}

// rouse has the reader of an idle connection give up its goroutine, or try again later.
func (c *conn) rouse() {
	if canWatch && c.raw.ok() && c.at() == resting {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// roused tells whether a read was ended by rouse, and not by the network.
func (c *conn) roused(err error) bool {
	if c.owner == nil || !errors.Is(err, os.ErrDeadlineExceeded) { // a handshake has a deadline
		return false
	}
	_ = c.Conn.SetReadDeadline(time.Time{})
	return true
}

// watch gives the conn to the watcher.
func (c *conn) watch() bool {
	c.owner.idle(c)
	c.tidy()
	c.setAt(watched)
	if c.out.s.h.watcher.watch(c) {
		return true
	}
	c.setAt(busy)
	c.drowsy = false // with the next sweep it is tried again
	return false
}
