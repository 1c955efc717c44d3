// Package cluster reads what explanations depend on from a cluster, with the rights of the user. What the user may not
// read is part of the answer. It decides nothing and changes nothing.
package cluster

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
)

// maxOwners limits the chain of owners, as in admission: references can form a cycle.
const maxOwners = 5

// Reader reads a cluster. It is for one command: it reads everything once and does not follow changes.
type Reader struct {
	client       kubernetes.Interface
	dynamic      dynamic.Interface
	mapper       meta.RESTMapper
	installation installation.Installation
	policy       *policy.Policy
	// prices is nil without prices.
	prices *prices.Table

	shared     *shared
	namespaces map[string]*namespace
	owners     map[types.UID]*unstructured.Unstructured
}

// shared is what holds for all namespaces.
type shared struct {
	global  policy.Switch
	nodes   []*corev1.Node
	unknown []string
}

// namespace is what holds for all Pods of a namespace.
type namespace struct {
	labels, annotations map[string]string
	pods                []*corev1.Pod
	unknown             []string
	// used is what the Pods use in the cloud, nil until it is needed.
	used *policy.CloudUse
}

func (n *namespace) inCloud(rules *policy.Policy, nodes []*corev1.Node) policy.CloudUse {
	if n.used == nil {
		n.used = new(explain.UsedInCloud(rules, n.pods, nodes))
	}
	return *n.used
}

// New returns a Reader. It blocks for one API call, that for the installation.
func New(
	ctx context.Context, client kubernetes.Interface, dynamic dynamic.Interface, mapper meta.RESTMapper,
) (*Reader, error) {
	installed, err := installation.Read(ctx, client)
	if err != nil {
		return nil, err
	}
	rules, err := policy.New(installed.Policy)
	if err != nil {
		return nil, fmt.Errorf("reading the installation: %w", err)
	}
	table, err := prices.New(installed.Prices)
	if err != nil {
		return nil, fmt.Errorf("reading the installation: %w", err)
	}
	return &Reader{
		client: client, dynamic: dynamic, mapper: mapper, installation: installed, policy: rules, prices: table,
		namespaces: map[string]*namespace{}, owners: map[types.UID]*unstructured.Unstructured{},
	}, nil
}

// tolerate returns nil for errors that say that the user may not read something, and notes what. Such an answer is
// better than none: many users may read their namespace only.
func tolerate(unknown *[]string, what string, err error) error {
	if err == nil {
		return nil
	}
	if apierrors.IsForbidden(err) {
		*unknown = append(*unknown, what+" (you lack the right to read it)")
		return nil
	}
	return fmt.Errorf("reading %s: %w", what, err)
}

func (r *Reader) readShared(ctx context.Context) (*shared, error) {
	s := &shared{}
	configMap, err := r.client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace).
		Get(ctx, policy.SwitchConfigMapName, metav1.GetOptions{})
	what := "the switch of the cluster, ConfigMap " + policy.SwitchConfigMapNamespace + "/" + policy.SwitchConfigMapName
	switch {
	case err == nil:
		s.global, _ = policy.ParseSwitch(configMap.Data) // A malformed one is a state of the switch.
	case apierrors.IsNotFound(err):
	default:
		if err := tolerate(&s.unknown, what, err); err != nil {
			return nil, err
		}
	}
	nodes, err := r.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(policy.VirtualNodeLabels()).String(), ResourceVersion: "0",
	})
	if apierrors.IsForbidden(err) && len(r.installation.VirtualNodes) > 0 {
		s.unknown = append(s.unknown, "the state and the labels of the virtual nodes (you lack the right to read Nodes)")
		s.nodes = r.namedNodes()
		return s, nil
	}
	if err := tolerate(&s.unknown, "the virtual nodes", err); err != nil {
		return nil, err
	}
	s.nodes = pointers(nodes.Items)
	return s, nil
}

