package wayhome

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/extender/wayhome/fit"
	"github.com/spillway-k8s/spillway/policy"
)

// caches are whole Pods, nodes and what limits volumes. They exist only while a Pod may return.
type caches struct {
	factory  informers.SharedInformerFactory
	pods     cache.Indexer
	nodes    cache.Store
	csiNodes cache.Store
}

// The indexes of Pods.
const (
	// byController finds Pods by the UID of their controller.
	byController = "controller"
	// byMove finds the Pods that have begun to move.
	byMove = "move"
)

func newCaches(client kubernetes.Interface) (*caches, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip))
	pods := factory.Core().V1().Pods().Informer()
	err := pods.AddIndexers(cache.Indexers{byController: indexController, byMove: indexMove})
	if err != nil {
		return nil, fmt.Errorf("indexing pods: %w", err)
	}
	return &caches{
		factory: factory, pods: pods.GetIndexer(), nodes: factory.Core().V1().Nodes().Informer().GetStore(),
		csiNodes: factory.Storage().V1().CSINodes().Informer().GetStore(),
	}, nil
}

// strip removes what takes most of the memory of a Pod and nothing here reads.
func strip(obj any) (any, error) {
	if object, ok := obj.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range containers {
				c := &containers[i]
				c.Env, c.EnvFrom, c.Command, c.Args = nil, nil, nil, nil
				c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil, nil
			}
		}
	}
	return obj, nil
}

func indexController(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		return []string{string(owner.UID)}, nil
	}
	return nil, nil
}

func indexMove(obj any) ([]string, error) {
	if pod, ok := obj.(*corev1.Pod); ok {
		if _, moving := policy.MovingHomeOf(pod); moving {
			return []string{byMove}, nil
		}
	}
	return nil, nil
}

// run fills the caches until ctx ends. The channel is closed when all is stopped.
func (c *caches) run(ctx context.Context) (ended <-chan struct{}) {
	c.factory.StartWithContext(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		c.factory.Shutdown()
	}()
	return done
}

// synced blocks until the caches are filled. It returns false if ctx ends before.
func (c *caches) synced(ctx context.Context) bool {
	for _, ok := range c.factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return false
		}
	}
	return ctx.Err() == nil
}

// ofController returns the active Pods of a controller in a namespace.
func (c *caches) ofController(namespace string, uid types.UID) []*corev1.Pod {
	return c.indexed(byController, string(uid), func(pod *corev1.Pod) bool {
		return pod.Namespace == namespace && policy.IsActive(pod)
	})
}

// moving returns the Pods that have begun to move.
func (c *caches) moving() []*corev1.Pod {
	return c.indexed(byMove, byMove, func(*corev1.Pod) bool { return true })
}

func (c *caches) indexed(index, value string, wanted func(*corev1.Pod) bool) []*corev1.Pod {
	objects, err := c.pods.ByIndex(index, value)
	if err != nil {
		return nil // The index exists.
	}
	var found []*corev1.Pod
	for _, obj := range objects {
		if pod, ok := obj.(*corev1.Pod); ok && wanted(pod) {
			found = append(found, pod)
		}
	}
	return found
}

// pod returns a Pod, nil if it is gone.
func (c *caches) pod(name types.NamespacedName) *corev1.Pod {
	obj, ok, err := c.pods.GetByKey(name.String())
	if err != nil || !ok {
		return nil
	}
	pod, _ := obj.(*corev1.Pod)
	return pod
}

// room returns what nodes have room for.
func (c *caches) room(facts interface {
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
},
) *fit.Cluster {
	return fit.NewCluster(all[*corev1.Node](c.nodes), all[*corev1.Pod](c.pods)).WithVolumes(fit.Volumes{
		Claim: facts.Claim, Volume: facts.Volume,
		CSINode: func(node string) *storagev1.CSINode {
			obj, ok, err := c.csiNodes.GetByKey(node)
			if err != nil || !ok {
				return nil
			}
			csiNode, _ := obj.(*storagev1.CSINode)
			return csiNode
		},
	})
}

func all[T any](store cache.Store) []T {
	objects := store.List()
	found := make([]T, 0, len(objects))
	for _, obj := range objects {
		if object, ok := obj.(T); ok {
			found = append(found, object)
		}
	}
	return found
}
