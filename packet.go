package wsctl

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// packet is what nodes send each other over a broker. Which fields there are depends on the kind.
type packet struct {
	kind packetKind
	node string // that sent it
	seq  uint64 // of the node's packets

	key    roomKey // which room; packetMessage: not sent, the topic says it
	except []string
	policy policy // of the message's event, with its type and key
	typ    string
	evKey  string
	body   []byte // packetMessage, packetDirect: the message, an object of JSON

	code   int // packetClose
	reason string

	session, user string // packetSession
	try           uint64 // of the $hello that brought it

	flags   beatFlags     // packetBeat
	request uint64        // packetAsk, packetMembers
	watch   bool          // packetAsk: tell of changes from now on
	known   []nodeVersion // packetAsk: what the asker has
	version uint64        // packetMembers, packetChange: of what is told
	before  uint64        // packetChange: the version that it changes
	part    uint64        // packetMembers: number of this part, from 0
	more    bool          // another one follows
	members []Presence    // packetMembers, packetChange
}

type packetKind byte

const (
	packetMessage packetKind = iota + 1 // to the members of the topic's room
	packetDirect                        // to one socket of the node
	packetClose                         // to the members of a room
	packetSession                       // a client has begun a session anew that another node may have
	packetBeat                          // the node lives
	packetAsk                           // who is in a room?
	packetMembers                       // these are
	packetChange                        // these have joined or left since
	packetKinds
)

type beatFlags byte

const (
	beatAsk beatFlags = 1 << iota // answer by a beat
	beatBye                       // the node ends
)

type nodeVersion struct {
	node    string
	version uint64
}

// A packet begins with two bytes that say whose it is, and the version of what follows.
const (
	packetMagic   = "\xf5w"
	packetVersion = 1
)

var (
	errStranger = errors.New("not a message between nodes")
	errVersion  = errors.New("a message between nodes of another version: upgrade all of them")
	errPacket   = errors.New("a message between nodes is malformed")
)

// encode returns the packet's bytes.
func (p *packet) encode() []byte {
	b := make([]byte, 0, 64+len(p.body)+len(p.typ)+len(p.evKey)+32*len(p.except)+64*len(p.members))
	b = append(b, packetMagic...)
	b = append(b, packetVersion, byte(p.kind))
	b = appendText(b, p.node)
	b = binary.AppendUvarint(b, p.seq)
	switch p.kind {
	case packetMessage:
		b = appendTexts(b, p.except)
		b = p.appendMessage(b)
	case packetDirect:
		b = appendText(b, p.key.name)
		b = p.appendMessage(b)
	case packetClose:
		b = p.appendKey(b)
		b = appendTexts(b, p.except)
		b = binary.AppendUvarint(b, uint64(p.code))
		b = appendText(b, p.reason)
	case packetSession:
		b = appendText(b, p.session)
		b = appendText(b, p.user)
		b = binary.AppendUvarint(b, p.try)
	case packetBeat:
		b = append(b, byte(p.flags))
	case packetAsk:
		b = p.appendKey(b)
		b = binary.AppendUvarint(b, p.request)
		b = appendBool(b, p.watch)
		b = binary.AppendUvarint(b, uint64(len(p.known)))
		for _, v := range p.known {
			b = binary.AppendUvarint(appendText(b, v.node), v.version)
		}
	case packetMembers:
		b = p.appendKey(b)
		b = binary.AppendUvarint(b, p.request)
		b = binary.AppendUvarint(b, p.version)
		b = binary.AppendUvarint(b, p.part)
		b = appendBool(b, p.more)
		b = appendPresences(b, p.members)
	case packetChange:
		b = p.appendKey(b)
		b = binary.AppendUvarint(b, p.before)
		b = binary.AppendUvarint(b, p.version)
		b = appendPresences(b, p.members)
	}
	return b
}

func (p *packet) appendKey(b []byte) []byte {
	return appendText(append(b, byte(p.key.kind)), p.key.name)
}

