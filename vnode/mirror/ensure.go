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

// Missing is the error of a Pod that refers to something that the cluster does not have, in the kubelet's words. It passes when the object
// appears.
type Missing struct{ Words string }

// Error implements error.
func (m *Missing) Error() string { return m.Words }

// Unfit is the error of a Pod that refers to something which the cloud cannot have.
type Unfit struct{ Words string }

// Error implements error.
func (u *Unfit) Error() string { return u.Words }

// Ensure makes the copies that the cloud Pod of a Pod will refer to, as new as the Pod. It may block for some requests for each copy, and
// may be called again. A *Missing where the Pod must wait for an object of the cluster, an *Unfit where it can never have one; else the error of the cluster or of the cloud that
// kept it from being done.
func (m *Mirrors) Ensure(ctx context.Context, pod *corev1.Pod) error {
	asked := m.config.Now()
	for _, ref := range m.config.Translator.References(pod) {
		if err := m.ensure(ctx, pod, ref, asked); err != nil {
			return err
		}
	}
	return nil
}

// ensure takes a look at the source that began after the Pod had come, perhaps for another Pod, or looks itself.
func (m *Mirrors) ensure(ctx context.Context, pod *corev1.Pod, ref translate.Reference, asked time.Time) error {
	e := m.lock(ref.Mirror)
	defer e.mu.Unlock()
	e.idle = time.Time{}
	if e.checked.IsZero() || e.checked.Before(asked) {
		if err := m.look(ctx, e, pod, ref); err != nil {
			return err
		}
	}
	return e.satisfies(ref)
}

// look compares the copy with its source, and changes it after it.
func (m *Mirrors) look(ctx context.Context, e *entry, pod *corev1.Pod, ref translate.Reference) error {
	switch e.mirror.Kind {
	case identity.MirrorToken:
		return m.lookToken(ctx, e, pod, ref.Tokens)
	case identity.MirrorClaim:
		return m.lookClaim(ctx, e)
	}
	return m.lookSource(ctx, e)
}

// satisfies tells what of a reference the source has not. Optional references are satisfied by nothing at all.
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
