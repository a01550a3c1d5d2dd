package wsctl

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// goodMessages are messages that scan takes.
var goodMessages = []struct {
	name, msg string
	typ       string
	id        int64
	data      string // empty: absent
}{
	{"call", `{"type":"say","id":7,"data":{"text":"hi"}}`, "say", 7, `{"text":"hi"}`},
	{"type alone", `{"type":"say"}`, "say", 0, ""},
	{"any order", `{"data":[1],"id":7,"type":"say"}`, "say", 7, `[1]`},
	{"white space", " \t\r\n{ \"type\" : \"say\" ,\n\t\"id\" : 7\r,\"data\" : [ 1 , { } ] } \n", "say", 7, `[ 1 , { } ]`},
	{"a space after each colon and comma", `{"type": "say", "id": 7, "data": {"a": 1, "b": 2}}`, "say", 7, `{"a": 1, "b": 2}`},
	{"control type", `{"type":"$cancel","id":7}`, "$cancel", 7, ""},
	{"null data", `{"type":"say","data":null}`, "say", 0, "null"},
	{"false data", `{"type":"say","data":false}`, "say", 0, "false"},
	{"empty string data", `{"type":"say","data":""}`, "say", 0, `""`},
	{"largest id", `{"id":9007199254740991,"type":"say"}`, "say", 1<<53 - 1, ""},
	{"room and pos", `{"type":"say","room":"go","pos":"e.7"}`, "say", 0, ""},
	{"unknown members", `{"a":[{}],"type":"say","A":1e5,"b":"x","Type":0,"ID":0}`, "say", 0, ""},
	{"empty name", `{"type":"say","":1}`, "say", 0, ""},
	{"many members", `{"type":"say"` + members(100) + `}`, "say", 0, ""},
	{"type of 128 bytes", `{"type":"` + strings.Repeat("a", 128) + `"}`, strings.Repeat("a", 128), 0, ""},
	{"type of 128 escapes", `{"type":"` + strings.Repeat(`\u0061`, 128) + `"}`, strings.Repeat("a", 128), 0, ""},
	{"escapes in type", `{"type":"\"\\\/\b\f\n\r\t\u00e9\uD834\uDD1E\u0000"}`, "\"\\/\b\f\n\r\té\U0001d11e\x00", 0, ""},
	{"surrogates at the end of type", `{"type":"\uD834\uDD1E"}`, "\U0001d11e", 0, ""},
	{"escapes in names", `{"ty\u0070e":"say","\u0069d":7,"d\u0061ta":1,"\u0061":2,"b":3}`, "say", 7, "1"},
	{"not ASCII", `{"type":"grüße","data":"日本 𝄞` + "\x7f" + `"}`, "grüße", 0, `"日本 𝄞` + "\x7f" + `"`},
	{"numbers", `{"type":"n","data":[0,-0,10,1.5,-0.25e-7,1E+9,123456789012345678901234567890]}`, "n", 0,
		`[0,-0,10,1.5,-0.25e-7,1E+9,123456789012345678901234567890]`},
	{"duplicates in data", `{"type":"say","data":{"a":1,"a":2}}`, "say", 0, `{"a":1,"a":2}`},
	{"duplicates in an unknown value", `{"type":"say","x":{"a":1,"a":2}}`, "say", 0, ""},
	{"lone surrogate in data", `{"type":"say","data":{"\udc00":"\ud800"}}`, "say", 0, `{"\udc00":"\ud800"}`},
	{"lone surrogate in an unknown value", `{"type":"say","x":"\ud800x"}`, "say", 0, ""},
	{"1,000 levels", `{"type":"say","data":` + nested(999) + `}`, "say", 0, nested(999)},
	{"1,000 levels of objects", `{"type":"say","data":` + nestedObjects(999) + `}`, "say", 0, nestedObjects(999)},
	{"mixed levels", `{"type":"say","data":[{"a":[{"b":[]},{}]},[[]],{"c":{"d":1}}]}`, "say", 0,
		`[{"a":[{"b":[]},{}]},[[]],{"c":{"d":1}}]`},
}

