package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Opcodes of frames (RFC 6455, section 5.2).
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

const (
	fin    = 0x80
	masked = 0x80
)

// frame is one of a client, with the payload unmasked.
type frame struct {
	opcode  byte
	payload []byte
	size    int // with its header
}

// parse returns the frame that b begins with, and unmasks it within b. Unless missing is 0, it lacks at least as many bytes,
// and nothing has been changed.
func parse(b []byte) (f frame, missing int, err error) {
	const mask = 4
	header := 2 + mask
	if len(b) < header {
		return f, header - len(b), nil
	}
	if b[0]&fin == 0 || b[1]&masked == 0 {
		return f, 0, errors.New("a frame that isn't whole, or isn't masked")
	}
	length := int(b[1] &^ masked)
	switch length {
	case 126:
		header += 2
		length = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return f, 0, errors.New("a frame of 64 KiB")
	}
	size := header + length
	if size > bufferSize {
		return f, 0, fmt.Errorf("a frame of %d bytes", size)
	}
	if len(b) < size {
		return f, size - len(b), nil
	}
	f = frame{opcode: b[0] & 0x0f, payload: b[header:size], size: size}
	unmask(f.payload, b[header-mask:header])
	return f, 0, nil
}

func unmask(b, key []byte) {
	four := uint64(binary.LittleEndian.Uint32(key))
	eight := four | four<<32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^eight)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}

// appendFrame appends a frame whose payload are the parts.
func appendFrame(b []byte, opcode byte, parts ...[]byte) []byte {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	b = append(b, fin|opcode)
	if length < 126 {
		b = append(b, byte(length))
	} else {
		b = append(b, 126)
		b = binary.BigEndian.AppendUint16(b, uint16(length)) // it fits, as the client's messages do
	}
	for _, part := range parts {
		b = append(b, part...)
	}
	return b
}
