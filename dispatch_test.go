package wsctl

import (
	"bytes"
	"context"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Texts below name the file:line of a declaration by a mark, @key, that stands in a comment on its line.
var mark = regexp.MustCompile(`@[A-Za-z0-9.]+`)

// marked replaces the marks in text by file:line.
func marked(t testing.TB, text string) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(src), "\n") {
			if _, key, ok := strings.Cut(line, "//@"); ok {
				lines["@"+key] = fmt.Sprintf("%s:%d", path.Join(path.Dir(here), file), i+1)
			}
		}
	}
	return mark.ReplaceAllStringFunc(text, func(key string) string {
		if lines[key] == "" {
			t.Fatalf("no mark %s", key)
		}
		return lines[key]
	})
}

func mustBind(t testing.TB, c any) *controller {
	t.Helper()
	ctl, err := newTables(nil).bind(c)
	if err != nil {
		t.Fatal(err)
	}
	return ctl
}

// exposedTypes are the message types of c's table.
func exposedTypes(c *controller) []string {
	var list []string
	for _, n := range c.table.names {
		list = append(list, n.typ)
	}
	return list
}

// ---- Every form, called.

type formLine struct {
	Room string `json:"room"`
	N    int8   `json:"n"`
}

type formText struct{ s string }

func (t *formText) UnmarshalText(b []byte) error {
	if string(b) == "bad" {
		return errors.New("secret of formText")
	}
	t.s = string(b)
	return nil
}

type formController struct {
	calls []string
	raw   []byte
}

type formKey struct{}

func (f *formController) note(args ...any) {
	f.calls = append(f.calls, strings.TrimSuffix(fmt.Sprintln(args...), "\n"))
}
func (f *formController) None(s *Socket)                         { f.note(s != nil) }
func (f *formController) Err(*Socket) error                      { return errOfMethod }
func (f *formController) NoErr(*Socket) error                    { return nil }
func (f *formController) Ctx(ctx context.Context, s *Socket)     { f.note(ctx.Value(formKey{}), s != nil) }
func (f *formController) In(_ *Socket, l formLine)               { f.note(l) }
func (f *formController) InErr(_ *Socket, n [2]int) error        { f.note(n); return errOfMethod }
func (f *formController) Ptr(_ *Socket, l *formLine)             { f.note(l) }
func (f *formController) PtrPtr(_ *Socket, l **formLine)         { f.note(l == nil) }
func (f *formController) Raw(_ *Socket, b jsonv1.RawMessage)     { f.note(b == nil, string(b)); f.raw = b }
func (f *formController) RawPtr(_ *Socket, b *jsonv1.RawMessage) { f.note(b == nil) }
func (f *formController) RawValue(_ *Socket, b jsontext.Value) {
	f.note(b == nil, string(b))
	f.raw = b
}
func (f *formController) Any(_ *Socket, v any)                      { f.note(v) }
func (f *formController) Map(_ *Socket, m map[string]int)           { f.note(m == nil, m) }
func (f *formController) Text(_ *Socket, x formText)                { f.note(x.s) }
func (f *formController) Out(*Socket) int                           { return 7 }
func (f *formController) OutErr(*Socket) (string, error)            { return "lost", errOfMethod }
func (f *formController) OutNoErr(*Socket) (string, error)          { return "x", nil }
func (f *formController) OutNilPtr(*Socket) *formLine               { return nil }
func (f *formController) OutNilAny(*Socket) (any, error)            { return nil, nil }
func (f *formController) OutNilStringer(*Socket) fmt.Stringer       { return nil }
func (f *formController) OutStringer(*Socket) (fmt.Stringer, error) { return time.Second, nil }
func (f *formController) OutError(*Socket) (*Error, error)          { return &Error{Code: "x"}, nil }
func (f *formController) All(ctx context.Context, _ *Socket, l formLine) (formLine, error) {
	f.note(ctx.Value(formKey{}))
	l.N++
	return l, nil
}

// These are none.
func (f *formController) String() string            { return "" }
func (f *formController) Lock()                     {}
func (f *formController) Run(context.Context) error { return nil }
func (f *formController) Sockets(...*Socket)        {}
func (f *formController) Slice([]*Socket)           {}
func (f *formController) Value([]Socket)            {}
func (f *formController) Returns() *Socket          { return nil }
func (f *formController) unexported(*Socket)        {}

