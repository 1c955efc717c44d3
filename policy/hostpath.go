package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ReplacementPolicy says what replaces a hostPath volume in the cloud.
type ReplacementPolicy string

const (
	// ReplacementRemove removes the volume and all its mounts.
	ReplacementRemove ReplacementPolicy = "remove"
	// ReplacementEmptyDir replaces the volume by an emptyDir.
	ReplacementEmptyDir ReplacementPolicy = "replaceByEmptyDir"
)

const (
	// maxFaults is how many faults of an annotation are reported at once. An annotation can contain thousands.
	maxFaults = 10
	// maxCause is the maximum length in bytes of the cause of a fault.
	maxCause = 200
)

// AnyVolume as the name of a Replacement matches every hostPath volume that no other replacement names.
const AnyVolume = "*"

const (
	// maxReplacements is more than the number of hostPath volumes of any Pod.
	maxReplacements = 256
	// maxReplacementsLength is the length of the annotation, in bytes. A replacement has about 100.
	maxReplacementsLength = 64 << 10
)

// Replacement is one entry of the annotation HostPathReplacementAnnotation. Source: CCE bursting,
// "负载Hostpath配置方式".
type Replacement struct {
	// Name is the name of a volume, or "*".
	Name string `json:"name"`
	// PolicyType says what replaces the volume.
	PolicyType ReplacementPolicy `json:"policyType"`
	// EmptyDir is used with ReplacementEmptyDir only.
	EmptyDir *ReplacementDir `json:"emptyDir,omitempty"`
}

// ReplacementDir is the emptyDir that replaces a hostPath volume.
type ReplacementDir struct {
	// SizeLimit is a quantity such as 10Gi; nil for none. The rule ReasonEmptyDirSizeLimit applies to it.
	SizeLimit *resource.Quantity `json:"sizeLimit,omitempty"`
}

// quantityForm is the form of a sizeLimit: a Kubernetes quantity without an exponent, since parsing 1e-100000000 takes
// a minute. The API server has validated the quantities of a Pod spec, but not those in an annotation.
var quantityForm = regexp.MustCompile(`^[0-9]{1,40}(\.[0-9]{1,40})?([numkMGTPE]|[KMGTPE]i)?$`)

// UnmarshalJSON reads the emptyDir of a replacement. Unknown fields are errors.
func (d *ReplacementDir) UnmarshalJSON(data []byte) error {
	var raw struct {
		SizeLimit *json.RawMessage `json:"sizeLimit"`
	}
	if err := decodeStrictly(data, &raw); err != nil || raw.SizeLimit == nil {
		*d = ReplacementDir{}
		return err
	}
	text := strings.Trim(string(*raw.SizeLimit), `"`)
	if !quantityForm.MatchString(text) {
		return fmt.Errorf("sizeLimit: invalid value %.100q: must be a quantity such as 10Gi", text)
	}
	limit, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("sizeLimit: invalid value %q: %w", text, err)
	}
	d.SizeLimit = &limit
	return nil
}

// ParseReplacements reads the annotation HostPathReplacementAnnotation. It returns nil without the annotation. The
// first ten errors are returned at once, each with its place in the list.
func ParseReplacements(annotations map[string]string) ([]Replacement, error) {
	value, ok := annotations[HostPathReplacementAnnotation]
	if !ok {
		return nil, nil
	}
	if len(value) > maxReplacementsLength {
		return nil, invalidValue(HostPathReplacementAnnotation, "", value,
			fmt.Sprintf("must be at most %d bytes long, not %d", maxReplacementsLength, len(value)))
	}
	var list []Replacement
	if err := decodeStrictly([]byte(value), &list); err != nil {
		invalid := invalidValue(HostPathReplacementAnnotation, "", value,
			"must be a JSON list such as [{\"name\":\"VOLUME\",\"policyType\":\"remove\"}]")
		invalid.Cause = errors.New(Clip(err.Error(), maxCause)) // It can contain names of fields of any length.
		return nil, invalid
	}
	if len(list) > maxReplacements {
		return nil, invalidValue(HostPathReplacementAnnotation, "", value,
			fmt.Sprintf("must have at most %d replacements, not %d", maxReplacements, len(list)))
	}
	if err := checkReplacements(list); err != nil {
		return nil, err
	}
	return list, nil
}

// decodeStrictly reads one JSON value. Unknown fields and text after the value are errors.
func decodeStrictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // Its text names types of Go.
		return fmt.Errorf("unexpected %s at offset %d", wrong.Value, wrong.Offset)
	}
	if err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more text after the JSON value")
	}
	return nil
}

