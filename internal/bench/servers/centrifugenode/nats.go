package main

import (
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/centrifugal/protocol"
	"github.com/nats-io/nats.go"
)

// natsBroker does what the broker of centrifuge's example custom_broker_nats does: a core subscription for each channel, and no
// history. Publications are Protocol Buffers, as those of its Redis broker, where the example has JSON within JSON.
// Joins and leaves are announced nowhere, since nothing here asks for them.
type natsBroker struct {
	conn   *nats.Conn
	node   string // id
	events centrifuge.BrokerEventHandler

	mu            sync.Mutex // guards following
	subscriptions map[string]*nats.Subscription
}

var (
	_ centrifuge.Broker     = (*natsBroker)(nil)
	_ centrifuge.Controller = (*natsBroker)(nil)
)

// Subjects: of a channel, of the nodes, of one node.
const (
	channelPrefix = "centrifuge.client."
	nodesSubject  = "centrifuge.control"
	nodePrefix    = "centrifuge.node."
)

func connectNATS(node, url string) (*natsBroker, error) {
	conn, err := nats.Connect(url, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	return &natsBroker{conn: conn, node: node, subscriptions: make(map[string]*nats.Subscription)}, nil
}

func (b *natsBroker) RegisterBrokerEventHandler(h centrifuge.BrokerEventHandler) error {
	b.events = h
	return nil
}

func (b *natsBroker) RegisterControlEventHandler(h centrifuge.ControlEventHandler) error {
	for _, subject := range []string{nodesSubject, nodePrefix + b.node} {
		if _, err := b.conn.Subscribe(subject, func(m *nats.Msg) { _ = h.HandleControl(m.Data) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *natsBroker) PublishControl(data []byte, node, _ string) error {
	if node == "" {
		return b.conn.Publish(nodesSubject, data)
	}
	return b.conn.Publish(nodePrefix+node, data)
}

func (b *natsBroker) Subscribe(channels ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, channel := range channels {
		if b.subscriptions[channel] != nil {
			continue
		}
		s, err := b.conn.Subscribe(channelPrefix+channel, func(m *nats.Msg) { b.receive(channel, m.Data) })
		if err != nil {
			return err
		}
		b.subscriptions[channel] = s
	}
	return nil
}

func (b *natsBroker) Unsubscribe(channels ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, channel := range channels {
		s := b.subscriptions[channel]
		if s == nil {
			continue
		}
		delete(b.subscriptions, channel)
		if err := s.Unsubscribe(); err != nil {
			return err
		}
	}
	return nil
}

func (b *natsBroker) Publish(channel string, data []byte, options centrifuge.PublishOptions) (centrifuge.PublishResult, error) {
	p := protocol.Publication{Data: data, Time: time.Now().UnixMilli(), Tags: options.Tags}
	if i := options.ClientInfo; i != nil {
		p.Info = &protocol.ClientInfo{Client: i.ClientID, User: i.UserID, ConnInfo: i.ConnInfo, ChanInfo: i.ChanInfo}
	}
	message, err := p.MarshalCF()
	if err != nil {
		return centrifuge.PublishResult{}, err
	}
	return centrifuge.PublishResult{}, b.conn.Publish(channelPrefix+channel, message)
}

// receive takes what a node has published. What isn't a publication is dropped.
func (b *natsBroker) receive(channel string, message []byte) {
	var p protocol.Publication
	if p.UnmarshalCF(message) != nil {
		return
	}
	publication := &centrifuge.Publication{Data: p.Data, Time: p.Time, Tags: p.Tags}
	if i := p.Info; i != nil {
		publication.Info = &centrifuge.ClientInfo{ClientID: i.Client, UserID: i.User, ConnInfo: i.ConnInfo, ChanInfo: i.ChanInfo}
	}
	_ = b.events.HandlePublication(channel, publication, centrifuge.StreamPosition{}, false, nil)
}

func (b *natsBroker) PublishJoin(string, *centrifuge.ClientInfo) error {
	return centrifuge.ErrorNotAvailable
}
func (b *natsBroker) PublishLeave(string, *centrifuge.ClientInfo) error {
	return centrifuge.ErrorNotAvailable
}

func (b *natsBroker) History(string, centrifuge.HistoryOptions) ([]*centrifuge.Publication, centrifuge.StreamPosition, error) {
	return nil, centrifuge.StreamPosition{}, centrifuge.ErrorNotAvailable
}

func (b *natsBroker) RemoveHistory(string) error { return centrifuge.ErrorNotAvailable }
