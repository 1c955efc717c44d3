// Package doctor checks a cluster for what keeps Spillway from working, or makes it work otherwise than expected. Its
// checks are pure: they get a Snapshot that the caller has read, and change nothing. "vnode doctor" checks the account
// of the cloud instead.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/policy"
)

// Part is something that a Snapshot has only if the user may read it.
type Part string

// The parts, as they are called for people.
const (
	PartSwitch       Part = "the switch of the cluster"
	PartDeployments  Part = "the Deployments"
	PartStatefulSets Part = "the StatefulSets"
	PartDaemonSets   Part = "the DaemonSets"
	PartLeases       Part = "the Leases"
	PartWebhooks     Part = "the webhook configurations"
	PartCertificate  Part = "the Secret with the certificate of the webhooks"
	PartNodes        Part = "the Nodes"
	PartPods         Part = "the Pods"
	PartNamespaces   Part = "the Namespaces"
	PartVnodeConfig  Part = "the configuration of vnode"
	PartDNS          Part = "the Service of the cluster's DNS"
	PartRights       Part = "the rights of the programs"
)

// Right is whether a ServiceAccount of the programs may do something.
type Right struct {
	Account, Verb, Resource, Namespace string
	Allowed                            bool
}

// Snapshot is what the checks need. A part that is not in Read is empty.
type Snapshot struct {
	Now time.Time
	// Installation is nil if it cannot be read, and Problem says why. Malformed is for one that is there.
	Installation *installation.Installation
	Policy       *policy.Policy
	Problem      string
	Malformed    bool

	// Read are the parts that were read, Unread says why others were not.
	Read   map[Part]bool
	Unread map[Part]string

	// Switch is the data of the ConfigMap of the switch, nil if there is none.
	Switch       map[string]string
	Deployments  []*appsv1.Deployment
	StatefulSets []*appsv1.StatefulSet // of the namespace of the programs
	DaemonSets   []*appsv1.DaemonSet
	Leases       []*coordinationv1.Lease // of the namespace of the programs
	Mutating     *admissionregistrationv1.MutatingWebhookConfiguration
	Validating   *admissionregistrationv1.ValidatingWebhookConfiguration
	// Certificate is that of the webhooks, in PEM.
	Certificate []byte
	Nodes       []*corev1.Node
	Pods        []*corev1.Pod
	Namespaces  []*corev1.Namespace
	// byName has the Namespaces once a check needs one.
	byName map[string]*corev1.Namespace
	// VnodeConfig is the configuration file of vnode.
	VnodeConfig []byte
	// DNS are the ClusterIPs of the cluster's DNS.
	DNS    []string
	Rights []Right
}

// virtualNodes returns the virtual nodes of Spillway.
func (s *Snapshot) virtualNodes() []*corev1.Node {
	return slices.DeleteFunc(slices.Clone(s.Nodes), func(n *corev1.Node) bool { return !policy.IsOurNode(n.Labels) })
}

// localNodes returns the nodes that are no virtual nodes of any system.
func (s *Snapshot) localNodes() []*corev1.Node {
	return slices.DeleteFunc(slices.Clone(s.Nodes), func(n *corev1.Node) bool {
		return policy.IsVirtualNode(n.Labels)
	})
}

// onService reports whether the scheduler is another one than that of the chart.
func (s *Snapshot) onService() bool { return s.Installation.Scheduler.MarkerResource }

// Report is the result of all checks.
type Report struct {
	// Checks are the names of the checks that were made, Skipped those that need what could not be read.
	Checks   []string           `json:"checks"`
	Skipped  []string           `json:"skipped"`
	Findings diagnosis.Findings `json:"findings"`
}

// check is one check, and what it needs. All but those of the installation need its description.
type check struct {
	name  string
	needs []Part
	run   func(*Snapshot) []diagnosis.Finding
}

