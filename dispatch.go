package wsctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"sync/atomic"
	"unsafe"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// controller is a value with its table. A nil controller has no routes.
type controller struct {
	value any
	recv  reflect.Value // of value
	table *table

	opener   Opener // the hooks that value has, else nil
	closer   Closer
	fallback Fallback
}

// route is one method that clients can reach.
type route struct {
	name     string // the message type
	kind     string // of a Route
	ctx      bool   // takes a context
	out      bool   // has a result beside the error
	err      bool   // its last result is an error
	stream   bool   // its result is a sequence
	method   string // the Go name
	pos      string // file:line
	fn       reflect.Value
	in       dataType     // In; without a type: it has none
	indirect reflect.Type // Out, if it is a struct that an interface holds by a pointer

	upload reflect.Type // Item of its argument sequence; nil: it has none
	seq    reflect.Type // that sequence
	item   dataType     // Item
}

// dataType is a type that data is decoded into.
type dataType struct {
	typ      reflect.Type  // what a pointer points to
	absent   reflect.Value // the nil one of a pointer, else invalid
	raw      bool          // takes the bytes as they are
	validate bool          // typ or *typ has Validate
}

// goType is the type that d was made of.
func (d *dataType) goType() reflect.Type {
	if d.absent.IsValid() {
		return d.absent.Type()
	}
	return d.typ
}

// Kinds of a Route.
const (
	routeCall    = "call"    // has a result
	routeMessage = "message" // has none; may be called too
	routeUpload  = "upload"  // takes a sequence, with a result or without
	routeStream  = "stream"  // its result is a sequence; may take one too
	routeHook    = "hook"
)

type validator interface{ Validate() error }

// What a method finds wrong with its use of the client's items.
var (
	errRangedTwice = errors.New("wsctl: the client's items can be ranged over only once")
	errItemsOver   = errors.New("wsctl: the client's items were ranged over after the call's end")
)

// What the yield of a sequence answers.
var (
	yieldMore = []reflect.Value{reflect.ValueOf(true)}
	yieldStop = []reflect.Value{reflect.ValueOf(false)}
	noError   = reflect.Zero(errorType)
)

// streams reports whether the method's result or an argument is a sequence: it runs beside the order, on a goroutine of
// its own.
func (r *route) streams() bool { return r.stream || r.upload != nil }

// call decodes data (nil: absent) into the method's In, validates it, and calls the method on c. A failure to decode is
// an [*Error] of CodeBadRequest that says where; the result of a method without an Out is nil. encode says that the
// result is for nothing but to be encoded. The method doesn't stream.
func (r *route) call(c *controller, ctx context.Context, s *Socket, data []byte, encode bool) (any, error) {
	var buf [4]reflect.Value
	args, err := r.args(buf[:0], c, ctx, s, data)
	if err != nil {
		return nil, err
	}
	out := r.fn.Call(args)
	if err := r.failure(out); err != nil || !r.out {
		return nil, err
	}
	if encode {
		return r.toEncode(out[0]), nil
	}
	return out[0].Interface(), nil
}

// args appends the method's arguments to list, but for a sequence.
func (r *route) args(list []reflect.Value, c *controller, ctx context.Context, s *Socket, data []byte) ([]reflect.Value, error) {
	list = append(list, c.recv)
	if r.ctx {
		ctx := ctx // only a method that takes it has it moved to the heap
		list = append(list, reflect.ValueOf(&ctx).Elem())
	}
	list = append(list, reflect.ValueOf(s))
	if r.in.typ != nil {
		in, err := r.in.decode(data)
		if err != nil {
			return nil, err
		}
		list = append(list, in)
	}
	return list, nil
}

// failure is the error among the method's results.
func (r *route) failure(out []reflect.Value) error {
	if !r.err || out[len(out)-1].IsNil() {
		return nil
	}
	return out[len(out)-1].Interface().(error)
}

// toEncode returns an Out that is for nothing but to be encoded. Nobody else may have it: it must be fresh from reflect.
func (r *route) toEncode(out reflect.Value) any {
	v := out.Interface()
	if r.indirect == nil {
		return v
	}
	// JSON is made from what can be addressed: of a struct it would make a copy, a twentieth of a call's time. Call and
	// MakeFunc have just made this one, and it is what the interface's second word points to.
	p := (*[2]unsafe.Pointer)(unsafe.Pointer(&v))[1]
	return reflect.NewAt(r.indirect, p).Interface()
}

// callStream calls a method that streams, as call does, and returns when both the method and the sequence that it has
// returned have ended. items are those of the client's stream, each good until the next, for a method that takes them.
// emit is given each value of the method's sequence, for nothing but to be encoded before it returns, and says whether
// more is wanted; the sequence's error ends it and is returned.
func (r *route) callStream(c *controller, ctx context.Context, s *Socket, data []byte, items iter.Seq2[[]byte, error], emit func(v any) bool) (result any, err error) {
	var buf [5]reflect.Value
	args, err := r.args(buf[:0], c, ctx, s, data)
	if err != nil {
		return nil, err
	}
	if r.upload != nil {
		var state atomic.Int32
		defer state.Store(itemsOver)
		args = append(args, r.itemSeq(items, &state))
	}
	out := r.fn.Call(args)
	if err := r.failure(out); err != nil || !r.out {
		return nil, err
	}
	if r.stream {
		return nil, r.emitAll(out[0], emit)
	}
	return out[0].Interface(), nil
}

// States of the client's items.
const (
	itemsFresh  int32 = iota
	itemsRanged       // once is all
	itemsOver         // the call has ended
)

