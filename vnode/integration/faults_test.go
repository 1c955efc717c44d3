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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/page/pagetest"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
	"github.com/spillway-k8s/spillway/vnode/provider"
)

// cloudFault is one thing that the cloud can do to a virtual node: what users see of it, and how it ends. TestEveryFaultOfTheCloud holds each
// to its word, and TestFaultsPage writes them into the documentation.
type cloudFault struct {
	// begin brings it about, and returns what takes it away.
	begin func(t *testing.T, cloud *cloudtest.Cloud) (end func())
	// pod is what a Pod that comes meanwhile shows; see says how that is told.
	pod string
	see func(pod *corev1.Pod) error
	// node is the condition of the Node that is True meanwhile; empty for none.
	node corev1.NodeConditionType
	// says is what the condition's message has in it.
	says string
	// refusal says that the cloud will not have the Pod: one of a Job fails, and its Job counts that.
	refusal bool
	// held says that Pods that are deleted meanwhile stay until it is over.
	held bool
	// ends says how.
	ends string
}

// What Pods show that come meanwhile.
const (
	podRuns       = "runs"
	podRunsLate   = "runs, later"
	endsUnnoticed = "nobody notices"
	endsByItself  = "by itself: all is tried again"
)

// always is one fault of the simulator for as long as it lasts. One that strikes a number of times lasts until it has struck.
func always(fault ccisim.Fault) func(*testing.T, *cloudtest.Cloud) func() {
	return func(t *testing.T, cloud *cloudtest.Cloud) func() {
		off := cloud.Fault(t, fault)
		return func() {
			eventually(t, func() error {
				for _, left := range cloud.Faults() {
					if fault.Times > 0 && left.Times == fault.Times {
						return errors.New("it has not struck")
					}
				}
				return nil
			})
			off()
		}
	}
}

// waits is what a Pod shows that has no cloud Pod, for the reason.
func waits(reason string) string { return "Pending, `" + reason + "`" }

func answers(status int, code, message string) func(*testing.T, *cloudtest.Cloud) func() {
	return always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Path: "/pods$", Status: status, ErrorCode: code, Message: message})
}

// refusing is a fault for which the cloud will not have a Pod.
func refusing(begin func(*testing.T, *cloudtest.Cloud) func(), ends string) cloudFault {
	row := waiting(begin, provider.ReasonRefused, "", "", ends)
	row.refusal, row.pod = true, row.pod+"; of a Job: Failed"
	return row
}

// waiting is a fault that keeps Pods waiting, with a reason, and perhaps shows on the Node.
func waiting(begin func(*testing.T, *cloudtest.Cloud) func(), reason string, condition corev1.NodeConditionType, says, ends string) cloudFault {
	return cloudFault{begin: begin, pod: waits(reason), see: hasReason(reason), node: condition, says: says, ends: ends}
}

// goingOn is a fault during which Pods come and go nevertheless.
func goingOn(begin func(*testing.T, *cloudtest.Cloud) func(), pod, ends string) cloudFault {
	return cloudFault{begin: begin, pod: pod, see: isReady, ends: ends}
}

