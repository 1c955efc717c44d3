package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/cli/status"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/policy"
)

// eventSources are the programs whose Events are followed.
var eventSources = []string{"spillway-admission", "spillway-vnode", "spillway-extender"}

// Live follows what a status is made of, from one list and watch of each resource, with the rights of the user. It is
// safe for concurrent use. What the user may not read, or cannot read at the moment, is part of the status.
type Live struct {
	reader    *Reader
	namespace string

	pods, nodes, sets, jobs cache.SharedIndexInformer
	events                  []cache.SharedIndexInformer

	lock sync.Mutex
	// failed has the last error of each resource that cannot be read, by what it is for people.
	failed  map[string]error
	changed chan struct{}
	// annotations are those of the namespaces.
	annotations map[string]map[string]string
}

// Follow returns a Live of a namespace, or of all namespaces if the name is empty. It reads nothing before Run.
func (r *Reader) Follow(inNamespace string) (*Live, error) {
	l := &Live{reader: r, namespace: inNamespace, failed: map[string]error{}, changed: make(chan struct{})}
	core, virtual := r.client.CoreV1(), labels.SelectorFromSet(policy.VirtualNodeLabels()).String()
	l.pods = informerOf(l, "the Pods", core.Pods(inNamespace), &corev1.Pod{}, metav1.ListOptions{})
	l.nodes = informerOf(l, "the virtual nodes", core.Nodes(), &corev1.Node{},
		metav1.ListOptions{LabelSelector: virtual})
	l.sets = informerOf(l, "the ReplicaSets", r.client.AppsV1().ReplicaSets(inNamespace), &appsv1.ReplicaSet{},
		metav1.ListOptions{})
	l.jobs = informerOf(l, "the Jobs", r.client.BatchV1().Jobs(inNamespace), &batchv1.Job{}, metav1.ListOptions{})
	for _, source := range eventSources {
		l.events = append(l.events, informerOf(l, "the Events", core.Events(inNamespace), &corev1.Event{},
			metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("source", source).String()}))
	}
	for _, informer := range l.informers() {
		if err := informer.SetTransform(slim); err != nil {
			return nil, fmt.Errorf("following the cluster: %w", err)
		}
		// Errors are part of the status. The default prints them to the terminal of the user, again and again.
		if err := informer.SetWatchErrorHandler(func(*cache.Reflector, error) {}); err != nil {
			return nil, fmt.Errorf("following the cluster: %w", err)
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { l.touch() },
			UpdateFunc: func(any, any) { l.touch() },
			DeleteFunc: func(any) { l.touch() },
		}); err != nil {
			return nil, fmt.Errorf("following the cluster: %w", err)
		}
	}
	return l, nil
}

func (l *Live) informers() []cache.SharedIndexInformer {
	return append([]cache.SharedIndexInformer{l.pods, l.nodes, l.sets, l.jobs}, l.events...)
}

// informerOf returns an informer of what the options select. It notes whether the API can be read.
func informerOf[L runtime.Object](
	l *Live, what string, of kube.Resource[L], example runtime.Object, selected metav1.ListOptions,
) cache.SharedIndexInformer {
	choose := func(options metav1.ListOptions) metav1.ListOptions {
		options.LabelSelector, options.FieldSelector = selected.LabelSelector, selected.FieldSelector
		return options
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := of.List(ctx, choose(options))
			l.note(what, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			events, err := of.Watch(ctx, choose(options))
			l.note(what, err)
			return events, err
		},
	}, l.reader.client), example, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}

// slim drops what no status needs: there may be many objects.
func slim(object any) (any, error) {
	switch o := object.(type) {
	case *appsv1.ReplicaSet:
		o.Spec, o.Status = appsv1.ReplicaSetSpec{}, appsv1.ReplicaSetStatus{}
	case *batchv1.Job:
		o.Spec, o.Status = batchv1.JobSpec{}, batchv1.JobStatus{}
	}
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return object, nil
}

// note remembers whether something can be read.
func (l *Live) note(what string, err error) {
	// A watch that has become too old is renewed at once, and the end of Run is no failure.
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, context.Canceled) {
		return
	}
	l.lock.Lock()
	before := l.failed[what]
	if err == nil {
		delete(l.failed, what)
	} else {
		l.failed[what] = err
	}
	l.lock.Unlock()
	if (before == nil) != (err == nil) {
		l.touch()
	}
}

// touch tells all that wait for Changed.
func (l *Live) touch() {
	l.lock.Lock()
	defer l.lock.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Changed returns a channel that is closed when something changes next. Take it before Status.
func (l *Live) Changed() <-chan struct{} {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.changed
}

// Run follows the cluster until ctx ends. It blocks, and may be called once.
func (l *Live) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, informer := range l.informers() {
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	running.Go(func() { l.followNamespaces(ctx) })
	running.Wait()
}

// namespacePeriod is how often the annotations of namespaces are read. They change rarely, and most users have the
// right to get their Namespace and not to watch it.
const namespacePeriod = 15 * time.Second

func (l *Live) followNamespaces(ctx context.Context) {
	for {
		read, err := l.reader.readAnnotations(ctx, l.namespace)
		l.note(namespaceSettings, err)
		l.lock.Lock()
		differs := err == nil && !reflect.DeepEqual(read, l.annotations)
		if differs {
			l.annotations = read
		}
		l.lock.Unlock()
		if differs {
			l.touch()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(namespacePeriod):
		}
	}
}

// syncPeriod is how often WaitForRead looks.
const syncPeriod = 20 * time.Millisecond

// WaitForRead blocks until everything was read once or cannot be read, or until ctx ends.
func (l *Live) WaitForRead(ctx context.Context) {
	for len(l.unread()) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(syncPeriod):
		}
	}
}

