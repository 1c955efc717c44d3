package usage_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/spillway-k8s/spillway/vnode/usage"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// exporter is a metrics exporter whose answer a test sets.
type exporter struct {
	*httptest.Server
	lock     sync.Mutex
	text     string
	requests atomic.Int32
}

func newExporter(t *testing.T, text string) *exporter {
	e := &exporter{text: text}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.requests.Add(1)
		e.lock.Lock()
		defer e.lock.Unlock()
		if e.text == "" || r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, e.text)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *exporter) set(text string) {
	e.lock.Lock()
	defer e.lock.Unlock()
	e.text = text
}

func (e *exporter) target(name string, containers ...string) usage.Target {
	target := usage.Target{
		Namespace: "ns", Name: name, UID: "uid-" + name, Address: e.Listener.Addr().String(), Started: begin,
		Containers: map[string]time.Time{},
	}
	for _, c := range containers {
		target.Containers[c] = begin
	}
	return target
}

// used returns the answer of an exporter for one container.
func used(container string, cpu float64, memory int) string {
	return fmt.Sprintf("container_cpu_usage_seconds_total{container=%q} %g\n", container, cpu) +
		fmt.Sprintf("container_memory_working_set_bytes{container=%q} %d\n", container, memory)
}

func newCollector(t *testing.T, clock *testclock.FakeClock, targets ...usage.Target) *usage.Collector {
	t.Helper()
	c, err := usage.New(usage.Config{
		NodeName: "node", Targets: func() []usage.Target { return append([]usage.Target{}, targets...) },
		Concurrency: 4, Timeout: 200 * time.Millisecond,
		Client: http.DefaultClient, Now: clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return c
}

func resource(t *testing.T, c *usage.Collector) string {
	t.Helper()
	answer := httptest.NewRecorder()
	c.ServeResource(answer, httptest.NewRequest(http.MethodGet, "/metrics/resource", nil))
	require.Equal(t, http.StatusOK, answer.Code)
	var lines []string
	for line := range strings.Lines(answer.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func summary(t *testing.T, c *usage.Collector) stats.Summary {
	t.Helper()
	answer := httptest.NewRecorder()
	c.ServeSummary(answer, httptest.NewRequest(http.MethodGet, "/stats/summary", nil))
	require.Equal(t, http.StatusOK, answer.Code)
	var s stats.Summary
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &s))
	return s
}

func TestUsageIsServedAsByAKubelet(t *testing.T) {
	clock := testclock.NewFakeClock(begin.Add(time.Minute))
	web := newExporter(t, used("app", 10, 1000)+used("sidecar", 1, 100)+used("POD", 99, 99)+used("", 11, 1100))
	c := newCollector(t, clock, web.target("web", "app", "sidecar"))
	assert.Equal(t, `container_cpu_usage_seconds_total{container="app",namespace="ns",pod="web"} 10 1767323105000
container_cpu_usage_seconds_total{container="sidecar",namespace="ns",pod="web"} 1 1767323105000
container_memory_working_set_bytes{container="app",namespace="ns",pod="web"} 1000 1767323105000
container_memory_working_set_bytes{container="sidecar",namespace="ns",pod="web"} 100 1767323105000
container_start_time_seconds{container="app",namespace="ns",pod="web"} 1.767323045e+09
container_start_time_seconds{container="sidecar",namespace="ns",pod="web"} 1.767323045e+09
node_cpu_usage_seconds_total 0 1767323105000
node_memory_working_set_bytes 1100 1767323105000
pod_cpu_usage_seconds_total{namespace="ns",pod="web"} 11 1767323105000
pod_memory_working_set_bytes{namespace="ns",pod="web"} 1100 1767323105000
resource_scrape_error 0
`, resource(t, c))

	clock.Step(20 * time.Second)
	web.set(used("app", 15, 2000) + used("sidecar", 1, 100))
	s := summary(t, c)
	require.Len(t, s.Pods, 1)
	pod := s.Pods[0]
	assert.Equal(t, stats.PodReference{Name: "web", Namespace: "ns", UID: "uid-web"}, pod.PodRef)
	require.Len(t, pod.Containers, 2)
	assert.Equal(t, "app", pod.Containers[0].Name)
	assert.Equal(t, uint64(250_000_000), *pod.Containers[0].CPU.UsageNanoCores, "5 core-seconds in 20 s")
	assert.Equal(t, uint64(15_000_000_000), *pod.Containers[0].CPU.UsageCoreNanoSeconds)
	assert.Equal(t, uint64(2000), *pod.Containers[0].Memory.WorkingSetBytes)
	assert.Zero(t, *pod.Containers[1].CPU.UsageNanoCores)
	assert.Equal(t, uint64(250_000_000), *pod.CPU.UsageNanoCores)
	assert.Equal(t, "node", s.Node.NodeName)
	assert.Equal(t, uint64(5_000_000_000), *s.Node.CPU.UsageCoreNanoSeconds, "the time used between the two samples")
	assert.Equal(t, uint64(2100), *s.Node.Memory.WorkingSetBytes)
}

func TestPodsWithoutUsageAreLeftOut(t *testing.T) {
	stopped := newExporter(t, "")
	stopped.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close)
	good := newExporter(t, used("c", 1, 2))
	cases := map[string]struct {
		exporter *exporter
		want     bool
	}{
		"complete usage":            {good, true},
		"the exporter is not there": {stopped, false},
		"the exporter hangs":        {&exporter{Server: silent}, false},
		"the exporter answers 404":  {newExporter(t, ""), false},
		"the answer is malformed":   {newExporter(t, "{{{"), false},
		"the memory is missing":     {newExporter(t, `container_cpu_usage_seconds_total{container="c"} 1`), false},
		"only another container":    {newExporter(t, used("other", 1, 2)), false},
		"impossible values": {newExporter(t, `container_cpu_usage_seconds_total{container="c"} -1`+"\n"+
			`container_memory_working_set_bytes{container="c"} NaN`), false},
		"the former name of the label": {
			newExporter(t, strings.ReplaceAll(used("c", 1, 2), "container=", "container_name=")), true,
		},
		"no label and one container": {
			newExporter(t, "container_cpu_usage_seconds_total 1\ncontainer_memory_working_set_bytes 2\n"), true,
		},
		"one series for each core": {newExporter(t, `container_cpu_usage_seconds_total{container="c",cpu="0"} 0.5`+"\n"+
			`container_cpu_usage_seconds_total{container="c",cpu="1"} 0.5`+"\n"+
			`container_memory_working_set_bytes{container="c"} 2`+"\n"), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t, testclock.NewFakeClock(begin), tc.exporter.target("web", "c"))
			text := resource(t, c)
			assert.Contains(t, text, "resource_scrape_error 0")
			if !tc.want {
				assert.NotContains(t, text, "web")
				assert.NotContains(t, text, "node_", "the usage of the node is unknown too")
				assert.Empty(t, summary(t, c).Pods)
				return
			}
			assert.Contains(t, text, `container_cpu_usage_seconds_total{container="c",namespace="ns",pod="web"} 1 `)
			assert.Contains(t, text, `container_memory_working_set_bytes{container="c",namespace="ns",pod="web"} 2 `)
		})
	}
}

