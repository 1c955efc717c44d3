package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// example is a published request with its answer.
type example struct {
	// Page is where it is published.
	Page    string         `json:"page"`
	Request map[string]any `json:"request"`
	Answer  map[string]any `json:"answer"`
}

func published(t *testing.T, name string) example {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata/published", name+".json"))
	require.NoError(t, err)
	var out example
	require.NoError(t, json.Unmarshal(raw, &out))
	require.NotEmpty(t, out.Page)
	return out
}

// The client reads from the published answers what vnode needs.
func TestClientReadsThePublishedAnswers(t *testing.T) {
	// clientOf returns a client of a service that has one answer.
	clientOf := func(t *testing.T, name string) *cci.Client {
		answer, err := json.Marshal(published(t, name).Answer)
		require.NoError(t, err)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer)
		}))
		t.Cleanup(server.Close)
		config := (&cloudtest.Cloud{URL: server.URL}).Config()
		return cloudtest.NewClient(t, config)
	}
	t.Run("namespace", func(t *testing.T) {
		namespace, err := clientOf(t, "namespace").GetNamespace(t.Context(), "test")
		require.NoError(t, err)
		assert.Equal(t, corev1.NamespaceActive, namespace.Status.Phase)
	})
	t.Run("network", func(t *testing.T) {
		network, err := clientOf(t, "network").GetNetwork(t.Context(), "ns", "test-api")
		require.NoError(t, err)
		assert.Equal(t, cci.NetworkReady, network.Status.Status)
		assert.Equal(t, []cci.Subnet{{SubnetID: "subnet-1"}}, network.Spec.Subnets)
		assert.Len(t, network.Status.Conditions, 2)
	})
	t.Run("configmap", func(t *testing.T) {
		data, err := clientOf(t, "configmap").GetData(t.Context(), "ns", cci.ConfigMap, "test-cm")
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"key1": "value1", "key2": "value2"}, data.Text)
	})
	t.Run("secret", func(t *testing.T) {
		data, err := clientOf(t, "secret").GetData(t.Context(), "ns", cci.Secret, "test-secret")
		require.NoError(t, err)
		assert.Equal(t, corev1.SecretTypeOpaque, data.Type)
		assert.Contains(t, data.Binary, "key")
	})
	t.Run("a new Pod", func(t *testing.T) {
		pod, err := clientOf(t, "pod-created").GetPod(t.Context(), "ns", "test")
		require.NoError(t, err)
		assert.Equal(t, corev1.PodPending, pod.Status.Phase)
		assert.Empty(t, pod.Status.Conditions)
	})
	t.Run("a Pod that runs", func(t *testing.T) {
		pod, err := clientOf(t, "pod").GetPod(t.Context(), "ns", "test")
		require.NoError(t, err)
		assert.Equal(t, corev1.PodRunning, pod.Status.Phase)
		assert.Equal(t, "10.0.0.2", pod.Status.PodIP)
		assert.Equal(t, "2.00_4.0", pod.Annotations["resource.cci.io/size"])
		require.Len(t, pod.Status.ContainerStatuses, 1)
		assert.NotNil(t, pod.Status.ContainerStatuses[0].State.Running)
	})
	t.Run("a Pod that is being deleted", func(t *testing.T) {
		pod, err := clientOf(t, "pod-deleted").GetPod(t.Context(), "ns", "test")
		require.NoError(t, err)
		assert.NotNil(t, pod.DeletionTimestamp)
		assert.Equal(t, []string{"billing.kubernetes.io/podbilling-finalizer"}, pod.Finalizers)
	})
}

