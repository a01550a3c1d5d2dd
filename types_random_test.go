package wsctl_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/fixture/hall"
)

// TestRandomTypes makes Go types and values of them, and holds what the JSON library makes of the values against what
// WriteTypes makes of the types. What can't be encoded must be an error of WriteTypes, too.
func TestRandomTypes(t *testing.T) {
	const types = 2000
	valid := 0
	for seed := range uint64(types) {
		d := dice{rand.New(rand.NewPCG(seed, 0))}
		typ := d.structType(0)
		expr, declarations, errTypes := wsctl.TypeScript(typ)
		if errTypes != nil {
			continue // it may be right: values that can be encoded prove nothing
		}
		valid++
		ts := newTSChecker(t, declarations)
		for i := range 4 {
			v := reflect.New(typ).Elem()
			if i > 0 {
				d.fill(v, 0)
			}
			text, err := json.Marshal(v.Addr().Interface())
			if errors.Is(err, jsontext.ErrDuplicateName) {
				continue // a key of an embedded map is the name of a field
			} else if err != nil {
				t.Fatalf("seed %d: %v: no error of WriteTypes, but\n%v", seed, typ, err)
			}
			if why := ts.check(ts.parse(expr), text); why != "" {
				t.Fatalf("seed %d: %v\n%s\n%s\n%s: %s", seed, typ, expr, declarations, text, why)
			}
		}
	}
	if t.Logf("%d of %d types can be encoded", valid, types); valid < types/2 {
		t.Error("too few types can be encoded")
	}
}

// dice makes choices.
type dice struct{ *rand.Rand }

func (d dice) roll(n int) int { return d.IntN(n) }

func choose[T any](d dice, list ...T) T { return list[d.roll(len(list))] }

