package wsctl

import (
	"bytes"
	"context"
	"go/token"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
)

// HandleBytes scans a message, calls its method and appends the answer, without a connection: what a message costs but for
// the network. For benchmarks.
func (h *Handler) HandleBytes(msg []byte, answer *bytes.Buffer) error {
	e, err := scan(msg)
	if err != nil {
		return err
	}
	r := h.controller.route(e.typ)
	result, err := r.call(h.controller, context.Background(), nil, e.data, true)
	if err != nil {
		return err
	}
	return appendMessage(answer, "$reply", e.id, result)
}

// Scan and AppendMessage are the envelope's, for benchmarks that leave out the table.
func Scan(msg []byte) (typ []byte, id int64, data []byte, err error) {
	e, err := scan(msg)
	return e.typ, e.id, e.data, err
}

func AppendMessage(b *bytes.Buffer, typ string, id int64, data any) error {
	return appendMessage(b, typ, id, data)
}

// PendingBytes returns how many bytes wait for the fan-out.
func (h *Hub) PendingBytes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}

// Rouse does to all connections what the sweeper does to those that were idle for long.
func (h *Handler) Rouse() {
	for _, s := range h.all() {
		s.mu.Lock()
		c := s.conn
		s.mu.Unlock()
		if c != nil {
			c.rouse()
		}
	}
}

// testDocs saves TypeScript from reading the files again.
var testDocs = newSourceDocs()

// TypeScript returns what WriteTypes makes of a Go type, and the declarations that it needs. It isn't for several goroutines.
func TypeScript(typ reflect.Type) (expr, declarations string, err error) {
	t := newTypeWriter(testDocs)
	pc, _, _, _ := runtime.Caller(1)
	t.docs.learnFunc(pc)
	p := protocol{}
	p.add("events", "x", protocolEntry{goName: "x", parts: []protocolPart{{typ: typ}}})
	text, err := t.file(p)
	_, rest, _ := strings.Cut(string(text), "    x: ")
	expr, rest, _ = strings.Cut(rest, ";\n")
	_, declarations, _ = strings.Cut(rest, "\n}\n")
	return expr, declarations, err
}

// GoComments are the comments that WriteTypes finds in a Go file: of the function or variable at a line, of a type, and of a
// field.
func GoComments(src []byte) (at func(keyword token.Token, line int) string, typ func(name string) string, field func(typ, name string) string) {
	f := new(goSource)
	f.read(src)
	return f.at, func(name string) string { return f.types[name].text },
		func(typ, name string) string { return f.types[typ].fields[name] }
}

// CommentAt is the comment that WriteTypes finds at a file:line.
func CommentAt(pos string) string { return newSourceDocs().declared(pos) }

// DirOf is where WriteTypes would look for the types of a package, if it knows those of others.
func DirOf(known map[string]string, pkg string) string {
	d := newSourceDocs()
	for pkg, file := range known {
		d.note(pkg, file)
	}
	if dir := d.dirs[pkg]; dir != "" {
		return dir
	}
	return d.guess(pkg)
}

// TypesIn are the names of the types that WriteTypes finds in a directory.
func TypesIn(dir, pkg string) []string {
	return slices.Sorted(maps.Keys(newSourceDocs().dir(dir, pkg)))
}

// TypeNames are the names that WriteTypes gives to types.
func TypeNames(types ...reflect.Type) (names []string) {
	var list []*namedType
	for _, typ := range types {
		list = append(list, &namedType{Type: typ})
	}
	byType := slices.Clone(list)
	nameTypes(list)
	for _, n := range byType {
		names = append(names, n.name)
	}
	return names
}
