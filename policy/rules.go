package policy

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Rule is one restriction of the cloud.
type Rule struct {
	// Reason names the rule.
	Reason Reason
	// Text describes what cannot run, for the documentation.
	Text string
	// Source is the document that the rule comes from: the chart or the plug-in that Spillway replaces, or the cloud's
	// own.
	Source string

	// check returns a message for each violation: what is wrong and what would be right.
	check func(subject) []string
}

// Violation is a rule that a Pod violates.
type Violation struct {
	Reason  Reason
	Message string
}

// subject is what rules check.
type subject struct {
	pod *corev1.Pod
	// spec is the Pod's spec with hostPath volumes replaced, as the cloud would receive it.
	spec *corev1.PodSpec
	// replaceErr is the error of applying the replacements.
	replaceErr error
	claims     map[string]string
	nodes      []VirtualNode
	settings   NamespaceSettings
	// defaultSize is the size of a Pod without requests.
	defaultSize sizes.Flavor
	ignored     IgnoredSelectors
	config      Config
}

// The ports that the cloud reserves. Source: TKE Resilience.
const (
	reservedPortLow  = 61000
	reservedPortHigh = 65534
)

const localPortRangeSysctl = "net.ipv4.ip_local_port_range"

// rules are all restrictions, in the order in which they are reported.
var rules = []Rule{
	{ReasonDaemonSet, "Pods of a DaemonSet", "TKE Resilience; CCE bursting", checkDaemonSet},
	{ReasonProtectedNamespace, "Pods of protected namespaces (configurable)", "TKE Resilience", checkNamespace},
	{
		ReasonLocalPortRange,
		"sysctl net.ipv4.ip_local_port_range that includes ports in 61000-65534, or that is not a range",
		"TKE Resilience",
		checkLocalPortRange,
	},
	{ReasonReservedPort, "a containerPort or hostPort in 61000-65534, of any container", "TKE Resilience", checkPorts},
	{ReasonProbePort, "a probe port in 61000-65534, of any container", "TKE Resilience", checkProbePorts},
	{ReasonFixedIP, "Pods with a fixed IP address, by the annotation " + FixedIPAnnotation, "TKE Resilience",
		checkFixedIP},
	{ReasonHostPath, "hostPath volumes that " + HostPathReplacementAnnotation + " does not replace, except " +
		LocaltimePath, "CCE bursting", checkHostPath},
	{
		ReasonVolumeKind,
		"volumes other than configMap, secret, emptyDir, downwardAPI, projected (of these and of service " +
			"account tokens), nfs and claims",
		"CCE bursting; CCI API",
		checkVolumeKinds,
	},
	{
		ReasonPersistentVolume,
		"PersistentVolumes of other kinds than the configured ones, or of a kind that is not known " +
			"yet",
		"TKE Resilience; CCE bursting",
		checkClaims,
	},
	{
		ReasonEmptyDirSubPath,
		"an emptyDir mounted with subPathExpr, or with subPath if the directories cannot be volumes of their own",
		"CCE bursting",
		checkSubPath,
	},
	{
		ReasonEmptyDirSizeLimit,
		"an emptyDir with a sizeLimit that is not a multiple of 1Gi, or above 10Gi per CPU core, " +
			"cores rounded up",
		"CCE bursting",
		checkSizeLimit,
	},
	{ReasonHostNamespace, "hostNetwork, hostPID and hostIPC", "CCI manual cci_01_0156", checkHostNamespaces},
	{ReasonPrivileged, "privileged containers", "CCI manual cci_01_0156", checkPrivileged},
	{ReasonGRPCProbe, "gRPC probes", "CCI API, Probe", checkGRPCProbes},
	{ReasonBlockDevice, "raw block volumes (volumeDevices)", "CCI API, Container", checkBlockDevices},
	{ReasonDynamicResource, "dynamic resource claims", "CCI manual cci_01_0156", checkResourceClaims},
	{ReasonRestartRules, "containers with a restartPolicy or restart rules of their own, except sidecars",
		"CCI manual cci_01_0156", checkRestartRules},
	{ReasonSupplementalGroups, "supplementalGroupsPolicy Strict", "CCI manual cci_01_0156", checkSupplementalGroups},
	{ReasonCCI1, "with `cciVersion: \"1.0\"` only: startup probes by tcpSocket, and sidecars: init containers with a " +
		"restartPolicy, and that of a mode of Services (" + ServicesAnnotation + ")",
		"CCI manual cci_01_0156", checkCCI1},
	{ReasonVariableSource, "variables from files of a volume (fileKeyRef)", "CCI API, EnvVar", checkVariables},
	{ReasonEphemeralStorage, "more than 994Gi of ephemeral storage (CCI 2.0)", "CCI manual, Ephemeral storage",
		checkStorage},
	{ReasonNoFlavor, "a Pod that no CCI size holds, or a requested size that is too small or not sold",
		"CCI manual cci_01_0058", checkFlavor},
	{ReasonOversizedFlavor, "a requested size that is larger than the Pod needs, unless an administrator allows it " +
		"(`allowOversize`, or " + AllowOversizeAnnotation + " of the namespace)", "Spillway", checkOversize},
	{
		ReasonExtendedResource,
		"requests for extended resources, such as GPUs, and for huge pages",
		"CCI manual cci_01_0058",
		checkExtendedResources,
	},
	{
		ReasonPodAffinity,
		"required podAffinity by a topologyKey that no virtual node has, such as " + corev1.LabelHostname,
		"kube-scheduler, InterPodAffinity",
		checkPodAffinity,
	},
	{
		ReasonTopologySpread,
		"a topologySpreadConstraint with DoNotSchedule by a topologyKey that no virtual node has, such " +
			"as " + corev1.LabelHostname,
		"kube-scheduler, PodTopologySpread",
		checkTopologySpread,
	},
	// Last, because the webhook itself may give a Pod that the cloud cannot run node affinity against virtual nodes.
	{ReasonNodeSelector, "a nodeSelector or required node affinity that matches no virtual node",
		"kube-scheduler, NodeAffinity", checkNodeSelector},
}

