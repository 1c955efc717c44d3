package ccisim_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

const (
	first1         = "/api/v1/namespaces"
	firstPods      = first1 + "/old/pods"
	firstNetworks1 = "/apis/networking.cci.io/v1beta1/namespaces/old/networks"
)

func namespace1(name, flavor string) object {
	return object{"apiVersion": "v1", "kind": "Namespace",
		"metadata": object{"name": name, "annotations": object{"namespace.kubernetes.io/flavor": flavor}}}
}

// network1 returns a network of CCI 1.0 without some fields of its spec.
func network1(name string, drop ...string) object {
	spec := object{"networkType": "underlay_neutron", "attachedVPC": "vpc", "networkID": "net", "subnetID": "subnet",
		"availableZone": "a", "cidr": "10.0.0.0/24"}
	for _, field := range drop {
		delete(spec, field)
	}
	return object{"apiVersion": "networking.cci.io/v1beta1", "kind": "Network", "spec": spec,
		"metadata": object{"name": name,
			"annotations": object{"network.alpha.kubernetes.io/default-security-group": "group"}}}
}

func pod1(name string, containers ...object) object {
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": name, "labels": object{"app": "web"}},
		"spec": object{"restartPolicy": "Always", "dnsPolicy": "Default", "containers": containers}}
}

func container1(name string, requests, limits object) object {
	c := object{"name": name, "image": "nginx"}
	if requests != nil || limits != nil {
		c["resources"] = object{"requests": requests, "limits": limits}
	}
	return c
}

func newCCI1Env(t *testing.T, change ...func(*ccisim.Config)) *env {
	t.Helper()
	b := newEnv(t, change...)
	b.want(http.StatusCreated, http.MethodPost, first1, namespace1("old", "general-computing"))
	b.want(http.StatusCreated, http.MethodPost, firstNetworks1, network1("net", "subnetID"))
	return b
}

func TestCCI1Pod(t *testing.T) {
	b := newCCI1Env(t)
	size := object{"cpu": "500m", "memory": "1Gi"}
	b.want(http.StatusCreated, http.MethodPost, firstPods, pod1("web", container1("c", size, size)))
	var pod ccisim.Pod
	b.eventually(func() bool {
		return b.get(firstPods+"/web", &pod) == http.StatusOK && pod.Status.Phase == corev1.PodRunning
	}, "the Pod runs")
	assert.Equal(t, "v1", pod.APIVersion)
	assert.Equal(t, "kata", *pod.Spec.RuntimeClassName)
	assert.False(t, *pod.Spec.EnableServiceLinks)
	assert.NotContains(t, pod.Annotations, "resource.cci.io/size", "CCI 1.0 has no size annotation")
	var network ccisim.Network1
	require.Equal(t, http.StatusOK, b.get(firstNetworks1+"/net", &network))
	assert.Equal(t, "Active", network.Status.State)
	assert.Equal(t, "networking.cci.io/v1beta1", network.APIVersion)

	require.NoError(t, b.sim.AppendLog("old", "web", "c", "hello"))
	assert.Contains(t, string(b.want(http.StatusOK, http.MethodGet, firstPods+"/web/log?container=c", nil).body), "hello")
	for _, target := range []string{firstPods, "/api/v1/pods"} {
		_, names := b.list(target)
		assert.Equal(t, []string{"web"}, names, target)
	}
	assert.Equal(t, 1, b.sim.CountPods("old", corev1.PodRunning))
	b.want(http.StatusOK, http.MethodDelete, firstPods+"/web?gracePeriodSeconds=0", nil)
	b.eventually(func() bool { return b.get(firstPods+"/web", &pod) == http.StatusNotFound }, "the Pod is gone")
}

func TestGenerationsAreSeparate(t *testing.T) {
	b := newCCI1Env(t)
	b.makeNamespace("new")
	for _, target := range []string{"/apis/cci/v2/namespaces/old", "/apis/cci/v2/namespaces/old/pods", first1 + "/new",
		first1 + "/new/pods", "/apis/networking.cci.io/v1beta1/namespaces/new/networks"} {
		b.want(http.StatusNotFound, http.MethodGet, target, nil)
	}
	b.want(http.StatusCreated, http.MethodPost, first1, namespace1("new", "general-computing"))
	_, names := b.list("/apis/cci/v2/namespaces")
	assert.NotContains(t, names, "old")
	for _, target := range []string{"/api/v2", "/apis/networking.cci.io/v1", "/api/v2/namespaces",
		"/apis/cci/v1/namespaces"} {
		b.want(http.StatusNotFound, http.MethodGet, target, nil)
	}
	b.want(http.StatusBadRequest, http.MethodGet, "/api/v1/pods?watch=true", nil)
}

