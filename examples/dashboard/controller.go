package main

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/wsctl/wsctl"
)

// What the server tells pages without being asked.
var (
	// A gauge is told several times a second. A page that doesn't keep up needs the newest value of each and no other: Latest
	// has it take the place of the one that still waits, so what waits for a slow page doesn't grow.
	gauge = wsctl.NewEvent[Gauge]("gauge").Latest(func(g Gauge) string { return g.Name })

	server = wsctl.NewEvent[Server]("server")
	pong   = wsctl.NewEvent[int]("pong")
)

// Gauge is a value of this moment.
type Gauge struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// Server says what a page is connected to.
type Server struct {
	Go   string `json:"go"`   // version
	OS   string `json:"os"`   // linux/amd64
	CPUs int    `json:"cpus"` // that Go uses
}

// tell tells everybody gauges.
func tell(hub *wsctl.Hub, gauges map[string]int64) {
	for name, value := range gauges {
		if err := gauge.Send(hub.Everyone(), Gauge{name, value}); err != nil {
			slog.Error("can't tell a gauge", "gauge", name, "error", err)
		}
	}
}

// Dashboard is the controller that all pages share.
type Dashboard struct{ recorder *Recorder }

// OnOpen runs when a page has connected. One that only was away for a moment is the same socket as before.
func (d *Dashboard) OnOpen(s *wsctl.Socket, _ *http.Request) error {
	return server.Send(s, Server{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, runtime.GOMAXPROCS(0)})
}

// Since is the newest sample that a page has. The zero Since is that of a page that has none.
type Since struct {
	Run string `json:"run"`
	N   int64  `json:"n"`
}

// Validate is called by wsctl before Metrics is. Its error reaches the page.
func (s Since) Validate() error {
	if s.N < 0 {
		return errors.New("samples are counted from 1")
	}
	return nil
}

// Metrics handles {"type":"metrics","id":1,"data":{"run":"K4DZ5QNA","n":17}}: it streams the samples after that one, then each
// new one as it is measured. A page that has samples of another run gets all that there are.
//
// A page that loses its connection and comes back within Options.Resume gets what was measured meanwhile without asking again:
// the stream outlives the connection. Since is for those who come back later, or to a server that was started anew.
func (d *Dashboard) Metrics(ctx context.Context, _ *wsctl.Socket, since Since) (iter.Seq2[Sample, error], error) {
	switch {
	case since.Run != d.recorder.run:
		since.N = 0
	case since.N > d.recorder.Newest():
		return nil, wsctl.Errorf(wsctl.CodeBadRequest, "sample %d hasn't been measured yet", since.N)
	}
	return d.recorder.Follow(ctx, since.N), nil
}

// Ping handles {"type":"ping","data":1}, which a page sends many of, and answers each with {"type":"pong","data":1}.
func (d *Dashboard) Ping(s *wsctl.Socket, n int) error { return pong.Send(s, n) }
