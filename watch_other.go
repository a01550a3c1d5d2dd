//go:build !linux || wsctl_nowatch

package wsctl

import "context"

// canWatch tells whether idle connections can do without a goroutine: here each keeps one.
const canWatch = false

type (
	watcher  struct{}
	watching struct{}
)

func (watcher) watch(*conn) bool           { return false }
func (watcher) forget(*conn)               {}
func (watcher) wait(context.Context) error { return nil }