// badMessages are those that scan must refuse, with what remains to answer them.
var badMessages = []struct {
	name, msg string
	typ       string // empty: none that is whole
	id        int64
	what      string // in the error
}{
	{"empty", ``, "", 0, "unexpected end (byte 0)"},
	{"white space alone", "  \n", "", 0, "unexpected end (byte 3)"},
	{"string", `"say"`, "", 0, "must be an object (byte 0)"},
	{"array", `[{"type":"say"}]`, "", 0, "must be an object (byte 0)"},
	{"byte order mark", "\ufeff" + `{"type":"say"}`, "", 0, "must be an object (byte 0)"},
	{"text", `hello`, "", 0, "must be an object"},

	{"no type", `{"id":7,"data":1}`, "", 7, "no type (byte 16)"},
	{"no members", `{}`, "", 0, "no type"},
	{"type in capitals", `{"Type":"say","id":7}`, "", 7, "no type"},
	{"number for a type", `{"id":7,"type":5}`, "", 7, "type must be a string (byte 15)"},
	{"null for a type", `{"id":7,"type":null}`, "", 7, "type must be a string"},
	{"empty type", `{"id":7,"type":""}`, "", 7, "type is empty"},
	{"long type", `{"id":7,"type":"` + strings.Repeat("a", 129) + `"}`, "", 7, "type is longer than 128 bytes"},
	{"long type in escapes", `{"id":7,"type":"` + strings.Repeat(`\u0061`, 129) + `"}`, "", 7, "type is longer"},
	{"long type in two-byte runes", `{"id":7,"type":"` + strings.Repeat(`é`, 65) + `"}`, "", 7, "type is longer"},
	{"high surrogate in type", `{"id":7,"type":"a\ud800"}`, "", 7, "lone surrogate (byte 17)"},
	{"low surrogate in type", `{"id":7,"type":"\udc00"}`, "", 7, "lone surrogate"},
	{"two high surrogates in type", `{"id":7,"type":"\ud800\ud800"}`, "", 7, "lone surrogate"},
	{"surrogate before another escape", `{"id":7,"type":"\ud800\n23456"}`, "", 7, "lone surrogate"},
	{"lone surrogate in a name", `{"type":"say","id":7,"\ud800":1}`, "say", 7, "lone surrogate"},

	{"id 1.0", `{"type":"say","id":1.0}`, "say", 0, "id must be"},
	{"id 1e2", `{"type":"say","id":1e2}`, "say", 0, "id must be"},
	{"id -1", `{"type":"say","id":-1}`, "say", 0, "id must be"},
	{"id 0", `{"type":"say","id":0}`, "say", 0, "id must be"},
	{"id 01", `{"type":"say","id":01}`, "say", 0, "id must be"},
	{"id null", `{"type":"say","id":null}`, "say", 0, "id must be"},
	{"id a string", `{"type":"say","id":"7"}`, "say", 0, "id must be"},
	{"id 2^53", `{"type":"say","id":9007199254740992}`, "say", 0, "id must be"},
	{"id of 17 digits", `{"type":"say","id":10000000000000000}`, "say", 0, "id must be"},
	{"id past 64 bits", `{"type":"say","id":18446744073709551617}`, "say", 0, "id must be"},
	{"id and a letter", `{"type":"say","id":7x}`, "say", 0, "id must be"},
	{"id cut", `{"type":"say","id":7`, "say", 0, "unexpected end"},
	{"no id", `{"type":"say","id":}`, "say", 0, "id must be"},

	{"type twice", `{"type":"say","id":7,"type":"say"}`, "", 7, "given twice (byte 21)"},
	{"type twice by escape", `{"type":"say","id":7,"ty\u0070e":"say"}`, "", 7, "given twice"},
	{"type twice, the second bad", `{"type":"say","id":7,"type":5}`, "", 7, "given twice"},
	{"id twice", `{"type":"say","id":7,"id":7}`, "say", 0, "given twice"},
	{"id twice by escape", `{"\u0069d":7,"type":"say","id":8}`, "say", 0, "given twice"},
	{"id twice, cut", `{"id":7,"type":"say","id"`, "say", 0, "given twice"},
	{"data twice", `{"type":"say","id":7,"data":1,"data":1}`, "say", 7, "given twice"},
	{"data null and again", `{"type":"say","id":7,"data":null,"data":1}`, "say", 7, "given twice"},
	{"data twice before the rest", `{"data":1,"data":1,"type":"say","id":7}`, "", 0, "given twice"},
	{"room twice", `{"type":"say","id":7,"room":"a","room":"a"}`, "say", 7, "given twice"},
	{"unknown member twice", `{"type":"say","id":7,"x":1,"y":1,"x":1}`, "say", 7, "given twice"},
	{"unknown member twice by escape", `{"type":"say","id":7,"x":1,"\u0078":1}`, "say", 7, "given twice"},
	{"unknown member twice by two escapes", `{"type":"say","id":7,"\u0078":1,"y":1,"\u0078":1}`, "say", 7, "given twice"},
	{"unknown member after an escape twice", `{"type":"say","id":7,"\u0078":1,"y":1,"y":1}`, "say", 7, "given twice"},
	{"one of many twice", `{"type":"say","id":7` + members(100) + `,"m3":0}`, "say", 7, "given twice"},
	{"a late one of many twice", `{"type":"say","id":7` + members(100) + `,"m77":0}`, "say", 7, "given twice"},

	{"invalid UTF-8 in data", "{\"type\":\"say\",\"id\":7,\"data\":\"a\xff\"}", "say", 7, "invalid UTF-8 (byte 30)"},
	{"invalid UTF-8 after good", "{\"type\":\"say\",\"id\":7,\"data\":\"äö\xe2\x82x\"}", "say", 7, "invalid UTF-8 (byte 33)"},
	{"invalid UTF-8 before the rest", "{\"data\":\"\xff\",\"type\":\"say\",\"id\":7}", "", 0, "invalid UTF-8"},
	{"invalid UTF-8 in type", "{\"id\":7,\"type\":\"sa\xffy\"}", "", 7, "invalid UTF-8"},
	{"invalid UTF-8 in a name", "{\"id\":7,\"type\":\"say\",\"\xff\":1}", "say", 7, "invalid UTF-8"},
	{"invalid UTF-8 deep", "{\"id\":7,\"type\":\"say\",\"data\":[{\"\xc0\x80\":1}]}", "say", 7, "invalid UTF-8"},
	{"invalid UTF-8 outside strings", "{\"id\":7,\"type\":\"say\"\xff}", "say", 7, "comma or }"},
	{"surrogate in UTF-8", "{\"id\":7,\"type\":\"say\",\"data\":\"\xed\xa0\x80\"}", "say", 7, "invalid UTF-8"},

	{"text after", `{"type":"say","id":7} x`, "say", 7, "text after the message (byte 22)"},
	{"two objects", `{"type":"say","id":7}{"type":"say","id":8}`, "say", 7, "text after the message"},
	{"invalid UTF-8 after", "{\"type\":\"say\",\"id\":7}\xff", "say", 7, "text after the message"},
	{"NUL after", "{\"type\":\"say\",\"id\":7}\x00", "say", 7, "text after the message"},

	{"1,001 levels", `{"type":"say","id":7,"data":` + nested(1000) + `}`, "say", 7, "deeper than 1,000 (byte 1027)"},
	{"1,001 levels of objects", `{"type":"say","id":7,"data":` + nestedObjects(1000) + `}`, "say", 7, "deeper than 1,000"},
	{"1,001 levels, unknown member", `{"type":"say","id":7,"x":` + nested(1000) + `}`, "say", 7, "deeper than 1,000"},
	{"100,000 open arrays", `{"type":"say","id":7,"data":` + strings.Repeat("[", 100_000), "say", 7, "deeper than 1,000"},
	{"100,000 nested arrays", `{"type":"say","id":7,"data":` + nested(100_000) + `}`, "say", 7, "deeper than 1,000"},
	{"100,000 arrays for a message", nested(100_000), "", 0, "must be an object"},

	{"cut in a name", `{"type":"say","id":7,"da`, "say", 7, "unexpected end"},
	{"cut in type", `{"id":7,"type":"sa`, "", 7, "unexpected end"},
	{"cut after type", `{"id":7,"type":"say"`, "say", 7, "unexpected end"},
	{"cut in data", `{"type":"say","id":7,"data":{"a":[1,`, "say", 7, "unexpected end (byte 36)"},
	{"cut in an escape", `{"type":"say","id":7,"data":"\u00`, "say", 7, "unexpected end"},
	{"comma at the end", `{"type":"say","id":7,}`, "say", 7, "string expected (byte 21)"},
	{"comma at the start", `{,"type":"say","id":7}`, "", 0, "string expected"},
	{"no comma", `{"type":"say" "id":7}`, "say", 0, "comma or } expected"},
	{"no colon", `{"type" "say","id":7}`, "", 0, "colon expected"},
	{"name without quotes", `{type:"say","id":7}`, "", 0, "string expected"},
	{"single quotes", `{'type':'say'}`, "", 0, "string expected"},
	{"wrong bracket", `{"type":"say","id":7,"data":1]`, "say", 7, "comma or } expected"},
	{"comment", `{"type":"say","id":7/**/}`, "say", 0, "id must be"},
}

