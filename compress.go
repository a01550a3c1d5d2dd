package wsctl

import (
	"bytes"
	"compress/flate"
	"sync"
)

// minDeflate is the size in bytes from which a message is worth compressing.
const minDeflate = 256

// deflater is a compressor without context takeover, with room for its output.
type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	d.w, _ = flate.NewWriter(&d.out, flate.BestSpeed) // the level is right
	return d
}}

// zeros are free bytes for a header.
var zeros [headRoom]byte

// deflateFrame returns the compressed text frame of b, whose first headRoom bytes are no part of the payload; nil if it
// wouldn't be smaller (RFC 7692, section 7.2.1).
func deflateFrame(b []byte) []byte {
	payload := b[headRoom:]
	if len(payload) < minDeflate {
		return nil
	}
	d := deflaters.Get().(*deflater)
	defer func() {
		if d.out.Cap() <= maxPooled {
			deflaters.Put(d)
		}
	}()
	d.out.Reset()
	d.out.Write(zeros[:])
	d.w.Reset(&d.out)
	_, _ = d.w.Write(payload) // to memory
	_ = d.w.Flush()
	const tail = 4 // 00 00 ff ff, which the receiver adds again
	if n := d.out.Len() - tail; n < len(b) {
		return bytes.Clone(frame(d.out.Bytes()[:n], frameText|rsv1))
	}
	return nil
}
