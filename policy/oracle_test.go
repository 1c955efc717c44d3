package policy_test

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/policytest"
)

var oracleSeed = flag.Uint64("seed", 0, "decide only the random Pod with this seed, to look at a failure again")

// story is a Pod in so few words that a reader can decide it by hand. pod() makes the real Pod of it, expect() decides
// it: written from the sources (docs/sources.md) and the design page, line by line, with nothing of the package under
// test.
type story struct {
	namespace                    string
	daemonSet                    bool
	podLabel, podAlias           string // "" for no label
	workloadLabel, workloadAlias string
	namespaceLabel               string
	cloudLimits, allowOversize   string
	global, local                string // "" for no key
	quota                        string
	group                        bool
	replacement                  string
	replacements                 []storyReplacement // what replacement says, where it is not malformed
	flavor, services             string
	fixedIP                      bool
	sysctl, portRange            string
	containers                   []storyContainer
	volumes                      []storyVolume
	hostNetwork, hostPID         bool
	hostIPC, dynamicClaims       bool
	groups                       string
	wholePod                     [2]int64 // milli CPU and Mi of the Pod as a whole; 0 for not said
	claims                       map[string]string
	nodes                        []policy.VirtualNode
	selector                     map[string]string
	terms                        []storyTerm
	podAffinity, spread          string // a topologyKey, "" for none
	softSpread                   bool
	extended                     string // a resource of the first container
	extendedAmount               int64
	disabled                     []string
	cci1                         bool // The cloud is CCI 1.0.
}

type storyReplacement struct {
	name, policy string
	gib          string
}

type storyContainer struct {
	name                         string
	kind                         string // app, init, sidecar
	containerPort, hostPort      int
	portName                     string
	probe                        string // "", httpGet, tcpSocket, grpc, exec
	probeSlot                    int
	probePort                    int
	probeName                    string
	milliRequest, milliLimit     int64 // 0 for not said
	mibRequest, mibLimit         int64
	privileged, device, restarts bool
	ownPolicy, fromFile          bool // A restartPolicy of its own; a variable from a file.
	gibDisk                      int64
	mounts                       []storyMount
}

// storyTerm is a term of the required node affinity with one requirement.
type storyTerm struct {
	key      string
	operator string
	values   []string
}

type storyMount struct{ volume, subPath, subPathExpr string }

type storyVolume struct {
	// kind is hostPath, emptyDir, configMap, secret, downwardAPI, projected, nfs, claim, ephemeral, csi, gitRepo, iscsi
	// or certificate.
	name, kind string
	path       string // of a hostPath
	limit      string // of an emptyDir
	claim      string
}

// outcome is the result that expect computes.
type outcome struct {
	placement, mode, reason string
	quota                   int // -1 for none
	broken                  []string
}

func (s story) expect(sizes []policytest.Size) outcome {
	// 1. May it burst? The label of the Pod, else of its workload, else of its namespace; the alias only without a
	// label.
	mode, byNamespace := "", false
	for _, label := range []string{s.podLabel, s.podAlias, s.workloadLabel, s.workloadAlias} {
		if mode == "" {
			mode = label
		}
	}
	if mode == "" && s.namespaceLabel == "enabled" {
		mode, byNamespace = "enforce", true
	}
	v := outcome{mode: mode, quota: -1}
	if mode == "enforce" {
		v.placement, v.reason = "CloudOnly", "LabelEnforce"
		if byNamespace {
			v.reason = "NamespaceEnforce"
		}
	} else if mode == "localPrefer" {
		v.placement, v.reason = "LocalFirst", "LabelLocalPrefer"
	} else if mode == "auto" {
		v.placement, v.reason = "ByScore", "LabelAuto"
	} else if mode == "off" {
		return outcome{placement: "LocalOnly", mode: "off", reason: "LabelOff", quota: -1}
	} else if mode != "" {
		return outcome{placement: "LocalOnly", mode: "off", reason: "InvalidPolicy", quota: -1}
	} else if s.local != "" && s.local != "true" && s.local != "false" {
		return outcome{placement: "LocalOnly", reason: "InvalidPolicy", quota: -1}
	} else if (s.global == "false" || s.global == "yes") && s.local != "true" {
		return outcome{placement: "LocalOnly", reason: "SwitchOff", quota: -1}
	} else {
		v.placement, v.reason = "LocalFirst", "SwitchOn"
	}

	// 2. May the namespace use the cloud, and can the Pod run there at all?
	switch s.cloudLimits {
	case "pods=0":
		return outcome{placement: "LocalOnly", mode: mode, reason: "CloudForbidden", quota: -1}
	case "pods=-1":
		return outcome{placement: "LocalOnly", mode: mode, reason: "InvalidNamespacePolicy", quota: -1}
	}
	for _, rule := range s.broken(sizes) {
		if !slices.Contains(s.disabled, rule) {
			v.broken = append(v.broken, rule)
		}
	}
	if len(v.broken) > 0 {
		v.placement, v.reason = "LocalOnly", v.broken[0]
		return v
	}
	if s.replacement == "malformed" &&
		slices.ContainsFunc(s.volumes, func(v storyVolume) bool { return v.kind == "hostPath" }) {
		v.placement, v.reason = "LocalOnly", "InvalidPolicy"
		return v
	}

	// 3. Where first?
	if s.quota == "" || v.placement == "CloudOnly" {
		return v
	}
	if s.quota != "0" && s.quota != "1" && s.quota != "25" {
		v.placement, v.reason = "LocalOnly", "InvalidPolicy"
		return v
	}
	if s.group {
		v.placement, v.reason = "LocalOnly", "SchedulingGroup"
		return v
	}
	v.placement = "LocalFirst"
	fmt.Sscan(s.quota, &v.quota)
	return v
}

