//go:build unix

package wsctlredis_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
)

// The benchmarks have a redis-server of their own on the same machine, and messages of 200 bytes.

var benchMessage = []byte(strings.Repeat("x", 200))

// benchDelivery sends messages one after the other, each when the one before was delivered to another node.
func benchDelivery(b *testing.B, send func(n wsctl.HistoryBroker) error) {
	s := startServer(b)
	from, to := s.open(nil), s.open(nil)
	delivered := make(chan struct{}, 1)
	stop, err := to.Subscribe(b.Context(), "room", func(string, []byte) { delivered <- struct{}{} })
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	b.ReportAllocs()
	for b.Loop() {
		if err := send(from); err != nil {
			b.Fatal(err)
		}
		<-delivered
	}
}

// benchThroughput has 64 senders at once, and waits until all was delivered.
func benchThroughput(b *testing.B, send func(n wsctl.HistoryBroker) error) {
	s := startServer(b)
	from, to := s.open(nil), s.open(nil)
	delivered := make(chan struct{}, 1<<20)
	stop, err := to.Subscribe(b.Context(), "room", func(string, []byte) { delivered <- struct{}{} })
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := send(from); err != nil {
				b.Error(err)
			}
		}
	})
	for range b.N {
		<-delivered
	}
}

func publish(n wsctl.HistoryBroker) error {
	return n.Publish(context.Background(), "room", benchMessage)
}

func publishKept(n wsctl.HistoryBroker) error {
	return n.PublishKeep(context.Background(), "room", benchMessage, wsctl.Retention{Messages: 100, Age: time.Hour})
}

func BenchmarkPublishDeliver(b *testing.B)        { benchDelivery(b, publish) }
func BenchmarkPublishKeepDeliver(b *testing.B)    { benchDelivery(b, publishKept) }
func BenchmarkPublishThroughput(b *testing.B)     { benchThroughput(b, publish) }
func BenchmarkPublishKeepThroughput(b *testing.B) { benchThroughput(b, publishKept) }

// BenchmarkSince asks for so many messages.
func BenchmarkSince(b *testing.B) {
	for _, messages := range []int{0, 10, 100, 1000} {
		b.Run(strconv.Itoa(messages), func(b *testing.B) {
			n := startServer(b).open(nil)
			for range 1001 {
				if err := n.PublishKeep(b.Context(), "room", benchMessage, wsctl.Retention{Messages: 1001}); err != nil {
					b.Fatal(err)
				}
			}
			_, newest, _ := since(b, n, "room", "")
			pos := epoch(newest) + "." + strconv.Itoa(1001-messages)
			b.ReportAllocs()
			for b.Loop() {
				if msgs, _, _, err := n.Since(b.Context(), "room", pos); err != nil || len(msgs) != messages {
					b.Fatal(len(msgs), err)
				}
			}
		})
	}
}

// BenchmarkSubscribe subscribes and unsubscribes a topic.
func BenchmarkSubscribe(b *testing.B) {
	n := startServer(b).open(nil)
	b.ReportAllocs()
	for b.Loop() {
		stop, err := n.Subscribe(b.Context(), "room", func(string, []byte) {})
		if err != nil {
			b.Fatal(err)
		}
		stop()
	}
}
