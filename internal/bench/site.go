package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wsctl/wsctl/internal/bench/kit"
)

// site is the processes of a stack: a server, or several nodes and the broker between them.
type site struct {
	nodes     []*process
	addresses []string // of the nodes
	broker    *process // nil: there is none
	brokerPID int      // the process that does its work, which may be a child of it
}

// raise starts the processes of s for w, until ctx ends at the latest.
func (b *bench) raise(ctx context.Context, w work, s stack) (_ *site, err error) {
	all := &site{}
	defer func() {
		if err != nil {
			err = all.close(err)
		}
	}()
	args := s.serverArgs(w)
	if s.broker != "" {
		if all.broker, err = start(ctx, b.brokerProgram(), "-mode", s.broker); err != nil {
			return nil, err
		}
		said, err := all.broker.listening()
		if err != nil {
			return nil, err
		}
		url, pid, _ := strings.Cut(said, " ")
		if all.brokerPID, err = strconv.Atoi(pid); err != nil {
			return nil, fmt.Errorf("%s listens at %q", all.broker.name, said)
		}
		args = append(args[:len(args):len(args)], "-broker", url)
	}
	for range s.nodes(w) {
		node, err := start(ctx, b.program(s), args...)
		if err != nil {
			return nil, err
		}
		all.nodes = append(all.nodes, node)
		address, err := node.listening()
		if err != nil {
			return nil, err
		}
		all.addresses = append(all.addresses, address)
	}
	return all, nil
}

// clients tells the load program which nodes the clients of w are to go to.
func (s *site) clients(w work) (args []string) {
	members := s.addresses
	if len(members) > 1 {
		members = members[1:]
	}
	for _, address := range members {
		args = append(args, "-addr", address)
	}
	if w.speakers {
		args = append(args, "-speakers", s.addresses[0])
	}
	return args
}

// listening reads where a server says that it listens.
func (p *process) listening() (string, error) {
	line, err := p.read(patience)
	if err != nil {
		return "", err
	}
	address, ok := strings.CutPrefix(line, kit.ListeningPrefix)
	if !ok {
		return "", fmt.Errorf("%s begins with %q", p.name, line)
	}
	return address, nil
}

// close ends the processes, as process.close does.
func (s *site) close(err error) error {
	for _, node := range s.nodes {
		err = node.close(err)
	}
	if s.broker != nil {
		err = s.broker.close(err)
	}
	return err
}

// consumption is what the processes of a site have used so far.
type consumption struct {
	nodes  []kit.Stats
	broker kit.Stats // what is known of it: CPU and RSS
}

// ask gives each node a command that is answered by what it has used. The broker, which takes no commands, is looked at.
func (s *site) ask(command string) (used consumption, err error) {
	for _, node := range s.nodes {
		var one kit.Stats
		if err := node.ask(command, patience, &one); err != nil {
			return used, err
		}
		used.nodes = append(used.nodes, one)
	}
	if s.broker != nil {
		used.broker, err = kit.StatsOf(s.brokerPID)
	}
	return used, err
}

// order gives each node a command, whose answer says nothing. file, if there is one, is the last part of it; each of several
// nodes gets one of its own.
func (s *site) order(command, file string) error {
	for i, node := range s.nodes {
		line := command
		switch ext := filepath.Ext(file); {
		case file != "" && len(s.nodes) > 1:
			line += fmt.Sprintf(" %s-node%d%s", strings.TrimSuffix(file, ext), i+1, ext)
		case file != "":
			line += " " + file
		}
		if err := node.ask(line, patience, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// sum is what all nodes have used.
func (c consumption) sum() (all kit.Stats) {
	for _, one := range c.nodes {
		all.CPU += one.CPU
		all.RSS += one.RSS
		all.Heap += one.Heap
		all.Goroutines += one.Goroutines
	}
	return all
}
