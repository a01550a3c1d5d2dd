package sim

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// callTypes are the methods of call. There is no Nothing.
var callTypes = []string{"Add", "Work", "Add", "Work", "Add", "Work", "Fail", "Nothing", "Add", "Work", "Crash"}

// ended notes how a call ended.
func (p *player) ended(call *calling, err error) {
	o := outcome(err)
	p.w.ended(call, o)
	if o == wsctl.CodeUnavailable {
		p.mu.Lock()
		p.unavailable++
		p.mu.Unlock()
	}
	if strings.HasPrefix(o, "other") || o == wsctl.CodeBadRequest {
		p.breach("outcome", "%s", o)
	}
}

// call calls a method, and cancels now and then.
func (p *player) call(typ string, j job, timeout time.Duration) {
	n, call := p.w.newCall()
	j.N = n
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if n%4 == 0 {
		defer time.AfterFunc(timeout/2, cancel).Stop()
	}
	p.w.trace.add(event{what: "call", typ: typ, a: int64(p.id), id: int64(n)})
	answer, err := client.Call[int](ctx, p.c, typ, j)
	if err == nil && answer != n+1 {
		p.breach("calls", "%s %d is answered with %d", typ, n, answer)
	}
	o := outcome(err)
	p.w.trace.add(event{what: "call ends", typ: typ, a: int64(p.id), id: int64(n), text: o})
	if o == "ok" && (typ == "Fail" || typ == "Crash" || typ == "Nothing") || o == "custom" && typ != "Fail" ||
		o == wsctl.CodeNotFound && typ != "Nothing" {
		p.breach("calls", "%s ends with %s", typ, o)
	}
	p.ended(call, err)
}

// stream takes a stream.
func (p *player) stream(j job, timeout time.Duration, stop int) {
	n, call := p.w.newCall()
	j.N = n
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	p.items(call, client.Stream[payload](ctx, p.c, "Count", j), j, stop, j.Items)
}

// items takes a stream of 1, 2, … up to all, whole if it ends well.
func (p *player) items(call *calling, items iter.Seq2[payload, error], j job, stop, all int) {
	last := 0
	var end error
	stopped := false
	for item, err := range items {
		if err != nil {
			end = err
			continue
		}
		if end != nil {
			p.breach("stream", "call %d: an item after the end", j.N)
		}
		if item.N != last+1 {
			p.breach("stream", "call %d: item %d after %d", j.N, item.N, last)
		}
		if last = item.N; last == stop {
			stopped = true
			break
		}
		if j.Items%3 == 0 {
			time.Sleep(5 * time.Millisecond) // so that credit runs out
		}
	}
	p.w.report.add("stream items", last)
	switch {
	case stopped:
		p.w.ended(call, "stopped")
		return
	case end == nil && last != all && last != j.Break:
		p.breach("stream", "call %d: a good end after %d of %d", j.N, last, all)
	}
	p.ended(call, end)
}

// numbers yields 1 to n.
func (p *player) numbers(ctx context.Context, n int, pause time.Duration, fail int) iter.Seq2[payload, error] {
	return func(yield func(payload, error) bool) {
		for i := 1; i <= n; i++ {
			if i == fail {
				yield(payload{}, wsctl.Errorf("torn", "at %d", i))
				return
			}
			if err := sleep(ctx, pause); err != nil {
				yield(payload{}, err)
				return
			}
			if !yield(payload{N: i}, nil) {
				return
			}
		}
	}
}

// upload streams to a method.
func (p *player) upload(j job, timeout time.Duration, stop int) {
	n, call := p.w.newCall()
	j.N = n
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	items := p.numbers(ctx, j.Items, time.Duration(j.Pause/2), stop)
	got, err := client.Upload[int](ctx, p.c, "Sum", j, items)
	if err == nil {
		p.w.report.add("upload items", got)
		if got != j.Items && got != j.Break {
			p.breach("upload", "call %d: %d items of %d arrived", n, got, j.Items)
		}
	}
	p.ended(call, err)
}

// exchange streams both ways.
func (p *player) exchange(j job, timeout time.Duration, stop int) {
	n, call := p.w.newCall()
	j.N = n
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	items := p.numbers(ctx, j.Items, time.Duration(j.Pause/2), 0)
	p.items(call, client.Exchange[payload](ctx, p.c, "Mirror", j, items), j, stop, j.Items)
}
