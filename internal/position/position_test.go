package position

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, s := range []string{"a.0", "A-z_9.1", "e.9223372036854775807"} {
		if p, ok := Parse(s); !ok || p.String() != s {
			t.Errorf("Parse(%q) = %v, %v", s, p, ok)
		}
	}
	for _, s := range []string{"", ".", "e", "e.", ".1", "e.-1", "e.+1", "e.01", "e.1.2", "e.1 ", " e.1", "é.1", "e\x00.1", "e.9223372036854775808",
		strings.Repeat("e", 200) + ".1"} {
		if p, ok := Parse(s); ok {
			t.Errorf("Parse(%q) = %v", s, p)
		}
	}
}
