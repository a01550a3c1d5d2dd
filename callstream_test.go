package wsctl

import (
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json"
)

// What stands between the socket's streams and a method's sequences.

type streamController struct {
	seq   iter.Seq2[int, error]           // what Ints returns
	err   error                           // what IntsErr returns
	sum   func(iter.Seq2[int, error])     // what Sum does
	raws  []jsonv1.RawMessage             // of Raw
	kept  iter.Seq2[int, error]           // of Keep
	lines func(yield func(formLine) bool) // what Lines yields
}

func (c *streamController) Ints(*Socket) iter.Seq2[int, error]             { return c.seq }
func (c *streamController) IntsErr(*Socket) (iter.Seq2[int, error], error) { return c.seq, c.err }
func (c *streamController) Sum(_ *Socket, start int, seq iter.Seq2[int, error]) (sum int, err error) {
	sum = start
	for n, err := range seq {
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
func (c *streamController) Use(_ *Socket, seq iter.Seq2[int, error]) { c.sum(seq) }
func (c *streamController) Keep(_ *Socket, seq iter.Seq2[int, error]) iter.Seq2[int, error] {
	c.kept = seq
	return seq
}
func (c *streamController) Raw(_ *Socket, seq iter.Seq2[jsonv1.RawMessage, error]) error {
	for b, err := range seq {
		if err != nil {
			return err
		}
		c.raws = append(c.raws, b)
	}
	return nil
}
func (c *streamController) Checked(_ *Socket, seq iter.Seq2[*formChecked, error]) (list []string, err error) {
	for v, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, fmt.Sprint(v))
	}
	return list, nil
}
func (c *streamController) Lines(*Socket) iter.Seq2[formLine, error] {
	return func(yield func(formLine, error) bool) {
		c.lines(func(l formLine) bool { return yield(l, nil) })
	}
}

// itemsOf are a client's items, in one buffer that each overwrites.
func itemsOf(list ...string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte
		for _, s := range list {
			if buf = append(buf[:0], s...); !yield(buf, nil) {
				return
			}
		}
	}
}

// seqOfInts yields the numbers below n.
func seqOfInts(n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// stream calls a method that streams; what it yields is taken up to limit values, as JSON.
func (c *streamController) stream(t *testing.T, typ, data string, items iter.Seq2[[]byte, error], limit int) (got string, result any, err error) {
	t.Helper()
	ctl := mustBind(t, c)
	r := ctl.route([]byte(typ))
	if !r.streams() {
		t.Fatalf("%s doesn't stream", typ)
	}
	var list []string
	var b []byte // empty: absent
	if data != "" {
		b = []byte(data)
	}
	result, err = r.callStream(ctl, t.Context(), &Socket{}, b, items, func(v any) bool {
		b, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		list = append(list, string(b))
		return len(list) < limit
	})
	return strings.Join(list, " "), result, err
}

func TestStreamResults(t *testing.T) {
	failing := func(yield func(int, error) bool) {
		_ = yield(1, nil) && yield(2, errOfMethod) && yield(3, nil)
	}
	deaf := func(yield func(int, error) bool) {
		for i := range 5 {
			yield(i, nil)
		}
	}
	afterError := func(yield func(int, error) bool) {
		yield(1, errOfMethod)
		yield(2, errors.New("a later one"))
		yield(3, nil)
	}
	tests := []struct {
		name, typ string
		seq       iter.Seq2[int, error]
		err       error // of IntsErr
		limit     int
		want      string
		wantErr   error
	}{
		{"all", "Ints", seqOfInts(3), nil, 9, "0 1 2", nil},
		{"enough", "Ints", seqOfInts(3), nil, 2, "0 1", nil},
		{"nil", "Ints", nil, nil, 9, "", nil},
		{"nil and no error", "IntsErr", nil, nil, 9, "", nil},
		{"nil and error", "IntsErr", nil, errOfMethod, 9, "", errOfMethod},
		{"error first", "IntsErr", seqOfInts(3), errOfMethod, 9, "", errOfMethod},
		{"error within", "Ints", failing, nil, 9, "1", errOfMethod},
		{"deaf", "Ints", deaf, nil, 2, "0 1", nil},
		{"after an error", "Ints", afterError, nil, 9, "", errOfMethod},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := &streamController{seq: test.seq, err: test.err}
			got, result, err := c.stream(t, test.typ, "", nil, test.limit)
			if got != test.want || result != nil || err != test.wantErr {
				t.Errorf("got %q, %v, %v; want %q, %v", got, result, err, test.want, test.wantErr)
			}
		})
	}
}

func TestStreamOfStructs(t *testing.T) {
	c := &streamController{lines: func(yield func(formLine) bool) {
		_ = yield(formLine{"a", 1}) && yield(formLine{"b", 2})
	}}
	if got, _, err := c.stream(t, "Lines", "", nil, 9); got != `{"room":"a","n":1} {"room":"b","n":2}` || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestUploads(t *testing.T) {
	broken := func(yield func([]byte, error) bool) { _ = yield([]byte("1"), nil) && yield(nil, errOfMethod) }
	bad := func(text string) error { return &Error{Code: CodeBadRequest, Message: text} }
	tests := []struct {
		name, typ, data string
		items           iter.Seq2[[]byte, error]
		result          any
		err             error
	}{
		{"sum", "Sum", "4", itemsOf("1", "2"), 7, nil},
		{"none", "Sum", "4", itemsOf(), 4, nil},
		{"bad data", "Sum", `"x"`, itemsOf("1"), nil, bad("data: found string, want number")},
		{"bad item", "Sum", "", itemsOf("1", `"x"`, "2"), nil, bad("data: found string, want number")},
		{"broken by the client", "Sum", "", broken, nil, errOfMethod},
		{"validated", "Checked", "", itemsOf(`{"N":2}`, "null"), []string{"&{2}", "<nil>"}, nil},
		{"not valid", "Checked", "", itemsOf(`{"N":2}`, `{"N":0}`), nil, bad("n is missing")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, result, err := (&streamController{}).stream(t, test.typ, test.data, test.items, 9)
			if !reflect.DeepEqual(result, test.result) || !reflect.DeepEqual(err, test.err) {
				t.Errorf("got %v, %v; want %v, %v", result, err, test.result, test.err)
			}
		})
	}
}

