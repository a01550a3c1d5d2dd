package wsctl_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// TestFramesAlike sends the same bytes, cut anywhere, over a connection of the kernel's, whose usual frames are taken by the
// conn itself, and over one that gorilla reads all of: what the server writes, and what OnClose is told, must be the same.
func TestFramesAlike(t *testing.T) {
	for _, limit := range []int{100, 1000, 16_300, 64 << 10} { // below, about and above the size of a block
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprintf("compress=%v,limit=%d", compress, limit), func(t *testing.T) {
				opts := &wsctl.Options{Compression: compress, MaxMessage: limit, PingInterval: -1}
				raw, wrapped := newFrameServer(t, opts, ways[0]), newFrameServer(t, opts, ways[1])
				for seed := range 60 {
					g := &frameGen{Rand: rand.New(rand.NewPCG(uint64(seed), 1)), seed: uint64(seed), limit: limit, compress: compress}
					g.stream()
					got, want := raw.run(t, g), wrapped.run(t, g)
					if g.fin { // whose connection is dropped, with what the network hasn't taken at once
						got.cutTo(want)
						want.cutTo(got)
					}
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("seed %d: %s\ngot  %v\nwant %v", seed, strings.Join(g.what, ", "), got, want)
					}
				}
			})
		}
	}
}

// frameOutcome is what came of a stream. A pong may overtake answers, so the two are apart.
type frameOutcome struct {
	texts, pongs []string
	closed       string // the close frame; empty: none came
	told         int
}

// cutTo drops what is behind the end of another outcome.
func (o *frameOutcome) cutTo(other frameOutcome) {
	o.texts, o.pongs = o.texts[:min(len(o.texts), len(other.texts))], o.pongs[:min(len(o.pongs), len(other.pongs))]
	if other.closed == "" {
		o.closed = ""
	}
}

func (o frameOutcome) String() string {
	return fmt.Sprintf("texts %.60q, pongs %.20q, close frame %q, OnClose was told %d", o.texts, o.pongs, o.closed, o.told)
}

type frameServer struct {
	h    *wsctl.Handler
	url  string
	d    *websocket.Dialer
	told chan error
}

func newFrameServer(t *testing.T, opts *wsctl.Options, w way) *frameServer {
	s := &frameServer{told: make(chan error, 1)}
	s.h, _ = newHandler(t, &kit{closed: func(_ *wsctl.Socket, err error) { s.told <- err }}, opts)
	s.url, s.d = w.serve(t, s.h)
	s.d.EnableCompression = opts.Compression
	return s
}