var errOfMethod = errors.New("some error")

func TestCall(t *testing.T) {
	f := &formController{}
	f.unexported(nil)
	c := mustBind(t, f)
	ctx := context.WithValue(context.Background(), formKey{}, "ctx")
	tests := []struct {
		typ, data string // data empty: absent
		result    any
		calls     string // what the method noted
		err       error
	}{
		{typ: "None", calls: "true"},
		{typ: "None", data: `{"ignored":1,"ignored":2}`, calls: "true"},
		{typ: "Err", err: errOfMethod},
		{typ: "NoErr"},
		{typ: "Ctx", calls: "ctx true"},
		{typ: "In", data: `{"room":"go","n":5}`, calls: "{go 5}"},
		{typ: "In", data: `{"ROOM":"names are case-sensitive"}`, calls: "{ 0}"},
		{typ: "In", calls: "{ 0}"},
		{typ: "In", data: "null", calls: "{ 0}"},
		{typ: "InErr", data: "[1,2]", calls: "[1 2]", err: errOfMethod},
		{typ: "Ptr", data: `{"room":"go"}`, calls: "&{go 0}"},
		{typ: "Ptr", data: " null ", calls: "<nil>"},
		{typ: "Ptr", calls: "<nil>"},
		{typ: "PtrPtr", calls: "true"},
		{typ: "PtrPtr", data: "{}", calls: "false"},
		{typ: "Raw", data: `{"a":1,"a":2}`, calls: `false {"a":1,"a":2}`},
		{typ: "Raw", data: "null", calls: "false null"},
		{typ: "Raw", calls: "true "},
		{typ: "RawPtr", data: "1", calls: "false"},
		{typ: "RawPtr", calls: "true"},
		{typ: "RawValue", data: "[ ]", calls: "false [ ]"},
		{typ: "RawValue", calls: "true "},
		{typ: "Any", data: `"x"`, calls: "x"},
		{typ: "Any", calls: "<nil>"},
		{typ: "Map", data: `{"a":1}`, calls: "false map[a:1]"},
		{typ: "Map", calls: "true map[]"},
		{typ: "Text", data: `"t"`, calls: "t"},
		{typ: "Out", result: 7},
		{typ: "OutErr", err: errOfMethod},
		{typ: "OutNoErr", result: "x"},
		{typ: "OutNilPtr", result: (*formLine)(nil)},
		{typ: "OutNilAny"},
		{typ: "OutNilStringer"},
		{typ: "OutStringer", result: time.Second},
		{typ: "OutError", result: &Error{Code: "x"}},
		{typ: "All", data: `{"room":"go","n":5}`, result: formLine{"go", 6}, calls: "ctx"},
	}
	untested := exposedTypes(c)
	for _, test := range tests {
		t.Run(test.typ+" "+test.data, func(t *testing.T) {
			f.calls = nil
			var data []byte
			if test.data != "" {
				data = []byte(test.data)
			}
			r := c.route([]byte(test.typ))
			if r == nil {
				t.Fatal("no route")
			}
			result, err := r.call(c, ctx, &Socket{}, data, false)
			if err != test.err || !reflect.DeepEqual(result, test.result) {
				t.Errorf("got %#v, %v; want %#v, %v", result, err, test.result, test.err)
			}
			if got := strings.Join(f.calls, "|"); got != test.calls {
				t.Errorf("method noted %q, want %q", got, test.calls)
			}
		})
		untested = slices.DeleteFunc(untested, func(typ string) bool { return typ == test.typ })
	}
	if len(untested) > 0 {
		t.Errorf("exposed, but not in the table: %v", untested)
	}
}

func TestRouteCtx(t *testing.T) {
	c := mustBind(t, &formController{})
	for typ, want := range map[string]bool{"Ctx": true, "All": true, "None": false, "In": false} {
		if r := c.route([]byte(typ)); r.ctx != want || r.name != typ {
			t.Errorf("%s: name %s, ctx %v", typ, r.name, r.ctx)
		}
	}
}

