package wsctl

import (
	"cmp"
	"encoding"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// How types.go reads Go types: as the JSON library encodes them.

// typeScripter is a type that says what it is in TypeScript. It is asked on the zero value.
type typeScripter interface{ TypeScript() string }

var (
	timeType         = reflect.TypeFor[time.Time]()
	durationType     = reflect.TypeFor[time.Duration]()
	rawValueType     = reflect.TypeFor[jsontext.Value]()
	rawTypes         = []reflect.Type{rawValueType, reflect.TypeFor[jsonv1.RawMessage]()}
	scripterTypes    = []reflect.Type{reflect.TypeFor[typeScripter]()}
	jsonEncoders     = []reflect.Type{reflect.TypeFor[json.MarshalerTo](), reflect.TypeFor[json.Marshaler]()}
	jsonDecoders     = []reflect.Type{reflect.TypeFor[json.UnmarshalerFrom](), reflect.TypeFor[json.Unmarshaler]()}
	textDecoders     = []reflect.Type{reflect.TypeFor[encoding.TextUnmarshaler]()}
	textEncoders     = []reflect.Type{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextAppender]()}
	errInvalidString = "`string` is for numbers only"
)

// maxTuple is the longest array that is a tuple.
const maxTuple = 8

// expr returns the type of a Go type.
func (t *typeWriter) expr(typ reflect.Type, where string) string {
	switch {
	case typ == timeType:
		return "string"
	case slices.Contains(rawTypes, typ), typ.Kind() == reflect.Interface:
		return "unknown"
	case isPointer(typ):
		return union(t.expr(typ.Elem(), where), "null")
	case typ.PkgPath() != "" && typ != durationType:
		return t.ref(typ)
	}
	if text, ok := t.custom(typ, where); ok {
		return text
	}
	return t.plain(typ, where)
}

// custom returns the type of a Go type that says itself what it is.
func (t *typeWriter) custom(typ reflect.Type, where string) (text string, ok bool) {
	switch {
	case isScripter(typ):
		text = strings.TrimSpace(script(typ))
		if text == "" {
			t.fail(where, "its method TypeScript, which is called on the zero value, panics or returns nothing")
		}
		if typ.Name() == "" {
			text = "(" + text + ")"
		}
		return text, true
	case implementsAny(typ, jsonEncoders):
		return "unknown", true
	case implementsAny(typ, textEncoders):
		return "string", true
	// Those that only decode by themselves: what a client may send isn't what they are made of.
	case implementsAny(typ, jsonDecoders):
		return "unknown", true
	case implementsAny(typ, textDecoders):
		return "string", true
	}
	return "", false
}

// script asks a type what it is; nothing if it panics.
func script(typ reflect.Type) string {
	defer func() { _ = recover() }()
	return reflect.New(typ).Interface().(typeScripter).TypeScript()
}

// isScripter reports whether the type has a method TypeScript of its own. One that is promoted is of its embedded field,
// unless that field encodes all of it, too.
func isScripter(typ reflect.Type) bool {
	return implementsAny(typ, scripterTypes) && (implementsAny(typ, encoders) ||
		slices.ContainsFunc(declaredMembers(&typeNode{typ: typ}), func(m typeMember) bool { return m.name == "TypeScript" }))
}

// plain returns the type of a Go type without methods for JSON, which is spelled out even if it has a name.
func (t *typeWriter) plain(typ reflect.Type, where string) string {
	switch k := typ.Kind(); {
	case typ == durationType:
		t.fail(where, "a time.Duration has no form in JSON: use a number, or a string")
		return ""
	case k == reflect.Bool:
		return "boolean"
	case k == reflect.String:
		return "string"
	case isNumber(k):
		return "number"
	case isBytes(typ):
		return "string"
	case k == reflect.Array && typ.Len() <= maxTuple:
		list := make([]string, typ.Len())
		for i := range list {
			list[i] = t.expr(typ.Elem(), where)
		}
		return "[" + strings.Join(list, ", ") + "]"
	case k == reflect.Slice, k == reflect.Array:
		elem := t.expr(typ.Elem(), where)
		if isPointer(typ.Elem()) && elem != "unknown" {
			elem = "(" + elem + ")"
		}
		return elem + "[]"
	case k == reflect.Map:
		if !isKey(typ.Key()) {
			t.fail(where, fmt.Sprintf("a %v can't name the members of an object", typ.Key()))
		}
		return "{ [key: string]: " + t.expr(typ.Elem(), where) + " }" // not a Record, which can't contain itself
	case k == reflect.Struct:
		return t.fields(typ, where).String()
	case k == reflect.Pointer:
		return union(t.expr(typ.Elem(), where), "null")
	}
	t.fail(where, fmt.Sprintf("a %v is nothing that JSON can carry", typ))
	return ""
}

