package sim

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wire checks what server and clients write against the protocol, knowing neither: who may say what, that a message keeps
// its number and its text, that no count is beyond what it counts, that calls have one end, that credit is kept to.
type wire struct {
	trace *Trace
	seed  maphash.Seed

	mu       sync.Mutex // guards following, and all sessions and wireConns
	sessions map[string]*wireSession
	tries    map[int]int64        // of each client
	current  map[int]*wireSession // of each client: that of the last $welcome that it read
	closes   map[int]int          // close codes written, by both sides
	frames   int
	resumes  int // $welcomes read with resumed: true
	renewed  int // ... with false, to a $hello that named a session
	late     int // $hellos read after a newer one
	stale    int // messages read from a conn that isn't the session's any more
	again    int // messages written again
	types    map[string]int
}

func newWire(trace *Trace) *wire {
	return &wire{trace: trace, seed: maphash.MakeSeed(), sessions: make(map[string]*wireSession), tries: make(map[int]int64), current: make(map[int]*wireSession),
		closes: make(map[int]int), types: make(map[string]int)}
}

// wireSession is what both sides have written in a session.
type wireSession struct {
	up, down flow
	window   int64
	calls    map[int64]*wireCall // of the client, by id
	asks     map[int64]bool      // of the server: true once it has an end
	server   *wireConn           // newest, by $welcome
	client   *wireConn           // newest, by $hello
	try      int64               // the highest that was welcomed
	tried    int64               // the highest that has reached the server
	noResume bool                // it ends with its conn, and nothing is acknowledged
	puts     map[int]bool        // numbers of the Puts that were written
}

// flow is the counted messages of one direction.
type flow struct {
	wrote []record // by number
	read  uint64   // number of the newest that the receiver has had from the network
	known uint64   // ... whose credit and end were taken notice of
	acked uint64   // newest $ack that the receiver wrote
}

// record is a message that has a number.
type record struct {
	sum uint64
	typ string
	id  int64
	n   int64 // of $more
}

// wireCall is a call of the client.
type wireCall struct {
	ended, upEnded bool
	items, credit  int64 // towards the client; granted as the server read it
	up, upCredit   int64 // towards the server; granted as the client read it
}

type envelope struct {
	Type string         `json:"type"`
	ID   int64          `json:"id"`
	Data jsontext.Value `json:"data"`
}

type helloData struct {
	Session  string `json:"session"`
	Received uint64 `json:"received"`
	Try      int64  `json:"try"`
}

type welcomeData struct {
	Session  string `json:"session"`
	Resumed  bool   `json:"resumed"`
	Received uint64 `json:"received"`
	Window   int64  `json:"window"`
}

// wireConn observes a conn.
type wireConn struct {
	w                *wire
	conn             *Conn
	v1               bool
	hello            *helloData // as written
	welcomed         bool       // as written
	ready            bool       // the client has read $welcome
	session          *wireSession
	upWrote, upRead  uint64 // numbers of the newest messages
	downWrote, downN uint64
	pings, pongs     [2]int // read by, written by: server, client
	plainCalls       map[int64]bool
	parse            [4]frames
}

// The points at which a conn is observed.
const (
	clientWrote = iota
	serverRead
	serverWrote
	clientRead
)

var pointNames = [4]string{"client writes", "server reads", "server writes", "client reads"}

func (w *wire) observe(c *Conn) Observer {
	o := &wireConn{w: w, conn: c, plainCalls: make(map[int64]bool)}
	for point := range o.parse {
		o.parse[point].header = func(text string) bool { return o.header(point, text) }
		o.parse[point].message = func(opcode byte, payload []byte) { o.frame(point, opcode, payload) }
	}
	return o
}

func (o *wireConn) Written(fromClient bool, b []byte) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	if fromClient {
		o.parse[clientWrote].feed(b)
	} else {
		o.parse[serverWrote].feed(b)
	}
}

func (o *wireConn) Read(fromClient bool, b []byte) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	if fromClient {
		o.parse[serverRead].feed(b)
	} else {
		o.parse[clientRead].feed(b)
	}
}

func (o *wireConn) header(point int, text string) bool {
	if point == serverWrote {
		o.v1 = strings.Contains(strings.ToLower(text), "sec-websocket-protocol: wsctl.v1")
	}
	if point == clientWrote || point == serverRead {
		return true
	}
	return strings.HasPrefix(text, "HTTP/1.1 101 ")
}

func (o *wireConn) breach(rule, format string, args ...any) {
	o.w.trace.breach(rule, format, args...)
}

