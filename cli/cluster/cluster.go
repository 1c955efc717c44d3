// Package cluster reads what explanations depend on from a cluster, with the rights of the user. What the user may not
// read is part of the answer. It decides nothing and changes nothing.
package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/cli/drainback"
	"github.com/spillway-k8s/spillway/cli/nodes"
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
	metadata     metadata.Interface
	mapper       meta.RESTMapper
	installation installation.Installation
	policy       *policy.Policy
	now          func() time.Time
	// prices is nil without prices.
	prices *prices.Table

	shared     *shared
	namespaces map[string]*namespace
	owners     map[types.UID]lookup
	// asked counts the owners that were looked for, by their resource and namespace.
	asked map[ownersIn]int
}

// shared is what holds for all namespaces.
type shared struct {
	global policy.Switch
	// wayHomeStopped says that the way home is stopped for all.
	wayHomeStopped bool

	nodes   []*corev1.Node
	unknown []string
}

// namespace is what holds for all Pods of a namespace.
type namespace struct {
	labels, annotations map[string]string
	pods                []*corev1.Pod
	unknown             []string
	// usage is what the Pods use, and volumes are those of their claims, nil until they are needed.
	usage   *explain.Usage
	volumes *volumes
	// home is the last that the extender has said about the way home of each Pod, nil until it is needed.
	home map[types.UID]explain.HomeEvent
}

// volumes are what the kinds of the volumes of claims are read from.
type volumes struct {
	facts.Volumes
	unknown []string
}

// owner is a controller of Pods.
type owner struct {
	explain.Owner
	uid        types.UID
	controller *metav1.OwnerReference
	// complete means that Owner is set.
	complete bool
}

// lookup is what was found of an owner, nil if it does not exist or the user may not read it.
type lookup struct {
	owner   *owner
	unknown []string
}

// ownersIn are the objects of a resource in a namespace.
type ownersIn struct {
	resource  schema.GroupVersionResource
	namespace string
}

// New returns a Reader. It blocks for one API call, that for the installation.
func New(
	ctx context.Context, client kubernetes.Interface, dynamic dynamic.Interface, metadata metadata.Interface,
	mapper meta.RESTMapper,
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
	return (&Reader{
		client: client, dynamic: dynamic, metadata: metadata, mapper: mapper, installation: installed, policy: rules,
		prices: table, now: time.Now,
	}).renewed(), nil
}

// renewed returns a Reader of the same cluster that has read nothing yet.
func (r *Reader) renewed() *Reader {
	fresh := *r
	fresh.shared, fresh.namespaces = nil, map[string]*namespace{}
	fresh.owners, fresh.asked = map[types.UID]lookup{}, map[ownersIn]int{}
	return &fresh
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

// readSharedOnce reads what holds for all namespaces, if it was not read yet.
func (r *Reader) readSharedOnce(ctx context.Context) (*shared, error) {
	if r.shared == nil {
		s, err := r.readShared(ctx)
		if err != nil {
			return nil, err
		}
		r.shared = s
	}
	return r.shared, nil
}

func (r *Reader) readShared(ctx context.Context) (*shared, error) {
	s := &shared{}
	configMap, err := r.client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace).
		Get(ctx, policy.SwitchConfigMapName, metav1.GetOptions{})
	what := "the switch of the cluster, ConfigMap " + policy.SwitchConfigMapNamespace + "/" + policy.SwitchConfigMapName
	switch {
	case err == nil:
		s.global, _ = policy.ParseSwitch(configMap.Data) // A malformed one is a state of the switch.
		on, _ := policy.ParseWayHomeSwitch(configMap.Data)
		s.wayHomeStopped = !on // A malformed one stops it too.
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
		s.unknown = append(s.unknown,
			"the state and the labels of the virtual nodes (you lack the right to read Nodes)")
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
	pods, err := r.client.CoreV1().Pods(name).List(ctx, cached())
	if err := tolerate(&n.unknown, "the Pods of namespace "+name, err); err != nil {
		return nil, err
	}
	n.pods = pointers(pods.Items)
	r.namespaces[name] = n
	return n, nil
}

// Pods returns the Pods of a namespace that the object with the UID owns, directly or through others.
func (r *Reader) Pods(ctx context.Context, inNamespace string, uid types.UID) ([]*corev1.Pod, error) {
	n, err := r.readNamespace(ctx, inNamespace)
	if err != nil {
		return nil, err
	}
	var owned []*corev1.Pod
	for _, pod := range n.pods {
		var unknown []string
		chain, err := r.chain(ctx, pod, false, &unknown)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(chain, func(o *owner) bool { return o.uid == uid }) {
			owned = append(owned, pod)
		}
	}
	return owned, nil
}

// chain returns the controllers of a Pod, the nearest first. Without complete, only their metadata may be known.
func (r *Reader) chain(ctx context.Context, pod *corev1.Pod, complete bool, unknown *[]string) ([]*owner, error) {
	var chain []*owner
	for reference := metav1.GetControllerOfNoCopy(pod); reference != nil && len(chain) < maxOwners; {
		found, err := r.owner(ctx, pod.Namespace, reference, complete)
		*unknown = append(*unknown, found.unknown...)
		if err != nil || found.owner == nil {
			return chain, err
		}
		chain = append(chain, found.owner)
		reference = found.owner.controller
	}
	return chain, nil
}

// owner returns the object that a reference names. Only what exists is returned, so what a tenant writes into a
// reference never becomes part of a command.
func (r *Reader) owner(
	ctx context.Context, inNamespace string, reference *metav1.OwnerReference, complete bool,
) (lookup, error) {
	if found, ok := r.owners[reference.UID]; ok && (found.owner == nil || found.owner.complete || !complete) {
		return found, nil
	}
	kind := schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind)
	mapping, err := r.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return lookup{}, nil
	}
	if err != nil {
		return lookup{}, fmt.Errorf("finding the resource of %s: %w", kind, err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return lookup{}, nil // A Node owns static Pods.
	}
	if in := (ownersIn{mapping.Resource, inNamespace}); !complete {
		// From the second on, there may be a thousand. A call for each would take minutes.
		if r.asked[in]++; r.asked[in] == 2 {
			if err := r.readOwners(ctx, in); err != nil {
				return lookup{}, err
			}
			if found, ok := r.owners[reference.UID]; ok {
				return found, nil
			}
		}
	}
	resource := r.dynamic.Resource(mapping.Resource).Namespace(inNamespace)
	object, err := resource.Get(ctx, reference.Name, metav1.GetOptions{})
	var found lookup
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		if err := tolerate(&found.unknown, reference.Kind+" "+reference.Name, err); err != nil {
			return lookup{}, err
		}
	case object.GetUID() == reference.UID:
		found.owner = newOwner(object)
	}
	r.owners[reference.UID] = found
	return found, nil
}

