//go:build unix

package wsctlredis_test

import (
	"testing"

	"github.com/redis/rueidis"
)

// TestPermissions has a user who may only do what the README lists.
func TestPermissions(t *testing.T) {
	t.Parallel()
	permissions := []string{"on", ">secret", "~wsctl:*", "&wsctl:*", "+@scripting", "+@pubsub", "+@connection", "+@stream", "+@hash", "+@keyspace", "+time", "+info",
		"+role", "+cluster"}
	one, c := startServer(t), startCluster(t, 3, 0)
	for _, servers := range [][]*server{{one}, c.masters} {
		var addrs []string
		for _, s := range servers {
			s.must(append([]string{"ACL", "SETUSER", "chat"}, permissions...)...)
			addrs = append(addrs, s.addr)
		}
		n := connect(t, rueidis.ClientOption{InitAddress: addrs, Username: "chat", Password: "secret"}, nil)
		in := subscribe(t, n, "room")
		_, birth, _ := since(t, n, "room", "")
		goesOn(t, n, "room", in)
		if texts, _, ok := since(t, n, "room", birth); !ok || len(texts) == 0 {
			t.Errorf("Since = %q, %v", texts, ok)
		}
	}
}
