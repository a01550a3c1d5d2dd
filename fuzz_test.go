package wsctl

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FuzzScan compares scan with the same rules kept by jsontext.
func FuzzScan(f *testing.F) {
	for _, c := range goodMessages {
		f.Add([]byte(c.msg))
	}
	for _, c := range badMessages {
		if len(c.msg) < 10_000 { // a slow seed is no good one, and these are tested anyway
			f.Add([]byte(c.msg))
		}
	}
	for _, v := range badValues {
		f.Add([]byte(`{"type":"say","id":7,"data":[{"a":` + v + `}]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		got, err := scan(b)
		want, ok := slowScan(b)
		if (err == nil) != ok {
			t.Fatalf("scan: %v, jsontext takes it: %v", err, ok)
		}
		if !bytes.Equal(got.typ, want.typ) || (got.typ == nil) != (want.typ == nil) || got.id != want.id ||
			!bytes.Equal(got.data, want.data) || (got.data == nil) != (want.data == nil) {
			t.Fatalf("scan: %q %d %q %v, jsontext: %q %d %q", got.typ, got.id, got.data, err, want.typ, want.id, want.data)
		}
		if e, bad := err.(*scanError); bad && (e.what == "" || e.at < 0 || e.at > len(b)) {
			t.Fatalf("error %+v of a message of %d bytes", e, len(b))
		}
		if !bytes.Equal(b, before) {
			t.Fatal("scan wrote into the message")
		}
		if cap(got.data) != len(got.data) || cap(got.typ) != len(got.typ) && len(got.typ) > 0 && &got.typ[0] == &b[0] {
			t.Fatal("an append to a span would write into the message")
		}
	})
}

// slowScan is scan by jsontext: what the protocol says, as plainly as possible.
func slowScan(b []byte) (env envelope, ok bool) {
	defer func() {
		if !ok {
			env.data = nil
		}
	}()
	valid := b[:validPrefix(b)]
	// Lone surrogates are invalid UTF-8 to jsontext. AppendUnquote refuses them where they aren't allowed.
	d := jsontext.NewDecoder(bytes.NewReader(valid), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return env, false
	}
	seen := map[string]bool{}
	for d.PeekKind() == '"' {
		raw, err := d.ReadValue()
		if err != nil {
			return env, false
		}
		name, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return env, false
		}
		key := string(name)
		if seen[key] {
			switch key {
			case "type":
				env.typ = nil
			case "id":
				env.id = 0
			}
			return env, false
		}
		seen[key] = true
		value, err := d.ReadValue()
		if err != nil || depth(value) >= maxDepth {
			return env, false
		}
		switch key {
		case "type":
			typ, err := jsontext.AppendUnquote(nil, value)
			if value.Kind() != '"' || err != nil || len(typ) < 1 || len(typ) > 128 {
				return env, false
			}
			env.typ = typ
		case "id":
			id, err := strconv.ParseUint(string(value), 10, 53)
			end := int(d.InputOffset())
			if err != nil || id == 0 || value[0] == '+' || end == len(valid) || !strings.ContainsRune(" \t\r\n,}", rune(valid[end])) {
				return env, false
			}
			env.id = int64(id)
		case "data":
			env.data = bytes.Clone(value)
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' || !seen["type"] {
		return env, false
	}
	_, err := d.ReadToken()
	return env, err == io.EOF && len(valid) == len(b)
}

// depth is how deep arrays and objects are nested in v.
func depth(v jsontext.Value) int {
	d := jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	deepest := 0
	for {
		if _, err := d.ReadToken(); err != nil {
			return deepest
		}
		deepest = max(deepest, d.StackDepth())
	}
}

// FuzzAppend scans what was appended back to its parts. What kind of data it is, kind says.
func FuzzAppend(f *testing.F) {
	for _, s := range []string{"say", "$reply", "", "a\"\\\n", "grüße", "\u2028\x00\x7f", "a\xff", "<&>", `{"a":[1,{}]}`, `{"a":1,"a":2}`, "[1 ,2]"} {
		for kind := range byte(6) {
			f.Add(s, int64(7), kind, s, int64(-1))
		}
	}
	f.Fuzz(func(t *testing.T, typ string, id int64, kind byte, s string, n int64) {
		if !utf8.ValidString(typ) || typ == "" || len(typ) > maxName || id < 0 || id > maxID {
			return
		}
		var data any
		switch kind % 6 {
		case 1:
			data = s
		case 2:
			data = n
		case 3:
			data = jsontext.Value(s)
		case 4:
			data = []any{s, n, map[string]any{s: nil}}
		case 5:
			data = &point{X: int(n), Map: map[string]int{s: 1}}
		}
		var b bytes.Buffer
		b.WriteString("before")
		if err := appendMessage(&b, typ, id, data); err != nil {
			if b.String() != "before" {
				t.Fatalf("left %q after %v", &b, err)
			}
			if _, jsonErr := json.Marshal(data); jsonErr == nil {
				t.Fatalf("json takes what failed: %v", err)
			}
			return
		}
		msg := b.Bytes()[len("before"):]
		if !jsontext.Value(msg).IsValid() {
			t.Fatalf("not valid: %s", msg)
		}
		env, err := scan(msg)
		if err != nil {
			if depth(msg) > maxDepth {
				return // an application may send what it wouldn't take
			}
			t.Fatalf("%v: %s", err, msg)
		}
		var want []byte
		if data != nil {
			if want, err = json.Marshal(data); err != nil {
				t.Fatal(err)
			}
		}
		if string(env.typ) != typ || env.id != id || !bytes.Equal(env.data, want) || (env.data == nil) != (data == nil) {
			t.Fatalf("%s: got %q %d %q, want %q %d %q", msg, env.typ, env.id, env.data, typ, id, want)
		}

		b.Reset()
		if err := appendError(&b, id, &Error{Code: typ, Message: s, Data: data}); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Code    string         `json:"code"`
			Message string         `json:"message"`
			Data    jsontext.Value `json:"data"`
		}
		if env, err = scan(b.Bytes()); err != nil && depth(b.Bytes()) > maxDepth {
			return
		} else if err != nil || string(env.typ) != "$error" || env.id != id {
			t.Fatalf("%s: got %q %d %v", &b, env.typ, env.id, err)
		}
		if err := json.Unmarshal(env.data, &got, json.RejectUnknownMembers(true)); err != nil {
			t.Fatalf("%s: %v", &b, err)
		}
		if got.Code != typ || utf8.ValidString(s) && got.Message != s || !bytes.Equal(got.Data, want) {
			t.Fatalf("%s: got %+v", &b, got)
		}
	})
}
