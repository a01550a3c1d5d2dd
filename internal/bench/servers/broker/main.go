//go:build linux

// Command broker is what the nodes of the benchmark talk over: a NATS server of its own, or a redis-server that it starts. What
// it keeps is in memory, in one copy.
//
// It prints its address, and the id of the process that does the work, and ends with its standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/wsctl/wsctl/internal/bench/kit"
)

func main() {
	runtime.LockOSThread() // a redis-server ends with the thread that has started it
	mode := flag.String("mode", "", "nats, jetstream or redis")
	flag.Parse()
	if err := run(*mode); err != nil {
		kit.Fatal(err)
	}
}

// run has a broker of that mode until standard input ends.
func run(mode string) error {
	var b broker
	var err error
	switch mode {
	case "nats":
		b, err = startNATS(false)
	case "jetstream":
		b, err = startNATS(true)
	case "redis":
		b, err = startRedis()
	default:
		err = fmt.Errorf("there is no mode %q", mode)
	}
	if err != nil {
		return err
	}
	defer b.stop()
	fmt.Printf("%s%s %d\n", kit.ListeningPrefix, b.url, b.pid)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// broker is one that runs.
type broker struct {
	url  string
	pid  int
	stop func()
}
