package services

import (
	"context"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/storage"
)

// list is one list of a client.
type list struct {
	sender
	resources *resources
	query     query
	view      view
}

// ready waits for the version that the client asks for. It returns an error that must be answered.
func (l *list) ready(ctx context.Context) *apierrors.StatusError {
	return waitFor(ctx, l.resources, l.query.version)
}

// send sends all objects. The list is always whole: clients accept more than they ask for with limit, because API
// servers that answer from their cache do the same.
func (l *list) send() error {
	objects, version, _ := l.resources.snapshot()
	l.start()
	head := []byte(`{"kind":"` + l.kind.name + `List","apiVersion":"` + l.kind.apiVersion +
		`","metadata":{"resourceVersion":"` + strconv.FormatUint(version, 10) + `"},"items":[`)
	if err := l.write(l.text(nil, head)); err != nil {
		return err
	}
	first := true
	_, err := inChunks(objects, l.view, func(to []byte, o *object) []byte {
		if !first {
			to = append(to, ',')
		}
		first = false
		return append(to, o.json...)
	}, func(chunk []byte) error { return l.write(l.text(nil, chunk)) })
	if err != nil {
		return err
	}
	if err := l.write(l.text(nil, []byte("]}\n"))); err != nil {
		return err
	}
	return l.flush()
}

// waitFor waits until everything up to a version is known, for a moment.
func waitFor(ctx context.Context, r *resources, version uint64) *apierrors.StatusError {
	if version >= partial {
		return expired(version)
	}
	known, ok := r.wait(ctx, version)
	if ok {
		return nil
	}
	status, isStatus := storage.NewTooLargeResourceVersionError(version, known, 1).(*apierrors.StatusError)
	if !isStatus {
		return apierrors.NewTimeoutError("too large resource version", 1)
	}
	return status
}
