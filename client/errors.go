package client

import (
	"context"
	"encoding/json"
	"errors"
	"net"

	"github.com/wsctl/wsctl"
)

// CodeTooBig is the code of the [*wsctl.Error] for a message larger than the server takes. It was not written.
const CodeTooBig = "too_big"

// ErrClosed is what a client that is closed for good answers. It is a [net.ErrClosed] as well. If the server closed it, the
// error that is returned has the [*wsctl.CloseError] too.
var ErrClosed error = &closedError{}

type closedError struct{ cause error }

func (e *closedError) Error() string {
	if e.cause == nil {
		return "wsctl: client closed"
	}
	return "wsctl: client closed: " + e.cause.Error()
}

func (e *closedError) Is(target error) bool { return target == ErrClosed || target == net.ErrClosed }
func (e *closedError) Unwrap() error        { return e.cause }

// Each caller gets an error of its own, as it may change it.
func unavailable() error {
	return &wsctl.Error{Code: wsctl.CodeUnavailable, Message: "the session was lost before the call's end"}
}

func queueFull() error {
	return &wsctl.Error{Code: wsctl.CodeTooMany, Message: "the client's queue is full"}
}

func tooBig() error {
	return &wsctl.Error{Code: CodeTooBig, Message: "the message is larger than the server takes"}
}

// contextError is what a call fails with when its context ends: an *wsctl.Error, and the context's error as well.
func contextError(cause error) error {
	code := wsctl.CodeCanceled
	if errors.Is(cause, context.DeadlineExceeded) {
		code = wsctl.CodeTimeout
	}
	return &endedError{wsctl.Error{Code: code, Message: cause.Error()}, cause}
}

type endedError struct {
	err   wsctl.Error
	cause error
}

func (e *endedError) Error() string   { return e.err.Error() }
func (e *endedError) Unwrap() []error { return []error{&e.err, e.cause} }

// wireError is the data of $error, either way, and of $end.
type wireError struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// visible is what the server may see of an error of this side. hidden: there is more to it that belongs in the log.
func visible(err error) (w wireError, hidden bool) {
	var e *wsctl.Error
	switch {
	case errors.As(err, &e):
		w = wireError{Code: e.Code, Message: e.Message}
		if w.Code == "" {
			w.Code = wsctl.CodeInternal
		}
		if e.Data != nil {
			data, err := encode(e.Data)
			if err != nil {
				return wireError{Code: wsctl.CodeInternal}, true
			}
			w.Data = json.RawMessage(data)
		}
		return w, false
	case errors.Is(err, context.DeadlineExceeded):
		return wireError{Code: wsctl.CodeTimeout}, false
	case errors.Is(err, context.Canceled):
		return wireError{Code: wsctl.CodeCanceled}, false
	}
	return wireError{Code: wsctl.CodeInternal}, true
}
