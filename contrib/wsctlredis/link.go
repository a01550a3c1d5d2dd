package wsctlredis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"
)

const (
	minDelay = 50 * time.Millisecond // before a connection is made again
	maxDelay = time.Second
	watch    = 2 * time.Second // how often it is asked whether the server is still the one
	batch    = 500             // commands at once
)

// link is the connection by which topics are subscribed, to one server. Its goroutine alone sends commands, so that none
// overtakes another. It ends with the Broker, or when the connection is lost and there are no topics.
type link struct {
	b    *Broker
	addr string        // of a node of a cluster; empty without
	wake chan struct{} // there is something to do

	// Of run.
	server string // to which it is connected, or was
	down   bool   // the log has it that the connection is lost

	// Guarded by Broker.mu.
	topics  map[*topic]struct{}
	pending []*topic // to be subscribed
	strays  []*topic // which the server hasn't any more: another node of the cluster may have them
	leaving []string // channels to be unsubscribed
	life    int      // counts connections: what an earlier one says doesn't count
}

// place has a link subscribe a topic. mu is held.
func (b *Broker) place(t *topic) error {
	addr := ""
	if b.cluster {
		if addr = b.owners[t.slot]; addr == "" {
			return fmt.Errorf("no node of the cluster has slot %d", t.slot)
		}
	}
	l := b.nodes[addr]
	if l == nil {
		l = &link{b: b, addr: addr, wake: make(chan struct{}, 1), topics: make(map[*topic]struct{})}
		b.nodes[addr] = l
		b.links.Go(l.run)
	}
	t.link = l
	l.topics[t] = struct{}{}
	l.pending = append(l.pending, t)
	l.poke()
	return nil
}

// drop unsubscribes a topic. mu is held.
func (l *link) drop(t *topic) {
	delete(l.topics, t)
	l.leaving = append(l.leaving, t.channel)
	l.poke()
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) run() {
	delay := minDelay
	for {
		start := time.Now()
		err := l.connect()
		if l.lost(err) {
			return
		}
		if time.Since(start) > 10*time.Second {
			delay = minDelay
		}
		if !l.down {
			l.down = true
			l.b.logger().Warn("wsctlredis: subscriptions are interrupted", "server", l.server, "error", err)
		}
		l.b.wait(l.b.life, delay/2+rand.N(delay))
		delay = min(2*delay, maxDelay)
		if l.b.cluster {
			l.b.findOwners("")
		}
		l.placeAll()
	}
}

// lost ends topics that nobody has been told of as subscribed, and says whether the link has ended.
func (l *link) lost(err error) (ended bool) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.life++
	l.pending, l.strays, l.leaving = nil, nil, nil
	for t := range l.topics {
		t.lose()
		if !t.again {
			delete(l.topics, t)
			delete(l.b.topics, t.channel)
			t.fail(err)
		}
	}
	if l.b.isClosed() || len(l.topics) == 0 {
		delete(l.b.nodes, l.addr)
		return true
	}
	return false
}

// placeAll places all topics anew, after the connection was lost.
func (l *link) placeAll() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.pending = nil
	for t := range l.topics {
		l.replace(t)
	}
}

// replace places a topic anew, on this link if nobody is known to have it. mu is held.
func (l *link) replace(t *topic) {
	delete(l.topics, t)
	if l.b.place(t) != nil {
		l.topics[t] = struct{}{}
		l.pending = append(l.pending, t)
	}
}

// connect makes the connection, subscribes what there is, and returns when it is lost.
func (l *link) connect() error {
	client, err := l.b.node(l)
	if err != nil {
		return err
	}
	l.server = address(client)
	conn, _ := client.Dedicate()
	defer conn.Close()
	l.b.mu.Lock()
	life := l.life
	l.b.mu.Unlock()
	lost := conn.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage:      func(m rueidis.PubSubMessage) { l.message(life, m) },
		OnSubscription: func(s rueidis.PubSubSubscription) { l.subscription(life, s) },
	})
	if err := l.askRole(conn); err != nil {
		return err
	}
	if l.down {
		l.down = false
		l.b.logger().Info("wsctlredis: subscriptions are made again", "server", l.server)
	}
	ticker := time.NewTicker(watch)
	defer ticker.Stop()
	for {
		if err := l.apply(conn); err != nil {
			return err
		}
		select {
		case <-l.wake:
		case err := <-lost:
			if err == nil {
				err = errors.New("the connection is closed")
			}
			return err
		case <-ticker.C:
			if client := l.b.current(l); client == nil || address(client) != l.server {
				return errors.New("another server has taken over")
			}
			if err := l.askRole(conn); err != nil {
				return err
			}
		case <-l.b.life.Done():
			return errClosed
		}
	}
}

