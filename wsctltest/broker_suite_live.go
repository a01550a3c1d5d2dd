package wsctltest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/wsctl/wsctl"
)

func testNodes(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	if s.alone {
		t.Skip("wsctltest: TestBroker: the brokers that open returns aren't connected to each other, so nothing is tested between nodes")
	}
	topic := newTopic()
	x, y := listen(t, a, topic), listen(t, b, topic)
	must(t, live(a, topic, "of a"))
	x.expect("of a") // its own
	y.expect("of a")
	must(t, live(b, topic, "of b"))
	x.expect("of a", "of b")
	y.expect("of a", "of b")
}

func testOrder(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	topic := newTopic()
	x, y := listen(t, a, topic), listen(t, b, topic)
	publish(t, a, b, topic, 1, 500, live)
	ordered(t, x.await(500), 1, 500)
	ordered(t, y.await(500), 1, 500)
}

func testPublishers(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	topic := newTopic()
	x, y := listen(t, a, topic), listen(t, b, topic)
	publish(t, a, b, topic, 4, 100, live)
	ordered(t, x.await(400), 4, 100)
	ordered(t, y.await(400), 4, 100)
}

// testSubscriptions has several subscriptions of one topic on one node.
func testSubscriptions(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	topic := newTopic()
	x, y, z := listen(t, b, topic), listen(t, b, topic), listen(t, b, topic)
	must(t, live(a, topic, "1"))
	for _, l := range []*listener{x, y, z} {
		l.expect("1")
	}
	y.end()
	must(t, live(a, topic, "2"))
	x.expect("1", "2")
	z.expect("1", "2")
	again := listen(t, b, topic)
	x.end()
	z.end()
	must(t, live(a, topic, "3"))
	again.expect("3")
	y.expect("1")
}

// testSubscribed publishes at once when Subscribe has returned, to new topics and to one that is subscribed again and again.
func testSubscribed(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	same, told := newTopic(), 0
	for i := range 100 {
		topic := same
		if i%2 == 0 {
			topic = newTopic()
		}
		l, text := listen(t, b, topic), fmt.Sprint(i)
		must(t, live(a, topic, text))
		if !l.wait(patience, func() bool { return len(l.log) > 0 }) {
			t.Fatalf("message %d, published when Subscribe had returned, hasn't come", i)
		}
		if got := l.texts(); len(got) == 0 {
			told++
		} else {
			l.expect(text)
		}
		l.end()
	}
	if told > 0 {
		t.Logf("%d of 100 subscriptions said at once that messages may have been missed", told)
	}
}

// testStop stops while messages come, some of which wait.
func testStop(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	topic := newTopic()
	witness, n := listen(t, b, topic), 0
	send := func() {
		n++
		must(t, live(a, topic, fmt.Sprint(n)))
	}
	for range 10 {
		l := listen(t, b, topic)
		l.shut()
		for range 20 {
			send()
		}
		l.await(1)
		witness.await(n)
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.stop() // it may wait for the call that runs
			l.stopped.Store(true)
		}()
		l.open()
		<-done
		send()
		last := fmt.Sprint(n)
		witness.await(n)
		l.end()
		for _, text := range l.texts() {
			if text == last {
				t.Fatal("a message came that was published after stop")
			}
		}
	}
}

// testSlow has a deliver on each node that doesn't return.
func testSlow(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	topic, other := newTopic(), newTopic()
	slow := []*listener{listen(t, a, topic), listen(t, b, topic)}
	for _, l := range slow {
		l.shut()
		defer l.open() // before any stop, which may wait
	}
	quick := []*listener{listen(t, a, topic), listen(t, b, topic), listen(t, a, other), listen(t, b, other)}
	publish(t, a, b, topic, 1, 50, live)
	publish(t, a, b, other, 1, 50, live)
	for _, l := range quick {
		ordered(t, l.await(50), 1, 50)
	}
	for _, l := range slow {
		if n := len(l.await(1)); n > 1 {
			t.Errorf("%d calls of deliver, the first of which runs", n)
		}
		l.open()
		ordered(t, l.await(50), 1, 50)
	}
}

