package counters

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type kind string

func TestACounterStartsAtZeroForEachCombinationOfLabels(t *testing.T) {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "writes_total"}, []string{"kind", "operation"})
	counter.WithLabelValues("Secret", "create").Inc()
	Start(counter, Values[kind]("ConfigMap", "Secret"), []string{"create", "delete"})
	require.NoError(t, testutil.CollectAndCompare(counter, strings.NewReader(`# TYPE writes_total counter
writes_total{kind="ConfigMap",operation="create"} 0
writes_total{kind="ConfigMap",operation="delete"} 0
writes_total{kind="Secret",operation="create"} 1
writes_total{kind="Secret",operation="delete"} 0
`)))
	assert.Panics(t, func() { Start(counter, []string{"ConfigMap"}) }, "a label is missing")
}
