package kit

import (
	"flag"
	"os"
	"time"
)

// Node is what the command line of a server says that is one of several nodes.
type Node struct {
	Broker  string // URL of the broker, nats:// or redis://; empty: it is alone
	History bool   // rooms keep history
}

// What rooms with history keep.
const (
	HistoryMessages = 100
	HistoryAge      = 5 * time.Minute
)

// ParseNode reads the command line of a node.
func ParseNode() Node {
	var n Node
	flag.StringVar(&n.Broker, "broker", "", "`URL` of what joins it to other nodes, nats:// or redis://")
	flag.BoolVar(&n.History, "history", false, "rooms keep their newest messages")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	return n
}
