package doctor

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/spillway-k8s/spillway/cli/nodes"
	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
)

// The names that the chart gives.
const (
	admission = "spillway-admission"
	scheduler = "spillway-scheduler"
	extender  = "spillway-extender"
	webhooks  = "spillway"

	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
)

// placer returns the Deployment that has the extender.
func (s *Snapshot) placer() string {
	if s.onService() {
		return extender
	}
	return scheduler
}

// program is a Deployment or StatefulSet of the chart.
type program struct {
	object    string
	component string
	wanted    int32
	ready     int32
	template  *corev1.PodTemplateSpec
}

// programs returns those of the installation that exist.
func (s *Snapshot) programs() []program {
	var all []program
	add := func(kind, name, component string, wanted *int32, ready int32, template *corev1.PodTemplateSpec) {
		p := program{kind + " " + name, component, 1, ready, template}
		if wanted != nil {
			p.wanted = *wanted
		}
		all = append(all, p)
	}
	for _, d := range s.Deployments {
		if d.Namespace == s.Installation.Namespace && (d.Name == admission || d.Name == s.placer()) {
			add("Deployment", d.Name, d.Labels[componentLabel], d.Spec.Replicas, d.Status.ReadyReplicas,
				&d.Spec.Template)
		}
	}
	for _, set := range s.StatefulSets {
		if set.Labels[nameLabel] == "spillway" && set.Labels[componentLabel] == "vnode" {
			add("StatefulSet", set.Name, "vnode", set.Spec.Replicas, set.Status.ReadyReplicas, &set.Spec.Template)
		}
	}
	return all
}

func checkPrograms(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	programs := s.programs()
	for _, name := range []string{admission, s.placer()} {
		if !slices.ContainsFunc(programs, func(p program) bool { return p.object == "Deployment "+name }) {
			findings = append(findings, found(CodeProgramMissing, "Deployment "+name,
				"namespace %s has no such Deployment", s.Installation.Namespace))
		}
	}
	if !slices.ContainsFunc(programs, func(p program) bool { return p.component == "vnode" }) {
		findings = append(findings, found(CodeProgramMissing, "vnode", "namespace %s has no StatefulSet of vnode",
			s.Installation.Namespace))
	}
	for _, p := range programs {
		// Of several extenders only the leader is ready.
		wanted := p.wanted
		if p.object == "Deployment "+extender {
			wanted = min(wanted, 1)
		}
		code := CodeFewReplicas
		switch {
		case p.ready >= wanted && wanted > 0:
			continue
		case p.ready == 0:
			code = CodeProgramUnavailable
		}
		findings = append(findings, found(code, p.object, "%d of %d replicas are ready", p.ready, p.wanted).
			Filled("COMPONENT", p.component))
	}
	return findings
}

// checkVersions compares the tags of the images of Spillway. An image with a digest says nothing about its version.
func checkVersions(s *Snapshot) []diagnosis.Finding {
	versions := map[string][]string{}
	for _, p := range s.programs() {
		for i := range p.template.Spec.Containers {
			c := &p.template.Spec.Containers[i]
			image := c.Image[strings.LastIndex(c.Image, "/")+1:]
			name, tag, ok := strings.Cut(image, ":")
			if ok && strings.HasPrefix(name, "spillway-") && !strings.Contains(image, "@") {
				versions[tag] = append(versions[tag], c.Name)
			}
		}
	}
	if len(versions) < 2 {
		return nil
	}
	var texts []string
	for _, tag := range slices.Sorted(maps.Keys(versions)) {
		slices.Sort(versions[tag])
		texts = append(texts, strings.Join(versions[tag], " and ")+" "+tag)
	}
	return []diagnosis.Finding{found(CodeVersionsDiffer, "", "%s", strings.Join(texts, ", "))}
}

// untriedFor is how long a Pod must have waited without an attempt of its scheduler. A busy scheduler tries it in
// seconds.
const untriedFor = 2 * time.Minute

func checkScheduler(s *Snapshot) []diagnosis.Finding {
	waiting := map[string][]string{}
	calls := s.Installation.Scheduler.Schedulers()
	for _, pod := range s.Pods {
		if pod.Spec.NodeName != "" || policy.HasEnded(pod) || len(pod.Spec.SchedulingGates) > 0 ||
			policy.PodCondition(pod, corev1.PodScheduled) != nil || !calls.Place(&pod.Spec) ||
			s.Now.Sub(pod.CreationTimestamp.Time) < untriedFor {
			continue
		}
		waiting[pod.Spec.SchedulerName] = append(waiting[pod.Spec.SchedulerName], pod.Namespace+"/"+pod.Name)
	}
	var findings []diagnosis.Finding
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		findings = append(findings, found(CodeNoScheduler, "scheduler "+name,
			"%s for more than %s and never tried: %s", count(len(waiting[name]), "Pod waits", "Pods wait"), untriedFor,
			some(waiting[name])))
	}
	return findings
}

