package kubelet

import (
	"net"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

const (
	// maxReviews is how many tokens may be under review at once.
	maxReviews = 64
	// failuresPerSecond and failuresAtOnce limit the unknown tokens of one address, and failuresAtOnce its tokens under
	// review. A client with a valid token has no unknown ones, except while the cluster cannot review tokens.
	failuresPerSecond, failuresAtOnce = 2, 20
	// maxAddresses is how many addresses are remembered, those that came last.
	maxAddresses = 1024
)

// callers limits the callers that present a token, because a client that reaches the port can make the virtual node
// send a TokenReview. The API server presents a certificate, which is verified without a request.
type callers struct {
	mu      sync.Mutex
	reviews int
	// addresses holds a *caller for each address.
	addresses *lru.Cache
}

// caller is what is known of one address.
type caller struct {
	failures *rate.Limiter
	reviews  int
}

func newCallers() *callers { return &callers{addresses: lru.New(maxAddresses)} }

// begin reports whether the token of the request may be reviewed now. If so, the caller calls end with the result.
func (c *callers) begin(r *http.Request) (end func(known bool), ok bool) {
	if !hasToken(r) {
		return func(bool) {}, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.at(r)
	// Each review that is under way may fail.
	if c.reviews >= maxReviews || from.failures.Tokens()-float64(from.reviews) < 1 {
		return nil, false
	}
	c.reviews++
	from.reviews++
	return func(known bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reviews--
		from.reviews--
		if !known {
			from.failures.Allow()
		}
	}, true
}

// at returns what is known of the address of the request.
func (c *callers) at(r *http.Request) *caller {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	if found, ok := c.addresses.Get(address); ok {
		return found.(*caller)
	}
	added := &caller{failures: rate.NewLimiter(failuresPerSecond, failuresAtOnce)}
	c.addresses.Add(address, added)
	return added
}

// hasToken reports whether the request presents a token in one of the ways that are accepted: a header, or a
// subprotocol of a WebSocket.
func hasToken(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" ||
		strings.Contains(strings.Join(r.Header.Values("Sec-Websocket-Protocol"), ","), "bearer.authorization")
}