// structType is a struct whose fields have names that meet.
func (d dice) structType(depth int) reflect.Type {
	var fields []reflect.StructField
	used := map[string]bool{}
	for i := range 1 + d.roll(5) {
		f := reflect.StructField{Name: string(rune('A' + i)), Type: d.typ(depth + 1)}
		if d.roll(4) == 0 {
			f.Type = choose(d, reflect.TypeFor[hall.Line](), reflect.TypeFor[hall.Date](), reflect.TypeFor[Line](), reflect.TypeFor[Entered]())
			if f.Name = f.Type.Name(); used[f.Name] {
				continue
			}
			if f.Anonymous = true; d.roll(2) == 0 {
				f.Type = reflect.PointerTo(f.Type)
			}
		}
		name := choose(d, "", "", "", "B", "Room", "Text", "a-b", "Day")
		if used[cmp.Or(name, f.Name)] && d.roll(50) > 0 {
			continue
		}
		option := choose(d, "", "", "", ",omitempty", ",omitempty", ",omitzero", ",omitempty,omitzero", ",case:ignore")
		switch k := f.Type.Kind(); {
		case f.Anonymous && d.roll(9) > 0:
			option = ""
		case k >= reflect.Int && k <= reflect.Float64 && d.roll(3) == 0:
			option += ",string"
		case (k == reflect.Map || k == reflect.Struct) && d.roll(4) == 0:
			name, option = "", ",embed"
		case d.roll(50) == 1: // probably wrong
			option = choose(d, ",string", ",embed", ",format:hex")
		}
		used[f.Name], used[cmp.Or(name, f.Name)] = true, true
		if tag := name + option; tag != "" {
			f.Tag = reflect.StructTag(fmt.Sprintf(`json:"%s"`, tag))
		}
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}

func (d dice) typ(depth int) reflect.Type {
	if depth < 4 {
		switch d.roll(12) {
		case 0:
			return reflect.SliceOf(d.typ(depth + 1))
		case 1:
			return reflect.PointerTo(d.typ(depth + 1))
		case 2:
			return reflect.ArrayOf(d.roll(10), d.typ(depth+1))
		case 3, 4:
			key := choose(d, reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[tsRole](), reflect.TypeFor[[2]byte]())
			return reflect.MapOf(key, d.typ(depth+1))
		case 5:
			return d.structType(depth + 1)
		}
	}
	if d.roll(60) == 1 {
		return choose(d, reflect.TypeFor[time.Duration](), reflect.TypeFor[chan int](), reflect.TypeFor[map[bool]int]())
	}
	return choose(d,
		reflect.TypeFor[bool](), reflect.TypeFor[int64](), reflect.TypeFor[uint8](), reflect.TypeFor[float64](), reflect.TypeFor[string](),
		reflect.TypeFor[[]byte](), reflect.TypeFor[[3]byte](), reflect.TypeFor[[]tsOctet](), reflect.TypeFor[time.Time](),
		reflect.TypeFor[any](), reflect.TypeFor[tsText](), reflect.TypeFor[tsPoint](), reflect.TypeFor[tsID](), reflect.TypeFor[tsRole](),
		reflect.TypeFor[tsNode](), reflect.TypeFor[tsTree](), reflect.TypeFor[tsEmpty](), reflect.TypeFor[tsPage[int]](),
		reflect.TypeFor[Tagged](), reflect.TypeFor[hall.Line](), reflect.TypeFor[map[string]any](),
		reflect.TypeFor[tsJSON](), reflect.TypeFor[*int]())
}

// fill sets a value to another one, mostly.
func (d dice) fill(v reflect.Value, depth int) {
	if depth > 6 || !v.CanSet() || d.roll(5) == 1 {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(d.roll(9)))
	case reflect.Uint8:
		v.SetUint(uint64(d.roll(9)))
	case reflect.Float64:
		v.SetFloat(float64(d.roll(9)) / 2)
	case reflect.String:
		v.SetString(choose(d, "a", "", `"`, "é"))
	case reflect.Interface:
		v.Set(reflect.ValueOf(choose[any](d, 1, "a", []any{}, map[string]any{"a": nil})))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), d.roll(3), 3))
		for i := range v.Len() {
			d.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			d.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range d.roll(3) {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			d.fill(key, depth+1)
			d.fill(elem, depth+1)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
			return
		}
		for i := range v.NumField() {
			d.fill(v.Field(i), depth+1)
		}
	}
}

// tsChecker checks JSON against the part of TypeScript that WriteTypes writes.
type tsChecker struct {
	t     *testing.T
	types map[string]tsType
	text  string // what is left to parse
}

// tsType is a type: one of several if union is set.
type tsType struct {
	name  string // string, number, boolean, null, unknown, never, "[]", "[,]", "{}" or that of a declaration
	union []tsType
	elems []tsType // of [], which has one, and [,]
	props []tsProp // of {}
	rest  *tsType  // of {}
}

type tsProp struct {
	name     string
	optional bool
	typ      tsType
}

var tsComment = regexp.MustCompile(`(?m)^ *(/\*\*| \*).*\n`)

func newTSChecker(t *testing.T, declarations string) *tsChecker {
	c := &tsChecker{t: t, types: map[string]tsType{}, text: tsComment.ReplaceAllString(declarations, "")}
	for strings.TrimSpace(c.text) != "" {
		c.want("export")
		isType := c.have("type")
		if !isType {
			c.want("interface")
		}
		name := c.word()
		if isType {
			c.want("=")
			c.types[name] = c.typ()
			c.want(";")
		} else {
			c.types[name] = c.typ()
		}
	}
	return c
}

func (c *tsChecker) parse(expr string) tsType {
	c.text = expr
	typ := c.typ()
	if c.text != "" {
		c.t.Fatalf("%q is left of %s", c.text, expr)
	}
	return typ
}

func (c *tsChecker) have(token string) bool {
	text, ok := strings.CutPrefix(strings.TrimLeft(c.text, " \n"), token)
	if ok {
		c.text = text
	}
	return ok
}

