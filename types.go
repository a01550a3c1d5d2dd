package wsctl

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// WriteTypes writes the TypeScript declarations of what clients can call and of Options.Events: an interface Protocol for
// the browser's Client, with the methods of the controllers known at [New], and an interface or type for each Go type that
// they use. A page's messages and calls are checked by it:
//
//	import type { Protocol } from './types'
//	const client = new Client<Protocol>('/ws')
//
// A method without a result is both a message and a call, which tells of its error; one with a result is only a call.
//
// Names and optionality are those of encoding: a member is optional if it may be left out (omitempty, as encoding/json/v2
// means it; omitzero; a field of an embedded pointer). What is sent to the server is asked for no less, though a member that
// is missing there is its zero value. A pointer may be null, a nil slice or map is [] or {}, []byte is a base64 string, a
// time.Time is a string. Interfaces, raw JSON and types with MarshalJSON or MarshalJSONTo are unknown, those with MarshalText
// or AppendText strings; so are those with the methods of decoding alone. A type with a method TypeScript() string, which is called on its zero value, is what that returns, as
// `'red' | 'green'`.
//
// Doc comments are those of the Go source, if it is found where it was compiled: usually in a test, and not in a program
// that was built elsewhere or with -trimpath. The text is otherwise always the same, a file to be committed, which
// wsctltest.Types keeps up to date. It is made once. An error names all that JSON can't be made of; nothing is written then.
//
// A handler of two lines goes beside that of [JS]:
//
//	mux.Handle("GET /js/{file}", wsctl.JS())
//	mux.HandleFunc("GET /js/types.d.ts", func(w http.ResponseWriter, r *http.Request) {
//		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
//		_ = h.WriteTypes(w)
//	})
//
// It has no more to say of an error than nothing: wsctltest.Types finds it earlier, or a call with io.Discard at start-up.
func (h *Handler) WriteTypes(w io.Writer) error {
	text, err := h.types()
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// makeTypes makes what WriteTypes writes.
func (h *Handler) makeTypes() ([]byte, error) {
	t := newTypeWriter(newSourceDocs())
	list := h.tables.list()
	for _, tab := range list {
		t.docs.learn(tab.typ)
	}
	for _, d := range h.opts.Events {
		t.docs.learnFunc(d.declaration().pc)
	}
	p := protocol{}
	for _, tab := range list {
		for _, name := range tab.names {
			p.addRoute(tab.byName[name.typ], t.docs)
		}
	}
	for i, d := range h.opts.Events {
		p.addEvent(i, d.declaration(), t)
	}
	return t.file(p)
}

// protocolMembers are the members of Protocol, with what each lists.
var protocolMembers = []struct{ name, doc string }{
	{"events", "What the server sends."},
	{"messages", "What the client sends and nobody answers."},
	{"calls", "What the client calls."},
	{"streams", "What the client calls and the server answers with a stream."},
	{"asks", "What the server calls."},
}

// protocol is what each member of Protocol lists by message type. Controllers may have a type in common.
type protocol map[string]map[string][]protocolEntry

type protocolEntry struct {
	goName string // for errors
	doc    string
	parts  []protocolPart
}

// protocolPart is a member of an entry, or with no name all of it.
type protocolPart struct {
	name   string
	typ    reflect.Type // nil: undefined
	absent bool         // the data may be absent
}

func (p protocol) add(member, typ string, e protocolEntry) {
	if p[member] == nil {
		p[member] = map[string][]protocolEntry{}
	}
	p[member][typ] = append(p[member][typ], e)
}

func (p protocol) addRoute(r *route, docs *sourceDocs) {
	in := protocolPart{typ: r.in.goType()}
	in.absent = r.in.absent.IsValid()
	e := protocolEntry{goName: r.method + " (" + r.pos + ")", doc: docs.declared(r.pos)}
	if r.kind == routeMessage {
		e.parts = []protocolPart{in}
		p.add("messages", r.name, e)
	}
	in.name = "req"
	member, out := "calls", protocolPart{name: "res"}
	if r.out {
		out.typ = r.fn.Type().Out(0)
	}
	if r.stream {
		member, out = "streams", protocolPart{name: "item", typ: seqOf(out.typ)}
	}
	e.parts = []protocolPart{in, out}
	if r.upload != nil {
		e.parts = append(e.parts, protocolPart{name: "up", typ: r.upload})
	}
	p.add(member, r.name, e)
}

func (p protocol) addEvent(i int, d declared, t *typeWriter) {
	e := protocolEntry{goName: fmt.Sprintf("Options.Events[%d]", i), doc: t.docs.declaredAt(d.pc)}
	switch {
	case d.typ == "":
		t.fail(e.goName, "it has no type: make it with NewEvent or NewRequest")
	case d.answer == nil:
		e.parts = []protocolPart{{typ: d.data}}
		p.add("events", d.typ, e)
	default:
		e.parts = []protocolPart{{name: "req", typ: d.data}, {name: "res", typ: d.answer, absent: d.answer.Kind() == reflect.Pointer}}
		p.add("asks", d.typ, e)
	}
}

// typeWriter makes TypeScript of Go types. Declarations refer to each other by names that can be given only when all are
// known, so everything is made twice: the first time finds the types.
type typeWriter struct {
	docs     *sourceDocs
	byType   map[reflect.Type]*namedType
	named    []*namedType // all of them, first in the order found, then sorted
	problems []string
}

// namedType is a Go type that has a name, and so a declaration.
type namedType struct {
	reflect.Type
	name string // in TypeScript; empty: not known yet
}

func newTypeWriter(docs *sourceDocs) *typeWriter {
	return &typeWriter{docs: docs, byType: map[reflect.Type]*namedType{}}
}

// fail notes that something can't be JSON.
func (t *typeWriter) fail(where, text string) {
	if p := where + ": " + text; !slices.Contains(t.problems, p) {
		t.problems = append(t.problems, p)
	}
}

// file returns the whole text.
func (t *typeWriter) file(p protocol) ([]byte, error) {
	t.protocol(new(bytes.Buffer), p)
	for i := 0; i < len(t.named); i++ {
		t.declare(new(bytes.Buffer), t.named[i])
	}
	switch n := len(t.problems); {
	case n == 1:
		return nil, errors.New("wsctl: WriteTypes: " + t.problems[0])
	case n > 1:
		slices.Sort(t.problems)
		return nil, fmt.Errorf("wsctl: WriteTypes: %d problems:\n\t%s", n, strings.Join(t.problems, "\n\t"))
	}
	nameTypes(t.named)
	slices.SortFunc(t.named, func(a, b *namedType) int { return cmp.Compare(a.name, b.name) })
	b := new(bytes.Buffer)
	b.WriteString("// Code generated by wsctl from Go types. DO NOT EDIT.\n\n")
	t.protocol(b, p)
	for _, typ := range t.named {
		b.WriteByte('\n')
		t.declare(b, typ)
	}
	return b.Bytes(), nil
}

// protocol writes the interface Protocol.
func (t *typeWriter) protocol(b *bytes.Buffer, p protocol) {
	b.WriteString("/** Protocol lists what the server and its clients say to each other, by message type. */\n")
	b.WriteString("export interface Protocol {\n")
	for _, m := range protocolMembers {
		writeComment(b, "  ", m.doc)
		b.WriteString("  " + m.name + ": {")
		entries := p[m.name]
		for i, typ := range slices.Sorted(maps.Keys(entries)) {
			if i == 0 {
				b.WriteByte('\n')
			}
			text, doc := t.entry(entries[typ])
			writeComment(b, "    ", doc)
			b.WriteString("    " + memberName(typ) + ": " + text + ";\n")
		}
		if len(entries) > 0 {
			b.WriteString("  ")
		}
		b.WriteString("};\n")
	}
	b.WriteString("}\n")
}

// entry returns the type of one message type, which is what any of its declarations takes.
func (t *typeWriter) entry(list []protocolEntry) (text, doc string) {
	var texts []string
	large := false
	for _, e := range list {
		doc = cmp.Or(doc, e.doc)
		var parts []string
		for _, p := range e.parts {
			s := "undefined"
			if p.typ != nil {
				s = t.expr(p.typ, e.goName)
				large = large || isLarge(p.typ)
			}
			if p.absent {
				s = union(s, "undefined")
			}
			if p.name != "" {
				s = p.name + ": " + s
			}
			parts = append(parts, s)
		}
		s := strings.Join(parts, "; ")
		if e.parts[0].name != "" {
			s = "{ " + s + " }"
		}
		texts = append(texts, s)
	}
	slices.Sort(texts)
	return union(texts...), largeDoc(doc, large)
}

// declare writes the declaration of a type.
func (t *typeWriter) declare(b *bytes.Buffer, n *namedType) {
	where := n.String()
	doc := t.docs.typ(n.Type)
	text, isCustom := t.custom(n.Type, where)
	switch {
	case isCustom:
	case n.Kind() == reflect.Struct:
		s := t.fields(n.Type, where)
		if len(s.fields) == 0 {
			text = s.String()
			break
		}
		writeComment(b, "", doc.text)
		b.WriteString("export interface " + n.name + " {\n")
		for _, f := range s.fields {
			writeComment(b, "  ", f.doc)
			b.WriteString("  " + f.String() + ";\n")
		}
		if s.rest != "" {
			b.WriteString("  " + s.rest + ";\n")
		}
		b.WriteString("}\n")
		return
	default:
		text = t.plain(n.Type, where)
		doc.text = largeDoc(doc.text, holdsLarge(n.Type))
	}
	writeComment(b, "", doc.text)
	b.WriteString("export type " + n.name + " = " + text + ";\n")
}

// ref returns the name of a type, and sees to it that it is declared.
func (t *typeWriter) ref(typ reflect.Type) string {
	n := t.byType[typ]
	if n == nil {
		n = &namedType{Type: typ}
		t.byType[typ] = n
		t.named = append(t.named, n)
	}
	return n.name
}

// nameTypes gives each type a name. Two of the same are told apart by their packages, and by a number if that doesn't do; so
// is one that means something else in TypeScript.
func nameTypes(list []*namedType) {
	// By the names of packages, not their paths: of main that is another in its tests. Stable: what functions declare can be
	// told apart by nothing but where it was found.
	var paths []string
	for _, n := range list {
		pkg, _, _ := strings.Cut(n.String(), ".")
		paths = append(paths, n.PkgPath()+".", pkg+".")
	}
	short := strings.NewReplacer(paths...)
	slices.SortStableFunc(list, func(a, b *namedType) int {
		return cmp.Or(cmp.Compare(short.Replace(a.Name()), short.Replace(b.Name())), cmp.Compare(short.Replace(a.PkgPath()+"."), short.Replace(b.PkgPath()+".")))
	})
	count, used := map[string]int{}, map[string]bool{}
	for _, n := range list {
		count[identifier(n.Name())]++
	}
	for _, n := range list {
		if name := identifier(n.Name()); count[name] == 1 && !slices.Contains(reservedNames, name) {
			n.name, used[name] = name, true
		}
	}
	for _, n := range list {
		if n.name != "" {
			continue
		}
		pkg, _, _ := strings.Cut(n.String(), ".")
		base := pkg + "_" + identifier(n.Name())
		n.name = base
		for i := 2; used[n.name]; i++ {
			n.name = fmt.Sprint(base, "_", i)
		}
		used[n.name] = true
	}
}

// identifier makes a name of a Go type's: Page[example.com/chat.Line] becomes Page_Line, Page[[]string] Page_Array_string.
func identifier(name string) string {
	head, args, _ := strings.Cut(name, "[")
	args = strings.NewReplacer("[]", "Array ", "map[", "Map ", "*", "Ptr ").Replace(args)
	words := strings.FieldsFunc(args, func(c rune) bool { return strings.ContainsRune("[]{}() ,;\"", c) })
	for i, w := range words {
		w = w[strings.LastIndexByte(w, '/')+1:]
		words[i] = w[strings.LastIndexByte(w, '.')+1:]
	}
	return strings.Map(func(c rune) rune {
		if c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c) {
			return c
		}
		return '_'
	}, strings.Join(append([]string{head}, words...), "_"))
}