// badValues are no JSON wherever they stand.
var badValues = []string{
	``, `tru`, `True`, `nul`, `nulL`, `falsy`, `NaN`, `Infinity`, `undefined`, `'a'`, `+1`, `-`, `-a`, `.5`, `5.`, `5.e1`, `00`, `01`, `-01`,
	`1e`, `1e+`, `1.5E-x`, `0x10`, `1_000`, `"a`, "\"a\nb\"", "\"\x00\"", "\"0123456\x1f\"", `"\x"`, `"\u12"`, `"\u12G4"`, `"\u12:4"`, `"\u12/4"`, `"\u12@4"`, "\"\\u12`4\"", `"\U0041"`, `"\'"`,
	`[`, `[1`, `[1,`, `[1,]`, `[,]`, `[,1]`, `[1 2]`, `[1:2]`, `[1}`, `]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{1:2}`,
	`{"a" 1}`, `{"a":1 "b":2}`, `{"a":1]`, `{"a"}`, `{a:1}`, `[[1],]`, `[{"a":1},{]`, "\u00a01", "1\v", "\f1", `"a""b"`, `1 2`,
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":%d`, i, i)
	}
	return b.String()
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func nestedObjects(n int) string {
	return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1)
}

func TestScan(t *testing.T) {
	for _, c := range goodMessages {
		t.Run(c.name, func(t *testing.T) {
			env, err := scan([]byte(c.msg))
			if err != nil {
				t.Fatal(err)
			}
			if string(env.typ) != c.typ || env.id != c.id || string(env.data) != c.data || (env.data == nil) != (c.data == "") {
				t.Errorf("got %q %d %q, want %q %d %q", env.typ, env.id, env.data, c.typ, c.id, c.data)
			}
		})
	}
}

