package wsctlredis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

const slotCount = 16384

var errNoOwners = errors.New("no node of the cluster tells who has which slot")

// openCluster finds out who has which slot, and whether the cluster has what we need.
func (b *Broker) openCluster() error {
	b.owners = make([]string, slotCount)
	if !b.findOwners("") {
		return errNoOwners
	}
	ctx, cancel := context.WithTimeout(b.life, patience)
	defer cancel()
	if err := b.client.Do(ctx, b.client.B().Spublish().Channel(b.opts.Prefix+":{}").Message("").Build()).Error(); err != nil {
		return fmt.Errorf("sharded channels, which a cluster must have (Redis 7, Valkey): %w", err)
	}
	return nil
}

// findOwners asks nodes who has which slot, that of addr first if there is such a one, until one answers. It reports whether
// one did.
func (b *Broker) findOwners(addr string) bool {
	nodes := b.client.Nodes()
	addrs := slices.Collect(maps.Keys(nodes))
	if i := slices.Index(addrs, addr); i > 0 {
		addrs[0], addrs[i] = addrs[i], addrs[0]
	}
	for _, addr := range addrs {
		ctx, cancel := context.WithTimeout(b.life, time.Second)
		answer, err := b.call(ctx, func(ctx context.Context) rueidis.RedisResult {
			return nodes[addr].Do(ctx, nodes[addr].B().Arbitrary("CLUSTER", "SLOTS").Build())
		})
		cancel()
		if err != nil {
			continue
		}
		if owners := parseSlots(answer, addr); owners != nil {
			b.mu.Lock()
			b.owners = owners
			b.mu.Unlock()
			return true
		}
	}
	return false
}

// parseSlots reads the answer to CLUSTER SLOTS of the node at addr: [[first, last, [host, port, …], replicas…], …]. A host that
// is empty is that node's own. Nil: it has nothing.
func parseSlots(answer rueidis.RedisMessage, addr string) (owners []string) {
	ranges, _ := answer.ToArray()
	for _, r := range ranges {
		parts, _ := r.ToArray()
		if len(parts) < 3 {
			continue
		}
		first, err1 := parts[0].AsInt64()
		last, err2 := parts[1].AsInt64()
		master, _ := parts[2].ToArray()
		if err1 != nil || err2 != nil || first < 0 || last >= slotCount || len(master) < 2 {
			continue
		}
		host, _ := master[0].ToString()
		port, _ := master[1].AsInt64()
		if host == "?" {
			continue
		}
		if host == "" {
			host, _, _ = net.SplitHostPort(addr)
		}
		if owners == nil {
			owners = make([]string, slotCount)
		}
		for i := first; i <= last; i++ {
			owners[i] = net.JoinHostPort(host, strconv.FormatInt(port, 10))
		}
	}
	return owners
}

// current is the client of a link's server, or nil if rueidis doesn't know that any more.
func (b *Broker) current(l *link) rueidis.Client {
	if !b.cluster {
		return b.client
	}
	return b.client.Nodes()[l.addr]
}

// node is current, but has rueidis look for a node that it doesn't know yet.
func (b *Broker) node(l *link) (rueidis.Client, error) {
	if client := b.current(l); client != nil {
		return client, nil
	}
	b.mu.Lock()
	channel := ""
	for t := range l.topics {
		channel = t.channel
		break
	}
	b.mu.Unlock()
	if channel != "" {
		// Being told to go elsewhere, rueidis learns of the node.
		_, _ = b.call(b.life, func(ctx context.Context) rueidis.RedisResult {
			return b.client.Do(ctx, b.client.B().Exists().Key(channel).Build())
		})
	}
	if client := b.current(l); client != nil {
		return client, nil
	}
	return nil, fmt.Errorf("the cluster has no node %s", l.addr)
}

// address is that of the server that a client of one server uses now.
func address(client rueidis.Client) string {
	for addr := range client.Nodes() {
		return addr
	}
	return ""
}
