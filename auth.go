package wsctl

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json"
)

// renew takes an $auth: a fresh credential of the same user. It ends as a call does. One is looked at at a time, beside the
// order of messages.
func (s *Socket) renew(c *conn, e envelope) {
	if e.id == 0 {
		s.badControl(c, errors.New("$auth without an id"))
		return
	}
	var data struct {
		Token string `json:"token"`
	}
	err := json.Unmarshal(e.data, &data)
	s.mu.Lock()
	if s.inbox.inUse(e.id) {
		s.bad(c, envelope{}, errors.New("the id of $auth is in use"))
		return
	}
	if s.ended != nil {
		s.mu.Unlock()
		return
	}
	m := &inbound{envelope: envelope{typ: []byte("$auth"), id: e.id}}
	s.inbox.register(m)
	switch {
	case err != nil || e.data == nil:
		m.fault = &Error{Code: CodeBadRequest, Message: "$auth without a token"}
	case s.session.auth:
		m.fault = &Error{Code: CodeTooMany, Message: "another $auth is being looked at"}
	default:
		s.session.auth = true
	}
	s.refs.Add(1)
	s.mu.Unlock()
	go s.runAuth(m, data.Token)
}

// runAuth answers an $auth.
func (s *Socket) runAuth(m *inbound, token string) {
	done := false
	defer func() {
		if !done { // Authenticate has ended the goroutine by runtime.Goexit
			s.free(m.id)
			s.end(&CloseError{Code: CloseInternal}, false)
		}
		s.release()
	}()
	var result any
	err := m.fault
	if err == nil {
		ctx, cancel := s.begin(m)
		result, err = s.reauthenticate(ctx, token)
		cancel(nil)
		s.mu.Lock()
		s.session.auth = false
		s.mu.Unlock()
	}
	s.free(m.id)
	s.answer(m.envelope, result, err)
	done = true
}

// reauthenticate asks for the identity that goes with a token. An older one never shortens what the socket has.
func (s *Socket) reauthenticate(ctx context.Context, token string) (any, error) {
	id, err := s.h.authenticate(ctx, nil, token)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Identity()
	if id.User != old.User {
		return nil, &Error{Code: CodeForbidden, Message: "the credential is another user's"}
	}
	if id.Expires.IsZero() || !old.Expires.IsZero() && id.Expires.After(old.Expires) {
		s.identity.Store(&id)
		old = id
	}
	return struct {
		Expires *int64 `json:"expires,omitempty"`
	}{expiresIn(old)}, nil
}
