package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/policytest"
)

// reasons returns all reasons of package policy, from its source: none is left out by accident.
func reasons(t *testing.T) []policy.Reason {
	file, err := parser.ParseFile(token.NewFileSet(), "../../policy/reason.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var found []policy.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			require.NoError(t, err)
			found = append(found, policy.Reason(text))
		}
		return false
	})
	require.Greater(t, len(found), 45)
	return found
}

// said is what other programs say about a Pod, beside the answer of the plugin.
type said struct {
	// elsewhere is the sentence of the condition, the Event or the status, as their function returns it.
	elsewhere policy.Message
	answer    Explanation
}

// ofDecisions returns what is said about the cases of policy: the message of a decision is that of the condition (the
// extender), of the Event (admission), of the status (vnode) and of the annotation (the webhook).
func ofDecisions(t *testing.T) map[policy.Reason][]said {
	found := map[policy.Reason][]said{}
	for _, file := range policytest.Files(t, "../../policy/testdata") {
		c := policytest.Read(t, file)
		in := c.Input(t)
		q := ask(t)
		q.Policy, q.Pod, q.Global, q.Claims = c.Policy(t), in.Pod, in.Global, in.Claims
		q.NamespaceLabels, q.NamespaceAnnotations = in.NamespaceLabels, in.NamespaceAnnotations
		q.Owners = []Owner{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Labels: in.WorkloadLabels}}
		q.Nodes = nil
		for _, node := range in.Nodes {
			one := newNode()
			one.Name, one.Labels = node.Name, node.Labels
			q.Nodes = append(q.Nodes, one)
		}
		if q.Pod.Name == "" {
			q.Pod.Name = "web"
		}
		decision := c.Decide(t)
		if decision.MayBurst() {
			q.NotCreated = true // The answer about a Pod that exists does not repeat why it may burst.
		} else {
			q.refused(aggregated(decision.Says()))
		}
		found[decision.Reason] = append(found[decision.Reason], said{decision.Says(), q.explain()})
	}
	return found
}

// ofPrograms returns what the programs say about Pods in other states.
func ofPrograms(t *testing.T) map[policy.Reason][]said {
	found := map[policy.Reason][]said{}
	add := func(message policy.Message, q *question) {
		found[message.Code] = append(found[message.Code], said{message, q.explain()})
	}
	refused := func(message policy.Message, q *question) { add(message, q.refused(aggregated(message))) }
	// The extender.
	for _, virtual := range []policy.VirtualNodesOut{
		policy.NoVirtualNode, policy.NotTolerated, policy.AllLocked, policy.FilteredOut,
	} {
		refused(policy.LocalQuotaReached(policy.Shares{}, virtual), ask(t).quota("1", "local-1"))
		enforced := ask(t).labeled("enforce")
		decision := enforced.Policy.Decide(policy.Input{Pod: enforced.Pod})
		refused(policy.CloudOnly(decision, virtual), enforced)
		preferred := ask(t).labeled("localPrefer")
		decision = preferred.Policy.Decide(policy.Input{Pod: preferred.Pod})
		refused(policy.NoNode(decision, virtual), preferred)
	}
	refused(policy.PreemptFirst(), ask(t))
	refused(policy.LocalMinimum(), ask(t).annotated(policy.LocalMinAnnotation, "1"))
	refused(policy.BurstAfter(created.Add(90*time.Second)), ask(t).annotated(policy.BurstAfterAnnotation, "90s"))
	refused(policy.CloudMaximumReached(), ask(t).annotated(policy.CloudMaxAnnotation, "0"))
	limited := ask(t).limits("pods=1").change(otherInCloud)
	refused(limited.Policy.CloudLimitsReached(limited.Pod), limited)
	// Admission.
	event := func(q *question) {
		UsageOf(q.Policy, q.pods, q.Nodes).Fill(&q.refused(noLocalNode).Input)
		s := newSubject(q.Input)
		message, ok := WhyWaiting(q.Pod, s.result, q.Schedulers, s.quotaIsUsedUp)
		require.True(t, ok)
		add(message, q)
	}
	event(ask(t).quota("1", "local-1"))
	event(ask(t).change(keptLocal))
	event(ask(t).change(turnOff))
	event(ask(t).limits("pods=5").change(func(q *question) { q.Schedulers.EveryPod = false }))
	event(ask(t).limits("pods=5").change(func(q *question) { q.Pod.Spec.SchedulerName = "volcano" }))
	floored := func(change func(*question)) {
		event(ask(t).annotated(policy.LocalMinAnnotation, "1").change(change))
	}
	floored(func(q *question) { q.Schedulers.EveryPod = false })
	floored(func(q *question) { q.Pod.Spec.SchedulerName = "volcano" })
	malformed := ask(t).annotated(policy.LocalReplicasAnnotation, "two")
	_, err := policy.ParseShares(malformed.Pod.Annotations)
	require.Error(t, err)
	add(policy.Malformed([]error{err}, true, false), malformed.refused(noLocalNode))
	add(policy.WebhookMissed(), ask(t).quota("1").change(func(q *question) { q.Schedulers.EveryPod = false }))
	add(schedulers.OtherScheduler("volcano", true, false), ask(t).quota("1").change(func(q *question) {
		q.Pod.Spec.SchedulerName = "volcano"
	}))
	// vnode.
	for _, message := range []policy.Message{
		policy.NotCounted(policy.BoundUncounted), limited.Policy.CloudLimitsReached(limited.Pod), off(t).Says(),
		{Code: policy.ReasonQuota, Sentence: "quota of pods exceeded"},
	} {
		add(message, ask(t).on(virtual).status(corev1.PodPending, message.Code, message.Sentence))
	}
	add(policy.SoldOut(), ask(t).on(virtual).status(corev1.PodPending, "", "").change(soldOut))
	return found
}

