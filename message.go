package wsctl

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxName  = 128       // bytes of a message's type, unescaped, and of the name of a room or a user
	maxID    = 1<<53 - 1 // the largest integer that every JSON number holds exactly
	maxDepth = 1000      // nesting of a message; the envelope is level 1
)

// envelope is a message as scanned. typ and data point into the scanned bytes, typ into bytes of its own if it was
// written with escapes.
type envelope struct {
	typ  []byte
	id   int64  // 0: none
	data []byte // nil: absent
}

// scanError says what is bad about a message, and where. Log and client may see it.
type scanError struct {
	what string
	at   int
}

func (e *scanError) Error() string { return e.what + " (byte " + strconv.Itoa(e.at) + ")" }

// scan proves b to be one JSON object that keeps the rules of the protocol, and returns its spans. With an error it
// returns what the answer to a bad call needs: typ and id, each only if it was read whole before the fault and not
// given twice.
//
// Names given twice and lone surrogate escapes are a fault of the envelope only, not of the values in it.
func scan(b []byte) (envelope, error) {
	s := scanner{b: b}
	env := s.envelope()
	if s.fault.what != "" {
		env.data = nil
		return env, &scanError{s.fault.what, s.fault.at}
	}
	return env, nil
}

// envelope reads the whole message. It stops at the first fault.
func (s *scanner) envelope() (env envelope) {
	b := s.b
	i := space(b, 0)
	if i == len(b) || b[i] != '{' {
		s.fail(i, "a message must be an object")
		return env
	}
	i = space(b, i+1)
	var seen struct{ typ, id, data bool }
	var others nameSet
	for more := i == len(b) || b[i] != '}'; more; {
		name := i
		var escaped bool
		switch { // the usual names at a glance: that saves a tenth of a small message's time
		case begins(b[i:], `"type"`), begins(b[i:], `"data"`):
			i += len(`"type"`)
		case begins(b[i:], `"id"`):
			i += len(`"id"`)
		default:
			if i, escaped = s.string(i); i < 0 {
				return env
			}
		}
		key := b[name+1 : i-1]
		if escaped {
			if key = s.unescape(name, i, i-name); key == nil {
				return env
			}
		}
		var twice bool
		switch string(key) {
		case "type":
			if twice = seen.typ; twice {
				env.typ = nil
			}
			seen.typ = true
		case "id":
			if twice = seen.id; twice {
				env.id = 0
			}
			seen.id = true
		case "data":
			twice, seen.data = seen.data, true
		default:
			twice = !others.add(b, key, name+1, escaped)
		}
		if twice {
			s.fail(name, "a member given twice")
			return env
		}

		if i = s.colon(i); i < 0 {
			return env
		}
		value := i
		switch string(key) {
		case "type":
			env.typ, i = s.typ(i)
		case "id":
			env.id, i = s.id(i)
		case "data":
			if i = s.value(i); i >= 0 {
				env.data = b[value:i:i]
			}
		default:
			i = s.value(i)
		}
		if i < 0 {
			return env
		}

		i = space(b, i)
		switch {
		case i < len(b) && b[i] == ',':
			i = space(b, i+1)
		case i < len(b) && b[i] == '}':
			more = false
		default:
			s.fail(i, "comma or } expected")
			return env
		}
	}
	if !seen.typ {
		s.fail(i, "no type")
		return env
	}
	if i = space(b, i+1); i != len(b) {
		s.fail(i, "text after the message")
	}
	return env
}

// typ reads the value of the member type.
func (s *scanner) typ(i int) ([]byte, int) {
	if i == len(s.b) || s.b[i] != '"' {
		return nil, s.fail(i, "type must be a string")
	}
	end, escaped := s.string(i)
	if end < 0 {
		return nil, -1
	}
	t := s.b[i+1 : end-1 : end-1]
	if escaped {
		if t = s.unescape(i, end, maxName); t == nil {
			return nil, -1
		}
	}
	if len(t) == 0 {
		return nil, s.fail(i, "type is empty")
	}
	if len(t) > maxName {
		return nil, s.fail(i, "type is longer than 128 bytes")
	}
	return t, end
}

// id reads the value of the member id. It is whole only if what follows can follow a number: not at the end of b.
func (s *scanner) id(i int) (id int64, end int) {
	b := s.b
	for end = i; end < len(b) && b[end]-'0' <= 9 && end-i < 17; end++ { // 17 digits are past maxID, and fit an int64
		id = id*10 + int64(b[end]-'0')
	}
	if end == len(b) {
		return 0, s.fail(end, "")
	}
	if c := b[end]; id < 1 || id > maxID || b[i] == '0' || c != ',' && c != '}' && space(b, end) == end {
		return 0, s.fail(i, "id must be an integer from 1 to 2^53-1, in digits alone")
	}
	return id, end
}

// nameSet is a set of names of one message: the usual few by where they are in it, many, or one with escapes, in a map.
type nameSet struct {
	few  [8]struct{ at, end int }
	n    int
	text string // a copy of the message, which the map's keys share
	many map[string]struct{}
}