// Rules returns all restrictions. The table in the documentation is generated from them.
func Rules() []Rule { return slices.Clone(rules) }

func ruleNames() []Reason {
	names := make([]Reason, 0, len(rules))
	for _, r := range rules {
		names = append(names, r.Reason)
	}
	return names
}

// Restrictions returns why the cloud cannot run the Pod, in the order of Rules. It returns nothing if the cloud can run
// it.
func (p *Policy) Restrictions(in Input) []Violation {
	settings, err := p.NamespaceSettings(in.NamespaceAnnotations)
	if err != nil { // A malformed setting allows nothing.
		settings = NamespaceSettings{}
	}
	return p.violations(p.subject(in, settings))
}

// Has reports whether the rule applies: it is one of Rules, and not disabled.
func (p *Policy) Has(rule Reason) bool {
	return slices.ContainsFunc(p.rules, func(r Rule) bool { return r.Reason == rule })
}

// Without returns a Policy that does not apply the rules.
func (p *Policy) Without(reasons ...Reason) *Policy {
	other := *p
	other.rules = slices.DeleteFunc(
		slices.Clone(p.rules),
		func(r Rule) bool { return slices.Contains(reasons, r.Reason) },
	)
	return &other
}

func (p *Policy) subject(in Input, settings NamespaceSettings) subject {
	spec, err := replacedSpec(in.Pod)
	return subject{pod: in.Pod, spec: spec, replaceErr: err, claims: in.Claims, nodes: in.Nodes, settings: settings,
		config: p.config, defaultSize: p.defaultSize, ignored: p.ignored}
}

func (p *Policy) violations(s subject) []Violation {
	var found []Violation
	for _, rule := range p.rules {
		for _, message := range rule.check(s) {
			found = append(found, Violation{rule.Reason, message})
		}
	}
	return found
}

func checkDaemonSet(s subject) []string {
	if owner := metav1.GetControllerOf(s.pod); owner != nil && owner.Kind == "DaemonSet" {
		return []string{"Pods of a DaemonSet run on local nodes only"}
	}
	return nil
}

