package policy

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Placement says where a Pod may run and what is tried first.
type Placement string

const (
	// PlacementLocalOnly: local nodes only. A local quota means nothing for such a Pod.
	PlacementLocalOnly Placement = "LocalOnly"
	// PlacementCloudOnly: virtual nodes only.
	PlacementCloudOnly Placement = "CloudOnly"
	// PlacementLocalFirst: virtual nodes only where no local node fits (or where a local quota is used up).
	PlacementLocalFirst Placement = "LocalFirst"
	// PlacementByScore: scores decide between both.
	PlacementByScore Placement = "ByScore"
)

// Config is what a cluster may change about the rules. The zero value protects nothing; start from DefaultConfig.
type Config struct {
	// ProtectedNamespaces never burst. More names keep more Pods home. Default: kube-system, tke-eni-ip-webhook (seed 0).
	ProtectedNamespaces []string `json:"protectedNamespaces"`
	// VolumeKinds are the kinds of PersistentVolume that the cloud can mount: a CSI driver's name, or the field of the
	// volume source (nfs, cephfs, hostPath, …). CCI 1.0 mounts none, whatever is said here. Default: the drivers of SFS and SFS Turbo (seed 2).
	VolumeKinds []string `json:"volumeKinds"`
	// LocalFalseForbids gives the newer reading of the switch: AUTO_SCALE_EKS "false" on a Pod forbids bursting, whatever the global
	// switch says. By default the table of the seeds holds, where it does so only under a global "false". Default: false.
	LocalFalseForbids bool `json:"localFalseForbids"`
	// CCIVersion is the generation of the cloud, "2.0" or "1.0": it decides which API virtual nodes speak, and which sizes of Pods there
	// are. All virtual nodes of a cluster have the same. Default: 2.0.
	CCIVersion CCIVersion `json:"cciVersion"`
	// DisabledRules are restrictions that do not hold here, by Reason. Whoever switches one off must know that the cloud
	// accepts such Pods. Default: none.
	DisabledRules []Reason `json:"disabledRules"`
}

