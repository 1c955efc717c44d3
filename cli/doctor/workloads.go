package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

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
}

// revisions returns one active Pod of each revision, sorted by namespace and owner.
func revisions(pods []*corev1.Pod) []revision {
	var all []revision
	seen := map[any]bool{}
	for _, pod := range pods {
		if !policy.IsActive(pod) {
			continue
		}
		key := any(policy.RevisionOf(pod))
		if seen[key] {
			continue
		}
		seen[key] = true
		owner := "Pod " + pod.Name
		if controller := metav1.GetControllerOfNoCopy(pod); controller != nil {
			owner = controller.Kind + " " + controller.Name
		}
		all = append(all, revision{pod.Namespace, owner, pod})
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
		_, switchErr := policy.ParseSwitch(r.pod.Annotations)
		_, modeErr := policy.ResolveMode(r.pod.Labels, nil, nil)
		for _, err := range []error{quotaErr, switchErr, modeErr} {
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
		shares, err := policy.ParseShares(r.pod.Annotations)
		quota, ok := shares.LocalReplicas.Value, shares.LocalReplicas.Set
		mode, modeErr := policy.ResolveMode(r.pod.Labels, nil, nil)
		if !ok || err != nil || modeErr != nil || quota == 0 || mode == policy.ModeOff || mode == policy.ModeEnforce {
			continue
		}
		if !calls.Call(r.pod.Spec.SchedulerName) {
			findings = append(findings, found(CodeQuotaNotCounted, r.object(), "%s=%d, and its scheduler is %q",
				policy.LocalReplicasAnnotation, quota, r.pod.Spec.SchedulerName))
			continue
		}
		room, selected := s.room(&r.pod.Spec, quota)
		if room >= quota {
			continue
		}
		message := fmt.Sprintf("%s=%d, and %s can hold %d of its Pods when they are empty",
			policy.LocalReplicasAnnotation, quota,
			count(selected, "local node that they select", "local nodes that they select"), room)
		if selected == 0 {
			message = fmt.Sprintf("%s=%d, and no local node has the labels that its Pods select",
				policy.LocalReplicasAnnotation, quota)
		}
		findings = append(findings, found(CodeQuotaNotMet, r.object(), "%s", message))
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