var checks = []check{
	{"programs", []Part{PartDeployments, PartStatefulSets}, checkPrograms},
	{"versions", []Part{PartDeployments, PartStatefulSets}, checkVersions},
	{"scheduler", []Part{PartPods}, checkScheduler},
	{"slots", []Part{PartPods, PartNodes, PartNamespaces, PartSwitch}, checkSlots},
	{"webhooks", []Part{PartWebhooks}, checkWebhooks},
	{"certificate", []Part{PartWebhooks, PartCertificate}, checkCertificate},
	{"leases", []Part{PartLeases, PartNodes}, checkLeases},
	{"rights", []Part{PartRights}, checkRights},
	{"virtual nodes", []Part{PartNodes}, checkVirtualNodes},
	{"DaemonSets", []Part{PartDaemonSets, PartNodes}, checkDaemonSets},
	{"autoscalers", []Part{PartDeployments}, checkAutoscalers},
	{"deletion cost", []Part{PartPods, PartNodes}, checkDeletionCost},
	{"Services", []Part{PartVnodeConfig, PartPods}, checkServices},
	{"DNS", []Part{PartVnodeConfig, PartDNS}, checkDNS},
	{"switch", []Part{PartSwitch}, checkSwitch},
	{"namespaces", []Part{PartNamespaces}, checkNamespaces},
	{"keys", []Part{PartPods}, checkKeys},
	{"quotas", []Part{PartPods, PartNodes}, checkQuotas},
	{"shares", []Part{PartPods, PartNamespaces, PartSwitch}, checkShares},
	{"waits", []Part{PartPods}, checkWaits},
}

// Check runs all checks for which the snapshot has what they need.
func Check(s *Snapshot) Report {
	r := Report{Checks: []string{}, Skipped: []string{}, Findings: diagnosis.Findings{}}
	if s.Installation == nil {
		code := CodeNotInstalled
		if s.Malformed {
			code = CodeMalformed
		}
		r.Findings = append(r.Findings, found(code, "", "%s", s.Problem))
		for _, c := range checks {
			r.Skipped = append(r.Skipped, c.name)
		}
		return r
	}
	unread := map[Part]bool{}
	for _, c := range checks {
		missing := slices.DeleteFunc(slices.Clone(c.needs), func(p Part) bool { return s.Read[p] })
		if len(missing) > 0 {
			r.Skipped = append(r.Skipped, c.name)
			for _, part := range missing {
				unread[part] = true
			}
			continue
		}
		r.Checks = append(r.Checks, c.name)
		r.Findings = append(r.Findings, c.run(s)...)
	}
	parts := make([]string, 0, len(unread))
	for part := range unread {
		parts = append(parts, string(part))
	}
	slices.Sort(parts)
	for _, part := range parts {
		r.Findings = append(r.Findings, found(CodeNotRead, "", "%s: %s", part,
			cmp.Or(s.Unread[Part(part)], "not read")))
	}
	for i := range r.Findings { // Those about another namespace are filled already.
		r.Findings[i] = r.Findings[i].Filled("NAMESPACE", s.Installation.Namespace)
	}
	r.Findings.Sort()
	return r
}

// found returns a finding about an object, which may be empty.
func found(code diagnosis.Code, object, format string, args ...any) diagnosis.Finding {
	f := Codes().Found(code, format, args...)
	f.Object = object
	return f
}

// Text returns the report for people.
func (r Report) Text() string {
	var b strings.Builder
	for i := range r.Findings {
		b.WriteString(r.Findings[i].Text() + "\n")
	}
	fmt.Fprintf(&b, "Checked: %s.\n", cmp.Or(strings.Join(r.Checks, ", "), "nothing"))
	if len(r.Skipped) > 0 {
		fmt.Fprintf(&b, "Left out: %s.\n", strings.Join(r.Skipped, ", "))
	}
	b.WriteString(r.Findings.Counts())
	return explain.Printable(b.String())
}
