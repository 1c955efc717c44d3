package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// absent are metrics that this system does not have, and why.
var absent = map[string]string{
	"spillway_admission_certificate_expiry_timestamp_seconds": "the certificate of the trial system is a file",
	"spillway_admission_certificate_failures_total":           "the certificate of the trial system is a file",
	"spillway_extender_leader":                                "a sidecar follows the Lease of its scheduler",
	"spillway_ledger_cloud_limit":                             "no namespace has limits",
	"spillway_ledger_cloud_used":                              "no namespace has limits",
	"spillway_ledger_cloud_waiting_pods":                      "no namespace has limits",
	"spillway_vnode_services_cut_off_total":                   "virtual nodes serve no Services",
	"spillway_vnode_services_refused_total":                   "virtual nodes serve no Services",
}

var metricName = regexp.MustCompile(`\bspillway_[a-z_]+[a-z]\b`)

// TestARunningSystemHasTheMetrics scrapes all programs while two of five replicas run in the cloud. No alert may fire.
func TestARunningSystemHasTheMetrics(t *testing.T) {
	s := startSystem(t)
	p := startPrometheus(t, map[string]string{
		"spillway-extender":  s.HealthEndpoint(system.Extender),
		"spillway-admission": s.HealthEndpoint(system.Admission),
		"spillway-vnode":     s.HealthEndpoint(system.VNode(0)),
	})
	burst(t, s, 5, 3)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, "2", p.value(c, `sum(spillway_ledger_cloud_pods{kind="Deployment",workload="web"})`))
		assert.Equal(c, "3", p.value(c, `sum(spillway_ledger_local_used_pods{workload="web"})`))
		assert.Equal(c, "0", p.value(c, `sum(spillway_ledger_local_missing_pods{workload="web"})`))
		assert.Equal(c, "2", p.value(c, `sum(spillway_vnode_pods{phase="Running"})`))
		assert.Equal(c, "3", p.value(c, `sum(up{job=~"spillway-.+"})`))
	}, time.Minute, time.Second)

	var there []string
	p.get(t, "label/__name__/values", nil, &there)
	used := usedMetrics(t)
	for name := range absent {
		assert.Contains(t, used, name, "it is not used any more")
		assert.NotContains(t, there, name, "it is not absent")
	}
	for _, name := range used {
		assert.True(t, slices.Contains(there, name) || absent[name] != "", "the system has no metric %s", name)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		p.get(c, "rules", nil, &rules)
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				assert.Equal(c, "ok", rule.Health, "%s: %s", rule.Name, rule.LastError)
			}
		}
	}, time.Minute, time.Second)
	var loaded []string
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			loaded = append(loaded, rule.Name)
		}
	}
	assert.ElementsMatch(t, alertNames(t), loaded)
	assert.Empty(t, p.series(t, `ALERTS{alertstate="firing"}`))
	for _, query := range queries(t) {
		p.series(t, query) // Matches of several series with several are errors that no parser notices.
	}
}

// usedMetrics returns the names of the metrics that alerts and dashboards use.
func usedMetrics(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(dashboards)
	require.NoError(t, err)
	var names []string
	for _, file := range append(files, rulesFile) {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		names = append(names, metricName.FindAllString(string(content), -1)...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	require.Greater(t, len(names), 25)
	return names
}

func startSystem(t *testing.T) *system.System {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	config := system.Config{
		Dir: t.TempDir(), BinDir: bin, Shape: system.DefaultShape(), DieWithParent: true, Progress: t.Output(),
	}
	s, err := system.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, system.Stop(context.Background(), config.Dir)) })
	return s
}

// burst runs a Deployment, and waits until all its Pods run.
func burst(t *testing.T, s *system.System, replicas, quota int) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels: labels, Annotations: map[string]string{policy.LocalReplicasAnnotation: fmt.Sprint(quota)},
				},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "web", Image: "nginx", Resources: corev1.ResourceRequirements{
						Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
					},
				}}},
			},
		},
	}
	apps := s.Client().AppsV1().Deployments("default")
	_, err := apps.Create(t.Context(), deployment, metav1.CreateOptions{})
	require.NoError(t, err)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		found, err := apps.Get(t.Context(), "web", metav1.GetOptions{})
		require.NoError(c, err)
		assert.EqualValues(c, replicas, found.Status.ReadyReplicas)
	}, 2*time.Minute, time.Second)
}

// prometheus is a running Prometheus. Its value is the URL of its API.
type prometheus string

// startPrometheus scrapes the addresses, by the names of their jobs, every second.
func startPrometheus(t *testing.T, jobs map[string]string) prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(rulesFile)
	require.NoError(t, err)
	var scrape []any
	for job, endpoint := range jobs {
		scrape = append(scrape, map[string]any{
			"job_name": job, "honor_labels": true,
			"static_configs": []any{map[string]any{
				"targets": []string{strings.TrimPrefix(endpoint, "http://")}, "labels": map[string]string{"pod": job},
			}},
		})
	}
	content, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{rules}, "scrape_configs": scrape,
	})
	require.NoError(t, err)
	file := filepath.Join(dir, "prometheus.yaml")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	command := exec.Command(program(t, "prometheus"), "--config.file", file, "--storage.tsdb.path",
		filepath.Join(dir, "data"), "--web.listen-address", "127.0.0.1:0")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	command.Stdout, command.Stderr = log, log
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		assert.NoError(t, command.Process.Kill())
		assert.Error(t, command.Wait(), "it was killed")
		assert.NoError(t, log.Close())
	})
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	var p prometheus
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		content, err := os.ReadFile(log.Name())
		require.NoError(c, err)
		match := listening.FindSubmatch(content)
		require.NotNil(c, match, string(content))
		p = prometheus("http://" + string(match[1]) + "/api/v1/")
	}, time.Minute, 100*time.Millisecond)
	return p
}

// get asks the API.
func (p prometheus) get(t require.TestingT, path string, query url.Values, into any) {
	client := http.Client{Timeout: 20 * time.Second}
	response, err := client.Get(string(p) + path + "?" + query.Encode())
	require.NoError(t, err)
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.Equal(t, "success", answer.Status, "%s: %s", query, answer.Error)
	require.NoError(t, json.Unmarshal(answer.Data, into))
}

// sample is a series with its present value.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (p prometheus) series(t require.TestingT, query string) []sample {
	var data struct{ Result []sample }
	p.get(t, "query", url.Values{"query": {query}}, &data)
	return data.Result
}

// value returns the value of the only series.
func (p prometheus) value(t require.TestingT, query string) any {
	found := p.series(t, query)
	require.Len(t, found, 1, query)
	return found[0].Value[1]
}
