package wsctl

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Route is an exported method of a controller. One with a Type can be reached by clients; of every other the Reason
// says why it can't.
type Route struct {
	// Type is the message type, empty for a method that clients can't reach.
	Type string
	// Method is the method's name.
	Method string
	// Signature is the method's type, its receiver first.
	Signature string
	// Kind is "call" for a method with a result, "message" for one without (it may be called, too), "stream" for one whose
	// result is a sequence, "upload" for any other that takes one, "hook" for OnOpen, OnClose and OnUnknown, and empty for any
	// other method.
	Kind string
	// Reason says why clients can't reach the method.
	Reason string
	// Pos is the file:line of the method's declaration. It is empty for a method of an embedded interface.
	Pos string
}

// String returns one line that changes only when what clients can reach does: the method, its kind, its message type,
// its signature and the reason, but not where it is declared. Lines of several routes stand in columns, so that they
// make a golden file in which a change is seen in review.
func (r Route) String() string {
	typ := r.Type
	if strings.ContainsFunc(typ, func(c rune) bool { return c == ' ' || !strconv.IsPrint(c) }) {
		typ = strconv.Quote(typ)
	}
	s := fmt.Sprintf("%-20s %-7s %-20s %s", r.Method, cmp.Or(r.Kind, "-"), cmp.Or(typ, "-"), r.Signature)
	if r.Reason != "" {
		s += "  // " + r.Reason
	}
	return s
}

// SnakeCase returns a method's name in lower case, its words joined by underscores; an initialism is one word:
// ComputeGDC becomes compute_gdc, HTTPServer http_server. It is meant for Options.TypeName.
func SnakeCase(method string) string {
	return strings.ToLower(strings.Join(nameWords(method), "_"))
}

// CamelCase returns a method's name with its first word in lower case; an initialism is one word: ComputeGDC becomes
// computeGDC, HTTPServer httpServer. It is meant for Options.TypeName.
func CamelCase(method string) string {
	w := nameWords(method)
	if len(w) == 0 {
		return method
	}
	return strings.ToLower(w[0]) + strings.TrimPrefix(method, w[0])
}

// nameWords splits a name before each upper-case letter that begins a word, and at underscores.
func nameWords(name string) []string {
	var list []string
	for part := range strings.SplitSeq(name, "_") {
		r := []rune(part)
		start := 0
		for i := 1; i < len(r); i++ {
			if !isUpper(r[i]) {
				continue
			}
			// An upper-case letter after another belongs to its initialism, unless a word begins with it.
			if isUpper(r[i-1]) && (i+1 == len(r) || !unicode.IsLower(r[i+1]) || isPlural(r, i+1)) {
				continue
			}
			list = append(list, string(r[start:i]))
			start = i
		}
		if start < len(r) {
			list = append(list, string(r[start:]))
		}
	}
	return list
}

func isUpper(r rune) bool { return unicode.IsUpper(r) || unicode.IsTitle(r) }

// isPlural reports whether r[i] is the s of an initialism, as in IDs.
func isPlural(r []rune, i int) bool {
	return r[i] == 's' && (i+1 == len(r) || isUpper(r[i+1]))
}

// routeName is a message type, and the same in lower case.
type routeName struct{ typ, lower string }

// maxNear is the longest type, in bytes, that nearest looks at: clients choose what it works on.
const maxNear = 64

// nearest returns the one of names, which are sorted, that needs the fewest edits to become typ, or "" if none needs
// few. Upper and lower case are alike.
func nearest(names []routeName, typ string) string {
	if typ == "" || len(typ) > maxNear {
		return ""
	}
	best, limit := "", min(3, max(1, len(typ)/3))
	typ = strings.ToLower(typ)
	for _, n := range names {
		if len(n.lower) <= maxNear && len(typ) <= maxNear {
			if d := editDistance(n.lower, typ, limit); d <= limit {
				best, limit = n.typ, d-1
			}
		}
	}
	return best
}

// editDistance returns how many bytes must be inserted, removed or replaced to make b of a, or some number above limit.
// Neither may be longer than maxNear.
func editDistance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) > limit {
		return limit + 1
	}
	var row [maxNear + 1]int // the distances of a[:i] to all b[:j]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(d, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
			least = min(least, d)
		}
		if least > limit {
			return least
		}
	}
	return row[len(b)]
}

// problem is one thing wrong with a controller.
type problem struct {
	pos    string // file:line, or empty
	method string // or empty
	text   string
}

// compare orders problems by file, line, method and text.
func (p problem) compare(q problem) int {
	pf, pl := splitPos(p.pos)
	qf, ql := splitPos(q.pos)
	return cmp.Or(cmp.Compare(pf, qf), cmp.Compare(pl, ql), cmp.Compare(p.method, q.method), cmp.Compare(p.text, q.text))
}

func splitPos(pos string) (file string, line int) {
	i := strings.LastIndexByte(pos, ':')
	if i < 0 {
		return pos, 0
	}
	line, _ = strconv.Atoi(pos[i+1:])
	return pos[:i], line
}

// problems is everything wrong with a controller, as one error.
type problems struct {
	of   string // the controller's type
	list []problem
}

// Error lists the problems, one a line.
func (p *problems) Error() string {
	var b strings.Builder
	plural := "s"
	if len(p.list) == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "wsctl: %d problem%s with controller %s:", len(p.list), plural, p.of)
	for _, q := range p.list {
		b.WriteString("\n\t")
		for _, s := range []string{q.pos, q.method} {
			if s != "" {
				b.WriteString(s + ": ")
			}
		}
		b.WriteString(q.text)
	}
	return b.String()
}

// quoteCut quotes a client's text for a message, cut to a sensible length.
func quoteCut(s string) string {
	if len(s) > 100 {
		i := 100
		for !utf8.RuneStart(s[i]) {
			i--
		}
		s = s[:i] + "…"
	}
	return strconv.Quote(s)
}
