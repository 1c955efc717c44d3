package mirror

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// syncSource reads the source and updates the copy from it. If the source is gone, the copy stays for the Pods that
// run with it.
func (m *Mirrors) syncSource(ctx context.Context, e *entry) error {
	began := m.config.Now()
	source, err := m.read(ctx, e.mirror)
	if err != nil {
		return err
	}
	if source != nil {
		if err := m.write(ctx, e, source); err != nil {
			return err
		}
		e.keys = keysOf(source)
	}
	e.found, e.checked = source != nil, began
	return nil
}

// read returns the copy that the source should have, nil if there is no source.
func (m *Mirrors) read(ctx context.Context, mirror identity.Mirror) (*cci.Data, error) {
	var copy *cci.Data
	var err error
	if mirror.Kind == identity.MirrorConfigMap {
		copy, err = m.readConfigMap(ctx, mirror)
	} else {
		copy, err = m.readSecret(ctx, mirror)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", mirror, err)
	}
	return copy, nil
}

func (m *Mirrors) readConfigMap(ctx context.Context, mirror identity.Mirror) (*cci.Data, error) {
	source, err := m.config.Sources.ConfigMaps(mirror.Namespace).Get(ctx, mirror.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	// Never immutable: a source that is deleted and created again may have other data.
	return &cci.Data{
		Kind: cci.ConfigMap, ObjectMeta: m.config.Owner.MirrorMeta(mirror, source.UID),
		Text: source.Data, Binary: source.BinaryData,
	}, nil
}

func (m *Mirrors) readSecret(ctx context.Context, mirror identity.Mirror) (*cci.Data, error) {
	source, err := m.config.Sources.Secrets(mirror.Namespace).Get(ctx, mirror.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return &cci.Data{
		Kind: cci.Secret, ObjectMeta: m.config.Owner.MirrorMeta(mirror, source.UID),
		Binary: source.Data, Type: secretType(source.Type),
	}, nil
}

// secretType returns the type of the copy. It keeps the types that images are pulled with. The other types only make
// an API server check the data, which the cluster has done; and one of them requires a service account of that name.
func secretType(kind corev1.SecretType) corev1.SecretType {
	switch kind {
	case corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg:
		return kind
	}
	return corev1.SecretTypeOpaque
}

// objectKind returns the kind by which cloud Pods refer to a copy.
func objectKind(mirror identity.Mirror) cci.ObjectKind {
	switch mirror.Kind {
	case identity.MirrorConfigMap:
		return cci.ConfigMapObject
	case identity.MirrorClaim:
		return cci.ClaimObject
	}
	return cci.SecretObject
}

// dataKind returns the kind that a copy has in the cloud.
func dataKind(mirror identity.Mirror) cci.DataKind {
	if mirror.Kind == identity.MirrorConfigMap {
		return cci.ConfigMap
	}
	return cci.Secret
}
