package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// AddImageSnapshotPod adds a Pod to a namespace as the image snapshot maker of the service does: no client has
// requested it, and none may change it. It returns the name of the Pod.
func (s *Server) AddImageSnapshotPod(namespace string) (name string, err error) {
	s.store.Update(func(tx store.Tx) {
		if tx.NamespacePhase(namespace) != corev1.NamespaceActive {
			err = fmt.Errorf("adding an image snapshot pod: namespace %s is not active", namespace)
			return
		}
		pod := &objects.Pod{}
		pod.SetType(s.apiVersion(objects.Pods), objects.Pods.Kind)
		objects.Stamp(pod, s.cfg.Clock.Now())
		pod.Name, pod.Namespace = "cci-imagesnapshot-"+string(pod.UID), namespace
		pod.Finalizers = []string{objects.PodFinalizer}
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		pod.Spec.Containers = []corev1.Container{{Name: "snapshot", Image: "cci/image-snapshot:v1"}}
		setPodDefaults(pod)
		pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(pod)}
		if _, err = tx.Put(objects.Pods, pod); err != nil {
			return
		}
		s.life.Stored(tx, objects.Pods, pod)
		name = pod.Name
	})
	return name, err
}
