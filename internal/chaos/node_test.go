//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
	"github.com/wsctl/wsctl/contrib/wsctlredis"
)

// broker is a connection to one of the brokers.
type broker interface {
	wsctl.HistoryBroker
	Close()
}

// connect connects to a NATS or Redis server, and retries until it is there.
func connect(kind, addr string, log *slog.Logger) (b broker) {
	for {
		var err error
		if kind == "nats" {
			b, err = wsctlnats.Connect("nats://"+addr, &wsctlnats.Options{Logger: log})
		} else {
			b, err = wsctlredis.New(rueidis.ClientOption{
				InitAddress: []string{addr}, Dialer: net.Dialer{Timeout: time.Second}, ConnWriteTimeout: 2 * time.Second,
			}, &wsctlredis.Options{Durable: true, Logger: log})
		}
		if err == nil {
			return b
		}
		log.Info("connecting to the broker", "err", err)
		<-time.After(200 * time.Millisecond)
	}
}

// line is a message of a room.
type line struct{ Room, Text string }

// seats is the controller of a node.
type seats struct{}

// OnOpen joins the rooms that the client's address names.
func (seats) OnOpen(s *wsctl.Socket, r *http.Request) error {
	for room := range strings.SplitSeq(r.URL.Query().Get("rooms"), ",") {
		if err := s.Join(room); err != nil {
			return err
		}
	}
	return nil
}

// Say sends a line to its room.
func (seats) Say(s *wsctl.Socket, l line) error {
	return s.Hub().Room(l.Room).Send("said", l)
}

// retention keeps much, or little in rooms whose name says so: there some come back too late.
func retention(room string) wsctl.Retention {
	if small(room) {
		return wsctl.Retention{Messages: 3}
	}
	return wsctl.Retention{Messages: 1000, Age: 10 * time.Minute}
}

func small(room string) bool { return strings.HasPrefix(room, "small") }

// runNode is the process of a node. It prints its address, and ends with SIGTERM, or with the process that started it.
func runNode() error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	b := connect(os.Getenv("CHAOS_KIND"), os.Getenv("CHAOS_BROKER"), log)
	defer b.Close()
	h := wsctl.New(seats{}, &wsctl.Options{
		Hub:          &wsctl.Hub{Broker: b, History: retention},
		Logger:       log,
		Resume:       10 * time.Second,
		PingInterval: 2 * time.Second,
		PingTimeout:  2 * time.Second,
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	fmt.Println(ln.Addr())
	select {
	case err := <-served:
		return err
	case <-term:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = h.Shutdown(ctx)
	log.Info("shut down", "err", err, "stats", fmt.Sprintf("%+v", h.Stats()))
	return errors.Join(ignoreDeadline(err), srv.Close())
}

// ignoreDeadline takes methods that were still running for what can happen while the broker is away.
func ignoreDeadline(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
