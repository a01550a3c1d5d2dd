package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// serve runs the server of main on a free port.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	srv, sockets := newServer()
	ts := httptest.NewUnstartedServer(srv.Handler)
	ts.Config = srv
	ts.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sockets.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		ts.Close()
	})
	return ts
}

// guest is a page without a browser. Any WebSocket library does.
type guest struct {
	t     *testing.T
	ws    *websocket.Conn
	calls int
}

func connect(t *testing.T, ts *httptest.Server) *guest {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(strings.Replace(ts.URL, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return &guest{t: t, ws: ws}
}

// message is what comes from the server, whatever it is.
type message struct {
	Type string
	ID   int
	Data json.RawMessage
}

func (g *guest) next() (m message) {
	g.t.Helper()
	g.ws.SetReadDeadline(time.Now().Add(patience))
	if err := g.ws.ReadJSON(&m); err != nil {
		g.t.Fatal(err)
	}
	return m
}

func (g *guest) send(typ, data string) {
	g.t.Helper()
	if err := g.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":%q,"data":%s}`, typ, data)); err != nil {
		g.t.Fatal(err)
	}
}

// call calls, and returns what comes before the end, and the error's code and message.
func (g *guest) call(typ, data string) (before []message, failure string) {
	g.t.Helper()
	g.calls++
	if err := g.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":%q,"id":%d,"data":%s}`, typ, g.calls, data)); err != nil {
		g.t.Fatal(err)
	}
	for {
		m := g.next()
		if m.ID == 0 {
			before = append(before, m)
			continue
		}
		if m.ID != g.calls {
			g.t.Fatalf("an end of call %d, want %d", m.ID, g.calls)
		}
		if m.Type == "$error" {
			var e wsctl.Error
			decode(g.t, m, &struct{ Code, Message *string }{&e.Code, &e.Message})
			failure = e.Code + ": " + e.Message
		}
		return before, failure
	}
}

func decode(t *testing.T, m message, v any) {
	t.Helper()
	if err := json.Unmarshal(m.Data, v); err != nil {
		t.Fatalf("%s %s: %v", m.Type, m.Data, err)
	}
}

// expect reads the next message, which must be of that type.
func expect[T any](g *guest, typ string) (v T) {
	g.t.Helper()
	m := g.next()
	if m.Type != typ {
		g.t.Fatalf("got %s %s, want %s", m.Type, m.Data, typ)
	}
	decode(g.t, m, &v)
	return v
}

// enter enters a room, and returns what the guest is told of it.
func (g *guest) enter(room, name string) Snapshot { return g.enterKey(room, name, "") }

func (g *guest) enterKey(room, name, key string) (s Snapshot) {
	g.t.Helper()
	before, failure := g.call("enter", fmt.Sprintf(`{"room":%q,"name":%q,"key":%q}`, room, name, key))
	if failure != "" || len(before) != 1 || before[0].Type != "room" {
		g.t.Fatalf("entering %s: %v %s", room, before, failure)
	}
	decode(g.t, before[0], &s)
	if s.Room != room {
		g.t.Fatalf("entered %s, want %s", s.Room, room)
	}
	return s
}