func (o *wireConn) frame(point int, opcode byte, payload []byte) {
	o.w.frames++
	e := event{what: pointNames[point], a: int64(o.conn.Client), b: int64(o.conn.Dial)}
	switch opcode {
	case 1:
	case 8:
		e.typ = "close"
		if len(payload) >= 2 {
			e.id = int64(binary.BigEndian.Uint16(payload))
			if point == clientWrote || point == serverWrote {
				o.w.closes[int(e.id)]++
			}
			e.text = string(payload[2:])
			if e.id == 4409 && point == serverWrote {
				o.replaced()
			}
		}
		o.w.trace.add(e)
		return
	case 9, 10:
		return
	default:
		o.breach("frame", "%s opcode %d", pointNames[point], opcode)
		return
	}
	if !o.w.trace.All && o.readsNext(point, payload) {
		return
	}
	var m envelope
	if err := json.Unmarshal(payload, &m); err != nil {
		o.breach("envelope", "%s %q: %v", pointNames[point], payload, err)
		return
	}
	e.typ, e.id = m.Type, m.ID
	if o.w.trace.All || m.Type == "$hello" || m.Type == "$welcome" || m.Type == "$ack" {
		e.text = string(m.Data)
	}
	o.w.trace.add(e)
	if !o.v1 {
		o.plain(point, m)
		return
	}
	switch point {
	case clientWrote:
		o.clientWrote(m, payload)
	case serverRead:
		o.serverRead(m, payload)
	case serverWrote:
		o.serverWrote(m, payload)
	case clientRead:
		o.clientRead(m, payload)
	}
}

// replaced checks that the server closes a conn with 4409 for another one alone, which is newer.
func (o *wireConn) replaced() {
	switch s := o.session; {
	case o.hello == nil:
		o.breach("4409", "without a $hello")
	case s == nil:
		if s := o.w.sessions[o.hello.Session]; s == nil || o.hello.Try > s.try {
			o.breach("4409", "try %d is refused, and is the highest", o.hello.Try)
		}
	case s.tried <= o.hello.Try:
		o.breach("4409", "try %d gives way to %d", o.hello.Try, s.tried)
	}
}

// plain is the level without sessions.
func (o *wireConn) plain(point int, m envelope) {
	switch {
	case point == serverWrote && (m.Type == "$reply" || m.Type == "$error"):
		if !o.plainCalls[m.ID] {
			o.breach("one end", "plain %s %d: no such call, or not its first end", m.Type, m.ID)
		}
		delete(o.plainCalls, m.ID)
	case point == serverWrote && (m.Type[0] == '$' || m.ID != 0):
		o.breach("plain", "the server writes %s %d", m.Type, m.ID)
	case point == clientWrote && m.Type[0] == '$' && m.Type != "$cancel":
		o.breach("plain", "the client writes %s", m.Type)
	case point == clientWrote && m.ID != 0 && m.Type[0] != '$':
		if o.plainCalls[m.ID] {
			o.breach("id in use", "plain call %d", m.ID)
		}
		o.plainCalls[m.ID] = true
	}
}

func (o *wireConn) clientWrote(m envelope, b []byte) {
	if (o.hello == nil) != (m.Type == "$hello") {
		o.breach("$hello first", "the client writes %s", m.Type)
		return
	}
	switch m.Type {
	case "$hello":
		o.wroteHello(m)
	case "$ping", "$pong":
		o.pingPong(1, m.Type)
	case "$ack":
		o.ack("client", m, func(s *wireSession) *flow { return &s.down }, o.downN)
	case "$welcome", "$gap", "$room", "$goaway":
		o.breach("direction", "the client writes %s", m.Type)
	default:
		if !o.ready {
			o.breach("wait for $welcome", "the client writes %s", m.Type)
			return
		}
		o.upWrote++
		if r, fresh := o.number(&o.session.up, o.upWrote, m, b, "client"); fresh {
			o.session.saidUp(o, r)
		}
	}
}

func (o *wireConn) wroteHello(m envelope) {
	o.hello = &helloData{}
	if err := json.Unmarshal(m.Data, o.hello); err != nil {
		o.breach("$hello", "%s: %v", m.Data, err)
		return
	}
	if o.hello.Try <= o.w.tries[o.conn.Client] {
		o.breach("try", "%d after %d", o.hello.Try, o.w.tries[o.conn.Client])
	}
	o.w.tries[o.conn.Client] = o.hello.Try
	if o.hello.Session == "" {
		return
	}
	s := o.w.sessions[o.hello.Session]
	switch {
	case s == nil:
		o.breach("$hello", "a session that the server never named")
		return
	case o.hello.Received > s.down.read:
		o.breach("received", "$hello says %d, %d have arrived", o.hello.Received, s.down.read)
	case o.hello.Received < s.down.acked:
		o.breach("received", "$hello says %d, %d were acknowledged", o.hello.Received, s.down.acked)
	}
	s.down.read = o.hello.Received
	s.down.acked = max(s.down.acked, o.hello.Received)
	s.client = o
}

