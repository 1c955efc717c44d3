package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
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

// clientOf returns a client of a service that has one answer, and of its generation.
func clientOf(t *testing.T, name string) *cci.Client {
	t.Helper()
	answer, err := json.Marshal(published(t, name).Answer)
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(server.Close)
	cloud := &cloudtest.Cloud{URL: server.URL}
	if strings.HasPrefix(name, "1.0/") {
		cloud.Version = policy.CCI1
	}
	return cloudtest.NewClient(t, cloud.Config())
}

// The client reads from the published answers what vnode needs.
func TestClientReadsThePublishedAnswers(t *testing.T) {
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
	t.Run("an image snapshot", func(t *testing.T) {
		snapshot, err := clientOf(t, "imagesnapshot-created").GetSnapshot(t.Context(), "test-imagesnapshot")
		require.NoError(t, err)
		assert.True(t, snapshot.IsMade())
		assert.Equal(t, []cci.SnapshotImage{{Image: "nginx:stable-alpine-perl"}}, snapshot.Spec.Images)
	})
	t.Run("an image snapshot that is being deleted", func(t *testing.T) {
		snapshot, err := clientOf(t, "imagesnapshot-deleted").GetSnapshot(t.Context(), "test-imagesnapshot")
		require.NoError(t, err)
		assert.NotNil(t, snapshot.DeletionTimestamp)
	})
	t.Run("a Pod that is being deleted", func(t *testing.T) {
		pod, err := clientOf(t, "pod-deleted").GetPod(t.Context(), "ns", "test")
		require.NoError(t, err)
		assert.NotNil(t, pod.DeletionTimestamp)
		assert.Equal(t, []string{"billing.kubernetes.io/podbilling-finalizer"}, pod.Finalizers)
	})
}