// checkSlots finds local replicas that the extender has not counted. Only Pods that are younger than the extender's
// Deployment prove something: older ones were placed before it.
func checkSlots(s *Snapshot) []diagnosis.Finding {
	since := s.Now
	for _, d := range s.Deployments {
		if d.Namespace == s.Installation.Namespace && d.Name == s.placer() {
			since = d.CreationTimestamp.Time
		}
	}
	local := nodes.Names(s.localNodes())
	global, _ := policy.ParseSwitch(s.Switch) // A malformed one is a state of the switch.
	namespaces := map[string]*corev1.Namespace{}
	for _, n := range s.Namespaces {
		namespaces[n.Name] = n
	}
	calls := s.Installation.Scheduler.Schedulers()
	var without []string
	for _, pod := range s.Pods {
		n := namespaces[pod.Namespace]
		if n == nil || !local.Has(pod.Spec.NodeName) || !policy.IsActive(pod) || !calls.Place(&pod.Spec) ||
			!pod.CreationTimestamp.After(since) || pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID) {
			continue
		}
		decision := s.Policy.Decide(policy.Input{
			Pod: pod, Global: global, NamespaceLabels: n.Labels, NamespaceAnnotations: n.Annotations,
		})
		if decision.Shares.HasLocalCap() && decision.Shares.LocalCap(1) > 0 {
			without = append(without, pod.Namespace+"/"+pod.Name)
		}
	}
	if len(without) == 0 {
		return nil
	}
	return []diagnosis.Finding{found(CodeNoSlots, "", "%s on local nodes without an annotation %s: %s",
		count(len(without), "Pod with a quota runs", "Pods with a quota run"), policy.LocalSlotAnnotation,
		some(without))}
}

// webhook is one webhook of either kind.
type webhook struct {
	object   string
	caBundle []byte
	policy   *admissionregistrationv1.FailurePolicyType
}

func (s *Snapshot) webhooks() []webhook {
	var all []webhook
	if s.Mutating != nil {
		for i := range s.Mutating.Webhooks {
			w := &s.Mutating.Webhooks[i]
			all = append(all, webhook{"mutating webhook " + w.Name, w.ClientConfig.CABundle, w.FailurePolicy})
		}
	}
	if s.Validating != nil {
		for i := range s.Validating.Webhooks {
			w := &s.Validating.Webhooks[i]
			all = append(all, webhook{"validating webhook " + w.Name, w.ClientConfig.CABundle, w.FailurePolicy})
		}
	}
	return all
}

func checkWebhooks(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	if s.Mutating == nil || len(s.Mutating.Webhooks) == 0 {
		findings = append(findings, found(CodeWebhookMissing, "MutatingWebhookConfiguration "+webhooks,
			"it does not exist, or has no webhook"))
	}
	if s.Validating == nil || len(s.Validating.Webhooks) == 0 {
		findings = append(findings, found(CodeWebhookMissing, "ValidatingWebhookConfiguration "+webhooks,
			"it does not exist, or has no webhook"))
	}
	for _, w := range s.webhooks() {
		// The API server's default is Fail.
		if w.policy == nil || *w.policy != admissionregistrationv1.Ignore {
			findings = append(findings, found(CodeFailurePolicy, w.object, "its failurePolicy is not Ignore"))
		}
		authorities, err := parseCertificates(w.caBundle)
		if err != nil {
			findings = append(findings, found(CodeNoAuthority, w.object, "caBundle: %v", err))
			continue
		}
		if !slices.ContainsFunc(authorities, func(c *x509.Certificate) bool { return s.Now.Before(c.NotAfter) }) {
			findings = append(findings, found(CodeNoAuthority, w.object, "caBundle: all its certificates have expired"))
		}
	}
	return findings
}

// parseCertificates returns the certificates of a PEM file. There is at least one.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing a certificate: %w", err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("it has no certificate")
	}
	return all, nil
}

// expiresSoon is the part of the time of a certificate that is left when admission has failed to renew it: it does so
// when a third is left.
const expiresSoon = 4