// askRole returns an error unless the server is a master: others tell of messages too, but not reliably.
func (l *link) askRole(conn rueidis.DedicatedClient) error {
	ctx, cancel := context.WithTimeout(l.b.life, patience)
	defer cancel()
	answer, err := conn.Do(ctx, conn.B().Role().Build()).ToArray()
	if err != nil {
		return err
	}
	if len(answer) > 0 {
		if role, _ := answer[0].ToString(); role != "master" {
			return fmt.Errorf("the server is a %.20s, no master", role)
		}
	}
	return nil
}

// apply sends what there is to send, and returns an error if the connection is of no use any more.
func (l *link) apply(conn rueidis.DedicatedClient) error {
	b := l.b
	b.mu.Lock()
	strays := l.strays
	l.strays = nil
	b.mu.Unlock()
	if len(strays) > 0 {
		b.findOwners(l.addr) // which knows who has them
	}
	b.mu.Lock()
	for _, t := range strays {
		if _, ok := l.topics[t]; ok {
			l.replace(t)
		}
	}
	leaving := l.leaving
	var pending []*topic
	for _, t := range l.pending {
		if _, ok := l.topics[t]; ok && !t.ready {
			pending = append(pending, t)
		}
	}
	l.leaving, l.pending = nil, nil
	b.mu.Unlock()

	var commands []rueidis.Completed
	for _, channel := range leaving {
		if b.cluster {
			commands = append(commands, conn.B().Sunsubscribe().Channel(channel).Build())
		} else {
			commands = append(commands, conn.B().Unsubscribe().Channel(channel).Build())
		}
	}
	for _, t := range pending {
		if b.cluster {
			commands = append(commands, conn.B().Ssubscribe().Channel(t.channel).Build())
		} else {
			commands = append(commands, conn.B().Subscribe().Channel(t.channel).Build())
		}
	}
	for i := 0; i < len(commands); i += batch {
		ctx, cancel := context.WithTimeout(l.b.life, patience)
		results := conn.DoMulti(ctx, commands[i:min(i+batch, len(commands))]...)
		cancel()
		for k, result := range results {
			if err := result.Error(); err != nil {
				n := i + k - len(leaving)
				if refused, ok := rueidis.IsRedisErr(err); !ok || n < 0 || !l.refused(pending[n], refused) {
					return err
				}
			}
		}
	}
	return nil
}

// refused deals with a topic that the server doesn't subscribe, and says whether that is all there is to do.
func (l *link) refused(t *topic, err *rueidis.RedisError) bool {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if _, ok := l.topics[t]; !ok {
		return true
	}
	_, moved := err.IsMoved()
	if t.moves++; moved && t.moves < 5 {
		l.strays = append(l.strays, t)
		l.poke()
		return true
	}
	if t.again {
		return false
	}
	delete(l.topics, t)
	delete(l.b.topics, t.channel)
	t.fail(err)
	return true
}

// subscription is called by the connection, between messages.
func (l *link) subscription(life int, s rueidis.PubSubSubscription) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	t := l.b.topics[s.Channel]
	if t == nil || t.link != l || l.life != life {
		return
	}
	switch s.Kind {
	case "subscribe", "ssubscribe":
		if t.ready {
			return
		}
		t.ready, t.moves = true, 0
		close(t.done)
		if t.again {
			for _, s := range t.subs {
				s.push(item{missed: true})
			}
		}
	case "unsubscribe", "sunsubscribe":
		if t.ready { // it isn't the answer to ours, after which somebody has subscribed again
			t.lose()
			l.strays = append(l.strays, t)
			l.poke()
		}
	}
}

// message is called by the connection.
func (l *link) message(life int, m rueidis.PubSubMessage) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if t := l.b.topics[m.Channel]; t != nil && t.link == l && l.life == life {
		t.receive(m.Message)
	}
}
