//go:build unix

package wsctl_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// rawClient speaks frames over TCP with as little work as possible, so that a benchmark shows what the server costs.
type rawClient struct {
	net.Conn
	r *bufio.Reader
}

// benchServer serves h over TCP. Its clients are raw.
func benchServer(b *testing.B, h http.Handler) (addr string) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	b.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// dialRaw connects over TCP.
func dialRaw(b *testing.B, addr string, hello string) (c *rawClient, w welcome) {
	b.Helper()
	return greet(b, func() (net.Conn, error) { return net.Dial("tcp", addr) }, hello)
}

// greet connects; a session is resumed if hello names one.
func greet(b *testing.B, dial func() (net.Conn, error), hello string) (c *rawClient, w welcome) {
	b.Helper()
	nc, err := dial()
	if err != nil {
		b.Fatal(err)
	}
	c = &rawClient{nc, bufio.NewReaderSize(nc, 512)}
	protocol := ""
	if hello != "" {
		protocol = "Sec-WebSocket-Protocol: wsctl.v1\r\n"
	}
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", protocol)
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
		b.Fatal(resp, err)
	}
	if hello == "" {
		return c, w
	}
	c.send(hello)
	var m struct{ Data welcome }
	if err := json.Unmarshal(c.next(b), &m); err != nil {
		b.Fatal(err)
	}
	return c, m.Data
}

func (c *rawClient) send(messages ...string) {
	var out []byte
	for _, m := range messages {
		out = append(out, rawFrame(0x81, m)...)
	}
	_, _ = c.Write(out)
}

// next returns the next message.
func (c *rawClient) next(b *testing.B) []byte {
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.r, head); err != nil {
		b.Error(err)
		runtime.Goexit()
	}
	n := int(head[1])
	if n == 126 {
		_, _ = io.ReadFull(c.r, head)
		n = int(head[0])<<8 | int(head[1])
	}
	p := make([]byte, n)
	_, _ = io.ReadFull(c.r, p)
	return p
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var levels = []struct{ name, hello string }{{"plain", ""}, {"v1", helloOf("", 0, 1)}}

// BenchmarkEcho is a call and its answer over TCP, at both levels, in CPU time of server and client together. The client's part
// is a write and a read for each round of calls.
func BenchmarkEcho(b *testing.B) {
	for _, depth := range []int{1, 16} {
		for _, level := range levels {
			b.Run(fmt.Sprintf("depth=%d/%s", depth, level.name), func(b *testing.B) {
				h := wsctl.New(&benchEcho{}, &wsctl.Options{PingInterval: -1})
				c, _ := dialRaw(b, benchServer(b, h), level.hello)
				defer c.Close()
				if level.hello != "" {
					c.send(`{"type":"$ack","data":0}`)
				}
				calls := bytes.Repeat(rawFrame(0x81, benchCall), depth)
				answer := []byte(`"$reply"`)
				buf := make([]byte, 64<<10)
				got, acked := 0, 0
				b.ReportAllocs()
				start := cpuTime()
				for b.Loop() {
					_, _ = c.Write(calls)
					for want := got + depth; got < want; {
						n, err := c.Read(buf)
						if err != nil {
							b.Fatal(err)
						}
						got += bytes.Count(buf[:n], answer)
					}
					if level.hello != "" && got-acked >= 64 {
						c.send(fmt.Sprintf(`{"type":"$ack","data":%d}`, got))
						acked = got
					}
				}
				b.ReportMetric(float64(cpuTime()-start)/float64(b.N*depth), "cpu-ns/call")
			})
		}
	}
}

// BenchmarkIdle is the memory of an idle connection after a garbage collection, heap and stacks, with what the raw client of the
// same process takes.
func BenchmarkIdle(b *testing.B) {
	const n = 2000
	for _, level := range levels {
		b.Run(level.name, func(b *testing.B) {
			h := wsctl.New(&benchEcho{}, nil)
			addr := benchServer(b, h)
			memory := func() uint64 {
				time.Sleep(200 * time.Millisecond)
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc + m.StackInuse
			}
			before := memory()
			clients := make([]net.Conn, n)
			for i := range clients {
				c, w := dialRaw(b, addr, level.hello)
				if w.Session != "" {
					c.send(`{"type":"$ack","data":0}`)
				}
				clients[i] = c.Conn // without its buffer
			}
			after := memory()
			for b.Loop() {
			}
			b.ReportMetric(float64(after-before)/n, "bytes/conn")
			b.ReportMetric(0, "ns/op")
			for _, c := range clients {
				c.Close()
			}
		})
	}
}