// names are those of the members, in their order.
func (s Snapshot) names() string {
	var names []string
	for _, m := range s.Members {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// meet brings new guests of those names into the lobby. None of them has anything to read.
func meet(t *testing.T, ts *httptest.Server, names ...string) (guests []*guest) {
	t.Helper()
	for _, name := range names {
		g := connect(t, ts)
		g.enter("lobby", name)
		for _, other := range guests {
			if a := expect[Arrival](other, "joined"); a.Name != name {
				t.Fatalf("%s joined, want %s", a.Name, name)
			}
		}
		guests = append(guests, g)
	}
	return guests
}

func TestLinesReachTheRoom(t *testing.T) {
	ts := serve(t)
	all := meet(t, ts, "Ada", "Grace", "Linus")
	elsewhere := connect(t, ts)
	elsewhere.enter("gophers", "Rob")
	all[0].send("say", `{"room":"lobby","text":"  Hello,\n<b>you</b>!  "}`)
	for i, g := range all {
		line := expect[Line](g, "said")
		if line.Room != "lobby" || line.N != 1 || line.Name != "Ada" || line.Text != "Hello,\n<b>you</b>!" {
			t.Errorf("%d got %+v", i, line)
		}
		if age := time.Since(line.At); age < 0 || age > patience {
			t.Errorf("said %v ago", age)
		}
	}
	before, failure := elsewhere.call("say", `{"room":"gophers","text":"Anybody?"}`)
	if failure != "" || len(before) != 1 || before[0].Type != "said" {
		t.Errorf("in another room: %v %s", before, failure)
	}
	// History-less: who comes later sees who is here, and nothing of what was said.
	late := connect(t, ts)
	if s := late.enter("lobby", "Ken"); s.names() != "Ada, Grace, Linus, Ken" || s.Again {
		t.Errorf("who comes late sees %+v", s)
	}
	if before, _ := late.call("say", `{"room":"lobby","text":"Hi"}`); len(before) != 1 {
		t.Errorf("who comes late gets %v", before)
	}
}

func TestNames(t *testing.T) {
	ts := serve(t)
	longest := strings.Repeat("é", maxName)
	for _, step := range []struct{ wish, got string }{
		{"Ada", "Ada"},
		{"Ada", "Ada 2"},
		{"ADA", "ADA 3"},
		{" Ada   2 ", "Ada 2 2"},
		{longest, longest},
		{longest, strings.Repeat("é", maxName-2) + " 2"},
		{"Ἀθηνᾶ", "Ἀθηνᾶ"},
		{"गार्गी", "गार्गी"},
		{"42", "42"},
	} {
		s := connect(t, ts).enter("names", step.wish)
		if m := s.Members[len(s.Members)-1]; m.ID != s.You || m.Name != step.got {
			t.Errorf("%q is called %q, want %q", step.wish, m.Name, step.got)
		}
	}
	// In another room, everybody has the name of his own.
	if s := connect(t, ts).enter("elsewhere", "Ada"); s.names() != "Ada" {
		t.Errorf("elsewhere: %s", s.names())
	}
}

func TestRename(t *testing.T) {
	ts := serve(t)
	all := meet(t, ts, "Ada", "Grace")
	s := all[1].enter("lobby", "Ada")
	if s.names() != "Ada, Ada 2" || !s.Again {
		t.Errorf("after renaming: %+v", s)
	}
	if a := expect[Arrival](all[0], "joined"); a.Name != "Ada 2" || a.ID != s.You {
		t.Errorf("the others see %+v", a)
	}
	all[1].enter("lobby", "Ada") // the same again is told to nobody
	if _, failure := all[0].call("leave", `{"room":"lobby"}`); failure != "" {
		t.Error(failure)
	}
	if d := expect[Departure](all[1], "left"); d.Room != "lobby" {
		t.Errorf("left: %+v", d)
	}
	if s := all[1].enter("lobby", "Ada"); s.names() != "Ada" {
		t.Errorf("the name is free: %s", s.names())
	}
}

func TestPresence(t *testing.T) {
	ts := serve(t)
	all := meet(t, ts, "Ada", "Grace", "Linus")
	two := all[1].enter("second", "Grace")
	if s := all[0].enter("second", "Ada"); s.names() != "Grace, Ada" {
		t.Errorf("in the other room: %s", s.names())
	}
	all[1].ws.Close() // without a word
	for _, left := range []struct {
		g    *guest
		room string
	}{{all[0], "lobby"}, {all[0], "second"}, {all[2], "lobby"}} {
		if d := expect[Departure](left.g, "left"); d.Room != left.room || d.ID != two.You {
			t.Errorf("left: %+v, want %s of %s", d, two.You, left.room)
		}
	}
	if s := all[0].enter("second", "Ada"); s.names() != "Ada" {
		t.Errorf("in the other room: %s", s.names())
	}
	all[2].send("leave", `{"room":"lobby"}`)
	expect[Departure](all[0], "left")
	// Who has left hears nothing, and can't say anything.
	if before, failure := all[0].call("say", `{"room":"lobby","text":"Alone"}`); failure != "" || len(before) != 1 {
		t.Errorf("%v %s", before, failure)
	}
	if before, failure := all[2].call("say", `{"room":"lobby","text":"Me too"}`); failure != "forbidden: enter the room first" || before != nil {
		t.Errorf("who has left: %v %s", before, failure)
	}
}

// A page that has lost its connection is the same member on its next one, also before the server has missed the first.
func TestKey(t *testing.T) {
	ts := serve(t)
	const key = "0123456789abcdef"
	ada := meet(t, ts, "Ada")[0]
	old, fresh := connect(t, ts), connect(t, ts)
	was := old.enterKey("lobby", "Grace", key)
	expect[Arrival](ada, "joined")
	if strings.Contains(was.You, key) {
		t.Error("the key is told to others")
	}
	is := fresh.enterKey("lobby", "Grace", key)
	if is.You != was.You || is.names() != "Ada, Grace" || is.Again {
		t.Errorf("back as %+v, was %+v", is, was)
	}
	if _, failure := old.call("say", `{"room":"lobby","text":"Two?"}`); !strings.HasPrefix(failure, wsctl.CodeForbidden) {
		t.Errorf("the old connection: %q", failure)
	}
	old.ws.Close()
	fresh.send("say", `{"room":"lobby","text":"Back"}`)
	if line := expect[Line](ada, "said"); line.Name != "Grace" || line.From != was.You { // and neither left nor joined
		t.Errorf("said: %+v", line)
	}
}

func TestTyping(t *testing.T) {
	ts := serve(t)
	all := meet(t, ts, "Ada", "Grace")
	ada := all[0].enter("lobby", "Ada").You
	for _, on := range []bool{true, false} {
		all[0].send("typing", fmt.Sprintf(`{"room":"lobby","on":%v}`, on))
		want := Typist{Room: "lobby", ID: ada}
		if on {
			want.For = 5000
		}
		if got := expect[Typist](all[1], "typing"); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	// More than a burst is ignored; what comes afterwards shows that nothing more has come.
	for range 20 {
		all[0].send("typing", `{"room":"lobby","on":true}`)
	}
	before, failure := all[0].call("say", `{"room":"lobby","text":"Done"}`)
	if failure != "" || len(before) != 1 || before[0].Type != "said" { // nobody is told of himself
		t.Errorf("%v %s", before, failure)
	}
	typed := 0
	for m := all[1].next(); m.Type == "typing"; m = all[1].next() {
		typed++
	}
	if typed == 0 || typed > 10 {
		t.Errorf("told %d times of 20", typed)
	}
}

func TestPace(t *testing.T) {
	ts := serve(t)
	all := meet(t, ts, "Ada", "Grace")
	refused := 0
	for range 25 {
		if _, failure := all[0].call("say", `{"room":"lobby","text":"Spam"}`); failure == "too_many: not so fast" {
			refused++
		} else if failure != "" {
			t.Fatal(failure)
		}
	}
	if refused == 0 || refused > 15 {
		t.Errorf("%d of 25 lines refused", refused)
	}
	for n := range int64(25 - refused) {
		if line := expect[Line](all[1], "said"); line.N != n+1 {
			t.Errorf("line %d, want %d", line.N, n+1)
		}
	}
}

func TestBadInput(t *testing.T) {
	ts := serve(t)
	long := strings.Repeat("x", maxText+1)
	tests := []struct{ name, typ, data, failure string }{
		{"no data", "enter", `null`, "bad_request"},
		{"no room", "enter", `{"name":"Ada"}`, "a room's name"},
		{"empty room", "enter", `{"room":"","name":"Ada"}`, "a room's name"},
		{"capital letters", "enter", `{"room":"Lobby","name":"Ada"}`, "a room's name"},
		{"path", "enter", `{"room":"../lobby","name":"Ada"}`, "a room's name"},
		{"long room", "enter", `{"room":"` + strings.Repeat("𐐨", 33) + `","name":"Ada"}`, "a room's name"},
		{"hyphen first", "enter", `{"room":"-","name":"Ada"}`, "a room's name"},
		{"number for a room", "enter", `{"room":1,"name":"Ada"}`, "bad_request"},
		{"no name", "enter", `{"room":"lobby"}`, "a nickname"},
		{"blank name", "enter", `{"room":"lobby","name":" \t "}`, "a nickname"},
		{"long name", "enter", `{"room":"lobby","name":"` + strings.Repeat("x", maxName+1) + `"}`, "a nickname"},
		{"control character", "enter", `{"room":"lobby","name":"A\u0007da"}`, "can be seen"},
		{"other direction", "enter", `{"room":"lobby","name":"A\u202eda"}`, "can be seen"},
		{"no width", "enter", `{"room":"lobby","name":"A\u200bda"}`, "can be seen"},
		{"only marks", "enter", `{"room":"lobby","name":"!?"}`, "letter or digit"},
		{"short key", "enter", `{"room":"lobby","name":"Ada","key":"x"}`, "a key"},
		{"long key", "enter", `{"room":"lobby","name":"Ada","key":"` + strings.Repeat("k", maxKey+1) + `"}`, "a key"},
		{"empty line", "say", `{"room":"lobby","text":""}`, "a line has 1"},
		{"blank line", "say", `{"room":"lobby","text":" \n "}`, "a line has 1"},
		{"long line", "say", `{"room":"lobby","text":"` + long + `"}`, "a line has 1"},
		{"bell", "say", `{"room":"lobby","text":"a\u0007"}`, "control"},
		{"escape", "say", `{"room":"lobby","text":"a\u001b[31m"}`, "control"},
		{"elsewhere", "say", `{"room":"nowhere","text":"Hi"}`, "forbidden"},
		{"everywhere", "say", `{"room":"","text":"Hi"}`, "forbidden"},
		{"internals", "OnOpen", `{}`, "not_found"},
		{"other names", "Say", `{"room":"lobby","text":"Hi"}`, "not_found"},
	}
	witness := connect(t, ts)
	witness.enter("lobby", "Witness")
	g := connect(t, ts)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g.t = t
			before, failure := g.call(test.typ, test.data)
			if !strings.Contains(failure, test.failure) || before != nil {
				t.Errorf("got %v %q, want an error with %q", before, failure, test.failure)
			}
		})
	}
	g.t = t
	g.send("typing", `{"room":"lobby","on":true}`) // from who isn't there: ignored
	g.send("leave", `{"room":"lobby"}`)
	g.enter("lobby", "Ada")
	if a := expect[Arrival](witness, "joined"); a.Name != "Ada" { // the first that the room hears
		t.Errorf("the witness saw %+v", a)
	}
}

