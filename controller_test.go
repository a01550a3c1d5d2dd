package wsctl

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// ---- Everything that can be wrong.

type faulty struct{}

func (*faulty) Chan(*Socket, chan int)              {} //@faulty.Chan
func (*faulty) Good(*Socket, formLine) (int, error) { return 0, nil }

// Leaf is so short that its first instruction is in its body.
func (*faulty) Leaf(s *Socket, x, y int) error { //@faulty.Leaf

	return nil
}
func (*faulty) Late(string, *Socket, context.Context) {} //@faulty.Late
func (*faulty) Many( //@faulty.Many
	*Socket,
	...*Socket,
) {
}
func (*faulty) OnOpen(*Socket) error { return nil } //@faulty.OnOpen
func (*faulty) OnClose(error)        {}             //@faulty.OnClose
func (*faulty) Trap(*Socket) *Error  { return nil } //@faulty.Trap

func TestEveryProblemInOneMessage(t *testing.T) {
	want := marked(t, `wsctl: 8 problems with controller *wsctl.faulty:
	@faulty.Chan: Chan: its argument chan int is nothing that JSON can carry
	@faulty.Leaf: Leaf: it takes 2 arguments after the *wsctl.Socket: take one struct
	@faulty.Late: Late: the *wsctl.Socket isn't the first parameter, or the second after a context.Context
	@faulty.Late: Late: the context.Context isn't the first parameter, and the only one
	@faulty.Many: Many: it is variadic: take a slice as its one argument
	@faulty.OnOpen: OnOpen: the hook is a func(*wsctl.Socket, *http.Request) error
	@faulty.OnClose: OnClose: the hook is a func(*wsctl.Socket, error)
	@faulty.Trap: Trap: its result *wsctl.Error is an error, and a nil one would not be nil: return error`)
	tabs := newTables(nil)
	for range 2 { // built, and found
		for _, check := range []func() error{
			func() error { return tabs.declare(&faulty{}) },
			func() error { _, err := tabs.bind(&faulty{}); return err },
		} {
			if err := check(); err == nil || err.Error() != want {
				t.Fatalf("got:\n%v\nwant:\n%s", err, want)
			}
		}
	}
	if rows := tabs.routes(); len(rows) > 0 {
		t.Errorf("a faulty controller is listed: %v", rows)
	}
}

// One faulty method each, M, in types that are declared at the mark.
type (
	fSocketTwice  struct{}
	fContextTwice struct{}
	fSocketFirst  struct{}
	fVariadic     struct{}
	fFuncIn       struct{}
	fComplexIn    struct{}
	fPointerIn    struct{}
	fIfaceIn      struct{}
	fErrorIn      struct{}
	fChanOut      struct{}
	fPtrFuncOut   struct{}
	fThreeOut     struct{}
	fNoErrorLast  struct{}
	fErrorTwice   struct{}
	fErrorFirst   struct{}
	fErrorIface   struct{}
	fSeqIn        struct{}
	fInSeqIn      struct{}
	fSeqOut       struct{}
	fSeqErrOut    struct{}
	fSeqBefore    struct{}
	fSeqNoError   struct{}
	fSeq1Out      struct{}
	fSeqTwo       struct{}
	fSeqPtr       struct{}
	fSeqUnnamed   struct{}
	fSeqVariadic  struct{}
	fSeqOutMore   struct{}
	fSeqChanIn    struct{}
	fSeqChanOut   struct{}
	fSeqNested    struct{}
	fHookUnknown  struct{}
)

type errorIface interface {
	error
	More()
}

