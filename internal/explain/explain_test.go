package explain

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// created is when the Pods of the tests were created.
var created = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

const virtual = "virtual-node-cci-0"

// question is an Input that a test changes.
type question struct {
	Input
	t *testing.T
	// pods are those of the namespace.
	pods []*corev1.Pod
	// fixed replaces the counts of pods.
	fixed *Replicas
}

// explain answers the question as the plugin does: it counts the Pods.
func (q *question) explain() Explanation {
	UsageOf(q.Policy, q.pods, q.Nodes).Fill(&q.Input)
	if q.fixed != nil {
		q.Replicas = *q.fixed
	}
	return Explain(q.Input)
}

// ask returns a question about Pod cart-1 of Deployment cart, which waits for the scheduler.
func ask(t *testing.T) *question {
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	q := &question{t: t, Input: Input{
		Policy: rules, Pod: newPod("cart-1"), Nodes: []*corev1.Node{newNode()},
		Owners: []Owner{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "cart"},
			{APIVersion: "apps/v1", Kind: "Deployment", Name: "cart"}},
		Schedulers: &schedulers.Schedulers{Assigned: "spillway-scheduler", EveryPod: true},
	}}
	q.Pod.Spec.Tolerations = []corev1.Toleration{policy.ProviderToleration()}
	return q
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "shop", UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(created),
			Labels: map[string]string{}, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "cart", UID: "replicaset", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{SchedulerName: "spillway-scheduler", Containers: []corev1.Container{{
			Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("300m"), corev1.ResourceMemory: resource.MustParse("600Mi"),
			}},
		}}},
	}
}

func newNode() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: virtual, Labels: policy.VirtualNodeLabels()},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue,
		}}},
	}
}

// on binds the Pod.
func (q *question) on(node string) *question { q.Pod.Spec.NodeName = node; return q }

// refused sets the message of the scheduler.
func (q *question) refused(message string) *question {
	q.Pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message,
	}}
	return q
}

func (q *question) annotated(key, value string) *question { q.Pod.Annotations[key] = value; return q }
func (q *question) labeled(value string) *question {
	q.Pod.Labels[policy.BurstLabel] = value
	q.Owners[1].TemplateLabels = map[string]string{policy.BurstLabel: value}
	return q
}

// quota gives the Pod a quota, and its revision Pods on nodes.
func (q *question) quota(n string, nodes ...string) *question {
	q.annotated(policy.LocalReplicasAnnotation, n)
	for i, node := range nodes {
		other := newPod("cart-" + string(rune('2'+i)))
		other.Annotations[policy.LocalReplicasAnnotation] = n
		other.Spec.NodeName = node
		q.pods = append(q.pods, other)
	}
	q.pods = append(q.pods, q.Pod)
	return q
}

// shares gives the Pod shares, and its revision Pods on nodes. Those on no node wait.
func (q *question) shares(annotations map[string]string, nodes ...string) *question {
	for key, value := range annotations {
		q.annotated(key, value)
	}
	return q.replicas(nodes...)
}

// replicas gives the revision of the Pod Pods on nodes.
func (q *question) replicas(nodes ...string) *question {
	for i, node := range nodes {
		other := newPod("cart-" + string(rune('2'+i)))
		other.Spec.NodeName = node
		q.pods = append(q.pods, other)
	}
	q.pods = append(q.pods, q.Pod)
	return q
}

// ofNamespace gives the namespace an annotation.
func (q *question) ofNamespace(key, value string) *question {
	q.NamespaceAnnotations = map[string]string{key: value}
	return q
}

// askedAfter sets the time of the question.
func (q *question) askedAfter(age time.Duration) *question { q.Now = created.Add(age); return q }

// inherited is what admission makes of the Pod of a Deployment that has a key.
func inherited(key string) func(*question) {
	return func(q *question) {
		q.annotated(policy.InheritedAnnotation, key)
		q.Owners[1].Annotations = map[string]string{key: q.Pod.Annotations[key]}
		q.Owners[0].Annotations = q.Owners[1].Annotations // The controller of Deployments copies them.
	}
}

func (q *question) limits(text string) *question {
	q.NamespaceAnnotations = map[string]string{policy.CloudLimitsAnnotation: text}
	return q
}

func (q *question) change(f func(*question)) *question { f(q); return q }

const noLocalNode = "0/4 nodes are available: 3 Insufficient cpu, 1 node(s) had untolerated taint(s)."