func TestSamplesAreReusedUntilTheyAreTooOld(t *testing.T) {
	clock := testclock.NewFakeClock(begin)
	web := newExporter(t, used("c", 1, 2))
	c := newCollector(t, clock, web.target("web", "c"))
	for range 3 {
		require.Contains(t, resource(t, c), "web")
	}
	assert.Equal(t, int32(1), web.requests.Load())
	web.Close()
	clock.Step(30 * time.Second)
	assert.Contains(t, resource(t, c), fmt.Sprintf(`pod="web"} 1 %d`, begin.UnixMilli()), "an old sample keeps its time")
	clock.Step(31 * time.Second)
	assert.NotContains(t, resource(t, c), "web", "a sample that is too old is not served")
}

func TestUsageOfTheNodeNeverDecreases(t *testing.T) {
	clock := testclock.NewFakeClock(begin)
	one, two := newExporter(t, used("c", 100, 2)), newExporter(t, used("c", 1000, 2))
	targets := []usage.Target{one.target("one", "c"), two.target("two", "c")}
	c, err := usage.New(usage.Config{
		NodeName: "node", Targets: func() []usage.Target { return append([]usage.Target{}, targets...) },
		Concurrency: 1, Timeout: time.Second,
		Client: http.DefaultClient, Now: clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	node := func() float64 {
		clock.Step(15 * time.Second)
		_, cpu := c.Samples(t.Context())
		return cpu
	}
	assert.Zero(t, node())
	one.set(used("c", 103, 2))
	two.set(used("c", 1002, 2))
	assert.InDelta(t, 5, node(), 0.001)
	targets = targets[:1]
	one.set(used("c", 104, 2))
	assert.InDelta(t, 6, node(), 0.001, "a deleted Pod does not decrease the total")
	one.set(used("c", 1, 2))
	assert.InDelta(t, 6, node(), 0.001, "a restarted container does not decrease the total")
}

func TestPodsWhoseExporterFailedComeLast(t *testing.T) {
	var requests atomic.Int32
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	var before []int32
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		before = append(before, requests.Load())
		_, _ = io.WriteString(w, used("c", 1, 2))
	}))
	t.Cleanup(good.Close)
	var targets []usage.Target
	for i := range 3 {
		targets = append(targets, (&exporter{Server: silent}).target(fmt.Sprintf("silent-%d", i), "c"))
	}
	targets = append(targets, (&exporter{Server: good}).target("good", "c"))
	clock := testclock.NewFakeClock(begin)
	c, err := usage.New(usage.Config{
		NodeName: "node", Targets: func() []usage.Target { return append([]usage.Target{}, targets...) },
		Concurrency: 1, Timeout: 20 * time.Millisecond,
		Client: http.DefaultClient, Now: clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	for range 2 {
		require.Contains(t, resource(t, c), "good")
		clock.Step(15 * time.Second)
	}
	assert.Equal(t, []int32{3, 3}, before, "all three come before it in the first round, none in the second")
}

func TestErrorsOfTheConfiguration(t *testing.T) {
	_, err := usage.New(usage.Config{})
	assert.ErrorContains(t, err, "targets")
	_, err = usage.New(usage.Config{
		Targets: func() []usage.Target { return nil }, Client: http.DefaultClient, Now: time.Now, Logger: slog.Default(),
	})
	assert.ErrorContains(t, err, "above zero")
}

func TestRequestsToExportersAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	good, stopped := newExporter(t, used("c", 1, 2)), newExporter(t, "")
	stopped.Close()
	c, err := usage.New(usage.Config{
		NodeName: "node",
		Targets: func() []usage.Target {
			return []usage.Target{good.target("good", "c"), stopped.target("stopped", "c")}
		},
		Concurrency: 1, Timeout: time.Second, Client: http.DefaultClient, Now: time.Now, Registerer: registry,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	c.Samples(t.Context())
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(
		`# HELP spillway_vnode_exporter_requests_total Requests to the metrics exporters of cloud Pods, by result `+
			`(answered or failed).
# TYPE spillway_vnode_exporter_requests_total counter
spillway_vnode_exporter_requests_total{result="answered"} 1
spillway_vnode_exporter_requests_total{result="failed"} 1
`)))
}