func TestScanBad(t *testing.T) {
	for _, c := range badMessages {
		t.Run(c.name, func(t *testing.T) {
			env, err := scan([]byte(c.msg))
			if err == nil {
				t.Fatal("taken")
			}
			if !strings.Contains(err.Error(), c.what) {
				t.Errorf("error %q, want %q", err, c.what)
			}
			if string(env.typ) != c.typ || (env.typ == nil) != (c.typ == "") || env.id != c.id || env.data != nil {
				t.Errorf("got %q %d %q, want %q %d and no data", env.typ, env.id, env.data, c.typ, c.id)
			}
		})
	}
}

// Bad JSON is refused as data, as another member, and deep inside both.
func TestScanBadValues(t *testing.T) {
	for _, v := range badValues {
		for _, form := range []string{`"data":%s`, `"x":%s`, `"data":[%s]`, `"data":{"a":[0,%s,1]}`, `"x":[{"b":%s}]`} {
			msg := `{"type":"say","id":7,` + fmt.Sprintf(form, v) + `}`
			if v == "" && form == `"data":[%s]` {
				continue
			}
			env, err := scan([]byte(msg))
			if err == nil {
				t.Errorf("taken: %s", msg)
			} else if string(env.typ) != "say" || env.id != 7 || env.data != nil {
				t.Errorf("%s: got %q %d %q", msg, env.typ, env.id, env.data)
			}
		}
	}
}

// A message that is cut anywhere is bad, and what was read whole comes back.
func TestScanCut(t *testing.T) {
	const msg = `{"type":"say" ,"id":7 ,"data":{"text":"hä\u0041","n":[-1.5e3,true,null,{}]}}`
	for n := range len(msg) {
		env, err := scan([]byte(msg[:n]))
		if err == nil {
			t.Fatalf("taken: %s", msg[:n])
		}
		wantType, wantID := n >= len(`{"type":"say"`), n > len(`{"type":"say" ,"id":7`)
		if (env.typ != nil) != wantType || (env.id == 7) != wantID || env.data != nil {
			t.Errorf("%s: got %q %d %q", msg[:n], env.typ, env.id, env.data)
		}
	}
}

