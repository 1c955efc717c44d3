package mirror

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// reconcile brings one copy up to date, or removes it if it has been unused for long enough. requeueAfter is when to
// reconcile again, 0 for never.
//
// No Pod can begin to need the copy between the check whether it is needed and its removal: a Pod is among the Pods
// of the node before Ensure is called for it, and Ensure then waits for the lock.
func (m *Mirrors) reconcile(ctx context.Context, mirror identity.Mirror) (requeueAfter time.Duration, err error) {
	e := m.lockKnown(mirror)
	if e == nil {
		return 0, nil
	}
	defer e.mu.Unlock()
	now := m.config.Now()
	switch {
	case m.isNeeded(mirror):
		e.unusedSince = time.Time{}
		return m.refresh(ctx, e)
	case e.copy == nil && !e.leftover:
		m.drop(e)
		return 0, nil
	case e.unusedSince.IsZero():
		e.unusedSince = now
		return m.config.RemoveAfter, nil
	case now.Sub(e.unusedSince) < m.config.RemoveAfter:
		return m.config.RemoveAfter - now.Sub(e.unusedSince), nil
	}
	if err := m.remove(ctx, e); err != nil {
		return 0, err
	}
	if e.copy != nil || e.leftover { // The cloud had another object of that name.
		return m.config.RemoveAfter, nil
	}
	m.drop(e)
	return 0, nil
}

// failed logs a failed attempt.
func (m *Mirrors) failed(mirror identity.Mirror, failures int, delay time.Duration, err error) {
	m.config.Logger.Warn("a copy will be retried",
		"mirror", mirror.String(), "failures", failures, "retryAfter", delay, "err", err)
}

// refresh updates a copy from its source.
func (m *Mirrors) refresh(ctx context.Context, e *entry) (time.Duration, error) {
	switch e.mirror.Kind {
	case identity.MirrorConfigMap, identity.MirrorSecret:
		return jittered(m.config.Refresh), m.syncSource(ctx, e)
	case identity.MirrorClaim:
		return jittered(m.config.Refresh), m.refreshClaim(ctx, e)
	}
	pod := m.pod(e.mirror)
	if pod == nil {
		return m.config.Refresh, nil // The Pod is ending.
	}
	references, err := m.references(pod)
	if err != nil {
		return m.config.Refresh, nil // The limit was lowered; the Pod keeps the tokens that it has.
	}
	i := slices.IndexFunc(references, func(ref translate.Reference) bool {
		return ref.Mirror == identity.TokenMirror(pod) // The copy may have a short name.
	})
	if i < 0 {
		return m.config.Refresh, nil // The annotation of the Pod was changed; its sidecar keeps what it has.
	}
	if m.isCutOff(e, pod) {
		e.renew = time.Time{} // Not in Ensure, which all Pods call at once after a start.
	}
	err = m.syncToken(ctx, e, pod, references[i])
	if _, missing := errors.AsType[*Missing](err); missing {
		return m.config.Refresh, nil // The service account is gone; the Pod keeps the token that it has.
	}
	if err != nil {
		return 0, err
	}
	return max(min(m.config.Refresh, e.renew.Sub(m.config.Now())), time.Second), nil
}