// publishedOnly are the known fields that only the published answers have, by example. The simulator has none of its
// own.
var publishedOnly = map[string]map[string]string{
	"namespace": {
		"metadata.annotations.tenant.kubernetes.io/domain-name":  "the simulated account has IDs only",
		"metadata.annotations.tenant.kubernetes.io/project-name": "the simulated account has IDs only",
		"metadata.annotations.volcano.sh/queue-name":             "vnode knows nothing of queues",
	},
	"secret": {
		"metadata.annotations.secret.cci.io/namespace-uid": "vnode does not read it",
	},
	"pod-deleted": {
		"metadata.labels.test-label-key": "the Pod of the example got this label after its creation",
	},
}

// The simulator answers in the shape of the published examples.
func TestSimulatorAnswersInThePublishedShape(t *testing.T) {
	opaque := []string{"data", "spec.containers.resources.limits", "spec.containers.resources.requests"}
	for name, answer := range simulatedAnswers(t) {
		t.Run(name, func(t *testing.T) {
			want, got := fieldPaths(published(t, name).Answer, opaque), fieldPaths(answer, opaque)
			for _, path := range want {
				if !slices.Contains(got, path) {
					assert.NotEmpty(t, publishedOnly[name][path], "the simulator does not send %s: it needs a reason", path)
				}
			}
			for _, path := range got {
				assert.Contains(t, want, path, "the published answer has no such field")
			}
			for path := range publishedOnly[name] {
				assert.Contains(t, want, path, "the published answer does not have it: it needs no reason")
				assert.NotContains(t, got, path, "the simulator sends it: it needs no reason")
			}
		})
	}
}

// simulatedAnswers returns the simulator's answers to the published requests, by example. The request for a Pod names
// the apiVersion v1, which is that of CCI 1.0. It is left out: the simulator refuses it.
func simulatedAnswers(t *testing.T) map[string]map[string]any {
	t.Helper()
	token := account
	token.AuthToken = "token"
	config := ccisimtest.Quick(token)
	config.FinalizerDelay = time.Hour
	_, url := ccisimtest.Start(t, config)
	s := &service{t: t, url: url, token: token.AuthToken}
	answers := map[string]map[string]any{}
	const namespaces = "/apis/cci/v2/namespaces"
	answers["namespace"] = s.send("POST", namespaces, published(t, "namespace").Request)
	s.send("POST", namespaces, map[string]any{"metadata": map[string]any{"name": "ns"}})
	const networks = "/apis/yangtse/v2/namespaces/ns/networks"
	s.send("POST", networks, published(t, "network").Request)
	answers["network"] = s.until(networks+"/test-api", "status.status=Ready")
	answers["configmap"] = s.send("POST", namespaces+"/ns/configmaps", published(t, "configmap").Request)
	answers["secret"] = s.send("POST", namespaces+"/ns/secrets", published(t, "secret").Request)
	pod := published(t, "pod").Request
	delete(pod, "apiVersion")
	answers["pod-created"] = s.send("POST", namespaces+"/ns/pods", pod)
	answers["pod"] = s.until(namespaces+"/ns/pods/test", "status.phase=Running")
	answers["pod-deleted"] = s.send("DELETE", namespaces+"/ns/pods/test", nil)
	return answers
}

// service is a simulated cloud that is asked with a token.
type service struct {
	t          *testing.T
	url, token string
}

func (s *service) send(method, path string, body map[string]any) map[string]any {
	s.t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(s.t, err)
	if body == nil {
		raw = nil
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(raw))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Auth-Token", s.token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	raw, err = io.ReadAll(response.Body)
	require.NoError(s.t, err)
	require.Less(s.t, response.StatusCode, http.StatusBadRequest, "%s %s: %s", method, path, raw)
	var out map[string]any
	require.NoError(s.t, json.Unmarshal(raw, &out))
	return out
}

// until reads an object until a field has a value, which is written as in recorded.Until.
func (s *service) until(path, field string) map[string]any {
	s.t.Helper()
	var out map[string]any
	require.Eventually(s.t, func() bool {
		out = s.send("GET", path, nil)
		raw, err := json.Marshal(out)
		return err == nil && has(raw, field)
	}, timeout, tick, "%s has %s", path, field)
	return out
}
