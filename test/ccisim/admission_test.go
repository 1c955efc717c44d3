package ccisim_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

type change = func(pod, spec, container object)

func resources(requests, limits object) change {
	return withContainer("resources", object{"requests": requests, "limits": limits})
}

func volume(source string, value any) change {
	return withSpec("volumes", []object{{"name": "data", source: value}})
}

func mounted(extra ...any) change {
	mount := object{"name": "data", "mountPath": "/data"}
	for i := 0; i+1 < len(extra); i += 2 {
		mount[extra[i].(string)] = extra[i+1]
	}
	return withContainer("volumeMounts", []object{mount})
}

func variable(value object) change {
	return withContainer("env", []object{{"name": "X", "valueFrom": value}})
}

func probe(value object) change { return withContainer("livenessProbe", value) }

func TestPodAdmission(t *testing.T) {
	none := func(pod, _, container object) { delete(container, "resources") }
	cases := map[string]struct {
		changes []change
		status  int
		// message must be part of the message of the response.
		message string
	}{
		"a valid Pod is accepted":             {nil, 201, ""},
		"no resources and no size annotation": {[]change{none}, 403, "at least one container needs both cpu and memory"},
		"cpu alone is not enough": {
			[]change{resources(object{"cpu": "1"}, nil)}, 403, "at least one container needs both",
		},
		"no resources, but a size annotation": {
			[]change{none, withAnnotations("resource.cci.io/pod-size-specs", "2.00_4.0")}, 201, "",
		},
		"a size that is not sold": {
			[]change{withAnnotations("resource.cci.io/pod-size-specs", "3.00_4.0")}, 403, "is not a size that is sold",
		},
		"a size in another format": {
			[]change{withAnnotations("resource.cci.io/pod-size-specs", "2C4G")}, 403, "is not of the form",
		},
		"a size below the containers' sum": {[]change{withAnnotations("resource.cci.io/pod-size-specs", "0.25_0.5")}, 403,
			"0.25_0.5 is less than the containers' resources, 0.50_1.0"},
		"more than any size that is sold": {
			[]change{resources(object{"cpu": "65", "memory": "1Gi"}, nil)}, 403, "no size holds",
		},
		"more than 32 cores": {[]change{resources(object{"cpu": "33", "memory": "64Gi"}, nil)}, 403, "more than 32 cores"},
		"more than 32 cores with the annotation": {[]change{resources(object{"cpu": "33", "memory": "64Gi"}, nil),
			withAnnotations("resource.cci.io/resizing-large-size-instance-greater-than-32-cores", "true")}, 201, ""},
		"an accelerator": {
			[]change{resources(object{"cpu": "1", "memory": "1Gi"},
				object{"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"})}, 403, "nvidia.com/gpu is not supported",
		},
		"a request above its limit": {
			[]change{resources(object{"cpu": "2", "memory": "1Gi"},
				object{"cpu": "1", "memory": "1Gi"})}, 422, "must be less than or equal to cpu limit",
		},
		"a request below its limit": {
			[]change{resources(object{"cpu": "250m", "memory": "512Mi"}, object{"cpu": "500m", "memory": "1Gi"})}, 201, "",
		},
		"an invalid quantity": {[]change{resources(object{"cpu": "lots", "memory": "1Gi"}, nil)}, 400, "is not a Pod"},
		"an unknown instance type": {
			[]change{withAnnotations("resource.cci.io/instance-type", "gpu")}, 403, `instance type "gpu" is not supported`,
		},
		"a known instance type": {[]change{withAnnotations("resource.cci.io/instance-type", "general-computing")}, 201, ""},
		"instance type and preference": {
			[]change{withAnnotations("resource.cci.io/instance-type", "general-computing",
				"resource.cci.io/instance-type-preference", "general-computing-lite")}, 403, "exclude each other",
		},
		"an image snapshot that is named and chosen": {
			[]change{withAnnotations("cci.io/image-snapshot-auto-match", "true",
				"cci.io/image-snapshot-specified-name", "web")}, 400, "conflict",
		},
		"an image snapshot that is named only": {
			[]change{withAnnotations("cci.io/image-snapshot-auto-match", "false",
				"cci.io/image-snapshot-specified-name", "web")}, 201, "",
		},
		"a preference of known types": {
			[]change{withAnnotations("resource.cci.io/instance-type-preference",
				"general-computing,general-computing-lite")}, 201, "",
		},
		"extra storage": {[]change{withSpec("extraEphemeralStorage", object{"sizeInGiB": 470})}, 201, ""},
		"too much extra storage": {
			[]change{withSpec("extraEphemeralStorage", object{"sizeInGiB": 1000})}, 403, "is not between 1 and 964",
		},
		"dnsPolicy ClusterFirst": {
			[]change{withSpec("dnsPolicy", "ClusterFirst")}, 422, `supported values: "Default", "None"`,
		},
		"dnsPolicy None without server": {[]change{withSpec("dnsPolicy", "None")}, 422, "spec.dnsConfig.nameservers"},
		"dnsPolicy None with a server": {
			[]change{withSpec("dnsPolicy", "None"), withSpec("dnsConfig",
				object{"nameservers": []string{"10.0.0.10"}, "searches": []string{"ns.svc.cluster.local", "svc.cluster.local."},
					"options": []object{{"name": "ndots", "value": "5"}}})}, 201, "",
		},
		"a nameserver that is a name": {
			[]change{withSpec("dnsPolicy", "None"), withSpec("dnsConfig",
				object{"nameservers": []string{"dns.local"}})}, 422, "must be a valid IP address",
		},
		"four nameservers": {
			[]change{withSpec("dnsConfig", object{"nameservers": []string{"1.1.1.1", "1.1.1.2", "1.1.1.3",
				"1.1.1.4"}})}, 422, "nameservers",
		},
		"an invalid search path": {[]change{withSpec("dnsConfig", object{"searches": []string{"_x"}})}, 422, "searches[0]"},
		"hostPath": {
			[]change{volume("hostPath", object{"path": "/var/log"}),
				mounted()}, 403, "spec.volumes[0].hostPath: hostPath volumes are not supported",
		},
		"a service account token": {[]change{volume("projected",
			object{"sources": []object{{"serviceAccountToken": object{"path": "token"}}}})}, 403,
			"serviceAccountToken projections are not supported"},
		"a volume kind that is not listed": {
			[]change{volume("csi", object{"driver": "x"})}, 403, "volume data has no supported source",
		},
		"two sources in a volume": {
			[]change{withSpec("volumes", []object{{"name": "data", "configMap": object{"name": "a"},
				"secret": object{"secretName": "b"}}})}, 422, "more than 1 volume type",
		},
		"a configMap volume": {
			[]change{volume("configMap", object{"name": "a", "items": []object{{"key": "k", "path": "p"}}}),
				mounted("readOnly", true)}, 201, "",
		},
		"a configMap volume without a name": {[]change{volume("configMap", object{})}, 422, "spec.volumes[0].configMap.name"},
		"a secret volume": {
			[]change{volume("secret", object{"secretName": "a"}), mounted("subPath", "x")}, 201, "",
		},
		"a claim": {
			[]change{volume("persistentVolumeClaim", object{"claimName": "a"}), mounted()}, 201, "",
		},
		"a projection of a configMap and secret": {
			[]change{volume("projected", object{"sources": []object{{"configMap": object{"name": "a"}},
				{"secret": object{"name": "b"}}}}), mounted()}, 201, "",
		},
		"a downward file of a label": {
			[]change{volume("downwardAPI", object{"items": []object{{"path": "x",
				"fieldRef": object{"fieldPath": "metadata.labels['a']"}}}})}, 201, "",
		},
		"a downward file of the address": {
			[]change{volume("downwardAPI", object{"items": []object{{"path": "x",
				"fieldRef": object{"fieldPath": "status.podIP"}}}})}, 422, "fieldPath",
		},
		"a projected downward file of the node": {
			[]change{volume("projected", object{"sources": []object{{"downwardAPI": object{"items": []object{{"path": "x",
				"fieldRef": object{"fieldPath": "spec.nodeName"}}}}}}})}, 422, "fieldPath",
		},
		"an emptyDir":              {[]change{volume("emptyDir", object{}), mounted()}, 201, ""},
		"an emptyDir of whole GiB": {[]change{volume("emptyDir", object{"sizeLimit": "5Gi"}), mounted()}, 201, ""},
		"an emptyDir of half a GiB": {
			[]change{volume("emptyDir", object{"sizeLimit": "512Mi"})}, 403, "sizeLimit 512Mi is not a multiple of 1Gi",
		},
		"an emptyDir of size zero": {[]change{volume("emptyDir", object{"sizeLimit": "0"})}, 403, "is not a multiple of 1Gi"},
		"an emptyDir above 10Gi per core": {
			[]change{volume("emptyDir",
				object{"sizeLimit": "11Gi"})}, 403, "more than 10Gi per CPU core: the Pod has 1, rounded up",
		},
		"an emptyDir with a subPath": {
			[]change{volume("emptyDir", object{}), mounted("subPath", "x")}, 403, "does not support a subPath",
		},
		"an emptyDir with a subPathExpr": {
			[]change{volume("emptyDir", object{}), mounted("subPathExpr", "$(X)")}, 403, "does not support a subPath",
		},
		"an emptyDir of an unknown medium": {[]change{volume("emptyDir", object{"medium": "HugePages"})}, 422, "medium"},
		"two volumes of one name": {
			[]change{withSpec("volumes", []object{{"name": "data", "emptyDir": object{}},
				{"name": "data", "emptyDir": object{}}})}, 422, "Duplicate",
		},
		"a mount without a volume": {
			[]change{mounted()}, 422, `spec.containers[0].volumeMounts[0].name: Not found: "data"`,
		},
		"hostNetwork":                   {[]change{withSpec("hostNetwork", true)}, 403, "spec.hostNetwork"},
		"hostPID":                       {[]change{withSpec("hostPID", true)}, 403, "spec.hostPID"},
		"hostIPC":                       {[]change{withSpec("hostIPC", true)}, 403, "spec.hostIPC"},
		"hostNetwork false is accepted": {[]change{withSpec("hostNetwork", false)}, 201, ""},
		"privileged": {
			[]change{withContainer("securityContext",
				object{"privileged": true})}, 403, "privileged containers are not supported",
		},
		"a user and capabilities": {
			[]change{withContainer("securityContext", object{"runAsUser": 1000,
				"capabilities": object{"drop": []string{"ALL"}}})}, 201, "",
		},
		"a gRPC probe": {
			[]change{probe(object{"grpc": object{"port": 8080}})}, 403, "gRPC probes are not supported",
		},
		"an HTTP probe": {
			[]change{probe(object{"httpGet": object{"port": 8080, "path": "/healthz"}})}, 201, "",
		},
		"a TCP probe by name":          {[]change{probe(object{"tcpSocket": object{"port": "http"}})}, 201, ""},
		"an exec probe":                {[]change{probe(object{"exec": object{"command": []string{"true"}}})}, 201, ""},
		"a probe without a handler":    {[]change{probe(object{"periodSeconds": 3})}, 422, "must specify exactly one of"},
		"a probe with an invalid port": {[]change{probe(object{"httpGet": object{"port": 70000}})}, 422, "httpGet.port"},
		"an env from a field": {
			[]change{variable(object{"fieldRef": object{"fieldPath": "status.podIP"}})}, 201, "",
		},
		"an env from an annotation": {
			[]change{variable(object{"fieldRef": object{"fieldPath": "metadata.annotations['a']"}})}, 201, "",
		},
		"an env from all labels": {
			[]change{variable(object{"fieldRef": object{"fieldPath": "metadata.labels"}})}, 422, "fieldPath",
		},
		"an env from a field that is not listed": {
			[]change{variable(object{"fieldRef": object{"fieldPath": "spec.hostname"}})}, 422, "fieldPath",
		},
		"an env from a resource": {[]change{variable(object{"resourceFieldRef": object{"resource": "limits.cpu"}})}, 201, ""},
		"an env with two sources": {
			[]change{variable(object{"configMapKeyRef": object{"name": "a", "key": "b"},
				"secretKeyRef": object{"name": "a", "key": "b"}})}, 422, "exactly one of",
		},
		"an env with value and source": {
			[]change{withContainer("env", []object{{"name": "X", "value": "1",
				"valueFrom": object{"secretKeyRef": object{"name": "a",
					"key": "b"}}}})}, 422, "may not be specified when `value` is not empty",
		},
		"an envFrom without a source": {
			[]change{withContainer("envFrom", []object{{"prefix": "X_"}})}, 422, "must specify one of",
		},
		"an env without a name": {[]change{withContainer("env", []object{{"value": "1"}})}, 422, "env[0].name: Required"},
		"an invalid port":       {[]change{withContainer("ports", []object{{"containerPort": 0}})}, 422, "containerPort"},
		"two ports of one name": {
			[]change{withContainer("ports", []object{{"containerPort": 1, "name": "a"},
				{"containerPort": 2, "name": "a"}})}, 422, "Duplicate",
		},
		"an unknown protocol": {
			[]change{withContainer("ports", []object{{"containerPort": 1, "protocol": "QUIC"}})}, 422, "protocol",
		},
		"an image pull policy":         {[]change{withContainer("imagePullPolicy", "Always")}, 201, ""},
		"an unknown image pull policy": {[]change{withContainer("imagePullPolicy", "Sometimes")}, 422, "imagePullPolicy"},
		"no image":                     {[]change{withContainer("image", "")}, 422, "spec.containers[0].image"},
		"no container": {
			[]change{withSpec("containers", []object{}),
				withAnnotations("resource.cci.io/pod-size-specs", "1.00_2.0")}, 422, "spec.containers",
		},
		"a container name with a dot": {[]change{withContainer("name", "a.b")}, 422, "spec.containers[0].name"},
		"two containers of one name": {
			[]change{withSpec("initContainers", []object{{"name": "web", "image": "a"}})}, 422, "Duplicate",
		},
		"a native sidecar": {
			[]change{withSpec("initContainers", []object{{"name": "side", "image": "a", "restartPolicy": "Always"}})}, 201, "",
		},
		"an init container of another policy": {
			[]change{withSpec("initContainers", []object{{"name": "side", "image": "a",
				"restartPolicy": "OnFailure"}})}, 422, "restartPolicy",
		},
		"a restart policy on a plain container": {
			[]change{withContainer("restartPolicy", "Always")}, 422, "may not be set for non-init containers",
		},
		"an unknown restart policy": {[]change{withSpec("restartPolicy", "Sometimes")}, 422, "restartPolicy"},
		"a deadline of zero":        {[]change{withSpec("activeDeadlineSeconds", 0)}, 422, "activeDeadlineSeconds"},
		"a negative grace period": {
			[]change{withSpec("terminationGracePeriodSeconds", -1)}, 422, "terminationGracePeriodSeconds",
		},
		"a host alias": {
			[]change{withSpec("hostAliases", []object{{"ip": "10.0.0.1", "hostnames": []string{"db.local"}}})}, 201, "",
		},
		"a host alias without an address": {
			[]change{withSpec("hostAliases",
				[]object{{"ip": "db", "hostnames": []string{"db.local"}}})}, 422, "hostAliases[0].ip",
		},
		"an invalid hostname":       {[]change{withSpec("hostname", "a_b")}, 422, "hostname"},
		"an invalid label value":    {[]change{withLabels("a", "_b")}, 422, "metadata.labels"},
		"an invalid label key":      {[]change{withLabels("a b", "c")}, 422, "metadata.labels"},
		"an invalid annotation key": {[]change{withAnnotations("a b", "c")}, 422, "metadata.annotations"},
		"annotations beyond 256 KiB": {
			[]change{withAnnotations("a", strings.Repeat("x", 257<<10))}, 422, "metadata.annotations",
		},
		"a name with capitals": {
			[]change{func(pod, _, _ object) { pod["metadata"].(object)["name"] = "Web" }}, 422, "metadata.name",
		},
		"no name": {[]change{func(pod, _, _ object) { delete(pod["metadata"].(object), "name") }}, 422, "metadata.name"},
		"a namespace that is not in the path": {
			[]change{func(pod, _, _ object) { pod["metadata"].(object)["namespace"] = "other" }}, 400, "other is not ns",
		},
		"the apiVersion of Kubernetes": {
			[]change{func(pod, _, _ object) { pod["apiVersion"] = "v1" }}, 400, "cci/v2 and Pod are right",
		},
		"another kind": {[]change{func(pod, _, _ object) { pod["kind"] = "Deployment" }}, 400, "cci/v2 and Pod are right"},
		"a list instead of an object": {
			[]change{func(pod, _, _ object) { pod["spec"] = []string{"x"} }}, 400, "is not a Pod",
		},
		"an invalid annotation of the simulator": {
			[]change{withAnnotations("ccisim.spillway.io/run-seconds", "soon")}, 400, "ccisim.spillway.io/run-seconds",
		},
		"an invalid exit code": {
			[]change{withAnnotations("ccisim.spillway.io/exit-code.web", "256")}, 400, "ccisim.spillway.io/exit-code",
		},
	}
	b := newNamespaceEnv(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := b.do("POST", podsPath, podBody("tried", tc.changes...))
			require.NoError(t, a.err)
			require.Equal(t, tc.status, a.status, "%s", a.body)
			if tc.status == http.StatusCreated {
				b.want(http.StatusOK, "DELETE", podsPath+"/tried?gracePeriodSeconds=0", nil)
				b.untilGone("tried")
				return
			}
			status, code := a.statusBody(t)
			assert.Contains(t, status.Message, tc.message)
			assert.Equal(t, int32(tc.status), status.Code)
			assert.Equal(t, metav1.StatusFailure, status.Status)
			assert.Equal(t, map[int]metav1.StatusReason{400: "BadRequest", 403: "Forbidden", 422: "Invalid"}[tc.status],
				status.Reason)
			if tc.status == http.StatusBadRequest {
				assert.Equal(t, "CCI.01.400101", code)
			}
			assert.Equal(t, http.StatusNotFound, b.do("GET", podsPath+"/tried", nil).status, "a refused Pod is not stored")
		})
	}
}

