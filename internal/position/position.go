// Package position is how a place in the history of a room is written: epoch.offset.
package position

import (
	"strconv"
	"strings"
)

// Position is a place in a history: after the message of that offset, or before the first where it is 0.
type Position struct {
	Epoch  string // changes when history was lost
	Offset uint64
}

// maxLen is more than any broker's positions need. They are kept by clients and travel in each message.
const maxLen = 128

// Parse reads a position. ok is false for what is none: an epoch that is empty or has a dot, an offset that isn't in plain
// decimal digits.
func Parse(s string) (p Position, ok bool) {
	epoch, offset, found := strings.Cut(s, ".")
	if !found || epoch == "" || len(s) > maxLen || offset == "" || offset[0] == '0' && offset != "0" {
		return Position{}, false
	}
	for _, c := range []byte(epoch) {
		if c-'0' > 9 && c|0x20-'a' > 25 && c != '-' && c != '_' {
			return Position{}, false
		}
	}
	for _, c := range []byte(offset) {
		if c-'0' > 9 {
			return Position{}, false
		}
	}
	n, err := strconv.ParseUint(offset, 10, 63) // so that a sum of two doesn't overflow
	if err != nil {
		return Position{}, false
	}
	return Position{epoch, n}, true
}

// String returns what Parse reads.
func (p Position) String() string { return p.Epoch + "." + strconv.FormatUint(p.Offset, 10) }
