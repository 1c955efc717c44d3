package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// kubectl runs kubectl in a namespace and returns its output.
func kubectl(t *testing.T, ns, stdin string, args ...string) (printed string, err error) {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	args = append([]string{"--kubeconfig", trial.Kubeconfig(), "--namespace", ns}, args...)
	command := exec.CommandContext(t.Context(), filepath.Join(bin, "kubectl"), args...)
	command.Env = []string{"HOME=" + t.TempDir()}
	command.Stdin = strings.NewReader(stdin)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err = command.Run()
	return output.String(), err
}

// validated calls start and returns when the API server calls the validation too.
func validated(t *testing.T) *process {
	t.Helper()
	p := start(t)
	eventually(t, func() error {
		if _, err := dryRun(t, probe("two")); err == nil {
			return errors.New("the validation is not called yet")
		}
		return nil
	})
	return p
}

// Users read the output of kubectl: each error with its path, its value and what would be right.
func TestRejectionsAsKubectlPrintsThem(t *testing.T) {
	validated(t)
	ns := namespace(t, nil)
	for name, test := range map[string]struct{ manifest, printed string }{
		"a Deployment with a malformed quota": {
			deployment("", `LOCAL_REPLICAS: "two"`),
			`The Deployment "x" is invalid: spec.template.metadata.annotations[LOCAL_REPLICAS]: ` +
				`Invalid value: "two": ` +
				policy.AmountRight + "\n",
		},
		"a Job with every key malformed": {
			manifest("batch/v1", "Job", "enfroce", strings.Replace(jobTemplate, "template: {", `template: {metadata: {`+
				`annotations: {LOCAL_REPLICAS: "-1", AUTO_SCALE_EKS: "yes", `+
				`coordinator.cci.io/hostpath-replacement: '[{"name":"a","policyType":"delete"}]'}}, `, 1)),
			`The Job "x" is invalid: ` + "\n" +
				`* metadata.labels[virtual-kubelet.io/burst-to-cci]: Invalid value: "enfroce": ` +
				`must be one of enforce, localPrefer, auto, off` + "\n" +
				`* spec.template.metadata.annotations[LOCAL_REPLICAS]: Invalid value: "-1": ` +
				policy.AmountRight + "\n" +
				`* spec.template.metadata.annotations[AUTO_SCALE_EKS]: Invalid value: "yes": ` +
				`must be "true" or "false"` + "\n" +
				`* spec.template.metadata.annotations[coordinator.cci.io/hostpath-replacement][0].policyType: ` +
				`Invalid value: "delete": must be remove or replaceByEmptyDir` + "\n",
		},
		"a CronJob": {
			"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {schedule: 0 0 1 1 *, jobTemplate: {" +
				"metadata: {labels: {bursting.cci.io/burst-to-cci: always}}, spec: {" + jobTemplate + "}}}",
			`The CronJob "x" is invalid: spec.jobTemplate.metadata.labels[bursting.cci.io/burst-to-cci]: ` +
				`Invalid value: "always": must be one of enforce, localPrefer, auto, off` + "\n",
		},
		"a Pod without a controller": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: x, annotations: {AUTO_SCALE_EKS: \"on\"}}\n" +
				"spec: {containers: [{name: c, image: web}]}",
			`The Pod "x" is invalid: metadata.annotations[AUTO_SCALE_EKS]: Invalid value: "on": ` +
				`must be "true" or "false"` + "\n",
		},
		"a Pod whose only key is on-sold-out": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: x, annotations: {spillway.io/on-sold-out: leave}}\n" +
				"spec: {containers: [{name: c, image: web}]}",
			`The Pod "x" is invalid: metadata.annotations[spillway.io/on-sold-out]: Invalid value: "leave": ` +
				`must be one of wait, reschedule` + "\n",
		},
		"a Deployment whose template asks for Services in a way that does not exist": {
			manifest("apps/v1", "Deployment", "", selectorAnd(template(`spillway.io/services: sidecar`))),
			`The Deployment "x" is invalid: spec.template.metadata.annotations[spillway.io/services]: ` +
				`Invalid value: "sidecar": must be one of off, routed, proxy, kube-proxy` + "\n",
		},
		"a replacement that is too large": {
			manifest("apps/v1", "StatefulSet", "", selectorAnd(template(`coordinator.cci.io/hostpath-replacement: `+
				`'[{"name":"*","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"11Gi"}}]'`))),
			`Warning: spec.template.metadata.annotations[coordinator.cci.io/hostpath-replacement][0].name: ` +
				`"*" matches no hostPath volume of the Pod: the replacement has no effect` + "\n" +
				`The StatefulSet "x" is invalid: ` +
				`spec.template.metadata.annotations[coordinator.cci.io/hostpath-replacement][0].emptyDir.sizeLimit: ` +
				`Invalid value: "11Gi": must be a multiple of 1Gi and at most 10Gi ` +
				"(10Gi per CPU core, cores rounded up)\n",
		},
		"a ReplicaSet": {
			manifest("apps/v1", "ReplicaSet", `"on"`, selectorAnd(template(""))),
			`The ReplicaSet "x" is invalid: metadata.labels[virtual-kubelet.io/burst-to-cci]: Invalid value: "on": ` +
				`must be one of enforce, localPrefer, auto, off` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			printed, err := kubectl(t, ns, test.manifest, "apply", "--filename", "-")
			require.Error(t, err)
			assert.Equal(t, test.printed, printed)
		})
	}
}

