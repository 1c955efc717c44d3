package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const programs = "spillway-system"

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// certificate returns a self-signed certificate of the webhooks, valid from 100 days ago until a time.
func certificate(t *testing.T, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	content, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "spillway"},
		NotBefore: now.Add(-100 * 24 * time.Hour), NotAfter: until, IsCA: true,
		BasicConstraintsValid: true, DNSNames: []string{"spillway-admission." + programs + ".svc"},
	}, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "spillway"}}, &key.PublicKey, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: content})
}

func template(image string) corev1.PodTemplateSpec {
	name := strings.TrimPrefix(image[strings.LastIndex(image, "/")+1:], "spillway-")
	name, _, _ = strings.Cut(name, ":")
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: name, Image: image}}}}
}

func deployment(namespace, name, component, image string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Labels: map[string]string{nameLabel: "spillway", componentLabel: component},
		},
		Spec:   appsv1.DeploymentSpec{Replicas: new(int32(1)), Template: template(image)},
		Status: appsv1.DeploymentStatus{ReadyReplicas: 1},
	}
}

func lease(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: programs, Name: name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("process-0"), LeaseDurationSeconds: new(int32(15)),
			RenewTime: &metav1.MicroTime{Time: now.Add(-5 * time.Second)},
		},
	}
}

func node(name string, labels map[string]string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			Allocatable: corev1.ResourceList{
				corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceCPU: resource.MustParse("4"),
				corev1.ResourceMemory: resource.MustParse("8Gi"),
			},
		},
	}
}

// pod returns a Pod of a quota of 2 that the extender has placed on a local node.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID(name),
			CreationTimestamp: metav1.NewTime(now.Add(-10 * time.Minute)),
			Annotations: map[string]string{
				policy.LocalReplicasAnnotation: "2", policy.LocalSlotAnnotation: name,
			},
			OwnerReferences: []metav1.OwnerReference{{
				Kind: "ReplicaSet", Name: "cart-5d8c", UID: "rs", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			NodeName: "local-0", SchedulerName: scheduler,
			Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			}}},
		},
	}
}

// good is a cluster in which everything is as it should be.
func good(t *testing.T) *Snapshot {
	t.Helper()
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	webhookCertificate := certificate(t, now.Add(265*24*time.Hour))
	config := admissionregistrationv1.WebhookClientConfig{CABundle: webhookCertificate}
	ignore := admissionregistrationv1.Ignore
	s := &Snapshot{
		Now: now, Policy: rules,
		Installation: &installation.Installation{
			Version: "0.1.0", Namespace: programs, Scheduler: installation.Scheduler{Name: scheduler},
		},
		Read: map[Part]bool{}, Unread: map[Part]string{},
		Switch: map[string]string{policy.SwitchKey: "true"},
		Deployments: []*appsv1.Deployment{
			deployment(programs, admission, "admission", "r/spillway-admission:0.1.0"),
			deployment(programs, scheduler, "scheduler", "r/spillway-extender:0.1.0"),
			deployment("shop", "spillway-admission", "admission", "other:1"),
		},
		StatefulSets: []*appsv1.StatefulSet{{
			ObjectMeta: metav1.ObjectMeta{Name: "virtual-node-cci", Labels: map[string]string{
				nameLabel: "spillway", componentLabel: "vnode",
			}},
			Spec:   appsv1.StatefulSetSpec{Template: template("r/spillway-vnode:0.1.0")},
			Status: appsv1.StatefulSetStatus{ReadyReplicas: 1},
		}},
		DaemonSets: []*appsv1.DaemonSet{{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "proxy"}}},
		Leases:     []*coordinationv1.Lease{lease(admission), lease(scheduler), lease("spillway-vnode-virtual-0")},
		Mutating: &admissionregistrationv1.MutatingWebhookConfiguration{
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: "pods.spillway.io", ClientConfig: config, FailurePolicy: &ignore,
			}},
		},
		Validating: &admissionregistrationv1.ValidatingWebhookConfiguration{
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "workloads.spillway.io", ClientConfig: config, FailurePolicy: &ignore,
			}},
		},
		Certificate: webhookCertificate,
		Nodes:       []*corev1.Node{node("local-0", nil), node("virtual-0", policy.VirtualNodeLabels())},
		Pods:        []*corev1.Pod{pod("cart-1"), pod("cart-2")},
		Namespaces:  []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}},
		VnodeConfig: []byte("pods: {services: proxy, clusterDNS: [10.96.0.10], proxy: {image: proxy}}"),
		DNS:         []string{"10.96.0.10"},
		Rights:      []Right{{Account: admission, Verb: "patch", Resource: "pods", Allowed: true}},
	}
	for _, c := range checks {
		for _, part := range c.needs {
			s.Read[part] = true
		}
	}
	return s
}