// aggregated is a refusal as the scheduler writes it into the condition.
func aggregated(refusal policy.Message) string {
	return "0/4 nodes are available: 1 " + refusal.Refusal() + ", 3 Insufficient cpu."
}

// off is the decision about a Pod while the switch is off.
func off(t *testing.T) policy.Decision {
	q := ask(t)
	return q.Policy.Decide(policy.Input{Pod: q.Pod, Global: policy.SwitchOff})
}

func turnOff(q *question) { q.Global = policy.SwitchOff }

// keptLocal is what the webhook makes of a Pod that tolerates every taint while it may not burst.
func keptLocal(q *question) {
	q.Pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
				Key: policy.NodeTypeLabel, Operator: corev1.NodeSelectorOpNotIn,
				Values: []string{policy.NodeTypeVirtual},
			}}}},
		},
	}}
}

// status is what vnode writes into the status of the Pod.
func (q *question) status(phase corev1.PodPhase, reason policy.Reason, message string) *question {
	q.Pod.Status.Phase, q.Pod.Status.Reason, q.Pod.Status.Message = phase, string(reason), message
	return q
}

func soldOut(q *question) {
	q.Nodes[0].Status.Conditions = append(q.Nodes[0].Status.Conditions, corev1.NodeCondition{
		Type: corev1.NodeConditionType(policy.ReasonSoldOut), Status: corev1.ConditionTrue, Reason: "Locked",
	})
}

