package usage

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/costtest"
)

func targetOf(containers ...string) Target {
	target := Target{Containers: map[string]time.Time{}}
	for _, name := range containers {
		target.Containers[name] = time.Time{}
	}
	return target
}

// endless repeats a line forever, so that the test itself needs no memory.
type endless struct {
	line string
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		copied := copy(p[n:], e.line[e.at:])
		n, e.at = n+copied, (e.at+copied)%len(e.line)
	}
	return n, nil
}

func TestAnAnswerThatIsAnAttackCostsLittle(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		size int64
		err  string
	}{
		"2 MiB of short lines of other metrics": {"a 1\n", 2 << 20, ""},
		"2 MiB of types":                        {"# TYPE container_memory_rss gauge\n", 2 << 20, ""},
		"samples of the metrics": {
			"container_memory_rss{container=\"c\"} 1\n", 2 << 20, "more than 10000 samples of the metrics of containers",
		},
		"many labels": {
			"container_memory_rss{" + strings.Repeat("a=\"\",", 2000) + "} 1\n", 2 << 20, "the labels have no end",
		},
		"a line without end":     {"container_memory_rss{container=\"c\",x", 1 << 30, "a line has more than 16 KiB"},
		"an answer without end":  {"a 1\n", 1 << 40, "the answer has more than 4 MiB"},
		"a label without end":    {"container_memory_rss{container=\"c\n", 1 << 10, "a value in quotes has no end"},
		"braces":                 {strings.Repeat("{", 1<<13) + "\n", 2 << 20, ""},
		"a number of many bytes": {"container_memory_rss " + strings.Repeat("9", 1<<13) + "\n", 1 << 20, "must be a number"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			costtest.AtMost(t, 1<<20, func() { _, err = parse(io.LimitReader(&endless{line: tc.line}, tc.size), targetOf("c")) })
			if tc.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tc.err)
			}
		})
	}
}

func TestValuesThatAreNoUsageAreLeftOut(t *testing.T) {
	for _, value := range []string{
		"NaN", "+Inf", "-Inf", "-1", "1e300", "1e999", "-0.0001", "1e11", fmt.Sprint(math.MaxFloat64),
	} {
		text := "container_cpu_usage_seconds_total{container=\"c\"} " + value + "\n" +
			"container_cpu_usage_seconds_total{container=\"c\",cpu=\"1\"} 3\n" +
			"container_memory_working_set_bytes{container=\"c\"} 1024\n"
		found, err := parse(strings.NewReader(text), targetOf("c"))
		require.NoError(t, err, value)
		use, err := found.usage(targetOf("c"))
		require.NoError(t, err, value)
		assert.Equal(t, ContainerUsage{CPU: 3, WorkingSet: 1024}, use["c"], value)
	}
	text := strings.Repeat("container_memory_working_set_bytes{container=\"c\"} 1.7e13\n", 2) +
		"container_cpu_usage_seconds_total 1\n"
	found, err := parse(strings.NewReader(text), targetOf("c"))
	require.NoError(t, err)
	_, err = found.usage(targetOf("c"))
	assert.ErrorContains(t, err, "does not report", "the sum is no usage either")
	_, err = parse(strings.NewReader("container_memory_rss one\n"), targetOf("c"))
	assert.EqualError(t, err, `line "container_memory_rss one\n": invalid value "one": must be a number`)
}

func TestACPURateBeyondEverySizeIsNone(t *testing.T) {
	at := time.Unix(0, 0)
	sample := func(seconds int64, cpu float64) *Sample {
		return &Sample{
			Target: targetOf("c"), At: at.Add(time.Duration(seconds) * time.Second),
			Containers: map[string]ContainerUsage{"c": {CPU: cpu}},
		}
	}
	assert.Equal(t, map[string]float64{"c": 64}, sample(10, 640).ratesSince(sample(0, 0)))
	assert.Empty(t, sample(10, 1e9).ratesSince(sample(0, 0)))
	assert.Equal(t, uint64(1)<<63, nanoseconds(1e12))
}

// oracle computes the values of a metric with the general parser of Prometheus.
func oracle(family *dto.MetricFamily, most float64, target Target) map[string]float64 {
	s := series{most: most, named: map[string]float64{}}
	for _, metric := range family.GetMetric() {
		value := metric.GetUntyped().GetValue()
		switch {
		case metric.Counter != nil:
			value = metric.Counter.GetValue()
		case metric.Gauge != nil:
			value = metric.Gauge.GetValue()
		}
		name := ""
		for _, want := range []string{"container_name", "container"} {
			for _, label := range metric.GetLabel() {
				if label.GetName() == want {
					name = label.GetValue()
				}
			}
		}
		_, ours := target.Containers[name]
		switch {
		case math.IsNaN(value) || value < 0 || value > most:
		case ours:
			s.named[name] += value
		case name == "":
			s.unnamed, s.found = s.unnamed+value, true
		}
	}
	return s.byContainer(target)
}

// long is a number that no exporter writes.
var long = regexp.MustCompile(`[0-9_xXa-fA-F.]{50}`)

func FuzzParse(f *testing.F) {
	f.Add("container_cpu_usage_seconds_total{container=\"c\"} 1.5 1000\n# HELP a b\ncontainer_memory_rss 4\n")
	f.Add("container_memory_usage_bytes { cpu = \"0\" , container_name = \"c\\\"\\n\\\\\" , } NaN\n")
	f.Add("container_cpu_usage_seconds_total{container_name=\"d\",container=\"c\"}+Inf\ncontainer_memory_rss{} 0x1p3")
	f.Add("# TYPE container_memory_rss histogram\ncontainer_memory_rss_sum 1\n")
	f.Add(strings.Repeat("container_memory_rss{container=\"c\",a=\"b\"} 1\n", 1000))
	f.Fuzz(func(t *testing.T, text string) {
		target := targetOf("c")
		var found answer
		var err error
		costtest.AtMost(t, 4<<20, func() { found, err = parse(strings.NewReader(text), target) })
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, oracleErr := parser.TextToMetricFamilies(strings.NewReader(text))
		if oracleErr != nil || len(text) > maxLine || strings.Contains(text, "{\"") || long.MatchString(text) {
			return
		}
		require.NoError(t, err)
		for name, s := range found {
			if kind := families[name].GetType(); kind == dto.MetricType_HISTOGRAM || kind == dto.MetricType_SUMMARY {
				continue
			}
			assert.InDeltaMapValues(t, oracle(families[name], s.most, target), s.byContainer(target), 1, name)
		}
	})
}
