package wsctl

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

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

// controller is a value with its table. A nil controller has no routes.
type controller struct {
	value any
	recv  reflect.Value // of value
	table *table

	opener   Opener // the hooks that value has, else nil
	closer   Closer
	fallback Fallback
}

// route is one method that clients can reach.
type route struct {
	name     string // the message type
	kind     string // routeCall and following, but no hook
	ctx      bool   // takes a context
	out      bool   // has a result beside the error
	err      bool   // its last result is an error
	method   string // the Go name
	pos      string // file:line
	fn       reflect.Value
	argument              // In
	indirect reflect.Type // the result's or the items', if it is a struct that an interface holds by a pointer

	yield  reflect.Type // of its result, a sequence; nil: it is none
	upload reflect.Type // of its argument that is a sequence; nil: it has none
	item   argument     // of that sequence
}

// streams tells whether the method's result or an argument of it is a sequence.
func (r *route) streams() bool { return r.yield != nil || r.upload != nil }

// argument is what JSON is decoded into for a method.
type argument struct {
	in       reflect.Type  // the type, or what it points to; nil: there is none
	absent   reflect.Value // nil where the type is a pointer, else invalid
	raw      bool          // it takes the bytes as they are
	validate bool          // it has Validate, or a pointer to it
}

// Kinds of a Route.
const (
	routeCall    = "call"    // has a result
	routeMessage = "message" // has none; may be called too
	routeStream  = "stream"  // its result is a sequence
	routeUpload  = "upload"  // takes a sequence, and returns none
	routeHook    = "hook"
)

type validator interface{ Validate() error }

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
	t.mu.Lock()
	list := slices.Clone(t.declared)
	t.mu.Unlock()
	slices.SortStableFunc(list, func(a, b *table) int {
		return cmp.Or(cmp.Compare(a.typ.String(), b.typ.String()), cmp.Compare(pkgPath(a.typ), pkgPath(b.typ)))
	})
	var rows []Route
	for _, tab := range list {
		rows = append(rows, tab.rows...)
	}
	return rows
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

// call decodes data (nil: absent) into the method's In, validates it, and calls the method on c. A failure to decode is
// an [*Error] of CodeBadRequest that says where; the result of a method without an Out is nil. encode says that the
// result is for nothing but to be encoded.
func (r *route) call(c *controller, ctx context.Context, s *Socket, data []byte, encode bool) (any, error) {
	var buf [5]reflect.Value
	args, err := r.args(buf[:0], c, ctx, s, data)
	if err != nil {
		return nil, err
	}
	return r.result(r.fn.Call(args), encode)
}

// args appends the arguments of a call, but for a sequence.
func (r *route) args(args []reflect.Value, c *controller, ctx context.Context, s *Socket, data []byte) ([]reflect.Value, error) {
	args = append(args, c.recv)
	if r.ctx {
		ctx := ctx // only a method that takes it has it moved to the heap
		args = append(args, reflect.ValueOf(&ctx).Elem())
	}
	args = append(args, reflect.ValueOf(s))
	if r.in != nil {
		in, err := r.decode(data)
		if err != nil {
			return nil, err
		}
		args = append(args, in)
	}
	return args, nil
}

// result is what a method has returned.
func (r *route) result(out []reflect.Value, encode bool) (any, error) {
	if r.err {
		if err := out[len(out)-1]; !err.IsNil() {
			return nil, err.Interface().(error)
		}
	}
	if !r.out {
		return nil, nil
	}
	result := out[0].Interface()
	if encode && r.indirect != nil {
		// JSON is made from what can be addressed: of a struct it would make a copy, a twentieth of a call's time. Call has
		// just made this one, nobody else has it, and it is what the interface's second word points to.
		p := (*[2]unsafe.Pointer)(unsafe.Pointer(&result))[1]
		result = reflect.NewAt(r.indirect, p).Interface()
	}
	return result, nil
}

// errItemsTwice is what a sequence of a client's items says after its one use.
var errItemsTwice = errors.New("wsctl: a client's stream can be ranged over once, while its method runs")

// callStream is call for a method that streams. items are what the client streams; each is good until the next. The method
// gets them decoded; one that doesn't decode ends its sequence with an [*Error] of CodeBadRequest. emit is given what the
// method's sequence yields, to be encoded before it returns, and tells whether more is wanted. An error ends the sequence, and is
// returned.
func (r *route) callStream(c *controller, ctx context.Context, s *Socket, data []byte, items iter.Seq2[[]byte, error], emit func(v any) bool) (any, error) {
	var buf [5]reflect.Value
	args, err := r.args(buf[:0], c, ctx, s, data)
	if err != nil {
		return nil, err
	}
	var used, over atomic.Bool
	if r.upload != nil {
		args = append(args, reflect.MakeFunc(r.upload, func(in []reflect.Value) []reflect.Value {
			if used.Swap(true) || over.Load() {
				r.item.yield(in[0], nil, errItemsTwice)
				return nil
			}
			for b, err := range items {
				if over.Load() {
					err = errItemsTwice
				}
				if !r.item.yield(in[0], b, err) {
					break
				}
			}
			return nil
		}))
	}
	defer over.Store(true)
	out := r.fn.Call(args)
	if r.yield == nil {
		return r.result(out, false)
	}
	if r.err {
		if err := out[1]; !err.IsNil() {
			return nil, err.Interface().(error)
		}
	}
	return nil, r.iterate(out[0], emit)
}