// reservedNames can't name a type, or would hide what pages and these declarations use.
var reservedNames = strings.Fields(`
	Protocol
	any bigint boolean never null number object string symbol undefined unknown void
	arguments as async await case catch class const continue debugger default delete do else enum eval export extends false
	finally for function if implements import in instanceof interface let new package private protected public return static
	super switch this throw true try type typeof var while with yield
	asserts infer is keyof readonly unique
	Array ArrayBuffer AsyncIterable AsyncIterator Atomics BigInt Boolean DataView Date Error Exclude Extract Function Infinity
	Intl Iterable Iterator JSON Map Math NaN NonNullable Number Object Omit Parameters Partial Pick Promise Proxy Readonly
	ReadonlyArray Record Reflect RegExp Required ReturnType Set String Symbol Uint8Array WeakMap WeakRef WeakSet`)

// memberName returns the name of a member, quoted if it must be.
func memberName(name string) string {
	for i, c := range name {
		if c != '_' && c != '$' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			q, _ := jsontext.AppendQuote(nil, name) // JSON's strings are strings of TypeScript
			return string(q)
		}
	}
	return name
}

// union joins types, each once, null and undefined last.
func union(list ...string) string {
	var once, last []string
	add := func(to *[]string, s string) {
		if s != "" && !slices.Contains(*to, s) {
			*to = append(*to, s)
		}
	}
	for _, s := range list {
		for _, end := range []string{"undefined", "null"} {
			if before, ok := strings.CutSuffix(s, end); ok && (before == "" || strings.HasSuffix(before, " | ")) {
				add(&last, end)
				s = strings.TrimSuffix(before, " | ")
			}
		}
		add(&once, s)
	}
	if slices.Contains(once, "unknown") {
		return "unknown"
	}
	slices.Sort(last)
	return strings.Join(append(once, last...), " | ")
}

// writeComment writes a doc comment.
func writeComment(b *bytes.Buffer, indent, text string) {
	if text == "" {
		return
	}
	text = strings.ReplaceAll(text, "*/", `*\/`)
	if !strings.Contains(text, "\n") {
		b.WriteString(indent + "/** " + text + " */\n")
		return
	}
	b.WriteString(indent + "/**\n")
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(strings.TrimRight(indent+" * "+line, " ") + "\n")
	}
	b.WriteString(indent + " */\n")
}
