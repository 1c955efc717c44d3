package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// quotaName is the ResourceQuota that CCI 1.0 has in each namespace. Source: CCI API (CCI 1.0), "ResourceQuota".
const quotaName = "compute-resources"

// serveQuotas lists the quota of a namespace.
func (s *Server) serveQuotas(namespace string) (*reply, *apiError) {
	if slices.Contains(s.cfg.Faults.Policies().Unpublished, "resourcequotas") {
		return nil, unpublished()
	}
	return s.view(func(v store.View) (*reply, *apiError) {
		if v.NamespacePhase(namespace) == "" {
			return nil, notFound(objects.Namespaces, namespace)
		}
		quota := corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: quotaName, Namespace: namespace}}
		used := s.used(v, namespace)
		path := s.cfg.Generation.Path(objects.Pods, types.NamespacedName{Namespace: namespace})
		for _, hard := range s.cfg.Faults.Quotas(path) {
			quota.Spec.Hard, quota.Status.Hard, quota.Status.Used = hard, hard, corev1.ResourceList{}
			for name := range hard {
				quota.Status.Used[name] = used[name]
			}
		}
		return jsonReply(http.StatusOK, mustEncode(corev1.ResourceQuotaList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuotaList"}, Items: []corev1.ResourceQuota{quota},
		})), nil
	})
}

// checkQuota refuses a new Pod that a quota has no room for.
func (s *Server) checkQuota(v store.View, pod *objects.Pod) *apiError {
	hards := s.cfg.Faults.Quotas(s.cfg.Generation.Path(objects.Pods, objects.KeyOf(pod)))
	if len(hards) == 0 {
		return nil
	}
	used, requested := s.used(v, pod.Namespace), s.usedBy(pod)
	for _, hard := range hards {
		for _, name := range slices.Sorted(maps.Keys(hard)) {
			limit, sum, add := hard[name], used[name].DeepCopy(), requested[name]
			sum.Add(add)
			if sum.Cmp(limit) > 0 {
				before := used[name]
				return s.quotaExceeded(pod, name, add, before, limit)
			}
		}
	}
	return nil
}

func (s *Server) quotaExceeded(
	pod *objects.Pod, name corev1.ResourceName, requested, used, limit apiresource.Quantity,
) *apiError {
	if s.cfg.Faults.Policies().QuotaErrors == faults.PlainQuota {
		err := badRequest("", "the %s quota of the account is used up: %s of %s", name, used.String(), limit.String())
		body := err.body.(codedStatus)
		body.Reason = ""
		err.body = body
		return err
	}
	text := func(q apiresource.Quantity) string { return fmt.Sprintf("%s=%s", name, q.String()) }
	return forbidden(objects.Pods, pod.Name, "exceeded quota: %s, requested: %s, used: %s, limited: %s",
		quotaName, text(requested), text(used), text(limit))
}

// used returns what the Pods use that have not ended: of the account, in CCI 1.0 of the namespace.
func (s *Server) used(v store.View, namespace string) corev1.ResourceList {
	total := corev1.ResourceList{}
	for object := range v.All(objects.Pods) {
		pod := object.(*objects.Pod)
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if ended || s.cfg.Generation == objects.CCI1 && pod.Namespace != namespace {
			continue
		}
		for name, add := range s.usedBy(pod) {
			sum := total[name]
			sum.Add(add)
			total[name] = sum
		}
	}
	return total
}

func (s *Server) usedBy(pod *objects.Pod) corev1.ResourceList {
	size := podNeed(pod)
	if s.cfg.Generation == objects.CCI2 {
		if billed, err := billedSize(pod); err == nil {
			size = billed
		}
	}
	return corev1.ResourceList{
		corev1.ResourcePods:   *apiresource.NewQuantity(1, apiresource.DecimalSI),
		corev1.ResourceCPU:    *apiresource.NewMilliQuantity(size.milliCPU, apiresource.DecimalSI),
		corev1.ResourceMemory: *apiresource.NewQuantity(size.memory, apiresource.BinarySI),
	}
}