// itemSeq makes the method's sequence of the client's items, as Items. It yields one error for what it can't give. The
// state keeps a goroutine that the method has left behind away from the items.
func (r *route) itemSeq(items iter.Seq2[[]byte, error], state *atomic.Int32) reflect.Value {
	return reflect.MakeFunc(r.seq, func(args []reflect.Value) []reflect.Value {
		yield := args[0]
		fail := func(err error) {
			yield.Call([]reflect.Value{reflect.Zero(r.upload), reflect.ValueOf(&err).Elem()})
		}
		if !state.CompareAndSwap(itemsFresh, itemsRanged) {
			if state.Load() == itemsOver {
				fail(errItemsOver)
			} else {
				fail(errRangedTwice)
			}
			return nil
		}
		pair := [2]reflect.Value{1: noError}
		for data, err := range items {
			if err == nil && state.Load() == itemsOver {
				err = errItemsOver
			}
			if err == nil {
				pair[0], err = r.item.decode(data)
			}
			if err != nil {
				fail(err)
				return nil
			}
			if !yield.Call(pair[:])[0].Bool() {
				return nil
			}
			if state.Load() == itemsOver { // before the client is asked for more of a call that has had its end
				fail(errItemsOver)
				return nil
			}
		}
		return nil
	})
}

// emitAll gives emit the values of a sequence.
func (r *route) emitAll(seq reflect.Value, emit func(v any) bool) (err error) {
	if seq.IsNil() {
		return nil
	}
	// A sequence may break the rules: yield again after it was told to stop, after its end, or from several goroutines.
	// Each yield takes its turn, a later one finds that it has stopped, and one that doesn't get a turn is a fault.
	var (
		turn    = make(chan struct{}, 1)
		stopped bool // guarded by turn, as is err
		crossed atomic.Bool
	)
	defer func() {
		turn <- struct{}{} // for good, once a yield that is under way elsewhere has returned
		if err == nil && crossed.Load() {
			err = fmt.Errorf("wsctl: the sequence of %s yielded from several goroutines at once", r.method)
		}
	}()
	yield := reflect.MakeFunc(seq.Type().In(0), func(args []reflect.Value) []reflect.Value {
		select {
		case turn <- struct{}{}:
		default:
			crossed.Store(true)
			return yieldStop
		}
		defer func() { <-turn }()
		if stopped {
			return yieldStop
		}
		stopped = true // also if emit panics
		if !args[1].IsNil() {
			err = args[1].Interface().(error)
			return yieldStop
		}
		if !emit(r.toEncode(args[0])) {
			return yieldStop
		}
		stopped = false
		return yieldMore
	})
	seq.Call([]reflect.Value{yield})
	return err
}

// decode makes a value of data; nil: absent.
func (d *dataType) decode(data []byte) (v reflect.Value, err error) {
	isPointer := d.absent.IsValid()
	if isPointer && (data == nil || string(bytes.TrimSpace(data)) == "null") {
		return d.absent, nil
	}
	p := reflect.New(d.typ)
	switch {
	case data == nil:
	case d.raw:
		p.Elem().SetBytes(bytes.Clone(data))
	default:
		if err := json.Unmarshal(data, p.Interface()); err != nil {
			return v, decodeError(err)
		}
	}
	if d.validate {
		if err := p.Interface().(validator).Validate(); err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				err = &Error{Code: CodeBadRequest, Message: err.Error()}
			}
			return v, err
		}
	}
	if isPointer {
		return p, nil
	}
	return p.Elem(), nil
}

// decodeError tells the client where its data is wrong, and nothing of the Go program.
func decodeError(err error) *Error {
	where := func(p jsontext.Pointer) string {
		if p == "" {
			return "data: "
		}
		return "data at " + quoteCut(string(p)) + ": "
	}
	e := &Error{Code: CodeBadRequest, Message: "data: malformed JSON"}
	switch err := err.(type) {
	case *json.SemanticError:
		found, want := kindName(err.JSONKind), wantName(err.GoType)
		text := found + " doesn't fit"
		if want != "" && want != found && found != "value" {
			text = "found " + found + ", want " + want
		}
		e.Message = where(err.JSONPointer) + text
	case *jsontext.SyntacticError:
		text := "malformed JSON"
		if err.Err == jsontext.ErrDuplicateName {
			text = "duplicate name"
		}
		e.Message = where(err.JSONPointer) + text
	}
	return e
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	case '"':
		return "string"
	case '0':
		return "number"
	case '{', '}':
		return "object"
	case '[', ']':
		return "array"
	}
	return "value"
}

// wantName is the kind of JSON that a plain Go type is decoded from, empty for one that decodes itself.
func wantName(t reflect.Type) string {
	if t == nil || implementsAny(t, decoders) {
		return ""
	}
	switch k := t.Kind(); {
	case k == reflect.Bool:
		return "boolean"
	case k == reflect.String, k == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return "string"
	case k >= reflect.Int && k <= reflect.Float64:
		return "number"
	case k == reflect.Slice, k == reflect.Array && t.Elem().Kind() != reflect.Uint8:
		return "array"
	case k == reflect.Map, k == reflect.Struct:
		return "object"
	}
	return ""
}

// route returns the route of a message type, or nil.
func (c *controller) route(typ []byte) *route {
	if c == nil {
		return nil
	}
	return c.table.byName[string(typ)]
}

// nearest returns the message type that typ may have been meant to be, or "".
func (c *controller) nearest(typ string) string {
	if c == nil {
		return ""
	}
	return nearest(c.table.names, typ)
}

// same reports whether c and d are one controller.
func (c *controller) same(d *controller) bool {
	if c == nil || d == nil || c == d {
		return c == d
	}
	return c.table.typ == d.table.typ && c.recv.Comparable() && c.value == d.value
}
