package integration

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/page/pagetest"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
	"github.com/spillway-k8s/spillway/vnode/provider"
)

// cloudFault is a fault of the cloud, what users see of it, and how it ends.
// TestEveryFaultOfTheCloud checks each, and TestFaultsPage writes them into the documentation.
type cloudFault struct {
	// begin starts the fault, and returns the function that ends it.
	begin func(t *testing.T, cloud *cloudtest.Cloud) (end func())
	// pod is what a Pod shows that is created during the fault. see checks it.
	pod string
	see func(pod *corev1.Pod) error
	// node is the condition of the Node that is True during the fault, empty if there is none.
	node corev1.NodeConditionType
	// message is a part of the condition's message.
	message string
	// refusal says that the cloud refuses the Pod. The Pod of a Job then fails, and its Job counts that.
	refusal bool
	// held says that Pods that are deleted during the fault stay until its end.
	held bool
	// ends says how the fault ends.
	ends string
}

// What Pods show that are created during a fault.
const (
	podRuns       = "runs"
	podRunsLate   = "runs, later"
	endsUnnoticed = "not visible"
	endsByItself  = "automatically: everything is retried"
)

// always is a fault of the simulator. A fault with a number of times must have occurred at least once before it
// ends.
func always(fault ccisim.Fault) func(*testing.T, *cloudtest.Cloud) func() {
	return func(t *testing.T, cloud *cloudtest.Cloud) func() {
		off := cloud.Fault(t, fault)
		return func() {
			eventually(t, func() error {
				for _, left := range cloud.Faults() {
					if fault.Times > 0 && left.Times == fault.Times {
						return errors.New("it has not occurred")
					}
				}
				return nil
			})
			off()
		}
	}
}

// behaving is a cloud with other policies until the fault ends.
func behaving(change func(*ccisim.Policies)) func(*testing.T, *cloudtest.Cloud) func() {
	return func(t *testing.T, cloud *cloudtest.Cloud) func() {
		before := cloud.Policies()
		cloud.Behave(t, change)
		return func() { require.NoError(t, cloud.SetPolicies(before)) }
	}
}

func withoutPods(p *ccisim.Policies)  { p.Unpublished = []string{"pods"} }
func bareErrors(p *ccisim.Policies)   { p.BareErrors = true }
func ignoredLimit(p *ccisim.Policies) { p.IgnoreLimit = true }

// both are two faults at the same time.
func both(first, second func(*testing.T, *cloudtest.Cloud) func()) func(*testing.T, *cloudtest.Cloud) func() {
	return func(t *testing.T, cloud *cloudtest.Cloud) func() {
		endFirst, endSecond := first(t, cloud), second(t, cloud)
		return func() {
			endSecond()
			endFirst()
		}
	}
}

// waits is what a Pod without a cloud Pod shows, with the reason.
func waits(reason string) string { return "Pending, `" + reason + "`" }

func answers(status int, code, message string) func(*testing.T, *cloudtest.Cloud) func() {
	return always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Path: "/pods$", Status: status, ErrorCode: code,
		Message: message})
}

// refusing is a fault in which the cloud refuses a Pod.
func refusing(begin func(*testing.T, *cloudtest.Cloud) func(), ends string) cloudFault {
	row := waiting(begin, provider.ReasonRefused, "", "", ends)
	row.refusal, row.pod = true, row.pod+"; of a Job: Failed"
	return row
}

// waiting is a fault in which Pods wait with a reason. It can also be a condition of the Node.
func waiting(begin func(*testing.T, *cloudtest.Cloud) func(), reason string, condition corev1.NodeConditionType,
	message, ends string) cloudFault {
	return cloudFault{begin: begin, pod: waits(reason), see: hasReason(reason), node: condition, message: message,
		ends: ends}
}

// goingOn is a fault in which Pods still start and stop.
func tolerated(begin func(*testing.T, *cloudtest.Cloud) func(), pod, ends string) cloudFault {
	return cloudFault{begin: begin, pod: pod, see: isReady, ends: ends}
}

