package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// patience is how long a program has for an answer, beyond what it is told to take.
const patience = 90 * time.Second

// process is a program that is spoken to in lines.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of stdout; closed at its end
	errs  bytes.Buffer
}

// start runs a program, until ctx ends at the latest.
func start(ctx context.Context, path string, args ...string) (*process, error) {
	p := &process{name: path[strings.LastIndexByte(path, '/')+1:], cmd: exec.CommandContext(ctx, path, args...), lines: make(chan string)}
	p.cmd.Stderr = &p.errs
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case p.lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return p, nil
}

// read returns the next line.
func (p *process) read(within time.Duration) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", p.end()
		}
		return line, nil
	case <-time.After(within):
		p.kill()
		return "", fmt.Errorf("%s: nothing came within %v", p.name, within)
	}
}

// ask sends a line, and decodes the answer into v.
func (p *process) ask(line string, within time.Duration, v any) error {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return errors.Join(err, p.end())
	}
	answer, err := p.read(within)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(answer), v); err != nil {
		return fmt.Errorf("%s answers %q with %q: %w", p.name, line, answer, err)
	}
	return nil
}

// close ends the program: in an orderly way unless there was an error, which it returns with what the program had to say.
func (p *process) close(err error) error {
	if err == nil {
		return p.finish()
	}
	return errors.Join(err, p.abandon())
}

// finish ends the program in an orderly way.
func (p *process) finish() error {
	p.stdin.Close()
	timer := time.AfterFunc(10*time.Second, p.kill)
	defer timer.Stop()
	for line := range p.lines {
		p.kill()
		return fmt.Errorf("%s says %q at its end", p.name, line)
	}
	if err := p.cmd.Wait(); err != nil {
		return p.failure(err)
	}
	if p.errs.Len() > 0 {
		return p.failure(errors.New("it isn't silent"))
	}
	return nil
}

// end tells why the program has ended by itself.
func (p *process) end() error {
	p.kill()
	err := p.cmd.Wait()
	if err == nil {
		err = errors.New("it has ended")
	}
	return p.failure(err)
}

// abandon ends the program, unless it has ended. The error is what it said on stderr, if anything.
func (p *process) abandon() error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	p.kill()
	err := p.cmd.Wait()
	if p.errs.Len() == 0 {
		return nil
	}
	return p.failure(err)
}

func (p *process) failure(err error) error {
	const most = 500
	text := strings.TrimSpace(p.errs.String())
	if len(text) > most {
		text = text[:most] + "…"
	}
	return fmt.Errorf("%s: %w: %s", p.name, err, text)
}

func (p *process) kill() { _ = p.cmd.Process.Kill() } // an error: it has ended