// The same of CCI 1.0. Its examples are of 2018.
func TestClientReadsThePublishedAnswersOfCCI1(t *testing.T) {
	t.Run("namespace", func(t *testing.T) {
		namespace, err := clientOf(t, "1.0/namespace").GetNamespace(t.Context(), "namespace-test")
		require.NoError(t, err)
		assert.Equal(t, corev1.NamespaceActive, namespace.Status.Phase)
	})
	t.Run("a new network", func(t *testing.T) {
		network, err := clientOf(t, "1.0/network-created").GetNetwork(t.Context(), "test-ns", "test-network")
		require.NoError(t, err)
		assert.Equal(t, "Initializing", network.Status.Status)
		assert.Equal(t, []string{"security-group-id"}, network.Spec.SecurityGroups)
		assert.Equal(t, []cci.Subnet{{SubnetID: "subnet-id"}}, network.Spec.Subnets)
		assert.Equal(t, "network-id", network.Spec.NetworkID)
	})
	t.Run("network", func(t *testing.T) {
		network, err := clientOf(t, "1.0/network").GetNetwork(t.Context(), "ns", "net")
		require.NoError(t, err)
		assert.Equal(t, cci.NetworkReady, network.Status.Status)
	})
	t.Run("configmap", func(t *testing.T) {
		data, err := clientOf(t, "1.0/configmap").GetData(t.Context(), "ns", cci.ConfigMap, "configmap-test")
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"property_1": "test"}, data.Text)
	})
	t.Run("secret", func(t *testing.T) {
		data, err := clientOf(t, "1.0/secret").GetData(t.Context(), "ns", cci.Secret, "secret-test")
		require.NoError(t, err)
		assert.Equal(t, "admin", string(data.Binary["key2"]))
	})
	t.Run("a Pod that runs", func(t *testing.T) {
		pod, err := clientOf(t, "1.0/pod").GetPod(t.Context(), "ns", "pod-test")
		require.NoError(t, err)
		assert.Equal(t, corev1.PodRunning, pod.Status.Phase)
		assert.Equal(t, "192.168.245.185", pod.Status.PodIP)
		require.Len(t, pod.Status.ContainerStatuses, 1)
		assert.NotNil(t, pod.Status.ContainerStatuses[0].State.Running)
	})
	t.Run("a list of Pods", func(t *testing.T) {
		pods, err := clientOf(t, "1.0/pods").ListPods(t.Context(), "ns", cci.ListOptions{})
		require.NoError(t, err)
		assert.Equal(t, "5035636", pods.ResourceVersion)
		require.Len(t, pods.Items, 1)
		assert.Equal(t, "pod-test", pods.Items[0].Name)
		assert.Equal(t, corev1.PodRunning, pods.Items[0].Status.Phase)
	})
	t.Run("Events of a Pod", func(t *testing.T) {
		const name, uid = "deployment-test-57f7cff77c-5x5tw", "00000000-0000-0000-0000-000000000017"
		events, err := clientOf(t, "1.0/events").PodEvents(t.Context(), "ns", name, uid)
		require.NoError(t, err)
		var reasons []string
		for i := range events {
			reasons = append(reasons, events[i].Reason)
		}
		assert.Equal(t, []string{"Scheduled", "SuccessfulMountVolume", "Pulling"}, reasons)
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
	"1.0/namespace": {
		"metadata.annotations.pv.kubernetes.io/enable-dynamic-provisioning": "vnode uses no volumes of CCI 1.0",
		"metadata.annotations.tenant.kubernetes.io/domain-name":             "the simulated account has IDs only",
		"metadata.annotations.tenant.kubernetes.io/project-name":            "the simulated account has IDs only",
		"metadata.enable": of2018, "metadata.selfLink": of2018,
	},
	"1.0/network-created": {
		"metadata.annotations.network.alpha.kubernetes.io/type": "vnode does not read it",
		"metadata.enable": of2018, "metadata.selfLink": of2018,
	},
	"1.0/network":   {"metadata.enable": of2018, "metadata.selfLink": of2018},
	"1.0/configmap": {"metadata.enable": of2018, "metadata.selfLink": of2018},
	"1.0/secret":    {"metadata.enable": of2018, "metadata.selfLink": of2018},
	"1.0/pod": {
		"metadata.annotations.cri.cci.io/container-type":           of2018,
		"metadata.annotations.kubernetes.io/availablezone":         of2018,
		"metadata.annotations.network.alpha.kubernetes.io/network": of2018,
		"metadata.enable": of2018, "metadata.selfLink": of2018,
		"spec.securityContext": "the request has none, and vnode does not read it",
		"spec.tolerations":     "vnode does not read them", "spec.tolerations.effect": "as its list",
		"spec.tolerations.key": "as its list", "spec.tolerations.operator": "as its list",
		"spec.tolerations.tolerationSeconds": "as its list",
		"status.managementIP":                of2018,
	},
}

// of2018 is the reason of fields that the examples of CCI 1.0 have and that no later answer shows.
const of2018 = "the example is of 2018"

// of20 is the reason of fields that the examples of CCI 2.0 have. The simulator has one kind of Pods.
const of20 = "Pods are those of CCI 2.0, whose examples are younger"

// simulatedOnly are the fields that only the answers of the simulator have, by example.
var simulatedOnly = map[string]map[string]string{
	"1.0/namespace":       {"apiVersion": "Kubernetes sends it", "kind": "Kubernetes sends it"},
	"1.0/network-created": {"metadata.finalizers": "networks are deleted as in CCI 2.0"},
	"1.0/network":         {"metadata.finalizers": "networks are deleted as in CCI 2.0"},
	"1.0/pod": {
		"metadata.annotations.cni.yangtse.io/network-status":     of20,
		"metadata.annotations.networking.cci.io/vm-network-info": of20,
		"metadata.annotations.openvessel.io/monitoring-aominfo":  of20,
		"metadata.annotations.scheduling.k8s.io/group-name":      of20,
		"metadata.annotations.tenant.cci.io/tenant-id":           of20,
		"metadata.annotations.topology.kubernetes.io/region":     of20,
		"metadata.annotations.topology.kubernetes.io/zone":       of20,
		"metadata.finalizers":                                    of20,
		"metadata.labels.scheduling.cci.io/vmid":                 of20,
		"metadata.labels.sys_enterprise_project_id":              of20,
		"metadata.labels.tenant.cci.io/tenant-id":                of20,
		"metadata.labels.tenant.kubernetes.io/domain-id":         of20,
		"metadata.labels.tenant.kubernetes.io/project-id":        of20,
		"spec.enableServiceLinks":                                "reports of live Pods of CCI 1.0",
		"spec.runtimeClassName":                                  "reports of live Pods of CCI 1.0",
		"spec.terminationGracePeriodSeconds":                     "a default of Kubernetes",
		"status.containerStatuses.started":                       "Kubernetes 1.16 and newer",
		"status.podIPs":                                          "Kubernetes 1.16 and newer",
		"status.podIPs.ip":                                       "Kubernetes 1.16 and newer",
	},
}

// The simulator answers in the shape of the published examples.
func TestSimulatorAnswersInThePublishedShape(t *testing.T) {
	opaque := []string{"data", "spec.containers.resources.limits", "spec.containers.resources.requests"}
	answers := simulatedAnswers(t)
	maps.Copy(answers, simulatedAnswers1(t))
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			want, got := fieldPaths(published(t, name).Answer, opaque), fieldPaths(answer, opaque)
			assert.ElementsMatch(t, slices.Collect(maps.Keys(publishedOnly[name])), without(want, got),
				"what only the published answer has needs a reason")
			assert.ElementsMatch(t, slices.Collect(maps.Keys(simulatedOnly[name])), without(got, want),
				"what only the simulator sends needs a reason")
		})
	}
}