func checkCertificate(s *Snapshot) []diagnosis.Finding {
	if len(s.Certificate) == 0 {
		return nil // Admission has one in files, or none yet: then its webhooks have no CA.
	}
	const secret = "Secret " + admission + "-tls"
	invalid := func(format string, args ...any) []diagnosis.Finding {
		return []diagnosis.Finding{found(CodeCertificateInvalid, secret, format, args...)}
	}
	chain, err := parseCertificates(s.Certificate)
	if err != nil {
		return invalid("%v", err)
	}
	leaf, roots, intermediates := chain[0], x509.NewCertPool(), x509.NewCertPool()
	for _, w := range s.webhooks() {
		roots.AppendCertsFromPEM(w.caBundle)
	}
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		DNSName: admission + "." + s.Installation.Namespace + ".svc", Roots: roots, Intermediates: intermediates,
		CurrentTime: s.Now,
	}); err != nil {
		return invalid("%v", err)
	}
	if left := leaf.NotAfter.Sub(s.Now); left < leaf.NotAfter.Sub(leaf.NotBefore)/expiresSoon {
		return []diagnosis.Finding{found(CodeCertificateExpires, secret, "it expires at %s",
			leaf.NotAfter.UTC().Format(time.RFC3339))}
	}
	return nil
}

// skew is by how much the clock of this machine may differ from that of the processes.
const skew = time.Minute

