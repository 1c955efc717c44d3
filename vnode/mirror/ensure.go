package mirror

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Missing is the error of a Pod that refers to an object or a key that the cluster does not have. It passes when the
// object appears.
type Missing struct {
	// Message is that of the kubelet.
	Message string
}

// Error implements error.
func (m *Missing) Error() string { return m.Message }

// Unsupported is the error of a Pod that refers to an object that the cloud cannot have.
type Unsupported struct{ Message string }

// Error implements error.
func (u *Unsupported) Error() string { return u.Message }

// Ensure creates or updates the copies that the cloud Pod of a Pod will refer to: each is compared with its source
// after the call began. It may block for several requests for each copy, and may be called again. The error is a
// *Missing if the Pod must wait for an object of the cluster, an *Unsupported if the cloud can never have an object,
// a *Limited if the copies would exceed a limit, else the error of the cluster or of the cloud.
func (m *Mirrors) Ensure(ctx context.Context, pod *corev1.Pod) error {
	since := m.config.Now()
	references, err := m.references(pod)
	if err != nil {
		return err
	}
	for _, ref := range references {
		if err := m.ensure(ctx, pod, ref, since); err != nil {
			return err
		}
	}
	return nil
}

// ensure syncs one copy, unless it has been synced since then, perhaps for another Pod.
func (m *Mirrors) ensure(ctx context.Context, pod *corev1.Pod, ref translate.Reference, since time.Time) error {
	e, err := m.lock(ref.Mirror, m.admit)
	if err != nil {
		return err
	}
	defer e.mu.Unlock()
	e.unusedSince = time.Time{}
	if e.checked.IsZero() || e.checked.Before(since) {
		if err := m.sync(ctx, e, pod, ref); err != nil {
			return err
		}
	}
	return e.satisfies(ref)
}

// sync compares the copy with its source, and updates the copy.
func (m *Mirrors) sync(ctx context.Context, e *entry, pod *corev1.Pod, ref translate.Reference) error {
	switch e.mirror.Kind {
	case identity.MirrorToken:
		return m.syncToken(ctx, e, pod, ref)
	case identity.MirrorClaim:
		return m.syncClaim(ctx, e)
	}
	return m.syncSource(ctx, e)
}

// Keys returns the keys of a ConfigMap or Secret as they were when its copy was last compared with it, nil if it has
// none. The caller must not change them. It may wait for a request about this object.
func (m *Mirrors) Keys(mirror identity.Mirror) map[string]bool {
	e := m.lockKnown(mirror)
	if e == nil {
		return nil
	}
	defer e.mu.Unlock()
	if !e.found {
		return nil
	}
	return e.keys
}

// satisfies returns an error if the source lacks something that the reference needs. Optional references need nothing.
func (e *entry) satisfies(ref translate.Reference) error {
	switch {
	case ref.Optional:
		return nil
	case !e.found:
		return &Missing{fmt.Sprintf("%s %q not found", strings.ToLower(string(objectKind(ref.Mirror))), ref.Name)}
	}
	for _, key := range ref.Keys {
		if !e.keys[key] {
			return &Missing{fmt.Sprintf("couldn't find key %s in %s %s/%s", key, ref.Kind, ref.Namespace, ref.Name)}
		}
	}
	return nil
}
