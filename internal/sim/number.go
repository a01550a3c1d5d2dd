package sim

import (
	"hash/maphash"

	"github.com/go-json-experiment/json"
)

// readsNext takes a message that is read if it is, as it should be, the next one that has a number: it was parsed when it was
// written.
func (o *wireConn) readsNext(point int, b []byte) bool {
	if !o.v1 || o.session == nil {
		return false
	}
	f, n, up := &o.session.up, &o.upRead, point == serverRead
	switch {
	case up && o.session.server == o:
	case point == clientRead && o.ready && o.session.client == o:
		f, n = &o.session.down, &o.downN
	default:
		return false
	}
	if *n >= uint64(len(f.wrote)) || f.wrote[*n].sum != maphash.Bytes(o.w.seed, b) {
		return false
	}
	r := &f.wrote[*n]
	*n++
	o.w.trace.add(event{what: pointNames[point], a: int64(o.conn.Client), b: int64(o.conn.Dial), typ: r.typ, id: r.id})
	o.took(f, *n, up)
	return true
}

func (o *wireConn) ack(side string, m envelope, of func(*wireSession) *flow, arrived uint64) {
	var n uint64
	if err := json.Unmarshal(m.Data, &n); err != nil || o.session == nil {
		o.breach("$ack", "%s: %v", m.Data, err)
		return
	}
	f := of(o.session)
	if n > arrived {
		o.breach("$ack", "the %s acknowledges %d, %d have arrived", side, n, arrived)
	}
	f.acked = max(f.acked, n)
}

// number checks a counted message that is written: one that was written before, or the next one.
func (o *wireConn) number(f *flow, n uint64, m envelope, b []byte, side string) (r *record, fresh bool) {
	sum := maphash.Bytes(o.w.seed, b)
	if n <= uint64(len(f.wrote)) {
		o.w.again++
		if r = &f.wrote[n-1]; r.sum != sum {
			o.breach("same number, same message", "the %s writes %s as number %d, which was %s %d", side, b, n, r.typ, r.id)
		}
		return r, false
	}
	if n != uint64(len(f.wrote))+1 {
		o.breach("numbers", "the %s writes %s as number %d after %d", side, m.Type, n, len(f.wrote))
		return nil, false
	}
	f.wrote = append(f.wrote, record{sum: sum, typ: m.Type, id: m.ID})
	r = &f.wrote[n-1]
	if m.Type == "$more" {
		_ = json.Unmarshal(m.Data, &r.n)
		if r.n < 1 {
			o.breach("$more", "%s", m.Data)
		}
	}
	if m.Type == "Put" || m.Type == "PutSlow" {
		var put payload
		_ = json.Unmarshal(m.Data, &put)
		o.session.puts[put.N] = true
	}
	o.w.types[m.Type]++
	return r, true
}

// arrived notes a counted message that was read.
func (o *wireConn) arrived(f *flow, n uint64, b []byte, up bool) {
	if n > uint64(len(f.wrote)) || f.wrote[n-1].sum != maphash.Bytes(o.w.seed, b) {
		o.breach("network", "number %d, %s, isn't what was written", n, b)
		return
	}
	o.took(f, n, up)
}

func (o *wireConn) took(f *flow, n uint64, up bool) {
	f.read = max(f.read, n)
	if n > f.known {
		f.known = n
		o.session.heard(&f.wrote[n-1], up)
	}
}
