package wsctl_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/fixture/hall"
)

// Types that say themselves what they are in JSON, or in TypeScript.
type (
	tsText   struct{ s string }
	tsAppend struct{ s string }
	tsJSON   struct{}
	tsJSONTo struct{}
	tsColor  string
	tsPoint  struct{ X, Y int }
	tsMood   struct{ Good bool }
	silent   struct{ A int }
	tsSpot   struct{ X int }
	tsPin    struct{ *tsSpot }
	tsReads  struct{ n int }
	tsSpelt  struct{ N int }
)

func (t tsText) MarshalText() ([]byte, error)               { return []byte(t.s), nil }
func (t *tsAppend) AppendText(b []byte) ([]byte, error)     { return append(b, t.s...), nil }
func (t tsJSON) MarshalJSON() ([]byte, error)               { return []byte("[]"), nil }
func (t *tsJSONTo) MarshalJSONTo(e *jsontext.Encoder) error { return e.WriteToken(jsontext.Null) }
func (tsColor) TypeScript() string                          { return `'red' | 'green'` }
func (*tsPoint) TypeScript() string                         { return "  [number, number]\n" }
func (tsPoint) MarshalJSON() ([]byte, error)                { return []byte("[1,2]"), nil }
func (tsSpot) MarshalJSON() ([]byte, error)                 { return []byte("1"), nil }
func (s tsSpot) TypeScript() string                         { return "1"[:s.X+1] }
func (silent) TypeScript() string                           { return "" }
func (tsMood) TypeScript() string                           { return "never" }
func (t *tsReads) UnmarshalJSON(b []byte) error             { t.n = len(b); return nil }
func (t *tsSpelt) UnmarshalText(b []byte) error             { t.N = len(b); return nil }

// Types that contain others, or themselves.
type (
	tsRole        string
	tsOctet       byte
	tsID          int64
	tsIDs         []int64
	tsTree        map[string]tsTree
	tsLists       []tsLists
	tsNode        struct{ Next *tsNode }
	tsPage[T any] struct {
		Items []T
		More  *tsPage[T] `json:",omitempty"`
	}
	tsPair[A, B any] struct {
		A A
		B B
	}
	tsEmpty struct{}
	tsBase  struct{ ID, Name string }
	tsOther struct{ ID, Other string }
	tsDeep  struct{ *tsBase }
	TsSelf  struct {
		*TsSelf
		A int
	}
	tsMoody struct {
		tsMood
		A int
	}
	tsPoints struct {
		tsPoint
		A int
	}
	tsStar      *int
	String      struct{ S string }
	packageLine = Line
	Tagged      struct {
		tsBase `json:"base"`
	}
)

// tagged is a struct with a field A. Tools would say the same of its tag as the JSON library does.
func tagged(typ reflect.Type, tag string) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{Name: "A", Type: typ, Tag: reflect.StructTag(`json:"` + tag + `"`)}})
}

