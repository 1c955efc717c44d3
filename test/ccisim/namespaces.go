package ccisim

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	annotationProjectID = "tenant.kubernetes.io/project-id"
	annotationDomainID  = "tenant.kubernetes.io/domain-id"

	// pullSecret is the Secret that the service keeps in every namespace, with a rolling token for its registry.
	pullSecret = "imagepull-secret"
)

// namespaceStrategy: Active from the start, labels for good, Terminating until all that is in it has gone.
type namespaceStrategy struct {
	plain
	fields fields
}

func (namespaceStrategy) empty() object          { return &Namespace{} }
func (n namespaceStrategy) createFields() fields { return n.fields }
func (n namespaceStrategy) updateFields() fields { return n.fields }

func (namespaceStrategy) prepare(_ *Sim, caller *Credential, obj object) *apiError {
	ns := obj.(*Namespace)
	setAnnotation(&ns.ObjectMeta, annotationProjectID, caller.ProjectID)
	setAnnotation(&ns.ObjectMeta, annotationDomainID, caller.DomainID)
	ns.Status.Phase = corev1.NamespaceActive
	return nil
}

func (namespaceStrategy) created(s *Sim, _ *Credential, obj object) {
	secret := &Secret{}
	secret.setType(s.apiVersion(secrets), secrets.kind)
	secret.Name, secret.Namespace = pullSecret, obj.GetName()
	s.stamp(secret)
	secret.Type = corev1.SecretTypeDockerConfigJson
	secret.Data = map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)}
	s.put(secrets, secret)
}

func (namespaceStrategy) finalize(s *Sim, obj object, _ *metav1.DeleteOptions) object {
	next := obj.copyObject().(*Namespace)
	if next.DeletionTimestamp == nil {
		now := metav1.NewTime(s.now())
		next.DeletionTimestamp = &now
		next.Status.Phase = corev1.NamespaceTerminating
	}
	return next
}

// advance empties a terminating namespace: Pods first, then what they use, then itself.
func (namespaceStrategy) advance(s *Sim, obj object) step {
	ns := obj.(*Namespace)
	if ns.DeletionTimestamp == nil {
		return step{}
	}
	if s.endAll(pods, ns.Name) > 0 {
		return step{}
	}
	for _, res := range []*resource{configMaps, secrets, podEvents} {
		s.endAll(res, ns.Name)
	}
	if s.endAll(claims, ns.Name)+s.endAll(networks, ns.Name) > 0 {
		return step{}
	}
	return step{gone: true}
}

// endAll starts the end of every object of a kind in a namespace, and returns how many are still there. Holds mu.
func (s *Sim) endAll(res *resource, namespace string) int {
	left := 0
	for _, e := range s.store.tables[res].sorted(namespace) {
		if e.obj.GetDeletionTimestamp() != nil {
			left++
			continue
		}
		next := s.strategies[res].finalize(s, e.obj, &metav1.DeleteOptions{})
		if next == nil {
			s.remove(res, e.obj.copyObject())
			continue
		}
		s.put(res, next)
		s.poke(res, keyOf(next))
		left++
	}
	return left
}

// stamp gives an object of the simulator's own making its identity.
func (s *Sim) stamp(obj object) {
	meta := obj.meta()
	meta.UID = newUID()
	meta.CreationTimestamp = metav1.NewTime(s.now())
}

func setAnnotation(meta *metav1.ObjectMeta, name, value string) {
	if meta.Annotations == nil {
		meta.Annotations = map[string]string{}
	}
	meta.Annotations[name] = value
}

func setLabel(meta *metav1.ObjectMeta, name, value string) {
	if meta.Labels == nil {
		meta.Labels = map[string]string{}
	}
	meta.Labels[name] = value
}