// cloudFaults is the list: each row is a sentence.
var cloudFaults = map[string]cloudFault{
	// Who may call.
	"the access key is revoked": waiting(func(t *testing.T, cloud *cloudtest.Cloud) func() {
		other := cloudtest.Account
		other.AccessKey = "another"
		require.NoError(t, cloud.SetCredentials([]ccisim.Credential{other}))
		return func() { require.NoError(t, cloud.SetCredentials([]ccisim.Credential{cloudtest.Account})) }
	}, provider.ReasonDenied, nodeconditions.Denied, "the access key is wrong, expired, revoked", "once a key is good, without a restart"),
	"the account owes money (arrears)": waiting(always(ccisim.Fault{Kind: ccisim.Arrears, Verb: "create"}), provider.ReasonDenied, nodeconditions.Denied, "settle the balance", "once it is paid"),
	"the service is not authorised (no agency)": waiting(always(ccisim.Fault{Kind: ccisim.NoAgency, Verb: "create"}), provider.ReasonDenied, nodeconditions.Denied,
		"open the CCI console", "once somebody agrees in the console"),
	"the key lacks a permission": waiting(answers(403, "CCI.01.403110", "no permission"), provider.ReasonDenied, nodeconditions.Denied, "cci:namespaceSubResource:*", "once it has it"),
	"a firewall answers with a page": waiting(always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Status: 403, HTML: true, Message: "Blocked"}),
		provider.ReasonDenied, nodeconditions.Denied, "Blocked", "once it lets requests through"),

	// What the cloud takes.
	"the cloud refuses the Pod (403)":     refusing(answers(403, "", "quota exceeded"), "tried again every `pods.refusalRetry`: quotas grow"),
	"the cloud calls it invalid (422)":    refusing(answers(422, "", "metadata.labels: Invalid value"), "tried again every `pods.refusalRetry`"),
	"the namespace has no usable network": pendingWithout(always(ccisim.Fault{Kind: ccisim.NetworkFailed}), `is not Ready, it is "Failed"`, "once the network is Ready; the lock ends by itself"),
	"the cloud is sold out":               pendingWithout(always(ccisim.Fault{Kind: ccisim.SoldOut}), "sold out", "once there is room; the lock after `soldOut.lock`, or by `kubectl uncordon`"),
	"the subnets have no address left":    pendingWithout(always(ccisim.Fault{Kind: ccisim.IPInsufficient}), "no address left", "once addresses are free; the lock as where it is sold out"),
	"images cannot be pulled": {
		begin: always(ccisim.Fault{Kind: ccisim.ImagePull}), pod: "Pending, `ErrImagePull` or `ImagePullBackOff` in its containers' status",
		see: func(pod *corev1.Pod) error {
			for _, status := range pod.Status.ContainerStatuses {
				if w := status.State.Waiting; w != nil && strings.Contains(w.Reason, "ImagePull") && w.Message != "" {
					return nil
				}
			}
			return errors.New("its containers should say that their image cannot be pulled")
		}, ends: "the cloud tries again",
	},

	// How it answers.
	"too many requests (429), all of them": waiting(always(ccisim.Fault{Kind: ccisim.Throttle, Verb: "create"}), provider.ReasonThrottled, nodeconditions.Throttled,
		"429", "by itself, `Retry-After` obeyed; the condition a minute later"),
	"too many requests, beyond a rate": goingOn(always(ccisim.Fault{Kind: ccisim.Throttle, RatePerSecond: 5, Burst: 3}), podRunsLate, endsByItself),
	"errors of the service (500)":      waiting(always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create"}), provider.ReasonUnavailable, "", "", endsByItself),
	"it asks for patience (503, Retry-After)": waiting(always(ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Status: 503, RetryAfterSeconds: 1}),
		provider.ReasonUnavailable, "", "", "by itself, `Retry-After` obeyed"),
	"no answer but errors of a gateway (502)": waiting(always(ccisim.Fault{Kind: ccisim.ServerError, Status: 502, HTML: true, Message: "Bad Gateway"}),
		provider.ReasonUnavailable, "", "", "by itself; after half a minute the Node says `CloudUnavailable`"),
	"slow answers":                        goingOn(always(ccisim.Fault{Kind: ccisim.Latency, Delay: metav1.Duration{Duration: 300 * time.Millisecond}}), podRunsLate, endsUnnoticed),
	"the answer to a creation is lost":    goingOn(always(ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Times: 3}), podRuns, "what was made is found by its name, and not made again"),
	"the answer to a deletion is lost":    goingOn(always(ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "delete", Times: 3}), podRuns, endsUnnoticed),
	"the answer to a creation is cut off": goingOn(always(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "create", Times: 3}), podRuns, "as if it were lost"),
	"a list is cut off": goingOn(func(t *testing.T, cloud *cloudtest.Cloud) func() {
		end := always(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "list", Times: 3})(t, cloud)
		cloud.Compact()
		cloud.CutWatches(true)
		return end
	}, podRuns, "half a list proves nothing: it is taken again"),

	// What it says of changes.
	"watches are cut": goingOn(func(_ *testing.T, cloud *cloudtest.Cloud) func() {
		cloud.CutWatches(true)
		return func() { cloud.CutWatches(false) }
	}, podRuns, "they go on where they were"),
	"a watch is cut in the middle of an event":      goingOn(always(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "watch", Times: 3}), podRuns, "it goes on before that event"),
	"the past of a watch has expired (ERROR event)": goingOn(expired(false), podRuns, "by a list"),
	"the past of a watch has expired (HTTP 410)":    goingOn(expired(true), podRuns, "by a list"),
	"events come twice":                             goingOn(always(ccisim.Fault{Kind: ccisim.DuplicateEvents}), podRuns, endsUnnoticed),
	"lists come whole, whatever their limit": goingOn(func(t *testing.T, cloud *cloudtest.Cloud) func() {
		require.NoError(t, cloud.SetPolicies(ccisim.Policies{IgnoreLimit: true}))
		return func() {}
	}, podRuns, endsUnnoticed),
	"deleted Pods do not go (a finalizer hangs)": {
		begin: always(ccisim.Fault{Kind: ccisim.HoldFinalizer}), pod: "runs; one that is deleted stays, Terminating", see: isReady, held: true,
		ends: "the Pod goes when its cloud Pod is gone",
	},
	"the service makes Pods of its own": goingOn(func(t *testing.T, cloud *cloudtest.Cloud) func() {
		_, err := cloud.AddImageSnapshotPod(cloudtest.Namespace)
		require.NoError(t, err)
		return func() {}
	}, podRuns, "they are left alone"),
}