// namedNodes returns the virtual nodes of which the installation names no more than the names.
func (r *Reader) namedNodes() []*corev1.Node {
	var named []*corev1.Node
	for _, name := range r.installation.VirtualNodes {
		named = append(named, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return named
}

// pointers returns the objects of a list. A list that was refused has none.
func pointers[T any](items []T) []*T {
	var all []*T
	for i := range items {
		all = append(all, &items[i])
	}
	return all
}

func (r *Reader) readNamespace(ctx context.Context, name string) (*namespace, error) {
	if n := r.namespaces[name]; n != nil {
		return n, nil
	}
	n := &namespace{}
	object, err := r.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) { // A manifest may be for a namespace that does not exist yet.
		if err := tolerate(&n.unknown, "labels and annotations of namespace "+name, err); err != nil {
			return nil, err
		}
	}
	if err == nil {
		n.labels, n.annotations = object.Labels, object.Annotations
	}
	pods, err := r.client.CoreV1().Pods(name).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err := tolerate(&n.unknown, "the Pods of namespace "+name, err); err != nil {
		return nil, err
	}
	n.pods = pointers(pods.Items)
	r.namespaces[name] = n
	return n, nil
}

// Pods returns the Pods of a namespace that an object owns, directly or through others.
func (r *Reader) Pods(ctx context.Context, inNamespace string, owner types.UID) ([]*corev1.Pod, error) {
	n, err := r.readNamespace(ctx, inNamespace)
	if err != nil {
		return nil, err
	}
	var owned []*corev1.Pod
	for _, pod := range n.pods {
		var unknown []string
		chain, err := r.chain(ctx, pod, &unknown)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(chain, func(o *unstructured.Unstructured) bool { return o.GetUID() == owner }) {
			owned = append(owned, pod)
		}
	}
	return owned, nil
}

// chain returns the controllers of a Pod, the nearest first.
func (r *Reader) chain(
	ctx context.Context, pod metav1.Object, unknown *[]string,
) ([]*unstructured.Unstructured, error) {
	var chain []*unstructured.Unstructured
	for object := pod; len(chain) < maxOwners; {
		reference := metav1.GetControllerOfNoCopy(object)
		if reference == nil {
			break
		}
		owner, err := r.owner(ctx, pod.GetNamespace(), reference, unknown)
		if err != nil || owner == nil {
			return chain, err
		}
		chain = append(chain, owner)
		object = owner
	}
	return chain, nil
}

// owner returns the object that a reference names, nil if there is none. Only what exists is returned, so what a tenant
// writes into a reference never becomes part of a command.
func (r *Reader) owner(
	ctx context.Context, inNamespace string, reference *metav1.OwnerReference, unknown *[]string,
) (*unstructured.Unstructured, error) {
	if owner, ok := r.owners[reference.UID]; ok {
		return owner, nil
	}
	kind := schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind)
	mapping, err := r.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("finding the resource of %s: %w", kind, err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return nil, nil // A Node owns static Pods.
	}
	resource := r.dynamic.Resource(mapping.Resource).Namespace(inNamespace)
	owner, err := resource.Get(ctx, reference.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		owner = nil
	case err != nil:
		if err := tolerate(unknown, reference.Kind+" "+reference.Name, err); err != nil {
			return nil, err
		}
		owner = nil
	case owner.GetUID() != reference.UID:
		owner = nil
	}
	r.owners[reference.UID] = owner
	return owner, nil
}

// Input returns what the explanation of a Pod depends on. It may block for several API calls.
func (r *Reader) Input(ctx context.Context, pod *corev1.Pod) (explain.Input, error) {
	in, err := r.input(ctx, pod)
	if err != nil {
		return explain.Input{}, err
	}
	chain, err := r.chain(ctx, pod, &in.Unknown)
	if err != nil {
		return explain.Input{}, err
	}
	for _, owner := range chain {
		in.Owners = append(in.Owners, asOwner(owner))
	}
	return in, nil
}

// InputOf returns what the explanation of a Pod depends on that a workload, or a manifest of a Pod, would create. It
// returns an error if the object has no Pod template.
func (r *Reader) InputOf(ctx context.Context, object *unstructured.Unstructured) (explain.Input, error) {
	pod, err := podOf(object)
	if err != nil {
		return explain.Input{}, err
	}
	in, err := r.input(ctx, pod)
	if err != nil {
		return explain.Input{}, err
	}
	in.NotCreated = true
	if !IsPod(object) {
		in.Owners = []explain.Owner{asOwner(object)}
	}
	return in, nil
}

func (r *Reader) input(ctx context.Context, pod *corev1.Pod) (explain.Input, error) {
	s := r.shared
	if s == nil {
		var err error
		if s, err = r.readShared(ctx); err != nil {
			return explain.Input{}, err
		}
		r.shared = s
	}
	n, err := r.readNamespace(ctx, pod.Namespace)
	if err != nil {
		return explain.Input{}, err
	}
	in := explain.Input{
		Policy: r.policy, Pod: pod, Global: s.global, NamespaceLabels: n.labels, NamespaceAnnotations: n.annotations,
		Nodes: s.nodes, Pods: n.pods, InCloud: n.inCloud(r.policy, s.nodes),
		Schedulers: r.installation.Scheduler.Schedulers(), Prices: r.prices,
		Unknown: slices.Concat(s.unknown, n.unknown),
	}
	in.Claims, err = r.claims(ctx, pod, &in.Unknown)
	return in, err
}

func hasClaims(pod *corev1.Pod) bool {
	for range policy.Claims(pod) {
		return true
	}
	return false
}

// claims returns the kinds of the volumes of the Pod's claims. Most Pods have none, and cost no call.
func (r *Reader) claims(ctx context.Context, pod *corev1.Pod, unknown *[]string) (map[string]string, error) {
	if !hasClaims(pod) {
		return nil, nil
	}
	claims, err := r.client.CoreV1().PersistentVolumeClaims(pod.Namespace).List(ctx, metav1.ListOptions{})
	if err := tolerate(unknown, "the claims of namespace "+pod.Namespace, err); err != nil {
		return nil, err
	}
	volumes, err := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err := tolerate(unknown, "the PersistentVolumes", err); err != nil {
		return nil, err
	}
	classes, err := r.client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err := tolerate(unknown, "the StorageClasses", err); err != nil {
		return nil, err
	}
	return facts.NewVolumes(
		corelisters.NewPersistentVolumeClaimLister(indexed(claims.Items)),
		corelisters.NewPersistentVolumeLister(indexed(volumes.Items)),
		storagelisters.NewStorageClassLister(indexed(classes.Items)),
	).Claims(pod), nil
}

// indexed returns objects as the cache of a lister.
func indexed[T any](items []T) cache.Indexer {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{
		cache.NamespaceIndex: cache.MetaNamespaceIndexFunc,
	})
	for _, item := range pointers(items) {
		_ = indexer.Add(item) // It fails for objects without metadata only.
	}
	return indexer
}
