package wsctlnats

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// TestRounds has some wait at once for a thing that takes its time.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Broker{}
		b.ctx, b.cancel = context.WithCancel(t.Context())
		turns := make(chan error)
		done := 0
		x := &rounds{b: b, do: func(ctx context.Context) error {
			done++
			select {
			case err := <-turns:
				return err
			case <-ctx.Done():
				return ctx.Err()
			case <-b.ctx.Done():
				return errClosed
			}
		}}
		results := make(map[string]error)
		wait := func(ctx context.Context, names ...string) {
			for _, name := range names {
				go func() {
					err := x.wait(ctx)
					b.mu.Lock()
					defer b.mu.Unlock()
					results[name] = err
				}()
			}
			synctest.Wait()
		}
		check := func(count, times int) {
			t.Helper()
			synctest.Wait()
			if len(results) != count || done != times {
				t.Fatalf("%d have what they want, want %d: %v; it was done %d times, want %d", len(results), count, results, done, times)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait(t.Context(), "first")
		wait(t.Context(), "second", "third", "fourth")
		wait(ctx, "impatient")
		check(0, 1)
		cancel()
		check(1, 1)
		turns <- nil
		check(2, 2)
		failure := errors.New("failure")
		turns <- failure
		check(5, 2)
		alone, cancel := context.WithCancel(t.Context())
		wait(alone, "alone")
		wait(t.Context(), "after it")
		check(5, 3)
		cancel()
		check(6, 4)
		turns <- nil
		check(7, 4)
		for name, want := range map[string]error{"impatient": context.Canceled, "first": nil, "second": failure, "third": failure, "fourth": failure, "alone": context.Canceled, "after it": nil} {
			if got, ok := results[name]; !ok || got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		wait(t.Context(), "late")
		b.mu.Lock()
		b.closed = true
		b.mu.Unlock()
		b.cancel()
		check(8, 5)
		wait(t.Context(), "too late")
		check(9, 6)
		if results["late"] == nil || results["too late"] != errClosed {
			t.Errorf("closed: %v", results)
		}
	})
}