func (*fSocketTwice) M(_, _ *Socket)                     {}
func (*fContextTwice) M(_, _ context.Context, _ *Socket) {}
func (*fSocketFirst) M(*Socket, context.Context)         {}
func (*fVariadic) M(*Socket, ...string)                  {}
func (*fFuncIn) M(*Socket, func())                       {}
func (*fComplexIn) M(*Socket, *complex128)               {}
func (*fPointerIn) M(*Socket, unsafe.Pointer)            {}
func (*fIfaceIn) M(*Socket, fmt.Stringer)                {}
func (*fErrorIn) M(*Socket, error)                       {}
func (*fChanOut) M(*Socket) (chan int, error)            { return nil, nil }
func (*fPtrFuncOut) M(*Socket) *func()                   { return nil }
func (*fThreeOut) M(*Socket) (int, int, error)           { return 0, 0, nil }
func (*fNoErrorLast) M(*Socket) (int, string)            { return 0, "" }
func (*fErrorTwice) M(*Socket) (error, error)            { return nil, nil }

//lint:ignore ST1008 that is the fault
func (*fErrorFirst) M(*Socket) (error, int)                                  { return nil, 0 }
func (*fErrorIface) M(*Socket) errorIface                                    { return nil }
func (*fSeqIn) M(*Socket, iter.Seq2[int, error]) error                       { return nil }
func (*fInSeqIn) M(context.Context, *Socket, int, iter.Seq2[int, error]) int { return 0 }
func (*fSeqOut) M(*Socket, int) iter.Seq2[string, error]                     { return nil }
func (*fSeqErrOut) M(*Socket) (iter.Seq2[string, error], error)              { return nil, nil }
func (*fSeqBefore) M(*Socket, iter.Seq2[int, error], int)                    {}
func (*fSeqNoError) M(*Socket, iter.Seq2[int, string])                       {}
func (*fSeq1Out) M(*Socket) iter.Seq[int]                                    { return nil }
func (*fHookUnknown) OnUnknown(context.Context, *Socket, Message) error      { return nil }

func (*fSeqTwo) M(*Socket, iter.Seq2[int, error], iter.Seq2[int, error]) {}
func (*fSeqPtr) M(*Socket, *iter.Seq2[int, error])                       {}
func (*fSeqUnnamed) M(*Socket, func(func(int, error) bool))              {}
func (*fSeqVariadic) M(*Socket, ...iter.Seq2[int, error])                {}
func (*fSeqOutMore) M(*Socket) (iter.Seq2[int, error], int, error)       { return nil, 0, nil }
func (*fSeqChanIn) M(*Socket, iter.Seq2[chan int, error])                {}
func (*fSeqChanOut) M(*Socket) iter.Seq2[chan int, error]                { return nil }
func (*fSeqNested) M(*Socket) iter.Seq2[iter.Seq2[int, error], error]    { return nil }