func TestRawItemsAreCopies(t *testing.T) {
	c := &streamController{}
	if _, _, err := c.stream(t, "Raw", "", itemsOf("[1]", "[2]"), 9); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s", c.raws); got != "[[1] [2]]" {
		t.Errorf("the method has %s", got)
	}
}

func TestItemsOnce(t *testing.T) {
	c := &streamController{}
	c.sum = func(seq iter.Seq2[int, error]) {
		for range seq {
			break
		}
		n := 0
		for v, err := range seq {
			n++
			if v != 0 || err != errRangedTwice {
				t.Errorf("second range: %v, %v", v, err)
			}
		}
		if n != 1 {
			t.Errorf("the second range yields %d times", n)
		}
	}
	if _, _, err := c.stream(t, "Use", "", itemsOf("1", "2"), 9); err != nil {
		t.Error(err)
	}
	// Its result reads the items after the method has returned, but nobody does after the call.
	if got, _, err := c.stream(t, "Keep", "", itemsOf("1", "2"), 9); got != "1 2" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	n := 0
	for _, err := range c.kept {
		n++
		if err != errItemsOver {
			t.Errorf("after the call: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("after the call it yields %d times", n)
	}
}

func TestItemsOfAGoroutineLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, next, got := &streamController{}, make(chan string), make(chan error, 2)
		c.sum = func(seq iter.Seq2[int, error]) {
			go func() {
				defer close(got)
				for _, err := range seq {
					got <- err
				}
			}()
			synctest.Wait() // it waits for an item
		}
		items := func(yield func([]byte, error) bool) {
			for s := range next {
				if !yield([]byte(s), nil) {
					return
				}
			}
		}
		if _, _, err := c.stream(t, "Use", "", items, 9); err != nil {
			t.Error(err)
		}
		next <- "1"
		if err := <-got; err != errItemsOver {
			t.Errorf("got %v", err)
		}
		if err, more := <-got; more {
			t.Errorf("and then %v", err)
		}
	})
}

func TestStreamYieldsFromSeveralGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var late func(int, error) bool
		c := &streamController{seq: func(yield func(int, error) bool) {
			late = yield
			go yield(1, nil)
			synctest.Wait() // it is being emitted
			if yield(2, nil) {
				t.Error("a yield beside another is answered with true")
			}
			close(release)
		}}
		ctl := mustBind(t, c)
		emitted := 0
		_, err := ctl.route([]byte("Ints")).callStream(ctl, t.Context(), nil, nil, nil, func(any) bool {
			<-release
			emitted++
			return true
		})
		if emitted != 1 || err == nil || !strings.Contains(err.Error(), "several goroutines") {
			t.Errorf("%d emitted, %v", emitted, err)
		}
		if late(3, nil) || emitted != 1 {
			t.Error("a yield after the call's end is emitted, or answered with true")
		}
	})
}

func TestStreamPanics(t *testing.T) {
	c := &streamController{
		seq: func(yield func(int, error) bool) { yield(1, nil); panic("of the sequence") },
		sum: func(seq iter.Seq2[int, error]) {
			for range seq {
				panic("of the loop")
			}
		},
	}
	for typ, want := range map[string]string{"Ints": "of the sequence", "Use": "of the loop"} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("%s: recovered %v", typ, got)
				}
			}()
			_, _, err := c.stream(t, typ, "", itemsOf("1"), 9)
			t.Errorf("%s returned %v", typ, err)
		}()
	}
}

func TestStreamKinds(t *testing.T) {
	c := mustBind(t, &streamController{})
	for typ, want := range map[string]string{"Ints": routeStream, "Keep": routeStream, "Sum": routeUpload, "Use": routeUpload} {
		if r := c.route([]byte(typ)); r.kind != want || !r.streams() {
			t.Errorf("%s: kind %q, streams %v", typ, r.kind, r.streams())
		}
	}
	if mustBind(t, &sayController{}).route([]byte("Say")).streams() {
		t.Error("Say streams")
	}
}

// BenchmarkCallStream is what an item costs between a method and its socket.
func BenchmarkCallStream(b *testing.B) {
	for _, typ := range []string{"Ints", "Lines", "Use"} {
		b.Run(typ, func(b *testing.B) {
			b.ReportAllocs()
			ctl := mustBind(b, &streamController{
				seq: seqOfInts(b.N),
				lines: func(yield func(formLine) bool) {
					for range b.N {
						yield(formLine{"a", 1})
					}
				},
				sum: func(seq iter.Seq2[int, error]) {
					for range seq {
					}
				},
			})
			items := func(yield func([]byte, error) bool) {
				data := []byte("7")
				for range b.N {
					yield(data, nil)
				}
			}
			emit := func(any) bool { return true }
			if _, err := ctl.route([]byte(typ)).callStream(ctl, b.Context(), nil, nil, items, emit); err != nil {
				b.Fatal(err)
			}
		})
	}
}
