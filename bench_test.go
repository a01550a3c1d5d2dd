package wsctl_test

import (
	"bytes"
	jsonv1 "encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// The call that is benchmarked: 83 bytes with a struct to decode and one to answer.
const benchCall = `{"type":"Echo","id":1234,"data":{"room":"lobby","text":"hello, world","seq":123456}}`

type benchLine struct {
	Room string `json:"room"`
	Text string `json:"text"`
	Seq  int    `json:"seq"`
}

type benchEcho struct{}

func (*benchEcho) Echo(_ *wsctl.Socket, l benchLine) (benchLine, error) { return l, nil }

// BenchmarkCall is the decoding, dispatch and answer of one call, by the table and by switches written by hand.
func BenchmarkCall(b *testing.B) {
	b.Logf("%d bytes", len(benchCall))
	msg := []byte(benchCall)
	echo := &benchEcho{}
	h := wsctl.New(echo, nil)
	var out bytes.Buffer
	goJSON := func(encode func(any) error) func() error {
		return func() error {
			var m struct {
				Type string         `json:"type"`
				ID   int64          `json:"id"`
				Data jsontext.Value `json:"data"`
			}
			if err := json.Unmarshal(msg, &m); err != nil {
				return err
			}
			switch m.Type {
			case "Echo":
				var in benchLine
				if err := json.Unmarshal(m.Data, &in); err != nil {
					return err
				}
				res, err := echo.Echo(nil, in)
				if err != nil {
					return err
				}
				return encode(struct {
					Type string    `json:"type"`
					ID   int64     `json:"id"`
					Data benchLine `json:"data"`
				}{"$reply", m.ID, res})
			}
			return fmt.Errorf("no method %q", m.Type)
		}
	}
	ways := []struct {
		name string
		call func() error
	}{
		{"table", func() error { return h.HandleBytes(msg, &out) }},
		{"switch-own-scanner", func() error {
			typ, id, data, err := wsctl.Scan(msg)
			if err != nil {
				return err
			}
			switch string(typ) {
			case "Echo":
				var in benchLine
				if err := json.Unmarshal(data, &in); err != nil {
					return err
				}
				res, err := echo.Echo(nil, in)
				if err != nil {
					return err
				}
				return wsctl.AppendMessage(&out, "$reply", id, res)
			}
			return fmt.Errorf("no method %q", typ)
		}},
		{"switch-go-json-experiment", goJSON(func(v any) error {
			p, err := json.Marshal(v)
			out.Write(p)
			return err
		})},
		{"switch-go-json-experiment-reused-buffer", goJSON(func(v any) error { return json.MarshalWrite(&out, v) })},
		{"switch-encoding-json", func() error {
			var m struct {
				Type string            `json:"type"`
				ID   int64             `json:"id"`
				Data jsonv1.RawMessage `json:"data"`
			}
			if err := jsonv1.Unmarshal(msg, &m); err != nil {
				return err
			}
			switch m.Type {
			case "Echo":
				var in benchLine
				if err := jsonv1.Unmarshal(m.Data, &in); err != nil {
					return err
				}
				res, err := echo.Echo(nil, in)
				if err != nil {
					return err
				}
				p, err := jsonv1.Marshal(struct {
					Type string    `json:"type"`
					ID   int64     `json:"id"`
					Data benchLine `json:"data"`
				}{"$reply", m.ID, res})
				out.Write(p)
				return err
			}
			return fmt.Errorf("no method %q", m.Type)
		}},
	}
	const want = `{"type":"$reply","id":1234,"data":{"room":"lobby","text":"hello, world","seq":123456}}`
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				if err := way.call(); err != nil {
					b.Fatal(err)
				}
			}
			if out.String() != want {
				b.Fatalf("got %s", out.String())
			}
		})
	}
	// The same in turns, so that whatever else the machine does hits all of them: the ratio of the table's median to the
	// others'.
	b.Run("ratios", func(b *testing.B) {
		times := make([][]time.Duration, len(ways))
		for b.Loop() {
			for i, way := range ways {
				start := time.Now()
				for range 100 {
					out.Reset()
					if err := way.call(); err != nil {
						b.Fatal(err)
					}
				}
				times[i] = append(times[i], time.Since(start))
			}
		}
		median := func(i int) float64 {
			slices.Sort(times[i])
			return float64(times[i][len(times[i])/2])
		}
		b.ReportMetric(0, "ns/op")
		for i, way := range ways[1:] {
			b.ReportMetric(median(0)/median(i+1), "table/"+way.name)
		}
	})
}

// listeners are the networks that broadcasts are benchmarked over.
var listeners = map[string]func(testing.TB) (net.Listener, func() (net.Conn, error)){
	"tcp": func(t testing.TB) (net.Listener, func() (net.Conn, error)) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln, func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }
	},
	"mempipe": func(testing.TB) (net.Listener, func() (net.Conn, error)) {
		ln := mempipe.Listen()
		return ln, ln.Dial
	},
}

// audience is n clients of h that count the bytes they get.
func audience(t testing.TB, network string, h http.Handler, n int) (received *atomic.Int64, wait func(int64)) {
	ln, dial := listeners[network](t)
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	received = new(atomic.Int64)
	var mu sync.Mutex
	more := sync.NewCond(&mu)
	for range n {
		d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return dial() }}
		ws, _, err := d.Dial("ws://test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		go func() {
			buf := make([]byte, 32<<10)
			for {
				n, err := ws.NetConn().Read(buf)
				if err != nil {
					return
				}
				received.Add(int64(n))
				mu.Lock()
				more.Broadcast()
				mu.Unlock()
			}
		}()
	}
	return received, func(total int64) {
		mu.Lock()
		defer mu.Unlock()
		for received.Load() < total {
			more.Wait()
		}
	}
}

// BenchmarkBroadcast sends to 1,000 sockets and waits until all have it. Its allocations don't grow with the sockets.
func BenchmarkBroadcast(b *testing.B) {
	for _, network := range []string{"tcp", "mempipe"} {
		for _, n := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s-%d", network, n), func(b *testing.B) {
				h := wsctl.New(&benchEcho{}, nil)
				received, wait := audience(b, network, h, n)
				line := benchLine{"lobby", "hello, all of you who are in this room", 7}
				const frame = 2 + len(`{"type":"said","data":{"room":"lobby","text":"hello, all of you who are in this room","seq":7}}`)
				total := received.Load()
				b.ReportAllocs()
				for b.Loop() {
					if err := h.Hub().Broadcast("said", line); err != nil {
						b.Fatal(err)
					}
					total += int64(frame * n)
					wait(total)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
			})
		}
	}
}
