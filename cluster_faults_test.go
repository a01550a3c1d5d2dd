package wsctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/wsctltest"
)

// The last handler may be shut down while a Join asks the history.
func TestStopDuringFind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := wsctltest.NewBroker()
		hub := &wsctl.Hub{Broker: b, History: keepTen}
		var joiner sync.WaitGroup
		result := make(chan string, 1)
		ctl := &kit{opened: func(s *wsctl.Socket, _ *http.Request) error {
			joiner.Add(1)
			go func() { // an application's own goroutine
				defer joiner.Done()
				defer func() {
					if p := recover(); p != nil {
						result <- fmt.Sprint("panic: ", p)
					}
				}()
				result <- fmt.Sprint(s.Join("k"))
			}()
			return nil
		}}
		h, _ := newHandler(t, ctl, &wsctl.Options{Hub: hub, Resume: -1})
		c := wsctltest.Dial(t, h, nil)
		told(c, t, "k")
		<-result
		if err := hub.Room("k").Send("said", "1"); err != nil {
			t.Fatal(err)
		}
		expectSaid(c, t, "1")
		c.Cut()
		synctest.Wait()
		_ = hub.Room("k").Send("said", "2")
		synctest.Wait()
		b.Calls(func(ctx context.Context, method, _ string, call func() error) error {
			if method == "Since" {
				<-ctx.Done()
				return ctx.Err()
			}
			return call()
		})
		c.Reconnect()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = h.Shutdown(ctx)
		if got := <-result; strings.HasPrefix(got, "panic") {
			t.Error(got)
		}
		joiner.Wait()
	})
}

// slowStop is a broker whose unsubscribing takes its time.
type slowStop struct {
	*wsctltest.Broker
	hold  atomic.Bool
	stops chan struct{}
}

func (b *slowStop) Subscribe(ctx context.Context, topic string, deliver func(string, []byte)) (func(), error) {
	stop, err := b.Broker.Subscribe(ctx, topic, deliver)
	if err != nil {
		return nil, err
	}
	return func() {
		if b.hold.Load() {
			<-b.stops
		}
		stop()
	}, nil
}

// Who joins a room whose topic is just being left gets everything once.
func TestTopicGoneDelivers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &slowStop{Broker: wsctltest.NewBroker(), stops: make(chan struct{})}
		n := newNode(t, &wsctl.Hub{Broker: b}, wsctl.Options{})
		c := wsctltest.Dial(t, n.handler, nil)
		if err := c.Call("Join", "r", nil); err != nil {
			t.Fatal(err)
		}
		c.Send("Leave", "r")
		b.hold.Store(true)
		time.Sleep(12 * time.Second) // the topic is gone, its subscription is about to end
		if err := c.Call("Join", "r", nil); err != nil {
			t.Fatal(err)
		}
		defer func() { b.hold.Store(false); close(b.stops) }()
		say(t, n.hub.Room("r"), "1")
		expectSaid(c, t, "1")
		c.Quiet()
	})
}

// A note that a member is to be told its position may outlive the topic: it is told the room's position of now.
func TestStaleOldTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, n1, n2 := twoNodes(t, wsctl.Options{})
		c := wsctltest.Dial(t, n1.handler, nil) // PingInterval: 25 s
		joined(c, t, "k")
		c.Send("Others", said{"k", "1"}) // due in 25 s
		synctest.Wait()
		c.Send("Leave", "k")
		told(c, t, "k")
		time.Sleep(12 * time.Second) // the topic is left
		say(t, n2.hub.Room("k"), "2", "3")
		joined(c, t, "k")
		say(t, n2.hub.Room("k"), "4")
		expectSaid(c, t, "4")
		c.Send("Others", said{"k", "5"})
		time.Sleep(20 * time.Second)
		if pos, _ := told(c, t, "k"); offset(pos) != "5" {
			t.Errorf("at %s", pos)
		}
		c.Reconnect()
		joined(c, t, "k")
		c.Quiet()
	})
}

// A node beats also where too much waits to be told to others.
func TestBeatStuck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		a := wsctltest.Dial(t, n1.handler, &wsctltest.Options{Token: "ann"})
		c := wsctltest.Dial(t, n2.handler, &wsctltest.Options{Token: "bob"})
		_ = a
		time.Sleep(5 * time.Second)
		release := make(chan struct{})
		b1.Calls(func(ctx context.Context, method, topic string, call func() error) error {
			if method == "Publish" {
				<-release
			}
			return call()
		})
		// As many clients come with sessions of a node that has died, as may wait, here: as many questions.
		for i := range 10_100 {
			ask := "\xf5w\x01\x06\x01X" + string([]byte{byte(i%127 + 1)}) + "\x04\x00" + string([]byte{byte(i%127 + 1)}) + "\x00\x00"
			if err := b1.Node().Publish(t.Context(), "a", []byte(ask)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * time.Second) // less than nodeDies
		b1.Calls(nil)
		close(release)
		time.Sleep(time.Minute)
		members, err := n2.hub.Everyone().Members(t.Context())
		if err != nil || len(members) != 2 {
			t.Errorf("a minute later: %v, %v", members, err)
		}
		_ = c
	})
}

// A look whether a quiet room has missed something doesn't stop it where the history can't be asked.
func TestCheckStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b1, _, n1, n2 := twoNodes(t, wsctl.Options{})
		c := wsctltest.Dial(t, n1.handler, nil)
		joined(c, t, "k")
		say(t, n2.hub.Room("k"), "1")
		expectSaid(c, t, "1")
		b1.Calls(func(_ context.Context, method, topic string, call func() error) error {
			if method == "Since" {
				return errors.New("no permission")
			}
			return call()
		})
		say(t, n2.hub.Room("k"), "2")
		expectSaid(c, t, "2")
		time.Sleep(2 * time.Minute)
		say(t, n2.hub.Room("k"), "3")
		expectSaid(c, t, "3")
	})
}

