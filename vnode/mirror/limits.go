package mirror

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Limits bound the copies, so that one namespace does not fill the cloud namespace and the memory of this program, or
// the time of its workers.
type Limits struct {
	// ObjectsPerPod is how many objects and tokens one Pod may refer to.
	ObjectsPerPod int
	// ObjectsPerNamespace is how many ConfigMaps, Secrets and claims of one namespace are copied. Tokens do not count:
	// their number is that of the Pods.
	ObjectsPerNamespace int
	// BytesPerNamespace is the size of all copies of one namespace.
	BytesPerNamespace int64
}

func (l Limits) valid() bool {
	return l.ObjectsPerPod > 0 && l.ObjectsPerNamespace > 0 && l.BytesPerNamespace > 0
}

// Limited is the error of a Pod whose copies would exceed one of the Limits.
type Limited struct {
	Message string
	// Permanent: the Pod alone exceeds the limit. Otherwise the namespace does, which passes when other copies of it are
	// removed.
	Permanent bool
}

// Error implements error.
func (l *Limited) Error() string { return l.Message }

// used is what the copies of one namespace use.
type used struct {
	objects int
	bytes   int64
}

// references returns the objects to which the cloud Pod of a Pod refers. They are none if the Pod refers to more than
// it may: it gets no cloud Pod.
func (m *Mirrors) references(pod *corev1.Pod) ([]translate.Reference, error) {
	list := m.config.Translator.References(pod)
	objects, limit := len(list), m.config.Limits.ObjectsPerPod
	for _, ref := range list {
		objects += max(len(ref.Tokens)-1, 0)
	}
	if objects > limit {
		return nil, &Limited{Permanent: true, Message: fmt.Sprintf("the Pod refers to %d ConfigMaps, Secrets, claims and "+
			"tokens, and the cloud may have copies of %d for one Pod (pods.mirrorLimits.objectsPerPod)", objects, limit)}
	}
	return list, nil
}

// admit counts a new entry, if the namespace may have one more. The caller holds mu.
func (m *Mirrors) admit(mirror identity.Mirror) error {
	if mirror.Kind == identity.MirrorToken {
		return nil
	}
	if limit := m.config.Limits.ObjectsPerNamespace; m.used[mirror.Namespace].objects >= limit {
		return &Limited{Message: fmt.Sprintf("namespace %q has copies of %d ConfigMaps, Secrets and claims in the cloud, "+
			"which is the limit (pods.mirrorLimits.objectsPerNamespace)", mirror.Namespace, limit)}
	}
	return nil
}

// reserve counts the size that a copy is about to have, if the namespace may have it. A copy that shrinks always may.
func (m *Mirrors) reserve(e *entry, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	limit, namespace := m.config.Limits.BytesPerNamespace, e.mirror.Namespace
	if size > e.size && m.used[namespace].bytes-e.size+size > limit {
		return &Limited{Message: fmt.Sprintf("%s has %d KiB: with it the copies of namespace %q in the cloud would have "+
			"more than %d KiB, which is the limit (pods.mirrorLimits.bytesPerNamespace)",
			e.mirror, size>>10, namespace, limit>>10)}
	}
	m.setSize(e, size)
	return nil
}

// settle counts the size that the copy of a locked entry has.
func (m *Mirrors) settle(e *entry) {
	size := int64(0)
	if e.copy != nil {
		size = e.copy.size
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setSize(e, size)
}

// setSize replaces the counted size of an entry. The caller holds mu.
func (m *Mirrors) setSize(e *entry, size int64) {
	m.change(e.mirror, 0, size-e.size)
	e.size = size
}

// change changes what is counted for a namespace. The caller holds mu.
func (m *Mirrors) change(mirror identity.Mirror, objects int, bytes int64) {
	if mirror.Kind == identity.MirrorToken {
		objects = 0
	}
	now := m.used[mirror.Namespace]
	now.objects += objects
	now.bytes += bytes
	if now == (used{}) {
		delete(m.used, mirror.Namespace)
		return
	}
	m.used[mirror.Namespace] = now
}
