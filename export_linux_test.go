//go:build linux && !wsctl_nowatch

package wsctl

// Watched returns how many connections the watcher waits for, and whether its goroutine lives.
func (h *Handler) Watched() (conns int, runs bool) {
	w := &h.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.idle), w.epoll != nil
}
