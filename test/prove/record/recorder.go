package record

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Recorder records every change of Pods and Nodes. It watches the API server directly, so faults do not affect it.
type Recorder struct {
	log    *Log
	client kubernetes.Interface

	mu    sync.Mutex
	pods  map[types.UID]*Pod
	nodes map[string]*Node
	// changed is when a Pod of a namespace last changed.
	changed map[string]time.Time
	now     func() time.Time
}

// NewRecorder returns a Recorder that adds to the log.
func NewRecorder(config *rest.Config, log *Log, now func() time.Time) (*Recorder, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating the client of the recorder: %w", err)
	}
	return &Recorder{
		log: log, client: client, now: now,
		pods: map[types.UID]*Pod{}, nodes: map[string]*Node{}, changed: map[string]time.Time{},
	}, nil
}

// RunPods records Pods until ctx ends. It fails if a Pod cannot be read. It blocks.
func (r *Recorder) RunPods(ctx context.Context) error {
	pods := r.client.CoreV1().Pods(metav1.NamespaceAll)
	return follow(ctx, source{
		list:    func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) },
		watch:   pods.Watch,
		observe: r.observePod,
		missing: r.losePods,
	})
}

// RunNodes records Nodes until ctx ends. It fails if a Node cannot be read. It blocks.
func (r *Recorder) RunNodes(ctx context.Context) error {
	nodes := r.client.CoreV1().Nodes()
	return follow(ctx, source{
		list:    func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) },
		watch:   nodes.Watch,
		observe: r.observeNode,
		missing: func(map[types.UID]bool, uint64) {}, // A deleted node stays local or virtual.
	})
}

func (r *Recorder) observePod(object runtime.Object, as sighting) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("recording pods: got a %T", object)
	}
	noted, err := PodOf(pod)
	if err != nil {
		return err
	}
	noted.Gone, noted.Listed = as == removed, as == listed
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.pods[noted.UID]; ok && before.Version >= noted.Version {
		return nil // A list that is older than the watch.
	}
	r.note(noted)
	return nil
}

// note records a Pod. The caller holds the lock.
func (r *Recorder) note(pod *Pod) {
	r.pods[pod.UID] = pod
	if pod.Gone {
		delete(r.pods, pod.UID)
	}
	r.changed[pod.Namespace] = r.now()
	r.log.Add(Entry{Pod: pod})
}

// losePods records that Pods that are missing in a list have been removed.
func (r *Recorder) losePods(there map[types.UID]bool, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, pod := range r.pods {
		if !there[uid] {
			lost := *pod
			lost.Version, lost.Gone, lost.Listed = version, true, true
			r.note(&lost)
		}
	}
}

func (r *Recorder) observeNode(object runtime.Object, as sighting) error {
	node, ok := object.(*corev1.Node)
	if !ok {
		return fmt.Errorf("recording nodes: got a %T", object)
	}
	noted, err := NodeOf(node)
	if err != nil {
		return err
	}
	noted.Gone = as == removed
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, ok := r.nodes[noted.Name]; ok {
		same := *noted
		same.Version = before.Version
		if same == *before {
			return nil // A heartbeat.
		}
	}
	r.nodes[noted.Name] = noted
	r.log.Add(Entry{Node: noted})
	return nil
}

// Pods returns the existing Pods of a namespace, as they were last observed.
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

// Still returns how long no Pod of a namespace has changed.
func (r *Recorder) Still(namespace string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now().Sub(r.changed[namespace])
}
