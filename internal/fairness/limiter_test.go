package fairness

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// requests counts the requests that a limiter has let through.
type requests struct {
	limiter *Limiter
	group   sync.WaitGroup
	mu      sync.Mutex
	sent    []string
	errs    []error
}

// send sends n requests of a namespace at once.
func (r *requests) send(ctx context.Context, namespace string, n int) {
	for range n {
		r.group.Go(func() {
			err := r.limiter.Wait(WithNamespace(ctx, namespace))
			r.mu.Lock()
			defer r.mu.Unlock()
			if err != nil {
				r.errs = append(r.errs, err)
				return
			}
			r.sent = append(r.sent, namespace)
		})
	}
	synctest.Wait()
}

// order returns the namespaces of the requests sent so far, in order.
func (r *requests) order() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent)
}

// counts returns how many requests of a namespace were among the last n.
func (r *requests) counts(namespace string, n int) (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sent := range r.sent[len(r.sent)-n:] {
		if sent == namespace {
			count++
		}
	}
	return count
}

// An attack: a tenant sends a thousand requests at once. Another one sends two, the program itself one.
func TestAThousandRequestsOfOneNamespaceDoNotDelayAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &requests{limiter: NewLimiter(10, 0, 1)}
		r.send(t.Context(), "large", 1000)
		time.Sleep(time.Second + time.Millisecond)
		r.send(t.Context(), "small", 2)
		r.send(t.Context(), "", 1)
		waiting, namespaces := r.limiter.Waiting()
		assert.Equal(t, 1000-11-1+3, waiting, "eleven are sent, one waits for the rate, the others for their turn")
		assert.Equal(t, 3, namespaces)
		time.Sleep(600 * time.Millisecond)
		assert.Equal(t, 2, r.counts("small", 6), "within six requests")
		assert.Equal(t, 1, r.counts("", 6))
		r.group.Wait()
		assert.Equal(t, 1000, r.counts("large", 1003))
		assert.Empty(t, r.errs)
	})
}

func TestTheRateAndTheBurstAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &requests{limiter: NewLimiter(10, 0, 5)}
		for i := range 25 {
			r.send(t.Context(), strconv.Itoa(i), 1)
		}
		assert.Len(t, r.order(), 5)
		begin := time.Now()
		r.group.Wait()
		assert.Equal(t, 2*time.Second, time.Since(begin))
	})
}

func TestAPauseDelaysAllNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &requests{limiter: NewLimiter(10, 0, 5)}
		r.limiter.Pause(time.Minute)
		r.limiter.Pause(time.Second)
		r.send(t.Context(), "a", 2)
		r.send(t.Context(), "b", 2)
		time.Sleep(30 * time.Second)
		r.limiter.Pause(time.Minute)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		assert.Empty(t, r.order(), "a later pause prolongs the first, a shorter one does not end it")
		time.Sleep(time.Second)
		r.group.Wait()
		assert.Len(t, r.order(), 4)
	})
}

func TestWhoGivesUpCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &requests{limiter: NewLimiter(1, 0, 1)}
		ctx, giveUp := context.WithCancel(t.Context())
		r.send(t.Context(), "first", 1)
		r.send(ctx, "waits for the rate", 1)
		r.send(ctx, "waits for its turn", 100)
		r.send(t.Context(), "last", 1)
		giveUp()
		synctest.Wait()
		assert.Len(t, r.errs, 101)
		waiting, _ := r.limiter.Waiting()
		assert.Zero(t, waiting)
		begin := time.Now()
		r.group.Wait()
		assert.Equal(t, []string{"first", "last"}, r.order())
		assert.Equal(t, time.Second, time.Since(begin))
	})
}