// DefaultConfig returns the rules of the seeds.
func DefaultConfig() Config {
	return Config{
		CCIVersion:          CCI2,
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
	for i, name := range c.DisabledRules {
		if !slices.ContainsFunc(rules, func(r Rule) bool { return r.Reason == name }) {
			errs = append(errs, field.NotSupported(path.Child("disabledRules").Index(i), name, ruleNames()))
		}
	}
	return errs
}

// Policy decides by one Config. It holds no state: its methods may be called by many goroutines at once.
type Policy struct {
	config Config
	rules  []Rule
}

// New checks the configuration and returns the Policy that decides by it.
func New(config Config) (*Policy, error) {
	if err := config.Validate(field.NewPath("policy")).ToAggregate(); err != nil {
		return nil, fmt.Errorf("checking the policy configuration: %w", err)
	}
	if config.CCIVersion == CCI1 {
		config.VolumeKinds = nil
	}
	p := &Policy{config: config}
	for _, rule := range rules {
		if !slices.Contains(config.DisabledRules, rule.Reason) {
			p.rules = append(p.rules, rule)
		}
	}
	return p, nil
}

// Input is all that a decision depends on. Nothing in it is changed.
type Input struct {
	// Pod is the Pod as it was created, never nil. Its namespace must be filled in (an admission request carries it beside the
	// Pod); its status and node name do not matter.
	Pod *corev1.Pod
	// Global is the switch of the cluster.
	Global Switch
	// WorkloadLabels are the labels of the Deployment, StatefulSet, Job or CronJob that the Pod belongs to. Needed only while
	// the webhook has not yet written the resolved burst label onto the Pod.
	WorkloadLabels map[string]string
	// NamespaceLabels are the labels of the Pod's namespace. Needed as long as WorkloadLabels.
	NamespaceLabels map[string]string
	// Claims are the kinds of the PersistentVolumes behind the Pod's claims, by claim name: a CSI driver's name or the field of the
	// volume source. A claim that is missing or not yet known is not in the map.
	Claims map[string]string
}

// Decision is where a Pod may run, with the words for people.
type Decision struct {
	Placement Placement
	// Quota is how many replicas of the Pod's revision stay home; nil where no quota holds for this Pod.
	Quota *int
	// Mode is the burst mode that was found, ModeNone where there is none.
	Mode   Mode
	Reason Reason
	// Message is a sentence that says why, and what would change it.
	Message string
}

// MayBurst tells whether a virtual node may take the Pod.
func (d Decision) MayBurst() bool { return d.Placement != PlacementLocalOnly }

// Describe prints the decision for people: events, logs and /explain use the same words.
func (d Decision) Describe() string {
	text := fmt.Sprintf("%s (%s): %s", d.Placement, d.Reason, d.Message)
	if d.Quota != nil {
		text += fmt.Sprintf("; %s=%d", LocalReplicasAnnotation, *d.Quota)
	}
	return text
}

// Decide says where a Pod may run: first whether it may burst, then whether the cloud can run it, then what is tried
// first. A malformed key keeps the Pod home, with words, where it matters; where it would mean nothing, it is nothing: a switch beside
// a burst label, a quota with enforce, a replacement without a hostPath volume.
func (p *Policy) Decide(in Input) Decision {
	decision := p.decideMode(in)
	if !decision.MayBurst() {
		return decision
	}
	s := p.subject(in)
	if found := p.violations(s); len(found) > 0 {
		return Decision{Placement: PlacementLocalOnly, Mode: decision.Mode, Reason: found[0].Reason, Message: joinMessages(found)}
	}
	if s.replaceErr != nil { // No rule has looked: it is switched off, or the one hostPath is LocaltimePath.
		return invalid(decision.Mode, s.replaceErr)
	}
	if decision.Placement == PlacementCloudOnly {
		return decision
	}
	quota, ok, err := ParseLocalReplicas(in.Pod.Annotations)
	if err != nil {
		return invalid(decision.Mode, err)
	}
	if ok && in.Pod.Spec.SchedulingGroup != nil {
		return Decision{Placement: PlacementLocalOnly, Mode: decision.Mode, Reason: ReasonSchedulingGroup, Message: GroupQuota}
	}
	if ok {
		decision.Quota = &quota
		decision.Placement = PlacementLocalFirst
	}
	return decision
}

// decideMode applies the burst label, or without one the switch table.
func (p *Policy) decideMode(in Input) Decision {
	mode, err := ResolveMode(in.Pod.Labels, in.WorkloadLabels, in.NamespaceLabels)
	if err != nil {
		return invalid(mode, err)
	}
	switch mode {
	case ModeOff:
		return Decision{PlacementLocalOnly, nil, mode, ReasonLabelOff, "the burst label says off: remove or change the label " + BurstLabel + " (or " + BurstLabelAlias + ") of the Pod or its workload to allow bursting"}
	case ModeEnforce:
		if label, _ := ResolveMode(in.Pod.Labels, in.WorkloadLabels, nil); label == ModeNone {
			return Decision{PlacementCloudOnly, nil, mode, ReasonNamespaceEnforce, "the namespace has the label " + NamespaceEnforceLabel + "=" + NamespaceEnforceValue + ": only virtual nodes"}
		}
		return Decision{PlacementCloudOnly, nil, mode, ReasonLabelEnforce, "the burst label says enforce: only virtual nodes"}
	case ModeLocalPrefer:
		return Decision{PlacementLocalFirst, nil, mode, ReasonLabelLocalPrefer, "the burst label says localPrefer: virtual nodes when no local node fits"}
	case ModeAuto:
		return Decision{PlacementByScore, nil, mode, ReasonLabelAuto, "the burst label says auto: scores decide, leaning local"}
	}
	local, err := ParseSwitch(in.Pod.Annotations)
	if err != nil {
		return invalid(ModeNone, err)
	}
	if p.config.LocalFalseForbids && local == SwitchOff {
		return Decision{Placement: PlacementLocalOnly, Reason: ReasonSwitchOff, Message: fmt.Sprintf(
			"%s is false on the Pod, which forbids bursting in this cluster (localFalseForbids): set it to \"true\" on the Pod template, or remove it", SwitchKey)}
	}
	if !MayBurst(in.Global, local) {
		return Decision{Placement: PlacementLocalOnly, Reason: ReasonSwitchOff, Message: fmt.Sprintf(
			"%s is false in ConfigMap %s/%s: set it to true, or annotate the Pod template with %s: \"true\"",
			SwitchKey, SwitchConfigMapNamespace, SwitchConfigMapName, SwitchKey)}
	}
	return Decision{Placement: PlacementLocalFirst, Reason: ReasonSwitchOn, Message: SwitchKey + " allows bursting: virtual nodes when no local node fits"}
}

// invalid keeps a Pod home whose keys are malformed.
func invalid(mode Mode, err error) Decision {
	return Decision{Placement: PlacementLocalOnly, Mode: mode, Reason: ReasonInvalid, Message: oneLine(err)}
}

// oneLine is an error's text for conditions and events: joined errors have a line each.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func joinMessages(found []Violation) string {
	words := make([]string, 0, len(found))
	for _, v := range found {
		words = append(words, v.Message)
	}
	return strings.Join(words, "; ")
}