func TestWarningsAsKubectlPrintsThem(t *testing.T) {
	validated(t)
	ns := namespace(t, nil)
	for name, test := range map[string]struct{ manifest, printed string }{
		"a quota on a DaemonSet": {
			manifest("apps/v1", "DaemonSet", "", selectorAnd(template(`LOCAL_REPLICAS: "1"`))),
			"Warning: spec.template.metadata.annotations[LOCAL_REPLICAS]: has no effect on a DaemonSet: " +
				"its Pods run on local nodes only\ndaemonset.apps/x created\n",
		},
		"enforce with a volume that the cloud cannot mount": {
			manifest("apps/v1", "Deployment", "enforce", selectorAnd("template: {metadata: {labels: {app: x}}, "+
				"spec: {containers: [{name: c, image: web}], volumes: [{name: logs, hostPath: {path: /var/log}}]}}")),
			"Warning: spec.template.spec: the burst label is enforce, but the cloud cannot run this Pod, so it stays " +
				"on local nodes: HostPath: volume logs is a hostPath: set its replacement in the cloud with annotation " +
				"coordinator.cci.io/hostpath-replacement\ndeployment.apps/x created\n",
		},
		"a label that is set as an annotation": {
			strings.Replace(manifest("apps/v1", "StatefulSet", "", selectorAnd(template(""))),
				"{name: x", "{name: x, annotations: {virtual-kubelet.io/burst-to-cci: enforce}", 1),
			"Warning: metadata.annotations[virtual-kubelet.io/burst-to-cci]: has no effect as an annotation: " +
				"set the label in metadata.labels\nstatefulset.apps/x created\n",
		},
		"a quota on a Deployment": {
			strings.Replace(manifest("apps/v1", "Deployment", "", selectorAnd(template(""))),
				"{name: x", "{name: z, annotations: {LOCAL_REPLICAS: \"1\"}", 1),
			"deployment.apps/z created\n",
		},
		"a quota on the Jobs of a CronJob": {
			"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {schedule: 0 0 1 1 *, jobTemplate: {" +
				"metadata: {annotations: {LOCAL_REPLICAS: \"1\"}}, spec: {" + jobTemplate + "}}}",
			"cronjob.batch/x created\n",
		},
		"mistyped keys of a Pod and of a template": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: typo, labels: {virtual-kubelet.io/burst-to-cc: enforce}}\n" +
				"spec: {containers: [{name: c, image: web}]}\n---\n" +
				strings.Replace(manifest("apps/v1", "Deployment", "", selectorAnd(template(`LOCAL_REPLICA: "1"`))),
					"{name: x", "{name: typo", 1),
			"Warning: metadata.labels[virtual-kubelet.io/burst-to-cc]: has no effect, because Spillway has no such " +
				"key: the most similar one is virtual-kubelet.io/burst-to-cci\npod/typo created\n" +
				"Warning: spec.template.metadata.annotations[LOCAL_REPLICA]: has no effect, because Spillway has no " +
				"such key: the most similar one is LOCAL_REPLICAS\ndeployment.apps/typo created\n",
		},
		"a mistyped key of a Namespace": {
			"apiVersion: v1\nkind: Namespace\n" +
				"metadata: {name: mistyped, annotations: {spillway.io/cloud-limit: pods=1}}",
			"Warning: metadata.annotations[spillway.io/cloud-limit]: has no effect, because Spillway has no such " +
				"key: the most similar one is spillway.io/cloud-limits\nnamespace/mistyped created\n",
		},
		"a key of Spillway's own programs on a Pod": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: z, annotations: {spillway.io/wake: \"1\"}}\n" +
				"spec: {containers: [{name: c, image: web}]}",
			"pod/z created\n",
		},
		"a Pod that enforces, whose volumes the mutating webhook has replaced": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {virtual-kubelet.io/burst-to-cci: enforce}, " +
				"annotations: {coordinator.cci.io/hostpath-replacement: " +
				"'[{\"name\":\"logs\",\"policyType\":\"remove\"}]'}}\n" +
				"spec: {containers: [{name: c, image: web}], volumes: [{name: logs, hostPath: {path: /var/log}}]}",
			"pod/x created\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			printed, err := kubectl(t, ns, test.manifest, "apply", "--filename", "-")
			require.NoError(t, err, printed)
			assert.Equal(t, test.printed, printed)
		})
	}
}