// readOwners reads the metadata of all objects of a resource. If the user may not list them, nothing is read.
func (r *Reader) readOwners(ctx context.Context, in ownersIn) error {
	list, err := r.metadata.Resource(in.resource).Namespace(in.namespace).List(ctx, cached())
	if apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the owners of Pods: %w", err)
	}
	for i := range list.Items {
		object := &list.Items[i]
		if _, ok := r.owners[object.UID]; !ok {
			found := &owner{uid: object.UID, controller: metav1.GetControllerOf(object)}
			r.owners[object.UID] = lookup{owner: found}
		}
	}
	return nil
}

// Input returns what the explanation of a Pod depends on. It may block for several API calls.
func (r *Reader) Input(ctx context.Context, pod *corev1.Pod) (explain.Input, error) {
	in, err := r.input(ctx, pod)
	if err != nil {
		return explain.Input{}, err
	}
	chain, err := r.chain(ctx, pod, true, &in.Unknown)
	if err != nil {
		return explain.Input{}, err
	}
	for _, owner := range chain {
		in.Owners = append(in.Owners, owner.Owner)
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
	in.NotCreated, in.Replicas = true, explain.Replicas{Active: replicasOf(object)}
	in.Manifest = object.GetUID() == "" // The API server gives each object a UID.
	if !IsPod(object) {
		in.Owners = []explain.Owner{asOwner(object)}
	}
	return in, nil
}

func (r *Reader) input(ctx context.Context, pod *corev1.Pod) (explain.Input, error) {
	s, err := r.readSharedOnce(ctx)
	if err != nil {
		return explain.Input{}, err
	}
	n, err := r.readNamespace(ctx, pod.Namespace)
	if err != nil {
		return explain.Input{}, err
	}
	in := explain.Input{
		Policy: r.policy, Pod: pod, Global: s.global, NamespaceLabels: n.labels, NamespaceAnnotations: n.annotations,
		Now: r.now(), WayHomeStopped: s.wayHomeStopped, Nodes: s.nodes, Prices: r.prices,
		Schedulers: new(r.installation.Scheduler.Schedulers()),
		Unknown:    slices.Concat(s.unknown, n.unknown),
	}
	n.usageOn(r.policy, s.nodes).Fill(&in)
	if in.Home, err = r.home(ctx, pod, n, s.nodes); err != nil {
		return explain.Input{}, err
	}
	in.Claims, err = r.claims(ctx, pod, n, &in.Unknown)
	return in, err
}

// home returns the last that the extender has said about the way home of a Pod, nil without any. Only for Pods that may
// be on it the Events are read, once for a namespace.
func (r *Reader) home(
	ctx context.Context, pod *corev1.Pod, n *namespace, virtual []*corev1.Node,
) (*explain.HomeEvent, error) {
	returns, _, err := policy.ParseWayHome(policy.Inherit(pod.Annotations, nil, n.annotations))
	_, moving := policy.MovingHomeOf(pod)
	_, asked := explain.AskedToReturn(pod, r.now())
	if err != nil || !returns && !moving && !asked || !nodes.Names(virtual).Has(pod.Spec.NodeName) {
		return nil, nil
	}
	if n.home == nil {
		if n.home, err = drainback.LastAboutHome(ctx, r.client, pod.Namespace); err != nil {
			return nil, err
		}
	}
	if last, ok := n.home[pod.UID]; ok {
		return &last, nil
	}
	return nil, nil
}

// InCloud returns the Pods of a namespace on virtual nodes that the object with the UID is or owns, or all of them
// without a UID.
func (r *Reader) InCloud(ctx context.Context, inNamespace string, uid types.UID) ([]drainback.Candidate, error) {
	s, err := r.readSharedOnce(ctx)
	if err != nil {
		return nil, err
	}
	n, err := r.readNamespace(ctx, inNamespace)
	if err != nil {
		return nil, err
	}
	virtual := nodes.Names(s.nodes)
	var found []drainback.Candidate
	for _, pod := range n.pods {
		if !policy.IsActive(pod) || !virtual.Has(pod.Spec.NodeName) {
			continue
		}
		owned, err := r.isOf(ctx, pod, uid)
		if err != nil {
			return nil, err
		}
		if !owned {
			continue
		}
		in, err := r.Input(ctx, pod)
		if err != nil {
			return nil, err
		}
		found = append(found, drainback.Candidate{Pod: pod, Never: explain.NeverHomeOf(in)})
	}
	return found, nil
}

// isOf reports whether a Pod is an object, or is owned by it. The controller of a Pod that moves has released it.
func (r *Reader) isOf(ctx context.Context, pod *corev1.Pod, uid types.UID) (bool, error) {
	if uid == "" || pod.UID == uid {
		return true, nil
	}
	if move, moving := policy.MovingHomeOf(pod); moving {
		return move.DeploymentUID == uid || move.ReplicaSetUID == uid, nil
	}
	var unknown []string
	chain, err := r.chain(ctx, pod, false, &unknown)
	return slices.ContainsFunc(chain, func(o *owner) bool { return o.uid == uid }), err
}

// usageOn returns what the Pods of the namespace use, counted once.
func (n *namespace) usageOn(rules *policy.Policy, nodes []*corev1.Node) explain.Usage {
	if n.usage == nil {
		n.usage = new(explain.UsageOf(rules, n.pods, nodes))
	}
	return *n.usage
}

func hasClaims(pod *corev1.Pod) bool {
	for range policy.Claims(pod) {
		return true
	}
	return false
}

// claims returns the kinds of the volumes of the Pod's claims. Most Pods have none, and cost no call.
func (r *Reader) claims(
	ctx context.Context, pod *corev1.Pod, n *namespace, unknown *[]string,
) (map[string]string, error) {
	if !hasClaims(pod) {
		return nil, nil
	}
	if n.volumes == nil {
		found, err := r.readVolumes(ctx, pod.Namespace)
		if err != nil {
			return nil, err
		}
		n.volumes = found
	}
	*unknown = append(*unknown, n.volumes.unknown...)
	return n.volumes.Claims(pod), nil
}

// readVolumes reads what the kinds of the volumes of all claims of a namespace are read from.
func (r *Reader) readVolumes(ctx context.Context, inNamespace string) (*volumes, error) {
	v := &volumes{}
	claims, err := r.client.CoreV1().PersistentVolumeClaims(inNamespace).List(ctx, metav1.ListOptions{})
	if err := tolerate(&v.unknown, "the claims of namespace "+inNamespace, err); err != nil {
		return nil, err
	}
	persistent, err := r.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err := tolerate(&v.unknown, "the PersistentVolumes", err); err != nil {
		return nil, err
	}
	classes, err := r.client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err := tolerate(&v.unknown, "the StorageClasses", err); err != nil {
		return nil, err
	}
	v.Volumes = facts.NewVolumes(
		corelisters.NewPersistentVolumeClaimLister(indexed(claims.Items)),
		corelisters.NewPersistentVolumeLister(indexed(persistent.Items)),
		storagelisters.NewStorageClassLister(indexed(classes.Items)),
	)
	return v, nil
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
