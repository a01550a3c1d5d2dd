package wsctlnats

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// peers see to it that all servers of a cluster know a subscription before Subscribe returns, as far as there are brokers at
// them. A server sends what it knows of subscriptions to the others, on the way that messages take as well, and nobody is told
// when it has arrived. So a broker at each server answers a message that is sent after the subscription: with the answer that
// server knows it.
//
// A broker says hello, with the id of its server, when it has connected, which the others answer, and again every few seconds.
type peers struct {
	b     *Broker
	inbox string // answers to hello come here

	mu      sync.Mutex // guards following
	own     string     // id of the broker's server; empty: it is alone
	echo    *nats.Subscription
	servers map[string]time.Time // ids of the others where brokers are, and when that was heard
	greeted time.Time            // when the others have answered hello
	next    *round               // that is to begin
	running bool                 // a goroutine makes rounds
}

// round is a question to all servers.
type round struct {
	done chan struct{} // closed at its end
	sure bool          // all have answered; set before done is closed
}

const (
	helloEach  = 5 * time.Second
	forgotten  = 4 * helloEach
	greeting   = 300 * time.Millisecond // what answers to hello get
	echoTime   = 300 * time.Millisecond // what an answer of a server gets, before another broker there is asked
	echoTries  = 3
	maxServers = 1000 // strangers can say hello as well
	maxID      = 100  // bytes of a server's id
)

func newPeers(b *Broker) (*peers, error) {
	p := &peers{b: b, inbox: b.nc.NewInbox(), servers: make(map[string]time.Time)}
	for _, subject := range []string{p.subject(""), p.inbox} {
		if _, err := b.nc.Subscribe(subject, p.hello); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *peers) subject(server string) string {
	if server == "" {
		return p.b.opts.Prefix + ".sync"
	}
	return p.b.opts.Prefix + ".sync." + server
}

// connected is called when a connection was made.
func (p *peers) connected() {
	own := ""
	if p.b.clustered() {
		own = p.b.nc.ConnectedServerId()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if own != p.own {
		if p.echo != nil {
			_ = p.echo.Unsubscribe()
			p.echo = nil
		}
		if own != "" {
			var err error
			p.echo, err = p.b.nc.QueueSubscribe(p.subject(own), "sync", func(m *nats.Msg) { _ = m.Respond(nil) })
			if err != nil {
				return // the connection is closed
			}
		}
		p.own = own
	}
	if own != "" {
		p.greeted = time.Now().Add(greeting)
		p.greet()
		for i := range 3 { // others who connect just now may hear it only later
			time.AfterFunc(greeting*time.Duration(i+1)/5, p.greet)
		}
	}
}

// greet says hello, and asks for answers.
func (p *peers) greet() {
	if p.b.ctx.Err() == nil && p.b.clustered() {
		_ = p.b.nc.PublishRequest(p.subject(""), p.inbox, []byte(p.b.nc.ConnectedServerId())) // or the next time
	}
}

// run says hello until the broker is closed.
func (p *peers) run() {
	ticker := time.NewTicker(helloEach)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.b.ctx.Done():
			return
		}
		p.mu.Lock()
		own := p.own
		for id, heard := range p.servers {
			if time.Since(heard) > forgotten {
				delete(p.servers, id)
			}
		}
		p.mu.Unlock()
		if own != "" {
			_ = p.b.nc.Publish(p.subject(""), []byte(own)) // or the next time
		}
	}
}

// hello takes the hello of another broker, or an answer to ours.
func (p *peers) hello(m *nats.Msg) {
	id := string(m.Data)
	if id == "" || len(id) > maxID {
		return
	}
	for i := range len(id) {
		if !plain(id[i]) {
			return
		}
	}
	p.mu.Lock()
	own := p.own
	if _, known := p.servers[id]; known || len(p.servers) < maxServers {
		p.servers[id] = time.Now()
	}
	p.mu.Unlock()
	if m.Reply != "" && own != "" {
		_ = m.Respond([]byte(own))
	}
}

// sync waits until all servers know the subscriptions that were made before. It reports false if that isn't sure.
func (p *peers) sync(ctx context.Context) bool {
	p.mu.Lock()
	if p.own == "" {
		p.mu.Unlock()
		return true
	}
	r := p.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		p.next = r
	}
	begin := !p.running
	p.running = true
	p.mu.Unlock()
	if begin && !p.b.start(p.rounds) {
		return false // the broker is closed
	}
	select {
	case <-r.done:
		return r.sure
	case <-ctx.Done():
	case <-p.b.ctx.Done():
	}
	return false
}

// rounds makes rounds, one after the other, until nobody waits for one: one answer is for all who have subscribed before it.
func (p *peers) rounds() {
	for {
		p.welcome()
		p.mu.Lock()
		r := p.next
		p.next = nil
		if r == nil {
			p.running = false
			p.mu.Unlock()
			return
		}
		var others []string
		for id := range p.servers {
			if id != p.own {
				others = append(others, id)
			}
		}
		p.mu.Unlock()
		r.sure = p.ask(others)
		close(r.done)
	}
}

// welcome waits until the others have answered hello.
func (p *peers) welcome() {
	p.mu.Lock()
	greeted := p.greeted
	p.mu.Unlock()
	p.b.waitUntil(greeted)
}

// ask asks servers, all at once, and tells whether all have answered.
func (p *peers) ask(servers []string) bool {
	answers := make(chan bool, len(servers))
	for _, id := range servers {
		if len(servers) == 1 {
			return p.answers(id)
		}
		go func() { answers <- p.answers(id) }()
	}
	sure := true
	for range servers {
		sure = <-answers && sure
	}
	return sure
}

// answers tells whether a broker at a server answers, or there is none.
func (p *peers) answers(id string) bool {
	for range echoTries {
		ctx, cancel := context.WithTimeout(p.b.ctx, echoTime)
		_, err := p.b.nc.RequestWithContext(ctx, p.subject(id), nil)
		cancel()
		switch {
		case err == nil:
			return true
		case errors.Is(err, nats.ErrNoResponders):
			p.mu.Lock()
			delete(p.servers, id)
			p.mu.Unlock()
			return true
		case !errors.Is(err, context.DeadlineExceeded):
			return false
		}
	}
	return false
}