// The Deployment was malformed before Spillway was installed. It keeps running, scaling and accepting updates, except
// for new errors.
func TestAWorkloadThatWasMalformedBeforeKeepsWorking(t *testing.T) {
	ns := namespace(t, nil)
	apply(t, ns, deployment("enfroce", `LOCAL_REPLICAS: "two"`)) // No webhook runs yet.
	pods(t, ns, 1)
	p := validated(t)
	client := trial.Client().AppsV1().Deployments(ns)
	patch := func(text string) error {
		_, err := client.Patch(
			context.Background(), "x", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{})
		return err
	}

	require.NoError(t, patch(`{"spec":{"replicas":2}}`), "scaled")
	for _, pod := range pods(t, ns, 2) {
		assert.Equal(t, untouched, outlineOf(&pod), "a Pod with a malformed key stays local")
	}
	require.NoError(t, patch(`{"metadata":{"labels":{"team":"shop"}}}`), "labelled")
	require.NoError(t, patch(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:2"}]}}}}`), "updated")
	eventually(t, func() error { // The template of the new ReplicaSet and its Pods is malformed.
		list, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, pod := range list.Items {
			if pod.Spec.Containers[0].Image == "web:2" {
				return nil
			}
		}
		return errors.New("there is no Pod of the new template yet")
	})
	err := patch(`{"spec":{"template":{"metadata":{"annotations":{"LOCAL_REPLICAS":"three"}}}}}`)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	assert.ErrorContains(t, err, `spec.template.metadata.annotations[LOCAL_REPLICAS]: Invalid value: "three"`)
	require.NoError(t, patch(`{"spec":{"template":{"metadata":{"annotations":{"LOCAL_REPLICAS":"1"}}}}}`), "corrected")
	require.NoError(t, client.Delete(t.Context(), "x", metav1.DeleteOptions{}))

	// After a conflict, the API server repeats the review of a patch.
	rejected := p.metric(t, "spillway_admission_webhook_requests_total", "refused")
	assert.GreaterOrEqual(t, rejected, 2.0, "the probe before the test, and one update")
}

// The objects were malformed before Spillway was installed. Users can edit and correct them, but cannot add new errors.
func TestObjectsOfEveryKindThatWereMalformedBeforeCanBeEdited(t *testing.T) {
	ns := namespace(t, nil)
	const pod = "{containers: [{name: c, image: web}]}"
	manifests := map[string]string{
		"Pod": "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {virtual-kubelet.io/burst-to-cci: always}}\n" +
			"spec: " + pod,
		"ReplicaSet":  manifest("apps/v1", "ReplicaSet", "always", "replicas: 0, "+selectorAnd(template(""))),
		"Deployment":  manifest("apps/v1", "Deployment", "always", "replicas: 0, "+selectorAnd(template(""))),
		"StatefulSet": manifest("apps/v1", "StatefulSet", "always", "replicas: 0, "+selectorAnd(template(""))),
		"Job":         manifest("batch/v1", "Job", "always", "suspend: true, "+jobTemplate),
		"CronJob": manifest("batch/v1", "CronJob", "always",
			"schedule: 0 0 1 1 *, jobTemplate: {spec: {"+jobTemplate+"}}"),
	}
	for _, text := range manifests {
		apply(t, ns, text) // No webhook runs yet.
	}
	validated(t)
	for kind := range manifests {
		t.Run(kind, func(t *testing.T) {
			patch := func(text string) (printed string, err error) {
				return kubectl(t, ns, "", "patch", kind, "x", "--type", "merge", "--patch", text)
			}
			printed, err := patch(`{"metadata":{"labels":{"team":"shop"}}}`)
			require.NoError(t, err, printed)
			assert.Contains(t, printed, `Warning: metadata.labels[virtual-kubelet.io/burst-to-cci]: `+
				`Invalid value: "always": `+
				`must be one of enforce, localPrefer, auto, off; this error existed before the update`)
			// As the garbage collector and controllers do.
			for _, finalizers := range []string{`["example.com/wait"]`, "null"} {
				printed, err = patch(`{"metadata":{"finalizers":` + finalizers + `}}`)
				require.NoError(t, err, printed)
				assert.NotContains(t, printed, "Warning")
			}
			printed, err = patch(`{"metadata":{"labels":{"virtual-kubelet.io/burst-to-cci":"never"}}}`)
			require.Error(t, err)
			assert.Contains(t, printed, `metadata.labels[virtual-kubelet.io/burst-to-cci]: Invalid value: "never"`)
			printed, err = patch(`{"metadata":{"labels":{"virtual-kubelet.io/burst-to-cci":"auto"}}}`)
			require.NoError(t, err, printed)
		})
	}
}

// The API server calls the validation for objects with a key only, and not for what Kubernetes creates from a template.
func TestObjectsThatTheValidationDoesNotReview(t *testing.T) {
	p := validated(t)
	ns := namespace(t, nil)
	reviews := func() float64 {
		return p.metric(t, "spillway_admission_webhook_requests_total", "validate-workloads")
	}
	before := reviews()
	apply(t, ns, deployment("", "note: none"))
	pods(t, ns, 1)
	assert.InDelta(t, before, reviews(), 0, "a Deployment without a key, its ReplicaSet and its Pod")

	another := namespace(t, nil)
	apply(t, another, deployment("", `LOCAL_REPLICAS: "1"`))
	pods(t, another, 1)
	eventually(t, func() error { // The Deployment, and the revision that its controller writes to it.
		if now := reviews(); now < before+1 {
			return fmt.Errorf("%g reviews instead of at least one", now-before)
		}
		return nil
	})
	assert.LessOrEqual(t, reviews(), before+2, "the ReplicaSet and its Pod are not reviewed")

	system := small("")
	system.GenerateName, system.Annotations = "malformed-", map[string]string{policy.LocalReplicasAnnotation: "two"}
	_, err := trial.Client().CoreV1().Pods(metav1.NamespaceSystem).
		Create(t.Context(), system, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	assert.NoError(t, err, "objects in kube-system are not reviewed")
}

// While admission is down, a Pod with a malformed key stays on local nodes.
func TestWithoutTheValidationNothingIsRejected(t *testing.T) {
	ns := namespace(t, nil)
	pod := small("x")
	pod.Labels = map[string]string{policy.BurstLabel: "always"}
	created := create(t, ns, pod)
	assert.Equal(t, outline{Label: "always"}, outlineOf(created))
	assert.NotEqual(t, virtualNode, onNode(t, ns, "x"))
	assert.Equal(t, corev1.PodPending, created.Status.Phase)
}