// broken lists the rules that the Pod breaks, in the order of the documentation.
func (s story) broken(sizes []policytest.Size) []string {
	var broken []string
	volumes, mounts := s.inTheCloud()
	reserved := func(port int) bool { return port >= 61000 && port <= 65534 }

	if s.daemonSet {
		broken = append(broken, "DaemonsetForbidden")
	}
	if s.namespace == "kube-system" || s.namespace == "tke-eni-ip-webhook" {
		broken = append(broken, "ProtectedNamespace")
	}
	if s.sysctl != "net.core.somaxconn" {
		switch s.portRange {
		case "", "1024 60999", "32768\t60999", "65535 65535", "1 2":
		default:
			broken = append(broken, "LocalPortRange")
		}
	}
	for _, c := range s.containers {
		if reserved(c.containerPort) || reserved(c.hostPort) {
			broken = append(broken, "ReservedPort")
			break
		}
	}
	for _, c := range s.containers {
		port := c.probePort
		if c.probeName != "" && c.probe != "grpc" { // A gRPC probe has a number only.
			port = 0
			if c.probeName == c.portName {
				port = c.containerPort
			}
		}
		if c.probe != "" && c.probe != "exec" && reserved(port) {
			broken = append(broken, "ProbePort")
			break
		}
	}
	if s.fixedIP {
		broken = append(broken, "FixedIP")
	}
	for _, v := range volumes {
		if v.kind == "hostPath" && v.path != "/etc/localtime" {
			broken = append(broken, "HostPath")
			break
		}
	}
	for _, v := range volumes {
		if v.kind == "csi" || v.kind == "gitRepo" || v.kind == "iscsi" || v.kind == "certificate" {
			broken = append(broken, "VolumeKind")
			break
		}
	}
	for _, v := range volumes {
		claim := v.claim
		if v.kind == "ephemeral" {
			claim = "web-" + v.name
		}
		if v.kind != "claim" && v.kind != "ephemeral" {
			continue
		}
		if s.cci1 || s.claims[claim] != "nas.csi.everest.io" && s.claims[claim] != "sfsturbo.csi.everest.io" {
			broken = append(broken, "PersistentVolumeKind")
			break
		}
	}
	if slices.ContainsFunc(volumes, func(v storyVolume) bool { return !v.canBeSplit(mounts) }) {
		broken = append(broken, "EmptyDirSubPath")
	}
	bought, fits := s.size(sizes)
	if s.cci1 {
		bought, fits = s.sizeInCCI1()
	}
	cores := float64(s.need(milliCPU)) / 1000
	if fits {
		cores = bought.VCPU
	}
	whole := int64(1)
	for float64(whole) < cores {
		whole++
	}
	for _, v := range volumes {
		limits := map[string]int64{
			"":       0,
			"0":      0,
			"1Gi":    1,
			"10Gi":   10,
			"11Gi":   11,
			"40Gi":   40,
			"41Gi":   41,
			"2048Mi": 2,
		} // 1500Mi, 1.5Gi: no Gi.
		if gib, whole1 := limits[v.limit]; v.kind == "emptyDir" && (!whole1 || gib > 10*whole) {
			broken = append(broken, "EmptyDirSizeLimit")
			break
		}
	}
	if s.hostNetwork || s.hostPID || s.hostIPC {
		broken = append(broken, "HostNamespace")
	}
	for _, rule := range []struct {
		name   string
		breaks func(storyContainer) bool
	}{
		{"Privileged", func(c storyContainer) bool { return c.privileged }},
		{"GRPCProbe", func(c storyContainer) bool { return c.probe == "grpc" }},
		{"BlockDevice", func(c storyContainer) bool { return c.device }},
	} {
		if slices.ContainsFunc(s.containers, rule.breaks) {
			broken = append(broken, rule.name)
		}
	}
	if s.dynamicClaims {
		broken = append(broken, "DynamicResource")
	}
	if slices.ContainsFunc(
		s.containers,
		func(c storyContainer) bool { return c.restarts || c.ownPolicy && c.kind != "sidecar" },
	) {
		broken = append(broken, "RestartRules")
	}
	if s.groups == "Strict" {
		broken = append(broken, "SupplementalGroupsPolicy")
	}
	if s.cci1 && (s.services == "proxy" || s.services == "kube-proxy" ||
		slices.ContainsFunc(
			s.containers,
			func(c storyContainer) bool { return c.kind == "sidecar" || c.probe == "tcpSocket" && c.probeSlot == 2 },
		)) {
		broken = append(broken, "NotInCCI1")
	}
	if slices.ContainsFunc(s.containers, func(c storyContainer) bool { return c.fromFile }) {
		broken = append(broken, "VariableSource")
	}
	if s.need(disk) > 994 && !s.cci1 {
		broken = append(broken, "EphemeralStorage")
	}
	if !fits {
		broken = append(broken, "NoFlavor")
	}
	if fits && s.flavor != "" && s.allowOversize != "true" && !s.cci1 {
		without := s
		without.flavor = ""
		enough, _ := without.size(sizes)
		if s.need(milliCPU) == 0 && s.need(mib) == 0 {
			enough = policytest.Size{VCPU: 0.5, GiB: 1} // The default.
		}
		if bought.VCPU > enough.VCPU || bought.GiB > enough.GiB {
			broken = append(broken, "OversizedFlavor")
		}
	}
	return append(broken, s.brokenByNodes()...)
}