// The answers to the questions of users, as the plugin prints them. docs/operations.md names the same states.
func TestAnswers(t *testing.T) {
	quotaReached := aggregated(policy.LocalQuotaReached(policy.Shares{}, policy.FilteredOut))
	for name, q := range map[string]*question{
		"a new Pod that was not tried yet": ask(t),
		"a Pod with a scheduling gate": ask(t).change(func(q *question) {
			q.Pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "kueue.x-k8s.io/admission"}}
		}),
		"a local Pod without keys":         ask(t).on("local-0"),
		"a cloud Pod without keys":         ask(t).on(virtual),
		"a local replica of a quota":       ask(t).on("local-0").quota("2", "local-1", virtual),
		"a cloud replica beyond a quota":   ask(t).on(virtual).quota("1", "local-1", virtual),
		"a cloud replica below its quota":  ask(t).on(virtual).quota("3", "local-1"),
		"more local replicas than a quota": ask(t).on("local-0").quota("1", "local-1"),
		"a Pod that waits for its quota":   ask(t).refused(quotaReached).quota("1", "local-1"),
		"a slot that is not bound yet":     ask(t).quota("1").annotated(policy.LocalSlotAnnotation, "uid-cart-1"),
		"a quota with a locked cloud": ask(t).
			refused(aggregated(policy.LocalQuotaReached(policy.Shares{}, policy.AllLocked))).
			quota("1", "local-1").change(lockNode),
		"a quota that the extender has not refused": ask(t).refused(noLocalNode).quota("1", "local-1"),
		"a quota that the webhook has missed": ask(t).
			refused(noLocalNode).quota("1").change(func(q *question) { q.Schedulers.EveryPod = false }),
		"a Pod that preempts first": ask(t).refused(aggregated(policy.PreemptFirst())),
		"enforce without a virtual node that fits": ask(t).labeled("enforce").refused(aggregated(policy.CloudOnly(
			policy.Decision{Message: "the burst label is enforce: virtual nodes only"}, policy.AllLocked,
		))).change(lockNode),
		"a Pod for which no node fits": ask(t).labeled("localPrefer").refused(aggregated(policy.NoNode(policy.Decision{
			Reason: policy.ReasonLabelLocalPrefer,
			Message: "the burst label is localPrefer: virtual nodes if no " +
				"local node fits",
		}, policy.FilteredOut))),
		"a Pod that the extender keeps local": ask(t).refused(aggregated(off(t).Says())).change(turnOff),
		"a refusal that is no longer true":    ask(t).refused(aggregated(off(t).Says())),
		"a Pod that tolerates every taint":    ask(t).refused(noLocalNode).change(keptLocal),
		"a Pod that limits do not count": ask(t).refused(noLocalNode).limits("pods=5").change(func(q *question) {
			q.Schedulers.EveryPod = false
		}),
		"a malformed key of a cloud Pod": ask(t).on(virtual).annotated(policy.LocalReplicasAnnotation, "two"),
		"a cloud Pod that waits for a quota of the cloud": ask(t).on(virtual).
			status(corev1.PodPending, policy.ReasonQuota, "quota of pods exceeded: limit 100, used 100"),
		"a cloud Pod beyond the limits": ask(t).on(virtual).limits("pods=1").status(corev1.PodPending,
			policy.ReasonCloudLimits, ask(t).Policy.CloudLimitsReached(newPod("cart-1")).Sentence),
		"a cloud Pod that was not counted": ask(t).on(virtual).limits("pods=5").status(corev1.PodPending,
			policy.ReasonNotCounted, policy.NotCounted(policy.BoundUncounted).Sentence),
		"a cloud Pod of which a Secret is missing": ask(t).on(virtual).
			status(corev1.PodPending, "CreateContainerConfigError", "Secret shop/keys does not exist"),
		"a cloud Pod while the cloud does not answer": ask(t).on(virtual).
			status(corev1.PodPending, "CloudUnavailable", "no answer"),
		"a cloud Pod that the cloud refuses": ask(t).on(virtual).
			status(corev1.PodFailed, policy.ReasonPrivileged, "container c is privileged"),
		"a cloud Pod of a size that is sold out": ask(t).on(virtual).status(corev1.PodPending, "", "").change(soldOut),
		"a quota of a Job":                       ask(t).refused(quotaReached).quota("1", "local-1").change(ownedByJob),
		"a quota of a CronJob": ask(t).
			refused(quotaReached).quota("1", "local-1").change(ownedByCronJob),
		"a quota of a Rollout": ask(t).
			refused(quotaReached).quota("1", "local-1").change(ownedByRollout),
		"a quota of a Pod without owner": ask(t).refused(quotaReached).quota("0").change(func(q *question) {
			q.Owners = nil
		}),
		"a malformed quota": ask(t).
			refused(noLocalNode).annotated(policy.LocalReplicasAnnotation, "two"),
		"a quota with another scheduler": ask(t).refused(noLocalNode).quota("1").change(func(q *question) {
			q.Pod.Spec.SchedulerName = "volcano"
		}),
		"a quota with enforce": ask(t).on(virtual).quota("1").labeled("enforce"),
		"a quota of a scheduling group": ask(t).refused(noLocalNode).quota("1").change(func(q *question) {
			q.Pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{}
		}),
		"the switch is off": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Global = policy.SwitchOff
		}),
		"the switch is off for a Pod that cannot burst": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Global = policy.SwitchOff
		}).change(hostPath),
		"the switch is off and local": ask(t).on("local-0").change(func(q *question) {
			q.Global = policy.SwitchOff
		}),
		"the switch is malformed": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Global = policy.SwitchMalformed
		}),
		"the switch of the Pod overrides": ask(t).
			on(virtual).annotated(policy.SwitchKey, "true").change(func(q *question) {
			q.Global = policy.SwitchOff
		}),
		"the switch was turned off later": ask(t).on(virtual).change(func(q *question) {
			q.Global = policy.SwitchOff
		}),
		"the label off of a template": ask(t).refused(noLocalNode).labeled("off"),
		"the label off of a workload": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Owners[1].Labels = map[string]string{policy.BurstLabel: "off"}
		}),
		"the label localPrefer":            ask(t).on(virtual).labeled("localPrefer"),
		"the label auto on a local node":   ask(t).on("local-0").labeled("auto"),
		"the label auto in the cloud":      ask(t).on(virtual).labeled("auto"),
		"the label enforce":                ask(t).on(virtual).labeled("enforce"),
		"the label enforce added later":    ask(t).on("local-0").labeled("enforce"),
		"a malformed label":                ask(t).refused(noLocalNode).labeled("always"),
		"a namespace that enforces":        ask(t).on(virtual).change(enforceNamespace),
		"a namespace that may not burst":   ask(t).refused(noLocalNode).limits("pods=0"),
		"a namespace with a malformed key": ask(t).refused(noLocalNode).limits("pods=many"),
		"limits that are reached": ask(t).
			refused(ask(t).Policy.CloudLimitsReached(newPod("cart-1")).Refusal()).
			limits("pods=1,cpu=2").change(otherInCloud),
		"a Pod without owner and label in a namespace with limits": ask(t).
			refused(noLocalNode).change(withMarker).limits("pods=5").change(func(q *question) { q.Owners = nil }),
		"a Pod with the marker in a namespace with limits": ask(t).
			refused(noLocalNode).change(withMarker).limits("pods=5").change(func(q *question) {
			q.Pod.Spec.Containers[0].Resources.Requests[policy.PlacementResource] = resource.MustParse("1")
		}),
		"a namespace that may not burst and a Pod without the marker": ask(t).
			refused(noLocalNode).change(withMarker).limits("pods=0"),
		"limits that leave room": ask(t).on(virtual).limits("pods=5").change(otherInCloud),
		"a cloud slot that is not bound yet": ask(t).limits("pods=1").change(otherInCloud).change(func(q *question) {
			q.pods = q.pods[1:]
		}).annotated(policy.CloudSlotAnnotation, "uid-cart-1/0.50_1.0"),
		"more holders than are listed": ask(t).refused(quotaReached).quota("3").change(func(q *question) {
			q.fixed = &Replicas{Used: 3, Waiting: 1, Holders: []Holder{{"cart-2", "local-1"}}}
		}),
		"schedulers that are not known": ask(t).quota("0").change(notCreated).change(func(q *question) {
			q.Schedulers = nil
		}),
		"nodes of which the labels are known": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Nodes[0].Status = corev1.NodeStatus{}
			q.Pod.Spec.NodeSelector = map[string]string{"disk": "fast"}
		}),
		"limits and another scheduler": ask(t).refused(noLocalNode).limits("pods=5").change(func(q *question) {
			q.Pod.Spec.SchedulerName = "volcano"
		}),
		"a Pod with a hostPath volume": ask(t).refused(noLocalNode).change(hostPath),
		"a Pod with two restrictions": ask(t).refused(noLocalNode).change(hostPath).change(func(q *question) {
			q.Pod.Spec.HostNetwork = true
		}),
		"a Pod of a protected namespace": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Pod.Namespace = "kube-system"
		}),
		"a quota without effect": ask(t).on("local-0").quota("1", "local-1").change(hostPath),
		"an extender that does not respond": ask(t).refused(`Post "http://127.0.0.1:10290/v1/filter": dial tcp `+
			"127.0.0.1:10290: connect: connection refused").quota("1", "local-1").change(func(q *question) {
			q.Pod.Status.Conditions[0].Reason = corev1.PodReasonSchedulerError
		}),
		"a Pod that no size holds": ask(t).refused(noLocalNode).change(tooLarge),
		"a Pod without the toleration": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Pod.Spec.Tolerations = nil
		}),
		"no virtual node": ask(t).refused(noLocalNode).change(func(q *question) { q.Nodes = nil }),
		"a virtual node that is cordoned": ask(t).refused(noLocalNode).change(func(q *question) {
			q.Nodes[0].Spec.Unschedulable = true
		}),
		"a virtual node that is not ready": ask(t).refused(noLocalNode).change(notReady),
		"a Pod that has succeeded": ask(t).on(virtual).change(func(q *question) {
			q.Pod.Status.Phase = corev1.PodSucceeded
		}),
		"a cloud Pod with a price": ask(t).on(virtual).change(func(q *question) {
			var err error
			q.Prices, err = prices.New(prices.Config{
				Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "0.3", GiBHour: "0.1"},
			})
			require.NoError(t, err)
		}),
		"a manifest without keys": ask(t).change(notCreated),
		"a manifest with a quota": ask(t).quota("2").change(notCreated),
		"a manifest with enforce": ask(t).labeled("enforce").change(notCreated),
		"a manifest with auto":    ask(t).labeled("auto").change(notCreated),
		"a manifest with a malformed quota": ask(t).
			annotated(policy.LocalReplicasAnnotation, "two").change(notCreated).change(inFile),
		"a manifest of a CronJob with a malformed quota": ask(t).
			annotated(policy.LocalReplicasAnnotation, "two").change(ownedByCronJob).change(notCreated).change(inFile),
		"a manifest of a Pod with the label off": ask(t).labeled("off").change(notCreated).change(inFile).
			change(func(q *question) { q.Owners = nil }),
		"a manifest of a workload with the label off": ask(t).change(notCreated).change(inFile).
			change(func(q *question) { q.Owners[1].Labels = map[string]string{policy.BurstLabel: "off"} }),
		"a manifest that cannot burst": ask(t).change(notCreated).change(hostPath),
		"a user who may not read the nodes": ask(t).on("local-0").change(func(q *question) {
			q.Unknown = []string{"the user may not list nodes"}
		}),
		"a percentage with a floor": ask(t).on(virtual).shares(map[string]string{
			policy.LocalReplicasAnnotation: "30%", policy.LocalMinAnnotation: "2", policy.CloudMaxAnnotation: "80%",
		}, "local-1", "local-1", "local-2", virtual, virtual, virtual, virtual, "", ""),
		"a percentage of a workload": ask(t).on("local-0").shares(map[string]string{
			policy.LocalReplicasAnnotation: "50%",
		}, virtual, virtual).change(inherited(policy.LocalReplicasAnnotation)),
		"a maximum on local nodes of a namespace": ask(t).on(virtual).replicas("local-1", virtual).
			ofNamespace(policy.LocalMaxAnnotation, "1"),
		"more local replicas than a percentage after a scale-in": ask(t).on("local-0").shares(map[string]string{
			policy.LocalReplicasAnnotation: "50%",
		}, "local-1"),
		"a Pod that waits for its minimum": ask(t).refused(aggregated(policy.LocalMinimum())).shares(map[string]string{
			policy.LocalMinAnnotation: "2",
		}, "local-1", virtual),
		"a Pod that waits before it may burst": ask(t).
			refused(aggregated(policy.BurstAfter(created.Add(90*time.Second)))).
			ofNamespace(policy.BurstAfterAnnotation, "90s").askedAfter(49 * time.Second),
		"a Pod that has waited before it may burst": ask(t).refused(noLocalNode).
			annotated(policy.BurstAfterAnnotation, "90s").askedAfter(2 * time.Minute),
		"a Pod without the toleration that waits before it may burst": ask(t).refused(noLocalNode).
			ofNamespace(policy.BurstAfterAnnotation, "90s").askedAfter(30 * time.Second).
			change(func(q *question) { q.Pod.Spec.Tolerations = nil }),
		"a Pod without the toleration that has waited": ask(t).refused(noLocalNode).
			ofNamespace(policy.BurstAfterAnnotation, "90s").askedAfter(91 * time.Second).
			change(func(q *question) { q.Pod.Spec.Tolerations = nil }),
		"a Pod over its quota that need not wait": ask(t).
			refused(quotaReached).annotated(policy.BurstAfterAnnotation, "90s").quota("1", "local-1"),
		"a Pod beyond the maximum in the cloud": ask(t).
			refused(aggregated(policy.CloudMaximumReached())).shares(map[string]string{
			policy.LocalMaxAnnotation: "1", policy.CloudMaxAnnotation: "40%",
		}, "local-1", virtual, virtual, ""),
		"shares of two places that contradict each other": ask(t).
			refused(noLocalNode).quota("5").ofNamespace(policy.LocalMaxAnnotation, "3"),
		"a malformed minimum of a workload": ask(t).refused(noLocalNode).
			annotated(policy.LocalMinAnnotation, "some").change(inherited(policy.LocalMinAnnotation)),
		"a malformed wait of a namespace": ask(t).refused(noLocalNode).
			ofNamespace(policy.BurstAfterAnnotation, "soon"),
		"a cloud Pod that may return": ask(t).on(virtual).ofNamespace(policy.WayHomeAnnotation, "true").
			change(func(q *question) {
				q.Home = &HomeEvent{policy.ReasonStaysInCloud, "the Pod stays in the cloud: no local node has room"}
			}),
		"a cloud Pod that may not return": ask(t).on(virtual).annotated(policy.WayHomeAnnotation, "false"),
		"a cloud Pod that drain-back asked for": ask(t).on(virtual).
			annotated(policy.DrainBackAnnotation, created.Add(time.Hour).Format(time.RFC3339)).
			askedAfter(2 * time.Hour).change(func(q *question) { q.WayHomeStopped = true }),
		"a cloud Pod with a request of yesterday": ask(t).on(virtual).askedAfter(25*time.Hour).
			annotated(policy.DrainBackAnnotation, created.Add(time.Hour).Format(time.RFC3339)),
		"a cloud Pod that moves home": ask(t).on(virtual).change(func(q *question) {
			q.annotated(policy.MovingHomeAnnotation, policy.MovingHome{
				Hash: "5d8c", ReplicaSet: "cart", ReplicaSetUID: "replicaset", Deployment: "cart", DeploymentUID: "d",
				Start: metav1.NewTime(created.Add(time.Hour)),
			}.String())
			q.Pod.OwnerReferences[0].Controller = nil
		}),
		"a cloud Pod of a Job": ask(t).on(virtual).annotated(policy.WayHomeAnnotation, "true").change(ownedByJob).
			change(func(q *question) {
				owner := &q.Pod.OwnerReferences[0]
				owner.APIVersion, owner.Kind, owner.Name = "batch/v1", "Job", "import"
			}),
		"a cloud Pod with a malformed way home": ask(t).on(virtual).annotated(policy.WayHomeAnnotation, "yes"),
		"a manifest with a percentage": ask(t).shares(map[string]string{
			policy.LocalReplicasAnnotation: "30%", policy.BurstAfterAnnotation: "1m",
		}).change(notCreated).change(inFile),
		"a workload with a percentage and ten replicas": ask(t).change(notCreated).change(func(q *question) {
			q.Owners = q.Owners[1:]
			q.Owners[0].Annotations = map[string]string{policy.LocalReplicasAnnotation: "30%"}
			q.fixed = &Replicas{Active: 10}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			got := q.explain().Text()
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "run go test ./internal/explain -update")
			assert.Equal(t, string(want), got)
		})
	}
}