func (c *tsChecker) want(token string) {
	if !c.have(token) {
		c.t.Fatalf("%q expected at %q", token, c.text)
	}
}

var tsWord = regexp.MustCompile(`^[ \n]*([\p{L}_$][\p{L}\d_$]*)`)

func (c *tsChecker) word() string {
	m := tsWord.FindStringSubmatch(c.text)
	if m == nil {
		c.t.Fatalf("name expected at %q", c.text)
	}
	c.text = c.text[len(m[0]):]
	return m[1]
}

func (c *tsChecker) typ() tsType {
	list := []tsType{c.operand()}
	for c.have("|") {
		list = append(list, c.operand())
	}
	if len(list) == 1 {
		return list[0]
	}
	return tsType{union: list}
}

func (c *tsChecker) operand() (typ tsType) {
	switch {
	case c.have("("):
		typ = c.typ()
		c.want(")")
	case c.have("["):
		typ.name = "[,]"
		for !c.have("]") {
			typ.elems = append(typ.elems, c.typ())
			c.have(",")
		}
	case c.have("{"):
		typ.name = "{}"
		for !c.have("}") {
			if c.have("[key: string]:") {
				rest := c.typ()
				typ.rest = &rest
			} else {
				typ.props = append(typ.props, c.prop())
			}
			c.have(";")
		}
	default:
		typ.name = c.word()
	}
	for c.have("[]") {
		typ = tsType{name: "[]", elems: []tsType{typ}}
	}
	return typ
}

func (c *tsChecker) prop() (p tsProp) {
	if text := strings.TrimLeft(c.text, " \n"); text[0] == '"' {
		p.name, c.text, _ = strings.Cut(text[1:], `"`)
	} else {
		p.name = c.word()
	}
	p.optional = c.have("?")
	c.want(":")
	p.typ = c.typ()
	return p
}

// check says why a value isn't of a type; empty if it is.
func (c *tsChecker) check(typ tsType, value jsontext.Value) string {
	if typ.union != nil {
		why := ""
		for _, u := range typ.union {
			if why = c.check(u, value); why == "" {
				return ""
			}
		}
		return why
	}
	kinds := map[string]string{"string": `"`, "number": "0", "boolean": "tf", "null": "n", "[]": "[", "[,]": "[", "{}": "{", "unknown": `"0tfn[{`, "never": ""}
	want, ok := kinds[typ.name]
	if !ok {
		declared, ok := c.types[typ.name]
		if !ok {
			return typ.name + " isn't declared"
		}
		return c.check(declared, value)
	}
	if !strings.Contains(want, string(rune(value.Kind()))) {
		return fmt.Sprintf("%s is no %s", value, typ.name)
	}
	switch typ.name {
	case "[]", "[,]":
		var list []jsontext.Value
		if err := json.Unmarshal(value, &list); err != nil {
			return err.Error()
		}
		if typ.name == "[,]" && len(list) != len(typ.elems) {
			return fmt.Sprintf("%s hasn't %d elements", value, len(typ.elems))
		}
		for i, v := range list {
			if why := c.check(typ.elems[min(i, len(typ.elems)-1)], v); why != "" {
				return why
			}
		}
	case "{}":
		var members map[string]jsontext.Value
		if err := json.Unmarshal(value, &members); err != nil {
			return err.Error()
		}
		for _, p := range typ.props {
			v, ok := members[p.name]
			delete(members, p.name)
			if !ok && !p.optional {
				return fmt.Sprintf("%s lacks %s", value, p.name)
			}
			if ok {
				if why := c.check(p.typ, v); why != "" {
					return p.name + ": " + why
				}
			}
		}
		for name, v := range members {
			if typ.rest == nil {
				return fmt.Sprintf("%s has a member %s", value, name)
			}
			if why := c.check(*typ.rest, v); why != "" {
				return name + ": " + why
			}
		}
	}
	return ""
}
