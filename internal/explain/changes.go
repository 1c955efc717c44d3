package explain

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// changes returns what would change where the Pod is, as commands to paste where there are any.
func (s *subject) changes() []Change {
	switch s.place {
	case Ended:
		return nil
	case Cloud:
		return s.bringHome()
	case Local:
		if s.decision.MayBurst() {
			return s.sendAway()
		}
		return s.allow()
	default:
		switch {
		case hasSchedulerError(s.Pod):
			return []Change{{"find out why the scheduler cannot decide (an administrator)", "kubectl spillway doctor"}}
		case !s.decision.MayBurst():
			return s.allow()
		case s.isUncounted():
			return s.replaceUncounted("")
		}
		return append(s.makeRoom(), s.callTheExtender()...)
	}
}

// allow returns what would let the Pod burst.
func (s *subject) allow() []Change {
	if s.decision.Reason == policy.ReasonInvalid {
		return s.correct()
	}
	if len(s.restrictions) > 0 {
		return nil // The steps say what the Pod must not have. Without that, no command lets it burst.
	}
	switch s.decision.Reason {
	case policy.ReasonSwitchOff:
		return s.turnOn()
	case policy.ReasonLabelOff:
		return []Change{s.relabel("let it burst if no local node fits", policy.ModeLocalPrefer)}
	case policy.ReasonCloudForbidden, policy.ReasonInvalidNamespace:
		changes := []Change{{"let the namespace use the cloud (an administrator)", fmt.Sprintf(
			"kubectl annotate namespace %s %s=pods=10 --overwrite", s.Pod.Namespace, policy.CloudLimitsAnnotation)}}
		if s.mustBeReplaced() {
			changes = append(changes, s.replaceUncounted("then ")...)
		}
		return changes
	default:
		return nil
	}
}

// replaceUncounted replaces a Pod that does not count towards the limits of its namespace. The webhook lets a Pod
// without a controller count only if it has a burst label.
func (s *subject) replaceUncounted(then string) []Change {
	if len(s.Owners) == 0 {
		return []Change{s.relabel(then+"let it count towards the limits of its namespace", policy.ModeLocalPrefer)}
	}
	return s.replace(then + "replace it: its successor counts towards the limits of the namespace")
}

// correct replaces a malformed key that keeps the Pod local.
func (s *subject) correct() []Change {
	if _, err := policy.ResolveMode(s.Pod.Labels, s.workloadLabels(), s.NamespaceLabels); err != nil {
		return []Change{s.relabel("correct the burst label, such as", policy.ModeLocalPrefer)}
	}
	if s.sharesErr != nil {
		return s.correctShares()
	}
	if _, _, err := policy.ParseBurstAfter(s.values); err != nil {
		return []Change{s.set("correct the time that it waits, such as", policy.BurstAfterAnnotation, "90s")}
	}
	if _, err := policy.ParseSwitch(s.Pod.Annotations); err != nil {
		return []Change{s.annotate("correct the switch, such as", policy.SwitchKey, "true")}
	}
	return nil
}

func (s *subject) turnOn() []Change {
	changes := []Change{s.annotate("let this workload burst", policy.SwitchKey, "true")}
	local, _ := policy.ParseSwitch(s.Pod.Annotations)
	if !policy.MayBurst(s.Global, local) {
		changes = append(changes, Change{"let every workload burst (an administrator)", fmt.Sprintf(
			`kubectl -n %s patch configmap %s --type merge -p '{"data":{"%s":"true"}}'`,
			policy.SwitchConfigMapNamespace, policy.SwitchConfigMapName, policy.SwitchKey)})
	}
	return changes
}