func checkNamespace(s subject) []string {
	if slices.Contains(s.config.ProtectedNamespaces, s.pod.Namespace) {
		return []string{fmt.Sprintf("Pods of namespace %s run on local nodes only", s.pod.Namespace)}
	}
	return nil
}

func checkLocalPortRange(s subject) []string {
	if s.spec.SecurityContext == nil {
		return nil
	}
	for _, sysctl := range s.spec.SecurityContext.Sysctls {
		// Kubernetes accepts slashes as separators, as sysctl(8) does.
		if strings.ReplaceAll(sysctl.Name, "/", ".") == localPortRangeSysctl && reachesReserved(sysctl.Value) {
			return []string{fmt.Sprintf("sysctl %s is %.100q: the cloud reserves ports %d-%d; end the range below them",
				localPortRangeSysctl, sysctl.Value, reservedPortLow, reservedPortHigh)}
		}
	}
	return nil
}

// reachesReserved reports whether a range "low high" includes reserved ports. An invalid range counts as including
// them.
func reachesReserved(value string) bool {
	fields := strings.Fields(value)
	if len(fields) != 2 {
		return true
	}
	low, errLow := strconv.Atoi(fields[0])
	high, errHigh := strconv.Atoi(fields[1])
	return errLow != nil || errHigh != nil || (low <= reservedPortHigh && high >= reservedPortLow)
}

func isReserved(port int32) bool { return port >= reservedPortLow && port <= reservedPortHigh }

func checkPorts(s subject) []string {
	var found []string
	for c := range containers(s.spec) {
		for _, port := range c.Ports {
			for _, field := range []struct {
				name  string
				value int32
			}{{"containerPort", port.ContainerPort}, {"hostPort", port.HostPort}} {
				if isReserved(field.value) {
					found = append(found, fmt.Sprintf("container %s has %s %d: the cloud reserves ports %d-%d",
						c.Name, field.name, field.value, reservedPortLow, reservedPortHigh))
				}
			}
		}
	}
	return found
}

func checkProbePorts(s subject) []string {
	var found []string
	for c := range containers(s.spec) {
		for name, probe := range probes(c) {
			for _, port := range probePorts(c, probe) {
				if isReserved(port) {
					found = append(
						found,
						fmt.Sprintf("container %s has a %s on port %d: the cloud reserves ports %d-%d",
							c.Name, name, port, reservedPortLow, reservedPortHigh),
					)
				}
			}
		}
	}
	return found
}

// probePorts returns the ports that a probe connects to. It resolves names of ports in the container.
func probePorts(c *corev1.Container, probe *corev1.Probe) []int32 {
	var ports []int32
	if probe.HTTPGet != nil {
		ports = append(ports, resolvePort(c, probe.HTTPGet.Port)...)
	}
	if probe.TCPSocket != nil {
		ports = append(ports, resolvePort(c, probe.TCPSocket.Port)...)
	}
	if probe.GRPC != nil {
		ports = append(ports, probe.GRPC.Port)
	}
	return ports
}

func resolvePort(c *corev1.Container, port intstr.IntOrString) []int32 {
	if port.Type == intstr.Int {
		return []int32{port.IntVal}
	}
	for _, named := range c.Ports {
		if named.Name == port.StrVal {
			return []int32{named.ContainerPort}
		}
	}
	return nil
}

func checkFixedIP(s subject) []string {
	if _, ok := s.pod.Annotations[FixedIPAnnotation]; ok {
		return []string{
			fmt.Sprintf("annotation %s requests a fixed IP address, which the cloud does not support: remove it",
				FixedIPAnnotation),
		}
	}
	return nil
}

func checkHostPath(s subject) []string {
	var names, found []string
	for _, v := range s.spec.Volumes {
		if v.HostPath == nil || v.HostPath.Path == LocaltimePath {
			continue
		}
		names = append(names, v.Name)
		found = append(
			found,
			fmt.Sprintf("volume %s is a hostPath: set its replacement in the cloud with annotation %s",
				v.Name, HostPathReplacementAnnotation),
		)
	}
	if s.replaceErr != nil && len(names) > 0 {
		return []string{fmt.Sprintf("hostPath volumes %s: their replacement in the cloud is invalid: %s",
			Clip(strings.Join(names, ", "), maxCause), oneLine(s.replaceErr))}
	}
	return found
}

