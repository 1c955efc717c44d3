package cci

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// PersistentVolume is a file system that the service can mount. It belongs to the tenant and has no namespace.
type PersistentVolume struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PersistentVolumeSpec          `json:"spec"`
	Status            corev1.PersistentVolumeStatus `json:"status,omitzero"`
}

// PersistentVolumeSpec contains the fields that the vendor's own tools send. Source: CCI API, "PersistentVolume".
type PersistentVolumeSpec struct {
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	Capacity    corev1.ResourceList                 `json:"capacity,omitempty"`
	CSI         *CSIVolume                          `json:"csi,omitempty"`
	// ClaimRef reserves the volume for one claim.
	ClaimRef         *corev1.ObjectReference              `json:"claimRef,omitempty"`
	MountOptions     []string                             `json:"mountOptions,omitempty"`
	ReclaimPolicy    corev1.PersistentVolumeReclaimPolicy `json:"persistentVolumeReclaimPolicy,omitempty"`
	StorageClassName string                               `json:"storageClassName,omitempty"`
}

// CSIVolume identifies the file system.
type CSIVolume struct {
	Driver           string            `json:"driver"`
	VolumeHandle     string            `json:"volumeHandle"`
	FSType           string            `json:"fsType,omitempty"`
	ReadOnly         bool              `json:"readOnly,omitempty"`
	VolumeAttributes map[string]string `json:"volumeAttributes,omitempty"`
}

// PersistentVolumeClaim is the claim that Pods refer to.
type PersistentVolumeClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PersistentVolumeClaimSpec          `json:"spec"`
	Status            corev1.PersistentVolumeClaimStatus `json:"status,omitzero"`
}

// PersistentVolumeClaimSpec names the volume.
type PersistentVolumeClaimSpec struct {
	AccessModes      []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	Resources        Resources                           `json:"resources,omitzero"`
	StorageClassName string                              `json:"storageClassName"`
	VolumeName       string                              `json:"volumeName,omitempty"`
}

// volumesPath is the path of all volumes. Volumes and claims exist in CCI 2.0 only: CCI 1.0 imports volumes through a
// different API.
const volumesPath = "/apis/cci/v2/persistentvolumes"

func claimsPath(namespace string) string {
	return (paths{policy.CCI2}).namespaces(namespace, "persistentvolumeclaims")
}

// onVolumes returns a call about all volumes, or about the one of a name.
func onVolumes(operation, method string, name ...string) call {
	on := call{operation: operation, method: method, path: join(volumesPath, name), feature: Volumes}
	if len(name) > 0 {
		on.list = volumesPath
	}
	return on
}

// onClaims returns a call about all claims of a namespace, or about the one of a name.
func onClaims(operation, method, namespace string, name ...string) call {
	on := call{
		operation: operation, method: method, path: join(claimsPath(namespace), name), namespace: namespace, feature: Volumes,
	}
	if len(name) > 0 {
		on.list = claimsPath(namespace)
	}
	return on
}

// CreateVolume implements API.
func (c *Client) CreateVolume(ctx context.Context, volume *PersistentVolume) (*PersistentVolume, error) {
	sent := *volume
	sent.APIVersion, sent.Kind = (paths{policy.CCI2}).apiVersion(), "PersistentVolume"
	var created PersistentVolume
	if err := c.create(ctx, onVolumes("CreateVolume", http.MethodPost), &sent, &created); err != nil {
		return nil, fmt.Errorf("creating cloud volume %s: %w", volume.Name, err)
	}
	return &created, nil
}

// GetVolume implements API.
func (c *Client) GetVolume(ctx context.Context, name string) (*PersistentVolume, error) {
	var found PersistentVolume
	if err := c.doWithRetry(ctx, onVolumes("GetVolume", http.MethodGet, name), &found); err != nil {
		return nil, fmt.Errorf("getting cloud volume %s: %w", name, err)
	}
	return &found, nil
}

// DeleteVolume implements API.
func (c *Client) DeleteVolume(ctx context.Context, name string, options DeleteOptions) error {
	if err := c.delete(ctx, onVolumes("DeleteVolume", http.MethodDelete, name), options); err != nil {
		return fmt.Errorf("deleting cloud volume %s: %w", name, err)
	}
	return nil
}

// CreateClaim implements API.
func (c *Client) CreateClaim(
	ctx context.Context, namespace string, claim *PersistentVolumeClaim,
) (*PersistentVolumeClaim, error) {
	sent := *claim
	sent.APIVersion, sent.Kind = (paths{policy.CCI2}).apiVersion(), "PersistentVolumeClaim"
	var created PersistentVolumeClaim
	if err := c.create(ctx, onClaims("CreateClaim", http.MethodPost, namespace), &sent, &created); err != nil {
		return nil, fmt.Errorf("creating cloud claim %s: %w", claim.Name, err)
	}
	return &created, nil
}

// GetClaim implements API.
func (c *Client) GetClaim(ctx context.Context, namespace, name string) (*PersistentVolumeClaim, error) {
	var found PersistentVolumeClaim
	if err := c.doWithRetry(ctx, onClaims("GetClaim", http.MethodGet, namespace, name), &found); err != nil {
		return nil, fmt.Errorf("getting cloud claim %s: %w", name, err)
	}
	return &found, nil
}

// ListClaims implements API.
func (c *Client) ListClaims(
	ctx context.Context, namespace string, options ListOptions,
) ([]PersistentVolumeClaim, error) {
	all, err := listPages[PersistentVolumeClaim](ctx, c, onClaims("ListClaims", http.MethodGet, namespace), options, false)
	if err != nil {
		return nil, fmt.Errorf("listing cloud claims of %s: %w", namespace, err)
	}
	return all, nil
}

// ListVolumes implements API.
func (c *Client) ListVolumes(ctx context.Context, options ListOptions) ([]PersistentVolume, error) {
	all, err := listPages[PersistentVolume](ctx, c, onVolumes("ListVolumes", http.MethodGet), options, false)
	if err != nil {
		return nil, fmt.Errorf("listing cloud volumes: %w", err)
	}
	return all, nil
}

// DeleteClaim implements API.
func (c *Client) DeleteClaim(ctx context.Context, namespace, name string, options DeleteOptions) error {
	if err := c.delete(ctx, onClaims("DeleteClaim", http.MethodDelete, namespace, name), options); err != nil {
		return fmt.Errorf("deleting cloud claim %s: %w", name, err)
	}
	return nil
}
