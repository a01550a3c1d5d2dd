//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// settings is what the command line says.
type settings struct {
	address  netip.AddrPort
	stack    string
	work     string
	conns    int
	depth    int
	callers  int
	bytes    int
	window   int
	rooms    int
	inflight int
	stalled  float64
	time     time.Duration
	compress bool
	sparse   bool
}

// parseSettings reads a command line, and says on w what is wrong with it.
func parseSettings(arguments []string, w io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(w)
	f.Func("addr", "address of the server, IP:PORT", func(text string) (err error) {
		s.address, err = netip.ParseAddrPort(text)
		return err
	})
	f.StringVar(&s.stack, "stack", "plain", "what the server speaks: plain, v1, centrifuge or geth")
	f.StringVar(&s.work, "work", "echo", "echo, broadcast, idle, connect, storm or rooms")
	f.IntVar(&s.conns, "conns", 1, "connections")
	f.IntVar(&s.depth, "depth", 1, "echo: calls in flight on each connection")
	f.IntVar(&s.callers, "callers", 0, "echo: connections that make calls, while the others are idle; 0: all")
	f.IntVar(&s.bytes, "bytes", 83, "echo: size of a request of the plain stacks")
	f.IntVar(&s.window, "window", 16, "broadcast: messages of a speaker that not everybody has yet")
	f.IntVar(&s.rooms, "rooms", 0, "broadcast: rooms, each with a speaker of its own, 0: one speaker for everyone; rooms: how many there are")
	f.IntVar(&s.inflight, "inflight", 64, "connect: dials in flight")
	f.Float64Var(&s.stalled, "stalled", 0, "broadcast: share of the receivers that don't read")
	f.DurationVar(&s.time, "time", 2*time.Second, "echo, broadcast, rooms: how long to work")
	f.BoolVar(&s.compress, "compress", false, "echo, broadcast: agree to permessage-deflate, and compress all requests")
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
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag", rest[0])
	case !s.address.Addr().Is4():
		return errors.New("-addr has to be an IPv4 address with a port")
	case dialectOf(s.stack) == nil:
		return fmt.Errorf("there is no stack %q", s.stack)
	case s.stack == "geth" && (s.work == "broadcast" || s.work == "rooms"):
		return fmt.Errorf("geth has no %s", s.work)
	case s.conns < 1 || s.window < 1 || s.inflight < 1 || s.rooms < 0 || s.time <= 0:
		return errors.New("a number is too small")
	case s.depth < 1 || s.depth > maxDepth:
		return fmt.Errorf("-depth is 1 to %d", maxDepth)
	case s.callers < 0 || s.callers > s.conns:
		return errors.New("-callers is at most -conns")
	case s.bytes < minEcho || s.bytes > maxEcho:
		return fmt.Errorf("-bytes is %d to %d", minEcho, maxEcho)
	case s.stalled < 0 || s.stalled >= 1:
		return errors.New("-stalled is a share: 0 or more, and less than 1")
	case s.work == "rooms" && s.rooms < 1:
		return errors.New("the work rooms needs -rooms")
	case s.sparse && s.work != "rooms":
		return fmt.Errorf("%s isn't sparse", s.work)
	case s.compress && s.work != "echo" && s.work != "broadcast":
		return fmt.Errorf("%s doesn't compress", s.work)
	}
	return nil
}