// sendAway returns what would place the Pods of the workload in the cloud.
func (s *subject) sendAway() []Change {
	if s.decision.Placement == policy.PlacementCloudOnly {
		return s.replace("replace it: its successor runs in the cloud")
	}
	changes := []Change{s.relabel("run the workload in the cloud only", policy.ModeEnforce)}
	switch {
	case s.decision.Shares.HasLocalCap() && s.Replicas.Used > s.localCap():
		changes = append(s.replace("replace it: the quota leaves no local slot for its successor"), changes...)
	case s.decision.Shares.HasLocalCap():
		changes = append(changes, s.shareOf("keep one replica fewer on local nodes", -1)...)
	}
	return changes
}

// bringHome returns what would place the Pod on a local node.
func (s *subject) bringHome() []Change {
	var changes []Change
	switch d := s.decision; {
	case d.Placement == policy.PlacementCloudOnly && s.decision.Reason == policy.ReasonNamespaceEnforce:
		changes = append(changes, s.relabel("let it run on local nodes too", policy.ModeLocalPrefer))
	case d.Placement == policy.PlacementCloudOnly, d.Placement == policy.PlacementByScore:
		changes = append(changes, s.relabel("try local nodes first", policy.ModeLocalPrefer))
	case s.isAtLocalCap():
		changes = append(changes, s.shareOf("keep one more replica on local nodes", +1)...)
	default:
		changes = s.replace("replace it: its successor tries local nodes first")
	}
	return append(changes, s.sendHome()...)
}

// replace deletes the Pod, if it has a controller that creates another one.
func (s *subject) replace(effect string) []Change {
	if len(s.Owners) == 0 {
		return nil
	}
	return []Change{{effect, fmt.Sprintf("kubectl -n %s delete pod %s", s.Pod.Namespace, s.Pod.Name)}}
}

// makeRoom returns what would place a Pod that waits and may burst.
func (s *subject) makeRoom() []Change {
	var changes []Change
	if s.quotaIsUsedUp() {
		changes = append(changes, s.shareOf("keep one more replica on local nodes", +1)...)
	}
	switch s.message.Code {
	case policy.ReasonLocalMin:
		changes = append(changes, s.lowerFloor()...)
	case policy.ReasonBurstAfter:
		return append(changes, s.set("let it burst at once", policy.BurstAfterAnnotation, "0s"))
	}
	if s.cloudMaxReached() || s.message.Code == policy.ReasonCloudMax {
		changes = append(changes, s.raiseCloudMax()...)
	}
	if s.size != nil && !s.limitsAllow() {
		changes = append(changes, Change{"raise the limits of the namespace (an administrator)", fmt.Sprintf(
			"kubectl annotate namespace %s %s=%s --overwrite", s.Pod.Namespace, policy.CloudLimitsAnnotation,
			raised(s.settings.CloudLimits, s.InCloud.Plus(*s.size)))})
	}
	for _, node := range s.Nodes {
		if _, locked := lockedUntil(node); locked {
			changes = append(changes, Change{"end the lock of virtual node " + node.Name + " at once, if the cloud " +
				"has room again (an administrator)", "kubectl uncordon " + node.Name})
		} else if node.Spec.Unschedulable {
			changes = append(changes, Change{"let virtual node " + node.Name + " take Pods (an administrator)",
				"kubectl uncordon " + node.Name})
		}
	}
	if len(s.Nodes) == 0 {
		changes = append(changes, Change{Effect: "add a virtual node (an administrator)"})
	}
	return changes
}

// raised returns limits that allow a use. What has no limit stays without one.
func raised(limits policy.CloudLimits, need policy.CloudUse) string {
	has, needs := limits.Amounts(), need.Amounts()
	var parts []string
	for _, name := range []string{"pods", "cpu", "memory"} {
		limit, ok := has[name]
		if !ok {
			continue
		}
		amount := math.Ceil(max(limit, needs[name]))
		if name == "memory" {
			parts = append(parts, fmt.Sprintf("memory=%.0fGi", math.Ceil(amount/float64(sizes.GiB))))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s=%.0f", name, amount))
	}
	return strings.Join(parts, ",")
}

// callTheExtender returns what would let the extender count the Pod.
func (s *subject) callTheExtender() []Change {
	if s.Schedulers == nil {
		return nil
	}
	step := s.schedulerStep()
	if step.Effect == Allows || s.decision.Shares.IsZero() && step.Effect != Prevents {
		return nil
	}
	if missed, _ := NotPlaced(s.Pod, s.result, s.Schedulers); missed.Code == policy.ReasonWebhookMissed {
		return s.replace("replace it: the webhook prepares its successor")
	}
	return []Change{s.patchTemplate("use a scheduler that calls the extender", map[string]any{
		"spec": map[string]any{"schedulerName": nil},
	})}
}

func (s *subject) annotate(effect, key, value string) Change {
	return s.patchTemplate(effect, map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{key: value},
	}})
}

