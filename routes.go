package wsctl

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	// result is a sequence, "upload" for any other that takes a sequence, "hook" for OnOpen, OnClose and OnUnknown, and
	// empty for any other method.
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

// tables prepares the controllers of one Handler: one table per controller type, built once and shared.
type tables struct {
	typeName func(string) string // nil: the method's name
	byType   sync.Map            // reflect.Type to *table

	mu       sync.Mutex // guards following
	declared []*table
}

// table is what clients may do with controllers of one type. It doesn't change once built. controller.go reads the type.
type table struct {
	typ      reflect.Type
	byName   map[string]*route // by message type
	names    []routeName       // of byName, sorted, for nearest
	rows     []Route           // of every exported method, sorted
	embedded []*embeddedField  // what exposed methods are promoted from, where that can be nil
	problems []problem
}

// newTables returns tables whose message types are named by typeName; nil: by the method's name.
func newTables(typeName func(string) string) *tables {
	return &tables{typeName: typeName}
}

// declare checks c as bind does, and has routes list its methods.
func (t *tables) declare(c any) error {
	ctl, err := t.bind(c)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.declared, ctl.table) {
		t.declared = append(t.declared, ctl.table)
	}
	return nil
}

// bind returns c with its table. The error is one message of every problem that c has. Safe for concurrent use.
func (t *tables) bind(c any) (*controller, error) {
	v := reflect.ValueOf(c)
	if text := notController(v); text != "" {
		return nil, &problems{of: fmt.Sprintf("%T", c), list: []problem{{text: text}}}
	}
	tab := t.table(v.Type())
	list := slices.Clip(tab.problems) // shared
	for _, e := range tab.embedded {
		if p, isNil := e.check(reflect.Indirect(v)); isNil {
			list = append(list, p)
		}
	}
	if len(list) > 0 {
		return nil, &problems{of: tab.typ.String(), list: slices.SortedFunc(slices.Values(list), problem.compare)}
	}
	ctl := &controller{value: c, recv: v, table: tab}
	ctl.opener, _ = c.(Opener)
	ctl.closer, _ = c.(Closer)
	ctl.fallback, _ = c.(Fallback)
	return ctl, nil
}

// notController says why v can't be a controller, whatever its methods; empty if it can.
func notController(v reflect.Value) string {
	const want = "a controller is a struct or a pointer to one, not "
	switch {
	case !v.IsValid():
		return want + "nil"
	case v.Kind() == reflect.Struct:
		return ""
	case v.Kind() != reflect.Pointer:
		return want + "of kind " + v.Kind().String()
	case v.Type().Elem().Kind() != reflect.Struct:
		return want + "a pointer to kind " + v.Type().Elem().Kind().String()
	case v.IsNil():
		return want + "a nil pointer"
	}
	return ""
}

// table returns the table of a controller type.
func (t *tables) table(typ reflect.Type) *table {
	tab, ok := t.byType.Load(typ)
	if !ok {
		// Built under no lock, since typeName is the user's. Of two built at once the first one stays.
		tab, _ = t.byType.LoadOrStore(typ, t.build(typ))
	}
	return tab.(*table)
}

// routes returns every exported method of all declared controllers, sorted by controller and method.
func (t *tables) routes() []Route {
	var rows []Route
	for _, tab := range t.list() {
		rows = append(rows, tab.rows...)
	}
	return rows
}

// list returns the tables of all declared controllers, sorted.
func (t *tables) list() []*table {
	t.mu.Lock()
	list := slices.Clone(t.declared)
	t.mu.Unlock()
	slices.SortStableFunc(list, func(a, b *table) int {
		return cmp.Or(cmp.Compare(a.typ.String(), b.typ.String()), cmp.Compare(pkgPath(a.typ), pkgPath(b.typ)))
	})
	return list
}

