//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// The key of all handshakes, and the answer to it (RFC 6455, section 1.3). A server can't tell that it is always the same.
const (
	upgradeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	upgradeAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// maxHead is the largest head of an answer to a handshake.
const maxHead = 4 << 10

// upgradeRequest returns the request of a handshake. An empty subprotocol asks for none.
func upgradeRequest(host, subprotocol string, compress bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", host)
	fmt.Fprintf(&b, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", upgradeKey)
	if subprotocol != "" {
		fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", subprotocol)
	}
	if compress {
		b.WriteString("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// splitHead returns the head of the answer to a handshake, and what follows it. ok is false if it isn't whole yet.
func splitHead(b []byte) (head, rest []byte, ok bool, err error) {
	head, rest, ok = bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok && len(b) > maxHead {
		return nil, nil, false, fmt.Errorf("got %q…, expected the answer to a handshake", b[:100])
	}
	return head, rest, ok, nil
}

// checkUpgrade verifies that a handshake has succeeded, and agreed to what was asked for.
func checkUpgrade(head []byte, subprotocol string, compress bool) error {
	lines := strings.Split(string(head), "\r\n")
	if !strings.HasPrefix(lines[0], "HTTP/1.1 101 ") {
		return fmt.Errorf("got %q, expected HTTP/1.1 101", head)
	}
	var upgrade, connection, accept, protocol string
	var extensions []string
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "upgrade":
			upgrade = strings.ToLower(value)
		case "connection":
			connection = strings.ToLower(value)
		case "sec-websocket-accept":
			accept = value
		case "sec-websocket-protocol":
			protocol = value
		case "sec-websocket-extensions":
			for p := range strings.SplitSeq(value, ";") {
				extensions = append(extensions, strings.TrimSpace(p))
			}
		}
	}
	deflates := slices.Contains(extensions, "permessage-deflate") && slices.Contains(extensions, "server_no_context_takeover")
	switch {
	case upgrade != "websocket" || connection != "upgrade" || accept != upgradeAccept:
		return fmt.Errorf("got %q, expected Upgrade: websocket, Connection: Upgrade and Sec-WebSocket-Accept: %s", head, upgradeAccept)
	case protocol != subprotocol:
		return fmt.Errorf("got %q, expected the subprotocol %q", head, subprotocol)
	case compress && !deflates:
		return fmt.Errorf("got %q, expected permessage-deflate; server_no_context_takeover", head)
	case !compress && len(extensions) > 0:
		return fmt.Errorf("got %q, expected no extension", head)
	}
	return nil
}
