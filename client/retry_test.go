package client

import (
	"testing"
	"time"
)

// The table of close codes, word for word.
func TestJudge(t *testing.T) {
	type v = verdict
	again, final, now, asNew := v{}, v{final: true}, v{atOnce: true}, v{atOnce: true, forget: true}
	for code, want := range map[int]verdict{
		1000: final, 1001: again, 1012: again, 1013: again, 1005: again, 1006: again, 1011: again, 1014: again,
		1002: final, 1003: final, 1007: final, 1008: final, 1009: final, 1010: final,
		4000: again, 4001: again, 4400: final, 4401: now, 4403: final, 4404: final, 4408: again, 4409: asNew, 4429: again,
		4450: final, 4499: final, 4500: again, 4510: again, 4999: again, 3000: again,
	} {
		var r retry
		if got := r.judge(closedBy(code, ""), true); got != want {
			t.Errorf("%d: %+v, want %+v", code, got, want)
		}
	}
	for _, code := range []int{4401, 4409} {
		var r retry
		r.judge(closedBy(code, ""), true)
		r.judge(closedBy(1006, ""), true)
		if got := r.judge(closedBy(code, ""), true); !got.final {
			t.Errorf("a second %d isn't final", code)
		}
		r.stable()
		if got := r.judge(closedBy(code, ""), true); got.final {
			t.Errorf("%d after a stable connection is final", code)
		}
	}
	var r retry
	if got := r.judge(closedBy(4401, ""), false); !got.final {
		t.Error("4401 isn't final for a client that has no token to ask for")
	}
	if got := r.judge(garbage(4400, ""), true); got != (v{forget: true}) {
		t.Errorf("a server that breaks the protocol: %+v", got)
	}
}

func TestDelay(t *testing.T) {
	o := (*Options)(nil).withDefaults()
	var r retry
	for n, most := range []time.Duration{1, 2, 4, 8, 16, 20, 20, 20} {
		low, high := time.Hour, time.Duration(0)
		for range 500 {
			r.dials = n
			d := r.delay(&o)
			low, high = min(low, d), max(high, d)
		}
		most *= time.Second
		if low < 100*time.Millisecond || high > 100*time.Millisecond+most || low > most/4 || high < most*3/4 {
			t.Errorf("attempt %d: from %v to %v, want 100ms and up to %v", n, low, high, most)
		}
	}
	r.dials = 1000
	if d := r.delay(&o); d < 0 || d > 21*time.Second {
		t.Errorf("after 1000 attempts: %v", d)
	}
	for range 100 {
		r.away, r.min, r.max = true, time.Minute, 2*time.Minute
		if d := r.delay(&o); d < time.Minute || d > 2*time.Minute {
			t.Errorf("after $goaway: %v", d)
		}
	}
	if d := r.delay(&o); d > 21*time.Second {
		t.Errorf("after that of $goaway: %v", d)
	}
}
