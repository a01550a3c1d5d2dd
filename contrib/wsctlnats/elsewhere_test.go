package wsctlnats_test

import (
	"encoding/base64"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// fakeStream stands for JetStream in a server without: subjects answer with what they are given, one after the other, the last for ever.
func fakeStream(t *testing.T, answers map[string]func(n int, m *nats.Msg) string) *natsServer {
	t.Helper()
	srv := newServer(t, func(o *server.Options) { o.JetStream = false })
	nc, err := nats.Connect(srv.url())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for subject, answer := range answers {
		n := 0
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
			_ = m.Respond([]byte(answer(n, m)))
			n++
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return srv
}

// list answers with these.
func list(answers ...string) func(n int, m *nats.Msg) string {
	return func(n int, _ *nats.Msg) string { return answers[min(n, len(answers)-1)] }
}

const (
	noStream  = `{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`
	noMessage = `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`
	theStream = `{"config":{"name":"wsctl","subjects":["wsctl.keep.g.*"],"max_msgs_per_subject":1008,"max_age":86400000000000,"num_replicas":1,` +
		`"republish":{"src":"wsctl.keep.g.*","dest":"wsctl.live.{{wildcard(1)}}"},"allow_direct":true},"state":{},"created":"2026-01-01T00:00:00Z"}`
)

// TestStreamElsewhere has a cluster that is being started, and another node make the stream just now: servers say that they are too
// few, that there is no stream, and that its name is in use.
func TestStreamElsewhere(t *testing.T) {
	const (
		few   = `{"error":{"code":400,"err_code":10005,"description":"no suitable peers for placement"}}`
		inUse = `{"error":{"code":400,"err_code":10058,"description":"stream name already in use with a different configuration"}}`
	)
	srv := fakeStream(t, map[string]func(n int, m *nats.Msg) string{
		"$JS.API.STREAM.INFO.wsctl":    list(noStream, noStream, noStream, theStream),
		"$JS.API.STREAM.CREATE.wsctl":  list(few, inUse),
		"$JS.API.STREAM.MSG.GET.wsctl": list(noMessage),
		"wsctl.keep.g.room":            list(`{"stream":"wsctl","seq":1}`),
	})
	b := connect(t, srv.url(), nil)
	_, pos, ok, err := b.Since(within(t), "room", "")
	if err != nil || !ok || pos != fmt.Sprint(epoch(pos), ".0") {
		t.Errorf("Since = %q, %v, %v", pos, ok, err)
	}
}

// TestOtherClock has a server whose clock is a day behind: the position isn't stored again each time that it is asked for.
func TestOtherClock(t *testing.T) {
	stored, headers := 1, nats.Header{"Wsctl": {"1 e.0 id 0 0"}, "Nats-Expected-Last-Subject-Sequence": {"0"}}
	var mu sync.Mutex
	srv := fakeStream(t, map[string]func(n int, m *nats.Msg) string{
		"$JS.API.STREAM.INFO.wsctl": list(theStream),
		"$JS.API.STREAM.MSG.GET.wsctl": func(int, *nats.Msg) string {
			mu.Lock()
			defer mu.Unlock()
			raw := "NATS/1.0\r\n"
			for key, values := range headers {
				raw += key + ": " + values[0] + "\r\n"
			}
			return fmt.Sprintf(`{"message":{"subject":"wsctl.keep.g.room","seq":%d,"hdrs":%q,"time":%q}}`,
				stored, base64.StdEncoding.EncodeToString([]byte(raw+"\r\n")), time.Now().Add(-24*time.Hour).Format(time.RFC3339Nano))
		},
		"wsctl.keep.g.room": func(_ int, m *nats.Msg) string {
			mu.Lock()
			defer mu.Unlock()
			stored, headers = stored+1, m.Header
			return fmt.Sprintf(`{"stream":"wsctl","seq":%d}`, stored)
		},
	})
	b := connect(t, srv.url(), nil)
	listen(t, b, "room")
	for range 5 {
		if _, pos, ok, err := b.Since(within(t), "room", ""); err != nil || !ok || pos != "e.0" {
			t.Errorf("Since = %q, %v, %v", pos, ok, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if stored != 2 {
		t.Errorf("a position was stored %d times", stored-1)
	}
}