func (o *wireConn) serverRead(m envelope, b []byte) {
	switch m.Type {
	case "$hello":
		if s := o.w.sessions[o.hello.Session]; s != nil {
			if o.hello.Try <= s.try {
				o.w.late++
			}
			s.tried = max(s.tried, o.hello.Try)
		}
	case "$ack":
	case "$ping", "$pong":
		if m.Type == "$ping" {
			o.pings[0]++
		}
	default:
		if o.session == nil || o.session.server != o {
			o.w.stale++
			return // not its session's any more
		}
		o.upRead++
		o.arrived(&o.session.up, o.upRead, b, true)
	}
}

func (o *wireConn) serverWrote(m envelope, b []byte) {
	if !o.welcomed && m.Type != "$welcome" && m.Type != "$goaway" {
		o.breach("$welcome first", "the server writes %s", m.Type)
		return
	}
	switch m.Type {
	case "$welcome":
		o.wroteWelcome(m)
	case "$goaway":
	case "$ping", "$pong":
		o.pingPong(0, m.Type)
	case "$ack":
		o.ack("server", m, func(s *wireSession) *flow { return &s.up }, o.upRead)
	case "$hello", "$auth", "$end":
		o.breach("direction", "the server writes %s", m.Type)
	default:
		o.downWrote++
		if r, fresh := o.number(&o.session.down, o.downWrote, m, b, "server"); fresh {
			o.session.saidDown(o, r)
		}
	}
}

func (o *wireConn) wroteWelcome(m envelope) {
	var d welcomeData
	if err := json.Unmarshal(m.Data, &d); err != nil || o.welcomed || o.hello == nil {
		o.breach("$welcome", "%s: %v, again: %v", m.Data, err, o.welcomed)
		return
	}
	o.welcomed = true
	s := o.w.sessions[d.Session]
	if !d.Resumed {
		if s != nil && d.Session != "" || d.Received != 0 {
			o.breach("$welcome", "a new session with the name of an old one, or received %d", d.Received)
		}
		s = &wireSession{try: o.hello.Try, window: d.Window, calls: make(map[int64]*wireCall), asks: make(map[int64]bool),
			puts: make(map[int]bool), server: o}
		if d.Session == "" {
			d.Session = fmt.Sprint("none ", len(o.w.sessions))
			s.noResume = true
		}
		o.w.sessions[d.Session] = s
		o.session = s
		s.client = o
		return
	}
	switch {
	case s == nil || d.Session != o.hello.Session:
		o.breach("$welcome", "resumed, but not the session of $hello")
		return
	case d.Received > s.up.read:
		o.breach("received", "$welcome says %d, %d have arrived", d.Received, s.up.read)
	case d.Received < s.up.acked:
		o.breach("received", "$welcome says %d, %d were acknowledged", d.Received, s.up.acked)
	case o.hello.Try <= s.try:
		o.breach("try", "%d resumes a session that %d has", o.hello.Try, s.try)
	case o.hello.Received < s.down.acked:
		o.breach("resume", "with %d received, but %d were acknowledged", o.hello.Received, s.down.acked)
	}
	s.server, s.try, o.session = o, o.hello.Try, s
	s.up.read = d.Received
	s.up.acked = max(s.up.acked, d.Received)
	o.upRead = d.Received
	o.downWrote = o.hello.Received
}

func (o *wireConn) clientRead(m envelope, b []byte) {
	switch m.Type {
	case "$welcome":
		var d welcomeData
		_ = json.Unmarshal(m.Data, &d) // checked when it was written
		o.ready = true
		o.w.current[o.conn.Client] = o.session
		o.upWrote = d.Received
		if d.Resumed {
			o.downN = o.hello.Received
			o.w.resumes++
		} else if o.hello.Session != "" {
			o.w.renewed++
		}
	case "$goaway", "$ack":
	case "$ping", "$pong":
		if m.Type == "$ping" {
			o.pings[1]++
		}
	default:
		o.downN++
		if o.session.client == o {
			o.arrived(&o.session.down, o.downN, b, false)
		}
	}
}

// pingPong checks that no $pong comes without a $ping.
func (o *wireConn) pingPong(side int, typ string) {
	if typ != "$pong" {
		return
	}
	if o.pongs[side]++; o.pongs[side] > o.pings[side] {
		o.breach("$pong", "%d, after %d $pings", o.pongs[side], o.pings[side])
	}
}
