package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// namespace holds the Pods that are measured.
const namespace = "bench"

// parallel is how many requests are under way at once while Pods and nodes are made or removed.
const parallel = 16

// cluster is etcd, an API server and nodes that are nothing but objects. The scheduler and the extender are started as they are needed.
// There is no controller manager: its garbage collector would remove the Pods, whose ReplicaSets do not exist.
type cluster struct {
	*system.System
	dir string
	// metadata reads bindings.
	metadata metadata.Interface
}

func startCluster(ctx context.Context, o options, out io.Writer) (*cluster, error) {
	if err := errors.Join(system.Stop(ctx, o.Dir), system.Remove(o.Dir)); err != nil {
		return nil, err
	}
	binDir := o.BinDir
	if binDir == "" {
		var err error
		if binDir, err = system.FindBinDir(); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(out, "Starting a cluster in %s\n", o.Dir)
	trial, err := system.Start(ctx, system.Config{
		Dir: o.Dir, BinDir: binDir, Shape: system.Shape{LocalCPU: "1", LocalMemory: "1Gi"}, BareNodes: true, DieWithParent: true,
		Without:  []string{system.ControllerManager, system.Scheduler, system.KWOK, system.CCISim, system.Admission, "vnode"},
		Progress: out,
	})
	if err != nil {
		return nil, err
	}
	c := &cluster{System: trial, dir: o.Dir}
	if err := c.furnish(ctx, o); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) furnish(ctx context.Context, o options) (err error) {
	if c.metadata, err = metadata.NewForConfig(c.RESTConfig()); err != nil {
		return fmt.Errorf("making the metadata client: %w", err)
	}
	core := c.Client().CoreV1()
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	// Without it no Pod is admitted, and there is no controller to make it. Webhooks are tried in the namespace default.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	for _, in := range []string{namespace, metav1.NamespaceDefault} {
		if _, err := core.ServiceAccounts(in).Create(ctx, account, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating the default ServiceAccount of namespace %s: %w", in, err)
		}
	}
	return c.createNodes(ctx, o.Nodes, o.VirtualNodes)
}

// stop ends everything and forgets the cluster; its logs stay.
func (c *cluster) stop() error {
	ctx := context.Background() // Also after an interrupt.
	return errors.Join(c.Stop(ctx), system.Remove(c.dir))
}

// end stops the process at once if it runs.
func (c *cluster) end(name string) error {
	if c.PID(name) == 0 {
		return nil
	}
	return c.Kill(name)
}

func (c *cluster) version() (string, error) {
	version, err := c.Client().Discovery().ServerVersion()
	if err != nil {
		return "", fmt.Errorf("asking the API server for its version: %w", err)
	}
	return version.GitVersion, nil
}

// createNodes makes those of the nodes that are not there yet.
func (c *cluster) createNodes(ctx context.Context, local, virtual int) error {
	nodes := make([]*corev1.Node, 0, local+virtual)
	for i := range local {
		nodes = append(nodes, localNode(i))
	}
	for i := range virtual {
		nodes = append(nodes, virtualNode(i))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, node := range nodes {
		group.Go(func() error {
			if _, err := c.Client().CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("creating node %s: %w", node.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// virtualPrefix begins the names of virtual nodes and of no others.
const virtualPrefix = "virtual-"

func localName(i int) string     { return fmt.Sprintf("local-%d", i) }
func virtualName(i int) string   { return fmt.Sprintf(virtualPrefix+"%d", i) }
func isVirtual(name string) bool { return strings.HasPrefix(name, virtualPrefix) }

func localNode(i int) *corev1.Node {
	return bareNode(localName(i), "32", "128Gi", strconv.Itoa(podsPerNode))
}

// virtualNode is one that never fills.
func virtualNode(i int) *corev1.Node {
	node := bareNode(virtualName(i), "1M", "4Pi", "1M")
	node.Labels[policy.NodeTypeLabel] = policy.NodeTypeVirtual
	node.Spec.Taints = []corev1.Taint{policy.ProviderTaint()}
	return node
}

func bareNode(name, cpu, memory, pods string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse(pods),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Bare"}},
		},
	}
}