// isPointer reports whether a type is a pointer without a name of its own, such as can't point to itself.
func isPointer(typ reflect.Type) bool { return typ.Kind() == reflect.Pointer && typ.Name() == "" }

func isNumber(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Float64 }

// isBytes reports whether a type is encoded in base64: what has bytes of another name isn't.
func isBytes(typ reflect.Type) bool {
	return (typ.Kind() == reflect.Slice || typ.Kind() == reflect.Array) && typ.Elem() == reflect.TypeFor[byte]()
}

// isKey reports whether a type can be encoded as the name of an object's member. Of an interface only its values know.
func isKey(typ reflect.Type) bool {
	switch k := typ.Kind(); {
	case k == reflect.Interface:
		return true
	case isPointer(typ):
		return isKey(typ.Elem())
	case typ == durationType:
		return false
	case implementsAny(typ, encoders):
		return true
	default:
		return k == reflect.String || isNumber(k) || isBytes(typ)
	}
}

// structText is a struct in TypeScript.
type structText struct {
	fields []fieldText
	rest   string // the index signature of an embedded map, or empty
}

type fieldText struct {
	name, text string
	optional   bool
	doc        string
}

func (f fieldText) String() string {
	mark := ": "
	if f.optional {
		mark = "?: "
	}
	return memberName(f.name) + mark + f.text
}

// String returns the struct as one line.
func (s structText) String() string {
	var list []string
	for _, f := range s.fields {
		list = append(list, f.String())
	}
	if s.rest != "" {
		list = append(list, s.rest)
	}
	if len(list) == 0 {
		return "{ [key: string]: never }" // {} would be anything
	}
	return "{ " + strings.Join(list, "; ") + " }"
}

// fields returns the members that a struct is encoded to.
func (t *typeWriter) fields(typ reflect.Type, where string) (s structText) {
	if err := structFault(typ); err != nil {
		t.fail(where, err.Error())
		return s
	}
	fields, rest := jsonFields(typ)
	for _, f := range fields {
		at := where + "." + f.Name
		m := fieldText{name: f.name, optional: f.optional || f.omitzero}
		m.doc = largeDoc(t.docs.typ(f.owner).fields[f.Name], isLarge(f.Type) && !f.str)
		elem := f.Type
		switch {
		case f.omitempty && canBeEmpty(f.Type):
			m.optional = true
			for isPointer(elem) {
				elem = elem.Elem()
			}
		case f.omitzero && isPointer(elem):
			elem = elem.Elem()
		}
		if f.str {
			m.text = t.quoted(elem, at)
		} else {
			m.text = t.expr(elem, at)
		}
		s.fields = append(s.fields, m)
	}
	if rest != nil {
		list := []string{"unknown"}
		if rest.Kind() == reflect.Map {
			list[0] = t.expr(rest.Elem(), where)
		}
		for _, f := range s.fields { // TypeScript wants the others to be of its type, too
			list = append(list, f.text)
			if f.optional {
				list = append(list, "undefined")
			}
		}
		s.rest = "[key: string]: " + union(list...)
	}
	return s
}

// quoted returns the type of a field with the option `string`.
func (t *typeWriter) quoted(typ reflect.Type, where string) string {
	switch k := typ.Kind(); {
	case isPointer(typ):
		return union(t.quoted(typ.Elem(), where), "null")
	case k != reflect.Interface && typ != durationType && implementsAny(typ, encoders) && typ != timeType:
		return t.expr(typ, where) // its methods don't know
	case !isNumber(k) || typ == durationType:
		t.fail(where, errInvalidString)
	}
	return "string"
}

// structFault asks the JSON library what is wrong with a struct type and its tags, the types of its fields aside.
func structFault(typ reflect.Type) (err error) {
	// It panics at what it can encode and can't give away: an embedded field that is not exported, but named in its tag.
	defer func() { _ = recover() }()
	isField := false
	shallow := json.MarshalToFunc(func(enc *jsontext.Encoder, _ any) error {
		if !isField {
			isField = true
			return errors.ErrUnsupported // the struct itself: as usual
		}
		return enc.WriteToken(jsontext.Null)
	})
	_, err = json.Marshal(reflect.New(typ).Interface(), json.WithMarshalers(shallow))
	if e, ok := errors.AsType[*json.SemanticError](err); ok && e.Err != nil {
		return e.Err
	}
	return err
}

