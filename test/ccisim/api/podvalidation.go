package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// validatePod returns the errors for which Kubernetes itself responds with 422, as far as fields are listed, and the
// values that CCI does not support. MaxSearches is how many DNS search domains it may have.
func validatePod(pod *objects.Pod, maxSearches int) field.ErrorList {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	errs = append(errs, oneOf(spec.Child("restartPolicy"), string(pod.Spec.RestartPolicy),
		"Always", "OnFailure", "Never")...)
	errs = append(errs, validateDNS(pod, spec, maxSearches)...)
	errs = append(errs, validateHost(pod, spec)...)
	errs = append(errs, atLeast(spec.Child("activeDeadlineSeconds"), pod.Spec.ActiveDeadlineSeconds, 1)...)
	errs = append(errs, atLeast(spec.Child("terminationGracePeriodSeconds"), pod.Spec.TerminationGracePeriodSeconds, 0)...)
	volumes, more := validateVolumes(pod, spec.Child("volumes"))
	errs = append(errs, more...)
	if len(pod.Spec.Containers) == 0 {
		errs = append(errs, field.Required(spec.Child("containers"), ""))
	}
	seen := map[string]bool{}
	errs = append(errs, validateContainers(pod.Spec.InitContainers, spec.Child("initContainers"), seen, volumes, true)...)
	errs = append(errs, validateContainers(pod.Spec.Containers, spec.Child("containers"), seen, volumes, false)...)
	return append(errs, validateImages(pod)...)
}

func oneOf(path *field.Path, value string, allowed ...string) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

func atLeast(path *field.Path, value *int64, least int64) field.ErrorList {
	if value == nil || *value >= least {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *value, fmt.Sprintf("must be greater than or equal to %d", least))}
}

func invalidName(path *field.Path, name string, rule func(string) []string) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	for _, message := range rule(name) {
		errs = append(errs, field.Invalid(path, name, message))
	}
	return errs
}

// maxSearches returns how many DNS search domains a Pod may have. Source: the schema of CCI 2.0, which allows 32 to
// clusters that have the feature ExpandDNSConfig; the manual of CCI 1.0.
func (s *Server) maxSearches() int {
	switch {
	case s.cfg.Faults.Policies().Searches == faults.KubernetesLimits:
		return 32
	case s.cfg.Generation == objects.CCI1:
		return 6
	default:
		return 3
	}
}

func validateDNS(pod *objects.Pod, spec *field.Path, maxSearches int) field.ErrorList {
	errs := oneOf(spec.Child("dnsPolicy"), string(pod.Spec.DNSPolicy), string(corev1.DNSDefault), string(corev1.DNSNone))
	config, path := pod.Spec.DNSConfig, spec.Child("dnsConfig")
	if pod.Spec.DNSPolicy == corev1.DNSNone && (config == nil || len(config.Nameservers) == 0) {
		return append(errs, field.Required(path.Child("nameservers"),
			"must provide at least one DNS nameserver when `dnsPolicy` is None"))
	}
	if config == nil {
		return errs
	}
	if len(config.Nameservers) > 3 {
		errs = append(errs, field.TooMany(path.Child("nameservers"), len(config.Nameservers), 3))
	}
	for i, server := range config.Nameservers {
		if _, err := netip.ParseAddr(server); err != nil {
			errs = append(errs, field.Invalid(path.Child("nameservers").Index(i), server, "must be a valid IP address"))
		}
	}
	if len(config.Searches) > maxSearches {
		errs = append(errs, field.TooMany(path.Child("searches"), len(config.Searches), maxSearches))
	}
	for i, search := range config.Searches {
		if search != "." {
			errs = append(errs, invalidName(path.Child("searches").Index(i), strings.TrimSuffix(search, "."),
				validation.IsDNS1123Subdomain)...)
		}
	}
	return errs
}

