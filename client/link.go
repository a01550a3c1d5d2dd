package client

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

const (
	ackBytes = 64 << 10 // of messages received; then the server is told
	ackDelay = time.Second
	byeWait  = time.Second            // for the server's answer to our close
	byeShort = 250 * time.Millisecond // ... where nobody wants to wait; also for writing a close
)

// link is one connection that is open. The goroutine that runs the client reads from it; one more writes, which ends with
// ctx or when a write fails.
type link struct {
	c   *Client
	ws  *websocket.Conn
	buf []byte // of the reader

	parser parser

	silence time.Duration // the longest without a sign of life; 0: any
	ackMax  int

	work    chan struct{}   // holds one: there may be something to write
	ctx     context.Context // ends when the connection is over
	cancel  context.CancelFunc
	written chan struct{} // closed when the writer has ended
	ackTime *time.Timer
	probing *time.Timer

	// What follows is guarded by c.mu.
	renewal   *time.Timer
	since     time.Time // open
	owed      int       // messages not acknowledged
	owedBytes int
	ack       bool // now
	pong      bool
	ping      bool
	pinged    time.Time // last
	probed    bool      // nothing was received since Redial
	away      bool      // signs of life don't count any more, as after $goaway
	bye       int       // close code to write, then nothing more
	leaving   bool      // Close waits for the server's answer
	writing   bool      // a message at this moment
	failed    bool      // writing did; the reader has a moment to find out why
}

func newLink(c *Client, ws *websocket.Conn) *link {
	l := &link{c: c, ws: ws, work: make(chan struct{}, 1), written: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	ws.SetPingHandler(func(data string) error {
		l.alive()
		err := ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		var timeout interface{ Timeout() bool }
		if errors.Is(err, websocket.ErrCloseSent) || errors.As(err, &timeout) && timeout.Timeout() {
			return nil
		}
		return err
	})
	return l
}

// wake has the writer look for work.
func (l *link) wake() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// write is the goroutine that writes. It ends with the connection.
func (l *link) write() {
	defer close(l.written)
	var ackTime <-chan time.Time
	if l.ackTime != nil {
		ackTime = l.ackTime.C
	}
	for {
		b, bye := l.next()
		switch {
		case bye != 0:
			l.sendClose(bye, byeWait)
			return
		case b != nil:
			if l.ws.WriteMessage(websocket.TextMessage, b) != nil {
				l.fail()
				return
			}
			continue
		}
		select {
		case <-l.work:
		case <-ackTime:
			l.c.mu.Lock()
			l.ack = l.owed > 0
			l.c.mu.Unlock()
		case <-l.ctx.Done():
			return
		}
	}
}

// fail gives the reader, which says how the connection ended, a moment: the server may have closed, and said why.
func (l *link) fail() {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.failed, l.away = true, true
	_ = l.ws.SetReadDeadline(time.Now().Add(byeShort))
}

// next is what to write now.
func (l *link) next() (b []byte, bye int) {
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.writing {
		l.writing = false
		if c.closing {
			l.hasten()
			c.wake()
		}
	}
	switch {
	case l.bye != 0:
		return nil, l.bye
	case l.ack:
		l.ack, l.owed, l.owedBytes = false, 0, 0
		return composeNumber("$ack", 0, c.sess.ack()), 0
	case l.pong:
		l.pong = false
		return compose("$pong", 0, nil), 0
	case l.ping:
		l.ping = false
		return compose("$ping", 0, nil), 0
	}
	if m := c.sess.next(); m != nil {
		l.writing = true
		if k := m.call; k != nil && k.stream && c.info.Window == 0 {
			k.window, k.room = true, ownWindow // the server waits to be told
			c.push(&message{data: composeNumber("$more", k.id, ownWindow), bound: true})
		}
		return m.data, 0
	}
	return nil, 0
}

// hasten asks for the server's $ack, which comes before its $pong, when all is written. The caller has c.mu.
func (l *link) hasten() {
	if l.c.sess.keep && l.c.sess.sent == len(l.c.sess.queue) && l.c.sess.sent > 0 {
		l.askPing()
	}
}

// askPing sends a $ping, unless there was one within the last second. The caller has c.mu.
func (l *link) askPing() {
	now := time.Now()
	if l.c.opts.Plain || now.Sub(l.pinged) < time.Second {
		return
	}
	l.pinged, l.ping = now, true
	l.wake()
}

// probe gives the connection up unless there is a sign of life soon. The caller has c.mu.
func (l *link) probe() {
	if l.probing == nil || l.probed || l.away || l.leaving {
		return
	}
	l.askPing()
	l.probed = true
	l.probing.Reset(l.c.opts.ProbeTimeout)
}

// giveUp is run by the timer of probe.
func (l *link) giveUp() {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.probed {
		_ = l.ws.SetReadDeadline(time.Unix(1, 0))
	}
}

// sayBye has the writer close, when what it writes now is written. The caller has c.mu.
func (l *link) sayBye(patient bool) {
	if l.leaving {
		return
	}
	wait := byeShort
	if patient {
		wait = byeWait
	}
	l.bye, l.leaving = wsctl.CloseNormal, true
	_ = l.ws.SetReadDeadline(time.Now().Add(wait))
	_ = l.ws.NetConn().SetWriteDeadline(time.Now().Add(wait))
	l.wake()
}

// sendClose writes a close frame, if that takes no longer than wait.
func (l *link) sendClose(code int, wait time.Duration) {
	_ = l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(wait))
}

