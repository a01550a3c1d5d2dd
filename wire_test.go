package wsctl_test

import (
	"iter"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/wsctl/wsctl"
)

// TestProtocolDocument runs the exchanges of docs/PROTOCOL.md, so that what it says is what happens.
func TestProtocolDocument(t *testing.T) {
	doc, err := os.ReadFile("docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```wire(.*?)\n(.*?)^```").FindAllStringSubmatch(string(doc), -1)
	if len(blocks) < 10 {
		t.Fatalf("found %d exchanges", len(blocks))
	}
	for _, block := range blocks {
		bubble(t, func(t *testing.T) {
			var opts *wsctl.Options
			if block[1] == " rooms" {
				opts = &wsctl.Options{Hub: &wsctl.Hub{History: func(string) wsctl.Retention { return wsctl.Retention{Messages: 10} }}, Resume: -1}
			}
			h, _ := newHandler(t, &wireChat{}, opts)
			srv := serve(t, h)
			v1 := block[1] == " v1" || block[1] == " rooms"
			dial := func() *client {
				if v1 {
					return srv.knock(t)
				}
				return srv.dial(t, nil)
			}
			c, secret := dial(), ""
			for line := range strings.Lines(block[2]) {
				line = strings.TrimSuffix(line, "\n")
				switch {
				case strings.HasPrefix(line, "> "):
					c.send(strings.ReplaceAll(line[2:], "…", secret))
				case strings.HasPrefix(line, "! somebody says "):
					if err := h.Hub().Room("go").Send("Said", Line{"go", strings.Trim(line[16:], `"`)}); err != nil {
						t.Fatal(err)
					}
				case strings.HasPrefix(line, "< "):
					got := c.read()
					if m := regexp.MustCompile(`"pos":"(\w+)\.`).FindStringSubmatch(got); m != nil {
						secret = m[1]
						got = strings.Replace(got, secret, "…", 1)
					}
					if m := regexp.MustCompile(`"session":"(.*?)"`).FindStringSubmatch(got); m != nil {
						secret = m[1]
					}
					got = regexp.MustCompile(`"(session|schema)":".*?"`).ReplaceAllString(got, `"$1":"…"`)
					if got != line[2:] {
						t.Fatalf("got  %s\nwant %s", got, line[2:])
					}
				case v1 && strings.HasPrefix(line, "! "):
					c.cut()
					c = dial()
				default:
					t.Fatalf("a line that is neither sent nor received: %q", line)
				}
			}
			c.quiet()
			c.raw(closeFrame(1000, ""))
		})
	}
}

// wireChat has the methods of the document.
type wireChat struct{ Chat }

func (*wireChat) Countdown(_ *wsctl.Socket, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for ; n > 0 && yield(n, nil); n-- {
		}
	}
}

func (*wireChat) Total(_ *wsctl.Socket, in iter.Seq2[int, error]) (sum int, err error) {
	for n, err := range in {
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (*wireChat) Greet(s *wsctl.Socket) (string, error) {
	var name string
	err := s.Call(s.Context(), "name", nil, &name)
	return "Hello, " + name, err
}