// brokenByNodes lists the rules about what virtual nodes are and have.
func (s story) brokenByNodes() []string {
	var broken []string
	if s.extended != "" && s.extended != "spillway.io/placement" && s.extendedAmount > 0 {
		broken = append(broken, "ExtendedResource")
	}
	var matching []policy.VirtualNode
	for _, node := range s.nodes {
		if s.selects(node) {
			matching = append(matching, node)
		}
	}
	candidates := matching
	if len(matching) == 0 {
		candidates = s.nodes
	}
	missing := func(key string) bool {
		if key == "" || len(candidates) == 0 {
			return false
		}
		for _, node := range candidates {
			if _, ok := node.Labels[key]; ok {
				return false
			}
		}
		return true
	}
	if missing(s.podAffinity) {
		broken = append(broken, "PodAffinity")
	}
	if missing(s.spread) && !s.softSpread {
		broken = append(broken, "TopologySpread")
	}
	if len(s.nodes) > 0 && len(matching) == 0 {
		broken = append(broken, "NodeSelector")
	}
	return broken
}

// selects says whether the Pod may be on a node by its selector and one of its terms.
func (s story) selects(node policy.VirtualNode) bool {
	for key, value := range s.selector {
		if node.Labels[key] != value {
			return false
		}
	}
	if len(s.terms) == 0 {
		return true
	}
	for _, term := range s.terms {
		value, has := node.Labels[term.key]
		if term.key == "metadata.name" {
			value, has = node.Name, true
		}
		var number, limit int
		fmt.Sscan(value, &number)
		if len(term.values) > 0 {
			fmt.Sscan(term.values[0], &limit)
		}
		switch {
		case term.operator == "In" && has && slices.Contains(term.values, value),
			term.operator == "NotIn" && !(has && slices.Contains(term.values, value)),
			term.operator == "Exists" && has,
			term.operator == "DoesNotExist" && !has,
			term.operator == "Gt" && number > limit && number != 0,
			term.operator == "Lt" && number < limit && number != 0:
			return true
		}
	}
	return false
}

// canBeSplit says whether no mount shows a part of an emptyDir, or each part can be a volume of its own.
func (v storyVolume) canBeSplit(mounts []storyMount) bool {
	if v.kind != "emptyDir" {
		return true
	}
	whole, parts := 0, map[string]bool{}
	for _, m := range mounts {
		switch {
		case m.volume != v.name:
		case m.subPathExpr != "":
			return false
		case m.subPath == "":
			whole++
		default:
			parts[strings.TrimSuffix(strings.TrimPrefix(m.subPath, "./"), "/")] = true
		}
	}
	inside := parts["sub/in"] && parts["sub"] // No other two of these directories are.
	limited := v.limit != "" && v.limit != "0" && len(parts) > 1
	return len(parts) == 0 || whole == 0 && !inside && !limited
}

// inTheCloud says which volumes and mounts are left once the hostPath volumes are replaced.
func (s story) inTheCloud() ([]storyVolume, []storyMount) {
	var volumes []storyVolume
	removed := map[string]bool{}
	for _, v := range s.volumes {
		var rule *storyReplacement
		if v.kind == "hostPath" && s.replacement != "malformed" {
			for _, r := range s.replacements {
				if r.name == "*" && v.path != "/etc/localtime" {
					rule = &r
				}
			}
			for _, r := range s.replacements {
				if r.name == v.name {
					rule = &r
				}
			}
		}
		if rule == nil {
			volumes = append(volumes, v)
		} else if rule.policy == "remove" {
			removed[v.name] = true
		} else {
			volumes = append(volumes, storyVolume{name: v.name, kind: "emptyDir", limit: rule.gib})
		}
	}
	var mounts []storyMount
	for _, c := range s.containers {
		for _, m := range c.mounts {
			if !removed[m.volume] {
				mounts = append(mounts, m)
			}
		}
	}
	return volumes, mounts
}

const milliCPU, mib, disk = 0, 1, 2

