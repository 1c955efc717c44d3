package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Placement says where a Pod may run, and which nodes are tried first.
type Placement string

const (
	// PlacementLocalOnly: local nodes only. A local quota has no effect.
	PlacementLocalOnly Placement = "LocalOnly"
	// PlacementCloudOnly: virtual nodes only.
	PlacementCloudOnly Placement = "CloudOnly"
	// PlacementLocalFirst: virtual nodes only if no local node fits, or if the local quota is used up.
	PlacementLocalFirst Placement = "LocalFirst"
	// PlacementByScore: the scores of the scheduler decide.
	PlacementByScore Placement = "ByScore"
)

// Config configures the rules of a cluster. The zero value protects no namespace: start from DefaultConfig.
type Config struct {
	// ProtectedNamespaces are the namespaces whose Pods never burst. Default: kube-system, tke-eni-ip-webhook (source:
	// TKE Resilience).
	ProtectedNamespaces []string `json:"protectedNamespaces"`
	// VolumeKinds are the kinds of PersistentVolume that the cloud can mount: the name of a CSI driver, or the field of
	// the volume source (nfs, cephfs, hostPath, …). Has no effect with CCI 1.0, which mounts none. Default: the drivers
	// of SFS and SFS Turbo (source: CCE bursting).
	VolumeKinds []string `json:"volumeKinds"`
	// LocalFalseForbids makes AUTO_SCALE_EKS "false" on a Pod forbid bursting even if the global switch is on. By
	// default a local "false" has an effect only if the global switch is off too (source: TKE Resilience). Default:
	// false.
	LocalFalseForbids bool `json:"localFalseForbids"`
	// CCIVersion is the generation of the cloud, "2.0" or "1.0". It determines the API that virtual nodes use and the
	// sizes of Pods. It must be the same for all virtual nodes of a cluster. Default: 2.0.
	CCIVersion CCIVersion `json:"cciVersion"`
	// DefaultSize is the size of a Pod without resource requests, as vCPU_GiB. It is what the cloud bills, and what
	// counts towards the limits of a namespace. It must be the same for all programs. More costs more. Default
	// 0.50_1.0.
	DefaultSize string `json:"defaultSize"`
	// AllowOversize lets Pods request a larger size than they need, by the annotation resource.cci.io/pod-size-specs.
	// Such a size passes ResourceQuota and LimitRange, and is billed. The annotation spillway.io/allow-oversize of a
	// Namespace overrides it. Default: false.
	AllowOversize bool `json:"allowOversize"`
	// DisabledRules are the restrictions to ignore, by reason. Disable a rule only if the cloud is known to accept such
	// Pods. Default: none.
	DisabledRules []Reason `json:"disabledRules"`
	// IgnoredNodeSelectors are labels that virtual nodes need not have, such as "disktype=ssd", or a key for any value.
	// Pods that may burst and select them by nodeSelector or required node affinity still need them on local nodes. It
	// applies to Pods that are created from then on. It must be the same for all programs. More lets more Pods burst.
	// Default: none.
	IgnoredNodeSelectors []string `json:"ignoredNodeSelectors"`
	// CloudLimits are the limits of every namespace without the annotation spillway.io/cloud-limits, such as
	// "pods=50,cpu=200,memory=400Gi". CPU and memory are those of the billed sizes. "pods=0" means that a namespace
	// uses the cloud only if it has the annotation. It must be the same for all programs. Default: empty, no limits.
	CloudLimits string `json:"cloudLimits"`
	// BurstAfter is how long after its creation a Pod waits for room on local nodes before it may burst, if neither the
	// Pod nor its workload nor its namespace has the annotation spillway.io/burst-after. Pods over their quota do not
	// wait. It must be the same for all programs. Longer uses local nodes more and starts Pods later. Default: 0s.
	BurstAfter metav1.Duration `json:"burstAfter"`
}

// DefaultConfig returns the rules of the systems that Spillway replaces (docs/sources.md).
func DefaultConfig() Config {
	return Config{
		CCIVersion:          CCI2,
		DefaultSize:         "0.50_1.0",
		ProtectedNamespaces: []string{"kube-system", "tke-eni-ip-webhook"},
		VolumeKinds:         []string{"nas.csi.everest.io", "sfsturbo.csi.everest.io"},
	}
}