func checkVolumeKinds(s subject) []string {
	var found []string
	for _, v := range s.spec.Volumes {
		source := v.VolumeSource
		// hostPath and claims have rules of their own. CCI mounts the other kinds of this list.
		source.HostPath, source.PersistentVolumeClaim, source.Ephemeral = nil, nil, nil
		source.ConfigMap, source.Secret, source.EmptyDir = nil, nil, nil
		source.DownwardAPI, source.Projected, source.NFS = nil, nil, nil
		if source != (corev1.VolumeSource{}) {
			found = append(found, fmt.Sprintf("volume %s is of a kind that the cloud cannot mount: "+
				"use configMap, secret, emptyDir, downwardAPI, projected, nfs or a claim", v.Name))
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, projectsUnknown) {
			found = append(found, fmt.Sprintf("volume %s projects a source that the cloud cannot mount: "+
				"use configMap, secret, downwardAPI or serviceAccountToken", v.Name))
		}
	}
	return found
}

func projectsUnknown(source corev1.VolumeProjection) bool {
	source.ConfigMap, source.Secret, source.DownwardAPI, source.ServiceAccountToken = nil, nil, nil, nil
	return source != (corev1.VolumeProjection{})
}

func checkClaims(s subject) []string {
	var found []string
	for _, v := range s.spec.Volumes {
		claim := claimName(s.pod, v)
		if claim == "" {
			continue
		}
		kind, known := s.claims[claim]
		description := "claim " + claim
		if v.Ephemeral != nil { // The claim does not exist yet, and a Pod that is being created may have no name yet.
			description = "the claim of volume " + v.Name
		}
		switch {
		case !known:
			found = append(found, fmt.Sprintf("the kind of volume of %s is not known yet: "+
				"it needs a bound PersistentVolume or a StorageClass", description))
		case !slices.Contains(s.config.VolumeKinds, kind):
			found = append(found, fmt.Sprintf("%s is a volume of kind %s: the cloud can mount %s",
				description, kind, cmp.Or(strings.Join(s.config.VolumeKinds, ", "), "none")))
		}
	}
	return found
}

// claimName returns the name of the PersistentVolumeClaim of a volume, empty if it has none.
func claimName(pod *corev1.Pod, v corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		// Source: Kubernetes, generic ephemeral volumes, "PersistentVolumeClaim naming".
		return pod.Name + "-" + v.Name
	}
	return ""
}

// Claims yields the volumes of the Pod that have a claim, by the name of the claim. A decision needs their kinds
// (Input.Claims).
func Claims(pod *corev1.Pod) iter.Seq2[string, *corev1.Volume] {
	return func(yield func(string, *corev1.Volume) bool) {
		for i := range pod.Spec.Volumes {
			if name := claimName(pod, pod.Spec.Volumes[i]); name != "" && !yield(name, &pod.Spec.Volumes[i]) {
				return
			}
		}
	}
}

func checkSizeLimit(s subject) []string {
	most := s.config.CCIVersion.mostGi(s.pod.Annotations, s.spec)
	var found []string
	for _, v := range s.spec.Volumes {
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
			continue
		}
		// A copy, because String may write to the Quantity, and the Pod may be in a cache.
		if limit := *v.EmptyDir.SizeLimit; !limitFits(limit, most) {
			found = append(found, fmt.Sprintf("emptyDir %s has sizeLimit %s: %s",
				v.Name, limit.String(), limitRight(most)))
		}
	}
	return found
}

// mostGi returns the largest sizeLimit of an emptyDir, in GiB.
func (v CCIVersion) mostGi(annotations map[string]string, spec *corev1.PodSpec) int64 {
	return 10 * v.wholeCores(annotations, spec)
}

func limitFits(limit resource.Quantity, most int64) bool {
	bytes := sizes.Amount(limit, corev1.ResourceMemory)
	return bytes%sizes.GiB == 0 && bytes/sizes.GiB <= most
}

