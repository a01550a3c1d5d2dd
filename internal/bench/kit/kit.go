// Package kit is what the servers of the benchmark share: their command line, their listener, the commands that the runner
// gives them, and the messages of those that do JSON by hand.
package kit

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
)

// Config is what the command line of a server says.
type Config struct {
	Compress bool   // offer permessage-deflate
	Mode     string // one of the modes given to Parse; empty if there are none
}

// Parse reads the command line of a server that has those modes, the first by default.
func Parse(modes ...string) Config {
	var c Config
	flag.BoolVar(&c.Compress, "compress", false, "agree to permessage-deflate")
	if len(modes) > 0 {
		flag.StringVar(&c.Mode, "mode", modes[0], "one of "+strings.Join(modes, ", "))
	}
	flag.Parse()
	if len(modes) > 0 && !slices.Contains(modes, c.Mode) || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	return c
}

// ServeHTTP serves WebSockets by h at /ws, and the runner's commands, until stdin ends. It doesn't return.
func ServeHTTP(h http.Handler) {
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	serve(func(l net.Listener) error { return http.Serve(l, mux) })
}

// ServeConns hands each connection to serveConn, on a goroutine of its own, and serves the runner's commands, until stdin
// ends. It doesn't return.
func ServeConns(serveConn func(net.Conn)) {
	serve(func(l net.Listener) error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			go serveConn(conn)
		}
	})
}

func serve(accept func(net.Listener) error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		Fatal(err)
	}
	go func() { Fatal(accept(l)) }()
	fmt.Println(ListeningPrefix + l.Addr().String())
	if err := control(os.Stdin, os.Stdout); err != nil {
		Fatal(err)
	}
	os.Exit(0)
}

// Fatal ends a server that can't go on.
func Fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
