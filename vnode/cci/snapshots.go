package cci

import (
	"context"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// ImageSnapshot is a disk with images, from which Pods of the account start without pulling them. It belongs to the
// account and has no namespace. It does not change. Source: CCI API, "ImageSnapshot".
type ImageSnapshot struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ImageSnapshotSpec   `json:"spec"`
	Status            ImageSnapshotStatus `json:"status,omitzero"`
}

// ImageSnapshotSpec says what the snapshot contains and how it is made.
type ImageSnapshotSpec struct {
	BuildingConfig SnapshotBuilding `json:"buildingConfig"`
	// SizeGiB is the size of the disk.
	SizeGiB int32 `json:"imageSnapshotSize,omitempty"`
	// TTLDays is the number of days after which the service deletes the snapshot. 0 means never.
	TTLDays int32 `json:"ttlDaysAfterCreated,omitempty"`
	// Images are ten images at most.
	Images []SnapshotImage `json:"images"`
	// Registries are those of the images, ten at most.
	Registries []SnapshotRegistry `json:"registries,omitempty"`
}

// SnapshotBuilding describes the Pod that pulls the images. It is billed.
type SnapshotBuilding struct {
	// Namespace is the cloud namespace of the Pod.
	Namespace string `json:"namespace,omitempty"`
	// TimeoutMinutes is when the service gives up and deletes the Pod, from 30 to 10080. 0 means a day.
	TimeoutMinutes int32 `json:"timeoutMinutes,omitempty"`
}

// SnapshotImage names an image.
type SnapshotImage struct {
	Image string `json:"image"`
}

// SnapshotRegistry is a registry, and how images are pulled from it.
type SnapshotRegistry struct {
	// Server is its host.
	Server string `json:"server"`
	// PullSecret is a Secret of the cloud namespace. Empty means that no credentials are sent.
	PullSecret string `json:"imagePullSecret,omitempty"`
}

// The phases of a snapshot that the vendor names. The others are not documented: such a snapshot cannot be used.
// Source: CCI API, "Creating an ImageSnapshot", the example; CCI manual, "Image Snapshot Overview".
const (
	SnapshotCreating  = "Creating"
	SnapshotAvailable = "Available"
)

// ImageSnapshotStatus reports whether Pods can use the snapshot.
type ImageSnapshotStatus struct {
	Phase   string `json:"phase,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// IsMade reports whether the service is making the snapshot. A new one may have no phase yet.
func (s *ImageSnapshot) IsMade() bool {
	return s.Status.Phase == "" || s.Status.Phase == SnapshotCreating
}

// IsAvailable reports whether Pods can use the snapshot.
func (s *ImageSnapshot) IsAvailable() bool { return s.Status.Phase == SnapshotAvailable }

// MinSnapshotTimeout is the shortest time for SnapshotBuilding.TimeoutMinutes.
const MinSnapshotTimeout = 30 * time.Minute

// snapshotsPath is the path of all snapshots. They exist in CCI 2.0 only.
const snapshotsPath = "/apis/cci/v2/imagesnapshots"

// onSnapshots returns a call about all snapshots, or about the one of a name.
func onSnapshots(operation, method string, name ...string) call {
	on := call{operation: operation, method: method, path: join(snapshotsPath, name), feature: Snapshots}
	if len(name) > 0 {
		on.list = snapshotsPath
	}
	return on
}

// CreateSnapshot implements API.
func (c *Client) CreateSnapshot(ctx context.Context, snapshot *ImageSnapshot) (*ImageSnapshot, error) {
	sent := *snapshot
	sent.APIVersion, sent.Kind = (paths{policy.CCI2}).apiVersion(), "ImageSnapshot"
	var created ImageSnapshot
	if err := c.create(ctx, onSnapshots("CreateSnapshot", http.MethodPost), &sent, &created); err != nil {
		return nil, fmt.Errorf("creating image snapshot %s: %w", snapshot.Name, err)
	}
	return &created, nil
}

// GetSnapshot implements API.
func (c *Client) GetSnapshot(ctx context.Context, name string) (*ImageSnapshot, error) {
	var found ImageSnapshot
	if err := c.doWithRetry(ctx, onSnapshots("GetSnapshot", http.MethodGet, name), &found); err != nil {
		return nil, fmt.Errorf("getting image snapshot %s: %w", name, err)
	}
	return &found, nil
}

// ListSnapshots implements API.
func (c *Client) ListSnapshots(ctx context.Context, options ListOptions) ([]ImageSnapshot, error) {
	all, err := listPages[ImageSnapshot](ctx, c, onSnapshots("ListSnapshots", http.MethodGet), options, false)
	if err != nil {
		return nil, fmt.Errorf("listing image snapshots: %w", err)
	}
	for i := range all {
		status := &all[i].Status
		status.Phase, status.Reason = policy.Clip(status.Phase, maxName), policy.Clip(status.Reason, maxName)
		status.Message = policy.Clip(status.Message, policy.MaxMessage)
	}
	return all, nil
}

// DeleteSnapshot implements API.
func (c *Client) DeleteSnapshot(ctx context.Context, name string, options DeleteOptions) error {
	if err := c.delete(ctx, onSnapshots("DeleteSnapshot", http.MethodDelete, name), options); err != nil {
		return fmt.Errorf("deleting image snapshot %s: %w", name, err)
	}
	return nil
}
