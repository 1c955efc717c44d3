package fairness

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// service takes limit requests in each second, and refuses the others.
type service struct {
	limit, taken, refused int
	second                time.Time
	inSecond              int
}

// answer answers a request that was just let through.
func (s *service) answer(limiter *Limiter) {
	now := time.Now()
	if now.Sub(s.second) >= time.Second {
		s.second, s.inSecond = now, 0
	}
	if s.inSecond++; s.inSecond > s.limit {
		s.refused++
		limiter.Refused(now)
		limiter.Pause(time.Second)
		return
	}
	s.taken++
	limiter.Accepted()
}

// sendFor sends requests for a while, each as soon as the limiter allows it.
func sendFor(t *testing.T, limiter *Limiter, service *service, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		require.NoError(t, limiter.Wait(t.Context()))
		service.answer(limiter)
	}
}

func TestABurstOfAThousandIsNotBoundByTheFirstRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter, service, start := NewLimiter(20, 200, 40), &service{limit: 1000}, time.Now()
		for service.taken < 1000 {
			require.NoError(t, limiter.Wait(t.Context()))
			service.answer(limiter)
		}
		assert.Less(t, time.Since(start), 10*time.Second, "at 20 per second it takes 48 seconds")
		assert.InDelta(t, 200, limiter.Rate(), 0)
		sendFor(t, limiter, service, time.Minute)
		assert.InDelta(t, 200, limiter.Rate(), 0, "the rate never exceeds the highest one")
	})
}

func TestTheRateFollowsWhatTheServiceTakes(t *testing.T) {
	for name, limit := range map[string]int{"more than the first rate": 100, "less than the first rate": 7} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter, service := NewLimiter(20, 1000, 5), &service{limit: limit}
				sendFor(t, limiter, service, 5*time.Minute)
				service.taken, service.refused = 0, 0
				sendFor(t, limiter, service, 5*time.Minute)
				assert.Greater(t, service.taken, 300*limit*6/10, "most of what the service takes is used")
				assert.Less(t, service.refused, service.taken/20, "and few requests are refused")
			})
		})
	}
}

func TestARateThatNoClientUsesStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter, service := NewLimiter(20, 200, 40), &service{limit: 1000}
		for range 1000 {
			require.NoError(t, limiter.Wait(t.Context()))
			service.answer(limiter)
			time.Sleep(time.Second / 10)
		}
		assert.InDelta(t, 20, limiter.Rate(), 0)
	})
}

func TestRequestsThatWereUnderWayReduceTheRateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter, sent := NewLimiter(20, 200, 40), time.Now()
		time.Sleep(time.Second)
		for range 50 {
			limiter.Refused(sent)
		}
		assert.InDelta(t, 14, limiter.Rate(), 0.001)
		time.Sleep(time.Second)
		limiter.Refused(time.Now())
		assert.InDelta(t, 9.8, limiter.Rate(), 0.001, "the lower rate was too high as well")
	})
}

func TestTheRateFallsToATwentiethAtMostAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(20, 0, 40)
		for range 100 {
			time.Sleep(time.Second)
			limiter.Refused(time.Now())
		}
		assert.InDelta(t, 1, limiter.Rate(), 0.001)
		assert.Equal(t, 2, limiter.rate.Burst(), "fewer requests may be sent at once too")
		sendFor(t, limiter, &service{limit: 1000}, 2*time.Minute)
		assert.InDelta(t, 20, limiter.Rate(), 0, "a highest rate below the first one means the first one")
		assert.Equal(t, 40, limiter.rate.Burst())
	})
}