// relabel changes the burst label where it is: of the workload itself, or of its Pod template.
func (s *subject) relabel(effect string, mode policy.Mode) Change {
	key := policy.BurstLabel
	holder := s.labelHolder()
	if holder == nil {
		return s.patchTemplate(effect, map[string]any{"metadata": map[string]any{"labels": map[string]string{
			key: string(mode),
		}}})
	}
	if _, alias := holder.Labels[policy.BurstLabelAlias]; alias && holder.Labels[key] == "" {
		key = policy.BurstLabelAlias
	}
	if s.Manifest {
		return inManifest(effect, map[string]any{"metadata": map[string]any{"labels": map[string]string{
			key: string(mode),
		}}})
	}
	return Change{effect + " (Pods that are created from then on)", fmt.Sprintf(
		"kubectl -n %s label %s %s %s=%s --overwrite", s.Pod.Namespace, resourceOf(*holder), holder.Name, key, mode)}
}

// labelHolder returns the owner whose own label decides, nil if the label is in the Pod template or there is none.
func (s *subject) labelHolder() *Owner {
	for i, owner := range s.Owners {
		if policy.HasBurstLabel(owner.TemplateLabels) {
			return nil
		}
		if policy.HasBurstLabel(owner.Labels) && owner.Kind != "ReplicaSet" {
			return &s.Owners[i]
		}
	}
	return nil
}

// patchTemplate returns a change of the Pod template of the workload. Pods and Jobs have none that can be changed.
func (s *subject) patchTemplate(effect string, template map[string]any) Change {
	w, patch := s.workload(), template
	if w != nil {
		spec := map[string]any{"template": template}
		if w.Kind == "CronJob" && w.APIVersion == "batch/v1" {
			spec = map[string]any{"jobTemplate": map[string]any{"spec": spec}}
		}
		patch = map[string]any{"spec": spec}
	}
	switch {
	case s.Manifest:
		return inManifest(effect, patch)
	case w == nil:
		return Change{Effect: effect + ": create the Pod again with " + encoded(template)}
	case w.Kind == "Job" && w.APIVersion == "batch/v1":
		return Change{Effect: effect + ": create the Job again with this in its Pod template: " + encoded(template)}
	}
	return Change{effect, fmt.Sprintf("kubectl -n %s patch %s %s --type merge -p '%s'", s.Pod.Namespace, resourceOf(*w),
		w.Name, encoded(patch))}
}

// inManifest returns a change of a manifest.
func inManifest(effect string, patch any) Change {
	return Change{Effect: "in the manifest, " + effect + ": " + encoded(patch)}
}

func encoded(patch any) string {
	text, err := json.Marshal(patch)
	if err != nil { // Maps of strings can always be encoded.
		return "{}"
	}
	return string(text)
}

// resourceOf returns how kubectl names the kind of an owner. A kind that is not of Kubernetes has its group, because
// other groups may have the same kind.
func resourceOf(o Owner) string {
	group, _, ok := strings.Cut(o.APIVersion, "/")
	kind := strings.ToLower(o.Kind)
	if !ok || slices.Contains([]string{appsv1.GroupName, "batch", corev1.GroupName}, group) {
		return kind
	}
	return kind + "." + group
}
