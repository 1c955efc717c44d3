package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// revision is a revision of a workload: its Pods are alike, so one of them stands for all.
type revision struct {
	namespace, owner string
	pod              *corev1.Pod
	// replicas is how many active Pods it has.
	replicas int
}

// revisions returns one active Pod of each revision, sorted by namespace and owner.
func revisions(pods []*corev1.Pod) []revision {
	var all []revision
	replicas := map[policy.Revision]int{}
	for _, pod := range pods {
		if !policy.IsActive(pod) {
			continue
		}
		key := policy.RevisionOf(pod)
		if replicas[key]++; replicas[key] > 1 {
			continue
		}
		owner := "Pod " + pod.Name
		if controller := metav1.GetControllerOfNoCopy(pod); controller != nil {
			owner = controller.Kind + " " + controller.Name
		}
		all = append(all, revision{pod.Namespace, owner, pod, 0})
	}
	for i := range all {
		all[i].replicas = replicas[policy.RevisionOf(all[i].pod)]
	}
	slices.SortFunc(all, func(a, b revision) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.owner, b.owner),
			strings.Compare(a.pod.Name, b.pod.Name))
	})
	return all
}

// object returns how a finding names the workload.
func (r revision) object() string { return r.namespace + "/" + r.owner }

func checkKeys(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	for _, r := range revisions(s.Pods) {
		_, quotaErr := policy.ParseShares(r.pod.Annotations)
		_, _, waitErr := policy.ParseBurstAfter(r.pod.Annotations)
		_, _, homeErr := policy.ParseWayHome(r.pod.Annotations)
		_, switchErr := policy.ParseSwitch(r.pod.Annotations)
		_, modeErr := policy.ResolveMode(r.pod.Labels, nil, nil)
		for _, err := range []error{quotaErr, waitErr, homeErr, switchErr, modeErr} {
			if err != nil {
				findings = append(findings, found(CodeKeyMalformed, r.object(), "%v", err))
			}
		}
	}
	return findings
}

// checkQuotas finds quotas that no scheduler counts, and those for which local nodes have no room, whatever runs on
// them.
func checkQuotas(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	calls := s.Installation.Scheduler.Schedulers()
	for _, r := range revisions(s.Pods) {
		shares, err := policy.ParseShares(s.inherited(r.pod))
		quota := shares.LocalCap(r.replicas)
		mode, modeErr := policy.ResolveMode(r.pod.Labels, nil, nil)
		if shares.IsZero() || err != nil || modeErr != nil || r.pod.Spec.SchedulingGroup != nil ||
			mode == policy.ModeOff || mode == policy.ModeEnforce {
			continue
		}
		if !calls.Call(r.pod.Spec.SchedulerName) {
			findings = append(findings, found(CodeQuotaNotCounted, r.object(), "%s, and its scheduler is %q", shares,
				r.pod.Spec.SchedulerName))
			continue
		}
		if !shares.LocalReplicas.Set || quota == 0 {
			continue // Only LOCAL_REPLICAS says how many replicas should be local, other shares how many may be.
		}
		wanted := policy.LocalReplicasAnnotation + "=" + shares.LocalReplicas.String()
		if shares.LocalReplicas.Percent {
			wanted += fmt.Sprintf(", which are %d of %d replicas", quota, r.replicas)
		}
		room, selected := s.room(&r.pod.Spec, quota)
		if room >= quota {
			continue
		}
		message := fmt.Sprintf("%s, and %s can hold %d of its Pods when they are empty", wanted,
			count(selected, "local node that they select", "local nodes that they select"), room)
		if selected == 0 {
			message = wanted + ", and no local node has the labels that its Pods select"
		}
		findings = append(findings, found(CodeQuotaNotMet, r.object(), "%s", message))
	}
	return findings
}

// inherited returns the annotations that count for a Pod of those that may stand on its namespace too.
func (s *Snapshot) inherited(pod *corev1.Pod) map[string]string {
	return policy.Inherit(pod.Annotations, nil, s.namespace(pod.Namespace).Annotations)
}

