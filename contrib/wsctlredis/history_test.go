//go:build unix

package wsctlredis_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

// TestStranger has somebody else write to our channels and keys.
func TestStranger(t *testing.T) {
	s := startServer(t)
	a := s.open(&wsctlredis.Options{Prefix: "app"})
	in := subscribe(t, a, "room")
	for _, text := range []string{"", "x", "nospace", "no.position x", "e.x y", "é.1 x", ".1 x", strings.Repeat("\x00", 100), strings.Repeat("a", 200) + ".1 x"} {
		s.must("PUBLISH", "app:{room}", text)
	}
	s.must("PUBLISH", "app:{room}", " may be ours")
	in.has("may be ours")
	if got := in.all(); len(got) != 1 {
		t.Errorf("got %v", got)
	}

	s.must("SET", "app:{room}:h", "x")
	if _, _, _, err := a.Since(t.Context(), "room", ""); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("Since with a key of another type: %v", err)
	}
	if err := a.PublishKeep(t.Context(), "room", []byte("x"), keep); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("PublishKeep with a key of another type: %v", err)
	}
	s.must("DEL", "app:{room}:h")
	publishKeep(t, a, "room", "1")
	s.must("SET", "app:{room}:s", "x") // a stream no more
	if err := a.PublishKeep(t.Context(), "room", []byte("x"), keep); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("PublishKeep with a key of another type: %v", err)
	}
	s.must("DEL", "app:{room}:s")
	publishKeep(t, a, "room", "2")
	if pos := in.has("2"); !strings.HasSuffix(pos, ".2") {
		t.Errorf("after a failure the position is %s", pos)
	}
	for field, value := range map[string]string{"o": "x", "t": "", "a": "y", "e": "not an epoch"} {
		s.must("DEL", "app:{room}:h")
		_, before, _ := since(t, a, "room", "")
		s.must("HSET", "app:{room}:h", field, value)
		_, newest, _, err := a.Since(t.Context(), "room", before)
		if field == "e" && err == nil || field != "e" && (err != nil || epoch(newest) == epoch(before)) {
			t.Errorf("Since with %s = %q: %s, %v", field, value, newest, err)
		}
	}
	s.must("DEL", "app:{room}:h")
	publishKeep(t, a, "room", "3")
	before := in.has("3")
	publishKeep(t, a, "room", "4")
	s.must("XADD", "app:{room}:s", "*", "f", "v")
	if texts, newest, ok := since(t, a, "room", before); ok {
		t.Errorf("Since(%s) with a stranger's entry: %q, %s", before, texts, newest)
	}
}

// TestEmpty has a topic that Redis can't have.
func TestEmpty(t *testing.T) {
	a := startServer(t).open(nil)
	if err := a.Publish(t.Context(), "", []byte("x")); err == nil {
		t.Error("Publish succeeds")
	}
	if err := a.PublishKeep(t.Context(), "", []byte("x"), keep); err == nil {
		t.Error("PublishKeep succeeds")
	}
	if _, _, _, err := a.Since(t.Context(), "", ""); err == nil {
		t.Error("Since succeeds")
	}
	if _, err := a.Subscribe(t.Context(), "", func(string, []byte) {}); err == nil {
		t.Error("Subscribe succeeds")
	}
}

