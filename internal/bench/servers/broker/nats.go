//go:build linux

package main

import (
	"errors"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// patience is how long a broker has to start.
const patience = 10 * time.Second

// startNATS starts a NATS server in this process, with JetStream or without.
func startNATS(jetStream bool) (broker, error) {
	folder, err := os.MkdirTemp("", "wsctl-bench-nats")
	if err != nil {
		return broker{}, err
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: jetStream, StoreDir: folder,
	})
	if err != nil {
		return broker{}, errors.Join(err, os.RemoveAll(folder))
	}
	s.Start()
	stop := func() {
		s.Shutdown()
		s.WaitForShutdown()
		_ = os.RemoveAll(folder) // it is a temporary one
	}
	if !s.ReadyForConnections(patience) {
		stop()
		return broker{}, errors.New("the NATS server doesn't get ready")
	}
	return broker{url: s.ClientURL(), pid: os.Getpid(), stop: stop}, nil
}
