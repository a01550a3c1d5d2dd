package mempipe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl/internal/mempipe"
)

// Whatever is written arrives, whatever the sizes of buffer, reads and writes.
func TestTransfer(t *testing.T) {
	for _, size := range []int{1, 2, 7, 511, 512, 513, 5000, 0} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			a, b := mempipe.Pipe(size)
			var wg sync.WaitGroup
			for _, way := range [][2]*mempipe.Conn{{a, b}, {b, a}} {
				sent := make([]byte, 20_000)
				for i := range sent {
					sent[i] = byte(i * 7 >> 3)
				}
				wg.Go(func() {
					for p := sent; len(p) > 0; {
						n := min(1+rand.IntN(700), len(p))
						if k, err := way[0].Write(p[:n]); k != n || err != nil {
							t.Errorf("Write: %d, %v", k, err)
							return
						}
						p = p[n:]
					}
					if err := way[0].CloseWrite(); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					var got []byte
					for {
						p := make([]byte, 1+rand.IntN(900))
						n, err := way[1].Read(p)
						got = append(got, p[:n]...)
						if err != nil {
							if err != io.EOF || !bytes.Equal(got, sent) {
								t.Errorf("got %d bytes of %d, %v", len(got), len(sent), err)
							}
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestTryWrite(t *testing.T) {
	a, b := mempipe.Pipe(10)
	steps := []struct {
		write string
		taken int
		read  string // afterwards
	}{
		{"", 0, ""},
		{"abcd", 4, "ab"},
		{"efghijklm", 8, ""},
		{"x", 0, "cdefg"},
		{"mnopqr", 5, "hijklmnopq"},
		{"0123456789", 10, ""},
		{"x", 0, "0123456789"},
		{"yz", 2, "yz"},
	}
	for i, s := range steps {
		if n, err := a.TryWrite([]byte(s.write)); n != s.taken || err != nil {
			t.Fatalf("step %d: took %d, %v, want %d", i, n, err, s.taken)
		}
		if len(s.read) == 0 {
			continue
		}
		p := make([]byte, len(s.read))
		if _, err := io.ReadFull(b, p); err != nil || string(p) != s.read {
			t.Fatalf("step %d: read %q, %v, want %q", i, p, err, s.read)
		}
	}
	if n := b.Buffered(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func TestAllocates(t *testing.T) {
	a, b := mempipe.Pipe(1000)
	p := make([]byte, 300)
	if n := testing.AllocsPerRun(100, func() {
		if n, err := a.TryWrite(p); n != len(p) || err != nil {
			t.Error(n, err)
		}
		if n, err := a.Write(p); n != len(p) || err != nil {
			t.Error(n, err)
		}
		if n, err := io.ReadFull(b, p); n != len(p) || err != nil {
			t.Error(n, err)
		}
		if n, err := b.Read(p); n != len(p) || err != nil {
			t.Error(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A TryWrite or a second Write doesn't get between the parts of a Write that waits.
func TestWriteInOnePiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mempipe.Pipe(4)
		for _, s := range []string{"0123456789", "abcdefghij"} {
			go func() {
				if n, err := a.Write([]byte(s)); n != 10 || err != nil {
					t.Errorf("Write: %d, %v", n, err)
				}
			}()
			synctest.Wait()
		}
		var got []byte
		for p := make([]byte, 3); len(got) < 20; {
			n, err := b.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, p[:n]...); len(got) < 6 { // the first Write certainly waits
				if n, err := a.TryWrite([]byte("x")); n != 0 || err != nil {
					t.Errorf("TryWrite: %d, %v", n, err)
				}
			}
		}
		if string(got) != "0123456789abcdefghij" {
			t.Errorf("got %s", got)
		}
	})
}

// Each operation on each state of a conn. Where nothing is wanted, the operation would wait.
func TestErrors(t *testing.T) {
	past := time.Unix(1, 0)
	states := []struct {
		name                  string
		set                   func(a, b *mempipe.Conn)
		read, write, deadline error
	}{
		{"closed", func(a, b *mempipe.Conn) { a.Close() }, net.ErrClosed, net.ErrClosed, net.ErrClosed},
		{"closed, the peer too", func(a, b *mempipe.Conn) { a.Close(); b.Close() }, net.ErrClosed, net.ErrClosed, net.ErrClosed},
		{"closed, past its deadline", func(a, b *mempipe.Conn) { a.SetDeadline(past); a.Close() }, net.ErrClosed, net.ErrClosed, net.ErrClosed},
		{"peer closed", func(a, b *mempipe.Conn) { b.Close() }, io.EOF, io.ErrClosedPipe, nil},
		{"peer closed, past its deadline", func(a, b *mempipe.Conn) { b.Close(); a.SetDeadline(past) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded, nil},
		{"writing closed", func(a, b *mempipe.Conn) { b.Write([]byte("x")); a.CloseWrite() }, nil, io.ErrClosedPipe, nil},
		{"writing closed twice", func(a, b *mempipe.Conn) { b.Write([]byte("x")); a.CloseWrite(); a.CloseWrite() }, nil, io.ErrClosedPipe, nil},
		{"peer's writing closed", func(a, b *mempipe.Conn) { b.CloseWrite() }, io.EOF, nil, nil},
		{"past its deadline", func(a, b *mempipe.Conn) { b.Write([]byte("x")); a.SetDeadline(past) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded, nil},
		{"past its read deadline", func(a, b *mempipe.Conn) { a.SetReadDeadline(past) }, os.ErrDeadlineExceeded, nil, nil},
		{"past its write deadline", func(a, b *mempipe.Conn) { b.Write([]byte("x")); a.SetWriteDeadline(past) }, nil, os.ErrDeadlineExceeded, nil},
		{"deadline taken back", func(a, b *mempipe.Conn) { b.Write([]byte("x")); a.SetDeadline(past); a.SetDeadline(time.Time{}) }, nil, nil, nil},
		{"peer past its deadline", func(a, b *mempipe.Conn) { b.Write([]byte("x")); b.SetDeadline(past) }, nil, nil, nil},
	}
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			a, b := mempipe.Pipe(10)
			s.set(a, b)
			p := make([]byte, 1)
			if _, err := a.Read(p); err != s.read {
				t.Errorf("Read: %v, want %v", err, s.read)
			}
			if _, err := a.Write(p); err != s.write {
				t.Errorf("Write: %v, want %v", err, s.write)
			}
			if n, err := a.TryWrite(p); err != s.write || n == 1 != (err == nil) {
				t.Errorf("TryWrite: %d, %v, want %v", n, err, s.write)
			}
			if err := a.SetDeadline(time.Time{}); err != s.deadline {
				t.Errorf("SetDeadline: %v, want %v", err, s.deadline)
			}
			if err := a.SetWriteDeadline(time.Time{}); err != s.deadline {
				t.Errorf("SetWriteDeadline: %v, want %v", err, s.deadline)
			}
			if err := a.Close(); err != s.deadline {
				t.Errorf("Close: %v, want %v", err, s.deadline)
			}
			if err := a.CloseWrite(); err != net.ErrClosed {
				t.Errorf("CloseWrite: %v", err)
			}
		})
	}
	var timeout net.Error
	if err := error(os.ErrDeadlineExceeded); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error("a deadline's error isn't a timeout")
	}
}

// What was written before a close is read after it.
func TestDrain(t *testing.T) {
	for _, end := range []func(*mempipe.Conn) error{(*mempipe.Conn).Close, (*mempipe.Conn).CloseWrite} {
		a, b := mempipe.Pipe(100)
		if _, err := a.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := end(a); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(b); string(got) != "hello" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// What ends a call that waits, and when, in a bubble's time: it wouldn't move unless the calls waited durably.
func TestWaiting(t *testing.T) {
	type conns struct{ a, b *mempipe.Conn } // a's call waits
	in := func(s int) time.Time { return time.Now().Add(time.Duration(s) * time.Second) }
	// A call begins at 0 s; at 1 s this happens.
	events := []struct {
		name        string
		before      func(conns)
		at1         func(conns)
		seconds     int
		read, write error
	}{
		{"close", nil, func(c conns) { c.a.Close() }, 1, net.ErrClosed, net.ErrClosed},
		{"peer closes", nil, func(c conns) { c.b.Close() }, 1, io.EOF, io.ErrClosedPipe},
		{"deadline", func(c conns) { c.a.SetDeadline(in(3)) }, nil, 3, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		{"deadline without monotonic time", func(c conns) { c.a.SetDeadline(in(3).Round(0)) }, nil, 3,
			os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		{"deadline set meanwhile", nil, func(c conns) { c.a.SetDeadline(in(4)) }, 5, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		{"past deadline set meanwhile", nil, func(c conns) { c.a.SetDeadline(in(-10)) }, 1,
			os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		{"deadline brought forward", func(c conns) { c.a.SetDeadline(in(9)) }, func(c conns) { c.a.SetDeadline(in(1)) }, 2,
			os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		{"deadline put off", func(c conns) { c.a.SetDeadline(in(3)) }, func(c conns) { c.a.SetDeadline(in(9)) }, 10,
			os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		{"deadline taken back", func(c conns) {
			c.a.SetDeadline(in(3))
			time.AfterFunc(20*time.Second, func() { c.a.Close() })
		}, func(c conns) { c.a.SetDeadline(time.Time{}) }, 20, net.ErrClosed, net.ErrClosed},
		{"progress", func(c conns) { c.a.SetDeadline(in(3)) }, func(c conns) {
			c.b.Write([]byte("x"))
			c.b.Read(make([]byte, 100))
		}, 1, nil, nil},
	}
	calls := map[string]func(*mempipe.Conn) error{
		"read":  func(c *mempipe.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"write": func(c *mempipe.Conn) error { _, err := c.Write(make([]byte, 1)); return err },
		"second write": func(c *mempipe.Conn) error {
			go c.Write([]byte("12345"))
			synctest.Wait()
			_, err := c.Write(make([]byte, 1))
			return err
		},
	}
	for _, e := range events {
		for name, call := range calls {
			t.Run(e.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var c conns
					c.a, c.b = mempipe.Pipe(10)
					c.a.Write(make([]byte, 10)) // full
					if e.before != nil {
						e.before(c)
					}
					start := time.Now()
					if e.at1 != nil {
						time.AfterFunc(time.Second, func() { e.at1(c) })
					}
					want := e.read
					if name != "read" {
						want = e.write
					}
					if err := call(c.a); err != want {
						t.Errorf("got %v, want %v", err, want)
					}
					if d := time.Since(start); d != time.Duration(e.seconds)*time.Second {
						t.Errorf("after %v, want %d s", d, e.seconds)
					}
					c.a.Close()
					c.b.Close()
				})
			})
		}
	}
}

// What a Write that fails has written is told, and arrives.
func TestPartialWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mempipe.Pipe(4)
		a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write([]byte("0123456789"))
		if n != 4 || err != os.ErrDeadlineExceeded {
			t.Errorf("Write: %d, %v", n, err)
		}
		if n := b.Buffered(); n != 4 {
			t.Errorf("%d bytes are buffered", n)
		}
		a.SetWriteDeadline(time.Time{})
		a.Close()
		if got, _ := io.ReadAll(b); string(got) != "0123" {
			t.Errorf("got %q", got)
		}
	})
}

func TestAddrs(t *testing.T) {
	a, b := mempipe.Pipe(0)
	if a.LocalAddr() != b.RemoteAddr() || a.RemoteAddr() != b.LocalAddr() || a.LocalAddr() == b.LocalAddr() {
		t.Errorf("%v %v, %v %v", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
	}
	if n := a.LocalAddr().Network(); n != "mem" {
		t.Errorf("network %s", n)
	}
}

// An http.Server serves over a Listener, in a bubble, with its timeouts in the bubble's time.
func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mempipe.Listen()
		l.Size = 16
		srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			fmt.Fprint(w, strings.ToUpper(string(body)), err)
		})}
		served := make(chan error)
		go func() { served <- srv.Serve(l) }()
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }}
		res, err := (&http.Client{Transport: tr}).Post("http://mem/", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); string(body) != "HELLO<nil>" || err != nil {
			t.Errorf("got %q, %v", body, err)
		}
		res.Body.Close()

		c, err := l.Dial()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.Write([]byte("GET / HT")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(c); err != nil || time.Since(start) < time.Minute {
			t.Errorf("half a header: %v after %v", err, time.Since(start))
		}
		c.Close()

		tr.CloseIdleConnections()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Error(err)
		}
		if _, err := l.Dial(); err != net.ErrClosed {
			t.Errorf("Dial: %v", err)
		}
	})
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mempipe.Listen()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.DialContext(ctx); err != context.DeadlineExceeded {
			t.Errorf("Dial without Accept: %v", err)
		}
		if _, err := l.DialContext(ctx); err != context.DeadlineExceeded {
			t.Errorf("Dial with a context that has ended: %v", err)
		}
		go l.Dial()
		c, err := l.Accept()
		if err != nil || c.LocalAddr() != l.Addr() {
			t.Errorf("Accept: %v, %v", c.LocalAddr(), err)
		}
		ended := make(chan error, 2)
		go func() { _, err := l.Accept(); ended <- err }()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != net.ErrClosed {
			t.Errorf("Close again: %v", err)
		}
		if err := <-ended; err != net.ErrClosed {
			t.Errorf("Accept: %v", err)
		}
		if _, err := l.Accept(); err != net.ErrClosed {
			t.Errorf("Accept after Close: %v", err)
		}
	})
}

func BenchmarkTryWrite(b *testing.B) {
	x, y := mempipe.Pipe(0)
	p := make([]byte, 120)
	b.ReportAllocs()
	for b.Loop() {
		x.TryWrite(p)
		y.Read(p)
	}
}
