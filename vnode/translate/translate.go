package translate

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// ReasonUnsupported: the Pod has something that cannot be carried to the cloud.
const ReasonUnsupported policy.Reason = "UnsupportedPod"

// appliedAnnotation is kubectl's copy of the whole manifest: large, and nothing to the cloud.
const appliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration"

// largeAnnotation lets a Pod have more than 32 vCPU. Source: CCI API, Pod annotations.
const (
	largeAnnotation = "resource.cci.io/resizing-large-size-instance-greater-than-32-cores"
	largeMilliCPU   = 32000
)

// Config is what holds for all Pods of a virtual node.
type Config struct {
	// Version is the generation of the cloud; empty for 2.0.
	Version policy.CCIVersion
	// Owner is written onto every cloud Pod.
	Owner identity.Owner
	// NodeIP is what containers get as the address of their host.
	NodeIP string
	// DefaultSize is what a Pod gets that asks for nothing, such as "0.50_1.0": CCI refuses a Pod without a size.
	DefaultSize string
	// ClusterDNS are the name servers of the cluster, reachable from the cloud's subnets; empty leaves Pods with the DNS of the
	// cloud, which does not know the cluster's Services.
	ClusterDNS []string
	// ClusterDomain is the domain of the cluster's Services.
	ClusterDomain string
	// TimeZone, such as Asia/Shanghai, is what a container that mounts /etc/localtime gets as TZ; empty leaves UTC.
	TimeZone string
	// PullSecret is the secret of the cloud namespace that images are pulled with. CCI keeps one of the name imagepull-secret
	// itself, for its own registry.
	PullSecret string
	// NoTokens leaves tokens of service accounts at home.
	NoTokens bool
	// NoClaims refuses Pods with claims.
	NoClaims bool
	// APIServer is host:port of the cluster's API server as the cloud reaches it, for KUBERNETES_SERVICE_HOST and _PORT; empty leaves the
	// variables out.
	APIServer string
	// ImagePrefixes replace beginnings of images; of several that fit the longest counts.
	ImagePrefixes []ImagePrefix
}

// ImagePrefix is how images begin at home, and in the cloud.
type ImagePrefix struct {
	// From is how an image begins at home, such as "registry.local/".
	From string `json:"from"`
	// To replaces it, such as "swr.cn-north-4.myhuaweicloud.com/team/".
	To string `json:"to"`
}

// Validate returns every error at once. path is the field that holds this part of the configuration (pods).
func (c Config) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if _, err := c.defaultSize(); err != nil {
		errs = append(errs, field.Invalid(path.Child("defaultSize"), c.DefaultSize, err.Error()))
	}
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
			errs = append(errs, field.Invalid(path.Child("timeZone"), c.TimeZone, "must be a name such as Asia/Shanghai"))
		}
	}
	if host, port, err := net.SplitHostPort(c.APIServer); c.APIServer != "" && (err != nil || host == "" || port == "") {
		errs = append(errs, field.Invalid(path.Child("apiServer"), c.APIServer, "must be host:port, such as 10.0.0.5:6443"))
	}
	for i, prefix := range c.ImagePrefixes {
		if prefix.From == "" {
			errs = append(errs, field.Required(path.Child("imagePrefixes").Index(i).Child("from"),
				"an empty prefix would match every image"))
		}
	}
	return errs
}

// defaultSize reads DefaultSize. CCI 1.0 rounds it as it rounds Pods; its text is in the words of 2.0.
func (c Config) defaultSize() (sizes.Flavor, error) {
	return sizes.For(map[string]string{policy.FlavorAnnotation: c.DefaultSize}, &corev1.PodSpec{})
}

// Translator translates by one Config. Its methods may be called by many goroutines at once.
type Translator struct {
	config      Config
	defaultSize sizes.Flavor
}

// New checks the configuration.
func New(config Config) (*Translator, error) {
	if err := config.Validate(field.NewPath("pods")).ToAggregate(); err != nil {
		return nil, fmt.Errorf("checking the configuration of the translation: %w", err)
	}
	size, err := config.defaultSize()
	if err != nil {
		return nil, fmt.Errorf("reading the default size: %w", err)
	}
	return &Translator{config: config, defaultSize: size}, nil
}

// Result is a translated Pod.
type Result struct {
	Pod *cci.Pod
	// Size is what will be billed.
	Size sizes.Flavor
	// Warnings say what was left out or changed that a user may miss, each as a sentence.
	Warnings []string
}

// Refused is the error of a Pod that cannot be carried to the cloud, with all that stands against it.
type Refused struct {
	Reason   policy.Reason
	Messages []string
}

// Error joins the messages.
func (r *Refused) Error() string { return strings.Join(r.Messages, "; ") }

