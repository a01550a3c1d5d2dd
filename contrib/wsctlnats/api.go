package wsctlnats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStream's subjects, before the name of the stream.
const (
	leaderElected = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."
	apiGet        = "$JS.API.STREAM.MSG.GET."
	apiPurge      = "$JS.API.STREAM.PURGE."
	apiDirect     = "$JS.API.DIRECT.GET."
)

// Its codes.
const (
	codeUnavailable   = 503
	codeNoPeers       = 10005
	codeNoMessage     = 10037
	codeNoStream      = 10059
	codeWrongSequence = 10071
	codeOtherUnderway = 10164
)

// Headers of its answers to apiDirect, and values of the first.
const (
	headerStatus      = "Status"
	headerDescription = "Description"
	headerPending     = "Nats-Num-Pending"
	statusEndOfBatch  = "204"
	statusNoMessages  = "404"
	statusUnavailable = "503"
)

const (
	batch   = 500     // entries of one answer
	inBatch = 1 << 20 // bytes of one answer, about
)

// apiError is what JetStream answers instead.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return "JetStream: " + e.Description }

// temporary tells whether what failed with err may succeed when it is tried again.
func temporary(err error) bool {
	var api *apiError
	var js jetstream.JetStreamError
	switch {
	case errors.As(err, &api):
	case errors.As(err, &js) && js.APIError() != nil:
		api = &apiError{Code: js.APIError().Code, ErrCode: int(js.APIError().ErrorCode)}
	default:
		return errors.Is(err, errSilent) || errors.Is(err, errLags) || errors.Is(err, nats.ErrDisconnected) || refused(err)
	}
	switch api.ErrCode {
	case codeNoStream, codeNoPeers: // another server has one, or is about to join the cluster
		return true
	}
	return api.Code == codeUnavailable
}

// refused tells whether err says that the request didn't leave, or that nobody took it.
func refused(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// reply is an answer of JetStream: an error, or what was asked for.
type reply struct {
	Error   *apiError `json:"error"`
	Seq     uint64    `json:"seq"` // of what was stored
	Message struct {
		Seq  uint64    `json:"seq"`
		Hdrs []byte    `json:"hdrs"`
		Data []byte    `json:"data"`
		Time time.Time `json:"time"`
	} `json:"message"`
}

// request sends a request and returns the answer.
func (s *stream) request(ctx context.Context, m *nats.Msg) (r reply, err error) {
	answer, err := s.b.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return reply{}, err
	}
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return reply{}, fmt.Errorf("an answer of JetStream: %w", err)
	}
	if r.Error != nil {
		return reply{}, r.Error
	}
	return r, nil
}

// append stores e, which gets its seq, after that of e.prev, and nowhere else: errConflict says that this isn't the topic's
// last. After another error e may be stored, or be stored yet, unless the error is one that refused knows.
func (s *stream) append(ctx context.Context, token string, e *entry) error {
	r, err := s.request(ctx, &nats.Msg{Subject: s.b.keepSubject(e.gen, token), Header: e.header(), Data: e.encode()})
	var api *apiError
	switch {
	case errors.As(err, &api) && (api.ErrCode == codeWrongSequence || api.ErrCode == codeOtherUnderway):
		return errConflict
	case errors.Is(err, nats.ErrNoResponders):
		s.doubt(e.gen)
	case err == nil && r.Seq == 0:
		return errors.New("an answer of JetStream without a sequence")
	}
	e.seq, e.time = r.Seq, time.Now()
	return err
}

// last returns a topic's last entry; its seq is 0 if there is none, its pos none if it isn't ours. The stream's leader answers,
// so that nothing that was ever told or acknowledged is missing.
func (s *stream) last(ctx context.Context, gen, token string) (entry, error) {
	return s.get(ctx, gen, query{Last: s.b.keepSubject(gen, token)})
}

// next is last, but returns the topic's first entry from seq on.
func (s *stream) next(ctx context.Context, gen, token string, seq uint64) (entry, error) {
	return s.get(ctx, gen, query{Seq: seq, Next: s.b.keepSubject(gen, token)})
}