// Every byte at every place of a string, which is looked at eight bytes at a time.
func TestScanStringBytes(t *testing.T) {
	for at := range 20 {
		for c := range 256 {
			s := bytes.Repeat([]byte("a"), 20)
			s[at] = byte(c)
			msg := `{"type":"say","data":"` + string(s) + `"}`
			want := stdjson.Valid([]byte(msg)) && c < 0x80
			if _, err := scan([]byte(msg)); (err == nil) != want {
				t.Errorf("byte %#x at %d: %v", c, at, err)
			}
		}
	}
}

func TestScanAllocates(t *testing.T) {
	for _, c := range goodMessages {
		if c.name == "many members" || strings.Contains(c.name, "escapes") || strings.Contains(c.name, "surrogates at") {
			continue
		}
		msg := []byte(c.msg)
		if n := testing.AllocsPerRun(10, func() { scan(msg) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// Allocations, as a measure that doesn't depend on the machine, grow with the message, not with its square.
func TestScanManyMembers(t *testing.T) {
	msg := []byte(`{"type":"say"` + members(100_000) + `}`)
	if n := testing.AllocsPerRun(1, func() {
		if _, err := scan(msg); err != nil {
			t.Error(err)
		}
	}); n > 10_000 {
		t.Errorf("%v allocations for 100,000 members", n)
	}
}

func TestCheckType(t *testing.T) {
	for _, c := range []struct{ typ, want string }{
		{"say", ""},
		{strings.Repeat("a", 128), ""},
		{"grüße \x00", ""},
		{"a$", ""},
		{"", "empty"},
		{strings.Repeat("a", 129), "longer than 128 bytes"},
		{"$reply", "reserved"},
		{"$", "reserved"},
		{"a\xff", "not UTF-8"},
	} {
		switch err := checkType(c.typ); {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.typ, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "wsctl: ") || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %q", c.typ, err, c.want)
		}
	}
}

type point struct {
	X    int
	List []int
	Map  map[string]int
}

type text string

func TestAppendMessage(t *testing.T) {
	for _, c := range []struct {
		name, typ string
		id        int64
		data      any
		want      string
	}{
		{"type alone", "say", 0, nil, `{"type":"say"}`},
		{"id", "$reply", 1<<53 - 1, nil, `{"type":"$reply","id":9007199254740991}`},
		{"nil pointer", "say", 0, (*point)(nil), `{"type":"say","data":null}`},
		{"nil slice", "say", 0, []int(nil), `{"type":"say","data":[]}`},
		{"nil map", "say", 0, map[string]int(nil), `{"type":"say","data":{}}`},
		{"struct", "say", 7, point{X: 1}, `{"type":"say","id":7,"data":{"X":1,"List":[],"Map":{}}}`},
		{"int", "say", 0, -5, `{"type":"say","data":-5}`},
		{"int64", "say", 0, int64(math.MinInt64), `{"type":"say","data":-9223372036854775808}`},
		{"uint64", "say", 0, uint64(math.MaxUint64), `{"type":"say","data":18446744073709551615}`},
		{"float", "say", 0, 1.5, `{"type":"say","data":1.5}`},
		{"bool", "say", 0, true, `{"type":"say","data":true}`},
		{"string", "say", 0, "<a>\"\n\x01é", `{"type":"say","data":"<a>\"\n\u0001é"}`},
		{"string type", "say", 0, text("a\n"), `{"type":"say","data":"a\n"}`},
		{"type with escapes", "a\"\\\n\x02", 0, nil, `{"type":"a\"\\\n\u0002"}`},
		{"RawMessage", "say", 0, stdjson.RawMessage(`{"a":1}`), `{"type":"say","data":{"a":1}}`},
		{"Value", "say", 0, jsontext.Value(`[1]`), `{"type":"say","data":[1]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.NewBufferString("before")
			if err := appendMessage(b, c.typ, c.id, c.data); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != "before"+c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

var errMarshal = errors.New("no")

type failing struct{}

func (failing) MarshalJSON() ([]byte, error) { return nil, errMarshal }

type panicking struct{ Before []int }

func (panicking) MarshalJSONTo(e *jsontext.Encoder) error {
	for range 10_000 { // enough that some of it has been flushed to the buffer
		if err := e.WriteToken(jsontext.BeginArray); err != nil {
			panic(errMarshal)
		}
	}
	panic(errMarshal)
}

func TestAppendFails(t *testing.T) {
	for _, c := range []struct {
		name string
		data any
	}{
		{"channel", make(chan int)},
		{"deep function", map[string]any{"a": make([]int, 5000), "f": func() {}}},
		{"invalid UTF-8", "a\xff"},
		{"invalid UTF-8 deep", []string{"a\xff"}},
		{"NaN", math.NaN()},
		{"MarshalJSON", []any{failing{}}},
		{"RawMessage cut", stdjson.RawMessage(`{"a":`)},
		{"RawMessage empty", stdjson.RawMessage{}},
		{"RawMessage with text after", stdjson.RawMessage(`1 2`)},
		{"RawMessage with a duplicate", stdjson.RawMessage(`{"a":1,"a":1}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.NewBufferString("before")
			err := appendMessage(b, "say", 7, c.data)
			if err == nil || !strings.HasPrefix(err.Error(), `wsctl: encoding data of "say": `) || errors.Unwrap(err) == nil {
				t.Errorf("error %v", err)
			}
			if b.String() != "before" {
				t.Errorf("left %q", b)
			}
			err = appendError(b, 7, &Error{Code: "odd", Data: c.data})
			if err == nil || !strings.HasPrefix(err.Error(), `wsctl: encoding data of error "odd": `) {
				t.Errorf("error %v", err)
			}
			if b.String() != "before" {
				t.Errorf("left %q", b)
			}
		})
	}
	if err := appendMessage(new(bytes.Buffer), "say", 0, failing{}); !errors.Is(err, errMarshal) {
		t.Errorf("%v doesn't wrap the cause", err)
	}
	var semantic *json.SemanticError
	if err := appendMessage(new(bytes.Buffer), "say", 0, make(chan int)); !errors.As(err, &semantic) {
		t.Errorf("%v doesn't wrap the cause", err)
	}
}

func TestAppendPanics(t *testing.T) {
	b := bytes.NewBufferString("before")
	func() {
		defer func() {
			if r := recover(); r != errMarshal {
				t.Errorf("recovered %v", r)
			}
		}()
		appendMessage(b, "say", 7, panicking{})
		t.Error("the panic was kept")
	}()
	if b.String() != "before" {
		t.Errorf("left %d bytes", b.Len())
	}
	b.Reset()
	if err := appendMessage(b, "say", 0, []int{1}); err != nil || b.String() != `{"type":"say","data":[1]}` {
		t.Errorf("afterwards: %s, %v", b, err)
	}
}

func TestAppendError(t *testing.T) {
	for _, c := range []struct {
		name string
		e    Error
		want string
	}{
		{"empty", Error{}, `{"type":"$error","id":7,"data":{"code":"internal","message":""}}`},
		{"message", Error{Code: "odd", Message: "a \"b\"\n"},
			`{"type":"$error","id":7,"data":{"code":"odd","message":"a \"b\"\n"}}`},
		{"data", Error{Code: CodeTooMany, Data: map[string]int{"retry": 100}},
			`{"type":"$error","id":7,"data":{"code":"too_many","message":"","data":{"retry":100}}}`},
		{"nil pointer", Error{Code: "odd", Data: (*point)(nil)},
			`{"type":"$error","id":7,"data":{"code":"odd","message":"","data":null}}`},
		{"invalid UTF-8", Error{Code: "o\xff", Message: "a\xff"},
			`{"type":"$error","id":7,"data":{"code":"o` + "\ufffd" + `","message":"a` + "\ufffd" + `"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := appendError(&b, 7, &c.e); err != nil {
				t.Fatal(err)
			}
			if b.String() != c.want {
				t.Errorf("got %s, want %s", &b, c.want)
			}
		})
	}
}

func TestAppendAllocates(t *testing.T) {
	var b bytes.Buffer
	for _, data := range []any{nil, 5, "hello", true} {
		if n := testing.AllocsPerRun(100, func() {
			b.Reset()
			if err := appendMessage(&b, "$reply", 7, data); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations", data, n)
		}
	}
}

func TestBuffers(t *testing.T) {
	b := getBuffer()
	b.WriteString("x")
	putBuffer(b)
	if b := getBuffer(); b.Len() != 0 {
		t.Errorf("a buffer with %q in it", b)
	}
	large := new(bytes.Buffer)
	large.Grow(maxPooled + 1)
	putBuffer(large)
	for range 100 {
		if b := getBuffer(); b.Cap() > maxPooled {
			t.Fatalf("a buffer of %d bytes was kept", b.Cap())
		}
	}
}