func TestBilledSizes(t *testing.T) {
	container := func(name, cpu, memory string) object {
		return object{"name": name, "image": "a", "resources": object{"requests": object{"cpu": cpu, "memory": memory}}}
	}
	sidecar := func(name, cpu, memory string) object {
		c := container(name, cpu, memory)
		c["restartPolicy"] = "Always"
		return c
	}
	cases := map[string]struct {
		containers, init []object
		annotations      []string
		want             string
	}{
		"the smallest":                           {[]object{container("a", "100m", "64Mi")}, nil, nil, "0.25_0.5"},
		"a pair of the table":                    {[]object{container("a", "2", "4Gi")}, nil, nil, "2.00_4.0"},
		"the example of the manual":              {[]object{container("a", "6", "15Gi")}, nil, nil, "8.00_16.0"},
		"the memory decides the size":            {[]object{container("a", "250m", "3Gi")}, nil, nil, "0.50_3.0"},
		"memory that 8 cores have in steps of 4": {[]object{container("a", "8", "17Gi")}, nil, nil, "8.00_20.0"},
		"containers add up": {
			[]object{container("a", "500m", "1Gi"), container("b", "600m", "1Gi")}, nil, nil, "2.00_2.0",
		},
		"an init container counts alone": {
			[]object{container("a", "500m", "1Gi")}, []object{container("i", "4", "1Gi")}, nil, "4.00_4.0",
		},
		"a small init container does not count": {
			[]object{container("a", "500m", "1Gi")}, []object{container("i", "500m", "1Gi")}, nil, "0.50_1.0",
		},
		"a native sidecar adds up": {
			[]object{container("a", "500m", "1Gi")}, []object{sidecar("s", "500m", "1Gi")}, nil, "1.00_2.0",
		},
		"a sidecar runs while later inits run": {
			[]object{container("a", "250m", "512Mi")}, []object{sidecar("s", "1", "1Gi"),
				container("i", "1", "1Gi")}, nil, "2.00_2.0",
		},
		"an annotation may request more": {
			[]object{container("a", "250m", "512Mi")}, nil, []string{"resource.cci.io/pod-size-specs", "4.00_8.0"}, "4.00_8.0",
		},
		"a container without resources is free": {
			[]object{container("a", "250m", "512Mi"), {"name": "b", "image": "a"}}, nil, nil, "0.25_0.5",
		},
		"the largest without an annotation":        {[]object{container("a", "32", "200Gi")}, nil, nil, "32.00_256.0"},
		"the most memory of a quarter core":        {[]object{container("a", "250m", "2Gi")}, nil, nil, "0.25_2.0"},
		"more memory than a quarter core can have": {[]object{container("a", "250m", "2049Mi")}, nil, nil, "0.50_3.0"},
	}
	b := newNamespaceEnv(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			changes := []change{withSpec("containers", tc.containers), withAnnotations(tc.annotations...)}
			if tc.init != nil {
				changes = append(changes, withSpec("initContainers", tc.init))
			}
			pod := b.createPod("sized", changes...)
			assert.Equal(t, tc.want, pod.Annotations["resource.cci.io/size"])
			b.want(http.StatusOK, "DELETE", podsPath+"/sized?gracePeriodSeconds=0", nil)
			b.untilGone("sized")
		})
	}
}

