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
	b      *Broker
	inbox  string  // answers to hello come here
	rounds *rounds // of questions to all servers: one answer is for all who have subscribed before it

	mu      sync.Mutex // guards following
	own     string     // id of the broker's server; empty: it is alone
	echo    *nats.Subscription
	servers map[string]time.Time // ids of the others where brokers are, and when that was heard
	greeted time.Time            // when the others have answered hello
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
	p.rounds = &rounds{b: b, do: p.round}
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
	_, known := p.servers[id]
	if known || len(p.servers) < maxServers {
		p.servers[id] = time.Now()
	}
	late := !known && own != "" && id != own && time.Now().After(p.greeted) // there may have been rounds without it
	p.mu.Unlock()
	if late {
		p.b.start(p.met)
	}
	if m.Reply != "" && own != "" {
		_ = m.Respond([]byte(own))
	}
}

// met is called when a server was heard of late: it is far away, or this machine is busy. Subscribe didn't wait for it.
func (p *peers) met() {
	p.sync(p.b.ctx)
	p.b.tell((*subscription).young)
}

// sync waits until all servers know the subscriptions that were made before. It reports false if that isn't sure.
func (p *peers) sync(ctx context.Context) bool {
	p.mu.Lock()
	alone := p.own == ""
	p.mu.Unlock()
	return alone || p.rounds.wait(ctx) == nil
}

// round asks all servers where brokers are.
func (p *peers) round(ctx context.Context) error {
	p.welcome(ctx)
	p.mu.Lock()
	var others []string
	for id := range p.servers {
		if id != p.own {
			others = append(others, id)
		}
	}
	p.mu.Unlock()
	return p.ask(ctx, others)
}

// welcome waits until the others have answered hello.
func (p *peers) welcome(ctx context.Context) {
	p.mu.Lock()
	greeted := p.greeted
	p.mu.Unlock()
	p.b.waitUntil(ctx, greeted)
}

// ask asks servers, all at once. It returns an error if one doesn't answer.
func (p *peers) ask(ctx context.Context, servers []string) error {
	answers := make(chan bool, len(servers))
	for _, id := range servers {
		go func() { answers <- p.answers(ctx, id) }()
	}
	sure := true
	for range servers {
		sure = <-answers && sure
	}
	if !sure {
		return errUnsure
	}
	return nil
}

// answers tells whether a broker at a server answers, or there is none.
func (p *peers) answers(ctx context.Context, id string) bool {
	for range echoTries {
		try, cancel := context.WithTimeout(ctx, echoTime)
		_, err := p.b.nc.RequestWithContext(try, p.subject(id), nil)
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