func TestRawIsACopy(t *testing.T) {
	for _, typ := range []string{"Raw", "RawValue"} {
		f := &formController{}
		c := mustBind(t, f)
		data := []byte("[1]")
		if _, err := c.route([]byte(typ)).call(c, t.Context(), &Socket{}, data, false); err != nil {
			t.Fatal(err)
		}
		data[1] = '2'
		if string(f.raw) != "[1]" {
			t.Errorf("%s: the method's bytes changed to %s", typ, f.raw)
		}
	}
}

func TestNoSuchRoute(t *testing.T) {
	var none *controller
	if none.route([]byte("None")) != nil || none.nearest("None") != "" {
		t.Error("a nil controller has routes")
	}
	c := mustBind(t, &formController{})
	for _, typ := range []string{"", "none", "NONE", "String", "Lock", "Run", "Sockets", "unexported", "note", "OnOpen"} {
		if c.route([]byte(typ)) != nil {
			t.Errorf("%q is a route", typ)
		}
	}
	if got := c.nearest("al"); got != "All" {
		t.Errorf("nearest to al: %q", got)
	}
	typ := []byte("All")
	if n := testing.AllocsPerRun(100, func() { c.route(typ) }); n != 0 {
		t.Errorf("route allocates %v times", n)
	}
}

// ---- Data that doesn't decode.

type formDeep struct {
	Line  formLine        `json:"line"`
	Lines []formLine      `json:"lines"`
	M     map[string]bool `json:"m"`
	X     formText        `json:"x"`
	At    time.Time       `json:"at"`
	B     []byte          `json:"b"`
	Two   [2]int          `json:"two"`
	F     float64         `json:"f"`
	Ch    chan int        `json:"ch"`
	Wait  time.Duration   `json:"wait"`
}

type decodeController struct{}

func (decodeController) Deep(*Socket, formDeep) {}
func (decodeController) Ptr(*Socket, *formDeep) {}
func (decodeController) Str(*Socket, string)    {}

func TestDecodeErrors(t *testing.T) {
	c := mustBind(t, decodeController{})
	long := strings.Repeat("é", 100)
	tests := []struct{ typ, data, want string }{
		{"Str", `1`, `data: found number, want string`},
		{"Str", `true`, `data: found boolean, want string`},
		{"Deep", `[]`, `data: found array, want object`},
		{"Ptr", `"x"`, `data: found string, want object`},
		{"Deep", `{"line":{"n":"1"}}`, `data at "/line/n": found string, want number`},
		{"Deep", `{"line":{"n":128}}`, `data at "/line/n": number doesn't fit`},
		{"Deep", `{"line":{"n":1.5}}`, `data at "/line/n": number doesn't fit`},
		{"Deep", `{"lines":[{},{"room":{}}]}`, `data at "/lines/1/room": found object, want string`},
		{"Deep", `{"lines":{}}`, `data at "/lines": found object, want array`},
		{"Deep", `{"m":{"a/b":0}}`, `data at "/m/a~1b": found number, want boolean`},
		{"Deep", `{"x":"bad"}`, `data at "/x": string doesn't fit`},
		{"Deep", `{"at":"yesterday"}`, `data at "/at": string doesn't fit`},
		{"Deep", `{"at":7}`, `data at "/at": number doesn't fit`},
		{"Deep", `{"b":[]}`, `data at "/b": found array, want string`},
		{"Deep", `{"two":[1]}`, `data at "/two": array doesn't fit`},
		{"Deep", `{"f":"x"}`, `data at "/f": found string, want number`},
		{"Deep", `{"ch":1}`, `data at "/ch": value doesn't fit`},
		{"Deep", `{"wait":1}`, `data at "/wait": value doesn't fit`},
		{"Deep", `{"line":{"n":1,"n":1}}`, `data at "/line/n": duplicate name`},
		{"Str", `"\ud800"`, `data: malformed JSON`},
		{"Deep", `{"line":{"room":"\ud800"}}`, `data at "/line/room": malformed JSON`},
		{"Deep", `{"line":`, `data at "/line": malformed JSON`},
		{"Str", ``, `data: malformed JSON`},
		{"Deep", `{"m":{"` + long + `":0}}`, `data at "/m/` + long[:96] + `…": found number, want boolean`},
	}
	for _, test := range tests {
		t.Run(test.data, func(t *testing.T) {
			_, err := c.route([]byte(test.typ)).call(c, t.Context(), &Socket{}, []byte(test.data), false)
			e, ok := err.(*Error)
			if !ok || e.Code != CodeBadRequest || e.Message != test.want || e.Data != nil {
				t.Errorf("got  %#v\nwant %s", err, test.want)
			}
		})
	}
}