func TestTypeScript(t *testing.T) {
	for _, test := range []struct {
		typ  reflect.Type
		want string
	}{
		// Plain types.
		{reflect.TypeFor[bool](), "boolean"},
		{reflect.TypeFor[string](), "string"},
		{reflect.TypeFor[int](), "number"},
		{reflect.TypeFor[uint8](), "number"},
		{reflect.TypeFor[float32](), "number"},
		{reflect.TypeFor[uintptr](), "number"},
		{reflect.TypeFor[time.Time](), "string"},
		{reflect.TypeFor[any](), "unknown"},
		{reflect.TypeFor[fmt.Stringer](), "unknown"},
		{reflect.TypeFor[error](), "unknown"},
		{reflect.TypeFor[json.RawMessage](), "unknown"},
		{reflect.TypeFor[jsontext.Value](), "unknown"},
		{reflect.TypeFor[json.Number](), "json_Number"},

		// Pointers.
		{reflect.TypeFor[*string](), "string | null"},
		{reflect.TypeFor[**string](), "string | null"},
		{reflect.TypeFor[*any](), "unknown"},
		{reflect.TypeFor[*time.Time](), "string | null"},
		{reflect.TypeFor[tsStar](), "tsStar"},

		// Slices, arrays, maps.
		{reflect.TypeFor[[]string](), "string[]"},
		{reflect.TypeFor[[]*string](), "(string | null)[]"},
		{reflect.TypeFor[[]*any](), "unknown[]"},
		{reflect.TypeFor[[][]int](), "number[][]"},
		{reflect.TypeFor[[]struct{ A int }](), "{ A: number }[]"},
		{reflect.TypeFor[[]byte](), "string"},
		{reflect.TypeFor[[4]byte](), "string"},
		{reflect.TypeFor[[]tsOctet](), "tsOctet[]"},
		{reflect.TypeFor[[0]int](), "[]"},
		{reflect.TypeFor[[2]int](), "[number, number]"},
		{reflect.TypeFor[[2]*int](), "[number | null, number | null]"},
		{reflect.TypeFor[[9]int](), "number[]"},
		{reflect.TypeFor[map[string]int](), "{ [key: string]: number }"},
		{reflect.TypeFor[map[int]*int](), "{ [key: string]: number | null }"},
		{reflect.TypeFor[map[float64]bool](), "{ [key: string]: boolean }"},
		{reflect.TypeFor[map[tsRole]bool](), "{ [key: string]: boolean }"},
		{reflect.TypeFor[map[*string]bool](), "{ [key: string]: boolean }"},
		{reflect.TypeFor[map[any]bool](), "{ [key: string]: boolean }"},
		{reflect.TypeFor[map[netip.Addr]bool](), "{ [key: string]: boolean }"},
		{reflect.TypeFor[map[time.Time]bool](), "{ [key: string]: boolean }"},
		{reflect.TypeFor[map[[2]byte]bool](), "{ [key: string]: boolean }"},

		// Names.
		{reflect.TypeFor[struct{}](), "{ [key: string]: never }"},
		{reflect.TypeFor[struct{ A, B int }](), "{ A: number; B: number }"},
		{reflect.TypeFor[struct {
			A int `json:"a"`
			B int `json:"b-c"`
			C int `json:"$d_1"`
			D int `json:"1e"`
			E int `json:"é:/"`
		}](), `{ a: number; "b-c": number; $d_1: number; "1e": number; "é:/": number }`},
		{reflect.TypeFor[struct {
			A int `json:"-"`
			C int `json:",case:ignore"`
			d int
			E int `xml:"e"`
		}](), "{ C: number; E: number }"},
		{tagged(reflect.TypeFor[int](), "-,omitzero"), `{ "-"?: number }`},

		// Options.
		{reflect.TypeFor[struct {
			A int     `json:",omitzero"`
			B *int    `json:",omitzero"`
			C **int   `json:",omitzero"`
			D any     `json:",omitzero"`
			E [2]bool `json:",omitzero"`
		}](), "{ A?: number; B?: number; C?: number | null; D?: unknown; E?: [boolean, boolean] }"},
		{reflect.TypeFor[struct {
			A string         `json:",omitempty"`
			B []int          `json:",omitempty"`
			C map[string]int `json:",omitempty"`
			D []byte         `json:",omitempty"`
			E *int           `json:",omitempty"`
			F **int          `json:",omitempty"`
			G any            `json:",omitempty"`
			H [0]int         `json:",omitempty"`
			I struct{}       `json:",omitempty"`
			J tsText         `json:",omitempty"`
			K tsJSON         `json:",omitempty"`
			L struct {
				A int   `json:",omitzero"`
				B []int `json:",omitempty"`
			} `json:",omitempty"`
		}](), "{ A?: string; B?: number[]; C?: { [key: string]: number }; D?: string; E?: number; F?: number; G?: unknown; H?: []; " +
			"I?: { [key: string]: never }; J?: tsText; K?: tsJSON; L?: { A?: number; B?: number[] } }"},
		{reflect.TypeFor[struct { // what is never empty is never left out
			A int             `json:",omitempty"`
			B bool            `json:",omitempty"`
			C time.Time       `json:",omitempty"`
			D [2]int          `json:",omitempty"`
			E struct{ A int } `json:",omitempty"`
		}](), "{ A: number; B: boolean; C: string; D: [number, number]; E: { A: number } }"},
		{reflect.TypeFor[struct {
			A int     `json:",string"`
			B *int64  `json:",string"`
			C *uint64 `json:",string,omitempty"`
			D float32 `json:",string,omitzero"`
			E tsID    `json:",string"`
		}](), "{ A: string; B: string | null; C?: string; D?: string; E: string }"},
		{tagged(reflect.TypeFor[**uint64](), ",string"), "{ A: string | null }"},
		{tagged(reflect.TypeFor[tsJSON](), ",string"), "{ A: tsJSON }"}, // its method knows nothing of it

		// Embedded structs.
		{reflect.TypeFor[struct {
			tsBase
			A int
		}](), "{ ID: string; Name: string; A: number }"},
		{reflect.TypeFor[struct {
			*tsBase
			Name int
		}](), "{ ID?: string; Name: number }"},
		{reflect.TypeFor[struct {
			tsBase
			tsOther
		}](), "{ Name: string; Other: string }"},
		{reflect.TypeFor[struct {
			B  tsBase  `json:",embed"`
			O  tsOther `json:",embed"`
			ID string  `json:"ID"`
		}](), "{ Name: string; Other: string; ID: string }"},
		{reflect.TypeFor[struct {
			tsDeep
			*tsOther
		}](), "{ Name?: string; ID?: string; Other?: string }"},
		{reflect.TypeFor[TsSelf](), "TsSelf"},
		{reflect.TypeFor[struct {
			tsBase `json:"base"`
		}](), "{ base: tsBase }"},

		// Embedded maps and raw values.
		{reflect.TypeFor[struct {
			M map[string]int `json:",embed"`
		}](), "{ [key: string]: number }"},
		{reflect.TypeFor[struct {
			A int
			M map[tsRole]string `json:",embed"`
		}](), "{ A: number; [key: string]: string | number }"},
		{reflect.TypeFor[struct {
			A *int `json:",omitzero"`
			B *string
			M map[string]string `json:",embed"`
		}](), "{ A?: number; B: string | null; [key: string]: string | number | null | undefined }"},
		{reflect.TypeFor[struct {
			M *map[string]*int `json:",embed"`
		}](), "{ [key: string]: number | null }"},
		{reflect.TypeFor[struct {
			A int
			V jsontext.Value `json:",embed"`
		}](), "{ A: number; [key: string]: unknown }"},

		// Types with methods, which go by their names.
		{reflect.TypeFor[tsText](), "tsText"},
		{reflect.TypeFor[tsReads](), "tsReads"},
		{reflect.TypeFor[tsSpelt](), "tsSpelt"},
		{reflect.TypeFor[struct{ tsText }](), "string"},     // promoted
		{reflect.TypeFor[struct{ *tsJSONTo }](), "unknown"}, // promoted
		{reflect.TypeFor[struct{ tsPoint }](), "([number, number])"},
		{reflect.TypeFor[struct {
			tsMood
			A int
		}](), "{ Good: boolean; A: number }"},
	} {
		got, _, err := wsctl.TypeScript(test.typ)
		if err != nil || got != test.want {
			t.Errorf("%v:\n got %s\nwant %s\n%v", test.typ, got, test.want, err)
		}
	}
}

