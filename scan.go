package wsctl

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads a message once and proves it to be JSON of RFC 8259 in UTF-8. Its methods take the index where
// something begins and return the index after it, or -1 when they have noted a fault.
type scanner struct {
	b     []byte
	fault scanError
}

// fail notes the fault. At the end of the message that is always the end.
func (s *scanner) fail(at int, what string) int {
	if at >= len(s.b) {
		at, what = len(s.b), "unexpected end"
	}
	s.fault = scanError{what, at}
	return -1
}

// value proves one value of any kind. It doesn't recurse, so that deep nesting costs no stack.
func (s *scanner) value(i int) int {
	b := s.b
	if i < len(b) && b[i] != '{' && b[i] != '[' {
		return s.scalar(i)
	}
	var (
		objects [maxDepth/64 + 1]uint64 // a bit per level: the container open there is an object
		level   = 1
		closer  byte // what ends the innermost container
	)
	for {
		// A value begins at i.
		if i == len(b) {
			return s.fail(i, "")
		}
		if c := b[i]; c == '{' || c == '[' {
			if level++; level > maxDepth {
				return s.fail(i, "nested deeper than 1,000")
			}
			closer = c + 2
			bit := uint64(1) << (level & 63)
			objects[level>>6] &^= bit
			if c == '{' {
				objects[level>>6] |= bit
			}
			if i = space(b, i+1); i == len(b) {
				return s.fail(i, "")
			}
			if b[i] != closer {
				if c == '{' {
					if i = s.member(i); i < 0 {
						return -1
					}
				}
				continue
			}
		} else if i = s.scalar(i); i < 0 {
			return -1
		}

		// A value has ended before i: close what ends with it, and go on to the next.
		for {
			if i = space(b, i); i == len(b) {
				return s.fail(i, "")
			}
			if b[i] != closer {
				break
			}
			i++
			if level--; level == 1 {
				return i
			}
			closer = ']'
			if objects[level>>6]>>(level&63)&1 != 0 {
				closer = '}'
			}
		}
		if b[i] != ',' {
			return s.fail(i, "comma or closing bracket expected")
		}
		i = space(b, i+1)
		if closer == '}' {
			if i = s.member(i); i < 0 {
				return -1
			}
		}
	}
}

// member proves a name and its colon, and returns where the value begins.
func (s *scanner) member(i int) int {
	i, _ = s.string(i)
	if i < 0 {
		return -1
	}
	return s.colon(i)
}

// colon proves a colon between a name and its value, and returns where the value begins.
func (s *scanner) colon(i int) int {
	b := s.b
	if i < len(b)-1 && b[i] == ':' && b[i+1] > ' ' { // no white space, as usual
		return i + 1
	}
	if i = space(b, i); i == len(b) || b[i] != ':' {
		return s.fail(i, "colon expected")
	}
	return space(b, i+1)
}

func (s *scanner) scalar(i int) int {
	b := s.b
	var word string
	switch b[i] {
	case '"':
		i, _ = s.string(i)
		return i
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return s.number(i)
	}
	for k := range len(word) {
		if i+k == len(b) || b[i+k] != word[k] {
			return s.fail(i+k, "not a value")
		}
	}
	return i + len(word)
}

func (s *scanner) number(i int) int {
	b := s.b
	start := i
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = s.digits(i); i < 0 {
		if start == s.fault.at {
			s.fault.what = "not a value"
		}
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = s.digits(i + 1); i < 0 {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return s.digits(i)
	}
	return i
}

func (s *scanner) digits(i int) int {
	b := s.b
	if i == len(b) || b[i]-'0' > 9 {
		return s.fail(i, "digit expected")
	}
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// string proves one string. It looks at eight bytes at a time.
func (s *scanner) string(i int) (end int, escaped bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b := s.b
	if i >= len(b) || b[i] != '"' {
		return s.fail(i, "string expected"), false
	}
	i++
	for {
		for ; len(b)-i >= 8; i += 8 {
			x := binary.LittleEndian.Uint64(b[i:])
			// The high bit of a byte is set if the byte is a quote, a backslash, a control character or not ASCII. A
			// borrow may set it in later bytes as well, never before the first.
			found := x | (x - ' '*ones) | ((x ^ '"'*ones) - ones) | ((x ^ '\\'*ones) - ones)
			if found &= highs; found != 0 {
				if i += bits.TrailingZeros64(found) >> 3; b[i] == '"' {
					return i + 1, escaped
				}
				break
			}
		}
		for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' && b[i] < utf8.RuneSelf {
			i++
		}
		if i == len(b) {
			return s.fail(i, ""), false
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			if i = s.escape(i); i < 0 {
				return -1, false
			}
		case c < ' ':
			return s.fail(i, "control character in a string"), false
		default:
			run := i
			for i < len(b) && b[i] >= utf8.RuneSelf {
				i++
			}
			if !utf8.Valid(b[run:i]) {
				return s.fail(run+validPrefix(b[run:i]), "invalid UTF-8"), false
			}
		}
	}
}

// escape proves the escape whose backslash is at i.
func (s *scanner) escape(i int) int {
	b := s.b
	if i++; i == len(b) {
		return s.fail(i, "")
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for range 4 {
			if i++; i == len(b) || hex(b[i]) < 0 {
				return s.fail(i, "hexadecimal digit expected")
			}
		}
		return i + 1
	}
	return s.fail(i, "bad escape")
}

// unescape returns what the proved string b[i:end], with its quotes, stands for; nil if it has a lone surrogate. It
// stops when it has more than limit bytes.
func (s *scanner) unescape(i, end, limit int) []byte {
	out := make([]byte, 0, min(end-i, limit+utf8.UTFMax))
	for i, end = i+1, end-1; i < end && len(out) <= limit; {
		c := s.b[i]
		if c != '\\' {
			out = append(out, c)
			i++
		} else if c = s.b[i+1]; c != 'u' {
			out = append(out, "\b\f\n\r\t\"\\/"[strings.IndexByte("bfnrt\"\\/", c)])
			i += 2
		} else {
			at, r := i, hex4(s.b[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				if end-i >= 6 && s.b[i] == '\\' && s.b[i+1] == 'u' {
					r = utf16.DecodeRune(r, hex4(s.b[i+2:]))
					i += 6
				} else {
					r = utf8.RuneError
				}
				if r == utf8.RuneError {
					s.fail(at, "lone surrogate")
					return nil
				}
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// hex is what a hexadecimal digit stands for, -1 for any other byte.
func hex(c byte) rune {
	switch {
	case c-'0' <= 9:
		return rune(c - '0')
	case c|0x20-'a' <= 5:
		return rune(c|0x20-'a') + 10
	}
	return -1
}

// hex4 is what four proved hexadecimal digits stand for.
func hex4(b []byte) rune { return hex(b[0])<<12 | hex(b[1])<<8 | hex(b[2])<<4 | hex(b[3]) }

func begins(b []byte, with string) bool { return len(b) >= len(with) && string(b[:len(with)]) == with }

// space returns the index of the first byte from i on that isn't white space.
func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// validPrefix returns how many bytes of b come before the first that is invalid UTF-8.
func validPrefix(b []byte) int {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}
