package wsctlnats_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// patience is how long a test waits for what must come: long enough for a cluster to elect a leader.
const patience = time.Minute

// natsServer is a NATS server in this process, which can be stopped and started again in its place.
type natsServer struct {
	t    testing.TB
	opts server.Options

	mu  sync.Mutex // guards following
	srv *server.Server
}

// newServer starts a server with JetStream. change may change its options; nil is allowed.
func newServer(t testing.TB, change func(o *server.Options)) *natsServer {
	t.Helper()
	n := &natsServer{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	}}
	if change != nil {
		change(&n.opts)
	}
	n.start()
	n.opts.Port = n.server().Addr().(*net.TCPAddr).Port
	t.Cleanup(n.stop)
	return n
}

func (n *natsServer) start() {
	n.t.Helper()
	opts := n.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		n.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		n.t.Fatal("the NATS server doesn't start")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.srv = srv
}

func (n *natsServer) stop() {
	srv := n.server()
	srv.Shutdown()
	srv.WaitForShutdown()
}

func (n *natsServer) server() *server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.srv
}

func (n *natsServer) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.opts.Port) }

// newCluster starts three servers, and waits until they keep a stream together.
func newCluster(t testing.TB) []*natsServer {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0") // all have to know all ports before they start
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: ln.Addr().String()})
		ln.Close()
	}
	servers := make([]*natsServer, 3)
	for i := range servers {
		servers[i] = newServer(t, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		})
	}
	ready(t, servers)
	return servers
}

// ready waits until servers keep messages, each connected to all others.
func ready(t testing.TB, servers []*natsServer) {
	t.Helper()
	for _, n := range servers {
		eventually(t, func() error {
			// A pool of three for each other server, and one for the system account: messages get lost while they are made.
			if got := n.server().NumRoutes(); got < 4*(len(servers)-1) {
				return fmt.Errorf("%d routes of %d servers", got, len(servers))
			}
			return nil
		})
	}
	js, done := jetStream(t, servers[0])
	defer done()
	eventually(t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = js.DeleteStream(ctx, "ready") // so that all servers have to take part
		cfg := jetstream.StreamConfig{Name: "ready", Subjects: []string{"ready"}, Replicas: len(servers)}
		if _, err := js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return err
		}
		if _, err := js.Publish(ctx, "ready", nil); err != nil {
			return err
		}
		if s, err := js.Stream(ctx, "wsctl"); errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		} else if err != nil {
			return err
		} else if _, err := s.GetMsg(ctx, 1); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return err
		}
		return nil
	})
}

// jetStream connects without a broker.
func jetStream(t testing.TB, n *natsServer) (js jetstream.JetStream, done func()) {
	t.Helper()
	return jetStreamAs(t, n)
}

func jetStreamAs(t testing.TB, n *natsServer, opts ...nats.Option) (js jetstream.JetStream, done func()) {
	t.Helper()
	nc, err := nats.Connect(n.url(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return js, nc.Close
}

func urls(servers []*natsServer) string {
	var list []string
	for _, n := range servers {
		list = append(list, n.url())
	}
	return strings.Join(list, ",")
}

// connect connects a broker, which ends with the test.
func connect(t testing.TB, url string, opts *wsctlnats.Options) *wsctlnats.Broker {
	t.Helper()
	var o wsctlnats.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b, err := wsctlnats.Connect(url, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// eventually calls fn until it returns nil.
func eventually(t testing.TB, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		timer := time.NewTimer(20 * time.Millisecond)
		<-timer.C
	}
}

// within returns a context that ends late enough for everything that is to succeed.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// listener notes what a subscription delivers.
type listener struct {
	t    testing.TB
	name string
	stop func()

	mu      sync.Mutex // guards following
	got     []delivery
	notices int
	changed chan struct{} // closed and replaced when anything comes
}

type delivery struct{ pos, text string }

func listen(t testing.TB, b wsctl.Broker, topic string) *listener {
	t.Helper()
	l := &listener{t: t, changed: make(chan struct{})}
	eventually(t, func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l.stop, err = b.Subscribe(ctx, topic, l.deliver)
		return err
	})
	t.Cleanup(l.stop)
	return l
}

func (l *listener) deliver(pos string, msg []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if msg == nil {
		l.notices++
	} else {
		l.got = append(l.got, delivery{pos, string(msg)})
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// wait waits until ready, called with mu held, reports true.
func (l *listener) wait(what string, ready func() bool) {
	l.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !ready() {
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			l.mu.Lock()
			l.t.Fatalf("no %s in %v %s", what, patience, l.name)
		}
		l.mu.Lock()
	}
}

// take waits for n deliveries, and returns them, from the first on.
func (l *listener) take(n int) []delivery {
	l.t.Helper()
	l.wait(fmt.Sprintf("%d messages", n), func() bool { return len(l.got) >= n })
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// noticed waits for the nth notice that messages may have been missed.
func (l *listener) noticed(n int) {
	l.t.Helper()
	l.wait("notice", func() bool { return l.notices >= n })
}

// came waits for a message, and reports false if it was told first that some may have been missed.
func (l *listener) came() bool {
	l.t.Helper()
	l.wait("message, or notice", func() bool { return len(l.got)+l.notices > 0 })
	n, _ := l.count()
	return n > 0
}

func (l *listener) count() (messages, notices int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.got), l.notices
}

// since is Since that must not fail.
func since(t testing.TB, b wsctl.HistoryBroker, topic, pos string) (texts []string, newest string, ok bool) {
	t.Helper()
	var msgs [][]byte
	eventually(t, func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		msgs, newest, ok, err = b.Since(ctx, topic, pos)
		return err
	})
	for _, msg := range msgs {
		texts = append(texts, string(msg))
	}
	return texts, newest, ok
}

var keepAll = wsctl.Retention{Messages: 1000}

// keep is PublishKeep that must not fail.
func keep(t testing.TB, b wsctl.HistoryBroker, topic, text string) {
	t.Helper()
	if err := b.PublishKeep(within(t), topic, []byte(text), keepAll); err != nil {
		t.Fatal(err)
	}
}

func epoch(pos string) string {
	e, _, _ := strings.Cut(pos, ".")
	return e
}

// noGoroutines waits until there are no more of this package and the NATS client than there were before.
func noGoroutines(t testing.TB, before int) {
	t.Helper()
	eventually(t, func() error {
		if n := goroutines(); n > before {
			return fmt.Errorf("%d goroutines, %d before", n, before)
		}
		return nil
	})
}

// goroutines counts those that run code of this package or of the NATS client, but for those of tests.
func goroutines() int {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	n := 0
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(g, "nats-io/nats.go") || strings.Contains(g, "contrib/wsctlnats.") {
			n++
		}
	}
	return n
}