// need adds up what the story asks of one resource.
func (s story) need(resource int) int64 {
	asked := func(c storyContainer) int64 {
		request, limit := c.milliRequest, c.milliLimit
		switch resource {
		case mib:
			request, limit = c.mibRequest, c.mibLimit
		case disk:
			request, limit = c.gibDisk, 0
		}
		if limit != 0 {
			return limit
		}
		return request
	}
	var apps, allSidecars, most int64
	for i, c := range s.containers {
		switch c.kind {
		case "app":
			apps += asked(c)
		case "sidecar":
			allSidecars += asked(c)
		}
		if c.kind != "app" { // While it starts, the sidecars before it run too.
			together := asked(c)
			for _, earlier := range s.containers[:i] {
				if earlier.kind == "sidecar" {
					together += asked(earlier)
				}
			}
			most = max(most, together)
		}
	}
	if resource == disk {
		return max(most, apps+allSidecars)
	}
	return max(most, apps+allSidecars, s.wholePod[resource])
}

// sizeInCCI1 looks through all that CCI 1.0 sells, for the smallest that holds the containers, each rounded on its own.
func (s story) sizeInCCI1() (best policytest.Size, ok bool) {
	var apps, most policytest.Size
	for _, c := range s.containers {
		one := policytest.Size{
			VCPU: float64(cmp.Or(c.milliLimit, c.milliRequest)) / 1000,
			GiB:  float64(cmp.Or(c.mibLimit, c.mibRequest)) / 1024,
		}
		if one != (policytest.Size{}) {
			one = policytest.Size{VCPU: max(math.Ceil(one.VCPU*4)/4, 0.25), GiB: max(one.GiB, 0.2)}
		}
		most = policytest.Size{VCPU: max(most.VCPU, one.VCPU), GiB: max(most.GiB, one.GiB)}
		if c.kind == "app" {
			apps = policytest.Size{VCPU: apps.VCPU + one.VCPU, GiB: apps.GiB + one.GiB}
		}
	}
	together := policytest.Size{VCPU: float64(s.need(milliCPU)) / 1000, GiB: float64(s.need(mib)) / 1024}
	if together.VCPU == 0 && together.GiB > 0 {
		return policytest.Size{}, false
	}
	return smallestOfCCI1(
		policytest.Size{VCPU: max(apps.VCPU, most.VCPU, together.VCPU), GiB: max(apps.GiB, most.GiB, together.GiB)},
	)
}

// smallestOfCCI1 is the smallest pair of quarters of a core and whole GiB, with 2 to 8 GiB for each core, that holds
// need.
func smallestOfCCI1(need policytest.Size) (policytest.Size, bool) {
	for quarters := 1; quarters <= 4*32; quarters++ {
		for gib := 1; gib <= 256; gib++ {
			one := policytest.Size{VCPU: float64(quarters) / 4, GiB: float64(gib)}
			if one.VCPU >= need.VCPU && one.GiB >= need.GiB && one.GiB >= 2*one.VCPU && one.GiB <= 8*one.VCPU {
				return one, true
			}
		}
	}
	return policytest.Size{}, false
}

// size looks through all that is sold.
func (s story) size(sizes []policytest.Size) (best policytest.Size, ok bool) {
	needCPU, needMiB := float64(s.need(milliCPU))/1000, float64(s.need(mib))
	for _, one := range sizes {
		if one.VCPU < needCPU || one.GiB*1024 < needMiB {
			continue
		}
		if s.flavor != "" {
			if fmt.Sprintf("%.2f_%.1f", one.VCPU, one.GiB) == s.flavor {
				return one, true
			}
			continue
		}
		if !ok || one.VCPU < best.VCPU || one.VCPU == best.VCPU && one.GiB < best.GiB {
			best, ok = one, true
		}
	}
	return best, ok
}

// input makes the real thing.
func (s story) input() policy.Input {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: s.namespace}}
	pod.Labels = present(map[string]string{burstLabel: s.podLabel, burstAlias: s.podAlias})
	pod.Annotations = present(map[string]string{
		"AUTO_SCALE_EKS": s.local, "LOCAL_REPLICAS": s.quota, policy.FlavorAnnotation: s.flavor,
		policy.ServicesAnnotation:                 s.services,
		"coordinator.cci.io/hostpath-replacement": s.replacementText(),
	})
	if s.fixedIP {
		pod.Annotations["tke.cloud.tencent.com/vpc-ip-claim-delete-policy"] = "Never"
	}
	yes, kind := true, "ReplicaSet"
	if s.daemonSet {
		kind = "DaemonSet"
	}
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Controller: &yes}}
	pod.Spec = s.spec()
	global, _ := policy.ParseSwitch(present(map[string]string{"AUTO_SCALE_EKS": s.global}))
	if s.group {
		pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("train")}
	}
	return policy.Input{
		Pod: pod, Global: global, Claims: s.claims, Nodes: s.nodes,
		WorkloadLabels:  present(map[string]string{burstLabel: s.workloadLabel, burstAlias: s.workloadAlias}),
		NamespaceLabels: present(map[string]string{"virtual-node-affinity-injection": s.namespaceLabel}),
		NamespaceAnnotations: present(map[string]string{
			"spillway.io/cloud-limits": s.cloudLimits, "spillway.io/allow-oversize": s.allowOversize,
		}),
	}
}

func present(values map[string]string) map[string]string {
	for key, value := range values {
		if value == "" {
			delete(values, key)
		}
	}
	return values
}