// namespace returns a namespace, an empty one if it is not known.
func (s *Snapshot) namespace(name string) *corev1.Namespace {
	if s.byName == nil {
		s.byName = make(map[string]*corev1.Namespace, len(s.Namespaces))
		for _, n := range s.Namespaces {
			s.byName[n.Name] = n
		}
	}
	if n := s.byName[name]; n != nil {
		return n
	}
	return &corev1.Namespace{}
}

// checkShares finds shares that contradict each other, that leave replicas which may run nowhere, and those without
// effect.
func checkShares(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	global, _ := policy.ParseSwitch(s.Switch) // A malformed one is a state of the switch.
	for _, r := range revisions(s.Pods) {
		n := s.namespace(r.namespace)
		values := s.inherited(r.pod)
		if !policy.HasShares(values) {
			continue
		}
		_, ownErr := policy.ParseShares(r.pod.Annotations)
		_, namespaceErr := policy.ParseShares(n.Annotations)
		shares, err := policy.ParseShares(values)
		switch {
		case ownErr != nil || namespaceErr != nil:
			continue // Other checks report it.
		case err != nil:
			findings = append(findings, found(CodeSharesContradict, r.object(), "%s",
				policy.Summary(strings.Split(err.Error(), "\n"))))
			continue
		case r.pod.Spec.SchedulingGroup != nil:
			findings = append(findings, found(CodeGroupShares, r.object(), "%s", shares))
			continue
		}
		decision := s.Policy.Decide(policy.Input{
			Pod: r.pod, Global: global, NamespaceLabels: n.Labels, NamespaceAnnotations: n.Annotations,
		})
		local, cloud := decision.Shares.LocalCap(r.replicas), decision.Shares.CloudCap(r.replicas)
		if decision.Placement == policy.PlacementCloudOnly {
			local = 0
		}
		// A cap that does not exist is larger than any number of replicas, and a sum with it may overflow.
		if decision.MayBurst() && local < r.replicas && cloud < r.replicas-local {
			findings = append(findings, found(CodeSharesTooSmall, r.object(),
				"%s: of %d replicas %d may run on local nodes and %d in the cloud",
				decision.Shares, r.replicas, local, cloud))
		}
	}
	return findings
}

// minimumWaits is how long a Pod must have waited for room on local nodes. A node that an autoscaler adds needs
// minutes.
const minimumWaits = time.Hour

// checkWaits finds Pods that never burst and wait for so long that something must change.
func checkWaits(s *Snapshot) []diagnosis.Finding {
	waiting := map[string][]string{}
	for _, pod := range s.Pods {
		scheduled := policy.PodCondition(pod, corev1.PodScheduled)
		if pod.Spec.NodeName != "" || !policy.IsActive(pod) || scheduled == nil ||
			!policy.RefusedWith(pod, policy.RefusalPrefix+string(policy.ReasonLocalMin)) ||
			s.Now.Sub(scheduled.LastTransitionTime.Time) < minimumWaits {
			continue
		}
		waiting[pod.Namespace] = append(waiting[pod.Namespace], pod.Namespace+"/"+pod.Name)
	}
	var findings []diagnosis.Finding
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		findings = append(findings, found(CodeMinimumWaits, "Namespace "+name, "%s: %s",
			count(len(waiting[name]), "Pod waits", "Pods wait"), some(waiting[name])))
	}
	return findings
}

// room returns how many Pods the local nodes could hold if nothing else ran on them, at most limit, and how many nodes
// the Pods select.
func (s *Snapshot) room(spec *corev1.PodSpec, limit int) (pods, selected int) {
	need := sizes.Need(spec)
	for _, node := range s.localNodes() {
		if !matches(spec, node) {
			continue
		}
		selected++
		fits := int64(limit)
		if allocatable, ok := node.Status.Allocatable[corev1.ResourcePods]; ok {
			fits = min(fits, allocatable.Value())
		}
		for name, quantity := range need {
			if quantity.MilliValue() > 0 {
				allocatable := node.Status.Allocatable[name]
				fits = min(fits, allocatable.MilliValue()/quantity.MilliValue())
			}
		}
		pods += int(fits)
	}
	return min(pods, limit), selected
}

