package ccisim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func TestPathsAndVerbs(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web")
	cases := map[string]struct {
		method, target string
		body           any
		want           int
	}{
		"pods have no deletecollection":       {"DELETE", podsPath, nil, 405},
		"configmaps have no deletecollection": {"DELETE", "/apis/cci/v2/namespaces/ns/configmaps", nil, 405},
		"namespaces cannot be updated":        {"PUT", "/apis/cci/v2/namespaces/ns", namespaceBody("ns"), 405},
		"namespaces cannot be patched":        {"PATCH", "/apis/cci/v2/namespaces/ns", object{}, 405},
		"a Pod cannot be posted to its name":  {"POST", podsPath + "/web", podBody("web"), 405},
		"a collection cannot be updated":      {"PUT", podsPath, podBody("web"), 405},
		"events cannot be created":            {"POST", "/apis/cci/v2/namespaces/ns/events", object{}, 405},
		"events cannot be deleted":            {"DELETE", "/apis/cci/v2/namespaces/ns/events/x", nil, 405},
		"events cannot be watched by default": {"GET", "/apis/cci/v2/namespaces/ns/events?watch=1", nil, 405},
		"a log can only be read":              {"POST", podsPath + "/web/log", nil, 405},
		"attach does not exist":               {"GET", podsPath + "/web/attach", nil, 404},
		"portforward does not exist":          {"GET", podsPath + "/web/portforward", nil, 404},
		"pods/status does not exist":          {"GET", podsPath + "/web/status", nil, 404},
		"networks are not of the group cci":   {"GET", "/apis/cci/v2/namespaces/ns/networks", nil, 404},
		"pods are not of the group yangtse":   {"GET", "/apis/yangtse/v2/namespaces/ns/pods", nil, 404},
		"namespaces are not namespaced":       {"GET", "/apis/cci/v2/namespaces/ns/namespaces", nil, 404},
		"CCI 1.0 has no such namespace":       {"GET", "/api/v1/namespaces/ns/pods", nil, 404},
		"another version":                     {"GET", "/apis/cci/v1/namespaces", nil, 404},
		"an unknown group":                    {"GET", "/apis/apps/v1", nil, 404},
		"an unknown resource":                 {"GET", "/apis/cci/v2/namespaces/ns/jobs", nil, 404},
		"the root":                            {"GET", "/", nil, 404},
		"an empty path element":               {"GET", "/apis/cci/v2/namespaces//pods", nil, 404},
		"a path that is too long":             {"GET", podsPath + "/web/log/more", nil, 404},
		"an object that does not exist":       {"GET", podsPath + "/other", nil, 404},
		"a namespace that does not exist":     {"GET", "/apis/cci/v2/namespaces/other/pods", nil, 404},
		"creating in a missing namespace":     {"POST", "/apis/cci/v2/namespaces/other/pods", podBody("web"), 404},
		"watching a missing namespace":        {"GET", "/apis/cci/v2/namespaces/other/pods?watch=1", nil, 404},
		"all namespaces at once":              {"GET", "/apis/cci/v2/pods", nil, 400},
		"watching all namespaces":             {"GET", "/apis/cci/v2/pods?watch=1", nil, 400},
		"creating without a namespace":        {"POST", "/apis/cci/v2/pods", podBody("web"), 404},
		"a trailing slash is ignored":         {"GET", podsPath + "/", nil, 200},
		"the groups":                          {"GET", "/apis", nil, 200},
		"the resources of cci":                {"GET", "/apis/cci/v2", nil, 200},
		"the resources of yangtse":            {"GET", "/apis/yangtse/v2", nil, 200},
		"discovery is read only":              {"POST", "/apis/cci/v2", nil, 405},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := b.do(tc.method, tc.target, tc.body)
			require.NoError(t, a.err)
			require.Equal(t, tc.want, a.status, "%s", a.body)
			if tc.want < 400 {
				return
			}
			status, code := a.statusBody(t)
			assert.Equal(t, int32(tc.want), status.Code)
			assert.NotEmpty(t, status.Message)
			assert.NotEmpty(t, a.header.Get("X-Request-Id"))
			if tc.want == http.StatusBadRequest {
				assert.Equal(t, "CCI.01.400105", code)
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	b := newEnv(t)
	var list metav1.APIResourceList
	require.Equal(t, http.StatusOK, b.get("/apis/cci/v2", &list))
	verbs := map[string]metav1.Verbs{}
	for _, res := range list.APIResources {
		verbs[res.Name] = res.Verbs
	}
	all := metav1.Verbs{"create", "delete", "get", "list", "patch", "update", "watch"}
	assert.Equal(t, map[string]metav1.Verbs{
		"namespaces": {"create", "delete", "get", "list", "watch"}, "pods": all, "pods/log": {"get"}, "pods/exec": {"create",
			"get"}, "configmaps": all, "secrets": all, "persistentvolumes": all, "persistentvolumeclaims": all,
		"imagesnapshots": {"create", "delete", "get", "list", "watch"},
	}, verbs, "events are served but not listed")
	var groups metav1.APIGroupList
	require.Equal(t, http.StatusOK, b.get("/apis", &groups))
	require.Len(t, groups.Groups, 3)
	assert.Equal(t, "yangtse/v2", groups.Groups[1].PreferredVersion.GroupVersion)
	assert.Equal(t, "networking.cci.io/v1beta1", groups.Groups[2].PreferredVersion.GroupVersion)

	var versions metav1.APIVersions
	require.Equal(t, http.StatusOK, b.get("/api", &versions))
	assert.Equal(t, []string{"v1"}, versions.Versions)
	for path, want := range map[string][]string{
		"/api/v1":                         {"namespaces", "pods", "pods/log", "pods/exec", "configmaps", "secrets", "events"},
		"/apis/networking.cci.io/v1beta1": {"networks"}, "/apis/yangtse/v2": {"networks"},
	} {
		var list metav1.APIResourceList
		require.Equal(t, http.StatusOK, b.get(path, &list))
		var names []string
		for _, res := range list.APIResources {
			names = append(names, res.Name)
		}
		assert.Equal(t, want, names, path)
	}
}

func TestAccount(t *testing.T) {
	b := newEnv(t)
	const gatesPath = "/v1/project-1/feature-gates"
	sold := func() string {
		var gates []struct{ Feature, Type, Value string }
		require.Equal(t, http.StatusOK, b.get(gatesPath, &gates))
		require.Len(t, gates, 1)
		assert.Equal(t, "sale_policy_list", gates[0].Feature)
		assert.Equal(t, "list", gates[0].Type)
		return gates[0].Value
	}
	assert.Equal(t, `["general-computing","general-computing-lite"]`, sold())
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{RefuseLite: true}))
	assert.Equal(t, `["general-computing"]`, sold())
	b.want(http.StatusForbidden, "GET", "/v1/project-2/feature-gates", nil)
	b.want(http.StatusMethodNotAllowed, "POST", gatesPath, nil)

	assert.Empty(t, b.want(http.StatusNoContent, "POST", "/v1/agency", nil).body)
	var agencies []map[string]string
	require.Equal(t, http.StatusOK, b.get("/v1/agency", &agencies))
	require.Len(t, agencies, 1)
	assert.Equal(t, "domain-1", agencies[0]["domain_id"])
	b.want(http.StatusMethodNotAllowed, "DELETE", "/v1/agency", nil)
	b.want(http.StatusNotFound, "GET", "/v1", nil)
	b.want(http.StatusNotFound, "GET", "/v1/other", nil)
	assert.Equal(t, 2, b.sim.CountRequests("get", "feature-gates", http.StatusOK))
	_, err := b.sim.AddFault(ccisim.Fault{Kind: ccisim.NoAgency})
	require.NoError(t, err)
	b.want(http.StatusForbidden, "GET", "/v1/agency", nil)
}

