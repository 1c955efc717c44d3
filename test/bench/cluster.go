package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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

// namespace is the namespace of the Pods that are measured.
const namespace = "bench"

// parallel is the number of concurrent requests while Pods and nodes are created or deleted.
const parallel = 16

// cluster is etcd, an API server and nodes that are only objects. The scheduler and the extender are started when they
// are needed. There is no controller manager: its garbage collector would delete the Pods, whose ReplicaSets do not
// exist.
type cluster struct {
	*system.System
	dir string
	// metadata is the client that observes bindings.
	metadata metadata.Interface
}

func startCluster(ctx context.Context, o options, out io.Writer) (*cluster, error) {
	if err := errors.Join(system.Stop(ctx, o.Dir), system.Remove(o.Dir)); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "Starting a cluster in %s\n", o.Dir)
	trial, err := system.Start(ctx, system.Config{
		Dir: o.Dir, BinDir: o.BinDir, Shape: system.Shape{LocalCPU: "1", LocalMemory: "1Gi"}, BareNodes: true,
		DieWithParent: true,
		Without: []string{
			system.ControllerManager, system.Scheduler, system.KWOK, system.CCISim, system.Admission, "vnode",
		},
		Progress: out,
	})
	if err != nil {
		return nil, err
	}
	c := &cluster{System: trial, dir: o.Dir}
	if err := c.prepare(ctx, o); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) prepare(ctx context.Context, o options) (err error) {
	if c.metadata, err = metadata.NewForConfig(c.RESTConfig()); err != nil {
		return fmt.Errorf("creating the metadata client: %w", err)
	}
	core := c.Client().CoreV1()
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := core.Namespaces().Create(ctx, own, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	// The API server refuses Pods without this account, which no controller creates here. RegisterWebhooks needs it in the
	// namespace default.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	for _, in := range []string{namespace, metav1.NamespaceDefault} {
		if _, err := core.ServiceAccounts(in).Create(ctx, account, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating the default ServiceAccount of namespace %s: %w", in, err)
		}
	}
	return c.createNodes(ctx, o.Nodes, o.VirtualNodes)
}

// stop stops all processes and removes the state of the cluster. Its logs remain.
func (c *cluster) stop() error {
	ctx := context.Background() // An interrupt must not prevent it.
	return errors.Join(c.Stop(ctx), system.Remove(c.dir))
}

// end kills the process if it is running.
func (c *cluster) end(name string) error {
	if c.PID(name) == 0 {
		return nil
	}
	return c.Kill(name)
}

// createNodes creates the nodes that do not exist yet.
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
			_, err := c.Client().CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("creating node %s: %w", node.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// virtualPrefix is the prefix of the names of virtual nodes. No other node has it.
const virtualPrefix = "virtual-"

func localName(i int) string     { return fmt.Sprintf("local-%d", i) }
func virtualName(i int) string   { return fmt.Sprintf(virtualPrefix+"%d", i) }
func isVirtual(name string) bool { return strings.HasPrefix(name, virtualPrefix) }

func localNode(i int) *corev1.Node {
	return bareNode(localName(i), "32", "128Gi", strconv.Itoa(podsPerNode))
}

// virtualNode returns a virtual node that never gets full.
func virtualNode(i int) *corev1.Node {
	node := bareNode(virtualName(i), "1M", "4Pi", "1M")
	maps.Copy(node.Labels, policy.VirtualNodeLabels())
	node.Spec.Taints = []corev1.Taint{policy.ProviderTaint()}
	return node
}

func bareNode(name, cpu, memory, pods string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		corev1.ResourcePods: resource.MustParse(pods),
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