func (p *packet) appendMessage(b []byte) []byte {
	if b = append(b, byte(p.policy)); p.policy != policyNone {
		b = appendText(appendText(b, p.typ), p.evKey)
	}
	return append(b, p.body...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, all []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, s := range all {
		b = appendText(b, s)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendPresences(b []byte, all []Presence) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, m := range all {
		b = appendBool(appendText(appendText(b, m.Socket), m.User), m.Joined)
	}
	return b
}

// decodePacket reads what another node, or a stranger, has sent. The packet refers to b.
func decodePacket(b []byte) (*packet, error) {
	if len(b) < len(packetMagic)+2 || string(b[:len(packetMagic)]) != packetMagic {
		return nil, errStranger
	}
	r := packetReader{b: b[len(packetMagic):]}
	if r.byte() != packetVersion {
		return nil, errVersion
	}
	p := &packet{kind: packetKind(r.byte())}
	if p.kind == 0 || p.kind >= packetKinds {
		return nil, errVersion // a later node of this version may know more kinds
	}
	p.node, p.seq = r.text(), r.number()
	switch p.kind {
	case packetMessage:
		p.except = r.texts()
		r.message(p)
	case packetDirect:
		p.key = roomKey{kindSocket, r.text()}
		r.message(p)
	case packetClose:
		p.key, p.except = r.key(), r.texts()
		p.code, p.reason = int(min(r.number(), 1<<16)), r.text()
	case packetSession:
		p.session, p.user, p.try = r.text(), r.text(), r.number()
	case packetBeat:
		p.flags = beatFlags(r.byte())
	case packetAsk:
		p.key, p.request, p.watch = r.key(), r.number(), r.byte() == 1
		for n := r.count(2); n > 0; n-- {
			p.known = append(p.known, nodeVersion{r.text(), r.number()})
		}
	case packetMembers:
		p.key, p.request, p.version, p.part, p.more, p.members = r.key(), r.number(), r.number(), r.number(), r.byte() == 1, r.presences()
	case packetChange:
		p.key, p.before, p.version, p.members = r.key(), r.number(), r.number(), r.presences()
	}
	if r.bad || p.node == "" {
		return nil, fmt.Errorf("%w (kind %d)", errPacket, p.kind)
	}
	return p, nil
}

// packetReader reads the parts of a packet. After a fault all that it reads is zero.
type packetReader struct {
	b   []byte
	bad bool
}

func (r *packetReader) fail() {
	r.b, r.bad = nil, true
}

func (r *packetReader) byte() (c byte) {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c, r.b = r.b[0], r.b[1:]
	return c
}

func (r *packetReader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count is a number of things that take at least so many bytes each.
func (r *packetReader) count(each int) int {
	n := r.number()
	if n > uint64(len(r.b)/each) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *packetReader) text() (s string) {
	n := r.count(1)
	s, r.b = string(r.b[:n]), r.b[n:]
	return s
}

func (r *packetReader) texts() (all []string) {
	for n := r.count(1); n > 0; n-- {
		all = append(all, r.text())
	}
	return all
}

func (r *packetReader) key() roomKey { return roomKey{roomKind(r.byte()), r.text()} }

func (r *packetReader) presences() (all []Presence) {
	for n := r.count(3); n > 0; n-- {
		all = append(all, Presence{Member{r.text(), r.text()}, r.byte() == 1})
	}
	return all
}

// message reads the message, which ends the packet. Its body is what sockets are sent: one that isn't an object of JSON, as this
// hub writes it, is a fault.
func (r *packetReader) message(p *packet) {
	if p.policy = policy(r.byte()); p.policy > policyLatest {
		r.fail()
		return
	}
	if p.policy != policyNone {
		p.typ, p.evKey = r.text(), r.text()
	}
	p.body = r.b
	if e, err := scan(p.body); r.bad || err != nil || e.id != 0 || typeFault(string(e.typ)) != "" || p.body[len(p.body)-1] != '}' {
		r.fail()
	}
}