// run sends a stream and reads all that the server answers.
func (s *frameServer) run(t *testing.T, g *frameGen) frameOutcome {
	o := frameOutcome{texts: []string{}, pongs: []string{}}
	ws, _, err := s.d.Dial(s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	nc := ws.NetConn().(*net.TCPConn)
	_ = nc.SetDeadline(time.Now().Add(patience))
	go s.write(nc, g)
	for br := bufio.NewReader(nc); ; {
		first, payload, err := readServerFrame(br)
		switch {
		case err == io.EOF && o.closed != "", g.fin && (err == io.EOF || err == io.ErrUnexpectedEOF):
			ce, _ := errors.AsType[*wsctl.CloseError](<-s.told)
			o.told = ce.Code
			return o
		case err != nil, o.closed != "":
			t.Fatalf("seed %d: %s: %v, %q after %v", g.seed, strings.Join(g.what, ", "), err, payload, o)
		case first == 0x88:
			o.closed = "close " + payload
			_ = nc.CloseWrite() // the server reads on until then
		case first == 0x8a:
			o.pongs = append(o.pongs, payload)
		default:
			o.texts = append(o.texts, string(first)+payload)
		}
	}
}

// write sends a stream in pieces, some of which wake a reader.
func (s *frameServer) write(nc *net.TCPConn, g *frameGen) {
	dice := rand.New(rand.NewPCG(g.seed, 2))
	for b := g.b; len(b) > 0; {
		n := min(len(b), 1+dice.IntN([]int{3, 40, 3000, 1 << 20}[dice.IntN(4)]))
		if _, err := nc.Write(b[:n]); err != nil {
			return // the reader will say
		}
		if b = b[n:]; dice.IntN(4) == 0 {
			s.h.Rouse()
		}
	}
	if g.fin {
		_ = nc.CloseWrite()
	}
}

func readServerFrame(br *bufio.Reader) (first byte, payload string, err error) {
	var head [10]byte
	if _, err = io.ReadFull(br, head[:2]); err != nil {
		return 0, "", err
	}
	n := int(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(br, head[2:4])
		n = int(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, err = io.ReadFull(br, head[2:])
		n = int(binary.BigEndian.Uint64(head[2:]))
	}
	if err != nil {
		return 0, "", io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	_, err = io.ReadFull(br, b)
	return head[0], string(b), err
}

// frameGen makes a stream of a client's frames, good ones and bad ones.
type frameGen struct {
	*rand.Rand
	seed     uint64
	limit    int
	compress bool
	id       int
	b        []byte
	what     []string // for who reads of a failure
	fin      bool     // the stream ends with no close frame: the client half-closes
}

// frame appends a frame with a random mask, and its length in any of the encodings that can hold it.
func (g *frameGen) frame(first byte, payload string) {
	n := len(payload)
	size := 0
	switch other := first&8 == 0 && g.IntN(4) == 0; { // gorilla takes no other for control frames
	case n > 0xffff, other && g.IntN(2) == 0:
		size = 8
	case n > 125, other:
		size = 2
	}
	g.what = append(g.what, fmt.Sprintf("%02x:%d/%d", first, n, size))
	length := binary.BigEndian.AppendUint64(nil, uint64(n))
	switch size {
	case 0:
		g.b = append(g.b, first, 0x80|byte(n))
	case 2:
		g.b = append(append(g.b, first, 0x80|126), length[6:]...)
	default:
		g.b = append(append(g.b, first, 0x80|127), length...)
	}
	var key [4]byte
	if g.IntN(4) > 0 {
		binary.LittleEndian.PutUint32(key[:], g.Uint32())
	}
	g.b = append(g.b, key[:]...)
	for i := range n {
		g.b = append(g.b, payload[i]^key[i%4])
	}
}

// message is a call of about any size, sometimes too large; one that is too small for a call is a bad message.
func (g *frameGen) message() string {
	g.id++
	n := min(g.limit, []int{50, 125, 126, 127, 300, g.limit - 1, g.limit}[g.IntN(7)])
	if g.IntN(8) == 0 {
		n = []int{0, 1, g.limit + 1, 16<<10 - 9, 16<<10 - 8, 16<<10 - 7, 65_535, 65_536}[g.IntN(8)]
	}
	if room := n - len(call(g.id, "Echo", `""`)); room >= 0 {
		return call(g.id, "Echo", `"`+strings.Repeat("grün.", room/6+1)[:room/6*6]+strings.Repeat("x", room%6)+`"`)
	}
	return strings.Repeat("x", n)
}

func (g *frameGen) control() {
	g.frame([]byte{0x89, 0x8a}[g.IntN(2)], strings.Repeat("p", []int{0, 1, 20, 125}[g.IntN(4)]))
}

// fragments appends a message in several frames, with control frames between.
func (g *frameGen) fragments(first byte, m string) {
	for {
		n := g.IntN(len(m) + 1)
		if g.IntN(3) == 0 {
			n = len(m)
		}
		if n == len(m) && g.IntN(3) > 0 {
			g.frame(first|0x80, m)
			return
		}
		g.frame(first, m[:n])
		first, m = 0, m[n:]
		if g.IntN(3) == 0 {
			g.control()
		}
	}
}

// deflated is m as permessage-deflate has it, now and then with a final block and something behind it.
func (g *frameGen) deflated(m string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, []int{flate.NoCompression, flate.BestSpeed}[g.IntN(2)])
	_, _ = w.Write([]byte(m))
	if g.IntN(3) == 0 {
		_ = w.Close()
		return b.String() + strings.Repeat("\x00", []int{0, 1, 3, 600, 5000}[g.IntN(5)])
	}
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// bad appends what breaks the protocol.
func (g *frameGen) bad() {
	switch g.IntN(6) {
	case 0:
		g.b = append(g.b, []byte{0x81, 0x89, 0x8a, 0x01, 0x88}[g.IntN(5)], byte(g.IntN(128)), 'x') // no mask
		g.what = append(g.what, "unmasked")
	case 1:
		g.frame([]byte{0x89, 0x8a, 0x88}[g.IntN(3)], strings.Repeat("x", 126+g.IntN(2)*100))
	case 2:
		g.b = append(g.b, 0x81, 0xff, 0x80|byte(g.IntN(128)), 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4) // of more than 2^63-1
		g.what = append(g.what, "endless")
	case 3:
		g.frame(0x01, "{")
		g.frame(0x81, "x") // while another is open
	default:
		g.frame("\x82\x02\xa1\x91\xc9\xca\xa0\x83\x8b\x09\x0a\x80\x00\xc0\xc1\xc2"[g.IntN(16)], g.message())
	}
}

// stream appends frames, and an end.
func (g *frameGen) stream() {
	for range g.IntN(12) {
		switch g.IntN(8) {
		case 0:
			g.control()
		case 1:
			g.fragments(0x01, g.message())
		case 2, 3:
			if m := g.deflated(g.message()); g.compress && g.IntN(2) == 0 {
				g.fragments(0x41, m)
			} else if g.compress {
				g.frame(0xc1, m)
			}
		default:
			g.frame(0x81, g.message())
		}
	}
	if g.IntN(3) == 0 {
		g.bad()
	}
	if g.IntN(4) == 0 { // the last frame is cut
		from, m := len(g.b), g.message()
		if g.IntN(2) == 0 {
			m = strings.Repeat("x", g.limit+100)
		}
		g.frame(0x81, m)
		g.b = g.b[:from+g.IntN(len(g.b)-from)]
		g.what = append(g.what, "cut")
		g.fin = true
		return
	}
	if g.IntN(4) == 0 {
		g.frame(0x01, "{") // the close comes between fragments
	}
	ends := []string{"", "x", "\x03\xe8", "\x0b\xb8bye", "\x03\xe7", "\x03\xe8\xff", "\x03\xed", "\x03\xe9" + strings.Repeat("x", 123)}
	g.frame(0x88, ends[g.IntN(len(ends))])
}
