package mirror

import (
	"context"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// pageSize is the number of objects in one page of a list. A page of the largest objects is as large as the largest
// response that the client reads.
const pageSize = 40

// Operations: values of the label operation.
const (
	created = "create"
	updated = "update"
	deleted = "delete"
)

// maxAttempts is how often a write is attempted when the copy in the cloud is not the expected one.
const maxAttempts = 3

// write creates, updates or replaces the copy of a locked entry.
func (m *Mirrors) write(ctx context.Context, e *entry, want *cci.Data) error {
	for range maxAttempts {
		done, err := m.tryWrite(ctx, e, want)
		if done || (err != nil && !cci.IsTaken(err) && !cci.IsNotFound(err)) {
			return err
		}
		if err == nil {
			continue
		}
		if err := m.fetch(ctx, e); err != nil {
			return err
		}
	}
	return fmt.Errorf("writing the copy of %s: another client changes it at the same time", e.mirror)
}

// tryWrite makes one step towards the wanted copy. done reports that the copy is as wanted.
func (m *Mirrors) tryWrite(ctx context.Context, e *entry, want *cci.Data) (done bool, err error) {
	switch {
	case e.copy == nil:
		err = m.create(ctx, e, want)
	case e.copy.digest == digest(want):
	case want.Kind == cci.Secret && e.copy.kind != want.Type: // A type cannot be changed.
		return false, m.remove(ctx, e)
	default:
		err = m.update(ctx, e, want)
	}
	return err == nil, err
}

func (m *Mirrors) create(ctx context.Context, e *entry, want *cci.Data) error {
	if err := m.reserve(e, sizeOf(want)); err != nil {
		return err
	}
	response, err := m.config.API.CreateData(ctx, m.config.Namespace, want)
	if err != nil {
		m.settle(e)
		return err
	}
	m.wrote(e, response, want, created)
	return nil
}

// update changes the copy and keeps the metadata that the service has added to it.
func (m *Mirrors) update(ctx context.Context, e *entry, want *cci.Data) error {
	if err := m.reserve(e, sizeOf(want)); err != nil {
		return err
	}
	next := *want
	next.ObjectMeta = *e.copy.meta.DeepCopy()
	next.Labels, next.Annotations = merged(next.Labels, want.Labels), merged(next.Annotations, want.Annotations)
	response, err := m.config.API.UpdateData(ctx, m.config.Namespace, &next)
	if err != nil {
		m.settle(e)
		return err
	}
	m.wrote(e, response, want, updated)
	return nil
}

func merged(base, over map[string]string) map[string]string {
	all := maps.Clone(base)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, over)
	return all
}

// wrote records the response to a write. The data are those of the request: a response need not repeat them.
func (m *Mirrors) wrote(e *entry, response, want *cci.Data, operation string) {
	sent := *want
	sent.ObjectMeta = response.ObjectMeta
	m.setCopy(e, &sent)
	e.written = m.config.Now()
	m.config.Logger.Debug("wrote a copy", "operation", operation, "mirror", e.mirror.String(), "cloud", sent.Name)
	m.observe(e.mirror, operation)
}

func (m *Mirrors) observe(mirror identity.Mirror, operation string) {
	m.writes.WithLabelValues(string(mirror.Kind), operation).Inc()
}

// fetch reads the object that has the name of the copy from the cloud.
func (m *Mirrors) fetch(ctx context.Context, e *entry) error {
	name := m.config.Owner.MirrorName(e.mirror)
	data, err := m.config.API.GetData(ctx, m.config.Namespace, dataKind(e.mirror), name)
	if cci.IsNotFound(err) {
		m.setCopy(e, nil)
		return nil
	}
	if err != nil {
		return err
	}
	if found, ok := m.config.Owner.OwnsMirror(&data.ObjectMeta); !ok || found != e.mirror {
		return fmt.Errorf("cloud %s %s is not a copy of %s: its annotations name another object", data.Kind, name, e.mirror)
	}
	m.setCopy(e, data)
	return nil
}

