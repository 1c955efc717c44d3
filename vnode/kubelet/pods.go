package kubelet

import (
	"cmp"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/serve"
)

// maxLists is how many lists of Pods may be written at once, to all callers together.
const maxLists = 4

// podLists serves /pods and /runningpods/.
type podLists struct {
	pods   Pods
	open   *serve.Shares
	logger *slog.Logger
}

func newPodLists(pods Pods, logger *slog.Logger) *podLists {
	return &podLists{pods, serve.NewShares(maxLists, maxLists), logger}
}

// all serves the Pods of the node, as the cache has them (translate.Trim).
func (l *podLists) all(w http.ResponseWriter, _ *http.Request) { l.write(w, l.pods.List()) }

// running serves what runs: the names of Pods and of their containers, and the images. Source: Kubernetes v1.36,
// pkg/kubelet/container/runtime.go, Pod.ToAPIPod.
func (l *podLists) running(w http.ResponseWriter, _ *http.Request) {
	var found []*corev1.Pod
	for _, pod := range l.pods.List() {
		running := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID}}
		for _, status := range allStatuses(pod) {
			if status.State.Running != nil {
				running.Spec.Containers = append(running.Spec.Containers,
					corev1.Container{Name: status.Name, Image: status.Image})
			}
		}
		if len(running.Spec.Containers) > 0 {
			found = append(found, running)
		}
	}
	l.write(w, found)
}

func allStatuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

// write writes a PodList one Pod at a time: all together can have hundreds of megabytes.
func (l *podLists) write(w http.ResponseWriter, pods []*corev1.Pod) {
	if !l.open.Take("") {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many lists of Pods are being written", http.StatusTooManyRequests)
		return
	}
	defer l.open.Give("")
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	w.Header().Set("Content-Type", "application/json")
	separator := `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[`
	for _, pod := range pods {
		encoded, err := json.Marshal(pod)
		if err == nil {
			_, err = io.WriteString(w, separator)
		}
		if err == nil {
			_, err = w.Write(encoded)
		}
		if err != nil { // The caller has disconnected. Otherwise it sees that the list is not complete.
			l.logger.Info("a list of pods was not written to its end", "err", err)
			return
		}
		separator = ","
	}
	if len(pods) > 0 {
		separator = ""
	}
	_, _ = io.WriteString(w, separator+"]}\n") // An error means that the caller has disconnected.
}