// faults break a good cluster so that each code is found.
var faults = map[diagnosis.Code]func(t *testing.T, s *Snapshot){
	CodeNotInstalled: func(_ *testing.T, s *Snapshot) {
		s.Installation, s.Problem = nil, `configmaps "spillway" not found`
	},
	CodeMalformed: func(_ *testing.T, s *Snapshot) {
		s.Installation, s.Malformed, s.Problem = nil, true, "the value is empty"
	},
	CodeProgramMissing:     func(_ *testing.T, s *Snapshot) { s.Deployments = s.Deployments[1:] },
	CodeProgramUnavailable: func(_ *testing.T, s *Snapshot) { s.StatefulSets[0].Status.ReadyReplicas = 0 },
	CodeFewReplicas:        func(_ *testing.T, s *Snapshot) { s.Deployments[0].Spec.Replicas = new(int32(2)) },
	CodeVersionsDiffer: func(_ *testing.T, s *Snapshot) {
		s.Deployments[1].Spec.Template = template("registry:5000/r/spillway-extender:0.2.0")
	},
	CodeNoScheduler: func(_ *testing.T, s *Snapshot) {
		s.Pods[0].Spec.NodeName = ""
		s.Pods[0].Spec.Containers[0].Resources.Requests[policy.PlacementResource] = resource.MustParse("1")
	},
	CodeNoSlots: func(_ *testing.T, s *Snapshot) {
		s.Installation.Scheduler.MarkerResource = false
		delete(s.Pods[1].Annotations, policy.LocalSlotAnnotation)
	},
	CodeWebhookMissing: func(_ *testing.T, s *Snapshot) { s.Validating = nil },
	CodeNoAuthority:    func(_ *testing.T, s *Snapshot) { s.Mutating.Webhooks[0].ClientConfig.CABundle = nil },
	CodeCertificateInvalid: func(t *testing.T, s *Snapshot) {
		s.Certificate = certificate(t, now.Add(-time.Hour))
	},
	CodeCertificateExpires: func(t *testing.T, s *Snapshot) {
		s.Certificate = certificate(t, now.Add(20*24*time.Hour))
		s.Mutating.Webhooks[0].ClientConfig.CABundle = s.Certificate
	},
	CodeFailurePolicy: func(_ *testing.T, s *Snapshot) { s.Mutating.Webhooks[0].FailurePolicy = nil },
	CodeLeaseMissing:  func(_ *testing.T, s *Snapshot) { s.Leases = s.Leases[1:] },
	CodeLeaseStale: func(_ *testing.T, s *Snapshot) {
		s.Leases[2].Spec.RenewTime = &metav1.MicroTime{Time: now.Add(-2 * time.Minute)}
	},
	CodeRightMissing:  func(_ *testing.T, s *Snapshot) { s.Rights[0].Allowed = false },
	CodeNoVirtualNode: func(_ *testing.T, s *Snapshot) { s.Nodes = s.Nodes[:1] },
	CodeNodeNotReady: func(_ *testing.T, s *Snapshot) {
		s.Nodes[1].Status.Conditions[0] = corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "Kubelet stopped posting node status.",
		}
	},
	CodeNodeLocked: func(_ *testing.T, s *Snapshot) {
		s.Nodes[1].Spec.Unschedulable = true
		s.Nodes[1].Annotations[policy.SoldOutUntilAnnotation] = now.Add(time.Minute).Format(time.RFC3339)
	},
	CodeNodeCordoned: func(_ *testing.T, s *Snapshot) { s.Nodes[1].Spec.Unschedulable = true },
	CodeCloudCondition: func(_ *testing.T, s *Snapshot) {
		s.Nodes[1].Status.Conditions = append(s.Nodes[1].Status.Conditions, corev1.NodeCondition{
			Type: "CloudDenied", Status: corev1.ConditionTrue, Message: "the key is refused",
		})
	},
	CodeDaemonSet: func(_ *testing.T, s *Snapshot) {
		s.DaemonSets[0].Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	},
	CodeAutoscaler: func(_ *testing.T, s *Snapshot) {
		onService(s)
		s.Deployments = append(s.Deployments,
			deployment("kube-system", "autoscaler", "", "registry.k8s.io/autoscaling/cluster-autoscaler:v1.37.0"))
	},
	CodeDeletionCost: func(_ *testing.T, s *Snapshot) {
		s.Pods[0].Spec.NodeName = "virtual-0"
		s.Pods[0].Annotations[policy.DeletionCostAnnotation] = "-5"
		s.Pods[0].ManagedFields = []metav1.ManagedFieldsEntry{
			{Manager: admission, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{}}`)},
			{Manager: "karpenter", FieldsV1: metav1.NewFieldsV1(
				`{"f:metadata":{"f:annotations":{"f:controller.kubernetes.io/pod-deletion-cost":{}}}}`)},
		}
	},
	CodeServicesMode: func(_ *testing.T, s *Snapshot) { s.VnodeConfig = []byte("pods: {services: routed}") },
	CodeClusterDNS: func(_ *testing.T, s *Snapshot) {
		s.VnodeConfig = []byte("pods: {services: kube-proxy, clusterDNS: [10.0.0.2], kubeProxy: {image: i}}")
	},
	CodeSwitchMalformed: func(_ *testing.T, s *Snapshot) { s.Switch[policy.SwitchKey] = "on" },
	CodeNamespaceMalformed: func(_ *testing.T, s *Snapshot) {
		s.Namespaces[0].Annotations = map[string]string{policy.CloudLimitsAnnotation: "pods=many"}
	},
	CodeKeyMalformed: func(_ *testing.T, s *Snapshot) {
		s.Pods[0].Annotations[policy.LocalReplicasAnnotation] = "-1"
	},
	CodeQuotaNotMet: func(_ *testing.T, s *Snapshot) { setQuota(s, "5") },
	CodeQuotaNotCounted: func(_ *testing.T, s *Snapshot) {
		s.Pods[0].Spec.SchedulerName, s.Pods[1].Spec.SchedulerName = "volcano", "volcano"
	},
	CodeSharesContradict: func(_ *testing.T, s *Snapshot) {
		s.Namespaces[0].Annotations = map[string]string{policy.LocalMaxAnnotation: "1"}
	},
	CodeSharesTooSmall: func(_ *testing.T, s *Snapshot) {
		setQuota(s, "1")
		s.Namespaces[0].Annotations = map[string]string{policy.CloudMaxAnnotation: "0%"}
	},
	CodeMinimumWaits: func(_ *testing.T, s *Snapshot) {
		s.Pods[1].Spec.NodeName = ""
		s.Pods[1].Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: policy.LocalMinimum().Refusal(),
			LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
		}}
	},
	CodeGroupShares: func(_ *testing.T, s *Snapshot) {
		for _, p := range s.Pods {
			p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{}
		}
	},
	CodeNotRead: func(_ *testing.T, s *Snapshot) {
		s.Read[PartLeases], s.Unread[PartLeases] = false, "you lack the right to read it"
	},
}

// onService makes the scheduler that of the cluster.
func onService(s *Snapshot) {
	s.Installation.Scheduler.MarkerResource = true
	s.Deployments[1].Name, s.Leases[1].Name = extender, extender
}

func setQuota(s *Snapshot, quota string) {
	for _, p := range s.Pods {
		p.Annotations[policy.LocalReplicasAnnotation] = quota
	}
}

func TestAGoodClusterHasNoFindings(t *testing.T) {
	r := Check(good(t))
	assert.Empty(t, r.Findings)
	assert.Empty(t, r.Skipped)
	assert.Len(t, r.Checks, len(checks))

	s := good(t)
	onService(s)
	assert.Empty(t, Check(s).Findings, "with the scheduler of the cluster")
}

// Each fault is found with its code, and nothing else is found. The golden file has what a user reads.
func TestEachCodeIsFound(t *testing.T) {
	var text strings.Builder
	for _, kind := range Codes() {
		fault := faults[kind.Code]
		require.NotNil(t, fault, "%s has no case", kind.Code)
		s := good(t)
		fault(t, s)
		r := Check(s)
		require.Len(t, r.Findings, 1, "%s: %s", kind.Code, r.Text())
		assert.Equal(t, kind.Code, r.Findings[0].Code)
		assert.Equal(t, kind.Severity, r.Findings[0].Severity)
		if s.Installation != nil {
			assert.NotContains(t, r.Findings[0].Mend, "NAMESPACE", "a command can be pasted")
		}
		shown, _, _ := strings.Cut(r.Text(), "\nChecked: ")
		text.WriteString(shown + "\n")
	}
	const file = "testdata/findings.txt"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run go test ./cli/doctor -update")
	assert.Equal(t, string(want), text.String())
}

func TestCodesAreUniqueAndDescribed(t *testing.T) {
	seen := map[diagnosis.Code]bool{}
	for _, kind := range Codes() {
		assert.Regexp(t, `^SP[1-79]\d\d$`, kind.Code)
		assert.False(t, seen[kind.Code], kind.Code)
		seen[kind.Code] = true
		assert.NotEmpty(t, kind.Title)
		assert.NotEmpty(t, kind.Meaning)
		assert.NotEmpty(t, kind.Mend)
	}
	assert.Len(t, faults, len(seen))
}

func TestWhatIsNoFault(t *testing.T) {
	for name, change := range map[string]func(s *Snapshot){
		"a Pod that was created before the extender has no slot": func(s *Snapshot) {
			delete(s.Pods[0].Annotations, policy.LocalSlotAnnotation)
			s.Pods[0].CreationTimestamp = metav1.NewTime(now.Add(-2 * time.Hour))
		},
		"a Pod that has just been created was not tried": func(s *Snapshot) {
			s.Pods[0].Spec.NodeName, s.Pods[0].CreationTimestamp = "", metav1.NewTime(now)
		},
		"a Pod with a scheduling gate was not tried": func(s *Snapshot) {
			s.Pods[0].Spec.NodeName, s.Pods[0].Spec.SchedulingGates = "", []corev1.PodSchedulingGate{{Name: "g"}}
		},
		"one of two extenders is ready": func(s *Snapshot) {
			onService(s)
			s.Deployments[1].Spec.Replicas = new(int32(2))
		},
		"an image with a digest": func(s *Snapshot) {
			s.Deployments[1].Spec.Template = template("r/spillway-extender@sha256:0a1b")
		},
		"a DaemonSet that selects local nodes": func(s *Snapshot) {
			spec := &s.DaemonSets[0].Spec.Template.Spec
			spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
			spec.NodeSelector = map[string]string{"disktype": "ssd"}
		},
		"a DaemonSet whose affinity selects local nodes": func(s *Snapshot) {
			spec := &s.DaemonSets[0].Spec.Template.Spec
			spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
			spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
					NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
						{Key: "disktype", Operator: corev1.NodeSelectorOpExists},
					}}},
				},
			}}
		},
		"an autoscaler with a file": func(s *Snapshot) {
			onService(s)
			d := deployment("kube-system", "autoscaler", "", "r/cluster-autoscaler:v1.37.0")
			d.Spec.Template.Spec.Containers[0].Command = []string{"./cluster-autoscaler", "--scheduler-config-file=/f"}
			s.Deployments = append(s.Deployments, d)
		},
		"an autoscaler beside a scheduler of the chart": func(s *Snapshot) {
			s.Deployments = append(s.Deployments, deployment("k", "a", "", "r/cluster-autoscaler:v1"))
		},
		"shares of two places that fit together": func(s *Snapshot) {
			s.Namespaces[0].Annotations = map[string]string{
				policy.LocalMaxAnnotation: "2", policy.CloudMaxAnnotation: "50%",
			}
		},
		"caps that leave a place for each replica": func(s *Snapshot) {
			setQuota(s, "50%")
			s.Namespaces[0].Annotations = map[string]string{policy.CloudMaxAnnotation: "50%"}
		},
		"a minimum that has waited for less than an hour": func(s *Snapshot) {
			faults[CodeMinimumWaits](nil, s)
			s.Pods[1].Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-59 * time.Minute))
		},
		"a percentage of the replicas that fits": func(s *Snapshot) { setQuota(s, "100%") },
		"a quota that just fits":                 func(s *Snapshot) { setQuota(s, "4") },
		"a quota of a Pod that stays local":      func(s *Snapshot) { setQuota(s, "0") },
		"a certificate in files":                 func(s *Snapshot) { s.Certificate = nil },
		"a Lease of a node that was removed": func(s *Snapshot) {
			removed := lease("spillway-vnode-old")
			removed.Spec.HolderIdentity = nil
			s.Leases = append(s.Leases, removed)
		},
		"the switch of the cluster is absent": func(s *Snapshot) { s.Switch = nil },
		"the clock of this machine is slow": func(s *Snapshot) {
			s.Now = s.Now.Add(-30 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := good(t)
			change(s)
			r := Check(s)
			assert.Empty(t, r.Findings, r.Text())
		})
	}
}

func TestAQuotaWhoseNodesDoNotExist(t *testing.T) {
	s := good(t)
	for _, p := range s.Pods {
		p.Spec.NodeSelector = map[string]string{"disktype": "ssd"}
	}
	r := Check(s)
	require.Len(t, r.Findings, 1)
	assert.Equal(t, "LOCAL_REPLICAS=2, and no local node has the labels that its Pods select", r.Findings[0].Message)
}

// Tenants write names and values: none of them must reach a terminal as a control sequence.
func TestTextIsPrintable(t *testing.T) {
	s := good(t)
	s.Pods[0].Annotations[policy.LocalReplicasAnnotation] = "\x1b[31m1"
	assert.NotContains(t, Check(s).Text(), "\x1b")
}
