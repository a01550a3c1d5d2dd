//go:build linux

package main

import "strconv"

// prose begins with the text of the smallest request, and is repeated for larger ones.
const prose = "hello, world. It was a bright cold day in the harbour, and the gulls were louder than the bells; nobody on the quay " +
	"spoke of the weather, since there were 1,200 crates to count before noon. One of the clerks wrote the numbers on a slate, the " +
	"other read them out, and a third, who had come late, asked again and again which of the ships was theirs. "

// proseOf returns n bytes of text.
func proseOf(n int) []byte {
	var text []byte
	for len(text) < n {
		text = append(text, prose...)
	}
	return text[:n]
}

// room names where a message goes.
type room int

// everyone is the room of a message that isn't for a room.
const everyone room = -1

// append appends the name of the room as a line has it.
func (r room) append(b []byte) []byte {
	if r == everyone {
		return b
	}
	return strconv.AppendInt(append(b, 'r'), int64(r), 10)
}

// appendLine appends the object that all requests carry.
func appendLine(b []byte, place string, text []byte, seq int) []byte {
	return appendLineEnd(appendLineStart(b, place, text), seq)
}

func appendLineStart(b []byte, place string, text []byte) []byte {
	b = append(append(b, `{"room":"`...), place...)
	b = append(append(b, `","text":"`...), text...)
	return append(b, `","seq":`...)
}

func appendLineEnd(b []byte, seq int) []byte {
	return append(appendNumber(b, "", seq), '}')
}

// saidSize is the size of a broadcast message as the receiver of a plain stack gets it.
const saidSize = 120

// textOfSaid returns the text with which a message to r gets its size, whatever the stack. seq has as many digits as all of them.
func textOfSaid(r room, seq int) []byte {
	empty := plain{}.appendHeard(nil, r, appendLine(nil, string(r.append(nil)), nil, seq))
	return proseOf(max(0, saidSize-len(empty)))
}