// Pod translates. nodeDNS replaces the DNS of every Pod where it is not nil. The Pod is not changed; the same Pod gives the same result.
// The error is a *Refused.
func (t *Translator) Pod(pod *corev1.Pod, nodeDNS *corev1.PodDNSConfig) (Result, error) {
	spec, err := policy.ReplaceHostPaths(pod)
	if err != nil {
		return Result{}, &Refused{policy.ReasonHostPath, []string{err.Error()}}
	}
	b := &builder{translator: t, pod: pod, spec: spec, dropped: map[string]bool{}}
	b.size = b.chooseSize()
	cloud := &cci.Pod{ObjectMeta: t.meta(pod, b.size), Spec: b.podSpec(nodeDNS)}
	for i, value := range b.files {
		cloud.Annotations[fmt.Sprintf("%s%d", policy.CloudFileAnnotation, i)] = value
	}
	if len(b.refusals) > 0 {
		return Result{}, &Refused{ReasonUnsupported, b.refusals}
	}
	return Result{Pod: cloud, Size: b.size, Warnings: b.warnings}, nil
}

// meta names and marks the cloud Pod. Labels and annotations come along: the cloud shows them, some tell it what to do (instance
// type, EIP), and the downward API reads them there.
func (t *Translator) meta(pod *corev1.Pod, size sizes.Flavor) metav1.ObjectMeta {
	key := identity.KeyOf(pod)
	meta := metav1.ObjectMeta{
		Name: identity.CloudName(key), Labels: maps.Clone(pod.Labels), Annotations: maps.Clone(pod.Annotations),
	}
	if meta.Annotations == nil {
		meta.Annotations = map[string]string{}
	}
	delete(meta.Annotations, appliedAnnotation)
	t.annotateSize(meta.Annotations, size)
	t.config.Owner.Mark(&meta, key)
	return meta
}

// annotateSize asks for the size. CCI 1.0 adds up the containers instead.
func (t *Translator) annotateSize(annotations map[string]string, size sizes.Flavor) {
	if t.config.Version == policy.CCI1 {
		delete(annotations, policy.FlavorAnnotation)
		return
	}
	annotations[policy.FlavorAnnotation] = size.String()
	if size.MilliCPU > largeMilliCPU {
		annotations[largeAnnotation] = "true"
	}
}

// builder carries what the parts of one translation share.
type builder struct {
	translator *Translator
	pod        *corev1.Pod
	// spec is the Pod's with hostPath volumes replaced. It is not changed.
	spec *corev1.PodSpec
	size sizes.Flavor
	// shares are what each container gets of the size in CCI 1.0; nil in 2.0.
	shares map[*corev1.Container]corev1.ResourceList
	// dropped are the volumes that are left out, and all mounts of them.
	dropped map[string]bool
	// localtime are volumes that stand for the node's time zone.
	localtime map[string]bool
	// files are what files of the downward API show that no field of the cloud Pod says.
	files []string

	warnings []string
	refusals []string
}

func (b *builder) warn(format string, args ...any) {
	b.warnings = append(b.warnings, fmt.Sprintf(format, args...))
}

func (b *builder) refuse(format string, args ...any) {
	b.refusals = append(b.refusals, fmt.Sprintf(format, args...))
}

// podSpec copies what CCI knows, field by field.
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
		Volumes:                       b.volumes(), // Before the containers: they leave out mounts of dropped volumes.
	}
	spec.DNSPolicy, spec.DNSConfig = b.dns(nodeDNS)
	spec.ExtraEphemeralStorage = b.extraStorage()
	for i := range b.spec.InitContainers {
		spec.InitContainers = append(spec.InitContainers, b.container(&b.spec.InitContainers[i]))
	}
	for i := range b.spec.Containers {
		if b.spec.Containers[i].RestartPolicy != nil {
			b.refuse("container %s has a restartPolicy of its own, which the cloud does not know: use the Pod's", b.spec.Containers[i].Name)
		}
		spec.Containers = append(spec.Containers, b.container(&b.spec.Containers[i]))
	}
	return spec
}

// warnAboutSpec names what CCI's Pod has no field for and a user may miss.
func (b *builder) warnAboutSpec() {
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"subdomain", b.spec.Subdomain != ""},
		{"runtimeClassName", b.spec.RuntimeClassName != nil},
		{"hostUsers", b.spec.HostUsers != nil && !*b.spec.HostUsers},
	} {
		if field.set {
			b.warn("%s is left out: the cloud does not know it", field.name)
		}
	}
}

// hostname keeps the name that the Pod has on a local node; the cloud Pod's own name is another one.
func (b *builder) hostname() string {
	if override := b.spec.HostnameOverride; override != nil {
		if len(validation.IsDNS1123Label(*override)) > 0 {
			b.warn("hostnameOverride %s is left out: the cloud knows names without dots, of at most %d characters", *override, validation.DNS1123LabelMaxLength)
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

// pullSecrets are mirrors of the Pod's, and the cloud's own.
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
