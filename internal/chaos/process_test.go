//go:build unix

package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("CHAOS_ROLE") {
	case "":
		os.Exit(m.Run())
	case "node":
		err = runNode()
	case "nats":
		err = runNATS()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runNATS is the process of a NATS server. It ends by a signal, or with the process that started it.
func runNATS() error {
	host, port, err := splitAddr(os.Getenv("CHAOS_ADDR"))
	if err != nil {
		return err
	}
	srv, err := server.NewServer(&server.Options{
		Host: host, Port: port, JetStream: true, StoreDir: os.Getenv("CHAOS_DIR"),
		SyncAlways: true, // it loses nothing, however it ends
	})
	if err != nil {
		return err
	}
	srv.ConfigureLogger()
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		return fmt.Errorf("the server isn't ready")
	}
	fmt.Println(srv.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(3)
	return nil
}

func splitAddr(addr string) (host string, port int, err error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return "", 0, err
	}
	return a.IP.String(), a.Port, nil
}

// process is one that is started, killed and started again.
type process struct {
	t    *testing.T
	name string
	cmd  func() *exec.Cmd
	at   string // its address; empty: it prints a line with that, as soon as it is ready
	log  *os.File

	mu   sync.Mutex // guards following
	addr string     // of the one that runs; empty: none does
	proc *os.Process
	gone chan struct{}  // closed when it has ended
	by   syscall.Signal // ends it; 0: nothing should
}

// newProcess starts cmd.
func newProcess(t *testing.T, name, at string, cmd func() *exec.Cmd) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, cmd: cmd, at: at, log: log}
	t.Cleanup(func() {
		p.kill()
		p.checkLog()
		log.Close()
	})
	p.start()
	return p
}

// itself starts this test as another process.
func itself(role string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "CHAOS_ROLE="+role), env...)
	return cmd
}

// start starts it, and waits until it is ready. It fails the test if it isn't.
func (p *process) start() {
	cmd := p.cmd()
	cmd.Stdout, cmd.Stderr = p.log, p.log
	in, err := cmd.StdinPipe() // closes with this process
	var out io.ReadCloser
	if err == nil && p.at == "" {
		cmd.Stdout = nil
		out, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Errorf("%s: %v", p.name, err)
		return
	}
	gone := make(chan struct{})
	p.mu.Lock()
	p.proc, p.gone, p.by = cmd.Process, gone, 0
	p.mu.Unlock()
	ready := make(chan string, 1)
	go func() {
		if out != nil {
			line, _ := bufio.NewReader(out).ReadString('\n')
			ready <- strings.TrimSpace(line)
		}
		err := cmd.Wait()
		in.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.addr = ""
		if p.by == 0 || p.by == syscall.SIGTERM && err != nil {
			p.t.Errorf("%s has ended: %v", p.name, err)
		}
		close(gone)
	}()
	limit := time.After(time.Minute)
	for addr := ""; addr == ""; {
		if out == nil && answers(p.at) == nil {
			addr = p.at
		} else {
			select {
			case addr = <-ready:
			case <-time.After(20 * time.Millisecond):
				continue
			case <-gone: // which is told already
				return
			case <-limit:
				p.t.Errorf("%s isn't ready", p.name)
				return
			}
		}
		p.mu.Lock()
		p.addr = addr
		p.mu.Unlock()
	}
}

func (p *process) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// signal sends one. end says that the process ends by it, which is waited for.
func (p *process) signal(s syscall.Signal, end bool) {
	p.mu.Lock()
	proc, gone := p.proc, p.gone
	if end {
		p.by, p.addr = s, ""
	}
	p.mu.Unlock()
	if proc == nil {
		return
	}
	_ = proc.Signal(s)
	if !end {
		return
	}
	select {
	case <-gone:
	case <-time.After(30 * time.Second):
		p.t.Errorf("%s doesn't end by %v", p.name, s)
		_ = proc.Kill()
		<-gone
	}
}

func (p *process) kill() { p.signal(syscall.SIGKILL, true) }

var alarming = regexp.MustCompile(`(?m)^(WARNING: DATA RACE|panic:|fatal error:|.*"wsctl: panic").*$`)

// checkLog fails the test for what must not be in a log, and shows its end if the test has failed.
func (p *process) checkLog() {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		p.t.Error(err)
		return
	}
	if at := alarming.FindIndex(text); at != nil {
		p.t.Errorf("%s logs:\n%s", p.name, text[at[0]:min(len(text), at[0]+5000)])
	}
	if p.t.Failed() {
		lines := bytes.SplitAfter(text, []byte("\n"))
		p.t.Logf("the end of the log of %s:\n%s", p.name, bytes.Join(lines[max(0, len(lines)-30):], nil))
	}
}