// cloudFaults lists the faults by a sentence.
var cloudFaults = map[string]cloudFault{
	// Access.
	"the access key is revoked": waiting(func(t *testing.T, cloud *cloudtest.Cloud) func() {
		other := cloudtest.Account
		other.AccessKey = "another"
		require.NoError(t, cloud.SetCredentials([]ccisim.Credential{other}))
		return func() { require.NoError(t, cloud.SetCredentials([]ccisim.Credential{cloudtest.Account})) }
	}, provider.ReasonDenied, nodeconditions.Denied, "the access key is wrong, expired, revoked",
		"once a key is valid, without a restart"),
	"the account is in arrears": waiting(always(ccisim.Fault{Kind: ccisim.Arrears, Verb: "create"}),
		provider.ReasonDenied, nodeconditions.Denied, "settle the balance", "once the balance is settled"),
	"the service is not authorized (no agency)": waiting(always(ccisim.Fault{Kind: ccisim.NoAgency, Verb: "create"}),
		provider.ReasonDenied, nodeconditions.Denied,
		"open the CCI console", "once the authorization is accepted in the console"),
	"the account has no quota for the agency": waiting(always(ccisim.Fault{Kind: ccisim.AgencyQuota, Verb: "create"}),
		provider.ReasonDenied, nodeconditions.Denied, "unused agencies", "once the quota is raised or an agency is deleted"),
	"the account is not on the list of those that may use CCI": waiting(
		always(ccisim.Fault{Kind: ccisim.NotListed, Verb: "create"}), provider.ReasonDenied, nodeconditions.Denied,
		"not on the list", "once the account is on the list"),
	"the gateway does not know the API of Pods (404)": waiting(behaving(withoutPods),
		provider.ReasonNotOffered, nodeconditions.Unusable, "check cci.region, cci.endpoint and policy.cciVersion",
		"once the endpoint has the API. No Pod ends for it"),
	"the key lacks a permission": waiting(answers(403, "CCI.01.403110", "no permission"), provider.ReasonDenied,
		nodeconditions.Denied, "cci:namespaceSubResource:*", "once the permission is granted"),
	"a firewall answers with an HTML page": waiting(
		always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Status: 403, HTML: true, Message: "Blocked"}),
		provider.ReasonDenied, nodeconditions.Denied, "Blocked", "once the firewall lets requests through"),

	// Pods.
	"the cloud refuses the Pod (403)": refusing(answers(403, "", "the Pod is not allowed"),
		"retried every `pods.refusalRetry`"),
	"the cloud refuses the Pod (403 without a reason)": refusing(both(behaving(bareErrors),
		answers(403, "", "subnetID is not allowed to be duplicated")), "retried every `pods.refusalRetry`"),
	"the cloud considers the Pod invalid (422)": refusing(answers(422, "", "metadata.labels: Invalid value"),
		"retried every `pods.refusalRetry`"),
	"the namespace has no usable network": pendingWithout(always(ccisim.Fault{Kind: ccisim.NetworkFailed}),
		`is not Ready: its status is "Failed"`, "once the network is Ready; the lock ends automatically"),
	"a quota is used up": waiting(always(ccisim.Fault{Kind: faults.Quota, Hard: corev1.ResourceList{
		corev1.ResourcePods: resource.MustParse("0"),
	}}), string(policy.ReasonQuota), soldOutCondition, "a quota is used up",
		"once the quota has room: vnode tries with a probe"),
	"the cloud is sold out": pendingWithout(always(ccisim.Fault{Kind: ccisim.SoldOut}),
		"a probe of size 0.25_0.5 finds no room either",
		"once the cloud has capacity; the lock after `soldOut.lock` at the latest, or with `kubectl uncordon`"),
	"the subnets have no free address": pendingWithout(always(ccisim.Fault{Kind: ccisim.IPInsufficient}),
		"no address left", "once addresses are free; the lock as for a sold-out cloud"),
	"images cannot be pulled": {
		begin: always(ccisim.Fault{Kind: ccisim.ImagePull}),
		pod:   "Pending, `ErrImagePull` or `ImagePullBackOff` in its containers' status",
		see: func(pod *corev1.Pod) error {
			for _, status := range pod.Status.ContainerStatuses {
				if w := status.State.Waiting; w != nil && strings.Contains(w.Reason, "ImagePull") && w.Message != "" {
					return nil
				}
			}
			return errors.New("its containers should report that their image cannot be pulled")
		}, ends: "the cloud retries",
	},

	// Answers.
	"all requests are throttled (429)": waiting(always(ccisim.Fault{Kind: ccisim.Throttle, Verb: "create"}),
		provider.ReasonThrottled, nodeconditions.Throttled,
		"429", "automatically, after `Retry-After`; the condition a minute later"),
	"requests above a rate are throttled (429)": tolerated(
		always(ccisim.Fault{Kind: ccisim.Throttle, RatePerSecond: 5, Burst: 3}),
		podRunsLate, endsByItself),
	"errors of the service (500)": waiting(always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create"}),
		provider.ReasonUnavailable, "", "", endsByItself),
	"the service is unavailable (503, Retry-After)": waiting(
		always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Status: 503, RetryAfterSeconds: 1}),
		provider.ReasonUnavailable, "", "", "automatically, after `Retry-After`"),
	"only errors of a gateway (502)": waiting(
		always(ccisim.Fault{Kind: ccisim.ServerError, Status: 502, HTML: true, Message: "Bad Gateway"}),
		provider.ReasonUnavailable, "", "", "automatically; after 30 seconds the Node has the condition `CloudUnavailable`"),
	"slow answers": tolerated(always(ccisim.Fault{Kind: ccisim.Latency,
		Delay: metav1.Duration{Duration: 300 * time.Millisecond}}), podRunsLate, endsUnnoticed),
	"the answer to a creation is lost": tolerated(always(ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create",
		Times: 3}), podRuns, "the cloud Pod is found by its name, and not created again"),
	"the answer to a deletion is lost": tolerated(
		always(ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "delete", Times: 3}), podRuns, endsUnnoticed),
	"the answer to a creation is cut off": tolerated(always(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "create", Times: 3}),
		podRuns, "as for a lost answer"),
	"a list is cut off": tolerated(func(t *testing.T, cloud *cloudtest.Cloud) func() {
		end := always(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "list", Times: 3})(t, cloud)
		cloud.Compact()
		cloud.CutWatches(true)
		return end
	}, podRuns, "an incomplete list is not used: it is requested again"),

	"errors have no reason (404, 403, 409)": tolerated(behaving(bareErrors), podRuns,
		"a list confirms what a 404 means"),
	"a proxy answers 404 for Pods that exist": tolerated(always(ccisim.Fault{Kind: ccisim.ServerError, Status: 404,
		HTML: true, Message: "404 page not found", Verb: "get", Path: "/pods/"}), podRuns,
		"no Pod ends for it: a list shows that they exist"),

	// Watches.
	"watches are disconnected": tolerated(func(_ *testing.T, cloud *cloudtest.Cloud) func() {
		cloud.CutWatches(true)
		return func() { cloud.CutWatches(false) }
	}, podRuns, "they resume where they ended"),
	"a watch is disconnected within an event": tolerated(
		always(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "watch", Times: 3}), podRuns, "it resumes before that event"),
	"the version of a watch has expired (ERROR event)": tolerated(expired(false), podRuns, "with a list"),
	"the version of a watch has expired (HTTP 410)":    tolerated(expired(true), podRuns, "with a list"),
	"events arrive twice": tolerated(always(ccisim.Fault{Kind: ccisim.DuplicateEvents}), podRuns,
		endsUnnoticed),
	"lists ignore their limit": tolerated(behaving(ignoredLimit), podRuns, endsUnnoticed),
	"deleted Pods are not removed (a finalizer remains)": {
		begin: always(ccisim.Fault{Kind: ccisim.HoldFinalizer}), pod: "runs; a deleted Pod stays Terminating",
		see: isReady, held: true,
		ends: "the Pod is removed once its cloud Pod is gone",
	},
	"the service creates Pods of its own": tolerated(func(t *testing.T, cloud *cloudtest.Cloud) func() {
		_, err := cloud.AddImageSnapshotPod(cloudtest.Namespace)
		require.NoError(t, err)
		return func() {}
	}, podRuns, "they are not changed"),
}