// Validate returns every error at once. path is the field that holds this part of the configuration.
func (c Config) Validate(path *field.Path) field.ErrorList {
	errs := c.CCIVersion.validate(path.Child("cciVersion"))
	for _, list := range []struct {
		field string
		names []string
	}{{"protectedNamespaces", c.ProtectedNamespaces}, {"volumeKinds", c.VolumeKinds}} {
		if i := slices.Index(list.names, ""); i >= 0 {
			errs = append(errs, field.Invalid(path.Child(list.field).Index(i), "", "must be a name"))
		}
	}
	if _, err := c.ParseDefaultSize(); err != nil {
		errs = append(errs, field.Invalid(path.Child("defaultSize"), c.DefaultSize, err.Error()))
	}
	if _, err := ParseCloudLimits(c.CloudLimits); err != nil {
		errs = append(errs, field.Invalid(path.Child("cloudLimits"), c.CloudLimits, LimitsRight))
	}
	if wait := c.BurstAfter.Duration; wait < 0 || wait > MaxBurstAfter {
		errs = append(errs, field.Invalid(path.Child("burstAfter"), wait.String(),
			fmt.Sprintf("must be from 0s to %s", MaxBurstAfter)))
	}
	for i, name := range c.DisabledRules {
		if !slices.ContainsFunc(rules, func(r Rule) bool { return r.Reason == name }) {
			errs = append(errs, field.NotSupported(path.Child("disabledRules").Index(i), name, ruleNames()))
		}
	}
	_, ignoredErrs := parseIgnoredSelectors(path.Child("ignoredNodeSelectors"), c.IgnoredNodeSelectors)
	return append(errs, ignoredErrs...)
}

// ParseDefaultSize returns DefaultSize, zero if there is none. Its syntax is that of CCI 2.0. CCI 1.0 rounds it as it
// rounds Pods.
func (c Config) ParseDefaultSize() (sizes.Flavor, error) {
	if c.DefaultSize == "" {
		return sizes.Flavor{}, nil
	}
	return sizes.For(map[string]string{FlavorAnnotation: c.DefaultSize}, &corev1.PodSpec{})
}

// Policy decides by one Config. It has no state: its methods may be called by many goroutines at once.
type Policy struct {
	config      Config
	rules       []Rule
	cloudLimits CloudLimits
	defaultSize sizes.Flavor
	ignored     IgnoredSelectors
}

// New validates the configuration and returns a Policy.
func New(config Config) (*Policy, error) {
	if err := config.Validate(field.NewPath("policy")).ToAggregate(); err != nil {
		return nil, fmt.Errorf("checking the policy configuration: %w", err)
	}
	if config.CCIVersion == CCI1 {
		config.VolumeKinds = nil
	}
	limits, err := ParseCloudLimits(config.CloudLimits)
	if err != nil {
		return nil, fmt.Errorf("checking the policy configuration: %w", err)
	}
	size, err := config.ParseDefaultSize()
	if err != nil {
		return nil, fmt.Errorf("checking the policy configuration: %w", err)
	}
	ignored, _ := parseIgnoredSelectors(nil, config.IgnoredNodeSelectors) // Validate has found no error.
	p := &Policy{config: config, cloudLimits: limits, defaultSize: size, ignored: ignored}
	for _, rule := range rules {
		if !slices.Contains(config.DisabledRules, rule.Reason) {
			p.rules = append(p.rules, rule)
		}
	}
	return p, nil
}

// IgnoredSelectors returns the selectors that do not keep Pods off virtual nodes.
func (p *Policy) IgnoredSelectors() IgnoredSelectors { return p.ignored }

// Input is everything that a decision depends on. A decision does not change it.
type Input struct {
	// Pod is the Pod as it was created, never nil. Its namespace must be set: in an admission request it is outside the
	// Pod. Status and node name are ignored.
	Pod *corev1.Pod
	// Global is the switch of the cluster.
	Global Switch
	// WorkloadLabels are the labels of the Deployment, StatefulSet, Job or CronJob that the Pod belongs to. They are
	// needed only until the webhook has written the resolved burst label to the Pod.
	WorkloadLabels map[string]string
	// WorkloadAnnotations are the InheritedAnnotations of the owners of the Pod, of each the nearest. nil means that
	// they are not known: then what admission has copied to the Pod counts.
	WorkloadAnnotations map[string]string
	// NamespaceLabels are the labels of the Pod's namespace. They are needed as long as WorkloadLabels.
	NamespaceLabels map[string]string
	// NamespaceAnnotations are the annotations of the Pod's namespace (NamespaceSettings, InheritedAnnotations).
	NamespaceAnnotations map[string]string
	// Claims are the kinds of the PersistentVolumes of the Pod's claims, by claim name: the name of a CSI driver or the
	// field of the volume source. A claim that does not exist or is not known yet is not in the map.
	Claims map[string]string
	// Nodes are the virtual nodes of Spillway in the cluster. Without them nothing is known about what they exclude.
	// For a Pod that is on one already they have no meaning.
	Nodes []VirtualNode
}

