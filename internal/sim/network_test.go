package sim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsctl/wsctl/internal/sim"
)

// tally counts what is written and read, each way.
type tally struct {
	mu            sync.Mutex // guards following
	written, read [2]bytes.Buffer
}

func (o *tally) Written(fromClient bool, b []byte) { o.note(&o.written, fromClient, b) }
func (o *tally) Read(fromClient bool, b []byte)    { o.note(&o.read, fromClient, b) }

func (o *tally) note(to *[2]bytes.Buffer, fromClient bool, b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := 0
	if fromClient {
		i = 1
	}
	to[i].Write(b)
}

// dial returns both ends of a conn, or fails.
func dial(t *testing.T, n *sim.Network, l net.Listener, client int) (mine, theirs net.Conn, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if mine, err = n.Dialer(client)(ctx, "", ""); err != nil {
		return nil, nil, err
	}
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return mine, theirs, nil
}

// What arrives is the beginning of what was written, in order; on a network without faults it is all of it. Ends that are
// cut hear of it, writers too.
func TestNetworkDelivers(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			o := &tally{}
			n := &sim.Network{Seed: seed, Heals: time.Now().Add(time.Hour), Faults: sim.Odds{MaxDelay: 50 * time.Millisecond, MinBuffer: 64},
				Observe: func(*sim.Conn) sim.Observer { return o }}
			if seed%2 == 1 {
				n.Faults.Every = 2 * time.Second
			}
			l := n.Listen()
			mine, theirs, err := dial(t, n, l, 1)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			var sent, got [2][]byte
			for i, c := range []net.Conn{mine, theirs} {
				other := []net.Conn{theirs, mine}[i]
				dice := rand.New(rand.NewPCG(seed, uint64(i)))
				wg.Go(func() {
					for range 100 {
						b := make([]byte, 1+dice.IntN(300))
						for j := range b {
							b[j] = byte(dice.Uint32())
						}
						k, err := c.Write(b)
						sent[i] = append(sent[i], b[:k]...)
						if err != nil {
							return
						}
						time.Sleep(time.Duration(dice.IntN(200)) * time.Millisecond)
					}
				})
				wg.Go(func() { got[i], _ = io.ReadAll(other) })
			}
			wg.Go(func() {
				time.Sleep(5 * time.Minute) // more than all faults last
				mine.Close()
				time.Sleep(time.Minute)
				theirs.Close()
			})
			wg.Wait()
			for i := range sent {
				if !bytes.HasPrefix(sent[i], got[i]) || seed%2 == 0 && i == 0 && len(got[i]) < len(sent[i]) {
					t.Errorf("seed %d, way %d: %d bytes were written, %d have come, or others", seed, i, len(sent[i]), len(got[i]))
				}
				if w, r := o.written[1-i].Bytes(), o.read[1-i].Bytes(); !bytes.Equal(w, sent[i]) || !bytes.Equal(r, got[i]) {
					t.Errorf("seed %d, way %d: seen were %d bytes of %d, and %d of %d", seed, i, len(w), len(sent[i]), len(r), len(got[i]))
				}
			}
		})
	}
}

// A seed does the same every time.
func TestNetworkRepeats(t *testing.T) {
	times := func(seed uint64) (all []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			n := &sim.Network{Seed: seed, Heals: begun.Add(time.Hour), Faults: sim.Odds{Every: time.Second, MaxDelay: time.Second, MinBuffer: 1 << 20}}
			l := n.Listen()
			mine, theirs, err := dial(t, n, l, 1)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 50 {
					mine.Write([]byte("x"))
					time.Sleep(100 * time.Millisecond)
				}
				mine.Close()
			})
			var b [1]byte
			for {
				if _, err := theirs.Read(b[:]); err != nil {
					break
				}
				all = append(all, time.Since(begun))
			}
			all = append(all, time.Since(begun))
			wg.Wait()
			theirs.Close()
		})
		return all
	}
	different := 0
	for seed := range uint64(20) {
		a, b := times(seed), times(seed)
		if len(a) != len(b) {
			t.Fatalf("seed %d: %d and %d reads", seed, len(a), len(b))
		}
		for i := range a {
			if a[i] != b[i] {
				t.Errorf("seed %d: read %d after %v, and after %v", seed, i, a[i], b[i])
			}
		}
		if c := times(seed + 1000); len(c) != len(a) || c[0] != a[0] {
			different++
		}
	}
	if different < 10 {
		t.Errorf("only %d seeds differ from another", different)
	}
}