// jsonField is a field of a struct as it is encoded.
type jsonField struct {
	reflect.StructField
	fieldTag
	owner    reflect.Type // the struct that declares it
	depth    int
	optional bool // it is in an embedded pointer
}

type fieldTag struct {
	name                                   string
	named, embed, omitzero, omitempty, str bool
}

// jsonFields returns the fields of a struct that is free of faults in the order in which they are encoded, those of embedded
// structs in place, and the embedded map or raw value, nil if there is none.
func jsonFields(root reflect.Type) (fields []*jsonField, rest reflect.Type) {
	type node struct {
		typ      reflect.Type
		index    []int
		optional bool
		again    bool // seen before: what it embeds is left out
	}
	var all, rests []*jsonField
	seen := map[reflect.Type]bool{root: true}
	for queue := []node{{typ: root}}; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		for f := range n.typ.Fields() {
			tag, ignored := parseTag(f)
			if ignored {
				continue
			}
			f.Index = append(slices.Clip(n.index), f.Index...)
			j := &jsonField{StructField: f, fieldTag: tag, owner: n.typ, depth: len(f.Index), optional: n.optional}
			elem := f.Type
			if elem.Kind() == reflect.Pointer && elem.Name() == "" {
				elem = elem.Elem()
			}
			switch {
			case !tag.embed && (!f.Anonymous || tag.named):
				all = append(all, j)
			case elem.Kind() == reflect.Struct:
				if !n.again {
					queue = append(queue, node{elem, f.Index, n.optional || elem != f.Type, seen[elem]})
				}
				seen[elem] = true
			default:
				j.Type = elem
				rests = append(rests, j)
			}
		}
	}
	// Of one name, the field at the least depth is encoded, and of those the one that is named by its tag, if it is alone.
	slices.SortStableFunc(all, func(a, b *jsonField) int {
		named := 0
		if a.named != b.named {
			named = 1
			if a.named {
				named = -1
			}
		}
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.depth, b.depth), named)
	})
	for i, n := 0, 0; i < len(all); i += n {
		n = 1
		for i+n < len(all) && all[i+n].name == all[i].name {
			n++
		}
		if n == 1 || all[i].depth != all[i+1].depth || all[i].named != all[i+1].named {
			fields = append(fields, all[i])
		}
	}
	slices.SortFunc(fields, func(a, b *jsonField) int { return slices.Compare(a.Index, b.Index) })
	if n := len(rests); n == 1 || n > 1 && rests[0].depth != rests[1].depth {
		rest = rests[0].Type
	}
	return fields, rest
}

// parseTag reads a field's tag, which is free of faults.
func parseTag(f reflect.StructField) (t fieldTag, ignored bool) {
	tag := f.Tag.Get("json")
	if tag == "-" || !f.IsExported() && !f.Anonymous {
		return t, true
	}
	name, options, _ := strings.Cut(tag, ",")
	t.name, t.named = cmp.Or(name, f.Name), name != ""
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "embed":
			t.embed = true
		case "omitzero":
			t.omitzero = true
		case "omitempty":
			t.omitempty = true
		case "string":
			t.str = true
		}
	}
	return t, false
}

// canBeEmpty reports whether omitempty may leave a field of the type out: if it can be encoded to null, "", [] or {}.
func canBeEmpty(typ reflect.Type) bool {
	switch k := typ.Kind(); {
	case typ == timeType:
		return false
	case k == reflect.Pointer, k == reflect.Interface, k == reflect.Map, k == reflect.Slice, k == reflect.String:
		return true
	case implementsAny(typ, encoders):
		return true
	case k == reflect.Array:
		return typ.Len() == 0
	case k == reflect.Struct:
		fields, _ := jsonFields(typ)
		return !slices.ContainsFunc(fields, func(f *jsonField) bool {
			return !f.optional && !f.omitzero && !(f.omitempty && canBeEmpty(f.Type))
		})
	}
	return false
}

// isLarge reports whether a value of the type, or one in it, is a 64-bit integer; a type with a name says so itself.
func isLarge(typ reflect.Type) bool { return typ.PkgPath() == "" && holdsLarge(typ) }

func holdsLarge(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Int64, reflect.Uint64:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return isLarge(typ.Elem())
	}
	return false
}

// largeDoc adds to a comment what is to be known of large integers.
func largeDoc(doc string, large bool) string {
	if !large {
		return doc
	}
	return strings.TrimPrefix(doc+"\n", "\n") + "64-bit: not exact above 2^53."
}
