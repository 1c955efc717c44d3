package costtest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/internal/costtest"
)

var sink []byte

func TestAllocationsAndProcessorTimeCount(t *testing.T) {
	cost := costtest.Of(func() { sink = make([]byte, 10<<20) })
	assert.GreaterOrEqual(t, cost.Memory, uint64(10<<20))
	cost = costtest.Of(func() {
		for i := range 50_000_000 {
			sink[i%len(sink)] ^= byte(i)
		}
	})
	assert.Positive(t, cost.CPU)
}

func TestABoundThatIsExceededFails(t *testing.T) {
	failed := &recorder{TB: t}
	costtest.AtMost(failed, 1<<20, func() { sink = make([]byte, 10<<20) })
	assert.Equal(t, 1, failed.errors)
	costtest.AtMost(t, 11<<20, func() { sink = make([]byte, 10<<20) })
}

// recorder counts errors.
type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.errors++ }
