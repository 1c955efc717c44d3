package worker_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/fairness"
	"github.com/spillway-k8s/spillway/internal/worker"
)

// attempt is one call of Reconcile: when, since the start, and for which key.
type attempt struct {
	at  time.Duration
	key string
}

// namespaceOf returns the namespace of a key of the form namespace/name.
func namespaceOf(key string) string {
	namespace, _, _ := strings.Cut(key, "/")
	return namespace
}

// play runs a loop with an answer for each attempt (then successes) for a minute of the bubble's clock.
func play(t *testing.T, config worker.Config[string], answers ...func() (time.Duration, error)) (attempts []attempt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		config.Workers, config.MinRetryInterval, config.MaxRetryInterval = 1, time.Second, 4*time.Second
		config.Namespace = namespaceOf
		config.Reconcile = func(_ context.Context, key string) (time.Duration, error) {
			attempts = append(attempts, attempt{time.Since(begin), key})
			if n := len(attempts); n <= len(answers) {
				return answers[n-1]()
			}
			return 0, nil
		}
		loop, err := worker.New(config)
		require.NoError(t, err)
		loop.Add("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, loop.Run(ctx))
	})
	return attempts
}

var errFailed = errors.New("failed")

func fails() (time.Duration, error)  { return time.Hour, errFailed }
func notYet() (time.Duration, error) { return 10 * time.Second, worker.ErrNotYet }

func TestRetryIntervalsDoubleUpToTheLongest(t *testing.T) {
	got := play(t, worker.Config[string]{}, fails, fails, fails, fails)
	assert.Equal(
		t,
		[]attempt{{0, "a"}, {time.Second, "a"}, {3 * time.Second, "a"}, {7 * time.Second, "a"}, {11 * time.Second, "a"}},
		got,
	)
}

func TestSuccessIsRepeatedOnlyWhereItAsksForIt(t *testing.T) {
	again := func() (time.Duration, error) { return 5 * time.Second, nil }
	assert.Equal(t, []attempt{{0, "a"}, {5 * time.Second, "a"}}, play(t, worker.Config[string]{}, again))
}

func TestNotYetCountsAsNeitherSuccessNorFailure(t *testing.T) {
	got := play(t, worker.Config[string]{}, fails, notYet, fails)
	assert.Equal(t, []attempt{{0, "a"}, {time.Second, "a"}, {11 * time.Second, "a"}, {13 * time.Second, "a"}}, got,
		"the second failure waits 2 s, as if nothing had been between")
}

func TestTheDelayThatAnErrorAsksForCounts(t *testing.T) {
	var noted []any
	got := play(t, worker.Config[string]{
		RetryAfter: func(error) time.Duration { return 30 * time.Second },
		Failed: func(key string, failures int, delay time.Duration, err error) {
			noted = append(noted, key, failures, delay, err)
		},
	}, fails)
	assert.Equal(t, []attempt{{0, "a"}, {30 * time.Second, "a"}}, got)
	assert.Equal(t, []any{"a", 1, 30 * time.Second, errFailed}, noted)
}

func TestAKeyIsReconciledByOneWorkerAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, calls := 0, 0
		var loop *worker.Loop[string]
		loop, err := worker.New(worker.Config[string]{
			Workers: 4, Namespace: namespaceOf, MinRetryInterval: time.Second, MaxRetryInterval: time.Second,
			Reconcile: func(context.Context, string) (time.Duration, error) {
				running++
				calls++
				assert.Equal(t, 1, running)
				if calls == 1 {
					loop.Add("a")
				}
				time.Sleep(time.Second)
				running--
				return 0, nil
			},
		})
		require.NoError(t, err)
		loop.Add("a")
		loop.Add("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, loop.Run(ctx))
		assert.Equal(t, 2, calls, "added twice before it began is one call; added while it ran is another")
	})
}

