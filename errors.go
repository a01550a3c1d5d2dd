package wsctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// Error is an error that a client is meant to see: returned, also wrapped, from a method. Every other error is logged
// and reaches the client as [CodeInternal] (a context's as [CodeCanceled] or [CodeTimeout]) without its text, except
// that of an argument's Validate method, which reaches it as [CodeBadRequest].
//
// It is also what [Socket.Call] returns when the client has failed. Returned from a method, such an error reaches that client
// alone; any other gets CodeInternal.
type Error struct {
	// Code is for programs: one of the Code constants, or the application's own. Empty is sent as CodeInternal.
	Code string
	// Message is for people.
	Message string
	// Data is encoded as JSON for the client; nil: none. From a client it is a json.RawMessage.
	Data any

	from string // Socket.ID of the client that it comes from; empty: it is the application's
}

// Error returns the code and the message.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// Errorf returns an [*Error] with a message formatted as by [fmt.Sprintf]. The client sees it: format nothing into it
// that isn't meant for the client, another error's text least of all.
func Errorf(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Codes of an [Error]. An application may add its own.
const (
	CodeBadRequest      = "bad_request"     // the data doesn't decode, or fails its validation
	CodeNotFound        = "not_found"       // no such method
	CodeInternal        = "internal"        // the method failed or panicked
	CodeCanceled        = "canceled"        // by the caller, or the socket's end
	CodeTimeout         = "timeout"         // a deadline passed
	CodeUnauthenticated = "unauthenticated" // no credential, or a bad one
	CodeForbidden       = "forbidden"       // not for this user
	CodeTooMany         = "too_many"        // a limit passed
	CodeUnavailable     = "unavailable"     // shutting down, or the session was lost
)

// CloseError tells how a socket ended. Returned, also wrapped, from a method or from OnOpen it closes the socket.
type CloseError struct {
	Code   int    // RFC 6455, section 7.4, and the Close constants
	Reason string // at most 123 bytes travel
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	s := "wsctl: closed with " + strconv.Itoa(e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Close codes: those of RFC 6455 that wsctl sends or reports, and its own. Clients read them like HTTP: 44xx is the
// client's fault and final, everything else is tried again.
const (
	CloseNormal          = 1000 // by the application: don't come back
	CloseGoingAway       = 1001 // shutting down, or the page was left
	CloseAbnormal        = 1006 // the connection was lost without a close frame; never sent
	CloseInternal        = 1011 // a method or hook failed
	CloseBadRequest      = 4400 // bad messages of this protocol
	CloseUnauthenticated = 4401 // the credential is missing, wrong or expired
	CloseForbidden       = 4403 // not for this user
	CloseTimeout         = 4408 // no sign of life
	CloseReplaced        = 4409 // the session is held by another connection
	CloseTooMany         = 4429 // a limit passed
	CloseSlow            = 4510 // the client reads too slowly: its queue was full
)

// Codes of RFC 6455 that are sent, but that nobody need name.
const (
	closeProtocol    = 1002
	closeUnsupported = 1003
	closeNoStatus    = 1005
	closePolicy      = 1008
	closeTooBig      = 1009
	closeRestart     = 1012
	closeTryAgain    = 1013
)

// ErrClosed is what a socket that has ended answers. It is a [net.ErrClosed] as well.
var ErrClosed error = closedError{}

// ErrSlow is what [Socket.Send] answers when the message doesn't fit the socket's queue: the socket is closing with
// [CloseSlow].
var ErrSlow = errors.New("wsctl: the client reads too slowly, its queue is full")

type closedError struct{}

func (closedError) Error() string { return "wsctl: socket closed" }
func (closedError) Unwrap() error { return net.ErrClosed }

// clientError is what the client of a socket may see of err, and whether there is more to err that belongs in the log.
func clientError(err error, socket string) (e *Error, hidden bool) {
	switch {
	case errors.As(err, &e) && (e.from == "" || e.from == socket):
		return e, false
	case e != nil: // another client's
		return &Error{Code: CodeInternal}, true
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout}, true
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeCanceled}, true
	}
	return &Error{Code: CodeInternal}, true
}
