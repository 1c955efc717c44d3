package translate

import (
	"fmt"
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// ReasonUnsupported is the reason of a Pod with a field that the cloud does not support.
const ReasonUnsupported policy.Reason = "UnsupportedPod"

// Config configures the translation of all Pods of a virtual node.
type Config struct {
	// Version is the generation of CCI. Empty means 2.0.
	Version policy.CCIVersion
	// Owner is written to every cloud Pod.
	Owner identity.Owner
	// NodeIP is the value of status.hostIP in the containers.
	NodeIP string
	// Zone is the zone of the cloud in which Pods run. Empty means any.
	Zone string
	// DefaultSize is the size of a Pod without requests and limits, such as "0.50_1.0" (policy.Config).
	DefaultSize string
	// ClusterDNS are the IP addresses of the cluster's name servers. They must be reachable from the subnets of the
	// cloud. Without them Pods use the DNS of the cloud, which does not resolve Services of the cluster.
	ClusterDNS []string
	// ClusterDomain is the DNS domain of the Services of the cluster.
	ClusterDomain string
	// TimeZone, such as Asia/Shanghai, is the value of TZ in a container that mounts /etc/localtime. Empty means UTC.
	TimeZone string
	// PullSecret is the Secret in the cloud namespace with which images are pulled. CCI itself creates
	// imagepull-secret, for its own registry.
	PullSecret string
	// NoTokens keeps ServiceAccount tokens out of the cloud.
	NoTokens bool
	// NoClaims refuses Pods with PersistentVolumeClaims.
	NoClaims bool
	// APIServer is the host:port at which cloud Pods reach the API server of the cluster. It sets
	// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT. Without it the mode of Services decides about these variables.
	APIServer string
	// ImagePrefixes replace prefixes of images. The longest matching prefix is used.
	ImagePrefixes []ImagePrefix
	// MatchSnapshots lets the cloud start Pods from snapshots of their images.
	MatchSnapshots bool
	// CloudAnnotations are the annotations that all Pods may have in the cloud.
	CloudAnnotations policy.CloudAnnotations
	// Services is how Pods reach the Services of the cluster.
	Services ServicesConfig
}

// ImagePrefix replaces a prefix of images in the cloud.
type ImagePrefix struct {
	// From is the prefix in the Pod, such as "registry.local/".
	From string `json:"from"`
	// To is the prefix in the cloud Pod, such as "swr.cn-north-4.myhuaweicloud.com/team/".
	To string `json:"to"`
}

// Validate returns all errors. path is that of the field that holds this part of the configuration (pods).
func (c Config) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, server := range c.ClusterDNS {
		if net.ParseIP(server) == nil {
			errs = append(errs, field.Invalid(path.Child("clusterDNS").Index(i), server, "must be an IP address"))
		}
	}
	if c.ClusterDomain != "" && len(validation.IsDNS1123Subdomain(c.ClusterDomain)) > 0 {
		errs = append(errs, field.Invalid(path.Child("clusterDomain"), c.ClusterDomain,
			"must be a domain, such as cluster.local"))
	}
	if c.TimeZone != "" {
		if _, err := time.LoadLocation(c.TimeZone); err != nil {
			errs = append(errs, field.Invalid(path.Child("timeZone"), c.TimeZone,
				"must be a name such as Asia/Shanghai"))
		}
	}
	host, port, err := net.SplitHostPort(c.APIServer)
	if c.APIServer != "" && (err != nil || host == "" || port == "") {
		errs = append(errs, field.Invalid(path.Child("apiServer"), c.APIServer,
			"must be host:port, such as 10.0.0.5:6443"))
	}
	errs = append(errs, c.validateServices(path)...)
	for i, prefix := range c.ImagePrefixes {
		if prefix.From == "" {
			errs = append(errs, field.Required(path.Child("imagePrefixes").Index(i).Child("from"),
				"an empty prefix would match every image"))
		}
	}
	for i, entry := range c.CloudAnnotations {
		if !policy.ValidCloudAnnotation(entry) {
			errs = append(errs, field.Invalid(path.Child("cloudAnnotations").Index(i), entry,
				policy.CloudAnnotationsRight))
		}
	}
	return errs
}

