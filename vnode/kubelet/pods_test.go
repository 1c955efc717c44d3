package kubelet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/kubelet"
)

// podIn returns a Pod whose containers are in these states: running, ended or waiting.
func podIn(namespace, name string, states ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid"}}
	for _, state := range states {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: state, Image: "nginx"})
		status := corev1.ContainerStatus{Name: state, Image: "nginx"}
		switch state {
		case "running":
			status.State.Running = &corev1.ContainerStateRunning{}
		case "ended":
			status.State.Terminated = &corev1.ContainerStateTerminated{}
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	return pod
}

func listed(t *testing.T, url string) corev1.PodList {
	t.Helper()
	status, body := send(t, "GET", url, "lister")
	require.Equal(t, http.StatusOK, status, body)
	var list corev1.PodList
	require.NoError(t, json.Unmarshal([]byte(body), &list), body)
	assert.Equal(t, metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, list.TypeMeta)
	return list
}

func TestTheListsOfPods(t *testing.T) {
	p := &pods{list: []*corev1.Pod{
		podIn("shop", "web", "running", "ended"), podIn("default", "web", "waiting"), podIn("default", "job", "ended"),
	}}
	port := newPort(t, p)
	assert.Equal(t, []corev1.Pod{*p.list[2], *p.list[1], *p.list[0]}, listed(t, port+"/pods").Items)
	assert.Len(t, listed(t, port+"/pods/").Items, 3)
	assert.Equal(t, []corev1.Pod{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "running", Image: "nginx"}}},
	}}, listed(t, port+"/runningpods/").Items)

	p.list = nil
	assert.Empty(t, listed(t, port+"/pods").Items)
	assert.Empty(t, listed(t, port+"/runningpods/").Items)
}

// stalled is a caller that reads nothing after the first bytes until it is released.
type stalled struct {
	http.ResponseWriter
	begun, release chan struct{}
}

func (s stalled) Write(p []byte) (int, error) {
	s.begun <- struct{}{}
	<-s.release
	return len(p), nil
}

func TestFewListsOfPodsAreWrittenAtOnce(t *testing.T) {
	handler := newHandler(t, &pods{list: []*corev1.Pod{podIn("shop", "web", "running")}})
	begun, release := make(chan struct{}), make(chan struct{})
	request := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "/pods", nil)
		require.NoError(t, err)
		r.RemoteAddr = "192.0.2.1:1"
		r.Header.Set("Authorization", "Bearer lister")
		return r
	}
	ended := make(chan struct{}, 4)
	for range 4 {
		go func(r *http.Request) {
			handler.ServeHTTP(stalled{httptest.NewRecorder(), begun, release}, r)
			ended <- struct{}{}
		}(request())
		<-begun
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request())
	assert.Equal(t, http.StatusTooManyRequests, recorder.Code)
	assert.Equal(t, "1", recorder.Header().Get("Retry-After"))
	go func() {
		for range begun {
			continue
		}
	}()
	close(release)
	for range 4 {
		<-ended
	}
	close(begun)
	recorder = httptest.NewRecorder()
	handler.ServeHTTP(recorder, request())
	assert.Equal(t, http.StatusOK, recorder.Code)
}

// 3,000 Pods of 100 KB are never in memory together.
func TestAListOfManyLargePodsIsWrittenPodByPod(t *testing.T) {
	const count, size = 300, 100 << 10
	p := &pods{}
	large := podIn("shop", "web", "running")
	large.Annotations = map[string]string{"large": strings.Repeat("x", size)}
	for range count {
		p.list = append(p.list, large)
	}
	handler := newHandler(t, p)
	r, err := http.NewRequestWithContext(t.Context(), "GET", "/pods", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer lister")
	var out discard
	handler.ServeHTTP(&out, r)
	assert.Greater(t, out.total, count*size)
	assert.Less(t, out.largest, 2*size)
}

// discard counts what it is given.
type discard struct{ total, largest int }

func (*discard) Header() http.Header { return http.Header{} }
func (*discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.total, d.largest = d.total+len(p), max(d.largest, len(p))
	return len(p), nil
}

// The paths that the ServiceMonitor of kube-prometheus scrapes with get on nodes/metrics, and nothing else.
func TestPrometheusScrapesTheKubeletPort(t *testing.T) {
	port := newPort(t, &pods{list: []*corev1.Pod{
		podIn("shop", "web", "running", "ended"), podIn("default", "web", "waiting"),
	}})
	for path, want := range map[string][]string{
		"/metrics": {
			`kubelet_node_name{node="virtual"} 1`, "kubelet_running_pods 1",
			`kubelet_running_containers{container_state="running"} 1`,
			`kubelet_running_containers{container_state="exited"} 1`,
			`kubelet_running_containers{container_state="created"} 1`,
		},
		"/metrics/probes": nil, "/metrics/slis": nil,
	} {
		t.Run(path, func(t *testing.T) {
			status, body := send(t, "GET", port+path, "monitor")
			require.Equal(t, http.StatusOK, status, body)
			parser := expfmt.NewTextParser(model.UTF8Validation)
			families, err := parser.TextToMetricFamilies(strings.NewReader(body))
			require.NoError(t, err)
			if want == nil {
				assert.Empty(t, families)
			}
			for _, line := range want {
				assert.Contains(t, body, line+"\n")
			}
			status, body = send(t, "GET", port+path, "viewer")
			assert.Equal(t, http.StatusForbidden, status, "as for the kubelet, nodes/proxy does not allow it: %s", body)
		})
	}
	status, body := send(t, "GET", port+"/metrics/cadvisor", "monitor")
	assert.Equal(t, fmt.Sprint(http.StatusOK, "/metrics/cadvisor"), fmt.Sprint(status, body))
}

var _ kubelet.Pods = (*pods)(nil)
