package stories

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// constrained is a manifest of a Deployment whose Pods have a constraint. The metadata and the spec of the template are
// YAML in one line, each empty or with a comma at its end.
func constrained(name string, replicas int, metadata, spec, container string) string {
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: %[1]s}, spec: {replicas: %[2]d,
  selector: {matchLabels: {app: %[1]s}}, template: {metadata: {%[3]s labels: {app: %[1]s}}, spec: {%[4]s
  terminationGracePeriodSeconds: 1, containers: [{name: main, image: nginx%[5]s}]}}}}`,
		name, replicas, metadata, spec, container)
}

func quotaOf(n int) string {
	return fmt.Sprintf(`annotations: {%s: "%d"},`, policy.LocalReplicasAnnotation, n)
}

// applyConstrained applies a manifest and checks that kubectl prints a warning, if there is one to expect.
func (w *World) applyConstrained(ctx context.Context, manifest, warning string) error {
	printed, err := w.Apply(ctx, manifest)
	if err != nil {
		return err
	}
	w.printf("  %s", strings.TrimSpace(printed))
	warned := strings.Contains(printed, "Warning")
	if !strings.Contains(printed, warning) || warned != (warning != "") {
		return fmt.Errorf("kubectl apply prints %q: want the warning %q", printed, warning)
	}
	return nil
}

// playAntiAffinity has nine replicas of which no two may be on one host, two of them local.
func playAntiAffinity(ctx context.Context, w *World) error {
	const apart = `affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [
  {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: apart}}}]}},`
	if err := w.applyConstrained(ctx, constrained("apart", 9, quotaOf(2), apart, ""), ""); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "apart", 2, 7); err != nil {
		return err
	}
	byNode, err := w.podsByNode(ctx, "apart")
	if err != nil {
		return err
	}
	for node, pods := range byNode {
		if pods > 1 && !isVirtual(node) {
			return fmt.Errorf("%d replicas are on %s: want one on each host", pods, node)
		}
	}
	w.printf("  Pods on each node: %s", countsText(byNode))
	return nil
}

// playGPU has three Pods of one GPU each and a quota of one. Only local nodes have GPUs.
func playGPU(ctx context.Context, w *World) (err error) {
	const gpu = "nvidia.com/gpu"
	if err := w.patchNode(ctx, system.LocalNode(0), "status",
		`{"status":{"capacity":{"`+gpu+`":"4"},"allocatable":{"`+gpu+`":"4"}}}`); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, w.patchNode(context.WithoutCancel(ctx), system.LocalNode(0), "status",
			`{"status":{"capacity":{"`+gpu+`":null},"allocatable":{"`+gpu+`":null}}}`))
	}()
	manifest := constrained("train", 3, quotaOf(1), "", ", resources: {limits: {"+gpu+": 1}}")
	if err := w.applyConstrained(ctx, manifest, "ExtendedResource"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "train", 3, 0); err != nil {
		return err
	}
	return w.keptLocal(ctx, "train", policy.ReasonExtendedResource)
}

// playNodeSelector has Pods with a nodeSelector that no virtual node matches, with a quota and with enforce.
func playNodeSelector(ctx context.Context, w *World) (err error) {
	if err := w.run(ctx, "label", "node", system.LocalNode(1), "disktype=ssd"); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, w.run(context.WithoutCancel(ctx), "label", "node", system.LocalNode(1), "disktype-"))
	}()
	const fast = "nodeSelector: {disktype: ssd},"
	if err := w.applyConstrained(ctx, constrained("quota", 3, quotaOf(1), fast, ""), "NodeSelector"); err != nil {
		return err
	}
	enforced := strings.Replace(constrained("enforced", 2, "", fast, ""), "metadata: {name: enforced}",
		fmt.Sprintf("metadata: {name: enforced, labels: {%s: %s}}", policy.BurstLabel, policy.ModeEnforce), 1)
	if err := w.applyConstrained(ctx, enforced, "NodeSelector"); err != nil {
		return err
	}
	for app, replicas := range map[string]int{"quota": 3, "enforced": 2} {
		if err := w.awaitRunning(ctx, app, replicas, 0); err != nil {
			return err
		}
		if err := w.keptLocal(ctx, app, policy.ReasonNodeSelector); err != nil {
			return err
		}
	}
	return nil
}

// IgnoredSelector is the label that virtual nodes need not have in PlayIgnoredSelectors.
const IgnoredSelector = "example.com/pool=fast"

// PlayIgnoredSelectors has Pods with a nodeSelector and with node affinity that virtual nodes ignore: below the quota
// they run only on the local node that they select, and beyond it in the cloud. Pods without a key burst when that node
// is full. It needs a system that ignores IgnoredSelector.
func PlayIgnoredSelectors(ctx context.Context, w *World) (err error) {
	fast := system.LocalNode(1)
	key, value, _ := strings.Cut(IgnoredSelector, "=")
	if err := w.run(ctx, "label", "node", fast, IgnoredSelector); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.run(context.WithoutCancel(ctx), "label", "node", fast, key+"-")) }()
	selector := fmt.Sprintf("nodeSelector: {%s: %s},", key, value)
	affinity := fmt.Sprintf(`affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {
  nodeSelectorTerms: [{matchExpressions: [{key: %s, operator: In, values: [%s]}]}]}}},`, key, value)
	for app, spec := range map[string]string{"selector": selector, "affinity": affinity} {
		if err := w.applyConstrained(ctx, constrained(app, 4, quotaOf(2), spec, ""), ""); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, app, 2, 2); err != nil {
			return err
		}
		byNode, err := w.podsByNode(ctx, app)
		if err != nil {
			return err
		}
		if byNode[fast] != 2 {
			return fmt.Errorf("the Pods of %s are on %s: want the local ones on %s", app, countsText(byNode), fast)
		}
	}
	enforced := strings.Replace(constrained("enforced", 2, "", selector, ""), "metadata: {name: enforced}",
		fmt.Sprintf("metadata: {name: enforced, labels: {%s: %s}}", policy.BurstLabel, policy.ModeEnforce), 1)
	if err := w.applyConstrained(ctx, enforced, ""); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "enforced", 0, 2); err != nil {
		return err
	}
	unmanaged := constrained("unmanaged", 2, "", selector, `, resources: {requests: {cpu: "3"}}`)
	if err := w.applyConstrained(ctx, unmanaged, ""); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "unmanaged", 1, 1)
}

// keptLocal checks that each Pod says why it stays local.
func (w *World) keptLocal(ctx context.Context, app string, reason policy.Reason) error {
	pods, err := w.pods(ctx, app)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if why := pod.Annotations[policy.KeptLocalAnnotation]; !strings.HasPrefix(why, string(reason)+": ") {
			return fmt.Errorf("pod %s says %q in %s: want the reason %s",
				pod.Name, why, policy.KeptLocalAnnotation, reason)
		}
	}
	w.printf("  %s: %s", policy.KeptLocalAnnotation, pods[0].Annotations[policy.KeptLocalAnnotation])
	return nil
}

// playSpread has six replicas that must be spread over two zones, two of them local, and others that must be spread
// over hosts, which virtual nodes are not.
func playSpread(ctx context.Context, w *World) (err error) {
	zones := map[string]string{
		system.LocalNode(0): "a", system.LocalNode(1): "b", system.LocalNode(2): "a",
		system.VirtualNode(0): "a", system.VirtualNode(1): "b",
	}
	// The virtual nodes come first: the programs have seen their labels by the time that the last node has one.
	for _, node := range slices.Backward(slices.Sorted(maps.Keys(zones))) {
		zone := zones[node]
		if err := w.run(ctx, "label", "node", node, corev1.LabelTopologyZone+"="+zone); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err,
				w.run(context.WithoutCancel(ctx), "label", "node", node, corev1.LabelTopologyZone+"-"))
		}()
	}
	spread := func(app, key string) string {
		return fmt.Sprintf(`topologySpreadConstraints: [{maxSkew: 1, topologyKey: %s, whenUnsatisfiable: DoNotSchedule,
  labelSelector: {matchLabels: {app: %s}}}],`, key, app)
	}
	manifest := constrained("zones", 6, quotaOf(2), spread("zones", corev1.LabelTopologyZone), "")
	if err := w.applyConstrained(ctx, manifest, ""); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "zones", 2, 4); err != nil {
		return err
	}
	pods, err := w.pods(ctx, "zones")
	if err != nil {
		return err
	}
	byZone := map[string]int{}
	for _, pod := range pods {
		byZone[zones[pod.Spec.NodeName]]++
	}
	if byZone["a"] != 3 || byZone["b"] != 3 {
		return fmt.Errorf("the replicas are spread over zones as %v: want three in each", byZone)
	}
	manifest = constrained("hosts", 3, quotaOf(1), spread("hosts", corev1.LabelHostname), "")
	if err := w.applyConstrained(ctx, manifest, "TopologySpread"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "hosts", 3, 0); err != nil {
		return err
	}
	return w.keptLocal(ctx, "hosts", policy.ReasonTopologySpread)
}

func (w *World) patchNode(ctx context.Context, name, subresource, patch string) error {
	_, err := w.client.CoreV1().Nodes().
		Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, subresource)
	if err != nil {
		return fmt.Errorf("patching node %s: %w", name, err)
	}
	return nil
}