// The rate of a Pod is unknown while the rate of one of its containers is unknown.
func TestRestartedContainerHasNoRate(t *testing.T) {
	clock := testclock.NewFakeClock(begin)
	web := newExporter(t, used("app", 10, 1)+used("sidecar", 10, 1))
	c := newCollector(t, clock, web.target("web", "app", "sidecar"))
	summary(t, c)
	clock.Step(20 * time.Second)
	web.set(used("app", 15, 1) + used("sidecar", 1, 1))
	pod := summary(t, c).Pods[0]
	assert.Nil(t, pod.CPU.UsageNanoCores)
	assert.Equal(t, uint64(250_000_000), *pod.Containers[0].CPU.UsageNanoCores)
	assert.Nil(t, pod.Containers[1].CPU.UsageNanoCores)
}

func TestRSSAndUsageAreOptional(t *testing.T) {
	web := newExporter(t, used("c", 1, 2)+
		"container_memory_rss{container=\"c\"} 3\ncontainer_memory_usage_bytes{container=\"c\"} 4\n")
	read := func() *stats.MemoryStats {
		c := newCollector(t, testclock.NewFakeClock(begin), web.target("web", "c"))
		return summary(t, c).Pods[0].Containers[0].Memory
	}
	memory := read()
	assert.Equal(t, uint64(3), *memory.RSSBytes)
	assert.Equal(t, uint64(4), *memory.UsageBytes)
	web.set(used("c", 1, 2))
	memory = read()
	assert.Nil(t, memory.RSSBytes)
	assert.Nil(t, memory.UsageBytes)
}