func TestCCI1Admission(t *testing.T) {
	b := newCCI1Env(t)
	good := object{"cpu": "500m", "memory": "1Gi"}
	probed := container1("c", good, good)
	probed["startupProbe"] = object{"tcpSocket": object{"port": 80}}
	sidecar := pod1("web", container1("c", good, good))
	side := container1("i", good, good)
	side["restartPolicy"] = "Always"
	sidecar["spec"].(object)["initContainers"] = []object{side}
	noGroup := network1("other")
	noGroup["metadata"].(object)["annotations"] = object{}
	many := make([]object, 6)
	for i := range many {
		many[i] = container1(strings.Repeat("c", i+1), good, good)
	}
	cases := map[string]struct {
		target  string
		body    object
		status  int
		message string
	}{
		"a namespace without a flavor":     {first1, namespace1("x", ""), 400, "namespace.kubernetes.io/flavor"},
		"a namespace of an unknown flavor": {first1, namespace1("x", "large"), 400, "large"},
		"a body of CCI 2.0": {
			first1, object{"apiVersion": "cci/v2", "kind": "Namespace", "metadata": object{"name": "x"}}, 400, "cci/v2",
		},
		"a network without a security group": {firstNetworks1, noGroup, 400, "securitygroup can not be empty"},
		"a network without a network":        {firstNetworks1, network1("other", "networkID"), 422, "networkID"},
		"a network without a VPC":            {firstNetworks1, network1("other", "attachedVPC"), 422, "attachedVPC"},
		"a second network":                   {firstNetworks1, network1("other"), 403, "has network net already"},
		"requests that are not limits": {
			firstPods, pod1("web", container1("c", object{"cpu": "250m", "memory": "1Gi"},
				good)), 403, "limit and request doesn't equal",
		},
		"no CPU": {firstPods, pod1("web", container1("c", nil, nil)), 403, "CPU"},
		"a CPU that is not a multiple of 0.25": {
			firstPods, pod1("web", container1("c", object{"cpu": "300m", "memory": "1Gi"},
				object{"cpu": "300m", "memory": "1Gi"})), 403, "0.25",
		},
		"too little memory for a container": {
			firstPods, pod1("web", container1("c", object{"cpu": "250m", "memory": "100Mi"},
				object{"cpu": "250m", "memory": "100Mi"})), 403, "0.2Gi",
		},
		"memory that is not in whole GiB": {
			firstPods, pod1("web", container1("c", object{"cpu": "500m", "memory": "1500Mi"},
				object{"cpu": "500m", "memory": "1500Mi"})), 403, "multiple of 1Gi",
		},
		"too little memory for the CPU": {
			firstPods, pod1("web", container1("c", object{"cpu": "1", "memory": "1Gi"},
				object{"cpu": "1", "memory": "1Gi"})), 403, "ratio",
		},
		"too much memory for the CPU": {
			firstPods, pod1("web", container1("c", object{"cpu": "250m", "memory": "3Gi"},
				object{"cpu": "250m", "memory": "3Gi"})), 403, "ratio",
		},
		"too many cores": {
			firstPods, pod1("web", container1("c", object{"cpu": "33", "memory": "100Gi"},
				object{"cpu": "33", "memory": "100Gi"})), 403, "too large",
		},
		"too many containers":          {firstPods, pod1("web", many...), 403, "5 containers"},
		"a startup probe by tcpSocket": {firstPods, pod1("web", probed), 403, "startupProbe"},
		"a sidecar":                    {firstPods, sidecar, 403, "restartPolicy"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, string(b.want(tc.status, http.MethodPost, tc.target, tc.body).body), tc.message)
		})
	}
}

func TestCCI1StateSurvivesStop(t *testing.T) {
	cfg := ccisim.Config{StateFile: filepath.Join(t.TempDir(), "state")}
	state := func(c *ccisim.Config) { c.StateFile = cfg.StateFile }
	b := newCCI1Env(t, state)
	b.fault(ccisim.Fault{Kind: ccisim.SoldOut})
	require.NoError(t, b.sim.Close())
	again := newEnv(t, state)
	assert.Equal(t, http.StatusOK, again.do(http.MethodGet, first1+"/old", nil).status)
	assert.Equal(t, http.StatusOK, again.do(http.MethodGet, firstNetworks1+"/net", nil).status)
	assert.Equal(t, http.StatusNotFound, again.do(http.MethodGet, "/apis/cci/v2/namespaces/old", nil).status)
	assert.Len(t, again.sim.Faults(), 1)
	require.NoError(t, again.sim.Close())
}

func TestFaultsApplyToCCI1(t *testing.T) {
	b := newCCI1Env(t)
	fault := b.fault(ccisim.Fault{Kind: ccisim.SoldOut, Path: "^/api/v1/namespaces/old/pods/"})
	size := object{"cpu": "500m", "memory": "1Gi"}
	b.want(http.StatusCreated, http.MethodPost, firstPods, pod1("web", container1("c", size, size)))
	var pod ccisim.Pod
	b.eventually(func() bool {
		return b.get(firstPods+"/web", &pod) == http.StatusOK && len(pod.Status.Conditions) > 0
	}, "the Pod waits")
	assert.Equal(t, corev1.PodReasonUnschedulable, pod.Status.Conditions[0].Reason)
	require.True(t, b.sim.RemoveFault(fault.ID))
	b.eventually(func() bool {
		return b.get(firstPods+"/web", &pod) == http.StatusOK && pod.Status.Phase == corev1.PodRunning
	}, "the Pod runs")
}