func TestPrefix(t *testing.T) {
	s := startServer(t)
	a, b := s.open(&wsctlredis.Options{Prefix: "a"}), s.open(&wsctlredis.Options{Prefix: "b"})
	in := subscribe(t, a, "room")
	publishKeep(t, b, "room", "b's")
	publishKeep(t, a, "room", "a's")
	in.has("a's")
	if got := in.all(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestLarge keeps messages of 1 MiB.
func TestLarge(t *testing.T) {
	s := startServer(t)
	a, b := s.open(nil), s.open(nil)
	in := subscribe(t, b, "room")
	_, birth, _ := since(t, a, "room", "")
	text := string(bytes.Repeat([]byte("\x00\r\n\xff"), 1<<18))
	for i := range 3 {
		publishKeep(t, a, "room", fmt.Sprint(i, text))
	}
	in.has("2" + text)
	texts, _, ok := since(t, b, "room", birth)
	if !ok || len(texts) != 3 || texts[1] != "1"+text {
		t.Errorf("Since: %d messages, %v", len(texts), ok)
	}
}

// TestRetention looks at what is in Redis.
func TestRetention(t *testing.T) {
	s := startServer(t)
	a := s.open(nil)
	in := subscribe(t, a, "room")
	for _, test := range []struct {
		keep   wsctl.Retention
		length string // of the stream, of 20 messages
		life   time.Duration
	}{
		{wsctl.Retention{Messages: 7}, "7", 15 * time.Minute},
		{wsctl.Retention{Messages: 1, Age: time.Hour}, "1", time.Hour + 10*time.Minute},
		{wsctl.Retention{Age: time.Minute}, "20", 15 * time.Minute},
		{wsctl.Retention{Messages: 100, Age: 100 * 365 * 24 * time.Hour}, "20", 100*365*24*time.Hour + 10*time.Minute},
		{wsctl.Retention{Messages: 100, Age: math.MaxInt64 - time.Hour}, "20", math.MaxInt64 - time.Hour + 10*time.Minute},
		{wsctl.Retention{Messages: 100, Age: time.Nanosecond}, "", 15 * time.Minute},
		{wsctl.Retention{}, "0", 15 * time.Minute},
		{wsctl.Retention{Messages: -5, Age: -5}, "0", 15 * time.Minute},
	} {
		s.must("FLUSHALL")
		for i := range 20 {
			if err := a.PublishKeep(t.Context(), "room", fmt.Append(nil, test.keep, i), test.keep); err != nil {
				t.Fatal(err)
			}
		}
		last := in.has(fmt.Sprint(test.keep, 19))
		if length := s.must("XLEN", "wsctl:{room}:s"); length != test.length && test.length != "" {
			t.Errorf("of %v there are %s messages, want %s", test.keep, length, test.length)
		}
		for _, key := range []string{"wsctl:{room}:s", "wsctl:{room}:h"} {
			s.must("PEXPIRE", key, "1000")
		}
		if _, newest, ok := since(t, a, "room", last); !ok || newest != last {
			t.Errorf("Since(%s) = %s, %v", last, newest, ok)
		}
		for _, key := range []string{"wsctl:{room}:s", "wsctl:{room}:h"} { // asking prolongs
			n, _ := strconv.ParseInt(s.must("PTTL", key), 10, 64)
			if life := time.Duration(n) * time.Millisecond; life > test.life || life < test.life-time.Minute {
				t.Errorf("%v: %s lives for %v, want %v", test.keep, key, life, test.life)
			}
		}
	}
}

// TestForget has messages of long ago, which aren't kept for ever where nobody reads.
func TestForget(t *testing.T) {
	s := startServer(t)
	a := s.open(nil)
	for _, test := range []struct {
		old  int
		age  time.Duration // that the room had
		left string        // of the stream, after one more message of age one hour
	}{
		{15, time.Hour, "1"},
		{14, time.Hour, "15"}, // they are looked for now and then
		{14, time.Second, "1"},
		{14, 0, "15"},
	} {
		s.must("FLUSHALL")
		_, _, _ = since(t, a, "room", "")
		s.must("HSET", "wsctl:{room}:h", "o", strconv.Itoa(test.old), "t", "1", "a", strconv.FormatInt(test.age.Milliseconds(), 10))
		for i := range test.old {
			s.must("XADD", "wsctl:{room}:s", fmt.Sprint("1-", i+1), "i", "", "m", "old")
		}
		if err := a.PublishKeep(t.Context(), "room", []byte("new"), wsctl.Retention{Age: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if left := s.must("XLEN", "wsctl:{room}:s"); left != test.left {
			t.Errorf("of %d messages of age %v, and one, %s are left, want %s", test.old, test.age, left, test.left)
		}
		_, newest, _ := since(t, a, "room", "")
		if texts, _, ok := since(t, a, "room", fmt.Sprint(epoch(newest), ".", test.old)); !ok || len(texts) != 1 {
			t.Errorf("Since: %q, %v", texts, ok)
		}
		if _, _, ok := since(t, a, "room", fmt.Sprint(epoch(newest), ".", test.old-1)); ok {
			t.Error("an old message is there")
		}
	}
}

// TestExpiry has a history end of itself: what comes after has another epoch.
func TestExpiry(t *testing.T) {
	s := startServer(t)
	a := s.open(nil)
	in := subscribe(t, a, "room")
	publishKeep(t, a, "room", "1")
	first := in.has("1")
	s.must("PEXPIREAT", "wsctl:{room}:h", "1")
	publishKeep(t, a, "room", "2")
	if pos := in.has("2"); epoch(pos) == epoch(first) || !strings.HasSuffix(pos, ".1") {
		t.Errorf("position %s after %s, which has expired", pos, first)
	}
	if length := s.must("XLEN", "wsctl:{room}:s"); length != "1" {
		t.Errorf("of two epochs there are %s messages", length)
	}
	// The stream is evicted alone.
	second := in.has("2")
	s.must("DEL", "wsctl:{room}:s")
	publishKeep(t, a, "room", "3")
	publishKeep(t, a, "room", "4")
	if texts, _, ok := since(t, a, "room", second); !ok || len(texts) != 2 {
		t.Errorf("Since(%s) = %q, %v", second, texts, ok)
	}
	if _, _, ok := since(t, a, "room", epoch(second)+".0"); ok {
		t.Error("a message that was evicted is there")
	}
}

// TestClock has the clock of the server go back: the order and the offsets stay.
func TestClock(t *testing.T) {
	s := startServer(t)
	a := s.open(nil)
	in := subscribe(t, a, "room")
	publishKeep(t, a, "room", "1")
	before := in.has("1")
	// As if it had gone an hour ahead before, for one message.
	future := strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
	s.must("HSET", "wsctl:{room}:h", "t", future, "o", "2")
	s.must("XADD", "wsctl:{room}:s", future+"-2", "i", "x", "m", "2")
	publishKeep(t, a, "room", "3")
	if pos := in.has("3"); pos != epoch(before)+".3" {
		t.Errorf("position %s after %s and another", pos, before)
	}
	if texts, newest, ok := since(t, a, "room", before); !ok || fmt.Sprint(texts) != "[2 3]" {
		t.Errorf("Since(%s) = %q, %s, %v", before, texts, newest, ok)
	}
}

// TestDemoted has the server become a replica, without its cutting connections.
func TestDemoted(t *testing.T) {
	s, other := startServer(t), startServer(t)
	a := s.open(nil)
	in := subscribe(t, a, "room")
	publishKeep(t, a, "room", "1")
	first := in.has("1")
	s.must("REPLICAOF", "127.0.0.1", port(other.addr))
	if err := a.PublishKeep(t.Context(), "room", []byte("2"), keep); err == nil {
		t.Error("a replica has taken a message")
	}
	until(t, "the end of the connection", func() bool { return noSubscribers(s) })
	s.must("REPLICAOF", "NO", "ONE")
	in.noticed(1)
	publishKeep(t, a, "room", "3")
	if pos := in.has("3"); epoch(pos) == epoch(first) {
		t.Errorf("the epoch is still that of %s", first)
	}
}

// TestChurn subscribes and unsubscribes few topics all the time: who is subscribed gets what is published then.
func TestChurn(t *testing.T) {
	s := startServer(t)
	a, b := s.open(nil), s.open(nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				topic, text := fmt.Sprint("room", i%3), fmt.Sprint(g, ":", i)
				got := make(chan struct{})
				var once sync.Once
				stop, err := b.Subscribe(t.Context(), topic, func(_ string, msg []byte) {
					if string(msg) == text {
						once.Do(func() { close(got) })
					}
				})
				if err != nil {
					t.Error(err)
					return
				}
				if err := a.Publish(t.Context(), topic, []byte(text)); err != nil {
					t.Error(err)
				}
				select {
				case <-got:
				case <-time.After(patience):
					t.Errorf("message %s was missed", text)
				}
				stop()
			}
		})
	}
	wg.Wait()
	until(t, "the end of the subscriptions", func() bool { return noSubscribers(s) })
}

// TestManyTopics has the connection of many subscriptions killed.
func TestManyTopics(t *testing.T) {
	const topics = 3000
	s := startServer(t)
	a := s.open(nil)
	var wg sync.WaitGroup
	noticed, got := make(chan string, topics), make(chan string, topics)
	for i := range topics {
		wg.Go(func() {
			topic := strconv.Itoa(i)
			if _, err := a.Subscribe(t.Context(), topic, func(_ string, msg []byte) {
				if msg == nil {
					noticed <- topic
				} else {
					got <- string(msg)
				}
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.must("CLIENT", "KILL", "TYPE", "pubsub")
	seen := make(map[string]bool)
	for range topics {
		topic := <-noticed
		if err := a.Publish(t.Context(), topic, []byte(topic)); err != nil {
			t.Fatal(err)
		}
	}
	for range topics {
		seen[<-got] = true
	}
	if len(seen) != topics {
		t.Errorf("%d of %d topics got their message", len(seen), topics)
	}
}

// TestClose leaves nothing behind, whatever is going on.
func TestClose(t *testing.T) {
	s := startServer(t)
	before := runtime.NumGoroutine()
	a := s.open(nil)
	var stops []func()
	for i := range 50 {
		stop, err := a.Subscribe(t.Context(), fmt.Sprint(i), func(string, []byte) {})
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, stop)
		publishKeep(t, a, fmt.Sprint(i), "x")
	}
	stops[0]()
	waiting := make(chan error, 2)
	s.pause()
	go func() { // calls that wait
		_, err := a.Subscribe(context.Background(), "other", func(string, []byte) { t.Error("delivered") })
		waiting <- err
	}()
	go func() { waiting <- a.PublishKeep(context.Background(), "0", []byte("y"), keep) }()
	start := time.Now()
	a.Close()
	a.Close()
	t.Log("closed in", time.Since(start))
	s.resume()
	for range 2 {
		if err := <-waiting; err == nil {
			t.Log("a call has succeeded") // the server had it before it was paused
		}
	}
	for _, stop := range stops {
		stop()
	}
	if err := a.Publish(t.Context(), "0", []byte("x")); err == nil {
		t.Error("Publish succeeds after Close")
	}
	if _, err := a.Subscribe(t.Context(), "0", func(string, []byte) {}); err == nil {
		t.Error("Subscribe succeeds after Close")
	}
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			stack := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stack[:runtime.Stack(stack, true)])
		}
	}
}

// TestOptions are those that New refuses.
func TestOptions(t *testing.T) {
	s := startServer(t, "--requirepass", "secret")
	var opts rueidis.ClientOption
	for _, prefix := range []string{"{", "a}", "a{b}"} {
		if b, err := wsctlredis.New(opts, &wsctlredis.Options{Prefix: prefix}); err == nil {
			b.Close()
			t.Errorf("prefix %q is accepted", prefix)
		}
	}
	for _, opts.Password = range []string{"", "wrong"} {
		for _, opts.InitAddress = range [][]string{nil, {s.addr}} {
			if b, err := wsctlredis.New(opts, nil); err == nil {
				b.Close()
				t.Errorf("%v with password %q is accepted", opts.InitAddress, opts.Password)
			}
		}
	}
	for _, addr := range []string{"localhost", "redis://" + s.addr} {
		if b, err := wsctlredis.New(rueidis.ClientOption{InitAddress: []string{addr}}, nil); err == nil {
			b.Close()
			t.Errorf("address %q is accepted", addr)
		}
	}
	opts.Password = "secret"
	publishKeep(t, connect(t, opts, nil), "room", "x")
}