func (s story) replacementText() string {
	if s.replacement == "malformed" {
		return `[{"name":"v0","policyType":"remove"},]`
	}
	var entries []string
	for _, r := range s.replacements {
		entry := fmt.Sprintf(`{"name":%q,"policyType":%q}`, r.name, r.policy)
		if r.gib != "" {
			entry = fmt.Sprintf(`{"emptyDir":{"sizeLimit":%q},"name":%q,"policyType":%q}`, r.gib, r.name, r.policy)
		}
		entries = append(entries, entry)
	}
	if entries == nil {
		return ""
	}
	return "[" + strings.Join(entries, ", ") + "]"
}

func (s story) spec() corev1.PodSpec {
	spec := corev1.PodSpec{HostNetwork: s.hostNetwork, HostPID: s.hostPID, HostIPC: s.hostIPC}
	if s.portRange != "" || s.groups != "" {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if s.portRange != "" {
		spec.SecurityContext.Sysctls = []corev1.Sysctl{
			{Name: "kernel.shm_rmid_forced", Value: "0"},
			{Name: s.sysctl, Value: s.portRange},
		}
	}
	if s.groups != "" {
		groups := corev1.SupplementalGroupsPolicy(s.groups)
		spec.SecurityContext.SupplementalGroupsPolicy = &groups
	}
	if s.dynamicClaims {
		spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}}
	}
	if s.wholePod != [2]int64{} {
		spec.Resources = &corev1.ResourceRequirements{Limits: quantities(s.wholePod[milliCPU], s.wholePod[mib])}
	}
	for _, c := range s.containers {
		switch c.kind {
		case "app":
			spec.Containers = append(spec.Containers, c.container())
		case "init":
			spec.InitContainers = append(spec.InitContainers, c.container())
		case "sidecar":
			sidecar, always := c.container(), corev1.ContainerRestartPolicyAlways
			sidecar.RestartPolicy = &always
			spec.InitContainers = append(spec.InitContainers, sidecar)
		}
	}
	for _, v := range s.volumes {
		spec.Volumes = append(spec.Volumes, v.volume())
	}
	s.setConstraints(&spec)
	if s.extended != "" {
		list := append(spec.InitContainers, spec.Containers...)
		list[0].Resources.Limits[corev1.ResourceName(s.extended)] = *resource.NewQuantity(
			s.extendedAmount, resource.DecimalSI)
	}
	return spec
}

// setConstraints sets what says on which nodes the Pod may be.
func (s story) setConstraints(spec *corev1.PodSpec) {
	spec.NodeSelector = s.selector
	spec.Affinity = &corev1.Affinity{}
	for _, term := range s.terms {
		if spec.Affinity.NodeAffinity == nil {
			spec.Affinity.NodeAffinity = &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{},
			}
		}
		requirement := []corev1.NodeSelectorRequirement{
			{Key: term.key, Operator: corev1.NodeSelectorOperator(term.operator), Values: term.values},
		}
		selectorTerm := corev1.NodeSelectorTerm{MatchExpressions: requirement}
		if term.key == "metadata.name" {
			selectorTerm = corev1.NodeSelectorTerm{MatchFields: requirement}
		}
		required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		required.NodeSelectorTerms = append(required.NodeSelectorTerms, selectorTerm)
	}
	if s.podAffinity != "" {
		spec.Affinity.PodAffinity = &corev1.PodAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: s.podAffinity}},
		}
		spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				{TopologyKey: "kubernetes.io/hostname"},
			},
		}
	}
	if s.spread != "" {
		constraint := corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: s.spread, WhenUnsatisfiable: corev1.DoNotSchedule,
		}
		if s.softSpread {
			constraint.WhenUnsatisfiable = corev1.ScheduleAnyway
		}
		spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{constraint}
	}
}

func quantities(milliCPU, mib int64) corev1.ResourceList {
	resources := corev1.ResourceList{}
	if milliCPU != 0 {
		resources[corev1.ResourceCPU] = *resource.NewMilliQuantity(milliCPU, resource.DecimalSI)
	}
	if mib != 0 {
		resources[corev1.ResourceMemory] = *resource.NewQuantity(mib<<20, resource.BinarySI)
	}
	return resources
}

func (c storyContainer) container() corev1.Container {
	container := corev1.Container{
		Name: c.name,
		Resources: corev1.ResourceRequirements{
			Requests: quantities(c.milliRequest, c.mibRequest),
			Limits:   quantities(c.milliLimit, c.mibLimit),
		},
		SecurityContext: &corev1.SecurityContext{Privileged: &c.privileged},
	}
	if c.containerPort != 0 {
		container.Ports = []corev1.ContainerPort{
			{Name: "other", ContainerPort: 80},
			{Name: c.portName, ContainerPort: int32(c.containerPort), HostPort: int32(c.hostPort)},
		}
	}
	if c.probe != "" {
		slots := []**corev1.Probe{&container.LivenessProbe, &container.ReadinessProbe, &container.StartupProbe}
		*slots[c.probeSlot] = c.probeOf()
	}
	if c.device {
		container.VolumeDevices = []corev1.VolumeDevice{{Name: "data", DevicePath: "/dev/xvda"}}
	}
	if c.gibDisk != 0 {
		disk := resource.NewQuantity(c.gibDisk<<30, resource.BinarySI)
		container.Resources.Requests[corev1.ResourceEphemeralStorage] = *disk
	}
	if c.ownPolicy {
		always := corev1.ContainerRestartPolicyAlways
		if c.kind == "init" {
			always = "Never"
		}
		container.RestartPolicy = &always
	}
	container.Env = []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "B", ValueFrom: &corev1.EnvVarSource{}}}
	if c.fromFile {
		container.Env[1].ValueFrom.FileKeyRef = &corev1.FileKeySelector{VolumeName: "v0"}
	}
	if c.restarts {
		container.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart}}
	}
	for _, m := range c.mounts {
		container.VolumeMounts = append(
			container.VolumeMounts,
			corev1.VolumeMount{
				Name:        m.volume,
				MountPath:   "/" + m.volume,
				SubPath:     m.subPath,
				SubPathExpr: m.subPathExpr,
			},
		)
	}
	return container
}