// ---- Validate.

var errOfValidate = fmt.Errorf("wrapped: %w", &Error{Code: "own", Message: "m"})

type formChecked struct{ N int }

func (c formChecked) Validate() error {
	switch c.N {
	case 0:
		return errors.New("n is missing")
	case 1:
		return errOfValidate
	}
	return nil
}

type formCheckedPtr struct{ N int }

func (c *formCheckedPtr) Validate() error { return formChecked{c.N}.Validate() }

type formOtherValidate struct{}

func (formOtherValidate) Validate(int) error { return errOfMethod }

type validateController struct{ called int }

func (v *validateController) Value(*Socket, formChecked)             { v.called++ }
func (v *validateController) Pointer(*Socket, *formChecked)          { v.called++ }
func (v *validateController) ByPointer(*Socket, formCheckedPtr)      { v.called++ }
func (v *validateController) PointerByPtr(*Socket, *formCheckedPtr)  { v.called++ }
func (v *validateController) OtherMethod(*Socket, formOtherValidate) { v.called++ }

func TestValidate(t *testing.T) {
	missing := &Error{Code: CodeBadRequest, Message: "n is missing"}
	tests := []struct {
		typ, data string
		err       error
	}{
		{"Value", "", missing}, {"Value", `{}`, missing}, {"Value", `{"N":1}`, errOfValidate}, {"Value", `{"N":2}`, nil},
		{"Pointer", "", nil}, {"Pointer", "null", nil}, {"Pointer", `{}`, missing}, {"Pointer", `{"N":2}`, nil},
		{"ByPointer", "", missing}, {"ByPointer", `{"N":1}`, errOfValidate}, {"ByPointer", `{"N":2}`, nil},
		{"PointerByPtr", "", nil}, {"PointerByPtr", `{"N":0}`, missing}, {"PointerByPtr", `{"N":2}`, nil},
		{"OtherMethod", `{}`, nil},
	}
	for _, test := range tests {
		t.Run(test.typ+" "+test.data, func(t *testing.T) {
			v := &validateController{}
			c := mustBind(t, v)
			var data []byte
			if test.data != "" {
				data = []byte(test.data)
			}
			_, err := c.route([]byte(test.typ)).call(c, t.Context(), &Socket{}, data, false)
			if !reflect.DeepEqual(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
			if called := v.called == 1; called != (test.err == nil) {
				t.Errorf("method called: %v", called)
			}
		})
	}
}

// ---- Tables are shared.

func TestTablesAreShared(t *testing.T) {
	named := 0
	tabs := newTables(func(method string) string { named++; return method })
	a, err := tabs.bind(&counts{})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := tabs.bind(&counts{})
	if a.table != b.table || named != 1 {
		t.Errorf("tables %p and %p, methods named %d times", a.table, b.table, named)
	}
}

func TestBindConcurrently(t *testing.T) {
	tabs := newTables(SnakeCase)
	got := make([]*table, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			if i%2 == 0 {
				if err := tabs.declare(&usesStore{}); err != nil {
					t.Error(err)
				}
				tabs.routes()
			}
			c, err := tabs.bind(&usesStore{})
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = c.table
			if r, err := c.route([]byte("add")).call(c, context.Background(), nil, nil, false); r != 1 || err != nil {
				t.Errorf("add: %v, %v", r, err)
			}
			if _, err := tabs.bind(&faulty{}); err == nil {
				t.Error("no error")
			}
		})
	}
	wg.Wait()
	if len(slices.Compact(got)) != 1 {
		t.Errorf("several tables: %v", got)
	}
}

type uncomparable struct {
	values
	s []int
}

