package wsctlnats

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

// Headers of an entry. The first is ours, the others are the server's.
const (
	headerEntry    = "Wsctl"
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
	headerSequence = "Nats-Sequence"
	headerSubject  = "Nats-Subject"
	headerTime     = "Nats-Time-Stamp"
)

// version begins the header of an entry.
const version = "1"

// entry is what is stored in the stream: some messages of a topic, mostly one, or none at all where it only says what the
// position is. Entries of a topic are chained: each names the one before it, and the server stores it only in that place.
type entry struct {
	gen  string            // of the stream
	seq  uint64            // in the stream; 0: nothing is stored
	prev uint64            // seq of the topic's entry before; 0: there was none
	pos  position.Position // of its last message
	id   string            // another one for each entry
	keep wsctl.Retention   // of the topic, since this entry
	time time.Time         // when it was stored, by the server's clock, or by ours if it was seen then
	msgs [][]byte
}

// before is the offset before its messages.
func (e *entry) before() uint64 { return e.pos.Offset - uint64(len(e.msgs)) }

// header returns the headers that e is stored with.
func (e *entry) header() nats.Header {
	return nats.Header{
		headerEntry: {version + " " + e.pos.String() + " " + e.id + " " + strconv.Itoa(e.keep.Messages) + " " +
			strconv.FormatInt(e.keep.Age.Milliseconds(), 10)},
		headerExpected: {strconv.FormatUint(e.prev, 10)},
	}
}

// encode returns the messages as they are stored.
func (e *entry) encode() []byte {
	size := 0
	for _, msg := range e.msgs {
		size += binary.MaxVarintLen32 + len(msg)
	}
	data := make([]byte, 0, size)
	for _, msg := range e.msgs {
		data = append(binary.AppendUvarint(data, uint64(len(msg))), msg...)
	}
	return data
}

// decode reads an entry from what is stored: all but gen, seq and time. ok is false for what is none: anybody may have written
// it. The messages lie in data.
func decode(h nats.Header, data []byte) (e entry, ok bool) {
	fields := strings.Split(h.Get(headerEntry), " ")
	if len(fields) != 5 || fields[0] != version || fields[2] == "" {
		return entry{}, false
	}
	if e.pos, ok = position.Parse(fields[1]); !ok {
		return entry{}, false
	}
	e.id = fields[2]
	messages, err1 := strconv.ParseUint(fields[3], 10, 31)
	age, err2 := strconv.ParseUint(fields[4], 10, 63)
	prev, err3 := strconv.ParseUint(h.Get(headerExpected), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || age > math.MaxInt64/uint64(time.Millisecond) {
		return entry{}, false
	}
	e.keep = wsctl.Retention{Messages: int(messages), Age: time.Duration(age) * time.Millisecond}
	e.prev = prev
	for len(data) > 0 {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)-size) {
			return entry{}, false
		}
		end := size + int(n)
		e.msgs = append(e.msgs, data[size:end:end])
		data = data[end:]
	}
	return e, e.pos.Offset >= uint64(len(e.msgs))
}

// stored reads an entry from a message of the server that has its headers about what is stored. e has gen, seq and time also
// where ok is false, because somebody else has written it; seq is 0 if the message isn't about what is stored.
func stored(m *nats.Msg) (e entry, ok bool) {
	seq, err := strconv.ParseUint(m.Header.Get(headerSequence), 10, 64)
	if err != nil {
		return entry{}, false
	}
	e, ok = decode(m.Header, m.Data)
	e.seq, e.gen = seq, generation(m.Header.Get(headerSubject))
	e.time, _ = time.Parse(time.RFC3339Nano, m.Header.Get(headerTime))
	return e, ok
}

// generation returns the gen of the subject of an entry.
func generation(subject string) string {
	parent, _, _ := cutLast(subject)
	_, gen, _ := cutLast(parent)
	return gen
}

// cutLast cuts s at its last dot.
func cutLast(s string) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}
