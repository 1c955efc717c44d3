package fairness

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// namespaceKey is the key of the namespace in a context.
type namespaceKey struct{}

// WithNamespace returns a context for requests on behalf of a namespace. Requests without a namespace are those of the
// program itself: they take turns with the namespaces as one more.
func WithNamespace(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, namespaceKey{}, namespace)
}

// NamespaceOf returns the namespace of a context, empty if it has none.
func NamespaceOf(ctx context.Context) string {
	namespace, _ := ctx.Value(namespaceKey{}).(string)
	return namespace
}

// Limiter limits the rate of requests. One request at a time waits for the rate; the others wait for their turn,
// which goes from namespace to namespace. It is safe for concurrent use.
type Limiter struct {
	rate *rate.Limiter

	mu sync.Mutex
	// taken: a request waits for the rate.
	taken   bool
	waiting Queue[chan struct{}]
	// until is the end of a pause.
	until   time.Time
	adapted adapted
}

// NewLimiter returns a Limiter of qps requests per second in the long run, and of burst requests at once. With Accepted
// and Refused the rate follows what the service takes, up to maxQPS, or up to qps if that is more.
func NewLimiter(qps, maxQPS float64, burst int) *Limiter {
	return &Limiter{
		rate:    rate.NewLimiter(rate.Limit(qps), burst),
		adapted: adapted{first: qps, most: max(qps, maxQPS), burst: burst, now: qps},
	}
}

// Wait blocks until a request of the context's namespace may be sent, or ctx ends. It returns an error in the second
// case.
func (l *Limiter) Wait(ctx context.Context) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.pass()
	for {
		pause := time.Until(l.pausedUntil())
		if pause <= 0 {
			l.noteLimited()
			return l.rate.Wait(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause): // A later request may have prolonged the pause.
		}
	}
}

// Pause delays all requests for d. It never shortens an earlier pause.
func (l *Limiter) Pause(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(d); until.After(l.until) {
		l.until = until
	}
}

// Waiting returns the number of requests that wait for their turn, and of their namespaces.
func (l *Limiter) Waiting() (requests, namespaces int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.Len(), l.waiting.Namespaces()
}

func (l *Limiter) pausedUntil() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// take waits for the turn. If it returns nil, the caller must call pass.
func (l *Limiter) take(ctx context.Context) error {
	namespace, turn := NamespaceOf(ctx), make(chan struct{})
	l.mu.Lock()
	if !l.taken {
		l.taken = true
		l.mu.Unlock()
		return nil
	}
	l.waiting.Push(namespace, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	l.waiting.Remove(namespace, turn)
	l.mu.Unlock()
	select {
	case <-turn: // The turn came at the same moment. Another request takes it.
		l.pass()
	default:
	}
	return ctx.Err()
}

// pass gives the turn to the next namespace.
func (l *Limiter) pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, ok := l.waiting.Pop(func(string) bool { return true })
	if !ok {
		l.taken = false
		return
	}
	close(next)
}