func TestUnlistedFields(t *testing.T) {
	unlisted := []change{
		withSpec("nodeSelector", object{"type": "virtual-kubelet"}), withSpec("tolerations",
			[]object{{"operator": "Exists"}}),
		withSpec("serviceAccountName", "default"), withSpec("priorityClassName", "high"), withSpec("schedulerName", "mine"),
		withContainer("ports", []object{{"containerPort": 80, "hostPort": 80}}), withContainer("resizePolicy",
			[]object{{"resourceName": "cpu", "restartPolicy": "NotRequired"}}),
		func(pod, _, _ object) {
			pod["metadata"].(object)["ownerReferences"] = []object{{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs",
				"uid": "1"}}
			pod["metadata"].(object)["finalizers"] = []string{"mine/hold"}
		},
	}
	want := []string{
		"metadata.finalizers", "metadata.ownerReferences", "spec.containers[0].ports[0].hostPort",
		"spec.containers[0].resizePolicy", "spec.nodeSelector", "spec.priorityClassName", "spec.schedulerName",
		"spec.serviceAccountName", "spec.tolerations",
	}
	t.Run("are dropped and recorded", func(t *testing.T) {
		b := newNamespaceEnv(t)
		pod := b.createPod("web", unlisted...)
		assert.Empty(t, pod.Spec.NodeSelector)
		assert.Empty(t, pod.Spec.Tolerations)
		assert.Empty(t, pod.Spec.ServiceAccountName)
		assert.Equal(t, "volcano", pod.Spec.SchedulerName, "that of the service")
		assert.Empty(t, pod.OwnerReferences)
		assert.Equal(t, []string{"billing.kubernetes.io/podbilling-finalizer"}, pod.Finalizers)
		assert.Zero(t, pod.Spec.Containers[0].Ports[0].HostPort)
		var dropped []string
		for _, d := range b.sim.DroppedFields() {
			assert.Equal(t, "create pods ns/web", d.Verb+" "+d.Resource+" "+d.Namespace+"/"+d.Name)
			dropped = append(dropped, d.Field)
		}
		assert.ElementsMatch(t, want, dropped)
	})
	t.Run("are refused by name if the policy is refuse", func(t *testing.T) {
		b := newNamespaceEnv(t, func(c *ccisim.Config) { c.Policies.Fields = ccisim.RefuseFields })
		status, code := b.want(http.StatusBadRequest, "POST", podsPath, podBody("web", unlisted...)).statusBody(t)
		for _, field := range want {
			assert.Contains(t, status.Message, field)
		}
		assert.Equal(t, "CCI.01.400101", code)
		assert.Empty(t, b.sim.DroppedFields())
		b.createPod("good")
	})
	t.Run("a node affinity with another key is dropped", func(t *testing.T) {
		affinity := func(key string) change {
			return withSpec("affinity", object{"nodeAffinity": object{"requiredDuringSchedulingIgnoredDuringExecution": object{
				"nodeSelectorTerms": []object{{"matchExpressions": []object{{"key": key, "operator": "In",
					"values": []string{"a"}}}}}}}})
		}
		b := newNamespaceEnv(t)
		assert.NotNil(t, b.createPod("zonal", affinity("topology.kubernetes.io/zone")).Spec.Affinity.NodeAffinity)
		assert.Empty(t, b.sim.DroppedFields())
		assert.Nil(t, b.createPod("other", affinity("kubernetes.io/hostname")).Spec.Affinity.NodeAffinity)
		require.Len(t, b.sim.DroppedFields(), 1)
		assert.Equal(t, "spec.affinity.nodeAffinity", b.sim.DroppedFields()[0].Field)
	})
}

