package system

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KWOK manages the nodes that have this annotation, and the Pods on them.
const (
	kwokAnnotation = "kwok.x-k8s.io/node"
	kwokManaged    = "fake"
)

// createLocalNodes creates the local nodes that do not exist yet.
func (s *System) createLocalNodes(ctx context.Context) error {
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range s.state.Shape.LocalNodes {
		group.Go(func() error {
			_, err := s.client.CoreV1().Nodes().Create(groupContext, s.localNodeInZone(i), metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("creating node %s: %w", LocalNode(i), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// CreateLocalNode creates another local node. It has the capacity of the Shape, and KWOK makes it Ready. The function
// edit, if it is not nil, changes it first. If the node exists, CreateLocalNode returns an error.
func (s *System) CreateLocalNode(ctx context.Context, name string, edit func(*corev1.Node)) error {
	node := s.localNode(name)
	if edit != nil {
		edit(node)
	}
	if _, err := s.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating node %s: %w", name, err)
	}
	return nil
}

// localNodeInZone returns the i-th local node. The local nodes are spread over the zones, if there are any.
func (s *System) localNodeInZone(i int) *corev1.Node {
	node := s.localNode(LocalNode(i))
	if zone := s.state.Shape.zone(i); zone != "" {
		node.Labels[corev1.LabelTopologyZone] = zone
	}
	return node
}

func (s *System) localNode(name string) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			},
		},
	}
	node.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(s.state.Shape.LocalCPU), // Shape.Validate has parsed it.
		corev1.ResourceMemory: resource.MustParse(s.state.Shape.LocalMemory),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	node.Status.Allocatable = node.Status.Capacity
	if s.config.BareNodes {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue,
			Reason: "Bare"}}
	} else {
		node.Annotations = map[string]string{kwokAnnotation: kwokManaged}
	}
	return node
}

// awaitCluster returns when Pods can be created and all nodes accept them.
func (s *System) awaitCluster(ctx context.Context) error {
	if s.config.has(ControllerManager) {
		// The API server refuses Pods without this account.
		account := func(ctx context.Context) error {
			accounts := s.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault)
			_, err := accounts.Get(ctx, "default", metav1.GetOptions{})
			return err
		}
		if err := s.await(ctx, ControllerManager, account); err != nil {
			return fmt.Errorf("waiting for the default ServiceAccount: %w", err)
		}
	}
	if s.config.has(KWOK) && !s.config.BareNodes {
		for i := range s.state.Shape.LocalNodes {
			if err := s.awaitNode(ctx, KWOK, LocalNode(i)); err != nil {
				return err
			}
		}
		s.report("%d local nodes are Ready", s.state.Shape.LocalNodes)
	}
	if s.config.has(vnode) {
		for i := range s.state.Shape.VirtualNodes {
			if err := s.awaitNode(ctx, VNode(i), VirtualNode(i)); err != nil {
				return err
			}
		}
		s.report("%d virtual nodes are Ready", s.state.Shape.VirtualNodes)
	}
	return nil
}

// awaitNode returns when the node is Ready and has no taint of the node lifecycle controller. The process sets its
// status.
func (s *System) awaitNode(ctx context.Context, process, name string) error {
	err := s.await(ctx, process, func(ctx context.Context) error {
		node, err := s.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, taint := range node.Spec.Taints {
			if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
				return fmt.Errorf("the node has the taint %s", taint.Key)
			}
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New("the node is not Ready")
	})
	if err != nil {
		return fmt.Errorf("waiting for node %s: %w", name, err)
	}
	return nil
}