func lockNode(q *question) {
	q.Nodes[0].Spec.Unschedulable = true
	q.Nodes[0].Annotations = map[string]string{
		policy.SoldOutUntilAnnotation: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC).Format(time.RFC3339),
	}
}

func notReady(q *question) {
	q.Nodes[0].Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "Kubelet stopped posting node status.",
	}}
}

func ownedByJob(q *question) {
	q.Owners = []Owner{{APIVersion: "batch/v1", Kind: "Job", Name: "import"}}
}

func ownedByCronJob(q *question) {
	ownedByJob(q)
	q.Owners = append(q.Owners, Owner{APIVersion: "batch/v1", Kind: "CronJob", Name: "import"})
}

func ownedByRollout(q *question) {
	q.Owners[1] = Owner{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "cart"}
}

func enforceNamespace(q *question) {
	q.NamespaceLabels = map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue}
}

func otherInCloud(q *question) {
	other := newPod("other")
	other.Spec.NodeName = virtual
	q.pods = append(q.pods, other, q.Pod)
}

func hostPath(q *question) {
	q.Pod.Spec.Volumes = []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"},
	}}}
}

func tooLarge(q *question) {
	q.Pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("500")
}

// withMarker makes the schedulers call the extender only for Pods that request the marker resource.
func withMarker(q *question) { q.Schedulers = &schedulers.Schedulers{Assigned: "spillway-scheduler"} }

