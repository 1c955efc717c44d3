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

	"github.com/spillway-k8s/spillway/policy"
)

// playNamespace follows ACK virtual nodes (docs/sources.md): the Pods of a labeled namespace spread over the virtual
// nodes, of which there must be at least two.
func playNamespace(ctx context.Context, w *World) error {
	if err := w.startInCloudNamespace(ctx, 10); err != nil {
		return err
	}
	w.printPods(ctx)
	byNode, err := w.podsByNode(ctx, "nginx")
	if err != nil {
		return err
	}
	if len(byNode) < 2 {
		return fmt.Errorf("all ten Pods are on one virtual node: want several: %s", countsText(byNode))
	}
	w.printf("  Pods on each virtual node: %s", countsText(byNode))
	return nil
}

// countsText lists the number of Pods on each node.
func countsText(byNode map[string]int) string {
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		parts = append(parts, fmt.Sprintf("%s %d", node, byNode[node]))
	}
	return strings.Join(parts, ", ")
}

// startInCloudNamespace labels the story's namespace and creates the given number of Pods in it.
func (w *World) startInCloudNamespace(ctx context.Context, replicas int) error {
	label := policy.NamespaceEnforceLabel + "=" + policy.NamespaceEnforceValue
	if err := w.run(ctx, "label", "namespace", w.Namespace, label); err != nil {
		return err
	}
	// The webhook watches namespaces.
	if err := w.awaitTolerated(ctx, "the webhook to receive the label of the namespace"); err != nil {
		return err
	}
	count := fmt.Sprintf("--replicas=%d", replicas)
	if err := w.run(ctx, "create", "deployment", "nginx", "--image=nginx:alpine", count); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 0, replicas)
}

// podsByNode returns the number of active Pods on each node.
func (w *World) podsByNode(ctx context.Context, app string) (map[string]int, error) {
	pods, err := w.pods(ctx, app)
	if err != nil {
		return nil, err
	}
	byNode := map[string]int{}
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			byNode[pod.Spec.NodeName]++
		}
	}
	return byNode, nil
}

// PlayFewerVirtualNodes follows the part of ACK virtual nodes about removing nodes. It drains all virtual nodes but the
// first, stops their programs and deletes the nodes. The function stop ends the program of a node.
func PlayFewerVirtualNodes(
	ctx context.Context, w *World, first string, others []string, stop func(node string) error,
) error {
	const replicas = 10
	if err := w.startInCloudNamespace(ctx, replicas); err != nil {
		return err
	}
	byNode, err := w.podsByNode(ctx, "nginx")
	if err != nil {
		return err
	}
	if len(byNode) < 2 {
		return fmt.Errorf("all ten Pods are on one virtual node: want several: %s", countsText(byNode))
	}
	w.printf("  Pods on each virtual node: %s", countsText(byNode))
	if err := w.run(ctx, slices.Concat([]string{"drain"}, others, []string{"--timeout=90s"})...); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "nginx", 0, replicas); err != nil {
		return err
	}
	if err := w.onlyOn(ctx, first, replicas); err != nil {
		return err
	}
	for _, node := range others {
		w.printf("the program of %s is stopped", node)
		if err := stop(node); err != nil {
			return err
		}
	}
	if err := w.awaitNotReady(ctx, others); err != nil {
		return err
	}
	if err := w.run(ctx, append([]string{"delete", "node"}, others...)...); err != nil {
		return err
	}
	return errors.Join(w.onlyOn(ctx, first, replicas), w.noDuplicates(ctx))
}

// onlyOn checks that the Pods are on one node, and that the cloud has as many.
func (w *World) onlyOn(ctx context.Context, node string, replicas int) error {
	byNode, err := w.podsByNode(ctx, "nginx")
	if err != nil {
		return err
	}
	if byNode[node] != replicas || len(byNode) != 1 {
		return fmt.Errorf("the Pods are on %v: want %d on %s", byNode, replicas, node)
	}
	return w.await(ctx, fmt.Sprintf("the cloud to have %d Pods", replicas),
		func(ctx context.Context) (bool, string, error) {
			clouds, err := w.cloudPods(ctx)
			if err != nil {
				return false, "", err
			}
			return len(clouds) == replicas, fmt.Sprintf("it has %d", len(clouds)), nil
		})
}

func (w *World) awaitNotReady(ctx context.Context, names []string) error {
	return w.await(ctx, strings.Join(names, ", ")+" to be NotReady", func(ctx context.Context) (bool, string, error) {
		for _, name := range names {
			node, err := w.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return false, "", fmt.Errorf("getting node %s: %w", name, err)
			}
			if slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			}) {
				return false, name + " is Ready", nil
			}
		}
		return true, "", nil
	})
}

// resolvConf is the example of TKE Resilience (docs/sources.md).
const resolvConf = "nameserver 4.4.4.4\nnameserver 8.8.8.8\n"

// playResolvConf sets name servers for all Pods of the virtual nodes with an annotation of the nodes.
func playResolvConf(ctx context.Context, w *World) (err error) {
	selector := policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual
	if err := w.run(ctx, "annotate", "node", "-l", selector, policy.ResolvConfAnnotation+"="+resolvConf); err != nil {
		return err
	}
	defer func() {
		endErr := w.run(context.WithoutCancel(ctx), "annotate", "node", "-l", selector, policy.ResolvConfAnnotation+"-")
		if err == nil {
			err = endErr
		}
	}()
	// A virtual node receives its annotation by a watch. The Pod is created again until it has the name servers.
	what := "a cloud Pod to have the name servers of the annotation"
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		if err := w.enforcedPod(ctx, "dns"); err != nil {
			return false, "", err
		}
		if err := w.awaitRunning(ctx, "dns", 0, 1); err != nil {
			return false, "", err
		}
		pods, err := w.pods(ctx, "dns")
		if err != nil {
			return false, "", err
		}
		clouds, err := w.cloudPods(ctx)
		if err != nil {
			return false, "", err
		}
		spec := clouds[pods[0].UID].Spec
		want := []string{"4.4.4.4", "8.8.8.8"}
		if spec.DNSPolicy == corev1.DNSNone && spec.DNSConfig != nil && slices.Equal(spec.DNSConfig.Nameservers, want) {
			w.printf("  the cloud Pod has dnsPolicy None with name servers %v", spec.DNSConfig.Nameservers)
			return true, "", nil
		}
		_, err = w.kubectl(ctx, "", "delete", "pod", "dns", "--wait=true")
		return false, fmt.Sprintf("it has dnsPolicy %s and %v", spec.DNSPolicy, spec.DNSConfig), err
	})
}

// enforcedPod applies a Pod that runs in the cloud.
func (w *World) enforcedPod(ctx context.Context, name string) error {
	const format = "{apiVersion: v1, kind: Pod, metadata: {name: %[1]s, labels: {app: %[1]s, %[2]s: %[3]s}}, " +
		"spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: nginx}]}}"
	manifest := fmt.Sprintf(format, name, policy.BurstLabel, policy.ModeEnforce)
	_, err := w.kubectl(ctx, manifest, "apply", "-f", "-")
	return err
}
