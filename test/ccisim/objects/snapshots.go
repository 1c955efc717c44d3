package objects

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImageSnapshot is a disk with images, from which Pods start without pulling them. It belongs to the account.
type ImageSnapshot struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ImageSnapshotSpec   `json:"spec"`
	Status            ImageSnapshotStatus `json:"status,omitzero"`
}

// ImageSnapshotSpec says what a snapshot contains and how it is made.
type ImageSnapshotSpec struct {
	BuildingConfig      BuildingConfig  `json:"buildingConfig,omitzero"`
	ImageSnapshotSize   int32           `json:"imageSnapshotSize,omitempty"`
	Images              []SnapshotImage `json:"images,omitempty"`
	Registries          []Registry      `json:"registries,omitempty"`
	TTLDaysAfterCreated int32           `json:"ttlDaysAfterCreated"`
}

// BuildingConfig describes the Pod that makes a snapshot.
type BuildingConfig struct {
	AutoCreateEIP          bool          `json:"autoCreateEIP,omitempty"`
	AutoCreateEIPAttribute *EIPAttribute `json:"autoCreateEIPAttribute,omitempty"`
	DNSServers             []string      `json:"dnsServers,omitempty"`
	EIPID                  string        `json:"eipID,omitempty"`
	Namespace              string        `json:"namespace,omitempty"`
	TimeoutMinutes         int32         `json:"timeoutMinutes,omitempty"`
}

// EIPAttribute describes a public address.
type EIPAttribute struct {
	BandwidthChargeMode string `json:"bandwidthChargeMode,omitempty"`
	BandwidthID         string `json:"bandwidthID,omitempty"`
	BandwidthSize       int32  `json:"bandwidthSize,omitempty"`
	IPVersion           int32  `json:"ipVersion,omitempty"`
	Type                string `json:"type,omitempty"`
}

// SnapshotImage names an image.
type SnapshotImage struct {
	Image string `json:"image,omitempty"`
}

// Registry is a registry, and how images are pulled from it.
type Registry struct {
	ImagePullSecret    string `json:"imagePullSecret,omitempty"`
	InsecureSkipVerify bool   `json:"insecureSkipVerify,omitempty"`
	PlainHTTP          bool   `json:"plainHTTP,omitempty"`
	Server             string `json:"server,omitempty"`
}

// ImageSnapshotStatus is the state of a snapshot.
type ImageSnapshotStatus struct {
	ExpireDateTime  *metav1.Time  `json:"expireDateTime,omitempty"`
	Images          []PulledImage `json:"images,omitempty"`
	LastUpdatedTime *metav1.Time  `json:"lastUpdatedTime,omitempty"`
	Message         string        `json:"message,omitempty"`
	Phase           string        `json:"phase,omitempty"`
	Reason          string        `json:"reason,omitempty"`
	SnapshotID      string        `json:"snapshotID,omitempty"`
	SnapshotName    string        `json:"snapshotName,omitempty"`
}

// PulledImage is an image in a snapshot.
type PulledImage struct {
	Digest    string `json:"digest,omitempty"`
	Image     string `json:"image,omitempty"`
	SizeBytes int64  `json:"sizeBytes,omitempty"`
}

// The phases of a snapshot. What the service calls one that could not be made is not documented.
const (
	SnapshotCreating  = "Creating"
	SnapshotAvailable = "Available"
	SnapshotFailed    = "Failed"
)

// SnapshotFinalizer keeps a deleted snapshot until the Pod that makes it is gone.
const SnapshotFinalizer = "imagesnapshot.kubernetes.io/imagesnapshot-finalizer"

// MakerPrefix begins the names of the Pods that make snapshots.
const MakerPrefix = "cci-imagesnapshot-"

// Maker returns the name of the Pod that makes the snapshot.
func (s *ImageSnapshot) Maker() string { return MakerPrefix + string(s.UID) }

// Has reports whether the snapshot contains all images of a Pod.
func (s *ImageSnapshot) Has(pod *Pod) bool {
	for _, container := range AllContainers(pod) {
		if !slices.Contains(s.Spec.Images, SnapshotImage{container.Image}) {
			return false
		}
	}
	return true
}

// CopyObject implements Object.
func (s *ImageSnapshot) CopyObject() Object {
	out := *s
	out.ObjectMeta = *s.ObjectMeta.DeepCopy()
	if s.Spec.BuildingConfig.AutoCreateEIPAttribute != nil {
		eip := *s.Spec.BuildingConfig.AutoCreateEIPAttribute
		out.Spec.BuildingConfig.AutoCreateEIPAttribute = &eip
	}
	out.Spec.BuildingConfig.DNSServers = slices.Clone(s.Spec.BuildingConfig.DNSServers)
	out.Spec.Images, out.Spec.Registries = slices.Clone(s.Spec.Images), slices.Clone(s.Spec.Registries)
	out.Status.ExpireDateTime = s.Status.ExpireDateTime.DeepCopy()
	out.Status.LastUpdatedTime = s.Status.LastUpdatedTime.DeepCopy()
	out.Status.Images = slices.Clone(s.Status.Images)
	return &out
}

// SetType implements Object.
func (s *ImageSnapshot) SetType(apiVersion, kind string) {
	s.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// Meta implements Object.
func (s *ImageSnapshot) Meta() *metav1.ObjectMeta { return &s.ObjectMeta }