func TestForms(t *testing.T) {
	tests := []struct {
		c    any
		want string
	}{
		{&fSocketTwice{}, "M: it takes more than one *wsctl.Socket"},
		{&fContextTwice{}, "M: the *wsctl.Socket isn't the first parameter, or the second after a context.Context|M: the context.Context isn't the first parameter, and the only one"},
		{&fSocketFirst{}, "M: the context.Context isn't the first parameter, and the only one"},
		{&fVariadic{}, "M: it is variadic: take a slice as its one argument"},
		{&fFuncIn{}, "M: its argument func() is nothing that JSON can carry"},
		{&fComplexIn{}, "M: its argument *complex128 is nothing that JSON can carry"},
		{&fPointerIn{}, "M: its argument unsafe.Pointer is nothing that JSON can carry"},
		{&fIfaceIn{}, "M: its argument fmt.Stringer is an interface: JSON doesn't say which type to make"},
		{&fErrorIn{}, "M: its argument error is an interface: JSON doesn't say which type to make"},
		{&fChanOut{}, "M: its result chan int is nothing that JSON can carry"},
		{&fPtrFuncOut{}, "M: its result *func() is nothing that JSON can carry"},
		{&fThreeOut{}, "M: its results aren't (Out, error), Out, error or none"},
		{&fNoErrorLast{}, "M: its results aren't (Out, error), Out, error or none"},
		{&fErrorTwice{}, "M: its result is an error, and another error"},
		{&fErrorFirst{}, "M: its results aren't (Out, error), Out, error or none"},
		{&fErrorIface{}, "M: its result wsctl.errorIface is an error, and a nil one would not be nil: return error"},
		{&fSeqIn{}, ""},
		{&fInSeqIn{}, ""},
		{&fSeqOut{}, ""},
		{&fSeqErrOut{}, ""},
		{&fSeqBefore{}, "M: its sequence isn't the last argument"},
		{&fSeqNoError{}, "M: its argument iter.Seq2[int,string] is a sequence, but no iter.Seq2[T, error]"},
		{&fSeq1Out{}, "M: its result iter.Seq[int] is a sequence, but no iter.Seq2[T, error]"},
		{&fSeqTwo{}, "M: it takes 2 sequences: it can take one"},
		{&fSeqPtr{}, "M: its argument *iter.Seq2[int,error] is a pointer: a sequence is an iter.Seq2[T, error] itself"},
		{&fSeqUnnamed{}, "M: its argument func(func(int, error) bool) is a sequence, but no iter.Seq2[T, error]"},
		{&fSeqVariadic{}, "M: it is variadic: take a slice as its one argument"},
		{&fSeqOutMore{}, "M: its results aren't (iter.Seq2[Out, error], error) or iter.Seq2[Out, error]: a sequence has no other result beside it"},
		{&fSeqChanIn{}, "M: its argument iter.Seq2[chan int,error]: chan int is nothing that JSON can carry"},
		{&fSeqChanOut{}, "M: its result iter.Seq2[chan int,error]: chan int is nothing that JSON can carry"},
		{&fSeqNested{}, "M: its result iter.Seq2[iter.Seq2[int,error],error]: iter.Seq2[int,error] is a sequence in another: items are values"},
		{&fHookUnknown{}, "OnUnknown: the hook is a func(context.Context, *wsctl.Socket, wsctl.Message) (interface {}, error)"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%T", test.c), func(t *testing.T) {
			_, err := newTables(nil).bind(test.c)
			checkProblems(t, err, test.want)
		})
	}
}

// checkProblems compares the problems in err, without positions, with those of want, which | separates; want may be
// empty.
func checkProblems(t *testing.T, err error, want string) {
	t.Helper()
	var got []string
	if p, ok := err.(*problems); ok {
		for _, p := range p.list {
			got = append(got, strings.TrimPrefix(p.method+": "+p.text, ": "))
		}
	} else if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if got := strings.Join(got, "|"); got != marked(t, want) {
		t.Errorf("got  %s\nwant %s", got, marked(t, want))
	}
}

// A type that encodes and decodes itself may be of any kind.
type ownJSON complex128

func (*ownJSON) UnmarshalText([]byte) error  { return nil }
func (ownJSON) MarshalText() ([]byte, error) { return []byte("own"), nil }

type usesOwnJSON struct{}

func (usesOwnJSON) M(*Socket, ownJSON) ownJSON   { return 0 }
func (usesOwnJSON) P(*Socket, *ownJSON) *ownJSON { return nil }

func TestOwnJSONIsCarried(t *testing.T) {
	mustBind(t, usesOwnJSON{})
}

// ---- What a controller may be.

type (
	notFunc func()
	notMap  map[string]int
	notInt  int
)

func (notFunc) M(*Socket) {}
func (notMap) M(*Socket)  {}
func (*notInt) M(*Socket) {}

type nothing struct{}

func (nothing) String() string { return "" }

type onlyHook struct{}

func (onlyHook) OnClose(*Socket, error) {}

