package ccisim

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
)

const (
	annotationInstanceType       = "resource.cci.io/instance-type"
	annotationInstancePreference = "resource.cci.io/instance-type-preference"

	// maxExtraStorage is the most disk beyond the free 30 GiB. Source: CCI 2.0 manual, 994 in total.
	maxExtraStorage = 994 - 30
)

var instanceTypes = []string{"general-computing", "general-computing-lite"}

// podRule is one thing that admission refuses with 403. It returns words, or none when the Pod may pass.
type podRule func(policies Policies, pod *Pod) string

// podRules are asked in this order. What they leave to say is about Pods that Kubernetes would take: see podvalidation.go for the rest.
var podRules = []podRule{
	soldSize,
	volumeSources,
	emptyDirSizes,
	emptyDirSubPaths,
	instanceType,
	extraStorage,
	knownResources,
	equalRequests,
}

// admitPod refuses what the service is known to refuse.
func admitPod(s *Sim, pod *Pod) *apiError { return admitBy(s, pod, podRules) }

func admitBy(s *Sim, pod *Pod, rules []podRule) *apiError {
	if errs := validatePod(pod); len(errs) > 0 {
		return invalid(pods, pod.Name, errs)
	}
	policies := s.Policies()
	for _, rule := range rules {
		if words := rule(policies, pod); words != "" {
			return forbidden(pods, pod.Name, "%s", words)
		}
	}
	return s.checkBehaviour(pod)
}

// checkBehaviour refuses misspelt settings of the simulator, which would otherwise make a test mean something else.
func (s *Sim) checkBehaviour(pod *Pod) *apiError {
	for _, c := range allContainers(pod) {
		if _, err := s.behaviourOf(pod, c); err != nil {
			return badRequest(codeBadBody, "%s", err)
		}
	}
	return nil
}

// volumeSources takes the listed kinds only; an unlisted one has been pruned and leaves nothing.
func volumeSources(_ Policies, pod *Pod) string {
	for _, volume := range pod.Spec.Volumes {
		if apiequality.Semantic.DeepEqual(volume.VolumeSource, corev1.VolumeSource{}) {
			return fmt.Sprintf("volume %s has no supported source: configMap, secret, emptyDir, downwardAPI, projected, persistentVolumeClaim "+
				"and nfs are supported", volume.Name)
		}
	}
	return ""
}

func soldSize(_ Policies, pod *Pod) string {
	if _, err := billedSize(pod); err != nil {
		return err.Error()
	}
	return ""
}

// emptyDirSizes wants whole GiB, at most ten for each started core that the Pod is billed. Source: the bursting plug-in's manual, whose
// own example has 10Gi with 250m.
func emptyDirSizes(_ Policies, pod *Pod) string {
	size, err := billedSize(pod)
	if err != nil {
		return err.Error() // soldSize has said so before
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.EmptyDir == nil || volume.EmptyDir.SizeLimit == nil {
			continue
		}
		limit := volume.EmptyDir.SizeLimit.Value()
		if limit <= 0 || limit%gibi != 0 {
			return fmt.Sprintf("emptyDir %s: sizeLimit %s is not a multiple of 1Gi", volume.Name, volume.EmptyDir.SizeLimit)
		}
		if started := (size.milliCPU + 999) / 1000; limit > 10*started*gibi {
			return fmt.Sprintf("emptyDir %s: sizeLimit %s is more than 10Gi for each of the Pod's %d started CPU cores",
				volume.Name, volume.EmptyDir.SizeLimit, started)
		}
	}
	return ""
}

func emptyDirSubPaths(_ Policies, pod *Pod) string {
	emptyDirs := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		emptyDirs[volume.Name] = volume.EmptyDir != nil
	}
	for _, c := range allContainers(pod) {
		for _, mount := range c.VolumeMounts {
			if emptyDirs[mount.Name] && (mount.SubPath != "" || mount.SubPathExpr != "") {
				return fmt.Sprintf("container %s: emptyDir %s does not support a subPath", c.Name, mount.Name)
			}
		}
	}
	return ""
}

func instanceType(_ Policies, pod *Pod) string {
	one, preference := pod.Annotations[annotationInstanceType], pod.Annotations[annotationInstancePreference]
	if one != "" && preference != "" {
		return fmt.Sprintf("annotations %s and %s exclude each other", annotationInstanceType, annotationInstancePreference)
	}
	for _, kind := range strings.Split(one+preference, ",") {
		if kind = strings.TrimSpace(kind); kind != "" && !slices.Contains(instanceTypes, kind) {
			return fmt.Sprintf("instance type %q is not supported", kind)
		}
	}
	return ""
}

func extraStorage(_ Policies, pod *Pod) string {
	extra := pod.Spec.ExtraEphemeralStorage
	if extra != nil && (extra.SizeInGiB < 1 || extra.SizeInGiB > maxExtraStorage) {
		return fmt.Sprintf("extraEphemeralStorage.sizeInGiB %d is not between 1 and %d", extra.SizeInGiB, maxExtraStorage)
	}
	return ""
}

// knownResources refuses accelerators and every other extended resource: CCI 2.0 has none.
func knownResources(_ Policies, pod *Pod) string {
	known := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	for _, c := range allContainers(pod) {
		for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
			for name := range list {
				if !slices.Contains(known, name) {
					return fmt.Sprintf("container %s: resource %s is not supported", c.Name, name)
				}
			}
		}
	}
	return ""
}

func equalRequests(policies Policies, pod *Pod) string {
	if !policies.EqualRequests {
		return ""
	}
	for _, c := range allContainers(pod) {
		if !apiequality.Semantic.DeepEqual(c.Resources.Limits, c.Resources.Requests) {
			return fmt.Sprintf("container %s: limit and request doesn't equal", c.Name)
		}
	}
	return ""
}
