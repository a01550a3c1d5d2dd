package wsctlnats_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// TestStrangers has others write to the broker's subjects.
func TestStrangers(t *testing.T) {
	srv := newServer(t, nil)
	b := connect(t, srv.url(), nil)
	l := listen(t, b, "room")
	keep(t, b, "room", "one")
	first := l.take(1)[0]
	js, done := jetStream(t, srv)
	defer done()
	nc := js.Conn()
	s, err := js.Stream(within(t), "wsctl")
	if err != nil {
		t.Fatal(err)
	}
	kept := strings.TrimSuffix(s.CachedInfo().Config.Subjects[0], "*") + "room"

	// On the subject that subscribers listen to.
	forged := func(entry, expected, sequence string) nats.Header {
		return nats.Header{"Wsctl": {entry}, "Nats-Expected-Last-Subject-Sequence": {expected}, "Nats-Sequence": {sequence}, "Nats-Subject": {kept}}
	}
	for _, h := range []nats.Header{
		{"Nats-Sequence": {"7"}},
		forged("", "", "7"),
		forged("1", "0", "7"),
		forged("2 e.5 id 1 1", "0", "7"),
		forged("1 e.5 id 1 1 1", "0", "7"),
		forged("1 e id 1 1", "0", "7"),
		forged("1 e.0 id 1 1", "0", "7"), // with a message before the first
		forged("1 e.5  1 1", "0", "7"),
		forged("1 e.5 id -1 1", "0", "7"),
		forged("1 e.5 id 1 99999999999999999999", "0", "7"),
		forged("1 e.5 id 1 9223372036854775807", "0", "7"),
		forged("1 e.5 id 1 1", "x", "7"),
	} {
		for _, data := range [][]byte{nil, []byte("\x01x"), []byte("\x05x"), bytes.Repeat([]byte{0xff}, 20)} {
			if len(data) == 0 && len(h) > 1 && h.Get("Wsctl") == "1 e.0 id 1 1" {
				continue // nothing is wrong with it
			}
			if err := nc.PublishMsg(&nats.Msg{Subject: "wsctl.live.room", Header: h, Data: data}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What isn't about the stream is a message like any other; the hub looks at it.
	if err := nc.PublishMsg(&nats.Msg{Subject: "wsctl.live.room", Header: nats.Header{"X": {"y"}}, Data: []byte("stranger")}); err != nil {
		t.Fatal(err)
	}
	if got := l.take(2); got[1] != (delivery{"", "stranger"}) {
		t.Errorf("got %q", got[1:])
	}

	// In the stream: it isn't delivered, and a new epoch begins after it.
	for _, h := range []nats.Header{nil, {"Wsctl": {"1 e.5 id x y"}}} {
		_, before, _ := since(t, b, "room", "")
		if _, err := js.PublishMsg(within(t), &nats.Msg{Subject: kept, Header: h, Data: []byte("stranger")}); err != nil {
			t.Fatal(err)
		}
		_, now, ok := since(t, b, "room", before)
		if ok || epoch(now) == epoch(before) || now != epoch(now)+".0" {
			t.Errorf("after a stranger's message: %s, %v", now, ok)
		}
	}
	if _, err := js.PublishMsg(within(t), &nats.Msg{Subject: kept, Data: []byte("stranger")}); err != nil {
		t.Fatal(err)
	}
	keep(t, b, "room", "two")
	keep(t, b, "room", "three")
	got := l.take(4)[2:]
	e := epoch(got[0].pos)
	if e == epoch(first.pos) || got[0] != (delivery{e + ".1", "two"}) || got[1] != (delivery{e + ".2", "three"}) {
		t.Errorf("got %q", got)
	}
	if texts, _, ok := since(t, b, "room", e+".0"); !ok || len(texts) != 2 {
		t.Errorf("%q, %v", texts, ok)
	}
	if _, err := js.PublishMsg(within(t), &nats.Msg{Subject: "wsctl.live.other", Data: nil}); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("the stream takes what is for subscribers: %v", err)
	}
}

// TestHello has strangers say hello.
func TestHello(t *testing.T) {
	servers := newCluster(t)
	a, b := connect(t, servers[0].url(), nil), connect(t, servers[1].url(), nil)
	nc, err := nats.Connect(servers[2].url())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, id := range []string{"", " ", "a.b", "*", ">", "\x00", strings.Repeat("x", 1000), "NOBODY"} {
		if err := nc.PublishRequest("wsctl.sync", "wsctl.sync", []byte(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	told := 0 // where the machine is too slow for the nodes' answers
	for i := range 20 {
		topic := fmt.Sprint("room", i)
		l := listen(t, a, topic)
		if err := b.Publish(within(t), topic, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if !l.came() {
			told++
		}
	}
	if told > 10 {
		t.Errorf("of 20 subscriptions %d were told that messages may have been missed", told)
	}
}

// TestTooLarge publishes more than the server takes.
func TestTooLarge(t *testing.T) {
	srv := newServer(t, func(o *server.Options) { o.MaxPayload = 10_000 })
	b := connect(t, srv.url(), nil)
	l := listen(t, b, "room")
	for _, err := range []error{
		b.Publish(within(t), "room", make([]byte, 10_001)),
		b.PublishKeep(within(t), "room", make([]byte, 10_000), keepAll),
	} {
		if !errors.Is(err, nats.ErrMaxPayload) || !strings.Contains(err.Error(), "10000") {
			t.Errorf("too large: %v", err)
		}
	}
	// What is just small enough for one isn't too large for many.
	failed := make(chan error)
	for range 20 {
		go func() { failed <- b.PublishKeep(within(t), "room", make([]byte, 9000), keepAll) }()
	}
	for range 20 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if err := b.Publish(within(t), "room", make([]byte, 10_000)); err != nil {
		t.Error(err)
	}
	l.take(21)
}

// TestSlow has a subscription that is too slow.
func TestSlow(t *testing.T) {
	srv := newServer(t, nil)
	b := connect(t, srv.url(), nil)
	b.SetMaxQueue(100) // of messages of 20, 16, 16… bytes, with their subjects
	first, hold := make(chan struct{}), make(chan struct{})
	type event struct {
		text string
		lost bool
	}
	var events []event
	ended := make(chan struct{})
	stop, err := b.Subscribe(within(t), "room", func(pos string, msg []byte) {
		if events = append(events, event{string(msg), msg == nil}); len(events) == 1 {
			close(first)
			<-hold
		}
		if string(msg) == "end" {
			close(ended)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	send := func(text string) {
		t.Helper()
		if err := b.Publish(within(t), "room", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send("first")
	<-first
	for range 50 {
		send("x")
	}
	other := listen(t, b, "other") // others don't wait
	if err := b.Publish(within(t), "other", []byte("x")); err != nil {
		t.Fatal(err)
	}
	other.take(1) // what was sent before has been dropped by now
	close(hold)
	eventually(t, func() error {
		send("end")
		select {
		case <-ended:
			return nil
		default:
			return errors.New("no message comes after those that were dropped")
		}
	})
	stop()
	if len(events) < 8 || !events[6].lost { // the first, and those that had room
		t.Errorf("it wasn't told where messages are missing: %v", events)
	}
	for i, e := range events[:6] {
		if e.lost || i > 0 && e.text != "x" {
			t.Errorf("event %d: %v", i, e)
		}
	}
}

// TestOverflow has NATS drop messages since the broker doesn't take them.
func TestOverflow(t *testing.T) {
	srv := newServer(t, nil)
	restore := wsctlnats.SetArriving(5)
	a := connect(t, srv.url(), nil)
	restore()
	b := connect(t, srv.url(), nil)
	l := listen(t, a, "room")
	for i := range 100 {
		if err := b.Publish(within(t), "room", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			l.take(1) // the server knows that it is subscribed
		}
		if i == 50 {
			a.Hold(func(dropped int) bool {
				err := b.Publish(within(t), "room", []byte("more"))
				return dropped > 10 || err != nil
			})
		}
	}
	l.noticed(1)
}

// TestQuietRoom has a room that is quiet for longer than messages are kept: its position stays as long as somebody asks.
func TestQuietRoom(t *testing.T) {
	srv := newServer(t, nil)
	restore := wsctlnats.SetLeastAge(0)
	b := connect(t, srv.url(), &wsctlnats.Options{MaxAge: time.Second})
	restore()
	rooms := 0
	eventually(t, func() error {
		rooms++
		asked, late := time.Now(), false
		err := quietRoom(t, b, fmt.Sprint("room", rooms), func() {
			late = late || time.Since(asked) > 300*time.Millisecond
			asked = time.Now()
		})
		if err != nil && !late {
			t.Fatal(err)
		}
		return err // else nobody may have asked in time: once more
	})
}

// quietRoom goes through it. Whenever it has asked it calls asked.
func quietRoom(t *testing.T, b *wsctlnats.Broker, room string, asked func()) error {
	t.Helper()
	l := listen(t, b, room)
	if err := b.PublishKeep(within(t), room, []byte("one"), wsctl.Retention{Messages: 10}); err != nil {
		return err
	}
	asked()
	pos := l.take(1)[0].pos
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); <-ticker.C {
		_, now, ok := since(t, b, room, pos)
		if asked(); !ok || now != pos {
			return fmt.Errorf("Since(%s) = %s, %v", pos, now, ok)
		}
	}
	_, _, ok := since(t, b, room, epoch(pos)+".0")
	if asked(); ok {
		return errors.New("a message is kept for ever")
	}
	if err := b.PublishKeep(within(t), room, []byte("two"), wsctl.Retention{Messages: 10}); err != nil {
		return err
	}
	texts, now, ok := since(t, b, room, pos)
	if asked(); !ok || len(texts) != 1 || now != epoch(pos)+".2" {
		return fmt.Errorf("Since(%s) = %q, %s, %v", pos, texts, now, ok)
	}
	l.take(2)
	return nil
}

// TestShortAge has messages be kept for less than the 5 minutes for which a position must stay after it was asked for.
func TestShortAge(t *testing.T) {
	srv := newServer(t, nil)
	b := connect(t, srv.url(), &wsctlnats.Options{MaxAge: time.Second})
	_, birth, _ := since(t, b, "room", "")
	if err := b.PublishKeep(within(t), "room", []byte("one"), wsctl.Retention{Messages: 10}); err != nil {
		t.Fatal(err)
	}
	_, pos, _ := since(t, b, "room", "")
	eventually(t, func() error {
		if _, _, ok := since(t, b, "room", birth); ok {
			return errors.New("a message is kept for ever")
		}
		return nil
	})
	if _, now, ok := since(t, b, "room", pos); !ok || now != pos {
		t.Errorf("Since(%s) = %s, %v", pos, now, ok)
	}
	js, done := jetStream(t, srv)
	defer done()
	s, err := js.Stream(within(t), "wsctl")
	if err != nil {
		t.Fatal(err)
	}
	if age := s.CachedInfo().Config.MaxAge; age != 10*time.Minute {
		t.Errorf("the stream keeps positions for %v", age)
	}
}
