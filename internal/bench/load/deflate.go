//go:build linux

package main

import (
	"bytes"
	"compress/flate"
	"fmt"
	"hash/maphash"
	"io"
)

// syncTail ends what a compressor flushes. A compressed message is sent without it (RFC 7692, section 7.2.1).
const syncTail = "\x00\x00\xff\xff"

// finalBlock is an empty last block: after it, a decompressor reports the end.
const finalBlock = "\x01\x00\x00\xff\xff"

// deflate compresses a message, without the context of others.
func deflate(message []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a valid one
	}
	_, _ = w.Write(message) // a buffer takes everything
	_ = w.Flush()
	return bytes.TrimSuffix(out.Bytes(), []byte(syncTail))
}

// inflated is a message of the memory of an inflater.
type inflated struct{ packed, message []byte }

// inflater decompresses messages. Most come many times: the copies of a broadcast, the answers to equal requests. Those that it
// remembers are compared instead, byte by byte, so that a lot of receivers cost this program little.
type inflater struct {
	seed   maphash.Seed
	memory [4096]inflated // by hash
	input  bytes.Reader
	stream []byte // a packed message with its end
	flate  io.ReadCloser
}

func newInflater() *inflater {
	return &inflater{seed: maphash.MakeSeed(), flate: flate.NewReader(nil)}
}

// inflate returns the message that was packed. It is valid until the next call.
func (f *inflater) inflate(packed []byte) ([]byte, error) {
	known := &f.memory[maphash.Bytes(f.seed, packed)%uint64(len(f.memory))]
	if known.packed != nil && bytes.Equal(known.packed, packed) {
		return known.message, nil
	}
	f.stream = append(append(append(f.stream[:0], packed...), syncTail...), finalBlock...)
	f.input.Reset(f.stream)
	if err := f.flate.(flate.Resetter).Reset(&f.input, nil); err != nil {
		return nil, err
	}
	message := bytes.NewBuffer(known.message[:0])
	known.packed = known.packed[:0]
	n, err := io.Copy(message, io.LimitReader(f.flate, maxMessage+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("got %x, expected a compressed message: %w", packed, err)
	case n > maxMessage:
		return nil, fmt.Errorf("got a message that inflates beyond %d bytes", maxMessage)
	}
	known.packed = append(known.packed, packed...)
	known.message = message.Bytes()
	return known.message, nil
}