// Decision says where a Pod may run, and why.
type Decision struct {
	Placement Placement
	// Shares say how many replicas of the Pod's revision run where. They are zero for a Pod without shares.
	Shares Shares
	// BurstAfter is how long after its creation the Pod waits for room on local nodes before it may burst. It is 0 for
	// a Pod that runs on virtual nodes only.
	BurstAfter time.Duration
	// Mode is the burst mode of the Pod, ModeNone without a burst label.
	Mode   Mode
	Reason Reason
	// Message is a sentence that says why, and how to change it.
	Message string
}

// MayBurst reports whether the Pod may run on a virtual node.
func (d Decision) MayBurst() bool { return d.Placement != PlacementLocalOnly }

// BurstsAt returns when a Pod with this decision may burst if no local node fits. It is a function of the Pod alone, so
// that it is the same after a restart.
func (d Decision) BurstsAt(pod *corev1.Pod) time.Time { return pod.CreationTimestamp.Add(d.BurstAfter) }

// Describe returns the decision as text for logs.
func (d Decision) Describe() string {
	text := fmt.Sprintf("%s (%s): %s", d.Placement, d.Reason, d.Message)
	if !d.Shares.IsZero() {
		text += "; " + d.Shares.String()
	}
	if d.BurstAfter > 0 {
		text += "; " + BurstAfterAnnotation + "=" + d.BurstAfter.String()
	}
	return text
}

// Decide says where a Pod may run: first whether it may burst, then whether the cloud can run it, then which nodes are
// tried first. A malformed key keeps the Pod on local nodes. It is ignored where the key has no effect: a switch
// together with a burst label, a quota with enforce, a replacement without a hostPath volume.
func (p *Policy) Decide(in Input) Decision {
	decision, _ := p.DecideWithSettings(in)
	return decision
}

// DecideWithSettings is Decide. If the Pod may burst, it also returns the settings of its namespace.
func (p *Policy) DecideWithSettings(in Input) (Decision, NamespaceSettings) {
	decision := p.decideMode(in)
	if !decision.MayBurst() {
		return decision, NamespaceSettings{}
	}
	settings, err := p.NamespaceSettings(in.NamespaceAnnotations)
	return p.decideWithin(in, decision, settings, err), settings
}

// decideWithin continues Decide for a Pod that may burst by its mode. err is that of the settings.
func (p *Policy) decideWithin(in Input, decision Decision, settings NamespaceSettings, err error) Decision {
	if forbidden, ok := settings.forbidden(in.Pod.Namespace, err); ok {
		forbidden.Mode = decision.Mode
		return forbidden
	}
	s := p.subject(in, settings)
	if found := p.violations(s); len(found) > 0 {
		return Decision{
			Placement: PlacementLocalOnly, Mode: decision.Mode, Reason: found[0].Reason, Message: Describe(found),
		}
	}
	if s.replaceErr != nil { // No rule has reported it: the rule is disabled, or the only hostPath is LocaltimePath.
		return invalid(decision.Mode, s.replaceErr)
	}
	return p.decideShares(in, decision)
}

