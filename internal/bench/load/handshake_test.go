//go:build linux

package main

import (
	"strings"
	"testing"
)

const upgradeAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nconnection: upgrade\r\nSec-WebSocket-Accept: " + upgradeAccept

func TestCheckUpgrade(t *testing.T) {
	const deflates = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	const subprotocol = "\r\nSec-WebSocket-Protocol: wsctl.v1"
	for _, test := range []struct {
		name, head, subprotocol string
		compress, ok            bool
	}{
		{"plain", upgradeAnswer, "", false, true},
		{"compressed", upgradeAnswer + deflates, "", true, true},
		{"v1", upgradeAnswer + subprotocol, "wsctl.v1", false, true},
		{"refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0", "", false, false},
		{"another accept", strings.Replace(upgradeAnswer, upgradeAccept, "AAAA", 1), "", false, false},
		{"no upgrade", strings.Replace(upgradeAnswer, "Upgrade: websocket\r\n", "", 1), "", false, false},
		{"no compression", upgradeAnswer, "", true, false},
		{"context takeover", upgradeAnswer + "\r\nSec-WebSocket-Extensions: permessage-deflate", "", true, false},
		{"compression that isn't wanted", upgradeAnswer + deflates, "", false, false},
		{"no v1", upgradeAnswer, "wsctl.v1", false, false},
		{"v1 that isn't wanted", upgradeAnswer + subprotocol, "", false, false},
	} {
		if err := checkUpgrade([]byte(test.head), test.subprotocol, test.compress); (err == nil) != test.ok {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
}

func TestSplitHead(t *testing.T) {
	head, rest, ok, err := splitHead([]byte(upgradeAnswer + "\r\n\r\nrest"))
	if string(head) != upgradeAnswer || string(rest) != "rest" || !ok || err != nil {
		t.Errorf("got %q and %q, %t, error %v", head, rest, ok, err)
	}
	if _, _, ok, err := splitHead([]byte(upgradeAnswer + "\r\n")); ok || err != nil {
		t.Errorf("a part: %t, error %v", ok, err)
	}
	if _, _, _, err := splitHead(make([]byte, maxHead+1)); err == nil {
		t.Error("an endless head is taken")
	}
}
