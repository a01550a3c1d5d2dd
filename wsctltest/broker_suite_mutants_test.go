package wsctltest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

var mutants = []mutant{
	{"no fault", "", func(_ *testing.T, m memory) wsctl.Broker { return m }},
	{"no history", "", func(_ *testing.T, m memory) wsctl.Broker { return struct{ wsctl.Broker }{m} }},
	{"not connected", "", func(*testing.T, memory) wsctl.Broker { return memory{NewBroker()} }},

	{"drops", "Order Publishers Subscriptions Topics Sizes History HistoryOrder HistoryReader", delivering(func(n int, pos string, msg []byte, deliver func(pos string, msg []byte)) {
		if n%2 == 1 {
			deliver(pos, msg)
		}
	})},
	{"drops now and then", "Order Publishers HistoryOrder", delivering(func(n int, pos string, msg []byte, deliver func(pos string, msg []byte)) {
		if n%90 != 0 {
			deliver(pos, msg)
		}
	})},
	{"duplicates", "Order Publishers HistoryOrder", delivering(func(n int, pos string, msg []byte, deliver func(pos string, msg []byte)) {
		deliver(pos, msg)
		if n%90 == 0 {
			deliver(pos, msg)
		}
	})},
	{"reorders", "Order Publishers Slow HistoryOrder", func(t *testing.T, m memory) wsctl.Broker {
		b := &broken{memory: m}
		b.subscribe = func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			n := 0
			var keptPos string
			var keptMsg []byte
			return m.Subscribe(ctx, topic, func(pos string, msg []byte) {
				if n++; n%20 == 0 {
					keptPos, keptMsg = pos, msg
					return
				}
				deliver(pos, msg)
				if keptMsg != nil {
					deliver(keptPos, keptMsg)
					keptMsg = nil
				}
			})
		}
		return b
	}},
	{"delivers concurrently", "Order Publishers Slow", delivering(func(_ int, pos string, msg []byte, deliver func(pos string, msg []byte)) {
		go deliver(pos, msg)
	})},
	{"invents messages", "Order Subscriptions History", delivering(func(n int, pos string, msg []byte, deliver func(pos string, msg []byte)) {
		deliver(pos, msg)
		deliver(pos, append([]byte("x"), msg...))
	})},
	{"changes messages later", "Order History", delivering(func(_ int, pos string, msg []byte, deliver func(pos string, msg []byte)) {
		msg = slices.Clone(msg)
		deliver(pos, msg)
		msg[0]++
	})},
	{"has one position too few", "History HistoryOrder", delivering(func(n int, pos string, msg []byte, deliver func(pos string, msg []byte)) {
		if n == 50 {
			pos = ""
		}
		deliver(pos, msg)
	})},

	{"delivers within Publish", "Stop Slow", func(_ *testing.T, m memory) wsctl.Broker {
		m.server.Direct = true
		return m
	}},

	{"lower case", "Topics HistoryTopics", naming(strings.ToLower)},
	{"UTF-8", "Topics HistoryTopics", naming(func(topic string) string { return strings.ToValidUTF8(topic, "\uFFFD") })},
	{"spaces", "Topics HistoryTopics", naming(strings.TrimSpace)},
	{"dots", "Topics HistoryTopics", naming(func(topic string) string { return strings.ReplaceAll(topic, ".", "*") })},
	{"NUL", "Topics HistoryTopics", naming(func(topic string) string { name, _, _ := strings.Cut(topic, "\x00"); return name })},
	{"long", "Topics HistoryTopics", naming(func(topic string) string { return topic[:min(len(topic), 159)] })},
	{"braces", "Topics HistoryTopics", naming(func(topic string) string { return strings.Trim(topic, "{}") })},
	{"percents", "Topics HistoryTopics", naming(func(topic string) string { return strings.ReplaceAll(topic, ".", "%2e") })},

	{"subscribes late", "Subscribed", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, subscribe: func(_ context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			var wg sync.WaitGroup
			var end func()
			wg.Go(func() {
				pause(time.Millisecond)
				end, _ = m.Subscribe(context.Background(), topic, deliver)
			})
			return func() {
				wg.Wait()
				end()
			}, nil
		}}
	}},
	{"one subscription of a topic", "Subscriptions", func(_ *testing.T, m memory) wsctl.Broker {
		var mu sync.Mutex
		has := make(map[string]bool)
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			mu.Lock()
			defer mu.Unlock()
			if has[topic] {
				return func() {}, nil
			}
			has[topic] = true
			end, err := m.Subscribe(ctx, topic, deliver)
			return func() {
				end()
				mu.Lock()
				defer mu.Unlock()
				delete(has, topic)
			}, err
		}}
	}},
	{"stops later", "Stop Subscriptions", func(t *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			end, err := m.Subscribe(ctx, topic, deliver)
			t.Cleanup(end)
			return func() {}, err
		}}
	}},
	{"delivers what waits after stop", "Stop", func(t *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			queue := make(chan delivery, 1000)
			end, err := m.Subscribe(ctx, topic, func(pos string, msg []byte) { queue <- delivery{pos: pos, msg: msg} })
			go func() {
				for d := range queue {
					deliver(d.pos, d.msg)
				}
			}()
			return sync.OnceFunc(func() {
				end()
				close(queue)
			}), err
		}}
	}},
	{"one stop alone", "Subscriptions", func(t *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			end, err := m.Subscribe(ctx, topic, deliver)
			stopped := false
			return func() {
				if stopped {
					t.Error("stopped twice")
				}
				stopped = true
				end()
			}, err
		}}
	}},
	{"slow for all", "Slow", func(_ *testing.T, m memory) wsctl.Broker {
		turn := make(chan struct{}, 1)
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			return m.Subscribe(ctx, topic, func(pos string, msg []byte) {
				turn <- struct{}{}
				defer func() { <-turn }()
				deliver(pos, msg)
			})
		}}
	}},
	{"holds the publisher's buffer", "Order Sizes", func(t *testing.T, m memory) wsctl.Broker {
		type publication struct {
			topic string
			msg   []byte
		}
		queue := make(chan publication, 1000)
		go func() {
			for p := range queue {
				pause(time.Microsecond)
				_ = m.Publish(context.Background(), p.topic, p.msg)
			}
		}()
		t.Cleanup(func() { close(queue) })
		return &broken{memory: m, publish: func(_ context.Context, topic string, msg []byte) error {
			queue <- publication{topic, msg}
			return nil
		}}
	}},
	{"small messages", "Sizes", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, publish: func(ctx context.Context, topic string, msg []byte) error {
			return m.Publish(ctx, topic, msg[:min(len(msg), 500_000)])
		}}
	}},
	{"text", "Sizes", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, publish: func(ctx context.Context, topic string, msg []byte) error {
			return m.Publish(ctx, topic, []byte(strings.ToValidUTF8(string(msg), "?")))
		}}
	}},
	{"publishes by a canceled ctx", "Context", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, publish: func(_ context.Context, topic string, msg []byte) error {
			return m.Publish(context.Background(), topic, msg)
		}}
	}},
	{"subscribes by a canceled ctx", "Context", func(t *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			end, err := m.Subscribe(context.Background(), topic, deliver)
			if ctx.Err() != nil {
				t.Cleanup(end)
				return nil, ctx.Err()
			}
			return end, err
		}}
	}},

	{"publishes kept messages later", "History", func(t *testing.T, m memory) wsctl.Broker {
		var wg sync.WaitGroup
		t.Cleanup(wg.Wait)
		return &broken{memory: m, publishKeep: func(_ context.Context, topic string, msg []byte, keep wsctl.Retention) error {
			msg = slices.Clone(msg)
			wg.Go(func() {
				pause(time.Millisecond)
				_ = m.PublishKeep(context.Background(), topic, msg, keep)
			})
			return nil
		}}
	}},
	{"keeps twice", "History HistoryOrder HistoryReader", calling("PublishKeep", func(_ context.Context, call func() error) error {
		_ = call()
		return call()
	})},
	{"keeps nothing", "History HistoryOrder", calling("PublishKeep", func(context.Context, func() error) error { return nil })},
	{"two epochs at birth", "History", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, since: func(ctx context.Context, topic, pos string) ([][]byte, string, bool, error) {
			msgs, newest, ok, err := m.Since(ctx, topic, pos)
			if strings.HasSuffix(newest, ".0") && pos == "" {
				m.Broker.Forget()
			}
			return msgs, newest, ok, err
		}}
	}},
	{"offsets from 2", "History", positions(func(pos string) string { return shift(pos, 1) }, func(pos string) string { return shift(pos, -1) })},
	{"malformed is an error", "HistoryPositions", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, since: func(ctx context.Context, topic, pos string) ([][]byte, string, bool, error) {
			if _, ok := position.Parse(pos); !ok && pos != "" {
				return nil, "", false, errors.New("malformed")
			}
			return m.Since(ctx, topic, pos)
		}}
	}},
	{"unknown is the beginning", "HistoryPositions", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, since: func(ctx context.Context, topic, pos string) ([][]byte, string, bool, error) {
			msgs, newest, ok, err := m.Since(ctx, topic, pos)
			if !ok {
				p, _ := position.Parse(newest)
				return m.Since(ctx, topic, p.Epoch+".0")
			}
			return msgs, newest, ok, err
		}}
	}},
	{"spaces in positions", "HistoryPositions", positions(same, strings.TrimSpace)},
	{"one message too many", "History HistoryPositions", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, since: func(ctx context.Context, topic, pos string) ([][]byte, string, bool, error) {
			if p, ok := position.Parse(pos); ok && p.Offset == 3 {
				pos = shift(pos, -1)
			}
			return m.Since(ctx, topic, pos)
		}}
	}},
	{"keeps too few", "HistoryMessages", keeping(func(keep wsctl.Retention) wsctl.Retention {
		return wsctl.Retention{Messages: max(0, keep.Messages-1), Age: keep.Age}
	})},
	{"keeps for ever", "HistoryMessages HistoryAge", keeping(func(wsctl.Retention) wsctl.Retention { return keepAll })},
	{"keeps too short", "HistoryAge", keeping(func(keep wsctl.Retention) wsctl.Retention {
		return wsctl.Retention{Messages: keep.Messages, Age: keep.Age / 10}
	})},

	{"away without a word", "Away HistoryAway", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, subscribe: func(ctx context.Context, topic string, deliver func(pos string, msg []byte)) (stop func(), err error) {
			return m.Subscribe(ctx, topic, func(pos string, msg []byte) {
				if msg != nil {
					deliver(pos, msg)
				}
			})
		}}
	}},
	{"away for ever", "Away HistoryAway", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, away: func() (back func()) { m.Cut(); return func() {} }}
	}},
	{"blocks while away", "Away", blocking("Publish")},
	{"blocks subscribing while away", "Away", blocking("Subscribe")},
	{"blocks keeping while away", "HistoryAway", blocking("PublishKeep")},
	{"blocks asking while away", "HistoryAway", blocking("Since")},
	{"keeps nothing while away", "HistoryAway", calling("PublishKeep", func(_ context.Context, call func() error) error {
		_ = call()
		return nil
	})},
	{"keeps again what failed", "HistoryAway", func(t *testing.T, m memory) wsctl.Broker {
		var mu sync.Mutex
		cut := false
		return &broken{
			memory: m,
			publishKeep: func(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
				err := m.PublishKeep(ctx, topic, msg, keep)
				mu.Lock()
				defer mu.Unlock()
				if !cut {
					return err
				}
				_ = (memory{m.Node()}).PublishKeep(ctx, topic, msg, keep)
				return (memory{m.Node()}).PublishKeep(ctx, topic, msg, keep)
			},
			away: func() (back func()) {
				mu.Lock()
				defer mu.Unlock()
				cut = true
				m.Cut()
				return func() {
					mu.Lock()
					defer mu.Unlock()
					cut = false
					m.Reconnect()
				}
			},
		}
	}},
	{"forgets while away", "HistoryAway", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, away: func() (back func()) {
			m.Cut()
			m.Broker.Forget()
			return m.Reconnect
		}}
	}},
	{"forgets nothing", "HistoryForget", func(_ *testing.T, m memory) wsctl.Broker {
		return &broken{memory: m, forget: func() {}}
	}},
	{"one epoch", "HistoryForget", positions(
		func(pos string) string { return reepoch(pos, "e") }, same,
	)},
}
