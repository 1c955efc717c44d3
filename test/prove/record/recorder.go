package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// retry is how soon the Recorder tries again where the API server does not answer: it must miss as little as it can.
const retry = 50 * time.Millisecond

// Recorder notes every change of Pods and Nodes. It watches the API server by itself, past everything that is disturbed.
type Recorder struct {
	log    *Log
	client kubernetes.Interface

	mu    sync.Mutex
	pods  map[types.UID]*Pod
	nodes map[string]*Node
	// changed is when a Pod of a namespace was last seen to change.
	changed map[string]time.Time
	now     func() time.Time
}

// NewRecorder makes a Recorder that adds to the log.
func NewRecorder(config *rest.Config, log *Log, now func() time.Time) (*Recorder, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making the client of the recorder: %w", err)
	}
	return &Recorder{
		log: log, client: client, now: now,
		pods: map[types.UID]*Pod{}, nodes: map[string]*Node{}, changed: map[string]time.Time{},
	}, nil
}

// RunPods records Pods until ctx ends, or one cannot be read. It blocks.
func (r *Recorder) RunPods(ctx context.Context) error {
	pods := r.client.CoreV1().Pods(metav1.NamespaceAll)
	return follow(ctx, source{
		list:    func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) },
		watch:   pods.Watch,
		see:     r.seePod,
		missing: r.losePods,
	})
}

// RunNodes records Nodes until ctx ends, or one cannot be read. It blocks.
func (r *Recorder) RunNodes(ctx context.Context) error {
	nodes := r.client.CoreV1().Nodes()
	return follow(ctx, source{
		list:    func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) },
		watch:   nodes.Watch,
		see:     r.seeNode,
		missing: func(map[types.UID]bool, uint64) {}, // A node that is gone keeps its class.
	})
}

// source is a kind of object that can be listed and watched.
type source struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// see takes one object, gone or not.
	see func(object runtime.Object, gone bool) error
	// missing tells of all objects that are there at a version: others have gone unseen.
	missing func(there map[types.UID]bool, version uint64)
}

// follow lists and watches until ctx ends. Where a watch cannot go on from where it ended, it lists again, and what happened between is
// seen as one change.
func follow(ctx context.Context, s source) error {
	version := ""
	for ctx.Err() == nil {
		var err error
		if version == "" {
			version, err = s.relist(ctx)
		} else {
			version, err = s.continueFrom(ctx, version)
		}
		var unreadable *unreadableError
		if errors.As(err, &unreadable) {
			return err
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
		}
	}
	return nil
}

// unreadableError is one that no second try helps.
type unreadableError struct{ error }

func (s source) relist(ctx context.Context) (string, error) {
	list, err := s.list(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return "", &unreadableError{err}
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return "", &unreadableError{err}
	}
	there := map[types.UID]bool{}
	slices.SortFunc(objects, byVersion)
	for _, object := range objects {
		if err := s.see(object, false); err != nil {
			return "", &unreadableError{err}
		}
		there[object.(metav1.Object).GetUID()] = true
	}
	version := &metav1.ObjectMeta{Name: "the list", ResourceVersion: accessor.GetResourceVersion()}
	at, err := parseVersion(version)
	if err != nil {
		return "", &unreadableError{err}
	}
	s.missing(there, at)
	return version.ResourceVersion, nil
}

// byVersion orders objects of a list by the time of their last change. Those whose version is no number are found out later.
func byVersion(a, b runtime.Object) int {
	left, _ := parseVersion(a.(metav1.Object))
	right, _ := parseVersion(b.(metav1.Object))
	return int(int64(left - right))
}

// continueFrom watches from a version on and returns the last one seen, empty where only a new list helps.
func (s source) continueFrom(ctx context.Context, version string) (string, error) {
	watcher, err := s.watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	if err != nil {
		return "", err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		object, ok := event.Object.(metav1.Object)
		if event.Type == watch.Error || !ok {
			return "", nil
		}
		version = object.GetResourceVersion()
		if event.Type == watch.Bookmark {
			continue
		}
		if err := s.see(event.Object, event.Type == watch.Deleted); err != nil {
			return "", &unreadableError{err}
		}
	}
	return version, nil
}

func (r *Recorder) seePod(object runtime.Object, gone bool) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("recording pods: got a %T", object)
	}
	noted, err := PodOf(pod)
	if err != nil {
		return err
	}
	noted.Gone = gone
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.pods[noted.UID]; ok && before.Version >= noted.Version {
		return nil // A list after events.
	}
	r.note(noted)
	return nil
}

// note is called with the lock.
func (r *Recorder) note(pod *Pod) {
	r.pods[pod.UID] = pod
	if pod.Gone {
		delete(r.pods, pod.UID)
	}
	r.changed[pod.Namespace] = r.now()
	r.log.Add(Entry{Pod: pod})
}

// losePods notes as gone what a list does not have any more.
func (r *Recorder) losePods(there map[types.UID]bool, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, pod := range r.pods {
		if !there[uid] {
			lost := *pod
			lost.Version, lost.Gone = version, true
			r.note(&lost)
		}
	}
}

func (r *Recorder) seeNode(object runtime.Object, gone bool) error {
	node, ok := object.(*corev1.Node)
	if !ok {
		return fmt.Errorf("recording nodes: got a %T", object)
	}
	noted, err := NodeOf(node)
	if err != nil {
		return err
	}
	noted.Gone = gone
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.nodes[noted.Name]
	if ok && *before == (Node{Version: before.Version, Name: noted.Name, Virtual: noted.Virtual, Gone: gone}) {
		return nil
	}
	r.nodes[noted.Name] = noted
	r.log.Add(Entry{Node: noted})
	return nil
}

// Pods returns the Pods of a namespace that are there, as they were last seen.
func (r *Recorder) Pods(namespace string) []*Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pods []*Pod
	for _, pod := range r.pods {
		if pod.Namespace == namespace {
			pods = append(pods, pod)
		}
	}
	return pods
}

// Still is for how long no Pod of a namespace has changed.
func (r *Recorder) Still(namespace string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now().Sub(r.changed[namespace])
}