func checkReplacements(list []Replacement) error {
	var errs []error
	seen := map[string]bool{}
	for i, r := range list {
		if len(errs) >= maxFaults {
			break
		}
		key, path := HostPathReplacementAnnotation, fmt.Sprintf("[%d]", i)
		switch {
		case r.Name == "":
			errs = append(errs, &KeyError{Key: key, Path: path + ".name", Kind: field.ErrorTypeRequired,
				Right: "must be the name of a volume or \"*\""})
		case seen[r.Name]:
			errs = append(errs, &KeyError{Key: key, Path: path + ".name", Kind: field.ErrorTypeDuplicate, Value: r.Name,
				Right: "each volume has one replacement"})
		}
		seen[r.Name] = true
		if r.PolicyType != ReplacementRemove && r.PolicyType != ReplacementEmptyDir {
			errs = append(errs, invalidValue(key, path+".policyType", string(r.PolicyType),
				fmt.Sprintf("must be %s or %s", ReplacementRemove, ReplacementEmptyDir)))
		}
		if r.EmptyDir != nil && r.EmptyDir.SizeLimit != nil && r.EmptyDir.SizeLimit.Sign() <= 0 {
			errs = append(errs, invalidValue(key, path+sizeLimitPath, r.EmptyDir.SizeLimit.String(),
				"must be above zero, such as 10Gi"))
		}
	}
	return errors.Join(errs...)
}

// sizeLimitPath is the path of the limit within a replacement.
const sizeLimitPath = ".emptyDir.sizeLimit"

// CheckReplacements reads the replacements of a Pod or of a Pod template, and returns the first ten errors at once:
// those of ParseReplacements, and size limits that the cloud does not allow for the CPU of the Pod (the rule
// ReasonEmptyDirSizeLimit, unless it is disabled).
func (p *Policy) CheckReplacements(pod *corev1.Pod) ([]Replacement, error) {
	list, err := ParseReplacements(pod.Annotations)
	if err != nil || !p.Has(ReasonEmptyDirSizeLimit) {
		return list, err
	}
	most := p.config.CCIVersion.mostGi(pod.Annotations, &pod.Spec)
	var errs []error
	for i, r := range list {
		if r.PolicyType != ReplacementEmptyDir || r.EmptyDir == nil || r.EmptyDir.SizeLimit == nil {
			continue
		}
		if len(errs) >= maxFaults {
			break
		}
		if limit := r.EmptyDir.SizeLimit; !limitFits(*limit, most) {
			errs = append(errs, invalidValue(HostPathReplacementAnnotation, fmt.Sprintf("[%d]%s", i, sizeLimitPath),
				limit.String(), limitRight(most)))
		}
	}
	return list, errors.Join(errs...)
}

// ReplaceHostPaths returns a copy of the Pod's spec with the replacements applied. It does not change the Pod. A
// replacement with the name of a volume takes precedence over "*", and "*" does not match /etc/localtime. Removing a
// volume removes its mounts in every container. hostPath volumes without a replacement stay. With a malformed
// annotation the spec is unchanged, and ReplaceHostPaths returns an error unless the Pod has no hostPath volume.
// Applying it again changes nothing.
func ReplaceHostPaths(pod *corev1.Pod) (*corev1.PodSpec, error) {
	if !hasHostPath(pod) {
		return pod.Spec.DeepCopy(), nil
	}
	return replaceHostPaths(pod)
}

// HostPathsError returns the error of ReplaceHostPaths.
func HostPathsError(pod *corev1.Pod) error {
	if !hasHostPath(pod) {
		return nil
	}
	_, err := ParseReplacements(pod.Annotations)
	return err
}

// replacedSpec is ReplaceHostPaths without a copy if the Pod has no hostPath volume. The caller must not change what it
// returns.
func replacedSpec(pod *corev1.Pod) (*corev1.PodSpec, error) {
	if !hasHostPath(pod) {
		return &pod.Spec, nil
	}
	return replaceHostPaths(pod)
}

func hasHostPath(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil })
}

func replaceHostPaths(pod *corev1.Pod) (*corev1.PodSpec, error) {
	spec := pod.Spec.DeepCopy()
	replacements, err := ParseReplacements(pod.Annotations)
	if err != nil {
		return spec, err
	}
	byName := map[string]Replacement{}
	for _, r := range replacements {
		byName[r.Name] = r
	}
	removed := map[string]bool{}
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v corev1.Volume) bool {
		r, ok := replacementFor(v, byName)
		removed[v.Name] = ok && r.PolicyType == ReplacementRemove
		return removed[v.Name]
	})
	for i, v := range spec.Volumes {
		if r, ok := replacementFor(v, byName); ok {
			spec.Volumes[i].VolumeSource = corev1.VolumeSource{EmptyDir: emptyDirOf(r)}
		}
	}
	dropMounts(spec, removed)
	return spec, nil
}

// replacementFor returns the replacement of a volume; ok is false if the volume stays.
func replacementFor(v corev1.Volume, byName map[string]Replacement) (found Replacement, ok bool) {
	if v.HostPath == nil {
		return Replacement{}, false
	}
	if found, ok = byName[v.Name]; ok || v.HostPath.Path == LocaltimePath {
		return found, ok
	}
	found, ok = byName[AnyVolume]
	return found, ok
}

func emptyDirOf(r Replacement) *corev1.EmptyDirVolumeSource {
	if r.EmptyDir == nil || r.EmptyDir.SizeLimit == nil {
		return &corev1.EmptyDirVolumeSource{}
	}
	limit := r.EmptyDir.SizeLimit.DeepCopy()
	return &corev1.EmptyDirVolumeSource{SizeLimit: &limit}
}

func dropMounts(spec *corev1.PodSpec, removed map[string]bool) {
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			containers[i].VolumeMounts = slices.DeleteFunc(containers[i].VolumeMounts,
				func(m corev1.VolumeMount) bool { return removed[m.Name] })
		}
	}
}