// query says which messages are asked for.
type query struct {
	Seq      uint64 `json:"seq,omitempty"`
	Last     string `json:"last_by_subj,omitempty"`
	Next     string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

func (s *stream) get(ctx context.Context, gen string, q query) (entry, error) {
	raw, err := json.Marshal(q)
	if err != nil {
		return entry{}, err
	}
	r, err := s.request(ctx, &nats.Msg{Subject: apiGet + s.name, Data: raw})
	var api *apiError
	if errors.As(err, &api) && api.ErrCode == codeNoMessage {
		return entry{gen: gen}, nil
	}
	if err != nil {
		if errors.As(err, &api) && api.ErrCode == codeNoStream || errors.Is(err, nats.ErrNoResponders) {
			s.doubt(gen)
		}
		return entry{}, err
	}
	var e entry
	if h, err := nats.DecodeHeadersMsg(r.Message.Hdrs); err == nil {
		e, _ = decode(h, r.Message.Data)
	}
	e.gen, e.seq, e.time = gen, r.Message.Seq, r.Message.Time
	return e, nil
}

// fetch returns a topic's entries from seq on. Those that aren't ours are among them, without a position. Any replica may
// answer, also one that hasn't got the newest yet, and what is forgotten meanwhile is missing. It is errSilent where nothing comes for
// as long as patience.
func (s *stream) fetch(ctx context.Context, patience time.Duration, gen, token string, seq uint64) ([]entry, error) {
	select {
	case s.b.lanes <- struct{}{}:
		defer func() { <-s.b.lanes }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var entries []entry
	for {
		raw, err := json.Marshal(query{Seq: max(seq, 1), Next: s.b.keepSubject(gen, token), Batch: batch, MaxBytes: inBatch})
		if err != nil {
			return nil, err
		}
		got, more, err := s.ask(ctx, patience, raw)
		if err != nil {
			return nil, err
		}
		entries = append(entries, got...)
		if !more || len(got) == 0 {
			return entries, nil
		}
		seq = got[len(got)-1].seq + 1
	}
}

// answer is what comes until a message says that it was the last one.
type answer struct {
	msgs []*nats.Msg
	end  chan *nats.Msg // of one
}

// ask asks for a batch of entries. more says that there are more.
func (s *stream) ask(ctx context.Context, patience time.Duration, raw []byte) (entries []entry, more bool, err error) {
	a := &answer{end: make(chan *nats.Msg, 1)}
	s.mu.Lock()
	s.asks++
	id := s.inbox + "." + strconv.FormatUint(s.asks, 36)
	s.answers[id] = a
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.answers, id)
	}()
	if err := s.b.nc.PublishRequest(apiDirect+s.name, id, raw); err != nil {
		return nil, false, err
	}
	end, err := s.await(ctx, patience, a)
	if err != nil {
		return nil, false, err
	}
	switch status := end.Header.Get(headerStatus); status {
	case statusNoMessages:
		return nil, false, nil
	case statusEndOfBatch:
	case statusUnavailable:
		return nil, false, nats.ErrNoResponders
	default:
		return nil, false, fmt.Errorf("JetStream: %s %s", status, end.Header.Get(headerDescription))
	}
	for _, m := range a.msgs {
		e, ok := stored(m)
		if !ok {
			e = entry{gen: e.gen, seq: e.seq, time: e.time}
		}
		if e.seq != 0 {
			entries = append(entries, e)
		}
	}
	pending, _ := strconv.Atoi(end.Header.Get(headerPending))
	return entries, pending > 0, nil
}

// await waits for the end of an answer. While others get theirs it may only be that this one's turn hasn't come.
func (s *stream) await(ctx context.Context, patience time.Duration, a *answer) (end *nats.Msg, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	came := s.came.Load()
	for {
		select {
		case end = <-a.end:
			return end, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.b.ctx.Done():
			return nil, errClosed
		case <-timer.C:
		}
		if now := s.came.Load(); now != came {
			came = now
		} else {
			return nil, errSilent
		}
		timer.Reset(patience)
	}
}

// answered takes what comes for ask.
func (s *stream) answered(m *nats.Msg) {
	s.came.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.answers[m.Subject]
	switch {
	case a == nil: // nobody waits any more
	case m.Header.Get(headerStatus) == "":
		a.msgs = append(a.msgs, m)
	default:
		delete(s.answers, m.Subject)
		a.end <- m
	}
}

// purge forgets all of a topic's entries but the newest.
func (s *stream) purge(ctx context.Context, gen, token string, keep int) error {
	raw, err := json.Marshal(map[string]any{"filter": s.b.keepSubject(gen, token), "keep": keep})
	if err != nil {
		return err
	}
	_, err = s.request(ctx, &nats.Msg{Subject: apiPurge + s.name, Data: raw})
	return err
}
