package client

import (
	"encoding/json"
	"testing"
)

// Whatever the server sends, parse doesn't panic, and what it takes is what encoding/json reads.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"type":"a"}`, `{"type":"a","id":1,"data":{"x":[1,2]}}`, ` { "data" : null , "type" : "\u0061" , "x" : {} } `,
		`{"type":"a","id":1.0}`, `{"type":"a","id":0}`, `{"type":"a","id":9007199254740992}`, `{"type":"a","type":"b"}`, `{"type":1}`,
		`{"type":""}`, `{"type":"a"}x`, `[]`, ``, `{"type":"a","data":"\ud800"}`, `{"type":"a","data":{"x":1,"x":2}}`, `{"type":"a","id":-1}`,
		`{"type":"a",}`, `{"type":"a","id":"1"}`, `{"type":"a","id":null}`, "{\"type\":\"\xff\"}", `{"type":"a","\u0069d":5}`,
		`{"type":"a","data":1,"room":"r\u00e4\"","pos":"e.1"}`, `{"type":"a","room":1,"pos":null}`, `{"type":"a","room":"\ud800"}`,
		"{\"type\":\"a\",\"room\":\"\xff\",\"pos\":\"\"}",
	} {
		f.Add([]byte(s))
	}
	var p parser
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := p.parse(b)
		if err != nil {
			return
		}
		var want struct {
			Type string          `json:"type"`
			ID   uint64          `json:"id"`
			Data json.RawMessage `json:"data"`
			Room string          `json:"room"`
			Pos  string          `json:"pos"`
		}
		var fields map[string]json.RawMessage // Unmarshal's structs take names of any case
		if err := json.Unmarshal(b, &fields); err != nil {
			return // such as too deep for it
		}
		_ = json.Unmarshal(fields["type"], &want.Type)
		if fields["id"] != nil {
			_ = json.Unmarshal(fields["id"], &want.ID)
		}
		want.Data = fields["data"]
		for name, v := range map[string]struct {
			want *string
			got  string
		}{"room": {&want.Room, e.Room}, "pos": {&want.Pos, e.Pos}} {
			if v.got != "" { // else it may be one that encoding/json repairs
				_ = json.Unmarshal(fields[name], v.want)
			}
		}
		if e.Type != want.Type || e.ID != want.ID || string(e.Data) != string(want.Data) || e.Room != want.Room || e.Pos != want.Pos {
			t.Errorf("%s is %+v, want %+v", b, e, want)
		}
		if e.Type == "" || len(e.Type) > maxType || e.ID > maxID {
			t.Errorf("%s is taken: %+v", b, e)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	var p parser
	for _, s := range []string{`{"type":"a","id":1.0}`, `{"type":"a","id":0}`, `{"type":"a","id":9007199254740992}`, `{"type":"a","type":"b"}`,
		`{"type":1}`, `{"type":""}`, `{"type":"a"}x`, `[]`, ``, `{"type":"a","id":-1}`, `{"type":"a",}`, `{"id":1}`, `{"type":"a","id":null}`,
		`{"type":"a","data":1,"data":1}`, `{"type":"a"`, `null`, `{"type":"a","typ\u0065":"b"}`,
		`{"type":"a","room":"x","room":"x"}`, `{"type":"a","pos":"x","pos":null}`} {
		if e, err := p.parse([]byte(s)); err == nil {
			t.Errorf("%s is taken: %+v", s, e)
		}
		if _, err := p.parse([]byte(`{"type":"a","data":{"x":1,"x":"\ud800"}}`)); err != nil {
			t.Errorf("after %s: %v", s, err)
		}
	}
}