// vnodeConfig is what is read of the configuration of vnode.
type vnodeConfig struct {
	Pods struct {
		Services   policy.ServicesMode `json:"services"`
		ClusterDNS []string            `json:"clusterDNS"`
		Proxy      struct {
			Image       string   `json:"image"`
			Nameservers []string `json:"nameservers"`
		} `json:"proxy"`
		KubeProxy struct {
			Image string `json:"image"`
		} `json:"kubeProxy"`
	} `json:"pods"`
}

func (s *Snapshot) vnode() (c vnodeConfig, err error) {
	if err = yaml.Unmarshal(s.VnodeConfig, &c); err != nil {
		return c, fmt.Errorf("reading vnode.yaml: %w", err)
	}
	c.Pods.Services = cmp.Or(c.Pods.Services, policy.ServicesOff)
	return c, nil
}

// lacks returns what the configuration lacks for a mode, empty if it has everything.
func (c vnodeConfig) lacks(mode policy.ServicesMode) string {
	dns := len(c.Pods.ClusterDNS) > 0
	switch mode {
	case policy.ServicesRouted:
		if !dns {
			return "pods.clusterDNS"
		}
	case policy.ServicesProxy:
		switch {
		case c.Pods.Proxy.Image == "":
			return "pods.proxy.image"
		case !dns && len(c.Pods.Proxy.Nameservers) == 0:
			return "pods.clusterDNS or pods.proxy.nameservers"
		}
	case policy.ServicesKubeProxy:
		switch {
		case c.Pods.KubeProxy.Image == "":
			return "pods.kubeProxy.image"
		case !dns:
			return "pods.clusterDNS"
		}
	}
	return ""
}

func checkServices(s *Snapshot) []diagnosis.Finding {
	config, err := s.vnode()
	if err != nil {
		return []diagnosis.Finding{found(CodeServicesMode, "ConfigMap spillway-vnode", "%v", err)}
	}
	var findings []diagnosis.Finding
	if lacks := config.lacks(config.Pods.Services); lacks != "" {
		findings = append(findings, found(CodeServicesMode, "ConfigMap spillway-vnode",
			"the mode of all Pods is %s, and %s is not set", config.Pods.Services, lacks))
	}
	for _, r := range revisions(s.Pods) {
		if _, ok := r.pod.Annotations[policy.ServicesAnnotation]; !ok || !policy.ToleratesProvider(&r.pod.Spec) {
			continue
		}
		mode, err := policy.ParseServices(r.pod.Annotations)
		if err != nil {
			findings = append(findings, found(CodeKeyMalformed, r.object(), "%v", err))
		} else if lacks := config.lacks(mode); lacks != "" {
			findings = append(findings, found(CodeServicesMode, r.object(),
				"it asks for the mode %s, and %s of vnode is not set", mode, lacks))
		}
	}
	return findings
}

func checkDNS(s *Snapshot) []diagnosis.Finding {
	config, err := s.vnode()
	if err != nil || config.Pods.Services != policy.ServicesKubeProxy || len(s.DNS) == 0 {
		return nil // checkServices reports the error.
	}
	for _, address := range config.Pods.ClusterDNS {
		if slices.Contains(s.DNS, address) {
			return nil
		}
	}
	return []diagnosis.Finding{found(CodeClusterDNS, "ConfigMap spillway-vnode",
		"pods.clusterDNS is %s, and that of the cluster "+
			"%s", strings.Join(config.Pods.ClusterDNS, ", "), strings.Join(s.DNS, ", "))}
}