func TestEqualRequestsPolicy(t *testing.T) {
	b := newNamespaceEnv(t, func(c *ccisim.Config) { c.Policies.EqualRequests = true })
	b.createPod("equal")
	uneven := resources(object{"cpu": "250m", "memory": "512Mi"}, object{"cpu": "500m", "memory": "1Gi"})
	status, _ := b.want(http.StatusForbidden, "POST", podsPath, podBody("uneven", uneven)).statusBody(t)
	assert.Contains(t, status.Message, "limit and request doesn't equal")
}

func TestCreateDuplicate(t *testing.T) {
	b := newNamespaceEnv(t)
	first := b.createPod("web")
	status, code := b.want(http.StatusConflict, "POST", podsPath, podBody("web")).statusBody(t)
	assert.Equal(t, metav1.StatusReasonAlreadyExists, status.Reason)
	assert.Equal(t, "CCI.02.409101", code)
	assert.Equal(t, first.UID, b.pod("web").UID)
}

func TestGenerateName(t *testing.T) {
	b := newNamespaceEnv(t)
	body := podBody("", func(pod, _, _ object) { pod["metadata"] = object{"generateName": "web-"} })
	seen := map[string]bool{}
	for range 3 {
		var pod ccisim.Pod
		require.NoError(t, json.Unmarshal(b.want(http.StatusCreated, "POST", podsPath, body).body, &pod))
		assert.Regexp(t, `^web-[a-z0-9]{5}$`, pod.Name)
		seen[pod.Name] = true
	}
	assert.Len(t, seen, 3)
}

func TestDryRunStoresNothing(t *testing.T) {
	b := newNamespaceEnv(t)
	b.want(http.StatusCreated, "POST", podsPath+"?dryRun=All", podBody("web"))
	b.want(http.StatusNotFound, "GET", podsPath+"/web", nil)
	assert.Empty(t, b.sim.PodsEver())
}

func TestMediaTypesOfBodies(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web")
	assert.Equal(t, http.StatusUnsupportedMediaType, b.doAs("POST", podsPath, "application/yaml", "a: b").status)
	assert.Equal(t, http.StatusCreated, b.doAs("POST", podsPath, "application/json;charset=UTF-8", podBody("utf")).status)
	assert.Equal(t, http.StatusUnsupportedMediaType, b.doAs("PATCH", podsPath+"/web", "application/json", `{}`).status)
	assert.Equal(t, http.StatusUnsupportedMediaType,
		b.doAs("PATCH", podsPath+"/web", "application/apply-patch+yaml", `{}`).status)
	for _, junk := range []string{"{", "null", "[]", "7", `"x"`, ""} {
		assert.Equal(t, http.StatusBadRequest, b.doAs("POST", podsPath, "application/json", []byte(junk)).status, "body %q",
			junk)
	}
}
