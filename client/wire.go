package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsctl/wsctl"
)

const (
	subprotocol = "wsctl.v1"
	maxType     = 128
	maxID       = 1<<53 - 1
	maxHello    = 16<<10 - len(`{"type":"$hello","data":}`)
)

// envelope is a message of the server. Its data is a copy.
type envelope struct {
	Type string
	ID   uint64         // 0: none
	Data jsontext.Value // nil: absent

	Room, Pos string // of a message of a room that keeps history; else empty
}

var (
	errEnvelope = errors.New("type or id is malformed")
	errIDInUse  = errors.New("the id is in use")
)

// parser keeps what can be used again for the next message.
type parser struct {
	r bytes.Reader
	d jsontext.Decoder
}

// parse is strict about the envelope only: names given twice and lone surrogates in data are for whoever decodes it.
func (p *parser) parse(b []byte) (e envelope, err error) {
	p.r.Reset(b)
	d := &p.d
	d.Reset(&p.r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '{' {
		return envelope{}, errEnvelope
	}
	if _, err = d.ReadToken(); err != nil {
		return envelope{}, err
	}
	var typ, id, data, room, pos bool
	for d.PeekKind() == '"' {
		var name, value jsontext.Value
		if name, err = d.ReadValue(); err != nil {
			return envelope{}, err
		}
		key := name[1 : len(name)-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			key, _ = jsontext.AppendUnquote(nil, name) // what is invalid in it is no name of ours
		}
		var seen *bool
		switch string(key) {
		case "type":
			seen = &typ
		case "id":
			seen = &id
		case "data":
			seen = &data
		case "room":
			seen = &room
		case "pos":
			seen = &pos
		}
		if value, err = d.ReadValue(); err != nil {
			return envelope{}, err
		}
		if seen == nil {
			continue
		}
		if *seen {
			return envelope{}, errEnvelope
		}
		*seen = true
		switch seen {
		case &typ:
			if e.Type, err = unquote(value); err != nil {
				return envelope{}, err
			}
		case &id:
			if e.ID, err = strconv.ParseUint(string(value), 10, 64); err != nil || e.ID == 0 || e.ID > maxID {
				return envelope{}, errEnvelope
			}
		case &data:
			e.Data = value.Clone()
		case &room:
			e.Room, _ = unquote(value) // what is no name, or no position, is one of nothing
		case &pos:
			e.Pos, _ = unquote(value)
		}
	}
	if _, err = d.ReadToken(); err != nil {
		return envelope{}, err
	}
	if _, err = d.ReadToken(); err != io.EOF || e.Type == "" || len(e.Type) > maxType {
		return envelope{}, errEnvelope
	}
	return e, nil
}

// unquote reads a JSON string.
func unquote(v jsontext.Value) (string, error) {
	if v.Kind() != '"' {
		return "", errEnvelope
	}
	if s := v[1 : len(v)-1]; bytes.IndexByte(s, '\\') < 0 && utf8.Valid(s) {
		return string(s), nil
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return "", err
	}
	return string(b), nil
}

type hello struct {
	Session  string         `json:"session,omitempty"`
	Received *uint64        `json:"received,omitempty"` // of that session
	Try      int64          `json:"try"`
	Rooms    jsontext.Value `json:"rooms,omitzero"`
	Token    string         `json:"token,omitempty"`
}

type welcome struct {
	Session  string `json:"session"`
	Resumed  bool   `json:"resumed"`
	Received uint64 `json:"received"`
	Ping     int64  `json:"ping"`
	Timeout  int64  `json:"timeout"`
	Max      int    `json:"max"`
	Ack      int    `json:"ack"`
	Window   int    `json:"window"`
	Schema   string `json:"schema"`
	Expires  *int64 `json:"expires"`
}

// encode is the JSON of an argument; nil has none. A marshaler that panics is an error.
func encode(v any) (data jsontext.Value, err error) {
	if v == nil {
		return nil, nil
	}
	defer func() {
		if p := recover(); p != nil {
			data, err = nil, fmt.Errorf("encoding %T panicked: %v", v, p)
		}
	}()
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// decode is the opposite of encode. A nil pointer takes nothing; absent data leaves *v as it is.
func decode(data jsontext.Value, v any) error {
	if data == nil || v == nil {
		return nil
	}
	return json.Unmarshal(data, v)
}

// compose builds a message. id 0 is none, and so is a nil data.
func compose(typ string, id uint64, data []byte) []byte {
	b := make([]byte, 0, len(`{"type":"","id":,"data":}`)+len(typ)+20+len(data))
	b = append(b, `{"type":`...)
	if typ[0] == '$' {
		b = append(append(append(b, '"'), typ...), '"')
	} else {
		b, _ = jsontext.AppendQuote(b, typ) // checkType has seen that it is UTF-8
	}
	if id != 0 {
		b = append(b, `,"id":`...)
		b = strconv.AppendUint(b, id, 10)
	}
	if data != nil {
		b = append(b, `,"data":`...)
		b = append(b, data...)
	}
	return append(b, '}')
}

func composeNumber(typ string, id, n uint64) []byte {
	return compose(typ, id, strconv.AppendUint(nil, n, 10))
}

// checkType refuses what an application can't send.
func checkType(typ string) error {
	if typ == "" || len(typ) > maxType || typ[0] == '$' || strings.ToValidUTF8(typ, "") != typ {
		return wsctl.Errorf(wsctl.CodeBadRequest, "%q is no type of a message", typ)
	}
	return nil
}

// argument is encode for what a user gives.
func argument(typ string, data any) (jsontext.Value, error) {
	if err := checkType(typ); err != nil {
		return nil, err
	}
	b, err := encode(data)
	if err != nil {
		return nil, wsctl.Errorf(wsctl.CodeBadRequest, "data of %s: %v", typ, err)
	}
	return b, nil
}