// alive takes a sign of life. Only the reader calls it.
func (l *link) alive() {
	if l.probing == nil {
		return
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.probed {
		l.probed = false
		l.probing.Stop()
		if l.silence == 0 && !l.away && !l.leaving {
			_ = l.ws.SetReadDeadline(time.Time{}) // giveUp may have been quicker to set it than to be heard
		}
	}
	if l.silence > 0 && !l.away && !l.leaving {
		_ = l.ws.SetReadDeadline(time.Now().Add(l.silence))
	}
}

// close is for a connection that never was open.
func (l *link) close() {
	l.cancel()
	_ = l.ws.Close()
}

// read waits for a text message. It is valid until the next read.
func (l *link) read() ([]byte, *ending) {
	typ, r, err := l.ws.NextReader()
	if err != nil {
		return nil, l.ended(err)
	}
	if typ != websocket.TextMessage {
		return nil, garbage(closeUnsupported, "a binary message")
	}
	b := l.buf[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(cap(b), l.c.opts.MaxMessage+1)])
		b = b[:len(b)+n]
		if n > 0 {
			l.alive()
		}
		if len(b) > l.c.opts.MaxMessage {
			e := closedBy(closeTooBig, "a message is larger than Options.MaxMessage")
			e.local = true
			return nil, e
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, l.ended(err)
		}
	}
	if cap(b) <= ackBytes { // a large one isn't worth keeping
		l.buf = b
	}
	return b, nil
}

// ended says what an error of reading means.
func (l *link) ended(err error) *ending {
	var ce *websocket.CloseError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &ce):
		return closedBy(ce.Code, ce.Text)
	case errors.As(err, &timeout) && timeout.Timeout():
		l.c.mu.Lock()
		failed := l.failed
		l.c.mu.Unlock()
		if failed {
			return closedBy(wsctl.CloseAbnormal, "writing has failed")
		}
		e := closedBy(wsctl.CloseTimeout, "no sign of life")
		e.local = true
		return e
	}
	return closedBy(wsctl.CloseAbnormal, err.Error())
}

// detach ends the connection: when it returns, nothing of it concerns the session any more.
func (l *link) detach(e *ending) {
	l.c.mu.Lock()
	leaving := l.leaving
	l.c.mu.Unlock()
	if e.local && !leaving {
		l.sendClose(e.code, byeShort)
	}
	l.cancel()
	_ = l.ws.Close()
	<-l.written
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for _, t := range []*time.Timer{l.ackTime, l.probing, l.renewal} {
		if t != nil {
			t.Stop()
		}
	}
}
