package wsctlnats

// The subjects, with the default prefix:
//
//	wsctl.live.<token>       what subscribers get: messages of Publish, and copies of what the stream has stored
//	wsctl.keep.<gen>.<token> what the stream stores
//	wsctl.claim              what nodes say of topics where they don't get a turn
//	wsctl.sync, wsctl.sync.* what they say of the servers that they are connected to
//
// token is the topic, encoded. gen is random, and another one in each stream that is made, so that who believes in a stream
// that is gone can't store anything in the next.

const hex = "0123456789ABCDEF"

// plain tells whether c stands for itself in a token.
func plain(c byte) bool {
	return c-'0' <= 9 || c|0x20-'a' <= 25 || c == '-' || c == '_'
}

// token encodes a topic as one token of a subject: what isn't plain is =XX. Different topics have different tokens.
func token(topic string) string {
	raw := make([]byte, 0, 3*len(topic))
	for i := range len(topic) {
		if c := topic[i]; plain(c) {
			raw = append(raw, c)
		} else {
			raw = append(raw, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(raw)
}

func (b *Broker) liveSubject(topic string) string { return b.opts.Prefix + ".live." + token(topic) }

func (b *Broker) claimSubject() string { return b.opts.Prefix + ".claim" }

func (b *Broker) keepSubject(gen, token string) string {
	return b.opts.Prefix + ".keep." + gen + "." + token
}