// BenchmarkResume is 10,000 sessions that lose their connection and come back in one go, over memory, each with a message
// that it lacks.
func BenchmarkResume(b *testing.B) {
	const n = 10_000
	h := wsctl.New(&benchEcho{}, nil)
	ln := mempipe.Listen() // twice as many files may not be open
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	defer srv.Close()
	sessions := make([]string, n)
	clients := make([]*rawClient, n)
	each := func(fn func(i int)) {
		var wg sync.WaitGroup
		for k := range 50 {
			wg.Go(func() {
				for i := k; i < n; i += 50 {
					fn(i)
				}
			})
		}
		wg.Wait()
	}
	each(func(i int) {
		c, w := greet(b, ln.Dial, helloOf("", 0, 1))
		c.send(`{"type":"$ack","data":0}`)
		clients[i], sessions[i] = c, w.Session
	})
	var spent time.Duration
	var gone int64
	for try := 2; b.Loop(); try++ {
		b.StopTimer()
		each(func(i int) { clients[i].Close() })
		for h.Stats().Detached < n {
			time.Sleep(10 * time.Millisecond)
		}
		if err := h.Hub().Broadcast("m", try); err != nil {
			b.Fatal(err)
		}
		var lost atomic.Int64
		cpu := cpuTime()
		b.StartTimer()
		each(func(i int) {
			c, w := greet(b, ln.Dial, helloOf(sessions[i], try-2, try))
			if m := c.next(b); !w.Resumed || !strings.Contains(string(m), fmt.Sprintf(`"data":%d}`, try)) {
				lost.Add(1)
			}
			clients[i] = c
		})
		b.StopTimer()
		spent += cpuTime() - cpu
		gone += lost.Load()
		b.StartTimer()
	}
	b.ReportMetric(float64(spent)/float64(b.N*n)/1000, "cpu-µs/resume")
	b.ReportMetric(float64(gone), "lost")
}

type benchStream struct{}

// Count streams n numbers.
func (benchStream) Count(_ *wsctl.Socket, n int) iter.Seq2[benchLine, error] {
	return func(yield func(benchLine, error) bool) {
		for i := range n {
			if !yield(benchLine{"lobby", "hello, world", i}, nil) {
				return
			}
		}
	}
}

// OnOpen joins.
func (benchStream) OnOpen(s *wsctl.Socket, _ *http.Request) error { return s.Join("lobby") }

// BenchmarkStream is an item of a stream, against a message of a room to the same one socket.
func BenchmarkStream(b *testing.B) {
	open := func(b *testing.B) (*wsctl.Handler, *rawClient) {
		h := wsctl.New(benchStream{}, &wsctl.Options{PingInterval: -1, SendBuffer: 64 << 20})
		c, _ := dialRaw(b, benchServer(b, h), helloOf("", 0, 1))
		c.send(`{"type":"$ack","data":0}`)
		return h, c
	}
	// receive counts messages, and grants credit and acknowledges as a client does.
	receive := func(b *testing.B, c *rawClient, n int) {
		buf := make([]byte, 64<<10)
		mark := []byte(`"lobby"`)
		got, told := 0, 0
		for got < n {
			k, err := c.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			got += bytes.Count(buf[:k], mark) // some are missed where a read ends within one
			if got-told >= 32 {
				c.send(fmt.Sprintf(`{"type":"$more","id":1,"data":%d}`, got-told), fmt.Sprintf(`{"type":"$ack","data":%d}`, got))
				told = got
			}
		}
	}
	b.Run("items", func(b *testing.B) {
		_, c := open(b)
		c.send(fmt.Sprintf(`{"type":"Count","id":1,"data":%d}`, b.N+b.N/10+1000))
		b.ReportAllocs()
		b.ResetTimer()
		receive(b, c, b.N)
		b.StopTimer()
		c.Close()
	})
	b.Run("room", func(b *testing.B) {
		h, c := open(b)
		b.ReportAllocs()
		b.ResetTimer()
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			room := h.Hub().Room("lobby")
			for i := 0; ctx.Err() == nil && i < b.N+b.N/10+1000; i++ {
				_ = room.Send("line", benchLine{"lobby", "hello, world", i})
				for h.Stats().QueuedBytes > 500_000 {
					time.Sleep(100 * time.Microsecond)
				}
			}
		}()
		receive(b, c, b.N)
		b.StopTimer()
		cancel()
		c.Close()
	})
}
