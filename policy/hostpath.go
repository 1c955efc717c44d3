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

// ReplacementPolicy is what becomes of a hostPath volume in the cloud.
type ReplacementPolicy string

const (
	// ReplacementRemove drops the volume and every mount of it.
	ReplacementRemove ReplacementPolicy = "remove"
	// ReplacementEmptyDir puts an emptyDir in its place.
	ReplacementEmptyDir ReplacementPolicy = "replaceByEmptyDir"
)

// AnyVolume as the name of a Replacement stands for every hostPath volume without a replacement of its own name.
const AnyVolume = "*"

// Replacement is one entry of the annotation HostPathReplacementAnnotation. Source: seed 2, "负载Hostpath配置方式".
type Replacement struct {
	// Name is a volume's name, or "*".
	Name string `json:"name"`
	// PolicyType says what becomes of the volume.
	PolicyType ReplacementPolicy `json:"policyType"`
	// EmptyDir is read with ReplacementEmptyDir only.
	EmptyDir *ReplacementDir `json:"emptyDir,omitempty"`
}

// ReplacementDir is the emptyDir that takes a hostPath's place.
type ReplacementDir struct {
	// SizeLimit is a quantity such as 10Gi; nil for none. The rule ReasonEmptyDirSizeLimit holds for it.
	SizeLimit *resource.Quantity `json:"sizeLimit,omitempty"`
}

// quantityForm is what a sizeLimit looks like: Kubernetes' own form without exponents, for parsing 1e-100000000 takes a
// minute. Quantities of a Pod's spec have passed the API server; an annotation is any text.
var quantityForm = regexp.MustCompile(`^[0-9]{1,40}(\.[0-9]{1,40})?([numkMGTPE]|[KMGTPE]i)?$`)

// UnmarshalJSON reads the emptyDir of a replacement; unknown fields are errors.
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

// ParseReplacements reads the annotation HostPathReplacementAnnotation; without it there are none. All faults are reported
// at once, each with its place in the list.
func ParseReplacements(annotations map[string]string) ([]Replacement, error) {
	value, ok := annotations[HostPathReplacementAnnotation]
	if !ok {
		return nil, nil
	}
	var list []Replacement
	if err := decodeStrictly([]byte(value), &list); err != nil {
		fault := invalidValue(HostPathReplacementAnnotation, "", value, "must be a JSON list such as [{\"name\":\"VOLUME\",\"policyType\":\"remove\"}]")
		fault.Cause = err
		return nil, fault
	}
	if err := checkReplacements(list); err != nil {
		return nil, err
	}
	return list, nil
}

// decodeStrictly reads one JSON value; unknown fields and anything after the value are errors.
func decodeStrictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more text after the JSON value")
	}
	return nil
}

func checkReplacements(list []Replacement) error {
	var faults []error
	seen := map[string]bool{}
	for i, r := range list {
		key, path := HostPathReplacementAnnotation, fmt.Sprintf("[%d]", i)
		switch {
		case r.Name == "":
			faults = append(faults, &Fault{Key: key, Path: path + ".name", Kind: field.ErrorTypeRequired, Right: "must be the name of a volume or \"*\""})
		case seen[r.Name]:
			faults = append(faults, &Fault{Key: key, Path: path + ".name", Kind: field.ErrorTypeDuplicate, Value: r.Name, Right: "each volume has one replacement"})
		}
		seen[r.Name] = true
		if r.PolicyType != ReplacementRemove && r.PolicyType != ReplacementEmptyDir {
			faults = append(faults, invalidValue(key, path+".policyType", string(r.PolicyType), fmt.Sprintf("must be %s or %s", ReplacementRemove, ReplacementEmptyDir)))
		}
		if r.EmptyDir != nil && r.EmptyDir.SizeLimit != nil && r.EmptyDir.SizeLimit.Sign() <= 0 {
			faults = append(faults, invalidValue(key, path+sizeLimitPath, r.EmptyDir.SizeLimit.String(), "must be above zero, such as 10Gi"))
		}
	}
	return errors.Join(faults...)
}

// sizeLimitPath leads from a replacement to its limit.
const sizeLimitPath = ".emptyDir.sizeLimit"

// CheckReplacements reads the replacements of a Pod, or of a Pod template, and reports every fault at once: those of
// ParseReplacements, and limits of an emptyDir that the cloud cannot give to what the Pod's containers ask for (the rule
// ReasonEmptyDirSizeLimit, unless it is switched off).
func (p *Policy) CheckReplacements(pod *corev1.Pod) ([]Replacement, error) {
	list, err := ParseReplacements(pod.Annotations)
	if err != nil || !p.Has(ReasonEmptyDirSizeLimit) {
		return list, err
	}
	most := p.config.CCIVersion.mostGi(pod.Annotations, &pod.Spec)
	var faults []error
	for i, r := range list {
		if r.PolicyType == ReplacementEmptyDir && r.EmptyDir != nil && r.EmptyDir.SizeLimit != nil && !limitFits(*r.EmptyDir.SizeLimit, most) {
			faults = append(faults, invalidValue(HostPathReplacementAnnotation, fmt.Sprintf("[%d]%s", i, sizeLimitPath), r.EmptyDir.SizeLimit.String(), limitRight(most)))
		}
	}
	return list, errors.Join(faults...)
}

// ReplaceHostPaths applies the Pod's replacements and returns the resulting spec; the Pod is not changed. A volume's own
// name wins over "*", and /etc/localtime is touched only by its own name. A removed volume takes its mounts along in
// every container. hostPath volumes that no replacement covers stay. The spec is always a copy, and the Pod's own where the
// annotation is malformed, which is no error without a hostPath volume: there is nothing to replace. May be called twice: the second
// time changes nothing.
func ReplaceHostPaths(pod *corev1.Pod) (*corev1.PodSpec, error) {
	spec := pod.Spec.DeepCopy()
	if !slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil }) {
		return spec, nil
	}
	replacements, err := ParseReplacements(pod.Annotations)
	if err != nil {
		return spec, err
	}
	removed := map[string]bool{}
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v corev1.Volume) bool {
		r, ok := replacementFor(v, replacements)
		removed[v.Name] = ok && r.PolicyType == ReplacementRemove
		return removed[v.Name]
	})
	for i, v := range spec.Volumes {
		if r, ok := replacementFor(v, replacements); ok {
			spec.Volumes[i].VolumeSource = corev1.VolumeSource{EmptyDir: emptyDirOf(r)}
		}
	}
	dropMounts(spec, removed)
	return spec, nil
}

// replacementFor finds what becomes of a volume; ok is false where it stays as it is.
func replacementFor(v corev1.Volume, replacements []Replacement) (found Replacement, ok bool) {
	if v.HostPath == nil {
		return Replacement{}, false
	}
	for _, r := range replacements {
		if r.Name == v.Name {
			return r, true
		}
		if r.Name == AnyVolume && v.HostPath.Path != LocaltimePath {
			found, ok = r, true
		}
	}
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
			containers[i].VolumeMounts = slices.DeleteFunc(containers[i].VolumeMounts, func(m corev1.VolumeMount) bool { return removed[m.Name] })
		}
	}
}
