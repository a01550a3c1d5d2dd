package sim

// saidUp checks a new message of the client's.
func (s *wireSession) saidUp(o *wireConn, r *record) {
	c := s.calls[r.id]
	switch r.typ {
	case "$reply", "$error":
		if ended, ok := s.asks[r.id]; !ok || ended {
			o.breach("one end", "the client writes %s of the server's call %d; asked: %v, ended: %v", r.typ, r.id, ok, ended)
		}
		s.asks[r.id] = true
	case "$item", "$end", "$more", "$cancel":
		if c == nil {
			o.breach("id", "the client writes %s of %d, no call of its own", r.typ, r.id)
			return
		}
		if r.typ == "$item" {
			if c.up++; c.up > c.upCredit {
				o.breach("credit", "the client writes item %d of %d, with credit for %d", c.up, r.id, c.upCredit)
			}
		}
		if (r.typ == "$item" || r.typ == "$end") && c.upEnded {
			o.breach("$end", "the client writes %s after the $end of %d", r.typ, r.id)
		}
		c.upEnded = c.upEnded || r.typ == "$end"
	default:
		if r.id == 0 {
			return
		}
		if c != nil && !c.ended {
			o.breach("id in use", "the client writes %s %d", r.typ, r.id)
		}
		s.calls[r.id] = &wireCall{credit: s.window}
	}
}

// saidDown checks a new message of the server's.
func (s *wireSession) saidDown(o *wireConn, r *record) {
	c := s.calls[r.id]
	switch r.typ {
	case "$reply", "$error", "$item", "$more":
		if c == nil || c.ended {
			o.breach("one end", "the server writes %s of %d; called: %v, ended: %v", r.typ, r.id, c != nil, c != nil && c.ended)
			return
		}
		if r.typ == "$item" {
			if c.items++; c.items > c.credit {
				o.breach("credit", "the server writes item %d of %d, with credit for %d", c.items, r.id, c.credit)
			}
		}
		c.ended = r.typ == "$reply" || r.typ == "$error"
	case "$cancel":
		if _, ok := s.asks[r.id]; !ok {
			o.breach("id", "the server writes $cancel of %d, no call of its own", r.id)
		}
	case "$gap", "$room":
	default:
		if r.id == 0 {
			return
		}
		if ended, ok := s.asks[r.id]; ok && !ended {
			o.breach("id in use", "the server writes %s %d", r.typ, r.id)
		}
		s.asks[r.id] = false
	}
}

// heard takes notice of credit that has arrived.
func (s *wireSession) heard(r *record, up bool) {
	c := s.calls[r.id]
	switch {
	case r.typ != "$more" || c == nil:
	case up:
		c.credit += r.n
	default:
		c.upCredit += r.n
	}
}