func TestNamespaces(t *testing.T) {
	b := newEnv(t)
	body := namespaceBody("team")
	body["metadata"].(object)["labels"] = object{"owner": "spillway"}
	body["metadata"].(object)["finalizers"] = []string{"mine/hold"}
	var ns ccisim.Namespace
	require.NoError(t, json.Unmarshal(b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces", body).body, &ns))
	assert.Equal(t, corev1.NamespaceActive, ns.Status.Phase)
	assert.Equal(t, map[string]string{"owner": "spillway", "kubernetes.io/metadata.name": "team"}, ns.Labels)
	assert.Empty(t, ns.Finalizers)
	assert.Equal(t, map[string]string{"tenant.kubernetes.io/project-id": "project-1",
		"tenant.kubernetes.io/domain-id": "domain-1", "tenant.cci.io/tenant-id": "project-1"}, ns.Annotations)

	status, _ := b.want(http.StatusConflict, "POST", "/apis/cci/v2/namespaces", body).statusBody(t)
	assert.Equal(t, metav1.StatusReasonAlreadyExists, status.Reason)
	b.want(http.StatusUnprocessableEntity, "POST", "/apis/cci/v2/namespaces", namespaceBody("a.b"))

	var secret ccisim.Secret
	require.Equal(t, http.StatusOK, b.get("/apis/cci/v2/namespaces/team/secrets/imagepull-secret", &secret),
		"the service creates the pull secret")
	assert.Equal(t, corev1.SecretTypeDockerConfigJson, secret.Type)

	var list struct{ Items []ccisim.Namespace }
	b.get("/apis/cci/v2/namespaces?labelSelector=owner%3Dspillway", &list)
	assert.Len(t, list.Items, 1)
	b.get("/apis/cci/v2/namespaces?labelSelector=owner%3Dother", &list)
	assert.Empty(t, list.Items)
}

func TestNamespaceDeletion(t *testing.T) {
	b := newNamespaceEnv(t, func(c *ccisim.Config) { c.FinalizerDelay = 50e6 })
	b.createPod("web")
	b.createPod("waiting", withAnnotations("ccisim.spillway.io/image", "missing"))
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces/ns/configmaps",
		object{"apiVersion": "cci/v2", "kind": "ConfigMap", "metadata": object{"name": "c"}})
	b.untilPhase("web", "Running")
	var ns ccisim.Namespace
	require.NoError(t, json.Unmarshal(b.want(http.StatusOK, "DELETE", "/apis/cci/v2/namespaces/ns", nil).body, &ns))
	assert.Equal(t, corev1.NamespaceTerminating, ns.Status.Phase)
	assert.NotNil(t, ns.DeletionTimestamp)
	status, _ := b.want(http.StatusForbidden, "POST", podsPath, podBody("late")).statusBody(t)
	assert.Contains(t, status.Message, "because it is being terminated")
	b.eventually(func() bool {
		return b.do("GET", "/apis/cci/v2/namespaces/ns", nil).status == http.StatusNotFound
	}, "the namespace is gone")
	for _, record := range b.sim.PodsEver() {
		assert.NotNil(t, record.Deleted, "pod %s", record.Name)
	}
	b.makeNamespace("ns")
	b.want(http.StatusNotFound, "GET", podsPath+"/web", nil)
	b.want(http.StatusNotFound, "GET", "/apis/cci/v2/namespaces/ns/configmaps/c", nil)
	b.createPod("web")
	b.untilPhase("web", "Running")
}

func TestNetworks(t *testing.T) {
	const path = "/apis/yangtse/v2/namespaces/ns/networks"
	with := func(name string, value any) object {
		body := networkBody("second", "subnet-2")
		body["spec"].(object)[name] = value
		return body
	}
	warm := func(size, hours string) object {
		body := networkBody("second", "subnet-2")
		body["metadata"].(object)["annotations"] = object{
			"yangtse.io/warm-pool-size": size, "yangtse.io/warm-pool-recycle-interval": hours,
		}
		return body
	}
	cases := map[string]struct {
		body    object
		want    int
		message string
	}{
		"another subnet": {networkBody("second", "subnet-2"), 201, ""},
		"a type with hyphens": {
			with("networkType", "underlay-neutron"), 403, `networkType "underlay-neutron" is not supported`,
		},
		"no type":             {with("networkType", ""), 403, "is not supported"},
		"no security group":   {with("securityGroups", nil), 201, ""},
		"a nameless group":    {with("securityGroups", []string{""}), 201, ""},
		"no subnet":           {with("subnets", []object{}), 422, "spec.subnets"},
		"a subnet without id": {with("subnets", []object{{}}), 422, "spec.subnets[0].subnetID"},
		"an unknown family":   {with("ipFamilies", []string{"IPX"}), 422, "spec.ipFamilies[0]"},
		"a subnet that is used": {
			networkBody("second", "subnet-1"), 403, "subnetID subnet-1 is not allowed to be duplicated",
		},
		"a name that is used": {networkBody("net", "subnet-3"), 409, "already exists"},
		"CCI 1.0's apiVersion": {
			object{"apiVersion": "networking.cci.io/v1beta1", "kind": "Network"}, 400, "yangtse/v2 and Network are right",
		},
		"an invalid name": {networkBody("_", "subnet-4"), 422, "metadata.name"},
		"warm addresses":  {warm("10", "2"), 201, ""},
		"warm addresses that are no number": {warm("ten", "2"), 422,
			`metadata.annotations[yangtse.io/warm-pool-size]: Invalid value: "ten"`},
		"fewer warm addresses than none":       {warm("-1", "2"), 422, "must be a number of 0 or more"},
		"warm addresses for a part of an hour": {warm("10", "0.5"), 422, "warm-pool-recycle-interval"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t)
			a := b.do("POST", path, tc.body)
			require.NoError(t, a.err)
			require.Equal(t, tc.want, a.status, "%s", a.body)
			if tc.want == http.StatusCreated {
				var network ccisim.Network
				require.NoError(t, json.Unmarshal(a.body, &network))
				assert.Equal(t, "Pending", network.Status.Status)
				assert.Equal(t, []string{"yangtse.io/network-cleanup"}, network.Finalizers)
				return
			}
			status, _ := a.statusBody(t)
			assert.Contains(t, status.Message, tc.message)
		})
	}
	t.Run("is Ready with its subnets", func(t *testing.T) {
		b := newNamespaceEnv(t)
		var network ccisim.Network
		b.get(path+"/net", &network)
		assert.Equal(t, "Ready", network.Status.Status)
		require.Len(t, network.Status.Conditions, 2)
		assert.Equal(t, "NetworkSynced", network.Status.Conditions[0].Type)
		assert.Equal(t, "NetworkExternalDependenciesSynced", network.Status.Conditions[1].Type)
		require.Len(t, network.Status.SubnetAttrs, 1)
		assert.Equal(t, "subnet-1", network.Status.SubnetAttrs[0].SubnetV4ID)
	})
	t.Run("security groups and annotations may change, and subnets be added", func(t *testing.T) {
		b := newNamespaceEnv(t)
		b.want(http.StatusCreated, "POST", path, networkBody("second", "subnet-2"))
		body := networkBody("net", "subnet-1")
		change := func(groups []string, subnets ...object) answer {
			body["spec"].(object)["securityGroups"], body["spec"].(object)["subnets"] = groups, subnets
			return b.do("PUT", path+"/net", body)
		}
		first, second, third := object{"subnetID": "subnet-1"}, object{"subnetID": "subnet-2"}, object{"subnetID": "subnet-3"}
		assert.Equal(t, http.StatusOK, change([]string{"sg-2"}, first, third).status)
		assert.Equal(t, http.StatusUnprocessableEntity, change([]string{"sg-2"}, third).status, "a subnet is removed")
		assert.Equal(t, http.StatusUnprocessableEntity, change(nil, first, third, third).status, "a subnet is there twice")
		assert.Equal(t, http.StatusForbidden, change(nil, first, third, second).status, "another network has the subnet")
		body["spec"].(object)["networkType"] = "other"
		assert.Equal(t, http.StatusUnprocessableEntity, change(nil, first, third).status, "the type changes")
		var network ccisim.Network
		warmer := warm("10", "2")
		warmer["metadata"].(object)["name"] = "net"
		warmer["spec"].(object)["securityGroups"] = []string{"sg-2"}
		warmer["spec"].(object)["subnets"] = []object{first, third}
		assert.Equal(t, http.StatusOK, b.do("PUT", path+"/net", warmer).status, "annotations change")
		warmer["metadata"].(object)["annotations"] = object{"yangtse.io/warm-pool-size": "ten"}
		assert.Equal(t, http.StatusUnprocessableEntity, b.do("PUT", path+"/net", warmer).status)
		b.eventually(func() bool {
			b.get(path+"/net", &network)
			return len(network.Status.SubnetAttrs) == 2
		}, "the status has both subnets")
		assert.Equal(t, []string{"sg-2"}, network.Spec.SecurityGroups)
		assert.Equal(t, "10", network.Annotations["yangtse.io/warm-pool-size"])
		assert.Equal(t, "Ready", network.Status.Status)
	})
	t.Run("is removed after its Pods", func(t *testing.T) {
		b := newNamespaceEnv(t)
		b.createPod("web")
		b.untilPhase("web", "Running")
		b.want(http.StatusOK, "DELETE", path+"/net", nil)
		var network ccisim.Network
		require.Equal(t, http.StatusOK, b.get(path+"/net", &network))
		assert.NotNil(t, network.DeletionTimestamp)
		b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=0", nil)
		b.eventually(func() bool {
			return b.do("GET", path+"/net", nil).status == http.StatusNotFound
		}, "the network is gone")
	})
	t.Run("must name project and domain under a policy", func(t *testing.T) {
		b := newNamespaceEnv(t, func(c *ccisim.Config) { c.Policies.RequireNetworkAnnotations = false })
		require.NoError(t, b.sim.SetPolicies(ccisim.Policies{RequireNetworkAnnotations: true}))
		b.want(http.StatusUnprocessableEntity, "POST", path, networkBody("second", "subnet-2"))
		named := networkBody("second", "subnet-2")
		named["metadata"].(object)["annotations"] = object{"yangtse.io/project-id": "p", "yangtse.io/domain-id": "d"}
		b.want(http.StatusCreated, "POST", path, named)
	})
}