// Translator translates Pods according to one Config. It is safe for concurrent use.
type Translator struct {
	config      Config
	defaultSize sizes.Flavor
}

// New returns a Translator after it has validated the configuration.
func New(config Config) (*Translator, error) {
	if err := config.Validate(field.NewPath("pods")).ToAggregate(); err != nil {
		return nil, fmt.Errorf("validating the configuration of the translation: %w", err)
	}
	size, err := policy.Config{DefaultSize: config.DefaultSize}.ParseDefaultSize()
	if err != nil {
		return nil, fmt.Errorf("parsing the default size: %w", err)
	}
	return &Translator{config: config, defaultSize: size}, nil
}

// Result is a translated Pod.
type Result struct {
	Pod *cci.Pod
	// Size is the size that is billed.
	Size sizes.Flavor
	// Warnings describe what was dropped or changed and may matter to the user, one sentence each. If there are more
	// than fit into policy.MaxMessage, the last one says how many.
	Warnings []string
}

// Refused is the error of a Pod that the cloud cannot run. Messages says why, bounded like Result.Warnings.
type Refused struct {
	Reason   policy.Reason
	Messages []string
}

// Error joins the messages.
func (r *Refused) Error() string { return strings.Join(r.Messages, "; ") }

// Cluster is what a translation depends on besides the Pod and the configuration.
type Cluster struct {
	// DNS replaces the DNS configuration of every Pod, unless it is nil.
	DNS *corev1.PodDNSConfig
	// Allowed are the annotations that an administrator allows the Pod's namespace besides those of the configuration.
	Allowed policy.CloudAnnotations
	// Services are those of the Pod's namespace, and the Service kubernetes of namespace default. They have no effect
	// unless ReadsServices says so.
	Services []*corev1.Service
}

// Pod translates a Pod. The arguments are not changed, and the same arguments give the same result. Every error is a
// *Refused. It does not block.
func (t *Translator) Pod(pod *corev1.Pod, cluster Cluster) (Result, error) {
	spec, err := policy.ReplaceHostPaths(pod)
	if err != nil {
		return Result{}, &Refused{policy.ReasonHostPath, []string{policy.Clip(err.Error(), policy.MaxMessage)}}
	}
	policy.SplitEmptyDirs(spec)
	b := &builder{translator: t, pod: pod, spec: spec, dropped: map[string]bool{}, filePaths: map[string]string{}}
	b.chooseServices(cluster.Services)
	b.size, b.wanted = b.chooseSize(), b.wantedStorage()
	cloud := &cci.Pod{ObjectMeta: b.meta(cluster.Allowed), Spec: b.podSpec(cluster.DNS)}
	b.checkSizes(cloud.Annotations)
	if refusals := b.refusals.List(); len(refusals) > 0 {
		return Result{}, &Refused{ReasonUnsupported, refusals}
	}
	for i, value := range b.files {
		cloud.Annotations[fileKey(i)] = value
	}
	return Result{Pod: cloud, Size: b.size, Warnings: b.warnings.List()}, nil
}

// builder holds the state of one translation.
type builder struct {
	translator *Translator
	pod        *corev1.Pod
	// spec is the spec of the Pod with hostPath volumes replaced and emptyDirs split. It is not changed.
	spec *corev1.PodSpec
	size sizes.Flavor
	reach
	// links are the variables that all containers get for Services, and nameservers those that the sidecar of mode proxy
	// asks. searches are the search domains of the cloud Pod.
	links                 []corev1.EnvVar
	nameservers, searches []string
	// wanted is the ephemeral storage that the Pod requests, in GiB.
	wanted int64
	// shares maps each container to its share of the size in CCI 1.0. It is nil in CCI 2.0.
	shares map[*corev1.Container]corev1.ResourceList
	// dropped contains the names of volumes that are left out. Their mounts are left out as well.
	dropped map[string]bool
	// localtime contains the names of volumes that mount the time zone of the node.
	localtime map[string]bool
	// files are the contents of files of the downward API that no field of the cloud Pod contains. filePaths maps the
	// sources of files to their paths in the cloud Pod.
	files     []string
	filePaths map[string]string
	// unwritten is the size of the files that are too large.
	unwritten int
	// values is the size of all values that variables get from fields and resources.
	values int
	// byName contains all containers. See find.
	byName map[string]*corev1.Container

	warnings, refusals policy.Messages
}