// faultsTable is the list for readers.
func faultsTable() string {
	var table strings.Builder
	table.WriteString("| in the cloud | a Pod that comes meanwhile | the Node | how it ends |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(cloudFaults)) {
		row, condition := cloudFaults[name], ""
		if row.node != "" {
			condition = fmt.Sprintf("`%s`", row.node)
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", name, row.pod, condition, row.ends)
	}
	return table.String()
}

// pendingWithout are faults that leave cloud Pods without a place: the node is locked.
func pendingWithout(begin func(*testing.T, *cloudtest.Cloud) func(), says, ends string) cloudFault {
	return cloudFault{begin: begin, pod: "Pending in the cloud", see: hasPhase(corev1.PodPending), node: soldOutCondition, says: says, ends: ends}
}

// expired has watches begin anew from a past that is forgotten.
func expired(asStatus bool) func(*testing.T, *cloudtest.Cloud) func() {
	return func(t *testing.T, cloud *cloudtest.Cloud) func() {
		require.NoError(t, cloud.SetPolicies(ccisim.Policies{GoneAsStatus: asStatus}))
		cloud.Compact()
		cloud.CutWatches(true)
		return func() {}
	}
}

// Under every fault what runs goes on, and what comes and goes shows what the row says. In the end all have run and gone as they should, the
// cloud has what the cluster has, and nothing was ever made twice.
func TestEveryFaultOfTheCloud(t *testing.T) {
	t.Parallel()
	for name, row := range cloudFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, func(c *Config) { c.SoldOut.Timeout.Duration = time.Second })
			name := s.node.name()
			for _, pod := range []string{"stays", "goes"} {
				create(t, s.namespace, podOn(name, pod))
				await(t, s.namespace, pod, isReady)
			}

			end := row.begin(t, s.cloud)
			create(t, s.namespace, podOn(name, "web"))
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

			assert.Empty(t, await(t, s.namespace, "web", isReady).Status.Reason, "what stood against it is forgotten")
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

// seeJob holds that a Pod of a Job fails where the cloud will not have it, and nowhere else.
func (s *scenario) seeJob(row cloudFault) {
	if row.refusal {
		await(s.t, s.namespace, "job", hasPhase(corev1.PodFailed))
		remove(s.t, s.namespace, "job")
		return
	}
	assert.NotEqual(s.t, corev1.PodFailed, get(s.t, s.namespace, "job").Status.Phase)
}

// seeNode looks for what the Node should say. It is Ready whatever it says.
func (s *scenario) seeNode(row cloudFault) {
	ready := hasCondition(corev1.NodeReady, corev1.ConditionTrue)
	if row.node == "" {
		awaitNode(s.t, s.node.name(), ready)
		return
	}
	object := awaitNode(s.t, s.node.name(), hasCondition(row.node, corev1.ConditionTrue))
	assert.NoError(s.t, ready(object))
	require.NotEmpty(s.t, row.says)
	assert.Contains(s.t, node.FindCondition(object, row.node).Message, row.says)
}

// TestFaultsPage compares the table of the page with the rows. With -update it writes the table.
func TestFaultsPage(t *testing.T) {
	pagetest.Check(t, "../../docs/vnode.md", "./vnode/integration -run TestFaultsPage", faultsTable(), *update)
}