func TestLimits(t *testing.T) {
	ts := serve(t)
	g := connect(t, ts)
	for n := range maxRooms {
		g.enter(fmt.Sprintf("room-%d", n), "Ada")
	}
	if _, failure := g.call("enter", `{"room":"one-more","name":"Ada"}`); !strings.HasPrefix(failure, "too_many: you are in 16 rooms") {
		t.Errorf("one room more: %q", failure)
	}
	if s := g.enter("room-0", "Ada"); !s.Again {
		t.Error("a room that the guest is in counts twice")
	}
}

func TestFullRoom(t *testing.T) {
	ts := serve(t)
	var last *guest
	for range maxMembers {
		last = connect(t, ts)
		last.enter("full", "Guest")
	}
	g := connect(t, ts)
	if _, failure := g.call("enter", `{"room":"full","name":"Guest"}`); failure != "too_many: the room is full" {
		t.Errorf("one more: %q", failure)
	}
	last.call("leave", `{"room":"full"}`)
	if s := g.enter("full", "Guest"); len(s.Members) != maxMembers {
		t.Errorf("%d members", len(s.Members))
	}
}

// What a page must not reach it doesn't reach, by whatever name.
func TestOnlyMethodsOfGuest(t *testing.T) {
	_, sockets := newServer()
	var exposed []string
	for _, r := range sockets.Routes() {
		if r.Type != "" {
			exposed = append(exposed, r.Type)
		}
	}
	if got := strings.Join(exposed, " "); got != "enter leave say typing" {
		t.Errorf("pages can call %q", got)
	}
}