func (b *builder) warn(format string, args ...any) { b.warnings.Add(format, args...) }

func (b *builder) refuse(format string, args ...any) { b.refusals.Add(format, args...) }

// podSpec translates the spec field by field.
func (b *builder) podSpec(nodeDNS *corev1.PodDNSConfig) cci.PodSpec {
	b.warnAboutSpec()
	spec := cci.PodSpec{
		ActiveDeadlineSeconds:         b.spec.ActiveDeadlineSeconds,
		HostAliases:                   b.spec.HostAliases,
		Hostname:                      b.hostname(),
		ImagePullSecrets:              b.pullSecrets(),
		RestartPolicy:                 b.spec.RestartPolicy,
		SecurityContext:               b.podSecurity(),
		SetHostnameAsFQDN:             b.spec.SetHostnameAsFQDN,
		ShareProcessNamespace:         b.spec.ShareProcessNamespace,
		TerminationGracePeriodSeconds: b.spec.TerminationGracePeriodSeconds,
		Volumes:                       b.volumes(), // Before the containers, which leave out mounts of dropped volumes.
	}
	spec.DNSPolicy, spec.DNSConfig = b.dns(nodeDNS)
	if spec.DNSConfig != nil {
		b.searches = spec.DNSConfig.Searches
	}
	spec.Affinity = b.translator.zoneAffinity()
	spec.ExtraEphemeralStorage = b.extraStorage()
	b.addSidecar(&spec)
	for i := range b.spec.InitContainers {
		spec.InitContainers = append(spec.InitContainers, b.container(&b.spec.InitContainers[i]))
	}
	for i := range b.spec.Containers {
		if b.spec.Containers[i].RestartPolicy != nil {
			b.refuse("container %s has a restartPolicy, which the cloud does not support: use that of the Pod",
				b.spec.Containers[i].Name)
		}
		spec.Containers = append(spec.Containers, b.container(&b.spec.Containers[i]))
	}
	return spec
}

// warnAboutSpec warns about fields that CCI does not have and that may matter to the user.
func (b *builder) warnAboutSpec() {
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"runtimeClassName", b.spec.RuntimeClassName != nil},
		{"hostUsers", b.spec.HostUsers != nil && !*b.spec.HostUsers},
	} {
		if field.set {
			b.warn("%s is ignored: the cloud does not support it", field.name)
		}
	}
}

// hostname returns the hostname that the Pod has on a local node. The name of the cloud Pod differs.
func (b *builder) hostname() string {
	if override := b.spec.HostnameOverride; override != nil {
		if len(validation.IsDNS1123Label(*override)) > 0 {
			b.warn("hostnameOverride %s is ignored: the cloud supports names without dots and of at most %d characters",
				*override, validation.DNS1123LabelMaxLength)
		} else {
			return *override
		}
	}
	if b.spec.Hostname != "" {
		return b.spec.Hostname
	}
	name := strings.TrimRight(b.pod.Name[:min(len(b.pod.Name), validation.DNS1123LabelMaxLength)], "-.")
	if len(validation.IsDNS1123Label(name)) > 0 {
		return ""
	}
	return name
}

// pullSecrets returns the mirrors of the Pod's Secrets, and the Secret of the cloud namespace.
func (b *builder) pullSecrets() []corev1.LocalObjectReference {
	var secrets []corev1.LocalObjectReference
	for _, secret := range b.spec.ImagePullSecrets {
		if secret.Name != "" && !b.translator.isOwnPullSecret(secret.Name) {
			secrets = append(secrets, b.mirror(identity.MirrorSecret, secret.Name))
		}
	}
	if own := b.translator.config.PullSecret; own != "" {
		secrets = append(secrets, corev1.LocalObjectReference{Name: own})
	}
	return secrets
}