// without returns what is in one list and not in the other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(path string) bool { return slices.Contains(other, path) })
}

// simulatedAnswers returns the answers of CCI 2.0 in the simulator to the published requests, by example. The request
// for a Pod names the apiVersion v1, which is that of CCI 1.0. It is left out: the simulator refuses it.
func simulatedAnswers(t *testing.T) map[string]map[string]any {
	t.Helper()
	s := newService(t)
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
	const snapshots = "/apis/cci/v2/imagesnapshots"
	answers["imagesnapshot-created"] = s.send("POST", snapshots, published(t, "imagesnapshot-created").Request)
	answers["imagesnapshot-deleted"] = s.send("DELETE", snapshots+"/test-imagesnapshot", nil)
	return answers
}

// simulatedAnswers1 is simulatedAnswers of CCI 1.0.
func simulatedAnswers1(t *testing.T) map[string]map[string]any {
	t.Helper()
	s := newService(t)
	answers := map[string]map[string]any{}
	const namespaces = "/api/v1/namespaces"
	answers["1.0/namespace"] = s.send("POST", namespaces, published(t, "1.0/namespace").Request)
	s.send("POST", namespaces, map[string]any{"metadata": map[string]any{
		"name": "test-ns", "annotations": map[string]any{"namespace.kubernetes.io/flavor": "general-computing"},
	}})
	const networks = "/apis/networking.cci.io/v1beta1/namespaces/test-ns/networks"
	answers["1.0/network-created"] = s.send("POST", networks, published(t, "1.0/network-created").Request)
	answers["1.0/network"] = s.until(networks+"/test-network", "status.state=Active")
	answers["1.0/configmap"] = s.send("POST", namespaces+"/test-ns/configmaps", published(t, "1.0/configmap").Request)
	answers["1.0/secret"] = s.send("POST", namespaces+"/test-ns/secrets", published(t, "1.0/secret").Request)
	s.send("POST", namespaces+"/test-ns/pods", published(t, "1.0/pod").Request)
	answers["1.0/pod"] = s.until(namespaces+"/test-ns/pods/pod-test", "status.phase=Running")
	return answers
}

// service is a simulated cloud that is asked with a token.
type service struct {
	t          *testing.T
	url, token string
}

func newService(t *testing.T) *service {
	t.Helper()
	token := account
	token.AuthToken = "token"
	config := ccisimtest.Quick(token)
	config.FinalizerDelay = time.Hour
	_, url := ccisimtest.Start(t, config)
	return &service{t: t, url: url, token: token.AuthToken}
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