func TestTypeScriptDeclarations(t *testing.T) {
	type Line struct{ Local string } // hides that of the package, and only a number tells them apart
	for _, test := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[tsRole](), "type tsRole = string;"},
		{reflect.TypeFor[tsOctet](), "type tsOctet = number;"},
		{reflect.TypeFor[tsID](), "/** 64-bit: not exact above 2^53. */\nexport type tsID = number;"},
		{reflect.TypeFor[tsIDs](), "/** 64-bit: not exact above 2^53. */\nexport type tsIDs = number[];"},
		{reflect.TypeFor[tsStar](), "type tsStar = number | null;"},
		{reflect.TypeFor[tsText](), "type tsText = string;"},
		{reflect.TypeFor[tsAppend](), "type tsAppend = string;"},
		{reflect.TypeFor[tsJSON](), "type tsJSON = unknown;"},
		{reflect.TypeFor[tsJSONTo](), "type tsJSONTo = unknown;"},
		{reflect.TypeFor[tsReads](), "type tsReads = unknown;"},
		{reflect.TypeFor[tsSpelt](), "type tsSpelt = string;"},
		{reflect.TypeFor[tsColor](), "type tsColor = 'red' | 'green';"},
		{reflect.TypeFor[tsPoint](), "type tsPoint = [number, number];"},
		{reflect.TypeFor[tsPoints](), "type tsPoints = [number, number];"},                     // all of it is promoted
		{reflect.TypeFor[tsMoody](), "interface tsMoody {\n  Good: boolean;\n  A: number;\n}"}, // none of it is
		{reflect.TypeFor[tsTree](), "type tsTree = { [key: string]: tsTree };"},
		{reflect.TypeFor[tsLists](), "type tsLists = tsLists[];"},
		{reflect.TypeFor[tsNode](), "interface tsNode {\n  Next: tsNode | null;\n}"},
		{reflect.TypeFor[TsSelf](), "interface TsSelf {\n  A: number;\n}"},
		{reflect.TypeFor[tsEmpty](), "type tsEmpty = { [key: string]: never };"},
		{reflect.TypeFor[Tagged](), "interface Tagged {\n  base: tsBase;\n}\n\nexport interface tsBase {\n  ID: string;\n  Name: string;\n}"},

		// Names of generic types are made of their arguments'.
		{reflect.TypeFor[tsPage[int]](), "interface tsPage_int {\n  Items: number[];\n  More?: tsPage_int;\n}"},
		{reflect.TypeFor[tsPage[*tsRole]](), "interface tsPage_Ptr_tsRole {\n  Items: (tsRole | null)[];\n  More?: tsPage_Ptr_tsRole;\n}\n\nexport type tsRole = string;"},
		{reflect.TypeFor[tsPair[map[string]tsRole, tsPair[[]time.Time, struct{ X int }]]](),
			"interface tsPair_Array_Time_struct_X_int {\n  A: string[];\n  B: { X: number };\n}\n\n" +
				"export interface tsPair_Map_string_tsRole_tsPair_Array_Time_struct_X_int {\n" +
				"  A: { [key: string]: tsRole };\n  B: tsPair_Array_Time_struct_X_int;\n}\n\nexport type tsRole = string;"},

		// Two of a name are told apart by their packages, and so is a name that is taken.
		{reflect.TypeFor[tsPair[packageLine, hall.Line]](),
			"/** Line is a line of people, not of text. */\nexport interface hall_Line {\n  /** Length is how many there are. */\n  Length: number;\n  /** and not only waiting */\n  Moving: boolean;\n}\n\n" +
				"export interface tsPair_Line_Line {\n  A: wsctl_test_Line;\n  B: hall_Line;\n}\n\n" +
				"export interface wsctl_test_Line {\n  Room: string;\n  Text: string;\n}"},
		{reflect.TypeFor[String](), "interface wsctl_test_String {\n  S: string;\n}"},
		{reflect.TypeFor[hall.Date](), "/** Date has the name of a class of JavaScript. */\nexport interface hall_Date {\n  Day: number;\n  Month: number;\n}"},
		{reflect.TypeFor[struct {
			A Line
			B packageLine
		}](), "interface wsctl_test_Line {\n  Local: string;\n}\n\nexport interface wsctl_test_Line_2 {\n  Room: string;\n  Text: string;\n}"},
	} {
		_, got, err := wsctl.TypeScript(test.typ)
		if err != nil {
			t.Errorf("%v: %v", test.typ, err)
		} else if got = strings.TrimPrefix(strings.TrimSpace(got), "export "); got != test.want {
			t.Errorf("%v:\n got %s\nwant %s", test.typ, got, test.want)
		}
	}
}