func inFile(q *question) { q.Manifest = true }

func notCreated(q *question) { q.NotCreated, q.pods = true, nil }

// What tenants write must not control the terminal of an operator.
func TestTextHasNoControlCharacters(t *testing.T) {
	q := ask(t).refused("\x1b[2Jcleared\u009b\r\a").annotated(policy.LocalReplicasAnnotation, "\x1b]0;title\a")
	for _, r := range q.explain().Text() {
		assert.False(t, r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0), "%U", r)
	}
}

func TestOfThousandsOfRestrictionsSomeAreNamed(t *testing.T) {
	q := ask(t)
	for i := range 3000 {
		q.Pod.Spec.Volumes = append(q.Pod.Spec.Volumes, corev1.Volume{
			Name: fmt.Sprint("logs-", i), VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"},
			},
		})
	}
	text := q.explain().Text()
	assert.Contains(t, text, "✗ restrictions  HostPath: ")
	assert.Contains(t, text, "✗ restrictions  and 2980 more\n")
	assert.Less(t, len(text), 16<<10)
}

func TestLimitsAreRaisedToWhatThePodNeeds(t *testing.T) {
	limits, err := policy.ParseCloudLimits("pods=1,memory=1Gi")
	require.NoError(t, err)
	need := policy.CloudUse{Pods: 3}
	need.MilliCPU, need.MilliGiB = 1500, 2500
	assert.Equal(t, "pods=3,memory=3Gi", raised(limits, need))
	parsed, err := policy.ParseCloudLimits(raised(limits, need))
	require.NoError(t, err)
	assert.True(t, parsed.Allow(need))
}