var yieldMore, yieldEnd = []reflect.Value{reflect.ValueOf(true)}, []reflect.Value{reflect.ValueOf(false)}

// iterate emits what a method's sequence yields; a nil one is empty.
func (r *route) iterate(seq reflect.Value, emit func(v any) bool) (failed error) {
	if seq.IsNil() {
		return nil
	}
	var value reflect.Value // of a struct: JSON is made from what can be addressed
	if r.indirect != nil {
		value = reflect.New(r.indirect)
	}
	var over atomic.Bool // it may go on yielding nevertheless
	defer over.Store(true)
	seq.Call([]reflect.Value{reflect.MakeFunc(r.yield, func(in []reflect.Value) []reflect.Value {
		more := false
		switch {
		case over.Load():
		case !in[1].IsNil():
			failed = in[1].Interface().(error)
		case value.IsValid():
			value.Elem().Set(in[0])
			more = emit(value.Interface())
		default:
			more = emit(in[0].Interface())
		}
		if !more {
			over.Store(true)
			return yieldEnd
		}
		return yieldMore
	})})
	return failed
}

// yield gives an item to the method that ranges over them, and tells whether it wants more.
func (a *argument) yield(fn reflect.Value, data []byte, err error) bool {
	v := reflect.Zero(fn.Type().In(0))
	if err == nil {
		if item, e := a.decode(data); e != nil {
			err = e
		} else {
			v = item
		}
	}
	return fn.Call([]reflect.Value{v, reflect.ValueOf(&err).Elem()})[0].Bool() && err == nil
}

// decode makes a value of data; nil: absent.
func (a *argument) decode(data []byte) (in reflect.Value, err error) {
	isPointer := a.absent.IsValid()
	if isPointer && (data == nil || string(bytes.TrimSpace(data)) == "null") {
		return a.absent, nil
	}
	p := reflect.New(a.in)
	switch {
	case data == nil:
	case a.raw:
		p.Elem().SetBytes(bytes.Clone(data))
	default:
		if err := json.Unmarshal(data, p.Interface()); err != nil {
			return in, decodeError(err)
		}
	}
	if a.validate {
		if err := p.Interface().(validator).Validate(); err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				err = &Error{Code: CodeBadRequest, Message: err.Error()}
			}
			return in, err
		}
	}
	if isPointer {
		return p, nil
	}
	return p.Elem(), nil
}

// decodeError tells the client where its data is wrong, and nothing of the Go program.
func decodeError(err error) *Error {
	where := func(p jsontext.Pointer) string {
		if p == "" {
			return "data: "
		}
		return "data at " + quoteCut(string(p)) + ": "
	}
	e := &Error{Code: CodeBadRequest, Message: "data: malformed JSON"}
	switch err := err.(type) {
	case *json.SemanticError:
		found, want := kindName(err.JSONKind), wantName(err.GoType)
		text := found + " doesn't fit"
		if want != "" && want != found && found != "value" {
			text = "found " + found + ", want " + want
		}
		e.Message = where(err.JSONPointer) + text
	case *jsontext.SyntacticError:
		text := "malformed JSON"
		if err.Err == jsontext.ErrDuplicateName {
			text = "duplicate name"
		}
		e.Message = where(err.JSONPointer) + text
	}
	return e
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	case '"':
		return "string"
	case '0':
		return "number"
	case '{', '}':
		return "object"
	case '[', ']':
		return "array"
	}
	return "value"
}

// wantName is the kind of JSON that a plain Go type is decoded from, empty for one that decodes itself.
func wantName(t reflect.Type) string {
	if t == nil || implementsAny(t, decoders) {
		return ""
	}
	switch k := t.Kind(); {
	case k == reflect.Bool:
		return "boolean"
	case k == reflect.String, k == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return "string"
	case k >= reflect.Int && k <= reflect.Float64:
		return "number"
	case k == reflect.Slice, k == reflect.Array && t.Elem().Kind() != reflect.Uint8:
		return "array"
	case k == reflect.Map, k == reflect.Struct:
		return "object"
	}
	return ""
}

// route returns the route of a message type, or nil.
func (c *controller) route(typ []byte) *route {
	if c == nil {
		return nil
	}
	return c.table.byName[string(typ)]
}

// nearest returns the message type that typ may have been meant to be, or "".
func (c *controller) nearest(typ string) string {
	if c == nil {
		return ""
	}
	return nearest(c.table.names, typ)
}

// same reports whether c and d are one controller.
func (c *controller) same(d *controller) bool {
	if c == nil || d == nil || c == d {
		return c == d
	}
	return c.table.typ == d.table.typ && c.recv.Comparable() && c.value == d.value
}