func pkgPath(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

// build makes the table of a controller type and notes every problem that values of it have in common.
func (t *tables) build(typ reflect.Type) *table {
	tab := &table{typ: typ, byName: map[string]*route{}}
	elem := typ
	if typ.Kind() == reflect.Pointer {
		elem = typ.Elem()
	}
	all := typeMembers(elem)
	exposed := false
	for m := range typ.Methods() {
		row, isExposed := t.add(tab, m, all[m.Name])
		tab.rows = append(tab.rows, row)
		exposed = exposed || isExposed
	}
	if typ == elem { // a value: what only its pointer has is out of reach
		for m := range reflect.PointerTo(elem).Methods() {
			if _, ok := typ.MethodByName(m.Name); ok {
				continue
			}
			if row, isExposed := t.add(tab, m, all[m.Name]); isExposed {
				tab.problem(row.Pos, m.Name, "it has a pointer receiver, but a value was passed: pass &"+elem.String()+"{}")
			}
		}
	}
	for method, ms := range all {
		exposable := func(m typeMember) bool { return m.typ != nil && isExposable(method, m.typ, m.recv) }
		if len(ms) > 1 && slices.ContainsFunc(ms, exposable) {
			slices.SortFunc(ms, func(a, b typeMember) int { return cmp.Compare(a.path, b.path) })
			tab.problem(posOf(ms), method, fmt.Sprintf("those of %v and %v hide each other, so that Go promotes neither: declare one on %v",
				ms[0], ms[1], elem))
		}
	}
	if !exposed && len(tab.problems) == 0 {
		tab.problem("", "", "nothing to do: no method takes a *wsctl.Socket, and there is no hook")
	}
	for _, n := range slices.Sorted(maps.Keys(tab.byName)) {
		tab.names = append(tab.names, routeName{n, strings.ToLower(n)})
	}
	return tab
}

// add takes one method into the table, and describes it. ms are its declarations: one, or none known.
func (t *tables) add(tab *table, m reflect.Method, ms []typeMember) (row Route, exposed bool) {
	row = Route{Method: m.Name, Signature: m.Type.String(), Pos: posOf(ms)}
	promoted := len(ms) > 0 && len(ms[0].index) > 0
	if want, ok := hookTypes[m.Name]; ok {
		switch {
		case sameFunc(m.Type, 1, want):
			row.Kind, row.Reason = routeHook, "hook: called by the server"
			tab.promoted(m.Name, ms)
			return row, true
		case promoted:
			row.Reason = "promoted " + m.Name + " of another signature: no hook"
		default:
			row.Reason = "not the signature of the hook"
			tab.problem(row.Pos, m.Name, "the hook is a "+want.String())
		}
		return row, false
	}
	if !takesSocket(m.Type, 1) {
		row.Reason = "takes no *wsctl.Socket"
		return row, false
	}
	r, faults := newRoute(m)
	r.name, r.method, r.pos = m.Name, m.Name, row.Pos
	if t.typeName != nil {
		r.name = t.typeName(m.Name)
	}
	if fault := typeFault(r.name); fault != "" {
		faults = append(faults, fmt.Sprintf("its message type %.*q %s", maxName, r.name, fault))
	} else if other := tab.byName[r.name]; other != nil {
		faults = append(faults, fmt.Sprintf("its message type %q is that of %s, too (%s)", r.name, other.method, other.pos))
	} else {
		tab.byName[r.name] = r
	}
	for _, fault := range faults {
		tab.problem(row.Pos, m.Name, fault)
	}
	tab.promoted(m.Name, ms)
	row.Type, row.Kind = r.name, r.kind
	return row, true
}

// promoted notes what a method that the server will call is promoted from, if that can be nil.
func (tab *table) promoted(method string, ms []typeMember) {
	if len(ms) == 0 || !ms[0].canBeNil {
		return
	}
	m := ms[0]
	i := slices.IndexFunc(tab.embedded, func(e *embeddedField) bool { return slices.Equal(e.index, m.index) })
	if i < 0 {
		tab.embedded = append(tab.embedded, &embeddedField{index: m.index, method: method, pos: m.pos})
		return
	}
	tab.embedded[i].more = append(tab.embedded[i].more, method)
}

func (tab *table) problem(pos, method, text string) {
	tab.problems = append(tab.problems, problem{pos, method, text})
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