// The clients of others leave out the apiVersion and the kind, which the path names.
func TestBodiesWithoutAType(t *testing.T) {
	b := newNamespaceEnv(t)
	const maps = "/apis/cci/v2/namespaces/ns/configmaps"
	without := func(name string, fields ...string) object {
		body := object{"apiVersion": "cci/v2", "kind": "ConfigMap", "metadata": object{"name": name}}
		for _, field := range fields {
			delete(body, field)
		}
		return body
	}
	b.want(http.StatusCreated, "POST", maps, without("a", "apiVersion", "kind"))
	b.want(http.StatusCreated, "POST", maps, without("b", "apiVersion"))
	b.want(http.StatusCreated, "POST", maps, without("c", "kind"))
	b.want(http.StatusOK, "PUT", maps+"/a", without("a", "apiVersion", "kind"))
	var config ccisim.ConfigMap
	b.get(maps+"/a", &config)
	assert.Equal(t, "cci/v2", config.APIVersion)
	assert.Equal(t, "ConfigMap", config.Kind)
	for field, wrong := range map[string]string{"apiVersion": "v1", "kind": "Secret"} {
		body := without("d", "apiVersion", "kind")
		body[field] = wrong
		b.want(http.StatusBadRequest, "POST", maps, body)
	}
}

