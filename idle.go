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

// await returns when there is something to read, where a read needs no buffer: so gorilla isn't asked for a message before
// one begins, and an idle connection needs neither gorilla nor a goroutine. errWatched: the watcher waits instead, and the
// conn isn't the caller's any more. Elsewhere gorilla waits.
func (c *conn) await() error {
	if !c.raw.ok() {
		return nil
	}
	for c.in.empty() {
		if c.drowsy && !c.woken && c.watch() {
			return errWatched
		}
		c.woken = false
		if _, err := c.in.receive(nil, resting); err != nil {
			if !c.roused(err) {
				return err
			}
			c.drowsy = true
		}
		c.in.takeControls()
	}
	return nil
}

// start begins reading. A connection begins idle: many that come at once need no goroutines until their clients say something.
func (c *conn) start() {
	c.drowsy = true
	if c.raw.ok() && c.in.empty() && c.watch() {
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
	c.setAt(watched)
	if c.out.s.h.watcher.watch(c) {
		return true
	}
	c.setAt(busy)
	c.drowsy = false // not again before idleTime
	return false
}
