package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

const (
	annotationInstanceType       = "resource.cci.io/instance-type"
	annotationInstancePreference = "resource.cci.io/instance-type-preference"

	// Source: CCI manual, "Using an Image Snapshot".
	annotationSnapshotMatch = "cci.io/image-snapshot-auto-match"
	annotationSnapshotName  = "cci.io/image-snapshot-specified-name"

	// maxExtraStorage is the limit of disk in addition to the free 30 GiB. Source: CCI 2.0 manual, 994 in total.
	maxExtraStorage = 994 - 30
)

const instanceLite = "general-computing-lite"

var instanceTypes = []string{"general-computing", instanceLite}

// podRule is one check of the admission, which refuses with 403. It returns the message, empty if the Pod passes.
type podRule func(policies faults.Policies, pod *objects.Pod) string

// podRules are applied in this order. They are about Pods that Kubernetes would accept: podvalidation.go has the other
// checks.
var podRules = []podRule{
	soldSize,
	volumeSources,
	emptyDirSizes,
	emptyDirSubPaths,
	instanceType,
	extraStorage,
	knownResources,
	equalRequests,
	containerCount,
	netAdmin,
}

// admitPod refuses what the service is known to refuse.
func admitPod(s *Server, pod *objects.Pod) *apiError { return admitBy(s, pod, podRules) }

func admitBy(s *Server, pod *objects.Pod, rules []podRule) *apiError {
	if errs := validatePod(pod, s.maxSearches()); len(errs) > 0 {
		return invalid(objects.Pods, pod.Name, errs)
	}
	// The service answers 400 if the two differ. Which snapshot it would choose is not known here: every pair is refused.
	if name := pod.Annotations[annotationSnapshotName]; name != "" && pod.Annotations[annotationSnapshotMatch] == "true" {
		return badRequest(codeBadBody, "%s %s and %s conflict", annotationSnapshotName, name, annotationSnapshotMatch)
	}
	policies := s.cfg.Faults.Policies()
	for _, rule := range rules {
		if message := rule(policies, pod); message != "" {
			return forbidden(objects.Pods, pod.Name, "%s", message)
		}
	}
	// A misspelled annotation of the simulator would make a test mean something else.
	if err := s.life.CheckBehavior(pod); err != nil {
		return badRequest(codeBadBody, "%s", err)
	}
	return nil
}

// volumeSources accepts the listed kinds only. An unlisted kind was pruned, so the volume has no source.
func volumeSources(_ faults.Policies, pod *objects.Pod) string {
	for _, volume := range pod.Spec.Volumes {
		if apiequality.Semantic.DeepEqual(volume.VolumeSource, corev1.VolumeSource{}) {
			return fmt.Sprintf("volume %s has no supported source: configMap, secret, emptyDir, downwardAPI, projected, "+
				"persistentVolumeClaim and nfs are supported", volume.Name)
		}
	}
	return ""
}

func soldSize(_ faults.Policies, pod *objects.Pod) string {
	if _, err := billedSize(pod); err != nil {
		return err.Error()
	}
	return ""
}

// emptyDirSizes requires whole GiB, and at most 10Gi per billed CPU core, cores rounded up. Source: the manual of the
// bursting plug-in, whose example has 10Gi with 250m.
func emptyDirSizes(_ faults.Policies, pod *objects.Pod) string {
	size, err := billedSize(pod)
	if err != nil {
		return err.Error() // soldSize has refused the Pod before.
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.EmptyDir == nil || volume.EmptyDir.SizeLimit == nil {
			continue
		}
		limit := volume.EmptyDir.SizeLimit.Value()
		if limit <= 0 || limit%gibi != 0 {
			return fmt.Sprintf("emptyDir %s: sizeLimit %s is not a multiple of 1Gi", volume.Name, volume.EmptyDir.SizeLimit)
		}
		if cores := (size.milliCPU + 999) / 1000; limit > 10*cores*gibi {
			return fmt.Sprintf("emptyDir %s: sizeLimit %s is more than 10Gi per CPU core: the Pod has %d, rounded up",
				volume.Name, volume.EmptyDir.SizeLimit, cores)
		}
	}
	return ""
}

func emptyDirSubPaths(_ faults.Policies, pod *objects.Pod) string {
	emptyDirs := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		emptyDirs[volume.Name] = volume.EmptyDir != nil
	}
	for _, c := range objects.AllContainers(pod) {
		for _, mount := range c.VolumeMounts {
			if emptyDirs[mount.Name] && (mount.SubPath != "" || mount.SubPathExpr != "") {
				return fmt.Sprintf("container %s: emptyDir %s does not support a subPath", c.Name, mount.Name)
			}
		}
	}
	return ""
}

func instanceType(policies faults.Policies, pod *objects.Pod) string {
	one, preference := pod.Annotations[annotationInstanceType], pod.Annotations[annotationInstancePreference]
	if one != "" && preference != "" {
		return fmt.Sprintf("annotations %s and %s exclude each other", annotationInstanceType, annotationInstancePreference)
	}
	for _, kind := range strings.Split(one+preference, ",") {
		if kind = strings.TrimSpace(kind); kind != "" && !slices.Contains(instanceTypes, kind) {
			return fmt.Sprintf("instance type %q is not supported", kind)
		} else if kind == instanceLite && policies.RefuseLite {
			return fmt.Sprintf("instance type %q is not available for the account", kind)
		}
	}
	return ""
}

func extraStorage(_ faults.Policies, pod *objects.Pod) string {
	extra := pod.Spec.ExtraEphemeralStorage
	if extra != nil && (extra.SizeInGiB < 1 || extra.SizeInGiB > maxExtraStorage) {
		return fmt.Sprintf("extraEphemeralStorage.sizeInGiB %d is not between 1 and %d", extra.SizeInGiB, maxExtraStorage)
	}
	return ""
}

// knownResources refuses accelerators and all other extended resources: CCI 2.0 has none.
func knownResources(_ faults.Policies, pod *objects.Pod) string {
	known := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	for _, c := range objects.AllContainers(pod) {
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

func equalRequests(policies faults.Policies, pod *objects.Pod) string {
	if !policies.EqualRequests {
		return ""
	}
	for _, c := range objects.AllContainers(pod) {
		if !apiequality.Semantic.DeepEqual(c.Resources.Limits, c.Resources.Requests) {
			return fmt.Sprintf("container %s: limit and request doesn't equal", c.Name)
		}
	}
	return ""
}

func containerCount(policies faults.Policies, pod *objects.Pod) string {
	if n := len(pod.Spec.Containers); policies.MaxContainers > 0 && n > policies.MaxContainers {
		return fmt.Sprintf("a pod may have %d containers, not %d", policies.MaxContainers, n)
	}
	return ""
}

func netAdmin(policies faults.Policies, pod *objects.Pod) string {
	for _, c := range objects.AllContainers(pod) {
		of := c.SecurityContext
		if policies.RefuseNetAdmin && of != nil && of.Capabilities != nil &&
			slices.Contains(of.Capabilities.Add, "NET_ADMIN") {
			return fmt.Sprintf("container %s: capability NET_ADMIN is not supported", c.Name)
		}
	}
	return ""
}
