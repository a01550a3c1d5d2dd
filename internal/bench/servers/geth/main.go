// Command geth is the benchmark's server on the JSON-RPC package of go-ethereum.
package main

import (
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/wsctl/wsctl/internal/bench/kit"
)

type service struct{}

// Echo is the method bench_echo.
func (service) Echo(line kit.Line) kit.Line { return line }

func main() {
	kit.Parse()
	server := rpc.NewServer()
	if err := server.RegisterName("bench", service{}); err != nil {
		kit.Fatal(err)
	}
	kit.ServeHTTP(server.WebsocketHandler([]string{"*"}))
}