func TestKindsOfControllers(t *testing.T) {
	var err error
	pointer := &formController{}
	tests := []struct {
		c    any
		of   string
		kind string
	}{
		{nil, "<nil>", "nil"},
		{true, "bool", "of kind bool"},
		{1, "int", "of kind int"}, {int8(1), "int8", "of kind int8"}, {int16(1), "int16", "of kind int16"},
		{int32(1), "int32", "of kind int32"}, {int64(1), "int64", "of kind int64"},
		{uint(1), "uint", "of kind uint"}, {uint8(1), "uint8", "of kind uint8"}, {uint16(1), "uint16", "of kind uint16"},
		{uint32(1), "uint32", "of kind uint32"}, {uint64(1), "uint64", "of kind uint64"},
		{uintptr(1), "uintptr", "of kind uintptr"},
		{float32(1), "float32", "of kind float32"}, {1.5, "float64", "of kind float64"},
		{complex64(1), "complex64", "of kind complex64"}, {1i, "complex128", "of kind complex128"},
		{[1]int{}, "[1]int", "of kind array"}, {[]any{}, "[]interface {}", "of kind slice"},
		{make(chan int), "chan int", "of kind chan"}, {func() {}, "func()", "of kind func"},
		{map[int]int{}, "map[int]int", "of kind map"}, {"s", "string", "of kind string"},
		{unsafe.Pointer(pointer), "unsafe.Pointer", "of kind unsafe.Pointer"},
		{notFunc(nil), "wsctl.notFunc", "of kind func"}, {notMap{}, "wsctl.notMap", "of kind map"},
		{new(notInt), "*wsctl.notInt", "a pointer to kind int"},
		{&err, "*error", "a pointer to kind interface"},
		{&pointer, "**wsctl.formController", "a pointer to kind ptr"},
		{(*formController)(nil), "*wsctl.formController", "a nil pointer"},
	}
	for _, test := range tests {
		t.Run(test.of, func(t *testing.T) {
			c, err := newTables(nil).bind(test.c)
			want := "wsctl: 1 problem with controller " + test.of + ":\n\ta controller is a struct or a pointer to one, not " + test.kind
			if c != nil || err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestNothingToDo(t *testing.T) {
	const nothingToDo = "nothing to do: no method takes a *wsctl.Socket, and there is no hook"
	for _, test := range []struct {
		c    any
		want string
	}{
		{nothing{}, nothingToDo},
		{&nothing{}, nothingToDo},
		{struct{}{}, nothingToDo},
		{struct{ *slog.Logger }{slog.Default()}, nothingToDo},
		{onlyHook{}, ""},
		{&onlyHook{}, ""},
	} {
		t.Run(fmt.Sprintf("%T", test.c), func(t *testing.T) {
			_, err := newTables(nil).bind(test.c)
			checkProblems(t, err, test.want)
		})
	}
}

type hooked struct{ values }

func (*hooked) OnOpen(*Socket, *http.Request) error                      { return errOfMethod }
func (*hooked) OnClose(*Socket, error)                                   {}
func (*hooked) OnUnknown(context.Context, *Socket, Message) (any, error) { return "unknown", nil }

func TestHooks(t *testing.T) {
	c := mustBind(t, &hooked{})
	if got := exposedTypes(c); !slices.Equal(got, []string{"Value"}) {
		t.Errorf("routes %v", got)
	}
	if c.opener == nil || c.opener.OnOpen(nil, nil) != errOfMethod || c.closer == nil || c.fallback == nil {
		t.Errorf("hooks %v %v %v", c.opener, c.closer, c.fallback)
	}
	if c := mustBind(t, values{}); c.opener != nil || c.closer != nil || c.fallback != nil {
		t.Errorf("hooks %v %v %v", c.opener, c.closer, c.fallback)
	}
}

// ---- Receivers.

type values struct{ n int }

func (v values) Value(*Socket) int { return v.n } //@values.Value

type pointers struct{ n int }

func (p *pointers) Pointer(*Socket) int                 { p.n++; return p.n } //@pointers.Pointer
func (p *pointers) Faulty(*Socket, chan int)            {}
func (p *pointers) OnOpen(*Socket, *http.Request) error { return nil }
func (p *pointers) OnClose()                            {}
func (p *pointers) Plain()                              {}

type counts struct{ n int }

func (c *counts) Add(*Socket) int { c.n++; return c.n } //@counts.Add

type (
	embedsValue   struct{ counts }
	embedsPointer struct{ *counts }
)

func TestReceivers(t *testing.T) {
	const pass = ": it has a pointer receiver, but a value was passed: pass &wsctl."
	tests := []struct {
		c    any
		want string
	}{
		{values{}, ""},
		{&values{}, ""},
		{&counts{}, ""},
		{counts{}, "Add" + pass + "counts{}"},
		{embedsValue{}, "Add" + pass + "embedsValue{}"},
		{&embedsValue{}, ""},
		{embedsPointer{&counts{}}, ""},
		{&embedsPointer{&counts{}}, ""},
		{pointers{}, "Faulty" + pass + "pointers{}|Faulty: its argument chan int is nothing that JSON can carry|" +
			"OnClose: the hook is a func(*wsctl.Socket, error)|OnOpen" + pass + "pointers{}|Pointer" + pass + "pointers{}"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%T", test.c), func(t *testing.T) {
			_, err := newTables(nil).bind(test.c)
			checkProblems(t, err, test.want)
		})
	}
}

func TestReceiverIsTheControllersOwn(t *testing.T) {
	tabs := newTables(nil)
	one, two := &embedsValue{}, &embedsValue{}
	for _, step := range []struct {
		c    *embedsValue
		want int
	}{{one, 1}, {one, 2}, {two, 1}, {one, 3}} {
		c, err := tabs.bind(step.c)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := c.route([]byte("Add")).call(c, t.Context(), nil, nil, false); got != step.want {
			t.Errorf("got %v, want %d", got, step.want)
		}
	}
	c := mustBind(t, values{5})
	if got, _ := c.route([]byte("Value")).call(c, t.Context(), nil, nil, false); got != 5 {
		t.Errorf("got %v, want 5", got)
	}
}

// ---- Embedded fields.

// store is like *sql.DB: exported methods, some with a context.
type store struct{}

func (*store) Close() error                                     { return nil }
func (*store) Delete(ctx context.Context, id string) error      { return nil }
func (*store) QueryContext(context.Context, string, ...any) any { return nil }
func (*store) Stats() int                                       { return 0 }

// likeSocket has the methods of a Socket that matter here.
type likeSocket struct{}

func (*likeSocket) ID() string               { return "" }
func (*likeSocket) OnClose(func(error))      {} //@likeSocket.OnClose
func (*likeSocket) Send(string, any) error   { return nil }
func (*likeSocket) Context() context.Context { return nil }

type lobby struct{ greeting string }

func (l *lobby) Say(*Socket) string     { return l.greeting } //@lobby.Say
func (l *lobby) String() string         { return "lobby" }
func (l *lobby) OnClose(*Socket, error) {} //@lobby.OnClose

type game struct{}

func (game) Say(*Socket)    {} //@game.Say
func (game) Move(*Socket)   {} //@game.Move
func (game) String() string { return "game" }

type inner struct{ lobby }

type sayer interface{ Say(*Socket) string }

type hasField struct{ Say string }

type (
	usesStore struct {
		*store
		*slog.Logger
		*http.Server
		counts
	}
	usesSocket struct {
		*Socket
		*likeSocket
		counts
	}
	composed struct {
		*lobby
		counts
	}
	deeper struct {
		inner
		game
	}
	overrides struct {
		lobby
		game
		hasField
	}
	hiding struct {
		lobby
		game
	}
	hidingDeep struct{ *hiding }
	hidingHook struct {
		lobby
		*likeSocket
	}
	hidingField struct {
		game
		hasField
	}
	hidingIface struct {
		game
		sayer
	}
	left    struct{ *game }
	right   struct{ *game }
	diamond struct {
		left
		right
	}
	under       struct{ game }
	leftDeep    struct{ *under }
	rightDeep   struct{ *under }
	diamondDeep struct {
		leftDeep
		rightDeep
	}
	secret1 interface{ secret(*Socket) }
	secret2 interface{ secret(*Socket) }
	secrets struct {
		secret1
		secret2
		counts
	}
	plainHiding struct {
		*store
		*likeSocket
		counts
		values
	}
	cycle struct {
		*cycle
		game
	}
	ring1 struct {
		*ring2
		counts
	}
	ring2    struct{ *ring1 }
	shadowed struct {
		deeper
		Say string
	}
)

func (overrides) Say(*Socket, formLine) {}

func TestEmbedded(t *testing.T) {
	const each = " hide each other, so that Go promotes neither: declare one on wsctl."
	b := &lobby{"hi"}
	tests := []struct {
		name   string
		c      any
		routes string
		want   string
	}{
		{"store, logger and server", &usesStore{&store{}, slog.Default(), &http.Server{}, counts{}}, "Add", ""},
		{"nil store, logger and server", &usesStore{}, "Add", ""},
		{"socket", &usesSocket{&Socket{}, &likeSocket{}, counts{}}, "Add", ""},
		{"socket alone", &struct {
			*Socket
			counts
		}{}, "Add", ""},
		{"nil socket", &usesSocket{}, "Add", ""},
		{"two controllers", &composed{b, counts{}}, "Add Say", ""},
		{"two controllers by value", composed{&lobby{}, counts{}}, "", "Add: it has a pointer receiver, but a value was passed: pass &wsctl.composed{}"},
		{"a shallower one wins", &deeper{}, "Move Say", ""},
		{"an outer one wins", &overrides{}, "Move Say", ""},
		{"an outer field wins", &shadowed{}, "Move", ""},
		{"two hide each other", &hiding{}, "", "Say: those of game (@game.Say) and lobby (@lobby.Say)" + each + "hiding"},
		{"deep inside", &hidingDeep{&hiding{}}, "", "Say: those of hiding.game (@game.Say) and hiding.lobby (@lobby.Say)" + each + "hidingDeep"},
		{"a hook and a socket's method", &hidingHook{}, "", "OnClose: those of likeSocket (@likeSocket.OnClose) and lobby (@lobby.OnClose)" + each + "hidingHook"},
		{"a route and a field", &hidingField{}, "", "Say: those of game (@game.Say) and field hasField.Say" + each + "hidingField"},
		{"a route and an interface's", &hidingIface{game{}, b}, "", "Say: those of game (@game.Say) and sayer" + each + "hidingIface"},
		{"one type twice", &diamond{left{&game{}}, right{&game{}}}, "", "Move: those of left.game (@game.Move) and right.game (@game.Move)" + each + "diamond|" +
			"Say: those of left.game (@game.Say) and right.game (@game.Say)" + each + "diamond"},
		{"below a type twice", &diamondDeep{leftDeep{&under{}}, rightDeep{&under{}}}, "", "Move: those of leftDeep.under.game (@game.Move) and rightDeep.under.game (@game.Move)" + each + "diamondDeep|" +
			"Say: those of leftDeep.under.game (@game.Say) and rightDeep.under.game (@game.Say)" + each + "diamondDeep"},
		{"unexported methods hide each other", &secrets{secret1(nil), secret2(nil), counts{}}, "Add", ""},
		{"methods that are no routes hide each other", &plainHiding{}, "Add Value", ""},
		{"itself", &cycle{cycle: nil}, "Move Say", ""},
		{"a ring", &ring1{ring2: &ring2{ring1: nil}}, "Add", ""},
		{"anonymous struct", &struct{ *lobby }{b}, "Say", ""},
		{"anonymous struct by value", struct{ *lobby }{b}, "Say", ""},
		{"interface", struct{ sayer }{b}, "Say", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := newTables(nil).bind(test.c)
			checkProblems(t, err, test.want)
			if c == nil {
				return
			}
			if got := strings.Join(exposedTypes(c), " "); got != test.routes {
				t.Errorf("routes %s, want %s", got, test.routes)
			}
			if r := c.route([]byte("Say")); r != nil && r.out {
				b.greeting = test.name
				got, err := r.call(c, t.Context(), nil, nil, false)
				if want := test.name; err != nil || got != want && got != "" {
					t.Errorf("Say: %v, %v", got, err)
				}
			}
		})
	}
}

func TestPositionOfHidden(t *testing.T) {
	_, err := newTables(nil).bind(&hiding{})
	want := marked(t, "wsctl: 1 problem with controller *wsctl.hiding:\n\t@game.Say: Say: those of game (@game.Say) and lobby ")
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s…", err, want)
	}
}

type (
	nilDeep  struct{ *composed }
	nilIface struct{ sayer }
	nilSaved struct{ *lobby }
	nilHook  struct {
		*onlyHook
		counts
	}
)

func (nilSaved) Say(*Socket)            {}
func (nilSaved) OnClose(*Socket, error) {}

func TestNilEmbedded(t *testing.T) {
	tests := []struct {
		name string
		c    any
		want string
	}{
		{"pointer", &composed{}, "OnClose: it is promoted from wsctl.composed.lobby, which is nil; also Say"},
		{"pointer, by value", struct{ *lobby }{}, "OnClose: it is promoted from struct { *wsctl.lobby }.lobby, which is nil; also Say"},
		{"set", &composed{lobby: &lobby{}}, ""},
		{"outer of two", &nilDeep{}, "Add: it is promoted from wsctl.nilDeep.composed, which is nil|" +
			"OnClose: it is promoted from wsctl.nilDeep.composed, which is nil; also Say"},
		{"inner of two", &nilDeep{&composed{}}, "OnClose: it is promoted from wsctl.nilDeep.composed.lobby, which is nil; also Say"},
		{"both set", &nilDeep{&composed{lobby: &lobby{}}}, ""},
		{"interface", &nilIface{}, "Say: it is promoted from wsctl.nilIface.sayer, which is nil"},
		{"interface set", &nilIface{&lobby{}}, ""},
		{"hook", &nilHook{}, "OnClose: it is promoted from wsctl.nilHook.onlyHook, which is nil"},
		{"all overridden", &nilSaved{}, ""},
	}
	tabs := newTables(nil)
	for _, test := range tests { // of one type several: the table is of the type, nil of the value
		t.Run(test.name, func(t *testing.T) {
			_, err := tabs.bind(test.c)
			checkProblems(t, err, test.want)
			checkProblems(t, tabs.declare(test.c), test.want)
		})
	}
	_, err := tabs.bind(&composed{})
	if want := marked(t, "\n\t@lobby.OnClose: OnClose: it is promoted"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// ---- Generic controllers.

type shelf[K comparable, V any] struct{ m map[K]V }

func (s *shelf[K, V]) Put(_ *Socket, in struct { //@shelf.Put
	Key   K
	Value V
}) {
	s.m[in.Key] = in.Value
}

func (s shelf[K, V]) Get(_ *Socket, k K) (V, error) { //@shelf.Get
	return s.m[k], nil
}

type library struct {
	*shelf[string, int]
}

func TestGenericControllers(t *testing.T) {
	tabs := newTables(nil)
	for _, controller := range []any{
		&shelf[string, int]{m: map[string]int{}},
		&library{&shelf[string, int]{m: map[string]int{}}},
	} {
		if err := tabs.declare(controller); err != nil {
			t.Fatal(err)
		}
		c, _ := tabs.bind(controller)
		if _, err := c.route([]byte("Put")).call(c, t.Context(), nil, []byte(`{"Key":"a","Value":3}`), false); err != nil {
			t.Fatal(err)
		}
		if got, err := c.route([]byte("Get")).call(c, t.Context(), nil, []byte(`"a"`), false); got != 3 || err != nil {
			t.Errorf("%T: Get: %v, %v", controller, got, err)
		}
	}
	var got []string
	for _, r := range tabs.routes() {
		got = append(got, r.Method+" "+r.Pos)
	}
	get, put := marked(t, "Get @shelf.Get"), marked(t, "Put @shelf.Put")
	if want := []string{get, put, get, put}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
