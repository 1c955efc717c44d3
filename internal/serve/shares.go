package serve

import (
	"net"
	"sync"
)

// Shares counts what is in use at once, in total and by owner, so that no owner can use up everything.
type Shares struct {
	total, each int

	mu   sync.Mutex
	used int
	by   map[string]int
}

// NewShares returns Shares of which all owners together have total and one owner has at most each.
func NewShares(total, each int) *Shares {
	return &Shares{total: total, each: each, by: map[string]int{}}
}

// Take takes one for the owner. It does not block. It returns false if the owner or all together have theirs. The owner
// calls Give once if it returned true.
func (s *Shares) Take(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.total || s.by[owner] >= s.each {
		return false
	}
	s.used++
	s.by[owner]++
	return true
}

// Give returns what Take took.
func (s *Shares) Give(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.by[owner]--; s.by[owner] == 0 {
		delete(s.by, owner)
	}
}

// sourceOf returns the address of a client without its port.
func sourceOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}
