package ccisim_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func TestPodWaitsForReferences(t *testing.T) {
	cases := map[string]struct {
		change change
		// kind and data are those of the missing object, which is created later.
		kind string
		data object
		// reason is that of the waiting container, event that of the Event.
		reason, event string
		message       string
	}{
		"a configMap volume": {
			volume("configMap", object{"name": "late"}), "ConfigMap", object{}, "ContainerCreating", "FailedMount", "",
		},
		"a secret volume": {
			volume("secret", object{"secretName": "late"}), "Secret", object{}, "ContainerCreating", "FailedMount", "",
		},
		"a projected secret": {
			volume("projected", object{"sources": []object{{"secret": object{"name": "late"}}}}),
			"Secret", object{}, "ContainerCreating", "FailedMount", "",
		},
		"a projected configMap": {
			volume("projected", object{"sources": []object{{"configMap": object{"name": "late"}}}}),
			"ConfigMap", object{}, "ContainerCreating", "FailedMount", "",
		},
		"a key of a configMap": {
			variable(object{"configMapKeyRef": object{"name": "late",
				"key": "k"}}), "ConfigMap", object{"k": "v"}, "CreateContainerConfigError", "Failed", `configmap "late" not found`,
		},
		"a key of a secret that does not exist": {
			variable(object{"secretKeyRef": object{"name": "late",
				"key": "k"}}), "Secret", object{"k": "v"}, "CreateContainerConfigError", "Failed", `secret "late" not found`,
		},
		"variables of a configMap": {
			withContainer("envFrom", []object{{"configMapRef": object{"name": "late"}}}),
			"ConfigMap", object{}, "CreateContainerConfigError", "Failed", `configmap "late" not found`,
		},
		"variables of a secret": {
			withContainer("envFrom", []object{{"secretRef": object{"name": "late"}}}),
			"Secret", object{}, "CreateContainerConfigError", "Failed", `secret "late" not found`,
		},
		"a missing key of a secret": {
			variable(object{"secretKeyRef": object{"name": "imagepull-secret",
				"key": "k"}}), "", nil, "CreateContainerConfigError", "Failed", "couldn't find key k in Secret ns/imagepull-secret",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t)
			b.createPod("web", tc.change)
			pod := b.untilPod("web", "waits", func(pod *ccisim.Pod) bool {
				return len(pod.Status.ContainerStatuses) == 1 &&
					pod.Status.ContainerStatuses[0].State.Waiting.Reason == tc.reason && len(b.eventReasons("web")) == 2
			})
			assert.Equal(t, corev1.PodPending, pod.Status.Phase)
			assert.Equal(t, tc.message, pod.Status.ContainerStatuses[0].State.Waiting.Message)
			assert.ElementsMatch(t, []string{"Scheduled", tc.event}, b.eventReasons("web"))
			switch tc.kind {
			case "ConfigMap":
				b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces/ns/configmaps",
					object{"apiVersion": "cci/v2", "kind": tc.kind, "metadata": object{"name": "late"}, "data": tc.data})
			case "Secret":
				b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces/ns/secrets",
					object{"apiVersion": "cci/v2", "kind": tc.kind, "metadata": object{"name": "late"}, "stringData": tc.data})
			default:
				a := b.doAs("PATCH", "/apis/cci/v2/namespaces/ns/secrets/imagepull-secret", "application/merge-patch+json",
					`{"stringData":{"k":"v"}}`)
				require.Equal(t, http.StatusOK, a.status, "%s", a.body)
			}
			b.untilPhase("web", "Running")
		})
	}
}

func TestOptionalReferences(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web", volume("configMap", object{"name": "none", "optional": true}),
		withContainer("envFrom", []object{{"secretRef": object{"name": "none", "optional": true}}}),
		variable(object{"configMapKeyRef": object{"name": "none", "key": "k", "optional": true}}))
	b.untilPhase("web", "Running")
}

func TestUpdateWithoutDifference(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web", withLabels("app", "web"))
	before := b.untilPhase("web", "Running")
	a := b.doAs("PATCH", podsPath+"/web", "application/merge-patch+json", `{"metadata":{"labels":{"app":"web"}}}`)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	b.want(http.StatusOK, "PUT", podsPath+"/web", before)
	assert.Equal(t, before.ResourceVersion, b.pod("web").ResourceVersion)
}

func TestListAtExactVersion(t *testing.T) {
	b := newNamespaceEnv(t)
	meta, _ := b.list(podsPath)
	b.want(http.StatusOK, "GET", podsPath+"?resourceVersionMatch=Exact&resourceVersion="+meta.ResourceVersion, nil)
	b.createPod("web")
	b.want(http.StatusGone, "GET", podsPath+"?resourceVersionMatch=Exact&resourceVersion="+meta.ResourceVersion, nil)
	b.want(http.StatusOK, "GET", podsPath+"?resourceVersionMatch=NotOlderThan&resourceVersion="+meta.ResourceVersion, nil)
}
