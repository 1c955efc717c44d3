package wayhome

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Creation timestamps of Kubernetes have whole seconds.
func TestAPodThatBurstsSoonAfterAMoveCountsAsAFailure(t *testing.T) {
	moved := time.Date(2026, 12, 1, 4, 54, 56, 636e6, time.UTC)
	second := moved.Truncate(time.Second)
	cases := map[string]struct {
		created time.Time
		failed  bool
	}{
		"created in the second before the move":             {second.Add(-time.Second), false},
		"created after the move, in the same second":        {second, true},
		"created in the next second":                        {second.Add(time.Second), true},
		"created at the end of the time that counts":        {second.Add(10 * time.Minute), true},
		"created when the move is too long ago to count":    {second.Add(10*time.Minute + time.Second), false},
		"created long before the move, as its siblings are": {second.Add(-time.Hour), false},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHistory(DefaultConfig())
			p := h.get("workload", moved)
			h.pause(p, moved)
			now := moved.Add(11 * time.Minute)
			h.burst(p, test.created, now)
			assert.Equal(t, test.failed, p.failed)
			assert.Equal(t, test.failed, p.until.After(now))
		})
	}
}
