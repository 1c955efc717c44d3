package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// memoryWait is how long a request waits for memory. API servers and schedulers give up after some seconds.
const memoryWait = time.Second

// firstBody is the part of a body for which memory is reserved before it has arrived, in bytes. Most bodies are
// shorter.
const firstBody = 64 << 10

// ErrBusy is the error for a request that waited for memory for too long. Answer it with RejectBusy.
var ErrBusy = errors.New("the requests in flight need too much memory")

// Memory limits the memory of the bodies of requests, and of what is decoded from them. A request waits for a second
// until others have ended. One client gets half of it at most.
type Memory struct {
	total int64
	all   *semaphore.Weighted

	mu      sync.Mutex
	sources map[string]*memorySource
}

type memorySource struct {
	share *semaphore.Weighted
	users int
}

// NewMemory returns a Memory of total bytes. The estimates are rough: leave as much again for the garbage collector.
func NewMemory(total int64) *Memory {
	return &Memory{total: total, all: semaphore.NewWeighted(total), sources: map[string]*memorySource{}}
}

// For returns the reservation of a request, of no bytes yet. The caller must call Release.
func (m *Memory) For(r *http.Request) *Reservation {
	name := sourceOf(r.RemoteAddr)
	m.mu.Lock()
	defer m.mu.Unlock()
	source := m.sources[name]
	if source == nil {
		source = &memorySource{share: semaphore.NewWeighted(m.total / 2)}
		m.sources[name] = source
	}
	source.users++
	return &Reservation{memory: m, name: name, source: source}
}

// Reservation is the memory of one request. It is not safe for concurrent use.
type Reservation struct {
	memory *Memory
	name   string
	source *memorySource
	held   int64
}

// Grow reserves more bytes. It returns ErrBusy if there is none in time. A request that needs more than its client may
// have gets all of that.
func (r *Reservation) Grow(ctx context.Context, bytes int64) error {
	bytes = min(bytes, r.memory.total/2-r.held)
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	if r.source.share.Acquire(ctx, bytes) != nil {
		return ErrBusy
	}
	if r.memory.all.Acquire(ctx, bytes) != nil {
		r.source.share.Release(bytes)
		return ErrBusy
	}
	r.held += bytes
	return nil
}

// Release ends the reservation.
func (r *Reservation) Release() {
	r.source.share.Release(r.held)
	r.memory.all.Release(r.held)
	r.held = 0
	m := r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.source.users--; r.source.users == 0 {
		delete(m.sources, r.name)
	}
}

// Body reads the body of a request of at most limit bytes. It reserves the memory as the body arrives, so that a client
// must send what it uses up. It returns an http.MaxBytesError or ErrBusy if the body does not fit.
func (r *Reservation) Body(w http.ResponseWriter, request *http.Request, limit int64) ([]byte, error) {
	length := request.ContentLength
	if length > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	if length < 0 || length > firstBody {
		length = firstBody
	}
	// One byte more, so that a body of this length ends without growing.
	if err := r.Grow(request.Context(), length+1); err != nil {
		return nil, err
	}
	body, reader := make([]byte, 0, length+1), http.MaxBytesReader(w, request.Body, limit)
	for {
		n, err := reader.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
		if len(body) == cap(body) {
			more := cap(body)
			if err := r.Grow(request.Context(), int64(more)); err != nil {
				return nil, err
			}
			body = append(make([]byte, 0, 2*more), body...)
		}
	}
}