// sizes are messages of one byte each, of all bytes, and a large one.
func sizes() []string {
	var texts []string
	var all strings.Builder
	for c := range 256 {
		texts = append(texts, string([]byte{byte(c)}))
		all.WriteByte(byte(c))
	}
	large := make([]byte, 512<<10)
	_, _ = rand.Read(large)
	return append(texts, all.String(), string(large), "end")
}

func testSizes(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	topic := newTopic()
	x, y := listen(t, a, topic), listen(t, b, topic)
	texts := sizes()
	for _, text := range texts {
		must(t, live(a, topic, text))
	}
	x.expect(texts...)
	y.expect(texts...)
}

// oddTopics are topics that mustn't be taken for one another: name them what they may, brokers have patterns, separators,
// encodings and case of their own.
func oddTopics() []string {
	base := newTopic()
	long := base + strings.Repeat("x", 160-len(base))
	topics := []string{
		base, base + base, strings.ToLower(base), base[:len(base)-1], "$SYS." + base, "_INBOX." + base,
		"\x00" + base, " " + base, "{" + base + "}", "{}" + base, "a{" + base + "}b", "\xff" + base, base + "\xe2\x82",
		long, long[:159], long[:159] + "y", long[:159] + "\x00", strings.Repeat("\xff", 160-len(base)) + base,
	}
	for _, end := range []string{
		".a", "*a", ">a", "?a", ".", "..", "*", ">", ".*", ".>", "?", "[a]", "a", "A", "a ", " a", "a\x00", "\x00", "\x00a", "{a}", "{a", "a}", "/a", "\\a",
		":a", "%", "%2e", "%2E", "_", "-", "=", "_2e", "\r\n", "\t", "é", "e\u0301", "\xff", "\xfe", "\xc3", "\"", "'", "🙂", "$", "#", "+", "(",
	} {
		topics = append(topics, base+end)
	}
	return topics
}

func testTopics(t *testing.T, s *brokerSuite) {
	a, b := s.nodes(t)
	topics := append(oddTopics(), "a", "A", " ", ".", "*", ">", "\x00", "\xff", "{", "}", "\n")
	token := rand.Text() // somebody else may use those of one byte
	var listeners []*listener
	for _, topic := range topics {
		listeners = append(listeners, listen(t, b, topic))
	}
	for _, text := range []string{"first", "last"} {
		for _, topic := range topics {
			must(t, live(a, topic, token+text+topic))
		}
	}
	for i, l := range listeners {
		var got []string
		l.wait(patience, func() bool {
			got = got[:0]
			for _, d := range l.got {
				if strings.HasPrefix(d.text, token) {
					got = append(got, d.text[len(token):])
				}
			}
			return len(got) >= 2
		})
		if len(got) != 2 || got[0] != "first"+topics[i] || got[1] != "last"+topics[i] {
			t.Fatalf("topic %q: got %q", topics[i], got)
		}
	}
}

// testContext calls with a ctx that is over.
func testContext(t *testing.T, s *brokerSuite) {
	a, _ := s.nodes(t)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	topic := newTopic()
	witness, l := listen(t, a, topic), newListener(t)
	calls := map[string]func() error{
		"Publish":   func() error { return a.Publish(over, newTopic(), []byte("x")) },
		"Subscribe": func() error { return l.subscribe(over, a, topic) },
	}
	if h, ok := a.(wsctl.HistoryBroker); ok {
		calls["PublishKeep"] = func() error { return h.PublishKeep(over, newTopic(), []byte("x"), keepAll) }
		calls["Since"] = func() error { _, _, _, err := h.Since(over, newTopic(), ""); return err }
	}
	for what, call := range calls {
		if err := soon(t, what, func(context.Context) error { return call() }); err == nil {
			t.Errorf("%s with a ctx that is over succeeds", what)
		}
	}
	must(t, live(a, topic, "1"))
	witness.expect("1")
}
