package sim

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/client"
)

// player is a client that acts by the dice.
type player struct {
	w     *world
	id    int
	plain bool
	dice  *rand.Rand
	c     *client.Client
	work  sync.WaitGroup // calls under way

	// Of play alone.
	made   int // numbers of Puts
	shakes int // volatile messages

	mu          sync.Mutex // guards following
	logs        []*sessionLog
	everyone    int          // newest message to everyone
	gaps        int          // in them
	accepted    map[int]bool // Puts that Send took
	lost        int          // as told by the client
	unavailable int          // calls that ended so
	over        int          // close code that ended it for good
}

// sessionLog is what a client got in a session.
type sessionLog struct {
	sock     string
	evs      int
	rooms    map[string][]int
	everyone bool           // something for everyone has come
	events   map[string]int // newest of each type with a queue policy
	gaps     map[string]int // dropped since then
	latest   map[int]int    // newest of each key
}

// newPlayer returns a client that doesn't dial yet. Rarely it is a plain one.
func newPlayer(w *world, id int) *player {
	p := &player{w: w, id: id, dice: w.dice(uint64(100 + id)), accepted: make(map[int]bool)}
	p.plain = p.dice.IntN(10) == 0
	header := http.Header{"Client": {strconv.Itoa(id)}}
	if p.plain {
		header.Set("Plain", "yes")
	}
	o := &client.Options{
		Header:  header,
		Message: p.message,
		Plain:   p.plain,
		Dialer:  &websocket.Dialer{NetDialContext: w.net.Dialer(id), EnableCompression: p.dice.IntN(2) == 0},
		Logger:  slog.New(slog.DiscardHandler),
		Lost:    p.loses,
		Token:   func(context.Context) (string, error) { return "user " + strconv.Itoa(id), nil },
		State: func(s client.State, err error) {
			text := ""
			if err != nil {
				text = err.Error()
			}
			if ce, ok := errors.AsType[*wsctl.CloseError](err); ok && s == client.Closed {
				p.mu.Lock()
				p.over = ce.Code
				p.mu.Unlock()
			}
			w.trace.add(event{what: "state", a: int64(id), typ: s.String(), text: text})
		},
		MaxQueue:       []int{0, 8}[p.dice.IntN(2)],
		QueueTTL:       time.Hour,
		ConnectTimeout: time.Duration(1+p.dice.IntN(8)) * time.Second,
		MaxDelay:       time.Duration(1+p.dice.IntN(10)) * time.Second,
	}
	p.c = client.New("ws://sim/", o)
	client.On(p.c, "Hello", p.hello)
	client.On(p.c, "Ev", p.ev)
	client.On(p.c, "Room", p.room)
	for _, typ := range eventTypes {
		client.On(p.c, typ, func(m payload) { p.event(typ, m) })
	}
	client.Handle(p.c, "Ask", func(ctx context.Context, n int) (int, error) {
		w.ran(w.asks, n)
		if n%5 == 0 {
			_ = sleep(ctx, time.Duration(n%3)*time.Second)
		}
		return 2 * n, nil
	})
	return p
}

func (p *player) breach(rule, format string, args ...any) {
	p.w.trace.breach(rule, "client "+strconv.Itoa(p.id)+": "+format, args...)
}

// post sends a message that isn't a call.
func (p *player) post(typ string, data any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.c.Send(typ, data)
	if put, ok := data.(payload); ok && typ != "Become" && err == nil {
		p.accepted[put.N] = true
	}
	if o := outcome(err); o != "ok" && o != wsctl.CodeTooMany && o != "closed" {
		p.breach("Send", "%v", err)
	}
}

// play acts until it is time.
func (p *player) play() {
	dice := p.dice
	_ = sleep(context.Background(), time.Duration(dice.IntN(1000))*time.Millisecond)
	p.c.Redial()
	for time.Now().Before(p.w.ends) {
		p.act(dice)
		if dice.IntN(3) > 0 {
			time.Sleep(time.Duration(dice.ExpFloat64() * float64(300*time.Millisecond)))
		}
	}
	p.work.Wait()
}

// act does one thing. All dice are thrown in any case, so that what comes next doesn't depend on it.
func (p *player) act(dice *rand.Rand) {
	pad := fewPads[dice.IntN(len(fewPads))]
	name := roomNames[dice.IntN(len(roomNames))]
	n, kind := 1+dice.IntN(6), dice.IntN(100)
	j := job{Items: dice.IntN(100), Pause: int64(dice.ExpFloat64() * float64(50*time.Millisecond)), Pad: padding(pad / 4)}
	if dice.IntN(4) == 0 {
		j.Break = 1 + dice.IntN(100)
	}
	if dice.IntN(10) == 0 {
		j.Pause *= 30
	}
	timeout := time.Duration(dice.ExpFloat64() * float64(6*time.Second))
	stop, sort := dice.IntN(200), dice.IntN(len(callTypes))
	if dice.IntN(10) > 0 {
		j.Items /= 8 // or more than the credit
		stop /= 8
		j.Break /= 8
	}
	switch {
	case kind < 30:
		typ := "Put"
		if kind < 4 {
			typ = "PutSlow"
		}
		for range (n + 1) / 2 {
			p.made++
			p.post(typ, payload{N: p.made, Pad: padding(pad)})
		}
	case kind < 40:
		p.post("Enter", name)
	case kind < 43:
		p.post("Exit", name)
	case kind < 52:
		p.post("Tell", roomMessage{Room: name, N: pad})
	case kind < 54:
		p.post("Become", payload{})
	case kind < 55 && dice.IntN(4) == 0:
		p.post("Bye", []int{1000 + 11, 4000, 4099}[dice.IntN(3)])
	case kind < 74:
		j.Pause *= 4
		p.work.Go(func() { p.call(callTypes[sort], j, timeout) })
	case kind < 78:
		if !p.plain {
			j.Pause *= 20
			p.work.Go(func() { p.call("Ask", j, timeout) })
		}
	case kind < 84:
		if !p.plain {
			p.work.Go(func() { p.stream(j, timeout, stop) })
		}
	case kind < 90:
		if !p.plain {
			p.work.Go(func() { p.upload(j, timeout, stop) })
		}
	case kind < 93:
		if !p.plain {
			p.work.Go(func() { p.exchange(j, timeout, stop) })
		}
	case kind < 95:
		p.c.Redial()
	default:
		p.shakes++
		_ = p.c.SendVolatile("Shake", payload{N: p.shakes, Pad: padding(pad)})
		p.w.report.add("volatile sent", 1)
	}
}

// leave ends the client, in one of its ways.
func (p *player) leave() {
	time.Sleep(time.Duration(p.dice.IntN(500)) * time.Millisecond)
	switch p.dice.IntN(3) {
	case 0:
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.c.Close(ctx); err != nil && !errors.Is(err, client.ErrClosed) {
			p.breach("Close", "%v", err)
		}
	case 1:
		p.c.Abort()
		time.Sleep(time.Millisecond) // it doesn't wait
	case 2:
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.c.Close(ctx)
	}
	p.w.trace.add(event{what: "left", a: int64(p.id)})
}