// Deadlines end calls that wait, also when they are set meanwhile; Close ends them as well.
func TestNetworkWaiting(t *testing.T) {
	for _, c := range []struct {
		name  string
		at1   func(mine, theirs net.Conn)
		after time.Duration // at least
		want  error
	}{
		{"deadline", func(mine, _ net.Conn) { mine.SetDeadline(time.Now().Add(time.Second)) }, 2 * time.Second, os.ErrDeadlineExceeded},
		{"past deadline", func(mine, _ net.Conn) { mine.SetDeadline(time.Now().Add(-time.Second)) }, time.Second, os.ErrDeadlineExceeded},
		{"close", func(mine, _ net.Conn) { mine.Close() }, time.Second, net.ErrClosed},
	} {
		for _, write := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				n := &sim.Network{Faults: sim.Odds{MaxDelay: time.Millisecond}}
				l := n.Listen()
				mine, theirs, err := dial(t, n, l, 1)
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				time.AfterFunc(time.Second, func() { c.at1(mine, theirs) })
				if write {
					_, err = mine.Write(make([]byte, 1<<20))
				} else {
					_, err = mine.Read(make([]byte, 1))
				}
				if d := time.Since(begun); !errors.Is(err, c.want) || d != c.after {
					t.Errorf("%s, write %v: %v after %v", c.name, write, err, d)
				}
				mine.Close()
				theirs.Close()
			})
		}
	}
}

// The peer of a conn that is closed reads what was written, then io.EOF; what it writes fails when it has heard of it.
func TestNetworkClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &sim.Network{Faults: sim.Odds{MaxDelay: 10 * time.Millisecond}}
		l := n.Listen()
		mine, theirs, err := dial(t, n, l, 1)
		if err != nil {
			t.Fatal(err)
		}
		mine.Write([]byte("bye"))
		mine.Close()
		if b, err := io.ReadAll(theirs); string(b) != "bye" || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
		if _, err := theirs.Write([]byte("x")); err == nil {
			t.Error("a write to nobody succeeds")
		}
		if err := mine.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		theirs.Close()
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		if _, err := n.Dialer(2)(t.Context(), "", ""); err == nil {
			t.Error("a dial without a listener succeeds")
		}
	})
}

// Conns have TryWrite or not; where they have, it takes what there is room for, and doesn't wait.
func TestNetworkTryWrite(t *testing.T) {
	with := 0
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			n := &sim.Network{Seed: seed, Faults: sim.Odds{MaxDelay: 10 * time.Millisecond}}
			l := n.Listen()
			mine, theirs, err := dial(t, n, l, 1)
			if err != nil {
				t.Fatal(err)
			}
			if w, ok := theirs.(interface{ TryWrite([]byte) (int, error) }); ok {
				with++
				k, err := w.TryWrite(make([]byte, 1<<20))
				if k == 0 || k == 1<<20 || err != nil {
					t.Errorf("TryWrite: %d, %v", k, err)
				}
				if k, err := w.TryWrite([]byte("x")); k != 0 || err != nil {
					t.Errorf("TryWrite to a full conn: %d, %v", k, err)
				}
			}
			mine.Close()
			theirs.Close()
		})
	}
	if with == 0 || with == 40 {
		t.Errorf("%d of 40 have TryWrite", with)
	}
}

// Dials are refused, unanswered, and given up with their context.
func TestNetworkDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := make(map[sim.Fault]int)
		n := &sim.Network{Heals: time.Now().Add(time.Hour), Count: func(f sim.Fault) { counts[f]++ },
			Faults: sim.Odds{Every: time.Hour, Refused: 0.3, NoAnswer: 0.3, MaxDelay: time.Second}}
		l := n.Listen()
		for client := range 50 {
			mine, theirs, err := dial(t, n, l, client)
			if err != nil {
				continue
			}
			theirs.SetReadDeadline(time.Now().Add(10 * time.Second))
			mine.Write([]byte("hello"))
			if _, err := theirs.Read(make([]byte, 5)); err != nil {
				counts["silence"]++
			}
			mine.Close()
			theirs.Close()
		}
		if counts[sim.FaultRefused] == 0 || counts[sim.FaultNoAnswer] == 0 || counts["silence"] < counts[sim.FaultNoAnswer] {
			t.Errorf("%v", counts)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := n.Dialer(99)(ctx, "", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("a dial with a context that is done: %v", err)
		}
	})
}
