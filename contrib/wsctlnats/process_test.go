package wsctlnats_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/wsctl/wsctl/contrib/wsctlnats"
)

// serverEnv has the test binary be a NATS server.
const serverEnv = "WSCTLNATS_TEST_SERVER"

func TestMain(m *testing.M) {
	if settings := os.Getenv(serverEnv); settings != "" {
		serve(settings)
		return
	}
	os.Exit(m.Run())
}

// process is a NATS server in a process of its own, which can be killed.
type process struct {
	t testing.TB
	serverSettings
	cmd *exec.Cmd
}

type serverSettings struct {
	Name, Dir   string
	Port        int
	ClusterPort int // 0: none
	Routes      []string
}

// serve is the process: a server until its standard input ends.
func serve(settings string) {
	var s serverSettings
	if err := json.Unmarshal([]byte(settings), &s); err != nil {
		panic(err)
	}
	opts := &server.Options{ServerName: s.Name, Host: "127.0.0.1", Port: s.Port, JetStream: true, StoreDir: s.Dir, NoLog: true, NoSigs: true}
	if s.ClusterPort != 0 {
		opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: s.ClusterPort}
		for _, route := range s.Routes {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: route})
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		panic(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		panic("the NATS server doesn't start")
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // the test has ended
}

func startProcess(t testing.TB, s serverSettings) *process {
	t.Helper()
	s.Dir = t.TempDir()
	p := &process{t: t, serverSettings: s}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.t.Helper()
	settings, err := json.Marshal(p.serverSettings)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), serverEnv+"="+string(settings))
	p.cmd.Stderr = os.Stderr
	if _, err := p.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		p.t.Fatalf("a server hasn't started: %q, %v", line, err)
	}
}

// kill ends the process without a chance to do anything.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", p.Port) }

// freePorts returns ports of this machine that nobody listened at a moment ago: servers have to know each other's before they start.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// TestKilledServer kills the only server while nodes keep messages: what was acknowledged is there afterwards, once, in the same
// epoch, and what was not at most once.
func TestKilledServer(t *testing.T) {
	p := startProcess(t, serverSettings{Port: freePorts(t, 1)[0]})
	a, b := connect(t, p.url(), roomy), connect(t, p.url(), roomy)
	w := newWriters(t, "room", a, b)
	for range 3 {
		w.more(100)
		p.kill()
		p.start()
	}
	w.more(100)
	w.end()
	w.check(a)
}

// TestKilledLeader kills the leader of a stream of three replicas, and then the server that the node is connected to.
func TestKilledLeader(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 6)
	var servers []*process
	var urls string
	for i := range 3 {
		s := serverSettings{Name: fmt.Sprint("n", i), Port: ports[i], ClusterPort: ports[3+i]}
		for _, port := range ports[3:] {
			s.Routes = append(s.Routes, fmt.Sprintf("127.0.0.1:%d", port))
		}
		servers = append(servers, startProcess(t, s))
		urls += servers[i].url() + ","
	}
	opts := &wsctlnats.Options{Replicas: 3, MaxMessages: roomy.MaxMessages}
	a, b := connect(t, urls[:len(urls)-1], opts), connect(t, servers[1].url(), opts)
	since(t, a, "room", "") // there is a stream
	w := newWriters(t, "room", a, b)
	w.more(100)
	i := leader(t, b.Conn(), servers)
	servers[i].kill()
	w.more(100)
	servers[i].start()
	w.more(100)
	i = connected(t, a.Conn(), servers)
	servers[i].kill()
	w.more(100)
	servers[i].start()
	w.more(100)
	w.end()
	w.check(b)
}