func (c storyContainer) probeOf() *corev1.Probe {
	port := intstr.FromInt(c.probePort)
	if c.probeName != "" {
		port = intstr.FromString(c.probeName)
	}
	switch c.probe {
	case "httpGet":
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port}}}
	case "tcpSocket":
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}}
	case "grpc":
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(c.probePort)}}}
	default:
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}
	}
}

func (v storyVolume) volume() corev1.Volume {
	volume := corev1.Volume{Name: v.name}
	switch v.kind {
	case "hostPath":
		volume.HostPath = &corev1.HostPathVolumeSource{Path: v.path}
	case "emptyDir":
		volume.EmptyDir = &corev1.EmptyDirVolumeSource{}
		if v.limit != "" {
			limit := resource.MustParse(v.limit)
			volume.EmptyDir.SizeLimit = &limit
		}
	case "configMap":
		volume.ConfigMap = &corev1.ConfigMapVolumeSource{}
	case "secret":
		volume.Secret = &corev1.SecretVolumeSource{}
	case "downwardAPI":
		volume.DownwardAPI = &corev1.DownwardAPIVolumeSource{}
	case "projected":
		volume.Projected = &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{}}, {Secret: &corev1.SecretProjection{}},
			{
				DownwardAPI: &corev1.DownwardAPIProjection{},
			}, {ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}},
		}}
	case "certificate":
		volume.Projected = &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{}}, {PodCertificate: &corev1.PodCertificateProjection{}},
		}}
	case "nfs":
		volume.NFS = &corev1.NFSVolumeSource{}
	case "claim":
		volume.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.claim}
	case "ephemeral":
		volume.Ephemeral = &corev1.EphemeralVolumeSource{}
	case "csi":
		volume.CSI = &corev1.CSIVolumeSource{}
	case "gitRepo":
		volume.GitRepo = &corev1.GitRepoVolumeSource{}
	case "iscsi":
		volume.ISCSI = &corev1.ISCSIVolumeSource{}
	}
	return volume
}

// tellStory invents a Pod. Most of it is plain, or every Pod would break some rule and nothing else were tried.
func tellStory(seed uint64) story {
	rng := rand.New(rand.NewPCG(seed, 0))
	rarely := func() bool { return rng.IntN(30) == 0 }
	pick := func(values ...string) string { return values[rng.IntN(len(values))] }
	mode := func() string { return pick("", "", "", "enforce", "localPrefer", "auto", "off", "on") }
	s := story{
		namespace:      "default",
		namespaceLabel: pick("", "", "enabled", "true"),
		allowOversize:  pick("", "", "true", "false"),
		cloudLimits:    pick("", "", "", "", "", "pods=5", "pods=0", "pods=-1"),
		podLabel:       mode(),
		workloadLabel:  mode(),
		global:         pick("", "true", "false", "yes"),
		local:          pick("", "true", "false"),
		sysctl:         pick("net.ipv4.ip_local_port_range", "net/ipv4/ip_local_port_range", "net.core.somaxconn"),
		groups:         pick("", "", "Merge"),
		claims: map[string]string{
			"sfs":    "nas.csi.everest.io",
			"turbo":  "sfsturbo.csi.everest.io",
			"disk":   "disk.csi.everest.io",
			"web-v0": "nas.csi.everest.io",
			"web-v1": "nfs",
		},
	}
	if rng.IntN(2) == 0 {
		s.podAlias, s.workloadAlias = mode(), mode()
	}
	if rarely() {
		s.local = pick("yes", "1", "on")
	}
	if rng.IntN(2) == 0 {
		s.quota = pick("0", "1", "25", "25", "25", "-1", "1.5", "many", "25 ")
	}
	s.group = rng.IntN(8) == 0
	if rarely() {
		s.namespace = pick("kube-system", "tke-eni-ip-webhook", "kube-public")
	}
	if rarely() {
		s.portRange = pick(
			"1024 60999",
			"32768\t60999",
			"65535 65535",
			"1 2",
			"32768 61000",
			"1024 65535",
			"61000-65534",
			"65534 65535",
			"x y",
			"x 80",
			"80 y",
			"1 2 3",
		)
	}
	if rarely() {
		s.flavor = pick("0.25_0.5", "2.00_4.0", "64.00_512.0", "3.00_4.0", "large")
	}
	s.cci1 = rng.IntN(6) == 0
	if rarely() {
		s.services = pick("off", "routed", "proxy", "kube-proxy", "sidecar")
	}
	if rarely() {
		s.groups = "Strict"
	}
	if rarely() {
		s.wholePod = [2]int64{rng.Int64N(8000), rng.Int64N(32 << 10)}
	}
	s.daemonSet, s.fixedIP, s.dynamicClaims = rarely(), rarely(), rarely()
	s.hostNetwork, s.hostPID, s.hostIPC = rarely(), rarely(), rarely()
	for i := range rng.IntN(4) {
		s.volumes = append(s.volumes, tellVolume(rng, fmt.Sprintf("v%d", i), pick))
	}
	s.tellReplacements(rng, pick)
	for i := range 1 + rng.IntN(3) {
		s.containers = append(s.containers, tellContainer(rng, fmt.Sprintf("c%d", i), s.volumes, rarely, pick))
	}
	s.tellConstraints(rng, pick)
	if rng.IntN(4) == 0 {
		s.disabled = append(s.disabled, string(policy.Rules()[rng.IntN(len(policy.Rules()))].Reason))
	}
	return s
}

