// Command wsctl is the benchmark's server on wsctl, for plain clients and those of wsctl.v1.
package main

import (
	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

type controller struct{}

func (controller) Echo(_ *wsctl.Socket, line kit.Line) kit.Line { return line }

func (controller) Join(s *wsctl.Socket, line kit.Line) error { return s.Join(line.Room) }

func (controller) Leave(s *wsctl.Socket, line kit.Line) { s.Leave(line.Room) }

func (controller) Say(s *wsctl.Socket, line kit.Line) error {
	if line.Room == "" {
		return s.Hub().Broadcast("Said", line)
	}
	return s.Hub().Room(line.Room).Send("Said", line)
}

func main() {
	config := kit.Parse()
	kit.ServeHTTP(wsctl.New(controller{}, &wsctl.Options{Compression: config.Compress}))
}
