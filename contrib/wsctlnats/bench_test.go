package wsctlnats_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// payload is about what a hub sends for a line of chat.
var payload = []byte(fmt.Sprintf("%0200d", 0))

// receiver subscribes, and returns a channel of what comes.
func receiver(b *testing.B, broker wsctl.Broker) <-chan struct{} {
	b.Helper()
	got := make(chan struct{}, 1<<16)
	stop, err := broker.Subscribe(context.Background(), "room", func(pos string, msg []byte) { got <- struct{}{} })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(stop)
	return got
}

// BenchmarkLatency is the time from a message's publication on one node until another node has it.
func BenchmarkLatency(b *testing.B) {
	one := newServer(b, nil).url()
	memory := newServer(b, nil).url()
	three := urls(newCluster(b))
	for _, server := range []struct {
		name, url string
		opts      wsctlnats.Options
	}{
		{"Memory", memory, wsctlnats.Options{Storage: jetstream.MemoryStorage}},
		{"File", one, wsctlnats.Options{}},
		{"Cluster", three, wsctlnats.Options{Replicas: 3}},
	} {
		from, to := connect(b, server.url, &server.opts), connect(b, server.url, &server.opts)
		got := receiver(b, to)
		publish := func(b *testing.B, publish func() error) {
			for b.Loop() {
				if err := publish(); err != nil {
					b.Fatal(err)
				}
				<-got
			}
		}
		b.Run(server.name+"/Publish", func(b *testing.B) {
			publish(b, func() error { return from.Publish(context.Background(), "room", payload) })
		})
		b.Run(server.name+"/PublishKeep", func(b *testing.B) {
			publish(b, func() error {
				return from.PublishKeep(context.Background(), "room", payload, wsctl.Retention{Messages: 100})
			})
		})
	}
}

// BenchmarkThroughput has many goroutines publish to one topic on one node.
func BenchmarkThroughput(b *testing.B) {
	url := newServer(b, nil).url()
	from, to := connect(b, url, nil), connect(b, url, nil)
	got := receiver(b, to)
	run := func(b *testing.B, publish func() error) {
		b.SetParallelism(50)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range b.N {
				<-got
			}
		}()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := publish(); err != nil {
					b.Error(err)
				}
			}
		})
		<-done
	}
	b.Run("Publish", func(b *testing.B) {
		run(b, func() error { return from.Publish(context.Background(), "room", payload) })
	})
	b.Run("PublishKeep", func(b *testing.B) {
		run(b, func() error {
			return from.PublishKeep(context.Background(), "room", payload, wsctl.Retention{Messages: 100})
		})
	})
}

// BenchmarkSince asks for nothing new, and for 100 messages, in a stream of many topics.
func BenchmarkSince(b *testing.B) {
	url := newServer(b, nil).url()
	broker, other := connect(b, url, nil), connect(b, url, nil)
	for i := range 100 {
		for _, topic := range []string{"room", fmt.Sprint("other", i)} {
			if err := other.PublishKeep(context.Background(), topic, payload, wsctl.Retention{Messages: 100}); err != nil {
				b.Fatal(err)
			}
		}
	}
	_, newest, _ := since(b, broker, "room", "")
	for _, bench := range []struct {
		name, pos string
		want      int
	}{{"Newest", newest, 0}, {"Hundred", epoch(newest) + ".0", 100}} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				msgs, _, ok, err := broker.Since(context.Background(), "room", bench.pos)
				if err != nil || !ok || len(msgs) != bench.want {
					b.Fatal(len(msgs), ok, err)
				}
			}
		})
	}
}

// BenchmarkSubscribe subscribes a new topic, and ends that: one after the other, or 100 at once.
func BenchmarkSubscribe(b *testing.B) {
	for _, together := range []int{1, 100} {
		b.Run(fmt.Sprint(together), func(b *testing.B) {
			broker := connect(b, newServer(b, nil).url(), nil)
			var n atomic.Int64
			var wg sync.WaitGroup
			for range together {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						stop, err := broker.Subscribe(context.Background(), fmt.Sprint("room", i), func(string, []byte) {})
						if err != nil {
							b.Error(err)
							return
						}
						stop()
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkTopics subscribes to 10,000 topics with history, and then keeps messages in all of them from 100 goroutines. memory/topic
// is that of the node and of the server, both in this process.
func BenchmarkTopics(b *testing.B) {
	const topics = 10_000
	broker := connect(b, newServer(b, nil).url(), nil)
	ctx := context.Background()
	names := make([]string, topics)
	var got atomic.Int64
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range names {
		names[i] = fmt.Sprint("room", i)
		stop, err := broker.Subscribe(ctx, names[i], func(pos string, msg []byte) { got.Add(1) })
		if err != nil {
			b.Fatal(err)
		}
		defer stop()
		if _, _, _, err := broker.Since(ctx, names[i], ""); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.SetParallelism(50)
	var n atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := broker.PublishKeep(ctx, names[n.Add(1)%topics], payload, wsctl.Retention{Messages: 100}); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/topics, "memory/topic")
}