// tellConstraints invents virtual nodes, and which nodes the Pod wants.
func (s *story) tellConstraints(rng *rand.Rand, pick func(...string) string) {
	for i := range rng.IntN(3) {
		labels := map[string]string{"type": "virtual-kubelet", "generation": pick("1", "2")}
		if rng.IntN(2) == 0 {
			labels["topology.kubernetes.io/zone"] = pick("a", "b")
		}
		if rng.IntN(4) == 0 {
			labels["kubernetes.io/hostname"] = fmt.Sprintf("virtual-%d", i)
		}
		s.nodes = append(s.nodes, policy.VirtualNode{Name: fmt.Sprintf("virtual-%d", i), Labels: labels})
	}
	if rng.IntN(15) == 0 {
		s.selector = map[string]string{"topology.kubernetes.io/zone": pick("a", "b", "c")}
		if rng.IntN(2) == 0 {
			s.selector["type"] = "virtual-kubelet"
		}
	}
	for rng.IntN(12) == 0 {
		term := storyTerm{
			key:      pick("topology.kubernetes.io/zone", "type", "disktype"),
			operator: pick("Exists", "DoesNotExist"),
		}
		switch rng.IntN(4) {
		case 0:
			term.operator, term.values = pick("In", "NotIn"), []string{pick("a", "b"), pick("c", "virtual-kubelet")}
		case 1:
			term.key, term.operator, term.values = "generation", pick("Gt", "Lt"), []string{pick("1", "2", "3")}
		case 2:
			term.key, term.operator, term.values = "metadata.name", pick(
				"In",
				"NotIn",
			), []string{
				pick("virtual-0", "local"),
			}
		}
		s.terms = append(s.terms, term)
	}
	topology := func() string { return pick("topology.kubernetes.io/zone", "kubernetes.io/hostname") }
	if rng.IntN(20) == 0 {
		s.podAffinity = topology()
	}
	if rng.IntN(15) == 0 {
		s.spread, s.softSpread = topology(), rng.IntN(3) == 0
	}
	if rng.IntN(20) == 0 {
		s.extended = pick("nvidia.com/gpu", "hugepages-2Mi", "example.com/fpga", "spillway.io/placement")
		s.extendedAmount = rng.Int64N(3)
	}
}

func tellVolume(rng *rand.Rand, name string, pick func(...string) string) storyVolume {
	v := storyVolume{
		name: name,
		kind: pick("emptyDir", "configMap", "secret", "downwardAPI", "projected", "nfs", "emptyDir", "hostPath"),
	}
	if rng.IntN(15) == 0 {
		v.kind = pick("claim", "ephemeral", "csi", "gitRepo", "iscsi", "certificate", "claim", "claim")
	}
	switch v.kind {
	case "hostPath":
		v.path = pick("/var/log", "/data", "/etc/localtime")
	case "emptyDir":
		v.limit = pick("", "", "0", "1Gi", "10Gi", "2048Mi")
		if rng.IntN(10) == 0 {
			v.limit = pick("11Gi", "40Gi", "41Gi", "1500Mi", "1.5Gi")
		}
	case "claim":
		v.claim = pick("sfs", "turbo", "disk", "unknown")
	}
	return v
}

func (s *story) tellReplacements(rng *rand.Rand, pick func(...string) string) {
	if rng.IntN(20) == 0 {
		s.replacement = "malformed"
		return
	}
	if rng.IntN(2) == 0 {
		return
	}
	names := []string{"*", "v0", "v1", "v2", "nowhere"}
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+rng.IntN(len(names))] {
		r := storyReplacement{name: name, policy: pick("remove", "replaceByEmptyDir")}
		if r.policy == "replaceByEmptyDir" {
			r.gib = pick("", "10Gi", "2048Mi", "40Gi", "1500Mi")
		}
		s.replacements = append(s.replacements, r)
	}
}