// withoutAnswer are reasons that the plugin does not give, and why.
var withoutAnswer = map[policy.Reason]string{
	policy.ReasonBurstAllowed: "it is an Event about a change",
	policy.ReasonUnmanaged:    "it is a label of metrics",
	policy.ReasonLocalOnly:    "it is a label of metrics",
	policy.ReasonMovingHome:   "it is an Event about a change",
	policy.ReasonMovedHome:    "it is an Event about a change",
	policy.ReasonStaysInCloud: "it is an Event about a change",
}

func TestEachReasonHasTheSameSentenceEverywhere(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/reasons.md")
	require.NoError(t, err)
	decisions, programs := ofDecisions(t), ofPrograms(t)
	for _, reason := range reasons(t) {
		t.Run(string(reason), func(t *testing.T) {
			_, section, found := strings.Cut(string(page), "\n### `"+string(reason)+"`\n")
			require.True(t, found, "docs/reference/reasons.md has no section")
			section, _, _ = strings.Cut(section, "\n#")
			meaning, todo, found := strings.Cut(section, "**What to do:**")
			assert.True(t, found, "the section does not say what to do")
			assert.NotEmpty(t, strings.TrimSpace(meaning))
			assert.NotEmpty(t, strings.TrimSpace(todo))

			all := append(decisions[reason], programs[reason]...)
			if _, ok := withoutAnswer[reason]; ok {
				return
			}
			require.NotEmpty(t, all, "no case has the reason")
			shown := false
			for _, one := range all {
				answer := one.answer.Text()
				assert.Contains(t, answer, one.elsewhere.String(), "the plugin says something else")
				assert.Contains(t, answer, PageOf(one.answer.Message.Code))
				shown = shown || strings.Contains(section, one.elsewhere.String())
			}
			if reason != policy.ReasonQuota { // Its message is that of the cloud.
				assert.True(t, shown, "the page shows no sentence of a case")
			}
		})
	}
}

// A condition that changes makes the scheduler retry its Pod.
func TestNoRefusalHasANumberThatChanges(t *testing.T) {
	refusals := func(used ...string) []policy.Message {
		q := ask(t).quota("2", used...).limits("pods=" + strconv.Itoa(len(used)+1))
		UsageOf(q.Policy, q.pods, q.Nodes).Fill(&q.Input)
		s := newSubject(q.Input)
		return q.Policy.Refusals(q.Pod, s.decision)
	}
	assert.Equal(t, refusals("local-1"), refusals("local-1", "local-2", virtual))
}