func TestLimitsPolicies(t *testing.T) {
	const hidden = "/apis/cci/v2/namespaces/ns/secrets"
	b := newNamespaceEnv(t)
	secret := func(name, kind string, data object) object {
		return object{"apiVersion": "cci/v2", "kind": "Secret", "metadata": object{"name": name}, "type": kind, "data": data}
	}
	basic := secret("basic", "kubernetes.io/basic-auth", object{"username": "eA=="})
	searching := func(name string, searches ...string) object {
		return podBody(name, withSpec("dnsConfig", object{"searches": searches}))
	}
	status, _ := b.want(http.StatusUnprocessableEntity, "POST", hidden, basic).statusBody(t)
	assert.Contains(t, status.Message, `type: Unsupported value: "kubernetes.io/basic-auth"`)
	b.want(http.StatusCreated, "POST", hidden,
		secret("tls", "kubernetes.io/tls", object{"tls.crt": "eA==", "tls.key": "eA=="}))
	status, _ = b.want(http.StatusUnprocessableEntity, "POST", podsPath,
		searching("four", "a", "b", "c", "d")).statusBody(t)
	assert.Contains(t, status.Message, "spec.dnsConfig.searches: Too many: 4: must have at most 3 items")
	b.want(http.StatusCreated, "POST", podsPath, searching("three", "a", "b", "c"))
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{
		SecretTypes: ccisim.KubernetesLimits, Searches: ccisim.KubernetesLimits,
	}))
	b.want(http.StatusCreated, "POST", hidden, basic)
	b.want(http.StatusCreated, "POST", podsPath, searching("four", "a", "b", "c", "d"))
}