// faultsTable returns the list for the documentation.
func faultsTable() string {
	var table strings.Builder
	table.WriteString(
		"| Fault of the cloud | A Pod created meanwhile | Condition of the Node | How it ends |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(cloudFaults)) {
		row, condition := cloudFaults[name], ""
		if row.node != "" {
			condition = fmt.Sprintf("`%s`", row.node)
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", name, row.pod, condition, row.ends)
	}
	return table.String()
}

// pendingWithout is a fault in which cloud Pods are not scheduled and the node is locked.
func pendingWithout(begin func(*testing.T, *cloudtest.Cloud) func(), message, ends string) cloudFault {
	return cloudFault{begin: begin, pod: "Pending in the cloud", see: hasPhase(corev1.PodPending),
		node: soldOutCondition, message: message, ends: ends}
}

// expired makes watches start from a version that has expired.
func expired(asStatus bool) func(*testing.T, *cloudtest.Cloud) func() {
	return func(t *testing.T, cloud *cloudtest.Cloud) func() {
		cloud.Behave(t, func(p *ccisim.Policies) { p.GoneAsStatus = asStatus })
		cloud.Compact()
		cloud.CutWatches(true)
		return func() {}
	}
}

// During every fault, running Pods continue, and new and deleted Pods show what the row says. In the end all Pods have
// run and stopped as they should, the cloud and the cluster have the same Pods, and nothing was created twice.
func TestEveryFaultOfTheCloud(t *testing.T) {
	t.Parallel()
	for name, row := range cloudFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, func(c *Config) {
				c.SoldOut.Timeout.Duration, c.SoldOut.StrandedPods = time.Second, policy.SoldOutWait
			})
			name := s.node.name()
			for _, pod := range []string{"stays", "goes"} {
				create(t, s.namespace, podOn(name, pod))
				await(t, s.namespace, pod, isReady)
			}

			end := row.begin(t, s.cloud)
			create(t, s.namespace, replicaOn(name, "web"))
			create(t, s.namespace, jobPodOn(name, "job"))
			remove(t, s.namespace, "goes")
			await(t, s.namespace, "web", row.see)
			s.seeNode(row)
			s.seeJob(row)
			assert.NoError(t, isReady(get(t, s.namespace, "stays")))
			if row.held {
				assert.NotNil(t, get(t, s.namespace, "goes").DeletionTimestamp)
			}
			end()

			assert.Empty(t, await(t, s.namespace, "web", isReady).Status.Reason, "the reason is removed")
			if !row.refusal {
				await(t, s.namespace, "job", hasPhase(corev1.PodSucceeded))
			}
			awaitGone(t, s.namespace, "goes")
			assert.NoError(t, isReady(get(t, s.namespace, "stays")))
			if row.node == nodeconditions.Denied {
				awaitNode(t, name, hasCondition(row.node, corev1.ConditionFalse))
			}
			eventually(t, s.compare)
			s.checkPast()
		})
	}
}

// seeJob checks that the Pod of a Job fails only if the cloud refuses it.
func (s *scenario) seeJob(row cloudFault) {
	if row.refusal {
		await(s.t, s.namespace, "job", hasPhase(corev1.PodFailed))
		remove(s.t, s.namespace, "job")
		return
	}
	assert.NotEqual(s.t, corev1.PodFailed, get(s.t, s.namespace, "job").Status.Phase)
}

// seeNode checks the condition of the Node. The Node is Ready in any case.
func (s *scenario) seeNode(row cloudFault) {
	ready := hasCondition(corev1.NodeReady, corev1.ConditionTrue)
	if row.node == "" {
		awaitNode(s.t, s.node.name(), ready)
		return
	}
	object := awaitNode(s.t, s.node.name(), hasCondition(row.node, corev1.ConditionTrue))
	assert.NoError(s.t, ready(object))
	require.NotEmpty(s.t, row.message)
	assert.Contains(s.t, node.FindCondition(object, row.node).Message, row.message)
}

// TestFaultsPage compares the table of the page with the rows. With -update it writes the table.
func TestFaultsPage(t *testing.T) {
	pagetest.Check(t, "../../docs/vnode.md", "./vnode/integration -run TestFaultsPage", faultsTable(), *update)
}