func tellContainer(
	rng *rand.Rand,
	name string,
	volumes []storyVolume,
	rarely func() bool,
	pick func(...string) string,
) storyContainer {
	c := storyContainer{name: name, kind: pick("app", "app", "init", "sidecar"), portName: pick("http", "health")}
	ports := []int{80, 8080, 60999, 65535}
	if rarely() {
		ports = []int{61000, 61001, 65534}
	}
	if rng.IntN(2) == 0 {
		c.containerPort = ports[rng.IntN(len(ports))]
		if rng.IntN(4) == 0 {
			c.hostPort = ports[rng.IntN(len(ports))]
		}
	}
	c.probe, c.probeSlot, c.probePort = pick(
		"",
		"httpGet",
		"tcpSocket",
		"exec",
	), rng.IntN(
		3,
	), ports[rng.IntN(len(ports))]
	if rng.IntN(2) == 0 {
		c.probeName = pick("http", "health")
	}
	if rarely() {
		c.probe = "grpc"
	}
	if rng.IntN(2) == 0 {
		c.milliRequest, c.mibRequest = 1+rng.Int64N(4000), 1+rng.Int64N(8<<10)
	}
	if rng.IntN(2) == 0 {
		c.milliLimit = 1 + rng.Int64N(4000)
	}
	if rng.IntN(2) == 0 {
		c.mibLimit = 1 + rng.Int64N(8<<10)
	}
	if rarely() {
		c.milliLimit, c.mibLimit = rng.Int64N(80_000), rng.Int64N(600<<10)
	}
	c.privileged, c.device, c.restarts = rarely(), rarely(), rarely()
	c.ownPolicy, c.fromFile = rarely(), rarely()
	if rarely() {
		c.gibDisk = 300 + rng.Int64N(800)
	}
	for _, v := range volumes {
		if rng.IntN(3) == 0 {
			continue
		}
		m := storyMount{volume: v.name}
		if rng.IntN(4) == 0 {
			m.subPath = []string{"sub", "sub/", "./sub", "sub/in", "sub-in", "other"}[rng.IntN(6)]
		} else if rarely() {
			m.subPathExpr = "$(POD_NAME)"
		}
		c.mounts = append(c.mounts, m)
	}
	return c
}

// TestDecideAgreesWithAnOracle decides random Pods twice, by the package and by hand.
func TestDecideAgreesWithAnOracle(t *testing.T) {
	all := policytest.Sizes(t)
	deciders := map[string]*policy.Policy{}
	for _, disabled := range append(policy.Rules(), policy.Rule{}) {
		for _, version := range []policy.CCIVersion{policy.CCI1, policy.CCI2} {
			config := policy.DefaultConfig()
			config.CCIVersion = version
			if disabled.Reason != "" {
				config.DisabledRules = []policy.Reason{disabled.Reason}
			}
			decider, err := policy.New(config)
			require.NoError(t, err)
			deciders[fmt.Sprint(disabled.Reason, version == policy.CCI1)] = decider
		}
	}
	check := func(t *testing.T, seed uint64) outcome {
		s := tellStory(seed)
		in := s.input()
		decider := deciders[fmt.Sprint(strings.Join(s.disabled, ""), s.cci1)]
		want, got := s.expect(all), verdictOf(decider, in)
		require.Equal(t, want, got, "look again with -run TestDecideAgreesWithAnOracle -seed %d: %+v", seed, s)
		return got
	}
	if *oracleSeed != 0 {
		check(t, *oracleSeed)
		return
	}
	const workers, each = 4, 25_000
	reasons := make([]map[string]int, workers)
	t.Run("all", func(t *testing.T) {
		for worker := range workers {
			base := rand.Uint64()
			reasons[worker] = map[string]int{}
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for i := range uint64(each) {
					reasons[worker][check(t, base+i).reason]++
				}
			})
		}
	})
	// What never came up was not tried.
	for _, reason := range constants(t, "reason.go") {
		if slices.Contains(
			[]string{
				"LocalQuotaReached",
				"LocalMinimum",
				"BurstAfter",
				"CloudMaximumReached",
				"CloudLimitsReached",
				"NotCounted",
				"PreemptFirst",
				"CloudOnly",
				"LocalOnly",
				"CloudSoldOut",
				"CloudQuota",
				"BurstAllowed",
				"WebhookMissed",
				"KeptLocal",
				"OtherScheduler",
				"Unmanaged",
				"MovingHome",
				"MovedHome",
				"StaysInCloud",
			},
			reason,
		) {
			continue // The extender's, the virtual node's and those of Events.
		}
		var count int
		for worker := range workers {
			count += reasons[worker][reason]
		}
		assert.Greater(t, count, 50, "%s was hardly tried", reason)
	}
}

func verdictOf(decider *policy.Policy, in policy.Input) outcome {
	decision := decider.Decide(in)
	v := outcome{
		placement: string(decision.Placement),
		mode:      string(decision.Mode),
		reason:    string(decision.Reason),
		quota:     -1,
	}
	if decision.Shares.LocalReplicas.Set {
		v.quota = decision.Shares.LocalReplicas.Value
	}
	if slices.ContainsFunc(policy.Rules(), func(r policy.Rule) bool { return r.Reason == decision.Reason }) {
		for _, violation := range decider.Restrictions(in) {
			v.broken = append(v.broken, string(violation.Reason))
		}
		v.broken = slices.Compact(v.broken)
	}
	return v
}
