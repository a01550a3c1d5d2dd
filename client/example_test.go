package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

type line struct{ From, Text string }

// room is the server of the examples.
type room struct{}

func (room) Say(s *wsctl.Socket, text string) error {
	return s.Send("Said", line{"you", text})
}

func (room) Add(_ *wsctl.Socket, n [2]int) (int, error) {
	if n[0] < 0 || n[1] < 0 {
		return 0, wsctl.Errorf("negative", "only numbers from 0")
	}
	return n[0] + n[1], nil
}

func (room) Countdown(_ *wsctl.Socket, from int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for n := from; n >= 0; n-- {
			if !yield(n, nil) {
				return
			}
		}
	}
}

func (room) Sum(_ *wsctl.Socket, start int, numbers iter.Seq2[int, error]) (int, error) {
	for n, err := range numbers {
		if err != nil {
			return 0, err
		}
		start += n
	}
	return start, nil
}

func (room) Greet(ctx context.Context, s *wsctl.Socket) (string, error) {
	var name string
	err := s.Call(ctx, "name", nil, &name)
	return "hello " + name, err
}

// start makes a server for an example.
func start() (url string, stop func()) {
	h := wsctl.New(room{}, nil)
	s := httptest.NewServer(h)
	return s.URL, func() {
		_ = h.Shutdown(context.Background())
		s.Close()
	}
}

func Example() {
	url, stop := start()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	c, err := client.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	client.On(c, "Said", func(l line) { fmt.Printf("%s: %s\n", l.From, l.Text) })
	if err := c.Send("Say", "hi"); err != nil {
		log.Fatal(err)
	}
	// Close waits until the server has what was sent, and On's function what had come.
	sum, err := client.Call[int](ctx, c, "Add", [2]int{1, 2})
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum)
	// Output:
	// you: hi
	// 3
}

func ExampleNew() {
	url, stop := start()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	c := client.New(url, &client.Options{
		State: func(s client.State, err error) { fmt.Println(s) },
		Lost:  func(n int) { log.Printf("%d messages may not have arrived", n) },
	})
	client.Handle(c, "name", func(context.Context, struct{}) (string, error) { return "gopher", nil })
	if err := c.Connect(ctx); err != nil {
		log.Fatal(err)
	}
	greeting, err := client.Call[string](ctx, c, "Greet", nil)
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(greeting)
	// Output:
	// Connecting
	// Open
	// Closed
	// hello gopher
}

func ExampleClient_Call() {
	url, stop := start()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)

	var sum int
	err = c.Call(ctx, "Add", [2]int{-1, 2}, &sum)
	if e, ok := errors.AsType[*wsctl.Error](err); ok && e.Code == "negative" {
		fmt.Println(e.Message)
	}
	// Output: only numbers from 0
}

func ExampleStream() {
	url, stop := start()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)

	for n, err := range client.Stream[int](ctx, c, "Countdown", 1_000_000) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(n)
		if n < 1_000_000 {
			break // tells the server to stop
		}
	}
	// Output:
	// 1000000
	// 999999
}

func ExampleUpload() {
	url, stop := start()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)

	numbers := func(yield func(int, error) bool) {
		for n := range 5 {
			if !yield(n, nil) {
				return
			}
		}
	}
	fmt.Println(client.Upload[int](ctx, c, "Sum", 100, numbers))
	// Output: 110 <nil>
}

// lobby is a server whose clients are all in one room.
type lobby struct{}

func (lobby) OnOpen(s *wsctl.Socket, _ *http.Request) error { return s.Join("lobby") }

func (lobby) Say(s *wsctl.Socket, text string) error {
	return s.Hub().Room("lobby").Send("Said", line{"you", text})
}

func ExampleOnMessage() {
	h := wsctl.New(lobby{}, &wsctl.Options{Hub: &wsctl.Hub{
		History: func(string) wsctl.Retention { return wsctl.Retention{Messages: 100} },
	}})
	s := httptest.NewServer(h)
	defer s.Close()
	defer h.Shutdown(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	c := client.New(s.URL, nil)
	client.OnMessage(c, "Said", func(m client.Message[line]) {
		fmt.Printf("#%s %s: %s\n", m.Room, m.Data.From, m.Data.Text)
	})
	client.On(c, "$room", func(r client.RoomState) {
		if r.Missed() {
			fmt.Println("too much was said meanwhile in", r.Room) // read anew what the room is about
		}
	})
	if err := c.Connect(ctx); err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(c.Call(ctx, "Say", "hi", nil), c.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	// Output: #lobby you: hi
}