func TestPodPolicies(t *testing.T) {
	containers := func(name string, n int) object {
		body := podBody(name)
		list := []any{}
		for i := range n {
			list = append(list, object{"name": fmt.Sprintf("c%d", i), "image": "a:1",
				"resources": object{"limits": object{"cpu": "250m", "memory": "512Mi"}}})
		}
		body["spec"].(object)["containers"] = list
		return body
	}
	lite := func(name, annotation string) object {
		return podBody(name, withAnnotations(annotation, "general-computing-lite"))
	}
	one, preference := "resource.cci.io/instance-type", "resource.cci.io/instance-type-preference"
	b := newNamespaceEnv(t)
	b.want(http.StatusCreated, "POST", podsPath, containers("six", 6))
	b.want(http.StatusCreated, "POST", podsPath, lite("lite", one))
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{MaxContainers: 5, RefuseLite: true}))
	status, _ := b.want(http.StatusForbidden, "POST", podsPath, containers("six-more", 6)).statusBody(t)
	assert.Contains(t, status.Message, "a pod may have 5 containers, not 6")
	b.want(http.StatusCreated, "POST", podsPath, containers("five", 5))
	b.want(http.StatusForbidden, "POST", podsPath, lite("lite-more", one))
	b.want(http.StatusForbidden, "POST", podsPath, lite("lite-last", preference))
	b.createPod("general", withAnnotations(one, "general-computing"))
}

