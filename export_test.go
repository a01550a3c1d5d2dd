package wsctl

import (
	"bytes"
	"context"
)

// HandleBytes scans a message, calls its method and appends the answer, without a connection: what a message costs but for
// the network. For benchmarks.
func (h *Handler) HandleBytes(msg []byte, answer *bytes.Buffer) error {
	e, err := scan(msg)
	if err != nil {
		return err
	}
	r := h.controller.route(e.typ)
	result, err := r.call(h.controller, context.Background(), nil, e.data, true)
	if err != nil {
		return err
	}
	return appendMessage(answer, "$reply", e.id, result)
}

// Scan and AppendMessage are the envelope's, for benchmarks that leave out the table.
func Scan(msg []byte) (typ []byte, id int64, data []byte, err error) {
	e, err := scan(msg)
	return e.typ, e.id, e.data, err
}

func AppendMessage(b *bytes.Buffer, typ string, id int64, data any) error {
	return appendMessage(b, typ, id, data)
}

// PendingBytes returns how many bytes wait for the fan-out.
func (h *Hub) PendingBytes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}

// Rouse does to all connections what the sweeper does to those that were idle for long.
func (h *Handler) Rouse() {
	for _, s := range h.all() {
		s.mu.Lock()
		c := s.conn
		s.mu.Unlock()
		if c != nil {
			c.rouse()
		}
	}
}