func limitRight(most int64) string {
	return fmt.Sprintf("must be a multiple of 1Gi and at most %dGi (10Gi per CPU core, cores rounded up)", most)
}

// wholeCores returns the Pod's CPU rounded up to whole cores: the example in the manual has 10Gi with 250m.
func (v CCIVersion) wholeCores(annotations map[string]string, spec *corev1.PodSpec) int64 {
	milli := sizes.NeedOf(spec, corev1.ResourceCPU)
	if flavor, err := v.Size(annotations, spec, sizes.Flavor{}); err == nil {
		milli = flavor.MilliCPU
	}
	return (milli-1)/1000 + 1
}

func checkHostNamespaces(s subject) []string {
	var found []string
	for _, field := range []struct {
		name string
		set  bool
	}{{"hostNetwork", s.spec.HostNetwork}, {"hostPID", s.spec.HostPID}, {"hostIPC", s.spec.HostIPC}} {
		if field.set {
			found = append(found, field.name+" needs a node, which the cloud does not have")
		}
	}
	return found
}

func checkPrivileged(s subject) []string {
	var found []string
	for c := range containers(s.spec) {
		if c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged {
			found = append(found, fmt.Sprintf("container %s is privileged, which the cloud does not allow", c.Name))
		}
	}
	return found
}

func checkGRPCProbes(s subject) []string {
	var found []string
	for c := range containers(s.spec) {
		for name, probe := range probes(c) {
			if probe.GRPC != nil {
				found = append(
					found,
					fmt.Sprintf("container %s has a gRPC %s: the cloud supports exec, httpGet and tcpSocket",
						c.Name, name),
				)
			}
		}
	}
	return found
}

func checkBlockDevices(s subject) []string {
	var found []string
	for c := range containers(s.spec) {
		if len(c.VolumeDevices) > 0 {
			found = append(
				found,
				fmt.Sprintf("container %s uses raw block volumes, which the cloud cannot attach", c.Name),
			)
		}
	}
	return found
}

func checkResourceClaims(s subject) []string {
	if len(s.spec.ResourceClaims) > 0 {
		return []string{"the Pod has dynamic resource claims, which the cloud does not know"}
	}
	return nil
}

// sold are the resources that the cloud sells. The cloud does not see the marker: vnode removes it.
var sold = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, PlacementResource,
}