func TestConfigMapsAndSecrets(t *testing.T) {
	const maps, hidden = "/apis/cci/v2/namespaces/ns/configmaps", "/apis/cci/v2/namespaces/ns/secrets"
	b := newNamespaceEnv(t)
	b.want(http.StatusCreated, "POST", maps, object{"apiVersion": "cci/v2", "kind": "ConfigMap",
		"metadata": object{"name": "c"}, "data": object{"k": "v"}, "binaryData": object{"b": "AAE="}})
	var config ccisim.ConfigMap
	require.Equal(t, http.StatusOK, b.get(maps+"/c", &config))
	assert.Equal(t, map[string]string{"k": "v"}, config.Data)
	assert.Equal(t, map[string][]byte{"b": {0, 1}}, config.BinaryData)

	replaced := object{"apiVersion": "cci/v2", "kind": "ConfigMap",
		"metadata": object{"name": "c",
			"resourceVersion": config.ResourceVersion}, "data": object{"k": "w"}, "immutable": true}
	b.want(http.StatusOK, "PUT", maps+"/c", replaced)
	status, code := b.want(http.StatusConflict, "PUT", maps+"/c", replaced).statusBody(t)
	assert.Equal(t, metav1.StatusReasonConflict, status.Reason, "the version has changed")
	assert.Equal(t, "CCI.02.409101", code)
	delete(replaced["metadata"].(object), "resourceVersion")
	replaced["data"] = object{"k": "x"}
	b.want(http.StatusUnprocessableEntity, "PUT", maps+"/c", replaced)
	b.want(http.StatusUnprocessableEntity, "POST", maps,
		object{"apiVersion": "cci/v2", "kind": "ConfigMap", "metadata": object{"name": "bad"}, "data": object{"a/b": ""}})
	b.want(http.StatusBadRequest, "PUT", maps+"/c",
		object{"apiVersion": "cci/v2", "kind": "ConfigMap", "metadata": object{"name": "d"}})
	b.want(http.StatusNotFound, "PUT", maps+"/d",
		object{"apiVersion": "cci/v2", "kind": "ConfigMap", "metadata": object{"name": "d"}})

	b.want(http.StatusCreated, "POST", hidden, object{"apiVersion": "cci/v2", "kind": "Secret",
		"metadata": object{"name": "s"}, "stringData": object{"k": "v"}, "data": object{"d": "eA=="}})
	var secret ccisim.Secret
	require.Equal(t, http.StatusOK, b.get(hidden+"/s", &secret))
	assert.Equal(t, map[string][]byte{"k": []byte("v"), "d": []byte("x")}, secret.Data)
	assert.Equal(t, corev1.SecretTypeOpaque, secret.Type)
	assert.Equal(t, http.StatusOK, b.doAs("PATCH", hidden+"/s", "application/strategic-merge-patch+json",
		`{"data":{"d":null,"e":"eQ=="}}`).status)
	secret = ccisim.Secret{}
	b.get(hidden+"/s", &secret)
	assert.Equal(t, map[string][]byte{"k": []byte("v"), "e": []byte("y")}, secret.Data)
	b.want(http.StatusUnprocessableEntity, "POST", hidden,
		object{"apiVersion": "cci/v2", "kind": "Secret", "metadata": object{"name": "t"},
			"type": "kubernetes.io/dockerconfigjson"})

	gone, _ := b.want(http.StatusOK, "DELETE", hidden+"/s", nil).statusBody(t)
	assert.Equal(t, metav1.StatusSuccess, gone.Status)
	assert.Equal(t, secret.UID, gone.Details.UID)
	b.want(http.StatusNotFound, "GET", hidden+"/s", nil)
}

func TestEventsPolicy(t *testing.T) {
	const events = "/apis/cci/v2/namespaces/ns/events"
	b := newNamespaceEnv(t)
	b.createPod("web")
	b.eventually(func() bool { return len(b.eventReasons("web")) == 2 }, "the Pod has its events")
	var list struct{ Items []corev1.Event }
	b.get(events, &list)
	event := list.Items[0]
	assert.Equal(t, "cci/v2", event.InvolvedObject.APIVersion)
	assert.Equal(t, b.pod("web").UID, event.InvolvedObject.UID)
	assert.Equal(t, int32(1), event.Count)
	assert.Equal(t, "project-1", event.Annotations["tenant.cci.io/tenant-id"])
	assert.Equal(t, http.StatusOK, b.get(events+"/"+event.Name, &event))

	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{Events: ccisim.EventsAbsent}))
	b.want(http.StatusNotFound, "GET", events, nil)
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{Events: ccisim.EventsWatched}))
	b.want(http.StatusOK, "GET", events+"?watch=1&timeoutSeconds=1", nil)
	assert.Error(t, b.sim.SetPolicies(ccisim.Policies{Events: "some"}))
}