// unread returns what was neither read nor refused yet.
func (l *Live) unread() []string {
	l.lock.Lock()
	defer l.lock.Unlock()
	var unread []string
	for what, informers := range map[string][]cache.SharedIndexInformer{
		"the Pods": {l.pods}, "the virtual nodes": {l.nodes}, "the ReplicaSets": {l.sets}, "the Jobs": {l.jobs},
		"the Events": l.events,
	} {
		if l.failed[what] == nil && slices.ContainsFunc(informers, func(i cache.SharedIndexInformer) bool {
			return !i.HasSynced()
		}) {
			unread = append(unread, what)
		}
	}
	if l.annotations == nil && l.failed[namespaceSettings] == nil {
		unread = append(unread, namespaceSettings)
	}
	return unread
}

// unknown says what cannot be read.
func (l *Live) unknown() []string {
	unread := l.unread()
	l.lock.Lock()
	defer l.lock.Unlock()
	var unknown []string
	for _, what := range slices.Sorted(maps.Keys(l.failed)) {
		if err := l.failed[what]; tolerate(&unknown, what, err) != nil {
			unknown = append(unknown, fmt.Sprintf("%s (%v)", what, err))
		}
	}
	for _, what := range slices.Sorted(slices.Values(unread)) {
		unknown = append(unknown, what+" (not read yet)")
	}
	return unknown
}

// objectsOf returns the objects of an informer. They must not be changed.
func objectsOf[T any](informer cache.SharedIndexInformer) []*T {
	var objects []*T
	for _, object := range informer.GetStore().List() {
		if o, ok := object.(*T); ok {
			objects = append(objects, o)
		}
	}
	return objects
}

// Status returns what the status is made of now. It does not block.
func (l *Live) Status() status.Input {
	controllers := l.controllers()
	l.lock.Lock()
	annotations := l.annotations // It is replaced, and never changed.
	l.lock.Unlock()
	return status.Input{
		Namespace: func(name string) map[string]string { return annotations[name] },
		Policy:    l.reader.policy, Prices: l.reader.prices, Pods: objectsOf[corev1.Pod](l.pods),
		Nodes:    l.virtualNodes(),
		Workload: func(pod *corev1.Pod) string { return workloadOf(pod, controllers) }, Unknown: l.unknown(),
	}
}

// virtualNodes returns the virtual nodes. Most users may not read Nodes, and know their names only.
func (l *Live) virtualNodes() []*corev1.Node {
	l.lock.Lock()
	refused := apierrors.IsForbidden(l.failed["the virtual nodes"])
	l.lock.Unlock()
	if refused {
		return l.reader.namedNodes()
	}
	return objectsOf[corev1.Node](l.nodes)
}

func (l *Live) controllers() map[types.UID]*metav1.OwnerReference {
	return controllersOf(objectsOf[appsv1.ReplicaSet](l.sets), objectsOf[batchv1.Job](l.jobs))
}

// Events returns the Events of the programs of Spillway that the cluster still has. They must not be changed.
func (l *Live) Events() []*corev1.Event {
	var events []*corev1.Event
	for _, informer := range l.events {
		events = append(events, objectsOf[corev1.Event](informer)...)
	}
	return events
}

// Explain explains the Pods of a workload as "kubectl spillway why" does, the waiting ones first, at most limit of
// them, and returns how many there are. It reads the namespace anew, and blocks for some API calls.
func (l *Live) Explain(
	ctx context.Context, inNamespace, workload string, limit int,
) (explanations []explain.Explanation, total int, err error) {
	if l.namespace != "" && inNamespace != l.namespace {
		return nil, 0, nil // The page shows one namespace.
	}
	reader := l.reader.renewed()
	n, err := reader.readNamespace(ctx, inNamespace)
	if err != nil {
		return nil, 0, err
	}
	controllers := l.controllers()
	var pods []*corev1.Pod
	for _, pod := range n.pods {
		if !policy.HasEnded(pod) && workloadOf(pod, controllers) == workload {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	for _, pod := range pods[:min(limit, len(pods))] {
		in, err := reader.Input(ctx, pod)
		if err != nil {
			return nil, 0, err
		}
		explanations = append(explanations, explain.Explain(in))
	}
	return explanations, len(pods), nil
}

// rank sorts Pods that wait before others.
func rank(pod *corev1.Pod) int {
	if pod.Spec.NodeName == "" {
		return 0
	}
	return 1
}