// add adds a name that is at b[at:], unless written with escapes. It reports false if the set has it already.
func (s *nameSet) add(b, name []byte, at int, escaped bool) bool {
	if s.many == nil {
		for _, f := range s.few[:s.n] {
			if string(b[f.at:f.end]) == string(name) {
				return false
			}
		}
		if s.n < len(s.few) && !escaped {
			s.few[s.n].at, s.few[s.n].end = at, at+len(name)
			s.n++
			return true
		}
		s.text, s.many = string(b), make(map[string]struct{})
		for _, f := range s.few[:s.n] {
			s.many[s.text[f.at:f.end]] = struct{}{}
		}
	}
	if _, ok := s.many[string(name)]; ok {
		return false
	}
	if escaped {
		s.many[string(name)] = struct{}{}
	} else {
		s.many[s.text[at:at+len(name)]] = struct{}{}
	}
	return true
}

// typeFault says why an application can't have a message type; empty if it can.
func typeFault(typ string) string {
	switch {
	case typ == "":
		return "is empty"
	case len(typ) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	case typ[0] == '$':
		return "begins with $, which is reserved"
	case !utf8.ValidString(typ):
		return "is not UTF-8"
	}
	return ""
}

// checkType returns an error, for the program that sends, if an application can't send messages of type typ.
func checkType(typ string) error {
	if fault := typeFault(typ); fault != "" {
		return fmt.Errorf("wsctl: message type %.*q %s", maxName, typ, fault)
	}
	return nil
}

// appendMessage appends a message to b. typ is taken to be one that checkType, or the protocol, knows. An id of 0 and
// untyped nil data are left out. If data can't be encoded, or encoding it panics, b is left as it was.
func appendMessage(b *bytes.Buffer, typ string, id int64, data any) error {
	if data == nil {
		b.Write(append(appendHead(b, typ, id), '}'))
		return nil
	}
	start := b.Len()
	b.Write(append(appendHead(b, typ, id), `,"data":`...))
	if err := appendValue(b, start, data); err != nil {
		return fmt.Errorf("wsctl: encoding data of %q: %w", typ, err)
	}
	b.WriteByte('}')
	return nil
}

// appendError appends the bad end of call id to b, always with a code and a message. If e.Data can't be encoded, or
// encoding it panics, b is left as it was.
func appendError(b *bytes.Buffer, id int64, e *Error) error {
	start := b.Len()
	code := e.Code
	if code == "" {
		code = CodeInternal
	}
	p := append(appendHead(b, "$error", id), `,"data":{"code":`...)
	p = append(appendString(p, code), `,"message":`...)
	b.Write(appendString(p, e.Message))
	if e.Data != nil {
		b.WriteString(`,"data":`)
		if err := appendValue(b, start, e.Data); err != nil {
			return fmt.Errorf("wsctl: encoding data of error %q: %w", code, err)
		}
	}
	b.WriteString("}}")
	return nil
}

// appendHead returns a message up to its id, in b's free space, to be written.
func appendHead(b *bytes.Buffer, typ string, id int64) []byte {
	p := b.AvailableBuffer()
	if typ == "$reply" { // the commonest, without a look at its bytes
		p = append(p, `{"type":"$reply"`...)
	} else {
		p = appendString(append(p, `{"type":`...), typ)
	}
	if id != 0 {
		p = strconv.AppendInt(append(p, `,"id":`...), id, 10)
	}
	return p
}

// appendString appends s quoted, with U+FFFD in place of what isn't UTF-8.
func appendString(p []byte, s string) []byte {
	p, _ = jsontext.AppendQuote(p, s)
	return p
}

// encoderPool has encoders for what has no shorter way. To keep them saves a tenth of what encoding a small struct costs.
var encoderPool = sync.Pool{New: func() any { return jsontext.NewEncoder(new(bytes.Buffer)) }}

// appendValue appends the JSON of v, not an untyped nil. When that fails it cuts b back to start.
func appendValue(b *bytes.Buffer, start int, v any) error {
	switch v := v.(type) { // the commonest results: a third of the encoder's time, and no allocation
	case string:
		if q, err := jsontext.AppendQuote(b.AvailableBuffer(), v); err == nil {
			b.Write(q)
			return nil
		}
	case int:
		b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(v), 10))
		return nil
	case int64:
		b.Write(strconv.AppendInt(b.AvailableBuffer(), v, 10))
		return nil
	case bool:
		b.Write(strconv.AppendBool(b.AvailableBuffer(), v))
		return nil
	}
	done := false
	defer func() {
		if !done {
			b.Truncate(start)
		}
	}()
	enc := encoderPool.Get().(*jsontext.Encoder) // not given back after a panic
	enc.Reset(b)
	err := json.MarshalEncode(enc, v)
	if b.Cap() <= maxPooled { // it refers to b
		encoderPool.Put(enc)
	}
	if err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder ends each value with a newline
	done = true
	return nil
}

// maxPooled is how large a pooled buffer may have grown. One large message must not occupy its memory for good.
const maxPooled = 64 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// getBuffer returns an empty buffer, to be given back by putBuffer when nothing refers to its bytes any more.
func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}
