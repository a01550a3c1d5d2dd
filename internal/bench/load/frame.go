//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
)

// maxMessage is the largest message that a server may send here. The read buffer holds several.
const maxMessage = 64 << 10

// Opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// Bits of the first byte of a frame.
const (
	bitFinal    = 0x80
	bitDeflated = 0x40 // RSV1: the message is compressed
	bitsUnknown = 0x30
)

// frame is one frame of a server.
type frame struct {
	final    bool
	deflated bool
	opcode   byte
	payload  []byte // part of what was parsed
}

// parseFrame takes the frame at the start of b. size is how much of b it is; 0: b holds no whole frame yet.
func parseFrame(b []byte) (f frame, size int, err error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	if b[0]&bitsUnknown != 0 || b[1]&0x80 != 0 {
		return frame{}, 0, fmt.Errorf("got a frame that begins with %#x, expected one without mask and unknown bits", b[:2])
	}
	head, length := 2, uint64(b[1])
	switch length {
	case 126:
		if head = 4; len(b) < head {
			return frame{}, 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return frame{}, 0, nil
		}
		length = binary.BigEndian.Uint64(b[2:])
	}
	if length > maxMessage {
		return frame{}, 0, fmt.Errorf("got a frame of %d bytes, expected %d at most", length, maxMessage)
	}
	size = head + int(length)
	if len(b) < size {
		return frame{}, 0, nil
	}
	return frame{b[0]&bitFinal != 0, b[0]&bitDeflated != 0, b[0] & 0xF, b[head:size]}, size, nil
}

// appendFrame appends a whole message as a client writes it. The mask is zero: legal, no work here, and the same work for a
// server, which doesn't know.
func appendFrame(b []byte, bits, opcode byte, payload []byte) []byte {
	const masked = 0x80
	b = append(b, bitFinal|bits|opcode)
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// appendText appends an uncompressed text message.
func appendText(b []byte, text string) []byte {
	return appendFrame(b, 0, opText, []byte(text))
}