func validateHost(pod *objects.Pod, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if pod.Spec.Hostname != "" {
		errs = append(errs, invalidName(spec.Child("hostname"), pod.Spec.Hostname, validation.IsDNS1123Subdomain)...)
		if len(pod.Spec.Hostname) > validation.DNS1123LabelMaxLength {
			errs = append(errs, field.TooLong(spec.Child("hostname"), "", validation.DNS1123LabelMaxLength))
		}
	}
	for i, alias := range pod.Spec.HostAliases {
		path := spec.Child("hostAliases").Index(i)
		if _, err := netip.ParseAddr(alias.IP); err != nil {
			errs = append(errs, field.Invalid(path.Child("ip"), alias.IP, "must be a valid IP address"))
		}
		for j, name := range alias.Hostnames {
			errs = append(errs, invalidName(path.Child("hostnames").Index(j), name, validation.IsDNS1123Subdomain)...)
		}
	}
	for i, secret := range pod.Spec.ImagePullSecrets {
		if secret.Name == "" {
			errs = append(errs, field.Required(spec.Child("imagePullSecrets").Index(i).Child("name"), ""))
		}
	}
	return errs
}

// validateVolumes returns the names of the volumes and their errors.
func validateVolumes(pod *objects.Pod, path *field.Path) (map[string]bool, field.ErrorList) {
	names := map[string]bool{}
	var errs field.ErrorList
	for i, volume := range pod.Spec.Volumes {
		at := path.Index(i)
		errs = append(errs, invalidName(at.Child("name"), volume.Name, validation.IsDNS1123Label)...)
		if names[volume.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), volume.Name))
		}
		names[volume.Name] = true
		errs = append(errs, validateVolumeSource(&volume, at)...)
	}
	return names, errs
}

func validateVolumeSource(volume *corev1.Volume, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	sources := 0
	count := func(set bool) bool {
		if set {
			sources++
		}
		return set
	}
	if count(volume.ConfigMap != nil) && volume.ConfigMap.Name == "" {
		errs = append(errs, field.Required(at.Child("configMap", "name"), ""))
	}
	if count(volume.Secret != nil) && volume.Secret.SecretName == "" {
		errs = append(errs, field.Required(at.Child("secret", "secretName"), ""))
	}
	if count(volume.PersistentVolumeClaim != nil) && volume.PersistentVolumeClaim.ClaimName == "" {
		errs = append(errs, field.Required(at.Child("persistentVolumeClaim", "claimName"), ""))
	}
	if count(volume.EmptyDir != nil) {
		errs = append(errs, oneOf(at.Child("emptyDir", "medium"), string(volume.EmptyDir.Medium), "", "Memory")...)
	}
	if count(volume.DownwardAPI != nil) {
		errs = append(errs, validateDownward(volume.DownwardAPI.Items, at.Child("downwardAPI", "items"))...)
	}
	if count(volume.Projected != nil) {
		for i, source := range volume.Projected.Sources {
			if source.DownwardAPI != nil {
				path := at.Child("projected", "sources").Index(i).Child("downwardAPI", "items")
				errs = append(errs, validateDownward(source.DownwardAPI.Items, path)...)
			}
		}
	}
	count(volume.NFS != nil)
	if sources > 1 {
		errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
	}
	return errs
}

// validateDownward checks the items of a downward API volume. Of a Pod's fields, a file can only have the metadata.
// Source: the text of DownwardAPIVolumeFile in the schema.
func validateDownward(items []corev1.DownwardAPIVolumeFile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		if item.FieldRef != nil && !isMetadataPath(item.FieldRef.FieldPath) {
			errs = append(errs, field.NotSupported(path.Index(i).Child("fieldRef", "fieldPath"),
				item.FieldRef.FieldPath, metadataPaths))
		}
		if item.Path == "" {
			errs = append(errs, field.Required(path.Index(i).Child("path"), ""))
		}
	}
	return errs
}

var (
	metadataPaths = []string{
		"metadata.annotations", "metadata.labels", "metadata.uid", "metadata.name", "metadata.namespace",
	}
	// statusPaths are fields that only an environment variable can have. Source: the text of EnvVarSource in the schema.
	statusPaths = []string{"spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.podIP", "status.podIPs"}
)

func isMetadataPath(path string) bool {
	base, _, _ := strings.Cut(path, "[")
	return slices.Contains(metadataPaths, base)
}

// validateImages checks that each container has an image: CCI has no Pod templates.
func validateImages(pod *objects.Pod) field.ErrorList {
	var errs field.ErrorList
	for kind, list := range map[string][]corev1.Container{
		"containers": pod.Spec.Containers, "initContainers": pod.Spec.InitContainers,
	} {
		for i, c := range list {
			if c.Image == "" || c.Image != strings.TrimSpace(c.Image) {
				path := field.NewPath("spec", kind).Index(i).Child("image")
				errs = append(errs, field.Required(path, "an image without leading or trailing space"))
			}
		}
	}
	return errs
}