// A gap that is more than members' queues take closes nobody: they are told.
func TestGapTooBig(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, b2, n1, n2 := twoNodes(t, wsctl.Options{SendBuffer: 64 << 10})
		var all []*wsctltest.Client
		for range 5 {
			c := wsctltest.Dial(t, n2.handler, nil)
			joined(c, t, "k")
			all = append(all, c)
		}
		b2.Cut()
		for range 10 {
			say(t, n1.hub.Room("k"), strings.Repeat("x", 20_000))
		}
		b2.Reconnect()
		for _, c := range all {
			if _, recovered := told(c, t, "k"); recovered != "false" {
				t.Error(recovered)
			}
			c.Quiet()
		}
	})
}

// countedBroker counts the subscriptions that are not ended.
type countedBroker struct {
	*wsctltest.Broker
	open atomic.Int32
}

func (b *countedBroker) Subscribe(ctx context.Context, topic string, deliver func(string, []byte)) (func(), error) {
	stop, err := b.Broker.Subscribe(ctx, topic, deliver)
	if err != nil {
		return nil, err
	}
	b.open.Add(1)
	var once sync.Once
	return func() { once.Do(func() { b.open.Add(-1); stop() }) }, nil
}

// A subscription that is made while the last handler ends is ended.
func TestOpeningAtStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &countedBroker{Broker: wsctltest.NewBroker()}
		hub := &wsctl.Hub{Broker: b}
		joined := make(chan error, 1)
		ctl := &kit{}
		ctl.now = func(s *wsctl.Socket, _ json.RawMessage) (any, error) {
			err := s.Join("r")
			joined <- err
			return nil, err
		}
		h, _ := newHandler(t, ctl, &wsctl.Options{Hub: hub, Resume: -1})
		c := wsctltest.Dial(t, h, nil)
		b.Calls(func(_ context.Context, method, _ string, call func() error) error {
			err := call()
			if method == "Subscribe" {
				time.Sleep(2 * time.Second) // made, and the answer comes late
			}
			return err
		})
		c.Send("Now", nil)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = h.Shutdown(ctx)
		<-joined
		time.Sleep(time.Minute)
		if n := b.open.Load(); n > 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

// A Hub that is asked after Shutdown subscribes to nothing.
func TestHubAfterShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &countedBroker{Broker: wsctltest.NewBroker()}
		hub := &wsctl.Hub{Broker: b}
		h, _ := newHandler(t, &kit{}, &wsctl.Options{Hub: hub, Resume: -1})
		_ = wsctltest.Dial(t, h, nil)
		_ = h.Shutdown(t.Context())
		if n := b.open.Load(); n > 0 {
			t.Fatalf("%d subscriptions after Shutdown", n)
		}
		_, _ = hub.Room("r").Members(t.Context())
		time.Sleep(time.Minute)
		if n := b.open.Load(); n > 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

// Joins keep to HistoryBuffer as well: an empty room costs memory, too.
func TestJoinsUnbounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hub := &wsctl.Hub{History: func(string) wsctl.Retention { return wsctl.Retention{Messages: 10} }, HistoryBuffer: 64 << 10}
		n := newNode(t, hub, wsctl.Options{})
		c := wsctltest.Dial(t, n.handler, nil)
		for i := range 2000 {
			room := fmt.Sprint(i)
			joined(c, t, room)
			c.Send("Leave", room)
			told(c, t, room)
		}
		time.Sleep(20 * time.Second)
		if b := n.handler.Stats().HistoryBytes; b > 64<<10 {
			t.Errorf("HistoryBytes is %d", b)
		}
	})
}

// A handler that is made on the hub while the last one ends hears everything.
func TestNewDuringStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := wsctltest.NewBroker()
		other := newNode(t, &wsctl.Hub{Broker: b.Node()}, wsctl.Options{})
		hub := &wsctl.Hub{Broker: b}
		h, _ := newHandler(t, doorman{}, &wsctl.Options{Hub: hub, Resume: -1})
		_ = wsctltest.Dial(t, h, nil)
		b.Calls(func(_ context.Context, method, _ string, call func() error) error {
			if method == "Publish" {
				time.Sleep(time.Second)
			}
			return call()
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = h.Shutdown(context.Background())
		}()
		time.Sleep(500 * time.Millisecond) // it says goodbye
		next := newNode(t, hub, wsctl.Options{})
		c := wsctltest.Dial(t, next.handler, nil)
		if err := c.Call("Join", "r", nil); err != nil {
			t.Fatal(err)
		}
		<-done
		b.Calls(nil)
		time.Sleep(time.Minute)
		say(t, other.hub.Room("r"), "1")
		expectSaid(c, t, "1")
	})
}

// A subscription that doesn't end holds back nothing else that the node does.
func TestHungStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &slowStop{Broker: wsctltest.NewBroker(), stops: make(chan struct{})}
		n1 := newNode(t, &wsctl.Hub{Broker: b}, wsctl.Options{})
		n2 := newNode(t, &wsctl.Hub{Broker: b.Node()}, wsctl.Options{})
		c := crowd(t, n1, "left", 1)[0]
		v := watchRoom(t, n1.hub.Room("r"))
		crowd(t, n2, "r", 1)
		b.hold.Store(true)
		c.Send("Leave", "left")
		time.Sleep(time.Minute) // its subscription is about to end
		crowd(t, n2, "r", 1)
		time.Sleep(20 * time.Second)
		if v.size() != 2 {
			t.Errorf("the watcher knows of %d members, not 2", v.size())
		}
		b.hold.Store(false)
		close(b.stops)
		v.cancel()
		synctest.Wait()
	})
}