func TestSame(t *testing.T) {
	var none *controller
	p, q := &values{1}, &values{1}
	tests := []struct {
		name string
		c, d *controller
		want bool
	}{
		{"nils", none, none, true},
		{"nil", mustBind(t, p), none, false},
		{"pointer", mustBind(t, p), mustBind(t, p), true},
		{"pointers", mustBind(t, p), mustBind(t, q), false},
		{"pointer and value", mustBind(t, p), mustBind(t, *p), false},
		{"equal values", mustBind(t, *p), mustBind(t, *q), true},
		{"uncomparable", mustBind(t, uncomparable{s: nil}), mustBind(t, uncomparable{}), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.c.same(test.d); got != test.want {
				t.Errorf("same: %v", got)
			}
			if got := test.d.same(test.c); got != test.want {
				t.Errorf("same, swapped: %v", got)
			}
		})
	}
}

// ---- Speed.

type sayIn struct {
	Room string `json:"room"`
	User string `json:"user"`
	Text string `json:"text"`
}

type sayController struct{ n int }

func (c *sayController) Say(_ *Socket, in sayIn) error             { c.n += len(in.Text); return nil }
func (c *sayController) SayOut(_ *Socket, in sayIn) (sayIn, error) { c.n++; return in, nil }
func (c *sayController) SayCtx(_ context.Context, _ *Socket, in sayIn) error {
	c.n += len(in.Text)
	return nil
}
func (c *sayController) SayRaw(_ *Socket, in jsonv1.RawMessage) error { c.n += len(in); return nil }
func (c *sayController) Ping(*Socket) error                           { c.n++; return nil }

// BenchmarkRouteCall is what the data of an 83-byte message costs.
func BenchmarkRouteCall(b *testing.B) {
	data := []byte(`{"room":"general","user":"ada","text":"hello, world"}`)
	say := &sayController{}
	c := mustBind(b, say)
	s, ctx := &Socket{}, context.Background()
	b.Run("direct/Say", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var in sayIn
			if err := json.Unmarshal(data, &in); err != nil {
				b.Fatal(err)
			}
			if err := say.Say(s, in); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, typ := range []string{"Say", "SayOut", "SayCtx", "SayRaw", "Ping"} {
		name := []byte(typ)
		b.Run("table/"+typ, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.route(name).call(c, ctx, s, data, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("bind", func(b *testing.B) {
		b.ReportAllocs()
		tabs := newTables(nil)
		for b.Loop() {
			if _, err := tabs.bind(&usesStore{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A result that is only to be encoded encodes as it would otherwise, whatever holds it.
func TestCallToEncode(t *testing.T) {
	tabs := newTables(nil)
	c, err := tabs.bind(encodeController{})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"Big", "OnePointer", "Small", "Empty", "Pointer", "Nil", "Marshaler"} {
		var texts [2]string
		for i, encode := range []bool{false, true} {
			result, err := c.route([]byte(method)).call(c, t.Context(), nil, nil, encode)
			if err != nil {
				t.Fatal(method, err)
			}
			runtime.GC() // what was pointed to in a wrong way would be gone
			var b bytes.Buffer
			if err := appendMessage(&b, "t", 1, result); err != nil {
				t.Fatal(method, err)
			}
			texts[i] = b.String()
		}
		if texts[0] != texts[1] || !strings.Contains(texts[0], `"data":`) {
			t.Errorf("%s: %s, to be encoded %s", method, texts[0], texts[1])
		}
	}
}

type encodeController struct{}

type bigResult struct {
	A, B string
	C    []int
}

type onePointer struct{ M map[string]int }

type ownMarshaler struct{ a, b int }

func (m *ownMarshaler) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d]", m.a, m.b), nil
}

func (encodeController) Big(*Socket) bigResult           { return bigResult{"a", "b", []int{1, 2}} }
func (encodeController) OnePointer(*Socket) onePointer   { return onePointer{map[string]int{"a": 1}} }
func (encodeController) Small(*Socket) struct{ N uint8 } { return struct{ N uint8 }{7} }
func (encodeController) Empty(*Socket) struct{}          { return struct{}{} }
func (encodeController) Pointer(*Socket) *bigResult      { return &bigResult{A: "p"} }
func (encodeController) Nil(*Socket) *bigResult          { return nil }
func (encodeController) Marshaler(*Socket) ownMarshaler  { return ownMarshaler{3, 4} }