// checkExtendedResources finds requests for what no virtual node offers. The scheduler ignores a request for zero.
func checkExtendedResources(s subject) []string {
	var found []string
	check := func(who string, resources corev1.ResourceRequirements) {
		var names map[corev1.ResourceName]bool
		for _, list := range []corev1.ResourceList{resources.Requests, resources.Limits} {
			for name, quantity := range list {
				if slices.Contains(sold, name) || quantity.IsZero() {
					continue
				}
				if names == nil { // Hardly any Pod gets here, and every Pod is checked.
					names = map[corev1.ResourceName]bool{}
				}
				names[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			found = append(found, fmt.Sprintf("%s requests %s, which the cloud does not sell", who, name))
		}
	}
	for c := range containers(s.spec) {
		check("container "+c.Name, c.Resources)
	}
	if s.spec.Resources != nil {
		check("the Pod", *s.spec.Resources)
	}
	check("the RuntimeClass of the Pod", corev1.ResourceRequirements{Requests: s.spec.Overhead})
	return found
}

func checkRestartRules(s subject) []string {
	var found []string
	sidecars := map[*corev1.Container]bool{}
	for i := range s.spec.InitContainers {
		sidecars[&s.spec.InitContainers[i]] = isSidecar(&s.spec.InitContainers[i])
	}
	for c := range containers(s.spec) {
		if len(c.RestartPolicyRules) > 0 {
			found = append(found, fmt.Sprintf("container %s has restartPolicyRules, which the cloud does not support: "+
				"use the restartPolicy of the Pod", c.Name))
		} else if c.RestartPolicy != nil && !sidecars[c] {
			found = append(found, fmt.Sprintf("container %s has a restartPolicy of its own, which the cloud does not "+
				"support: use the restartPolicy of the Pod", c.Name))
		}
	}
	return found
}

// isSidecar reports whether an init container keeps running next to the containers.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func checkVariables(s subject) []string {
	var found []string
	for c := range containers(s.spec) {
		for _, variable := range c.Env {
			if variable.ValueFrom != nil && variable.ValueFrom.FileKeyRef != nil {
				found = append(found, fmt.Sprintf("variable %s of container %s comes from a file (fileKeyRef), "+
					"which the cloud does not support: use a ConfigMap or a Secret", variable.Name, c.Name))
			}
		}
	}
	return found
}

// MostStorage is the largest ephemeral storage of a Pod of CCI 2.0, in GiB. All Pods of CCI 1.0 have the same. Source:
// CCI manual, "Ephemeral storage".
const MostStorage = 994

func checkStorage(s subject) []string {
	needed := sizes.NeedOf(s.spec, corev1.ResourceEphemeralStorage)
	if s.config.CCIVersion == CCI1 || needed <= MostStorage*sizes.GiB {
		return nil
	}
	return []string{fmt.Sprintf("the Pod requests %s of ephemeral storage: the cloud provides %dGi at most",
		resource.NewQuantity(needed, resource.BinarySI), MostStorage)}
}

func checkSupplementalGroups(s subject) []string {
	if sc := s.spec.SecurityContext; sc != nil && sc.SupplementalGroupsPolicy != nil &&
		*sc.SupplementalGroupsPolicy != corev1.SupplementalGroupsPolicyMerge {
		return []string{fmt.Sprintf("supplementalGroupsPolicy is %s: the cloud supports Merge only, remove the field",
			*sc.SupplementalGroupsPolicy)}
	}
	return nil
}

func checkFlavor(s subject) []string {
	if _, err := s.config.CCIVersion.Size(s.pod.Annotations, s.spec, sizes.Flavor{}); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// checkOversize refuses a requested size that the Pod does not need: it passes ResourceQuota and LimitRange, which see
// requests only, and is billed. CCI 1.0 has no requested sizes.
func checkOversize(s subject) []string {
	text, ok := s.pod.Annotations[FlavorAnnotation]
	if !ok || s.settings.AllowOversize || s.config.CCIVersion == CCI1 {
		return nil
	}
	requested, err := sizes.For(s.pod.Annotations, s.spec)
	if err != nil {
		return nil // checkFlavor reports it.
	}
	needed, err := s.config.CCIVersion.Size(nil, s.spec, s.defaultSize)
	if err != nil || requested.MilliCPU <= needed.MilliCPU && requested.MilliGiB <= needed.MilliGiB {
		return nil
	}
	return []string{fmt.Sprintf("annotation %s requests size %s, and the Pod gets %s by its requests: request more "+
		"resources, remove the annotation, or ask an administrator of the cluster to allow it (%s of the namespace)",
		FlavorAnnotation, text, needed, AllowOversizeAnnotation)}
}

// checkCCI1 finds what the first generation of the cloud does not support. It has the API of Kubernetes 1.19.
func checkCCI1(s subject) []string {
	if s.config.CCIVersion != CCI1 {
		return nil
	}
	var found []string
	for c := range containers(s.spec) {
		if c.StartupProbe != nil && c.StartupProbe.TCPSocket != nil {
			found = append(found, fmt.Sprintf("container %s has a startupProbe by tcpSocket: "+
				"CCI 1.0 supports exec and httpGet there", c.Name))
		}
	}
	for i := range s.spec.InitContainers {
		if c := &s.spec.InitContainers[i]; isSidecar(c) {
			found = append(found, fmt.Sprintf("init container %s is a sidecar (restartPolicy): "+
				"CCI 1.0 runs init containers to completion only", c.Name))
		}
	}
	if mode, err := ParseServices(s.pod.Annotations); err == nil && mode.HasSidecar() {
		found = append(found, fmt.Sprintf(
			"annotation %s is %s, which needs a sidecar: CCI 1.0 has none, so use %s or %s",
			ServicesAnnotation, mode, ServicesRouted, ServicesOff))
	}
	return found
}
