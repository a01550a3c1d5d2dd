//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"
)

// settings is what the command line says.
type settings struct {
	servers  []netip.AddrPort
	speakers netip.AddrPort // not valid: servers[0]
	stack    string
	work     string
	conns    int
	depth    int
	callers  int
	bytes    int
	window   int
	rate     int
	missed   int
	rooms    int
	inflight int
	stalled  float64
	time     time.Duration
	compress bool
	sparse   bool
	first    bool
	held     bool
}

// parseSettings reads a command line, and says on w what is wrong with it.
func parseSettings(arguments []string, w io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(w)
	f.Func("addr", "address of the server, IP:PORT; again for more servers of the same rooms, over which connections are spread", func(text string) error {
		address, err := netip.ParseAddrPort(text)
		s.servers = append(s.servers, address)
		return err
	})
	f.Func("speakers", "broadcast, recover: address of another server of the same rooms, for those that speak", func(text string) (err error) {
		s.speakers, err = netip.ParseAddrPort(text)
		return err
	})
	f.StringVar(&s.stack, "stack", "plain", "what the server speaks: plain, v1, centrifuge or geth")
	f.StringVar(&s.work, "work", "echo", "echo, broadcast, idle, connect, storm, rooms or recover")
	f.IntVar(&s.conns, "conns", 1, "connections")
	f.IntVar(&s.depth, "depth", 1, "echo: calls in flight on each connection")
	f.IntVar(&s.callers, "callers", 0, "echo: connections that make calls, while the others are idle; 0: all")
	f.IntVar(&s.bytes, "bytes", 83, "echo: size of a request of the plain stacks")
	f.IntVar(&s.window, "window", 16, "broadcast: messages of a speaker that not everybody has yet")
	f.IntVar(&s.rate, "rate", 0, "broadcast: messages a second of all speakers together, whatever the window; 0: as the windows allow")
	f.IntVar(&s.missed, "missed", 10, "recover: messages that each member has missed")
	f.IntVar(&s.rooms, "rooms", 0, "broadcast, recover: rooms, each with a speaker of its own, 0: one speaker for everyone; rooms: how many there are")
	f.IntVar(&s.inflight, "inflight", 64, "connect: dials in flight; recover: joins")
	f.Float64Var(&s.stalled, "stalled", 0, "broadcast: share of the receivers that don't read")
	f.DurationVar(&s.time, "time", 2*time.Second, "echo, broadcast, rooms: how long to work")
	f.BoolVar(&s.compress, "compress", false, "echo, broadcast: agree to permessage-deflate, and compress all requests")
	f.BoolVar(&s.first, "first", false, "rooms: one call in flight on each connection; only join each room once, by one of them")
	f.BoolVar(&s.held, "held", false, "rooms: as -first, before it is ready, and then let the rooms be")
	f.BoolVar(&s.sparse, "sparse", false, "rooms: one call in flight on each connection; send first, to the one member of each room, and then let any number join")
	if err := f.Parse(arguments); err != nil {
		return settings{}, err
	}
	if err := s.check(f.Args()); err != nil {
		fmt.Fprintln(w, "load:", err)
		return settings{}, err
	}
	return s, nil
}

func (s settings) check(rest []string) error {
	const maxRate = 100_000 // messages a second, as a timer ticks
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag", rest[0])
	case len(s.servers) == 0 || slices.ContainsFunc(s.servers, func(a netip.AddrPort) bool { return !a.Addr().Is4() }):
		return errors.New("-addr has to be an IPv4 address with a port")
	case dialectOf(s.stack) == nil:
		return fmt.Errorf("there is no stack %q", s.stack)
	case s.stack == "geth" && (s.work == "broadcast" || s.work == "rooms"):
		return fmt.Errorf("geth has no %s", s.work)
	case s.speakers.IsValid() && (!s.speakers.Addr().Is4() || s.work != "broadcast" && s.work != "recover"):
		return errors.New("-speakers has to be an IPv4 address with a port, and the work one with speakers")
	case s.conns < 1 || s.window < 1 || s.inflight < 1 || s.rooms < 0 || s.rate < 0 || s.missed < 1 || s.time <= 0:
		return errors.New("a number is too small")
	case s.depth < 1 || s.depth > maxDepth:
		return fmt.Errorf("-depth is 1 to %d", maxDepth)
	case s.callers < 0 || s.callers > s.conns:
		return errors.New("-callers is at most -conns")
	case s.bytes < minEcho || s.bytes > maxEcho:
		return fmt.Errorf("-bytes is %d to %d", minEcho, maxEcho)
	case s.stalled < 0 || s.stalled >= 1:
		return errors.New("-stalled is a share: 0 or more, and less than 1")
	case (s.work == "rooms" || s.work == "recover") && s.rooms < 1:
		return fmt.Errorf("the work %s needs -rooms", s.work)
	case (s.sparse || s.first || s.held) && s.work != "rooms":
		return fmt.Errorf("%s has no -sparse, -first or -held", s.work)
	case s.sparse && s.first || s.sparse && s.held || s.first && s.held:
		return errors.New("-sparse, -first and -held exclude each other")
	case s.rate > maxRate:
		return fmt.Errorf("-rate is at most %d", maxRate)
	case s.work == "recover" && !recovers(s.stack):
		return fmt.Errorf("%s doesn't recover", s.stack)
	case s.compress && s.work != "echo" && s.work != "broadcast":
		return fmt.Errorf("%s doesn't compress", s.work)
	}
	return nil
}
