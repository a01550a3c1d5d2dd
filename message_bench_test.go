package wsctl

import (
	"bytes"
	stdjson "encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

type benchItem struct {
	ID    int      `json:"id"`
	Name  string   `json:"name"`
	Price float64  `json:"price"`
	Tags  []string `json:"tags"`
}

// benchMessages are messages of the sizes that matter: 83 bytes, and about 1.5 KB.
func benchMessages() map[string][]byte {
	small := []byte(`{"type":"say","id":1234567,"data":{"room":"go","text":"hello there, you","n":12345}}`)
	small = bytes.Replace(small, []byte("1234567"), []byte("123456"), 1)
	items := `{"id":17,"name":"a thing of some kind","price":12.25,"tags":["red","round","heavy"]},`
	large := []byte(`{"type":"put","id":42,"data":{"items":[` + strings.TrimSuffix(strings.Repeat(items, 17), ",") + `]}}`)
	cjk := []byte(`{"type":"say","id":42,"data":{"text":"` + strings.Repeat("你好世界，こんにちは。", 45) + `"}}`)
	return map[string][]byte{"83B": small, "1.5KB": large, "1.5KBnonASCII": cjk}
}

func BenchmarkScan(b *testing.B) {
	for _, size := range []string{"83B", "1.5KB", "1.5KBnonASCII"} {
		msg := benchMessages()[size]
		run := func(name string, f func() bool) {
			b.Run(size+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(msg)))
				b.ReportAllocs()
				for b.Loop() {
					if !f() {
						b.Fatal("refused")
					}
				}
			})
		}
		run("scan", func() bool { _, err := scan(msg); return err == nil })
		run("json.Valid", func() bool { return stdjson.Valid(msg) })
		r := bytes.NewReader(msg)
		d := jsontext.NewDecoder(r)
		run("jsontext", func() bool {
			r.Reset(msg)
			d.Reset(r)
			for {
				if _, err := d.ReadToken(); err != nil {
					return err == io.EOF
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name string
		data any
	}{
		{"none", nil},
		{"int", 1 << 20},
		{"string", "hello there, you"},
		{"struct", &benchItem{17, "a thing of some kind", 12.25, []string{"red", "round", "heavy"}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf := getBuffer()
				if err := appendMessage(buf, "$reply", 123456, c.data); err != nil {
					b.Fatal(err)
				}
				putBuffer(buf)
			}
		})
	}
	type message struct {
		Type string `json:"type"`
		ID   int64  `json:"id,omitzero"`
		Data any    `json:"data"`
	}
	b.Run("struct/encoding_json", func(b *testing.B) {
		b.ReportAllocs()
		data := &benchItem{17, "a thing of some kind", 12.25, []string{"red", "round", "heavy"}}
		for b.Loop() {
			if _, err := stdjson.Marshal(message{"$reply", 123456, data}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("error", func(b *testing.B) {
		b.ReportAllocs()
		e := &Error{Code: CodeNotFound, Message: "no such method"}
		for b.Loop() {
			buf := getBuffer()
			if err := appendError(buf, 123456, e); err != nil {
				b.Fatal(err)
			}
			putBuffer(buf)
		}
	})
}
