package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// steps returns the steps of the decision in the order in which policy decides.
func (s *subject) steps() []Step {
	steps := []Step{s.labelStep(), s.switchStep(), s.namespaceStep()}
	steps = append(steps, s.restrictionSteps()...)
	steps = append(steps, s.quotaStep())
	if step, ok := s.waitStep(); ok {
		steps = append(steps, step)
	}
	if s.Schedulers != nil {
		steps = append(steps, s.schedulerStep())
	}
	steps = append(steps, s.limitsStep(), s.localStep(), s.cloudStep())
	if step, ok := s.homeStep(); ok {
		steps = append(steps, step)
	}
	return steps
}

func (s *subject) labelStep() Step {
	mode, err := policy.ResolveMode(s.Pod.Labels, s.workloadLabels(), s.NamespaceLabels)
	whose := s.labelOwner()
	switch {
	case err != nil:
		return Step{"label", Prevents, fmt.Sprintf("%s has a malformed burst label: %v", whose, err)}
	case mode == policy.ModeNone:
		return Step{"label", None, "no burst label: the switch decides"}
	case mode == policy.ModeOff:
		return Step{"label", Prevents, "the burst label of " + whose + " is off"}
	default:
		return Step{"label", Allows, fmt.Sprintf("the burst label of %s is %s", whose, mode)}
	}
}

// labelOwner says whose burst label decides. The webhook copies the label of a workload or of a namespace to the Pod.
func (s *subject) labelOwner() string {
	if policy.HasBurstLabel(s.Pod.Labels) {
		mode, _ := policy.ParseMode(s.Pod.Labels)
		same := func(labels map[string]string) bool {
			other, err := policy.ParseMode(labels)
			return policy.HasBurstLabel(labels) && err == nil && other == mode
		}
		for _, owner := range slices.Backward(s.Owners) {
			if same(owner.TemplateLabels) {
				return "the Pod template of " + owner.String()
			}
		}
		for _, owner := range s.Owners {
			if same(owner.Labels) {
				return owner.String()
			}
		}
		inherited, _ := policy.ResolveMode(nil, nil, s.NamespaceLabels)
		if mode == policy.ModeEnforce && inherited == mode {
			return "namespace " + s.Pod.Namespace
		}
		return "the Pod"
	}
	for _, owner := range s.Owners {
		if policy.HasBurstLabel(owner.Labels) {
			return owner.String()
		}
	}
	return "namespace " + s.Pod.Namespace
}

func (s *subject) switchStep() Step {
	local, err := policy.ParseSwitch(s.Pod.Annotations)
	text := fmt.Sprintf("%s is %s in the cluster and %s on the Pod", policy.SwitchKey, s.Global, local)
	mode, modeErr := policy.ResolveMode(s.Pod.Labels, s.workloadLabels(), s.NamespaceLabels)
	switch {
	case mode != policy.ModeNone || modeErr != nil:
		return Step{"switch", None, text + "; a burst label decides instead"}
	case err != nil, s.decision.Reason == policy.ReasonSwitchOff:
		return Step{"switch", Prevents, text}
	default:
		return Step{"switch", Allows, text}
	}
}

func (s *subject) namespaceStep() Step {
	switch {
	case s.settingsErr != nil:
		return Step{"namespace", Prevents, "an annotation is malformed: " +
			policy.Summary(strings.Split(s.settingsErr.Error(), "\n"))}
	case s.settings.CloudLimits.Forbid():
		return Step{"namespace", Prevents, fmt.Sprintf("namespace %s may not use the cloud (%s: %s)", s.Pod.Namespace,
			policy.CloudLimitsAnnotation, s.settings.CloudLimits)}
	default:
		return Step{"namespace", Allows, "namespace " + s.Pod.Namespace + " may use the cloud"}
	}
}

// maxRestrictions is how many restrictions an explanation names: a Pod can have thousands.
const maxRestrictions = 20

func (s *subject) restrictionSteps() []Step {
	if len(s.restrictions) == 0 {
		return []Step{{"restrictions", Allows, "the cloud can run the Pod"}}
	}
	var steps []Step
	for _, v := range s.restrictions[:min(maxRestrictions, len(s.restrictions))] {
		text := policy.Clip(string(v.Reason)+": "+v.Message, policy.MaxMessage)
		steps = append(steps, Step{"restrictions", Prevents, text})
	}
	if more := len(s.restrictions) - len(steps); more > 0 {
		steps = append(steps, Step{"restrictions", Prevents, fmt.Sprintf("and %d more", more)})
	}
	return steps
}