func TestTypeScriptErrors(t *testing.T) {
	type named struct{ C chan int }
	for _, test := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[chan int](), "x: a chan int is nothing that JSON can carry"},
		{reflect.TypeFor[[]func()](), "x: a func() is nothing that JSON can carry"},
		{reflect.TypeFor[complex64](), "x: a complex64 is nothing that JSON can carry"},
		{reflect.TypeFor[time.Duration](), "x: a time.Duration has no form in JSON"},
		{reflect.TypeFor[map[bool]int](), "x: a bool can't name the members of an object"},
		{reflect.TypeFor[map[struct{}]int](), "x: a struct {} can't name the members of an object"},
		{reflect.TypeFor[map[time.Duration]int](), "x: a time.Duration can't name the members of an object"},
		{reflect.TypeFor[struct{ A []named }](), "wsctl_test.named.C: a chan int is nothing that JSON can carry"},
		{reflect.TypeFor[struct{ A struct{ B *time.Duration } }](), "x.A.B: a time.Duration has no form in JSON"},
		{reflect.TypeFor[tsPage[chan int]](), "wsctl_test.tsPage[chan int].Items: a chan int is nothing"},
		{reflect.TypeFor[silent](), "wsctl_test.silent: its method TypeScript, which is called on the zero value, panics or returns nothing"},

		{reflect.TypeFor[tsPin](), "wsctl_test.tsPin: its method TypeScript, which is called on the zero value, panics"},

		// Options that don't fit.
		{tagged(reflect.TypeFor[string](), ",string"), "x.A: `string` is for numbers only"},
		{tagged(reflect.TypeFor[[]int](), ",string"), "x.A: `string` is for numbers only"},
		{tagged(reflect.TypeFor[time.Time](), ",string"), "x.A: `string` is for numbers only"},
		{tagged(reflect.TypeFor[*bool](), ",string"), "x.A: `string` is for numbers only"},

		// What the JSON library has to say.
		{reflect.StructOf([]reflect.StructField{
			{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"x"`},
			{Name: "B", Type: reflect.TypeFor[int](), Tag: `json:"x"`},
		}), `x: Go struct fields A and B conflict over JSON object name "x"`},
		{tagged(reflect.TypeFor[int](), `a\"b`), "x: Go struct field A has malformed `json` tag"},
		{tagged(reflect.TypeFor[time.Time](), ",format:RFC3339"), "x: Go struct field A has unsupported `format` tag option"},
		{reflect.TypeFor[struct{ a int }](), "x: Go struct has no exported fields"},
		{reflect.TypeFor[struct{ tsRole }](), "x: embedded Go struct field tsRole of non-struct type must be explicitly given a JSON name"},
		{tagged(reflect.TypeFor[int](), ",omit_empty"), "specify `omitempty` instead"},
		{tagged(reflect.TypeFor[map[int]int](), ",embed"), "must be a Go struct, Go map of string key, or jsontext.Value"},
	} {
		_, _, err := wsctl.TypeScript(test.typ)
		if err == nil || !strings.HasPrefix(err.Error(), "wsctl: WriteTypes: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v:\n got %v\nwant %s", test.typ, err, test.want)
		}
	}

	_, _, err := wsctl.TypeScript(reflect.TypeFor[struct {
		B chan int
		A func()
		C struct{ B chan int }
	}]())
	if want := "wsctl: WriteTypes: 3 problems:\n\tx.A: a func() is nothing that JSON can carry\n\tx.B: a chan int is nothing that " +
		"JSON can carry\n\tx.C.B: a chan int is nothing that JSON can carry"; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// place is a controller in two forms that have events in common.
type (
	place  struct{}
	place2 struct{}
)

func (place) OnClose(*wsctl.Socket, error)         {}
func (place2) Go(*wsctl.Socket, hall.Line) (n int) { return 0 }
func (place2) Said(*wsctl.Socket, Line)            {}

func TestWriteTypes(t *testing.T) {
	write := func(h *wsctl.Handler) string {
		var b countingWriter
		if err := h.WriteTypes(&b); err != nil || b.writes != 1 {
			t.Errorf("%v, %d writes", err, b.writes)
		}
		return b.String()
	}

	// Nothing: all members are there.
	empty := "// Code generated by wsctl from Go types. DO NOT EDIT.\n\n"
	got := write(wsctl.New(place{}, nil))
	for _, line := range []string{empty, "export interface Protocol {\n", "  events: {};\n", "  messages: {};\n", "  calls: {};\n", "  streams: {};\n", "  asks: {};\n}\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("%q lacks %q", got, line)
		}
	}

	// The order in which things are declared doesn't matter, nor how often.
	a, b := wsctl.NewEvent[Line]("a"), wsctl.NewEvent[hall.Line]("b")
	again, ask := wsctl.NewEvent[int]("a"), wsctl.NewRequest[*Line, struct{ B **int }]("ask")
	one := wsctl.New(place{}, &wsctl.Options{Controllers: []any{place2{}}, Events: []wsctl.Declaration{a, again, b, ask}})
	two := wsctl.New(place2{}, &wsctl.Options{Controllers: []any{place{}, place2{}}, Events: []wsctl.Declaration{ask, b, again, a, ask}})
	got = write(one)
	if got != write(two) || got != write(one) {
		t.Errorf("not the same:\n%s\n%s", got, write(two))
	}
	for _, line := range []string{
		"\n    a: number | wsctl_test_Line;\n", "\n    b: hall_Line;\n", "\n    Said: wsctl_test_Line;\n", "\n    Go: { req: hall_Line; res: number };\n",
		"\n    Said: { req: wsctl_test_Line; res: undefined };\n", "\n    ask: { req: wsctl_test_Line | null; res: { B: number | null } };\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%s\nlacks %q", got, line)
		}
	}

	// Options belong to the handler from New on.
	events := []wsctl.Declaration{a}
	h := wsctl.New(place{}, &wsctl.Options{Events: events})
	events[0] = b
	if got := write(h); !strings.Contains(got, "    a: Line;") {
		t.Errorf("changed behind the handler's back: %s", got)
	}
}