// decideShares continues Decide for a Pod that the cloud can run: how many replicas run where, and how long the Pod
// waits.
func (p *Policy) decideShares(in Input, decision Decision) Decision {
	values := Inherit(in.Pod.Annotations, in.WorkloadAnnotations, in.NamespaceAnnotations)
	cloudOnly := decision.Placement == PlacementCloudOnly
	if cloudOnly { // Only the cap of the cloud has an effect.
		values = onlyCloudMax(values)
	}
	shares, err := ParseShares(values)
	if err != nil {
		return invalid(decision.Mode, err)
	}
	if !shares.IsZero() && in.Pod.Spec.SchedulingGroup != nil {
		return Decision{
			Placement: PlacementLocalOnly, Mode: decision.Mode, Reason: ReasonSchedulingGroup, Message: GroupQuota,
		}
	}
	decision.Shares = shares
	if cloudOnly {
		return decision
	}
	if !shares.IsZero() {
		decision.Placement = PlacementLocalFirst
	}
	wait, ok, err := ParseBurstAfter(values)
	switch {
	case err != nil:
		return invalid(decision.Mode, err)
	case !ok:
		wait = p.config.BurstAfter.Duration
	}
	if in.Pod.Spec.SchedulingGroup == nil { // An attempt costs the whole group a backoff.
		decision.BurstAfter = wait
	}
	return decision
}

func onlyCloudMax(values map[string]string) map[string]string {
	value, ok := values[CloudMaxAnnotation]
	if !ok {
		return nil
	}
	return map[string]string{CloudMaxAnnotation: value}
}

// decideMode applies the burst label, or without one the switches.
func (p *Policy) decideMode(in Input) Decision {
	mode, err := ResolveMode(in.Pod.Labels, in.WorkloadLabels, in.NamespaceLabels)
	if err != nil {
		return invalid(mode, err)
	}
	switch mode {
	case ModeOff:
		return Decision{Placement: PlacementLocalOnly, Mode: mode, Reason: ReasonLabelOff,
			Message: "the burst label is off: remove or change the label " + BurstLabel +
				" (or " + BurstLabelAlias + ") of the Pod or its workload to allow bursting"}
	case ModeEnforce:
		if label, _ := ResolveMode(in.Pod.Labels, in.WorkloadLabels, nil); label == ModeNone {
			return Decision{Placement: PlacementCloudOnly, Mode: mode, Reason: ReasonNamespaceEnforce,
				Message: "the namespace has the label " + NamespaceEnforceLabel + "=" + NamespaceEnforceValue +
					": virtual nodes only"}
		}
		return Decision{Placement: PlacementCloudOnly, Mode: mode, Reason: ReasonLabelEnforce,
			Message: "the burst label is enforce: virtual nodes only"}
	case ModeLocalPrefer:
		return Decision{Placement: PlacementLocalFirst, Mode: mode, Reason: ReasonLabelLocalPrefer,
			Message: "the burst label is localPrefer: virtual nodes if no local node fits"}
	case ModeAuto:
		return Decision{Placement: PlacementByScore, Mode: mode, Reason: ReasonLabelAuto,
			Message: "the burst label is auto: scores decide, with a preference for local nodes"}
	}
	local, err := ParseSwitch(in.Pod.Annotations)
	if err != nil {
		return invalid(ModeNone, err)
	}
	if p.config.LocalFalseForbids && local == SwitchOff {
		return Decision{Placement: PlacementLocalOnly, Reason: ReasonSwitchOff, Message: fmt.Sprintf(
			"%s is false on the Pod, which forbids bursting in this cluster (localFalseForbids): "+
				"set it to \"true\" on the Pod template, or remove it", SwitchKey)}
	}
	if !MayBurst(in.Global, local) {
		return Decision{Placement: PlacementLocalOnly, Reason: ReasonSwitchOff, Message: fmt.Sprintf(
			"%s in ConfigMap %s/%s is %s: set it to true, or annotate the Pod template with %s: \"true\"",
			SwitchKey, SwitchConfigMapNamespace, SwitchConfigMapName, in.Global.why(), SwitchKey)}
	}
	return Decision{Placement: PlacementLocalFirst, Reason: ReasonSwitchOn,
		Message: SwitchKey + " allows bursting: virtual nodes if no local node fits"}
}

// invalid keeps a Pod with malformed keys on local nodes.
func invalid(mode Mode, err error) Decision {
	return Decision{Placement: PlacementLocalOnly, Mode: mode, Reason: ReasonInvalid, Message: oneLine(err)}
}

// oneLine returns the text of an error for conditions and Events. Joined errors have a line each.
func oneLine(err error) string { return Summary(strings.Split(err.Error(), "\n")) }

// Describe returns violations as one message.
func Describe(violations []Violation) string {
	var m Messages
	for _, v := range violations {
		m.add(v.Message)
	}
	return m.String()
}