func (s *subject) schedulerStep() Step {
	name := s.scheduler()
	missed, ok := NotPlaced(s.Pod, s.result, s.Schedulers)
	switch {
	case s.Schedulers.Call(s.Pod.Spec.SchedulerName) && (!ok || s.NotCreated || !s.decision.MayBurst()):
		return Step{"scheduler", Allows, name + " calls the extender"}
	case ok && s.decision.MayBurst() &&
		(s.result.Limited || !s.decision.Shares.IsZero() || missed.Code == policy.ReasonWebhookMissed):
		effect := None
		if s.result.Limited {
			effect = Prevents
		}
		return Step{"scheduler", effect, missed.String()}
	default:
		return Step{"scheduler", None, name + " does not call the extender, and need not"}
	}
}

func (s *subject) limitsStep() Step {
	l := s.limits()
	if l == nil {
		return Step{"limits", None, "the namespace has no limits in the cloud"}
	}
	text := fmt.Sprintf("limits %s; used %s", l.Limits, l.Used)
	switch {
	case s.hasCloudSlot():
		return Step{"limits", Allows, text + "; this Pod has its cloud slot"}
	case l.Needs == "":
		return Step{"limits", None, text}
	}
	text += "; this Pod needs " + l.Needs
	switch {
	case s.isUncounted():
		return Step{"limits", Prevents, text + ", and does not count"}
	case !s.limitsAllow():
		return Step{"limits", Prevents, text}
	}
	return Step{"limits", Allows, text}
}

func describeUse(use policy.CloudUse) string {
	resources := use.Resources()
	return fmt.Sprintf("pods=%d,cpu=%s,memory=%s", use.Pods, resources.Cpu(), resources.Memory())
}

// Why a Pod that may burst goes to nodes of one class only.
const (
	NotTriedLocal = "local nodes are not tried"
	NoLocalSlot   = "the quota of the revision leaves no slot"
	HasLocalSlot  = "its revision has a local slot for it"
	LocalFirst    = "local nodes come first, and one had room"
)

func (s *subject) localStep() Step {
	switch {
	case s.place == Local:
		return Step{"local", None, "bound to " + s.Pod.Spec.NodeName}
	case s.decision.Placement == policy.PlacementCloudOnly:
		return Step{"local", None, NotTriedLocal}
	case s.quotaIsUsedUp() && (s.place == Waiting || s.place == NotCreated):
		return Step{"local", None, NoLocalSlot}
	case s.place == Waiting && policy.PodCondition(s.Pod, corev1.PodScheduled) != nil:
		return Step{"local", None, "no local node fits: the condition PodScheduled says why"}
	default:
		return Step{"local", None, "tried first"}
	}
}

func (s *subject) cloudStep() Step {
	switch {
	case len(s.Nodes) == 0:
		return Step{"cloud", Prevents, "the cluster has no virtual node of Spillway"}
	case s.place == Cloud:
		return Step{"cloud", Allows, "bound to " + s.Pod.Spec.NodeName}
	}
	var states []string
	usable := false
	for _, node := range s.Nodes {
		state := NodeState(node)
		usable = usable || TakesPods(state)
		states = append(states, node.Name+": "+state)
	}
	if usable {
		return Step{"cloud", Allows, strings.Join(states, "; ")}
	}
	return Step{"cloud", Prevents, strings.Join(states, "; ")}
}

// The states of a virtual node that takes Pods. Other states say why it takes none.
const (
	NodeReady = "ready"
	// NodeUnknown is the state of a node of which the status is not known. It may take Pods.
	NodeUnknown = "not known"
)

// TakesPods reports whether a virtual node in a state takes Pods, as far as is known.
func TakesPods(state string) bool { return state == NodeReady || state == NodeUnknown }

// NodeState returns the state of a virtual node.
func NodeState(node *corev1.Node) string {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return "not ready: " + condition.Message
		}
	}
	switch {
	case node.Spec.Unschedulable:
	case hasState(node):
		return NodeReady
	default:
		return NodeUnknown
	}
	if until, ok := lockedUntil(node); ok {
		return "the cloud is sold out; locked until " + until.UTC().Format(time.RFC3339)
	}
	return "cordoned by a user"
}

// lockedUntil returns when the lock of a virtual node ends; ok is false if it is not locked.
func lockedUntil(node *corev1.Node) (until time.Time, ok bool) {
	if !node.Spec.Unschedulable {
		return time.Time{}, false
	}
	until, err := time.Parse(time.RFC3339, node.Annotations[policy.SoldOutUntilAnnotation])
	return until, err == nil
}
