//go:build linux

package main

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"
)

// input is the lines of standard input.
type input struct {
	text  []byte
	ended bool
}

// read takes what has come. It is called when there is something.
func (in *input) read() error {
	var b [512]byte
	n, err := unix.Read(0, b[:])
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		return err
	}
	in.text = append(in.text, b[:n]...)
	in.ended = n == 0
	return nil
}

// line takes a line, if there is a whole one.
func (in *input) line() (text string, ok bool) {
	line, rest, ok := bytes.Cut(in.text, []byte("\n"))
	if !ok {
		return "", false
	}
	in.text = rest
	return string(bytes.TrimSpace(line)), true
}