func TestPageIsServed(t *testing.T) {
	ts := serve(t)
	tests := []struct{ path, contentType, contains string }{
		{"/", "text/html", `src="/chat.js"`},
		{"/chat.js", "text/javascript", "import { Client } from '/js/wsctl.js'"},
		{"/view.js", "text/javascript", "export function show"},
		{"/chat.css", "text/css", "prefers-color-scheme: dark"},
		{"/favicon.svg", "image/svg+xml", "<svg"},
		{"/js/wsctl.js", "text/javascript", "export"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			res, err := ts.Client().Get(ts.URL + test.path)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), test.contentType) {
				t.Errorf("%s, %s", res.Status, res.Header.Get("Content-Type"))
			}
			if !strings.Contains(string(body), test.contains) {
				t.Errorf("no %q in it", test.contains)
			}
			if got := res.Header.Get("Content-Security-Policy"); got != "default-src 'self'" {
				t.Errorf("Content-Security-Policy: %q", got)
			}
		})
	}
	for _, path := range []string{"/controller.go", "/chat.png", "/nothing"} {
		res, err := ts.Client().Get(ts.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

// Ctrl-C ends the program, and tells its pages to come back later.
func TestShutdown(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, "localhost:0", in)
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	_, line, _ = strings.Cut(line, "Open http")
	url, _, _ := strings.Cut(line, " ")
	ws, _, err := websocket.DefaultDialer.Dial("ws"+url+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	stop()
	ws.SetReadDeadline(time.Now().Add(patience))
	if _, _, err = ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the page sees %v, want 1001", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the program goes on")
	}
}
