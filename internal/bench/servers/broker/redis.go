//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
)

// ready is what a redis-server logs when it takes connections.
const ready = "Ready to accept connections"

// startRedis starts a redis-server that writes nothing to disk.
func startRedis() (broker, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return broker{}, errors.New("redis-server isn't installed")
	}
	port, err := freePort()
	if err != nil {
		return broker{}, err
	}
	cmd := exec.Command(program, "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--save", "", "--appendonly", "no")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StdoutPipe()
	if err != nil {
		return broker{}, err
	}
	if err := cmd.Start(); err != nil {
		return broker{}, err
	}
	stop := func() {
		_ = cmd.Process.Kill() // it has ended, or has nothing to lose
		_ = cmd.Wait()
	}
	var last string
	lines := bufio.NewScanner(log)
	for !strings.Contains(last, ready) {
		if !lines.Scan() {
			stop()
			return broker{}, fmt.Errorf("redis-server ends with %q", last)
		}
		last = lines.Text()
	}
	return broker{url: fmt.Sprintf("redis://127.0.0.1:%d", port), pid: cmd.Process.Pid, stop: stop}, nil
}

// freePort returns a port that nobody listened on a moment ago: a redis-server can't choose one itself.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