// flood adds many keys of one namespace, and one of another a little later. Each takes a second. It returns when the
// other one began, and how many keys were being reconciled at most.
func flood(t *testing.T, workers int) (began time.Duration, most int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin, running := time.Now(), atomic.Int32{}
		loop, err := worker.New(worker.Config[string]{
			Workers: workers, Namespace: namespaceOf, MinRetryInterval: time.Second, MaxRetryInterval: time.Second,
			Reconcile: func(ctx context.Context, key string) (time.Duration, error) {
				assert.Equal(t, namespaceOf(key), fairness.NamespaceOf(ctx))
				if key == "small/1" {
					began = time.Since(begin)
					return 0, nil
				}
				running.Add(1)
				defer running.Add(-1)
				time.Sleep(time.Second)
				return 0, nil
			},
		})
		require.NoError(t, err)
		for i := range 1000 {
			loop.Add("large/" + strconv.Itoa(i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var ended sync.WaitGroup
		ended.Go(func() { assert.NoError(t, loop.Run(ctx)) })
		time.Sleep(500 * time.Millisecond)
		most = int(running.Load())
		loop.Add("small/1")
		time.Sleep(30 * time.Minute)
		cancel()
		ended.Wait()
	})
	return began, most
}

// An attack: a tenant creates a thousand Pods, another one creates one.
func TestAThousandKeysOfOneNamespaceDoNotDelayAnother(t *testing.T) {
	for workers, want := range map[int]struct {
		began time.Duration
		most  int
	}{
		1:  {2 * time.Second, 1},
		4:  {time.Second, 4},
		8:  {500 * time.Millisecond, 7},
		50: {500 * time.Millisecond, 40},
	} {
		t.Run(strconv.Itoa(workers), func(t *testing.T) {
			began, most := flood(t, workers)
			assert.Equal(t, want.began, began, "one worker: for the key under way and one turn; with a free worker: not at all")
			assert.Equal(t, want.most, most, "workers that one namespace keeps busy")
		})
	}
}

// An attack: the Pods of a tenant fail forever.
func TestKeysThatAlwaysFailTakeTurnsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries, served := 0, 0
		var loop *worker.Loop[string]
		loop, err := worker.New(worker.Config[string]{
			Workers: 1, Namespace: namespaceOf, MinRetryInterval: time.Millisecond, MaxRetryInterval: time.Second,
			Reconcile: func(_ context.Context, key string) (time.Duration, error) {
				time.Sleep(10 * time.Millisecond)
				if namespaceOf(key) == "large" {
					tries++
					return 0, errFailed
				}
				served++
				return 100 * time.Millisecond, nil
			},
		})
		require.NoError(t, err)
		for i := range 1000 {
			loop.Add("large/" + strconv.Itoa(i))
		}
		loop.Add("small/1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, loop.Run(ctx))
		assert.Greater(t, served, 450, "a minute has 500 times of 100 ms and two turns")
		assert.Greater(t, tries, 5000, "the failing ones get what is left")
	})
}

func TestFaultyConfigurationsAreRefused(t *testing.T) {
	reconcile := func(context.Context, string) (time.Duration, error) { return 0, nil }
	for name, config := range map[string]worker.Config[string]{
		"no Reconcile":      {Workers: 1, Namespace: namespaceOf, MinRetryInterval: 1, MaxRetryInterval: 1},
		"no Namespace":      {Workers: 1, Reconcile: reconcile, MinRetryInterval: 1, MaxRetryInterval: 1},
		"no workers":        {Reconcile: reconcile, Namespace: namespaceOf, MinRetryInterval: 1, MaxRetryInterval: 1},
		"no retry interval": {Reconcile: reconcile, Namespace: namespaceOf, Workers: 1},
		"a longest below shortest": {
			Reconcile: reconcile, Namespace: namespaceOf, Workers: 1, MinRetryInterval: 2, MaxRetryInterval: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := worker.New(config)
			require.Error(t, err)
		})
	}
}