// The declarations may be served beside the client.
func TestServeTypes(t *testing.T) {
	h := wsctl.New(place2{}, nil)
	mux := http.NewServeMux()
	mux.Handle("GET /js/{file}", wsctl.JS())
	mux.HandleFunc("GET /js/types.d.ts", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_ = h.WriteTypes(w)
	})
	for path, want := range map[string]string{"/js/types.d.ts": "export interface Protocol {", "/js/wsctl.d.ts": "export declare class Client"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if got := w.Body.String(); w.Code != 200 || !strings.Contains(got, want) {
			t.Errorf("%s: %d, %s", path, w.Code, got)
		}
	}
}

func TestWriteTypesErrors(t *testing.T) {
	var b countingWriter
	h := wsctl.New(place2{}, &wsctl.Options{Events: []wsctl.Declaration{
		new(wsctl.Event[int]), wsctl.NewEvent[struct{ C chan int }]("c"), wsctl.NewRequest[int, map[string]func()]("f"),
	}})
	const want = "wsctl: WriteTypes: 3 problems:\n" +
		"\tOptions.Events[0]: it has no type: make it with NewEvent or NewRequest\n" +
		"\tOptions.Events[1].C: a chan int is nothing that JSON can carry\n" +
		"\tOptions.Events[2]: a func() is nothing that JSON can carry"
	for range 2 {
		if err := h.WriteTypes(&b); err == nil || err.Error() != want || b.writes != 0 {
			t.Errorf("%d writes, got %v\nwant %s", b.writes, err, want)
		}
	}
	b.err = errors.New("full")
	if err := wsctl.New(place2{}, nil).WriteTypes(&b); err != b.err {
		t.Error(err)
	}
}

// countingWriter counts what is written to it, or fails.
type countingWriter struct {
	bytes.Buffer
	writes int
	err    error
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes++
	if w.err != nil {
		return 0, w.err
	}
	return w.Buffer.Write(p)
}

// The package main has another path in its tests than in the program. Names and their numbers are the same.
func TestTypeNames(t *testing.T) {
	pages := []reflect.Type{reflect.TypeFor[tsPage[hall.Line]](), reflect.TypeFor[tsPage[packageLine]](), reflect.TypeFor[tsPage[int]]()}
	got := fmt.Sprint(wsctl.TypeNames(pages...))
	slices.Reverse(pages)
	names := wsctl.TypeNames(pages...)
	slices.Reverse(names)
	if got != fmt.Sprint(names) || names[2] != "tsPage_int" || names[0] == names[1] {
		t.Errorf("%s, found the other way round %s", got, names)
	}
}
