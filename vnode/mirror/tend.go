package mirror

import (
	"context"
	"errors"
	"time"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// work takes one copy from the queue; false when the queue has ended.
func (m *Mirrors) work(ctx context.Context) bool {
	mirror, shutdown := m.queue.Get()
	if shutdown {
		return false
	}
	defer m.queue.Done(mirror)
	again, err := m.tend(ctx, mirror)
	switch {
	case ctx.Err() != nil: // Whoever starts next sees the rest.
	case err != nil:
		delay := max(m.failures.When(mirror), cci.RetryAfter(err))
		m.config.Logger.Warn("a copy will be tried again", "mirror", mirror.String(), "tries", m.failures.NumRequeues(mirror), "err", err)
		m.queue.AddAfter(mirror, delay)
	default:
		m.failures.Forget(mirror)
		if again > 0 {
			m.queue.AddAfter(mirror, again)
		}
	}
	return true
}

// tend brings one copy up to date, or removes it when it is of no use for long enough. again is when to look next, 0 for never.
//
// Between the look whether it is needed and its removal nobody can begin to need it: a Pod is among the Pods of the node before it asks
// for its copies, and then waits for the lock.
func (m *Mirrors) tend(ctx context.Context, mirror identity.Mirror) (again time.Duration, err error) {
	e := m.lockKnown(mirror)
	if e == nil {
		return 0, nil
	}
	defer e.mu.Unlock()
	now := m.config.Now()
	switch {
	case m.isNeeded(mirror):
		e.idle = time.Time{}
		return m.refresh(ctx, e)
	case e.copy == nil && !e.leftover:
		m.drop(e)
		return 0, nil
	case e.idle.IsZero():
		e.idle = now
		return m.config.RemoveAfter, nil
	case now.Sub(e.idle) < m.config.RemoveAfter:
		return m.config.RemoveAfter - now.Sub(e.idle), nil
	}
	if err := m.remove(ctx, e); err != nil {
		return 0, err
	}
	if e.copy != nil || e.leftover { // It was another one; we look again.
		return m.config.RemoveAfter, nil
	}
	m.drop(e)
	return 0, nil
}

// refresh brings a copy up to its source.
func (m *Mirrors) refresh(ctx context.Context, e *entry) (time.Duration, error) {
	switch e.mirror.Kind {
	case identity.MirrorConfigMap, identity.MirrorSecret:
		return jittered(m.config.Refresh), m.lookSource(ctx, e)
	case identity.MirrorClaim:
		return jittered(m.config.Refresh), m.refreshClaim(ctx, e)
	}
	pod := m.pod(e.mirror)
	if pod == nil {
		return m.config.Refresh, nil // It ends.
	}
	for _, ref := range m.config.Translator.References(pod) {
		if ref.Mirror != e.mirror {
			continue
		}
		err := m.lookToken(ctx, e, pod, ref.Tokens)
		if _, missing := errors.AsType[*Missing](err); missing {
			return m.config.Refresh, nil // The account is gone; the Pod goes on with the token that it has.
		}
		if err != nil {
			return 0, err
		}
	}
	return max(min(m.config.Refresh, e.renew.Sub(m.config.Now())), time.Second), nil
}
