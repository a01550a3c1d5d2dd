package wsctl_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestProtocolDocument runs the exchanges of docs/PROTOCOL.md, so that what it says is what happens.
func TestProtocolDocument(t *testing.T) {
	doc, err := os.ReadFile("docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```wire.*?\n(.*?)^```").FindAllStringSubmatch(string(doc), -1)
	if len(blocks) < 5 {
		t.Fatalf("found %d exchanges", len(blocks))
	}
	for _, block := range blocks {
		bubble(t, func(t *testing.T) {
			h, _ := newHandler(t, &Chat{}, nil)
			c := serve(t, h).dial(t, nil)
			for line := range strings.Lines(block[1]) {
				line = strings.TrimSuffix(line, "\n")
				switch {
				case strings.HasPrefix(line, "> "):
					c.send(line[2:])
				case strings.HasPrefix(line, "< "):
					c.want(line[2:])
				default:
					t.Fatalf("a line that is neither sent nor received: %q", line)
				}
			}
			c.quiet()
		})
	}
}