// remove deletes the copy of a locked entry from the cloud. If another object has the name by now, remove reads that
// object instead.
func (m *Mirrors) remove(ctx context.Context, e *entry) error {
	if e.mirror.Kind == identity.MirrorClaim {
		return m.removeClaim(ctx, e)
	}
	if e.copy == nil {
		return nil
	}
	options := cci.DeleteOptions{UID: e.copy.meta.UID}
	err := m.config.API.DeleteData(ctx, m.config.Namespace, dataKind(e.mirror), e.copy.meta.Name, options)
	if err != nil && !cci.IsNotFound(err) {
		if cci.IsConflict(err) {
			return m.fetch(ctx, e)
		}
		return err
	}
	m.setCopy(e, nil)
	e.written = m.config.Now()
	m.observe(e.mirror, deleted)
	return nil
}

// follow lists the copies in the cloud periodically until ctx ends.
func (m *Mirrors) follow(ctx context.Context) {
	backoff := m.newBackoff()
	for ctx.Err() == nil {
		pause := jittered(m.config.Relist)
		if err := m.list(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			pause = max(backoff.Step(), cci.RetryAfter(err))
			m.config.Logger.Warn("the copies in the cloud cannot be listed; the list will be retried", "err", err)
		} else {
			backoff = m.newBackoff()
			m.markSynced()
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (m *Mirrors) newBackoff() *wait.Backoff {
	return &wait.Backoff{
		Duration: m.config.MinRetryInterval, Factor: 2, Jitter: 0.5, Steps: 20, Cap: m.config.MaxRetryInterval,
	}
}

func (m *Mirrors) markSynced() {
	select {
	case <-m.synced:
	default:
		close(m.synced)
	}
}

// list replaces what is known of all copies that this program has not written during the list. An incomplete list
// makes no copy count as gone.
func (m *Mirrors) list(ctx context.Context) error {
	began := m.config.Now()
	listed := map[identity.Mirror]bool{}
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		if err := m.listKind(ctx, kind, began, listed); err != nil {
			return err
		}
	}
	claimsListed, err := m.listClaims(ctx, began, listed)
	if err != nil {
		return err
	}
	for _, mirror := range m.known() {
		if mirror.Kind == identity.MirrorClaim && !claimsListed {
			continue
		}
		if !listed[mirror] {
			m.adopt(mirror, nil, began)
		}
	}
	return nil
}

// adopt records a copy from a list, unless the copy was written after the list began.
func (m *Mirrors) adopt(mirror identity.Mirror, data *cci.Data, began time.Time) {
	e := m.lockListed(mirror)
	defer e.mu.Unlock()
	if !e.written.Before(began) {
		return
	}
	if data == nil && e.copy != nil {
		m.config.Logger.Warn("a copy disappeared from the cloud without a request to delete it",
			"mirror", mirror.String(), "cloud", e.copy.meta.Name)
		m.loop.Add(mirror)
	}
	e.leftover = false
	m.setCopy(e, data)
}

// listKind adopts the copies of a kind and adds them to listed. It keeps no page: together the copies can be large.
func (m *Mirrors) listKind(
	ctx context.Context, kind cci.DataKind, began time.Time, listed map[identity.Mirror]bool,
) error {
	options := cci.ListOptions{LabelSelector: m.config.Owner.Selector(), Limit: pageSize}
	return cci.EachPage(options, func(options cci.ListOptions) (string, int, error) {
		page, err := m.config.API.ListData(ctx, m.config.Namespace, kind, options)
		if err != nil {
			return "", 0, err
		}
		for i := range page.Items {
			data := &page.Items[i]
			if mirror, ok := m.config.Owner.OwnsMirror(&data.ObjectMeta); ok && dataKind(mirror) == data.Kind {
				listed[mirror] = true
				m.adopt(mirror, data, began)
			}
		}
		return page.Continue, page.Objects, nil
	})
}
