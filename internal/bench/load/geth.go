//go:build linux

package main

import "bytes"

// geth is the JSON-RPC of go-ethereum. It has calls only: no rooms, nothing to say.
type geth struct{ plain }

func (geth) receive(c *conn, message []byte) error {
	return c.loop.work.receive(c, bytes.TrimSuffix(message, []byte("\n"))) // its encoder ends a value so
}

func (geth) appendEcho(b []byte, id int, line []byte) []byte {
	b = append(appendNumber(b, `{"jsonrpc":"2.0","id":`, id), `,"method":"bench_echo","params":[`...)
	return append(append(b, line...), "]}"...)
}

func (geth) appendEchoed(b []byte, id int, line []byte) []byte {
	b = append(appendNumber(b, `{"jsonrpc":"2.0","id":`, id), `,"result":`...)
	return append(append(b, line...), '}')
}

func (geth) answers(message []byte) (id int, ok bool) {
	return idAfter(message, `{"jsonrpc":"2.0","id":`)
}
