package wsctlnats_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// TestPublishersOfNodes has three nodes keep messages of one topic at once: each gets one position, and all see the same.
func TestPublishersOfNodes(t *testing.T) {
	const each, writers = 40, 5 // writers of a node
	srv := newServer(t, nil)
	nodes := []*wsctlnats.Broker{connect(t, srv.url(), nil), connect(t, srv.url(), nil), connect(t, srv.url(), nil)}
	_, birth, _ := since(t, nodes[0], "room", "")
	var listeners []*listener
	for _, b := range nodes {
		listeners = append(listeners, listen(t, b, "room"))
	}
	var wg sync.WaitGroup
	for n, b := range nodes {
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := b.PublishKeep(within(t), "room", fmt.Appendf(nil, "%d-%d %d", n, w, i), keepAll); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	total := each * writers * len(nodes)
	texts, newest, ok := since(t, nodes[1], "room", birth)
	if !ok || len(texts) != total || newest != fmt.Sprint(epoch(birth), ".", total) {
		t.Fatalf("%d messages of %d up to %s, %v", len(texts), total, newest, ok)
	}
	next := make(map[string]int)
	for _, text := range texts {
		var writer string
		var i int
		if _, err := fmt.Sscan(text, &writer, &i); err != nil || i != next[writer] {
			t.Fatalf("%q comes where %d of that writer was expected", text, next[writer])
		}
		next[writer]++
	}
	for _, l := range listeners {
		for i, d := range l.take(total) {
			if want := (delivery{fmt.Sprint(epoch(birth), ".", i+1), texts[i]}); d != want {
				t.Fatalf("delivered %q, want %q", d, want)
			}
		}
	}
}

// TestFairness has one node keep messages without a pause, while another one, which is farther from the server, has one now and
// then.
func TestFairness(t *testing.T) {
	srv := newServer(t, nil)
	hot, cold := connect(t, srv.url(), nil), connect(t, newProxy(t, srv, 3*time.Millisecond).url(), nil)
	ctx, cancel := context.WithCancel(within(t))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := hot.PublishKeep(ctx, "room", []byte("hot"), keepAll); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	start := time.Now()
	for range 10 {
		keep(t, cold, "room", "cold")
	}
	if took := time.Since(start); took > patience/2 { // it is half a second
		t.Errorf("it takes %v to keep 10 messages while another node keeps some", took)
	}
}

// TestLostAcknowledgement has a node not learn that its message is kept, and another node's message be kept after it.
func TestLostAcknowledgement(t *testing.T) {
	srv := newServer(t, nil)
	way := newProxy(t, srv, 0)
	a, b := connect(t, way.url(), nil), connect(t, srv.url(), nil)
	_, birth, _ := since(t, a, "room", "")
	l, own := listen(t, b, "room"), listen(t, a, "room")
	for i := range 4 {
		if since(t, a, "room", ""); i > 0 { // it knows the newest, so that it asks for nothing before it publishes
			own.noticed(i)
		}
		way.silence()
		result := make(chan error)
		go func() { result <- a.PublishKeep(within(t), "room", fmt.Append(nil, "a", i), keepAll) }()
		l.take(2*i + 1) // it is kept
		keep(t, b, "room", fmt.Sprint("b", i))
		way.cut()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	}
	texts, newest, ok := since(t, b, "room", birth)
	if want := "[a0 b0 a1 b1 a2 b2 a3 b3]"; fmt.Sprint(texts) != want {
		t.Errorf("%s up to %s, %v", texts, newest, ok)
	}
}
