package wsctl_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// Every message that the protocol calls bad: it is counted, and answered where its type and id were read whole.
func TestBadMessages(t *testing.T) {
	const answered, ignored = true, false
	tests := []struct {
		name, message string
		answered      bool // as call 1
	}{
		{"empty", ``, ignored},
		{"white space", ` `, ignored},
		{"not JSON", `hello`, ignored},
		{"a string", `"hello"`, ignored},
		{"an array", `[{"type":"Echo","id":1}]`, ignored},
		{"null", `null`, ignored},
		{"unfinished", `{"type":"Echo","id":1`, ignored},
		{"unfinished after the comma", `{"type":"Echo","id":1,`, answered},
		{"no type", `{"id":1,"data":3}`, ignored},
		{"empty object", `{}`, ignored},
		{"type is a number", `{"id":1,"type":3}`, ignored},
		{"type is null", `{"id":1,"type":null}`, ignored},
		{"type is empty", `{"id":1,"type":""}`, ignored},
		{"type is too long", `{"id":1,"type":"` + strings.Repeat("x", 129) + `"}`, ignored},
		{"type twice", `{"type":"Echo","id":1,"type":"Echo"}`, ignored},
		{"type twice, once escaped", `{"type":"Echo","id":1,"t\u0079pe":"Echo"}`, ignored},
		{"type differs in case", `{"Type":"Echo","id":1}`, ignored},
		{"id twice", `{"type":"Echo","id":1,"id":1}`, ignored},
		{"data twice", `{"type":"Echo","id":1,"data":1,"data":1}`, answered},
		{"other twice", `{"type":"Echo","id":1,"x":1,"x":1}`, answered},
		{"id is 0", `{"type":"Echo","id":0}`, ignored},
		{"id is negative", `{"type":"Echo","id":-1}`, ignored},
		{"id is a fraction", `{"type":"Echo","id":1.0}`, ignored},
		{"id has an exponent", `{"type":"Echo","id":1e2}`, ignored},
		{"id begins with 0", `{"type":"Echo","id":01}`, ignored},
		{"id is a string", `{"type":"Echo","id":"1"}`, ignored},
		{"id is null", `{"type":"Echo","id":null}`, ignored},
		{"id is 2^53", `{"type":"Echo","id":9007199254740992}`, ignored},
		{"id is huge", `{"type":"Echo","id":` + strings.Repeat("9", 400) + `}`, ignored},
		{"text after the object", `{"type":"Echo","id":1}{}`, answered},
		{"a comma too many", `{"type":"Echo","id":1,}`, answered},
		{"invalid UTF-8 in data", `{"type":"Echo","id":1,"data":"` + "\xff" + `"}`, answered},
		{"invalid UTF-8 in type", `{"id":1,"type":"` + "\xed\xa0\x80" + `"}`, ignored},
		{"invalid UTF-8 before", `{"x":"` + "\xc0\xaf" + `","type":"Echo","id":1}`, ignored},
		{"a lone surrogate in type", `{"id":1,"type":"\ud800"}`, ignored},
		{"a lone surrogate in a name", `{"type":"Echo","id":1,"\ud800":1}`, answered},
		{"a control character", "{\"type\":\"Echo\",\"id\":1,\"data\":\"\n\"}", answered},
		{"NaN", `{"type":"Echo","id":1,"data":NaN}`, answered},
		{"a single quote", `{"type":"Echo","id":1,"data":'x'}`, answered},
		{"nested 1,000 deep in data", `{"type":"Echo","id":1,"data":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, answered},
		{"100,000 nested arrays", `{"type":"Echo","id":1,"data":` + strings.Repeat("[", 100_000), answered},
		{"$ type that is malformed", `{"type":"$ack","id":1,"data":}`, ignored},
		{"$cancel without an id", `{"type":"$cancel"}`, ignored},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, log := newHandler(t, &kit{}, &wsctl.Options{MaxMessage: 1 << 20})
				c := serve(t, h).dial(t, nil)
				c.send(tt.message)
				if tt.answered {
					if got, want := c.read(), `{"type":"$error","id":1,"data":{"code":"bad_request",`; !strings.HasPrefix(got, want) {
						t.Errorf("got %s", got)
					}
				}
				c.quiet()
				if n := h.Stats().BadMessages; n != 1 {
					t.Errorf("%d bad messages", n)
				}
				if strings.Count(log.String(), "bad message") != 1 {
					t.Errorf("logged %q", log)
				}
				c.lives()
			})
		})
	}
}

// What looks bad and isn't: not counted, and it never closes.
func TestNoBadMessages(t *testing.T) {
	tests := []struct {
		name, message string
		want          string // the prefix of an answer, or none
	}{
		{"unknown type", msg("Nope", ""), ""},
		{"unknown type called", call(1, "Nope", ""), `{"type":"$error","id":1,"data":{"code":"not_found"`},
		{"a hook", call(1, "OnOpen", ""), `{"type":"$error","id":1,"data":{"code":"not_found"`},
		{"another case", call(1, "echo", ""), `{"type":"$error","id":1,"data":{"code":"not_found"`},
		{"wrong data", msg("Typed", `"x"`), ""},
		{"wrong data called", call(1, "Typed", `{"x":1,"x":2}`), `{"type":"$error","id":1,"data":{"code":"bad_request"`},
		{"a lone surrogate", call(1, "Typed", `"\ud800"`), `{"type":"$error","id":1,"data":{"code":"bad_request"`},
		{"$hello", msg("$hello", `{"try":1}`), ""},
		{"$ping", msg("$ping", ""), ""},
		{"$reply", call(1, "$reply", `1`), ""},
		{"unknown $ type", call(1, "$new", ""), ""},
		{"$cancel of nothing", call(1, "$cancel", ""), ""},
		{"unknown members", `{"room":1,"type":"Echo","x":{"x":[]},"id":1}`, replied(1, "null")},
		{"nested 999 deep in data", `{"type":"Echo","id":1,"data":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`, `{"type":"$reply","id":1,`},
		{"the largest id", call(1<<53-1, "Echo", "1"), call(1<<53-1, "$reply", "1")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, _ := newHandler(t, &kit{}, nil)
				c := serve(t, h).dial(t, nil)
				for range 30 {
					c.send(tt.message)
					if tt.want == "" {
						c.quiet()
					} else if got := c.read(); !strings.HasPrefix(got, tt.want) {
						t.Fatalf("got %s, want %s", got, tt.want)
					}
				}
				if n := h.Stats().BadMessages; n != 0 {
					t.Errorf("%d bad messages", n)
				}
				c.lives()
			})
		})
	}
}

// The eleventh bad message within 10 s closes; spread over more, they don't.
func TestTooManyBadMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &kit{}, nil)
		srv := serve(t, h)
		c := srv.dial(t, nil)
		for range 10 {
			c.send(`bad`)
			time.Sleep(900 * time.Millisecond)
		}
		c.lives()
		c.send(`bad`) // 9 s after the first
		c.wantClosed(4400, "")

		c = srv.dial(t, nil)
		for range 50 {
			c.send(`bad`, `{"type":"Echo","id":1,"data":}`)
			c.read()
			time.Sleep(2010 * time.Millisecond)
		}
		c.lives()
		if n := h.Stats().BadMessages; n != 111 {
			t.Errorf("%d bad messages, want 111", n)
		}
	})
}

// Unknown types, wrong data and bad messages at full speed fill no log.
func TestNoise(t *testing.T) {
	for name, message := range map[string]string{
		"unknown": msg("Nope", ""), "called": call(1, "Nope", ""), "data": msg("Typed", `"x"`), "$": msg("$x", ""),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, log := newHandler(t, &kit{}, &wsctl.Options{PingInterval: -1})
				c := serve(t, h).dial(t, nil)
				sent := make(chan bool)
				go func() {
					defer close(sent)
					for range 10_000 {
						c.send(message)
					}
					c.send(msg("Echo", "1"), call(2, "Echo", "2"))
				}()
				for c.read() != replied(2, "2") {
				}
				<-sent
				if n := strings.Count(log.String(), "\n"); n > 11 {
					t.Errorf("%d lines logged", n)
				}
				time.Sleep(11 * time.Second)
				c.send(msg("Nope", ""))
				c.quiet()
				if name == "unknown" && !strings.Contains(log.String(), "omitted=9990") {
					t.Errorf("the log doesn't say what it left out: %s", log)
				}
			})
		})
	}
}

// What breaks WebSocket itself, or the limits: the client can read why it is closed, after a valid answer to what came
// before.
func TestBrokenFrames(t *testing.T) {
	text := `{"type":"Echo","id":1}`
	tests := []struct {
		name string
		send [][]byte
		code int
	}{
		{"binary", [][]byte{rawFrame(0x82, text)}, 1003},
		{"binary in two frames", [][]byte{rawFrame(0x02, text), rawFrame(0x80, text)}, 1003},
		{"unmasked", [][]byte{append([]byte{0x81, byte(len(text))}, text...)}, 1002},
		{"reserved opcode", [][]byte{rawFrame(0x83, text)}, 1002},
		{"reserved control opcode", [][]byte{rawFrame(0x8b, "")}, 1002},
		{"reserved bit 1", [][]byte{rawFrame(0xc1, text)}, 1002},
		{"reserved bit 2", [][]byte{rawFrame(0xa1, text)}, 1002},
		{"fragmented ping", [][]byte{rawFrame(0x09, "")}, 1002},
		{"long ping", [][]byte{rawFrame(0x89, strings.Repeat("p", 126))}, 1002},
		{"a message within a message", [][]byte{rawFrame(0x01, `{"type":`), rawFrame(0x81, text)}, 1002},
		{"continuation of nothing", [][]byte{rawFrame(0x80, text)}, 1002},
		{"close code 1005", [][]byte{closeFrameOf(1005)}, 1002},
		{"close code 0", [][]byte{closeFrameOf(0)}, 1002},
		{"close reason isn't UTF-8", [][]byte{rawFrame(0x88, "\x03\xe8\xff")}, 1002},
		{"2^62 bytes declared", [][]byte{rawHeader(0x81, 1<<62), make([]byte, 128<<10)}, 1009},
		{"2^63-1 bytes declared", [][]byte{rawHeader(0x81, 1<<63-1), make([]byte, 128<<10)}, 1009},
		{"2^63 bytes declared", [][]byte{rawHeader(0x81, 1<<63)}, 1009},
		{"2^63 bytes declared in two frames", [][]byte{rawFrame(0x01, "{"), rawHeader(0x00, 1<<63-1)}, 1009},
		{"64 KiB + 1", [][]byte{rawFrame(0x81, strings.Repeat(" ", 64<<10+1))}, 1009},
		{"64 KiB + 1 in frames", [][]byte{rawFrame(0x01, strings.Repeat(" ", 64<<10)), rawFrame(0x80, " ")}, 1009},
		{"endless frames", [][]byte{rawFrame(0x01, " "), bytes.Repeat(rawFrame(0x00, "    "), 20_000)}, 1009},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, _ := newHandler(t, &kit{}, nil)
				c := serve(t, h).dial(t, nil)
				c.raw(rawFrame(0x81, call(7, "Echo", "7")))
				c.raw(tt.send...)
				messages, err := c.gone()
				if code, _ := closeOf(err); code != tt.code || fmt.Sprint(messages) != "["+replied(7, "7")+"]" {
					t.Errorf("got %v, then %v, want %d", messages, err, tt.code)
				}
				c.ws.Close()
				synctest.Wait()
				if st := h.Stats(); st.Closed[tt.code] != 1 || len(st.Closed) != 1 || st.Sockets != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// closeFrameOf is a client's close frame with any code.
func closeFrameOf(code uint16) []byte {
	return rawFrame(0x88, string([]byte{byte(code >> 8), byte(code)}))
}

// A client in the middle of a message that is too big can write on, and then reads why.
func TestBigMessage(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		max  int
		code int // 0: it is answered
	}{
		{"10 MB", 10_000_000, 0, 1009}, {"at the limit", 64 << 10, 0, 0}, {"one byte more", 64<<10 + 1, 0, 1009},
		{"own limit", 100, 100, 0}, {"own limit passed", 101, 100, 1009}, {"no limit", 1 << 20, math.MaxInt, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h, _ := newHandler(t, &kit{}, &wsctl.Options{MaxMessage: tt.max})
				c := serve(t, h).dial(t, nil)
				frame := len(call(1, "Echo", `""`))
				c.send(call(1, "Echo", `"`+strings.Repeat("x", tt.size-frame)+`"`))
				if tt.code > 0 {
					c.wantClosed(tt.code, "")
				} else if got := c.read(); !strings.HasPrefix(got, `{"type":"$reply","id":1`) {
					t.Errorf("got %.80s", got)
				}
			})
		})
	}
}

// deflated is a client's compressed message.
func deflated(t *testing.T, text string) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	w.Flush()
	return b.Bytes()[:b.Len()-4]
}

func TestCompression(t *testing.T) {
	open := func(t *testing.T, opts *wsctl.Options) (*client, *wsctl.Handler) {
		h, _ := newHandler(t, &kit{}, opts)
		srv := serve(t, h)
		c := &client{t: t}
		d := websocket.Dialer{EnableCompression: true, NetDialContext: srv.netDial(c)}
		ws, resp, err := d.Dial("ws://example.com/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Sec-Websocket-Extensions"); strings.Contains(got, "permessage-deflate") != opts.Compression {
			t.Fatalf("agreed on %q", got)
		}
		c.ws = ws
		t.Cleanup(func() { ws.Close() })
		return c, h
	}
	text := strings.Repeat("compress me. ", 100)
	echo, reply := call(1, "Echo", `"`+text+`"`), replied(1, `"`+text+`"`)

	t.Run("echo", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c, h := open(t, &wsctl.Options{Compression: true})
			for _, compress := range []bool{true, false, true} {
				c.ws.EnableWriteCompression(compress)
				c.send(echo)
				synctest.Wait()
				if n := c.nc.Buffered(); n > 300 || n < 20 {
					t.Errorf("the answer has %d bytes on the wire, %d without compression", n, len(reply))
				}
				c.want(reply)
			}
			d := deflated(t, echo)
			c.raw(rawFrame(0x41, string(d[:9])), rawFrame(0x89, "p"), rawFrame(0x00, string(d[9:20])), rawFrame(0x80, string(d[20:])))
			c.want(reply)
			c.raw(rawFrame(0x01, echo[:9]), rawFrame(0x80, echo[9:]))
			c.want(reply)
			h.Hub().Broadcast("m", text)
			synctest.Wait()
			if n := c.nc.Buffered(); n > 300 {
				t.Errorf("a broadcast has %d bytes on the wire", n)
			}
			c.want(msg("m", `"`+text+`"`))
			c.send(call(1, "Echo", `"small"`))
			synctest.Wait()
			if n := c.nc.Buffered(); n != 2+len(replied(1, `"small"`)) {
				t.Errorf("a small answer has %d bytes on the wire", n)
			}
			c.want(replied(1, `"small"`))
		})
	})
	t.Run("without option", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c, _ := open(t, &wsctl.Options{})
			c.send(echo)
			c.want(reply)
		})
	})
	t.Run("bomb", func(t *testing.T) {
		bomb := string(deflated(t, `{"type":"Echo","data":"`+strings.Repeat("x", 10<<20)))
		for _, split := range []bool{false, true} {
			bubble(t, func(t *testing.T) {
				c, _ := open(t, &wsctl.Options{Compression: true})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if split {
					c.raw(rawFrame(0x41, bomb[:100]), rawFrame(0x80, bomb[100:]))
				} else {
					c.raw(rawFrame(0xc1, bomb))
				}
				c.wantClosed(1009, "")
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
					t.Errorf("%d bytes were allocated for a bomb of %d", n, len(bomb))
				}
			})
		}
	})
	for name, frame := range map[string]string{
		"garbage":  "\xff\xff\xff\xff",
		"cut":      string(deflated(t, echo)[:20]),
		"rsv1 off": string(deflated(t, echo)),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, h := open(t, &wsctl.Options{Compression: true})
				if name == "rsv1 off" { // a bad message, no more
					c.raw(rawFrame(0x81, frame))
					c.lives()
					if h.Stats().BadMessages != 1 {
						t.Error("not counted")
					}
					return
				}
				c.raw(rawFrame(0xc1, frame))
				c.wantClosed(1002, "")
			})
		})
	}
}
