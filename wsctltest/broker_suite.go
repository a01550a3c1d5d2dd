package wsctltest

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
)

// TestBroker checks that a broker keeps the promises of [wsctl.Broker], and of [wsctl.HistoryBroker] if it is one. The module
// of a broker calls it from a test:
//
//	func TestConformance(t *testing.T) {
//		url := startServer(t)
//		wsctltest.TestBroker(t, func(t *testing.T) wsctl.Broker { return connect(t, url) })
//	}
//
// open returns the broker of another node each time, a connection of its own to one and the same server, which t.Cleanup
// closes. Each subtest calls it a few times. Where the nodes aren't connected to each other, each subtest makes do with one.
//
// What a broker does without its server is checked if the values that open returns have these methods as well:
//
//	// Away cuts the connection of this node, or stops the server, so that it can't be reached until back is called. Nothing
//	// that is kept gets lost. back returns when the server can be reached again, and is called once.
//	Away(t *testing.T) (back func())
//	// Forget has the server lose all that it keeps, and returns when it can be reached again.
//	Forget(t *testing.T)
//
// Topics are random, but for some of one byte. A topic keeps 1,000 messages at most, and a message has 512 KiB at most. One
// order for all subscribers, whoever publishes, is asked of PublishKeep alone.
func TestBroker(t *testing.T, open func(t *testing.T) wsctl.Broker) {
	s := &brokerSuite{open: open}
	for _, test := range brokerTests {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

// brokerTest is a subtest. Each can run in a bubble.
type brokerTest struct {
	name string
	run  func(t *testing.T, s *brokerSuite)
}

var brokerTests = []brokerTest{
	{"Nodes", testNodes},
	{"Order", testOrder},
	{"Publishers", testPublishers},
	{"Subscriptions", testSubscriptions},
	{"Subscribed", testSubscribed},
	{"Stop", testStop},
	{"Slow", testSlow},
	{"Sizes", testSizes},
	{"Topics", testTopics},
	{"Context", testContext},
	{"Away", testAway},
	{"History", testHistory},
	{"HistoryOrder", testHistoryOrder},
	{"HistoryReader", testHistoryReader},
	{"HistoryPositions", testHistoryPositions},
	{"HistoryMessages", testHistoryMessages},
	{"HistoryAge", testHistoryAge},
	{"HistoryTopics", testHistoryTopics},
	{"HistoryAway", testHistoryAway},
	{"HistoryForget", testHistoryForget},
}

const (
	callTime  = time.Second      // what a call gets that can't succeed
	grace     = 3 * time.Second  // how late such a call may return
	reconnect = 30 * time.Second // how long a broker may take to connect again
)

// keepAll keeps whatever a subtest publishes to a topic.
var keepAll = wsctl.Retention{Messages: 1000}

// brokerSuite opens the nodes of subtests.
type brokerSuite struct {
	open  func(t *testing.T) wsctl.Broker
	once  sync.Once
	alone bool // nodes aren't connected
}

// nodes opens two nodes, or returns one twice where they aren't connected.
func (s *brokerSuite) nodes(t *testing.T) (a, b wsctl.Broker) {
	t.Helper()
	a, b = s.open(t), s.open(t)
	s.once.Do(func() {
		topic := newTopic()
		l := listen(t, b, topic)
		for range 3 { // a single one may get lost
			must(t, live(a, topic, rand.Text()))
			if s.alone = !l.wait(time.Second, func() bool { return len(l.got) > 0 }); !s.alone {
				break
			}
		}
		l.end()
	})
	if s.alone {
		return a, a
	}
	return a, b
}

// historyNodes is nodes of brokers with history.
func (s *brokerSuite) historyNodes(t *testing.T) (a, b wsctl.HistoryBroker) {
	t.Helper()
	x, y := s.nodes(t)
	a, ok := x.(wsctl.HistoryBroker)
	if !ok {
		t.Skip("wsctltest: TestBroker: the broker keeps no history")
	}
	return a, y.(wsctl.HistoryBroker)
}

func newTopic() string { return "t" + rand.Text() }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("wsctltest: TestBroker: %v", err)
	}
}

// A sender publishes a message that must not fail.
type sender func(b wsctl.Broker, topic, text string) error

// live is the sender of Publish, kept that of PublishKeep. The buffer is the caller's again, and used for something else at once.
func live(b wsctl.Broker, topic, text string) error {
	return sendIn(patience, text, func(ctx context.Context, msg []byte) error { return b.Publish(ctx, topic, msg) })
}

func kept(b wsctl.Broker, topic, text string) error { return keptAs(b, topic, text, keepAll) }

func keptAs(b wsctl.Broker, topic, text string, keep wsctl.Retention) error {
	return sendIn(patience, text, func(ctx context.Context, msg []byte) error {
		return b.(wsctl.HistoryBroker).PublishKeep(ctx, topic, msg, keep)
	})
}

func sendIn(d time.Duration, text string, send func(ctx context.Context, msg []byte) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	msg := []byte(text)
	result := make(chan error, 1)
	go func() { result <- send(ctx, msg) }()
	timer := time.NewTimer(d + grace)
	defer timer.Stop()
	select {
	case err := <-result:
		for i := range msg {
			msg[i] = '!'
		}
		if err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("publishing hasn't returned %v after the end of its ctx: does it wait for deliver?", grace)
	}
}

// soon calls fn with a ctx that ends soon, and fails t if fn doesn't return then. It may be called from any goroutine.
func soon(t *testing.T, what string, fn func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- fn(ctx) }()
	timer := time.NewTimer(callTime + grace)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		t.Errorf("%s hasn't returned %v after the end of its ctx", what, grace)
		return context.DeadlineExceeded
	}
}

// publish has so many publishers send count messages each, all at once, by turns on a and b. They are numbered: "2:17".
func publish(t *testing.T, a, b wsctl.Broker, topic string, publishers, count int, send sender) {
	t.Helper()
	var wg sync.WaitGroup
	for p := range publishers {
		node := []wsctl.Broker{a, b}[p%2]
		wg.Go(func() {
			for i := range count {
				if err := send(node, topic, fmt.Sprintf("%d:%d", p, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// ordered fails the test unless texts are those of publish, and each publisher's in its order.
func ordered(t *testing.T, texts []string, publishers, count int) {
	t.Helper()
	next := make(map[string]int)
	for _, text := range texts {
		var p, i int
		if n, _ := fmt.Sscanf(text, "%d:%d", &p, &i); n != 2 {
			t.Fatalf("got %q, which nobody has published", text)
		}
		name := fmt.Sprint(p)
		if i != next[name] {
			t.Fatalf("got %q, want message %d of that publisher", text, next[name])
		}
		next[name]++
	}
	for p := range publishers {
		if n := next[fmt.Sprint(p)]; n != count {
			t.Fatalf("got %d messages of publisher %d, want %d", n, p, count)
		}
	}
}
