// Command bench measures wsctl against other WebSocket stacks for Go, and prints Markdown tables.
//
// Each stack is a server program of its own (servers/), which does the same by the means of its library, and is put under load
// by a program (load/) that verifies every byte it gets. Every measurement has fresh processes of both; rounds of all stacks
// are interleaved, in an order that differs from round to round. The figure is what a unit of work costs the server in CPU time,
// or, of idle connections, in memory. It needs Linux.
//
// Of several nodes, each is a process, and so is the broker (servers/broker): a NATS server that it is, or a redis-server that has
// to be installed.
//
//	go run .                                   all of it, in about half an hour
//	go run . -work '^echo' -stack 'wsctl|gorilla'
//	go run . -list                             what there is to measure, and how long it takes
//	go run . -grow                             how costs grow with connections and rooms, with a picture, in a quarter of an hour
//	go run . -plot growth.jsonl                the picture again, of what was measured then
//	go run . -cluster                          what rooms cost on two nodes with a broker between them, in 16 minutes
package main
