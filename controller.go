package wsctl

import (
	"cmp"
	"context"
	"encoding"
	jsonv1 "encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// How dispatch.go reads the types of controllers: the forms of methods, and what is promoted from embedded fields.

var (
	contextType = reflect.TypeFor[context.Context]()
	socketType  = reflect.TypeFor[*Socket]()
	errorType   = reflect.TypeFor[error]()

	hookTypes = map[string]reflect.Type{
		"OnOpen":    reflect.TypeFor[func(*Socket, *http.Request) error](),
		"OnClose":   reflect.TypeFor[func(*Socket, error)](),
		"OnUnknown": reflect.TypeFor[func(context.Context, *Socket, Message) (any, error)](),
	}
	// Types that say themselves what they are in JSON.
	decoders = []reflect.Type{
		reflect.TypeFor[json.UnmarshalerFrom](), reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[encoding.TextUnmarshaler](),
	}
	encoders = []reflect.Type{
		reflect.TypeFor[json.MarshalerTo](), reflect.TypeFor[json.Marshaler](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextAppender](),
	}
)

// newRoute reads the form of a method that takes a *Socket, and lists what is wrong with it.
func newRoute(m reflect.Method) (r *route, faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	r = &route{fn: m.Func, kind: routeMessage}
	if m.Type.IsVariadic() {
		fault("it is variadic: take a slice as its one argument")
	}
	in := slices.Collect(m.Type.Ins())[1:]
	if in[0] == contextType {
		r.ctx, in = true, in[1:]
	}
	if in[0] == socketType {
		in = in[1:]
	} else {
		fault("the *wsctl.Socket isn't the first parameter, or the second after a context.Context")
		in = slices.Delete(in, slices.Index(in, socketType), slices.Index(in, socketType)+1)
	}
	if slices.Contains(in, socketType) {
		fault("it takes more than one *wsctl.Socket")
	}
	if slices.Contains(in, contextType) {
		fault("the context.Context isn't the first parameter, and the only one")
	}
	in = slices.DeleteFunc(in, func(t reflect.Type) bool { return t == socketType || t == contextType })
	others := slices.DeleteFunc(slices.Clone(in), isSeq)
	switch n := len(in); {
	case len(others) == n:
	case len(others) < n-1:
		fault("it takes %d sequences: it can take one", n-len(others))
	case !isSeq(in[n-1]):
		fault("its sequence isn't the last argument")
	default:
		r.seq = in[n-1]
		r.upload, r.kind = seqOf(r.seq), routeUpload
		r.item = newDataType(r.upload)
		if why := unfit(r.upload, decoders, true); why != "" {
			fault("its argument %v: %v %s", r.seq, r.upload, why)
		}
	}
	switch {
	case len(others) > 1:
		fault("it takes %d arguments after the *wsctl.Socket: take one struct", len(others))
	case len(others) == 1 && !m.Type.IsVariadic():
		if why := unfit(others[0], decoders, true); why != "" {
			fault("its argument %v %s", others[0], why)
		}
		r.in = newDataType(others[0])
	}

	out := slices.Collect(m.Type.Outs())
	if n := len(out); n > 0 && out[n-1] == errorType {
		r.err, out = true, out[:n-1]
	}
	switch {
	case len(out) > 1 && slices.ContainsFunc(out, isSeq):
		fault("its results aren't (iter.Seq2[Out, error], error) or iter.Seq2[Out, error]: a sequence has no other result beside it")
	case len(out) > 1:
		fault("its results aren't (Out, error), Out, error or none")
	case len(out) == 0:
	case isSeq(out[0]):
		r.kind, r.stream = routeStream, true
		r.returns(seqOf(out[0]))
		if why := unfit(seqOf(out[0]), encoders, false); why != "" {
			fault("its result %v: %v %s", out[0], seqOf(out[0]), why)
		}
	case out[0] == errorType:
		fault("its result is an error, and another error")
	case !r.err && out[0].Implements(errorType):
		fault("its result %v is an error, and a nil one would not be nil: return error", out[0])
	default:
		if why := unfit(out[0], encoders, false); why != "" {
			fault("its result %v %s", out[0], why)
		}
		if r.upload == nil {
			r.kind = routeCall
		}
		r.returns(out[0])
	}
	return r, faults
}

// newDataType returns how data is decoded into an In or an Item.
func newDataType(t reflect.Type) dataType {
	d := dataType{typ: t}
	if t.Kind() == reflect.Pointer {
		d.typ, d.absent = t.Elem(), reflect.Zero(t)
	}
	d.raw = d.typ == reflect.TypeFor[jsonv1.RawMessage]() || d.typ == reflect.TypeFor[jsontext.Value]()
	d.validate = reflect.PointerTo(d.typ).Implements(reflect.TypeFor[validator]())
	return d
}

// returns has r encode an Out.
func (r *route) returns(out reflect.Type) {
	r.out = true
	// A struct of one pointer is held by itself.
	if out.Kind() == reflect.Struct && out.Size() > reflect.TypeFor[uintptr]().Size() {
		r.indirect = out
	}
}

// isSeq reports whether t is an iter.Seq2[T, error].
func isSeq(t reflect.Type) bool {
	return t.PkgPath() == "iter" && strings.HasPrefix(t.Name(), "Seq2[") && t.In(0).In(1) == errorType
}

// seqOf is T of an iter.Seq2[T, error].
func seqOf(t reflect.Type) reflect.Type { return t.In(0).In(0) }

// unfit says why JSON can't be t, looking no deeper than what t points to; empty if it can. custom are the interfaces
// of types that see to it themselves.
func unfit(t reflect.Type, custom []reflect.Type, isIn bool) string {
	isPointer := t.Kind() == reflect.Pointer
	if isPointer {
		t = t.Elem()
	}
	switch {
	case implementsAny(t, custom):
		return ""
	case isPointer && isSeq(t):
		return "is a pointer: a sequence is an iter.Seq2[T, error] itself"
	case isSeq(t):
		return "is a sequence in another: items are values"
	}
	switch t.Kind() {
	case reflect.Func:
		if t.CanSeq() || t.CanSeq2() {
			return "is a sequence, but no iter.Seq2[T, error]"
		}
		return "is nothing that JSON can carry"
	case reflect.Chan, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return "is nothing that JSON can carry"
	case reflect.Interface:
		if isIn && t.NumMethod() > 0 {
			return "is an interface: JSON doesn't say which type to make"
		}
	}
	return ""
}

func implementsAny(t reflect.Type, list []reflect.Type) bool {
	return slices.ContainsFunc(list, reflect.PointerTo(t).Implements)
}

// isExposable reports whether a method is a route or hook by its name and type; recv is 1 if t has a receiver.
func isExposable(name string, t reflect.Type, recv int) bool {
	if want, ok := hookTypes[name]; ok {
		return sameFunc(t, recv, want)
	}
	return takesSocket(t, recv)
}

func takesSocket(t reflect.Type, recv int) bool {
	for i := recv; i < t.NumIn(); i++ {
		if t.In(i) == socketType {
			return true
		}
	}
	return false
}

// sameFunc reports whether t, but for its receiver, is want, which is not variadic and ends in no slice.
func sameFunc(t reflect.Type, recv int, want reflect.Type) bool {
	return slices.Equal(slices.Collect(t.Ins())[recv:], slices.Collect(want.Ins())) &&
		slices.Equal(slices.Collect(t.Outs()), slices.Collect(want.Outs()))
}

// typeNode is a struct type, or one that it embeds, directly or not.
type typeNode struct {
	typ      reflect.Type // no pointer
	path     string       // the names of the embedded fields, joined by dots; empty for the struct itself
	index    []int        // their indexes
	canBeNil bool         // a pointer or an interface is on the path
	also     string       // another path to the type at the same depth: Go promotes nothing of it
}

// typeMember is a method that a type declares itself, or a field.
type typeMember struct {
	*typeNode
	name string
	typ  reflect.Type // of the method; nil: a field
	recv int          // 1: typ has a receiver
	pos  string       // file:line; empty for a field, and a method of an interface
}

// String names the member's origin for a problem.
func (m typeMember) String() string {
	s := cmp.Or(m.path, m.typeNode.typ.String())
	if m.typ == nil {
		s = "field " + s + "." + m.name
	}
	if m.pos != "" {
		s += " (" + m.pos + ")"
	}
	return s
}

// typeMembers returns the methods and fields of a struct type by name, those of embedded fields as Go promotes them: of
// each name the ones at the least depth. More than one of a name hide each other.
func typeMembers(root reflect.Type) map[string][]typeMember {
	all := map[string][]typeMember{}
	seen := map[reflect.Type]bool{}
	for level := []*typeNode{{typ: root}}; len(level) > 0; {
		var found []typeMember
		var next []*typeNode
		for _, n := range level {
			seen[n.typ] = true
			found = append(found, declaredMembers(n)...)
			if n.typ.Kind() != reflect.Struct {
				continue
			}
			for f := range n.typ.Fields() {
				found = append(found, typeMember{typeNode: n, name: f.Name})
				if f.Anonymous {
					next = embedField(next, n, f)
				}
			}
		}
		// A type seen at a lesser depth adds nothing, and may be a cycle.
		next = slices.DeleteFunc(next, func(n *typeNode) bool { return seen[n.typ] })
		added := map[string]bool{}
		for _, m := range found {
			if all[m.name] != nil && !added[m.name] {
				continue // hidden by an outer one
			}
			added[m.name] = true
			all[m.name] = append(all[m.name], m)
			if m.also != "" {
				twin := *m.typeNode
				twin.path = m.also
				m.typeNode = &twin
				all[m.name] = append(all[m.name], m)
			}
		}
		level = next
	}
	return all
}

// embedField adds the type of the embedded field f of n to the nodes of the next depth, once.
func embedField(next []*typeNode, n *typeNode, f reflect.StructField) []*typeNode {
	join := func(path string) string { return strings.TrimPrefix(path+"."+f.Name, ".") }
	e := &typeNode{typ: f.Type, path: join(n.path), index: append(slices.Clip(n.index), f.Index...), canBeNil: n.canBeNil}
	if n.also != "" {
		e.also = join(n.also)
	}
	if k := f.Type.Kind(); k == reflect.Pointer || k == reflect.Interface {
		e.canBeNil = true
		if k == reflect.Pointer {
			e.typ = f.Type.Elem()
		}
	}
	if i := slices.IndexFunc(next, func(o *typeNode) bool { return o.typ == e.typ }); i >= 0 {
		next[i].also = cmp.Or(next[i].also, e.path)
		return next
	}
	return append(next, e)
}

// declaredMembers returns the exported methods that a type declares itself, on values or pointers.
func declaredMembers(n *typeNode) (list []typeMember) {
	if n.typ.Kind() == reflect.Interface {
		for m := range n.typ.Methods() {
			if m.IsExported() {
				list = append(list, typeMember{typeNode: n, name: m.Name, typ: m.Type})
			}
		}
		return list
	}
	for _, t := range []reflect.Type{n.typ, reflect.PointerTo(n.typ)} {
		for m := range t.Methods() {
			// What the compiler made, to promote a method or to call one of a value by a pointer, has no position.
			if pos := funcPos(m.Func); pos != "" {
				list = append(list, typeMember{typeNode: n, name: m.Name, typ: m.Type, recv: 1, pos: pos})
			}
		}
	}
	return list
}

// funcPos is the file:line of a function's declaration; empty for one that the compiler made.
func funcPos(fn reflect.Value) string {
	// The first instruction may be that of an inlined call: the last frame is the function itself. Frames are found by
	// return addresses, hence + 1.
	frames := runtime.CallersFrames([]uintptr{fn.Pointer() + 1})
	var f runtime.Frame
	for more := true; more; {
		f, more = frames.Next()
	}
	if f.File == "" || f.File == "<autogenerated>" {
		return ""
	}
	line := f.Line
	// Line is that of the first instruction, which in a short method is in its body. The runtime knows the line of the
	// declaration, but has no other way to it.
	if start := reflect.ValueOf(f).FieldByName("startLine"); start.IsValid() && start.CanInt() && start.Int() > 0 {
		line = int(start.Int())
	}
	return fmt.Sprintf("%s:%d", f.File, line)
}

// posOf is the file:line of the first member that has one.
func posOf(ms []typeMember) string {
	for _, m := range ms {
		if m.pos != "" {
			return m.pos
		}
	}
	return ""
}

// embeddedField is a field that can be nil, or lies behind one, with the routes and hooks promoted from it.
type embeddedField struct {
	index  []int
	pos    string // of method
	method string
	more   []string
}

// check looks for a nil on the way to the field, from a struct.
func (e *embeddedField) check(v reflect.Value) (p problem, isNil bool) {
	t, path := v.Type(), ""
	for _, i := range e.index {
		f := v.Type().Field(i)
		path += "." + f.Name
		v = v.Field(i)
		if k := v.Kind(); k != reflect.Pointer && k != reflect.Interface || !v.IsNil() {
			v = reflect.Indirect(v)
			continue
		}
		text := fmt.Sprintf("it is promoted from %v%s, which is nil", t, path)
		if len(e.more) > 0 {
			text += "; also " + strings.Join(e.more, ", ")
		}
		return problem{e.pos, e.method, text}, true
	}
	return problem{}, false
}