func checkLeases(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	wanted := map[string]bool{admission: true, s.placer(): true}
	isNode := map[string]bool{}
	for _, node := range s.virtualNodes() {
		isNode["spillway-vnode-"+node.Name] = true // Without its Node, a virtual node has never run or was removed.
	}
	for _, lease := range s.Leases {
		if wanted[lease.Name] || isNode[lease.Name] {
			delete(wanted, lease.Name)
			spec := lease.Spec
			message := ""
			switch {
			case spec.HolderIdentity == nil || *spec.HolderIdentity == "":
				message = "it has no holder"
			case spec.RenewTime == nil || spec.LeaseDurationSeconds == nil:
				message = fmt.Sprintf("%s holds it and has never renewed it", *spec.HolderIdentity)
			case s.Now.Sub(spec.RenewTime.Time) > time.Duration(*spec.LeaseDurationSeconds)*time.Second+skew:
				message = fmt.Sprintf("%s has renewed it last at %s", *spec.HolderIdentity,
					spec.RenewTime.UTC().Format(time.RFC3339))
			}
			if message != "" {
				findings = append(findings, found(CodeLeaseStale, "Lease "+lease.Name, "%s", message))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		findings = append(findings, found(CodeLeaseMissing, "Lease "+name, "namespace %s has no such Lease",
			s.Installation.Namespace))
	}
	return findings
}

func checkRights(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	for _, right := range s.Rights {
		if !right.Allowed {
			where := "in all namespaces"
			if right.Namespace != "" {
				where = "in namespace " + right.Namespace
			}
			findings = append(findings, found(CodeRightMissing, "ServiceAccount "+right.Account, "it may not %s %s %s",
				right.Verb, right.Resource, where))
		}
	}
	return findings
}

func checkVirtualNodes(s *Snapshot) []diagnosis.Finding {
	virtual := s.virtualNodes()
	if len(virtual) == 0 {
		return []diagnosis.Finding{found(CodeNoVirtualNode, "", "no Node has the labels of a virtual node of Spillway")}
	}
	var findings []diagnosis.Finding
	for _, node := range virtual {
		object := "Node " + node.Name
		if state := explain.NodeState(node); !explain.TakesPods(state) {
			code := CodeNodeNotReady
			if !strings.HasPrefix(state, "not ready") {
				if code = CodeNodeCordoned; node.Annotations[policy.SoldOutUntilAnnotation] != "" {
					code = CodeNodeLocked
				}
			}
			findings = append(findings, found(code, object, "%s", state).Filled("NODE", node.Name))
		}
		for _, c := range node.Status.Conditions {
			// The conditions of vnode that are faults begin so. A sold-out cloud locks the node, which is reported
			// above.
			fault := strings.HasPrefix(string(c.Type), "Cloud") && c.Type != "CloudSoldOut"
			if fault && c.Status == corev1.ConditionTrue {
				findings = append(findings, found(CodeCloudCondition, object, "%s: %s", c.Type, c.Message))
			}
		}
	}
	return findings
}

func checkDaemonSets(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	for _, set := range s.DaemonSets {
		spec := &set.Spec.Template.Spec
		if !policy.ToleratesProvider(spec) || policy.AvoidsVirtualNodes(spec) {
			continue
		}
		for _, node := range s.virtualNodes() {
			if matches(spec, node) {
				findings = append(findings, found(CodeDaemonSet, "DaemonSet "+set.Namespace+"/"+set.Name,
					"its Pods tolerate the taint of %s and select it", node.Name).
					Filled("NAMESPACE", set.Namespace, "NAME", set.Name))
				break
			}
		}
	}
	return findings
}

// checkAutoscalers looks for node autoscalers by the images of their containers.
func checkAutoscalers(s *Snapshot) []diagnosis.Finding {
	if !s.onService() {
		return nil
	}
	var findings []diagnosis.Finding
	for _, d := range s.Deployments {
		for i := range d.Spec.Template.Spec.Containers {
			c := &d.Spec.Template.Spec.Containers[i]
			object := "Deployment " + d.Namespace + "/" + d.Name
			switch {
			case isProgram(c, "cluster-autoscaler"):
				if !slices.ContainsFunc(slices.Concat(c.Command, c.Args), func(argument string) bool {
					return strings.HasPrefix(strings.TrimLeft(argument, "-"), "scheduler-config-file")
				}) {
					findings = append(findings, found(CodeAutoscaler, object, "it has no flag --scheduler-config-file"))
				}
			case isProgram(c, "karpenter"):
				findings = append(findings, found(CodeAutoscaler, object,
					"Karpenter needs a NodeOverlay with capacity of %s; whether it has one was not checked",
					policy.PlacementResource))
			}
		}
	}
	return findings
}

// isProgram reports whether a container runs a program: its image, or its command, has that name.
func isProgram(c *corev1.Container, name string) bool {
	image, _, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":")
	image, _, _ = strings.Cut(image, "@")
	named := func(path string) bool { return path[strings.LastIndex(path, "/")+1:] == name }
	return image == name || c.Name == name && image == "controller" || len(c.Command) > 0 && named(c.Command[0])
}

func checkDeletionCost(s *Snapshot) []diagnosis.Finding {
	virtual := nodes.Names(s.virtualNodes())
	writers := map[string][]string{}
	for _, pod := range s.Pods {
		if !virtual.Has(pod.Spec.NodeName) || pod.Annotations[policy.DeletionCostAnnotation] == "" {
			continue
		}
		for _, entry := range pod.ManagedFields {
			// Kubernetes writes the keys of maps so. A Pod that was created with a cost has it from its template.
			if entry.Manager == admission || entry.FieldsV1 == nil || entry.Manager == "kube-controller-manager" {
				continue
			}
			if strings.Contains(entry.FieldsV1.GetRawString(), `"f:`+policy.DeletionCostAnnotation+`"`) {
				writers[entry.Manager] = append(writers[entry.Manager], pod.Namespace+"/"+pod.Name)
			}
		}
	}
	var findings []diagnosis.Finding
	for _, name := range slices.Sorted(maps.Keys(writers)) {
		findings = append(findings, found(CodeDeletionCost, "field manager "+name, "it has written %s of %s: %s",
			policy.DeletionCostAnnotation, count(len(writers[name]), "Pod", "Pods"), some(writers[name])))
	}
	return findings
}

func checkSwitch(s *Snapshot) []diagnosis.Finding {
	if _, err := policy.ParseSwitch(s.Switch); err != nil {
		return []diagnosis.Finding{found(CodeSwitchMalformed,
			"ConfigMap "+policy.SwitchConfigMapNamespace+"/"+policy.SwitchConfigMapName, "%v", err)}
	}
	return nil
}

func checkNamespaces(s *Snapshot) []diagnosis.Finding {
	var findings []diagnosis.Finding
	for _, n := range s.Namespaces {
		_, err := s.Policy.NamespaceSettings(n.Annotations)
		_, sharesErr := policy.ParseShares(n.Annotations)
		_, _, waitErr := policy.ParseBurstAfter(n.Annotations)
		_, _, homeErr := policy.ParseWayHome(n.Annotations)
		if err := errors.Join(err, sharesErr, waitErr, homeErr); err != nil {
			findings = append(findings, found(CodeNamespaceMalformed, "Namespace "+n.Name, "%s",
				policy.Summary(strings.Split(err.Error(), "\n"))).Filled("NAMESPACE", n.Name))
		}
	}
	return findings
}

// matches reports whether a Pod selects a node, as the scheduler decides it. A selector that is malformed selects none.
func matches(spec *corev1.PodSpec, node *corev1.Node) bool {
	selects, err := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}).Match(node)
	return selects && err == nil
}

// maxNamed is how many objects a message names.
const maxNamed = 3

// some names the first of several objects.
func some(names []string) string {
	slices.Sort(names)
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
