package soldout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	nodeName  = "virtual-node-cci-0"
	timeout   = time.Minute
	firstLock = 2 * time.Minute
	lockTime  = 30 * time.Minute
	smallest  = "0.25_0.5"
	common    = "2.00_4.0"
	large     = "64.00_512.0"
)

// fakeCloud is the cloud with at most one probe, which finds room unless the cloud is sold out.
type fakeCloud struct {
	pods       map[identity.Key]*cci.Pod
	networks   []cci.Network
	networkErr error
	// eventsOf returns the events of a cloud Pod.
	eventsOf func(name string) ([]corev1.Event, error)

	soldOut bool
	// reason is why the probe is not scheduled.
	reason string
	probe  *cci.Pod
	// created and deleted count the probes. The errors fail the requests. lost: a creation that fails is carried out.
	created, deleted             int
	createErr, getErr, deleteErr error
	lost                         bool
}

func (f *fakeCloud) all() map[identity.Key]*cci.Pod { return f.pods }

func (f *fakeCloud) ListNetworks(context.Context, string) ([]cci.Network, error) {
	return f.networks, f.networkErr
}

func (f *fakeCloud) PodEvents(_ context.Context, _, name string, _ types.UID) ([]corev1.Event, error) {
	if f.eventsOf == nil {
		return nil, nil
	}
	return f.eventsOf(name)
}

func (f *fakeCloud) CreatePod(_ context.Context, _ string, pod *cci.Pod) (*cci.Pod, error) {
	if f.probe != nil {
		return nil, &cci.Error{Kind: cci.AlreadyExists}
	}
	if f.createErr == nil || f.lost {
		f.created++
		f.probe = &cci.Pod{ObjectMeta: *pod.ObjectMeta.DeepCopy(), Status: corev1.PodStatus{Phase: corev1.PodPending}}
	}
	return f.probe, f.createErr
}

func (f *fakeCloud) GetPod(_ context.Context, _, name string) (*cci.Pod, error) {
	if f.getErr != nil {
		return nil, f.getErr
	}
	if f.probe == nil || f.probe.Name != name {
		return nil, &cci.Error{Kind: cci.NotFound}
	}
	f.probe.Status.Reason = f.reason
	if !f.soldOut {
		f.probe.Status.PodIP = "10.0.0.9"
	}
	return f.probe, nil
}

func (f *fakeCloud) DeletePod(_ context.Context, _, name string, _ cci.DeleteOptions) error {
	if f.deleteErr != nil {
		return f.deleteErr
	}
	if f.probe == nil || f.probe.Name != name {
		return &cci.Error{Kind: cci.NotFound}
	}
	f.probe = nil
	f.deleted++
	return nil
}

// harness is a Controller with a fake API server. Its loop does not run: tests call reconcile.
type harness struct {
	*Controller
	t        *testing.T
	client   *fake.Clientset
	pods     cache.Indexer
	recorder *record.FakeRecorder
	clock    time.Time
	log      bytes.Buffer
	cloud    *fakeCloud
	// evictions holds the Pods whose eviction was requested. evictErr is the response.
	evictions []*policyv1.Eviction
	evictErr  error
	// refusals are the Pods for which a quota has no room. retried counts the calls of RetryQuota.
	refusals map[identity.Key]time.Time
	retried  int
}

func newHarness(t *testing.T, changes ...func(*Config)) *harness {
	t.Helper()
	h := &harness{
		t: t, recorder: record.NewFakeRecorder(1000), clock: time.Unix(1e9, 0), refusals: map[identity.Key]time.Time{},
		cloud: &fakeCloud{
			pods:     map[identity.Key]*cci.Pod{},
			networks: []cci.Network{{Status: cci.NetworkStatus{Status: cci.NetworkReady}}},
		},
		client: fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}),
		pods: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{
			cache.NamespaceIndex: cache.MetaNamespaceIndexFunc,
		}),
	}
	h.client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(clienttesting.CreateActionImpl)
		if !ok || action.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		h.evictions = append(h.evictions, create.Object.(*policyv1.Eviction))
		return true, nil, h.evictErr
	})
	h.restart(changes...)
	return h
}

// restart replaces the Controller by a new one.
func (h *harness) restart(changes ...func(*Config)) {
	h.t.Helper()
	config := h.config()
	for _, change := range changes {
		change(&config)
	}
	var err error
	h.Controller, err = New(config)
	require.NoError(h.t, err)
}

func withoutProbe(config *Config) { config.Probe = nil }

var owner = identity.Owner{ClusterID: "prod", Node: nodeName}

func newProbe(t *testing.T) *cci.Pod {
	t.Helper()
	translator, err := translate.New(translate.Config{Owner: owner, DefaultSize: "0.50_1.0"})
	require.NoError(t, err)
	probe, err := NewProbe(translator, owner, "pause")
	require.NoError(t, err)
	return probe
}

func (h *harness) config() Config {
	return Config{
		Owner: owner, Timeout: timeout, FirstLock: firstLock, Lock: lockTime, Interval: time.Second,
		Signs: regexp.MustCompile("(?i)sold.?out"), Probe: newProbe(h.t), StrandedPods: policy.SoldOutReschedule,
		CloudPods: h.cloud.all, QuotaRefusals: func() map[identity.Key]time.Time { return h.refusals },
		RetryQuota: func() { h.retried++ }, API: h.cloud, CloudNamespace: "cloud",
		Client: h.client, Pods: corelisters.NewPodLister(h.pods), Recorder: h.recorder,
		Now: func() time.Time { return h.clock }, Logger: slog.New(slog.NewTextHandler(&h.log, nil)),
	}
}

func (h *harness) reconciles() {
	h.t.Helper()
	require.NoError(h.t, h.reconcile(h.t.Context()))
}

func (h *harness) pass(d time.Duration) { h.clock = h.clock.Add(d) }

// passes lets time pass, with checks meanwhile.
func (h *harness) passes(d time.Duration) {
	h.t.Helper()
	for step := timeout / 12; d > 0; d -= step {
		h.pass(min(step, d))
		h.reconciles()
	}
}

// of gives a Pod another namespace, and a UID of its own.
func of(namespace string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Namespace = namespace }
}

func sized(size string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, policy.FlavorAnnotation, size) }
}

func bare(pod *corev1.Pod) { pod.OwnerReferences = nil }

// wait adds a Pod of the common size whose cloud Pod waits for capacity, for a reason.
func (h *harness) wait(name, reason string, changes ...func(*corev1.Pod)) *corev1.Pod {
	h.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID("uid-" + name),
		Annotations:     map[string]string{policy.FlavorAnnotation: common},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", Controller: new(true)}},
	}}
	for _, change := range changes {
		change(pod)
	}
	require.NoError(h.t, h.pods.Add(pod))
	h.cloud.pods[identity.KeyOf(pod)] = &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: pod.Annotations},
		Status:     corev1.PodStatus{Phase: corev1.PodPending, Reason: reason},
	}
	return pod
}

// place gives the cloud Pod of a Pod an address.
func (h *harness) place(pod *corev1.Pod) {
	placed := *h.cloud.pods[identity.KeyOf(pod)]
	placed.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.5"}
	h.cloud.pods[identity.KeyOf(pod)] = &placed
}

// lock has the node locked: a Pod waits with a sign, and so does the probe.
func (h *harness) lock(changes ...func(*corev1.Pod)) *corev1.Pod {
	h.t.Helper()
	h.reconciles()
	h.cloud.soldOut, h.cloud.reason = true, "SoldOut"
	pod := h.wait("web", "SoldOut", changes...)
	h.reconciles()
	h.reconciles()
	h.assertLocked()
	return pod
}

func (h *harness) node() *corev1.Node {
	h.t.Helper()
	object, err := h.client.CoreV1().Nodes().Get(h.t.Context(), nodeName, metav1.GetOptions{})
	require.NoError(h.t, err)
	return object
}

// setNode changes the Node as another client would.
func (h *harness) setNode(change func(*corev1.Node)) {
	h.t.Helper()
	object := h.node()
	change(object)
	_, err := h.client.CoreV1().Nodes().Update(h.t.Context(), object, metav1.UpdateOptions{})
	require.NoError(h.t, err)
}

// assertCondition checks the condition of the Node and returns its message.
func (h *harness) assertCondition(status corev1.ConditionStatus, reason string) string {
	h.t.Helper()
	condition := node.FindCondition(h.node(), conditionType)
	require.NotNil(h.t, condition)
	assert.Equal(h.t, status, condition.Status)
	assert.Equal(h.t, reason, condition.Reason)
	return condition.Message
}

func (h *harness) assertLocked() string {
	h.t.Helper()
	assert.True(h.t, h.node().Spec.Unschedulable)
	assert.Contains(h.t, h.node().Annotations, policy.SoldOutUntilAnnotation)
	return h.assertCondition(corev1.ConditionTrue, ReasonLocked)
}

func (h *harness) assertUnlocked(reason string) {
	h.t.Helper()
	assert.False(h.t, h.node().Spec.Unschedulable)
	assert.NotContains(h.t, h.node().Annotations, policy.SoldOutUntilAnnotation)
	h.assertCondition(corev1.ConditionFalse, reason)
}

// events returns the Events since the last call.
func (h *harness) events() []string {
	var events []string
	for {
		select {
		case event := <-h.recorder.Events:
			events = append(events, event)
		default:
			return events
		}
	}
}

func TestASoldOutCloudLocksTheNode(t *testing.T) {
	late := "size 2.00_4.0 is sold out: the cloud has had no capacity for the Pod for 1m0s"
	for name, test := range map[string]struct {
		reason    string
		networks  []cci.Network
		after     time.Duration
		want, pod string
	}{
		"at once if the cloud reports of the Pod and the probe that it is sold out": {
			reason: "SoldOut", want: "a probe of size 0.25_0.5 finds no room either, as Pods of size 2.00_4.0",
			pod: "size 2.00_4.0 is sold out: the cloud reports: SoldOut",
		},
		"after the timeout": {
			reason: "NoNode", after: timeout,
			want: "a probe of size 0.25_0.5 finds no room either, as Pods of size 2.00_4.0", pod: late + ": NoNode",
		},
		"after the timeout without a reason": {
			after: timeout, want: "a probe of size 0.25_0.5 finds no room either, as Pods of size 2.00_4.0", pod: late,
		},
		"after the timeout if the subnets have no addresses": {
			networks: []cci.Network{{
				ObjectMeta: metav1.ObjectMeta{Name: "net"}, Status: cci.NetworkStatus{Status: cci.NetworkIPInsufficient},
			}},
			after: timeout, want: "the subnets of network net have no address left",
			pod: "the subnets of network net have no address left",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			if test.networks != nil {
				h.cloud.networks = test.networks
			}
			h.reconciles()
			h.assertUnlocked("CloudHasRoom")
			h.cloud.soldOut, h.cloud.reason = true, test.reason
			h.wait("web", test.reason)
			h.reconciles()
			if test.after > 0 {
				h.passes(test.after - timeout/12)
				h.assertUnlocked("CloudHasRoom")
				h.pass(timeout / 12)
			}
			h.reconciles()
			until := h.clock.Add(firstLock).UTC().Format(time.RFC3339)
			assert.Equal(t, until, h.node().Annotations[policy.SoldOutUntilAnnotation])
			assert.Equal(t, "2m0s", h.node().Annotations[policy.SoldOutLockAnnotation])
			assert.Equal(t, "locked until "+until+" or until kubectl uncordon: "+test.want, h.assertLocked())
			assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.locks))
			events := h.events()
			require.GreaterOrEqual(t, len(events), 2)
			assert.Contains(t, events, "Warning CloudSoldOut the Pod is evicted to be scheduled elsewhere: "+test.pod)
			h.passes(time.Minute)
			assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.locks), "a locked node is not locked again")
			assert.Nil(t, h.cloud.probe, "the probe is deleted")
			assert.Empty(t, h.events())
		})
	}
}

// The attack that this package must withstand: one user with many Deployments of many sizes, each of which has a
// controller.
func TestOneTenantAloneDoesNotLockTheNode(t *testing.T) {
	for name, change := range map[string]func(*Config){"with a probe": func(*Config) {}, "without a probe": withoutProbe} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, change)
			for i := range 60 {
				h.wait(fmt.Sprintf("attack-%d", i), "SoldOut", sized(fmt.Sprintf("%d.00_512.0", i)),
					func(pod *corev1.Pod) { pod.OwnerReferences[0].Name = pod.Name })
				h.passes(timeout)
				require.Zero(t, testutil.ToFloat64(h.metrics.locks))
			}
			assert.Empty(t, h.evictions)
			assert.LessOrEqual(t, h.cloud.created, 60/probePause+1, "the probes are few")
			assert.Nil(t, h.cloud.probe)
			assert.Contains(t, h.assertCondition(corev1.ConditionFalse, ReasonSizes), " and 50 more")
			assert.EqualValues(t, 60, testutil.ToFloat64(h.metrics.sizes))
		})
	}
}

// Without a probe, only Pods of several namespaces show that the whole cloud is sold out.
func TestWithoutAProbeSeveralNamespacesLockTheNode(t *testing.T) {
	for name, test := range map[string]struct {
		first, second []func(*corev1.Pod)
		// placed: a Pod of a third namespace gets an address meanwhile.
		placed, locked bool
	}{
		"Pods of two namespaces":                  {second: []func(*corev1.Pod){of("other")}, locked: true},
		"Pods of two owners in one namespace":     {second: []func(*corev1.Pod){sized(large)}},
		"a Pod without an owner does not count":   {second: []func(*corev1.Pod){of("other"), bare}},
		"a Pod with an address shows the reverse": {second: []func(*corev1.Pod){of("other")}, placed: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, withoutProbe)
			h.reconciles()
			h.wait("first", "", test.first...)
			h.wait("second", "", test.second...)
			third := h.wait("third", "", of("third"), sized(smallest))
			h.reconciles()
			h.place(third)
			if !test.placed {
				delete(h.cloud.pods, identity.KeyOf(third))
			}
			h.passes(4 * timeout)
			assert.Zero(t, h.cloud.created)
			if !test.locked {
				assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
				return
			}
			assert.Contains(t, h.assertLocked(), "Pods of 2 namespaces find no room, of size 2.00_4.0")
		})
	}
}

// Half of a Deployment finds room, and then the cloud is sold out: the addresses of the others are no proof forever.
func TestPodsThatWaitAfterOthersFoundRoomLockTheNode(t *testing.T) {
	h := newHarness(t)
	h.reconciles()
	h.wait("late", "")
	lucky := h.wait("lucky", "")
	h.reconciles()
	h.passes(timeout / 4)
	h.place(lucky)
	h.cloud.soldOut = true
	h.passes(timeout - timeout/12)
	h.assertUnlocked("CloudHasRoom")
	h.passes(timeout / 6)
	h.assertLocked()
	assert.NotEmpty(t, h.evictions)
}

func TestAPodWithoutAnOwnerNeverLocksTheNode(t *testing.T) {
	h := newHarness(t)
	h.cloud.soldOut = true
	h.wait("bare", "SoldOut", bare)
	h.passes(10 * timeout)
	assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
	assert.Zero(t, h.cloud.created, "it does not cost a probe either")
	assert.Equal(t, "the cloud has no capacity for Pods of size 2.00_4.0",
		h.assertCondition(corev1.ConditionFalse, ReasonSizes))
	clear(h.cloud.pods)
	h.reconciles()
	h.assertUnlocked(ReasonHasRoom)
}

// A message contains names that users choose: of images, containers, volumes and Pods.
func TestASignInAMessageDoesNotCount(t *testing.T) {
	h := newHarness(t)
	pod := h.wait("web", "Failed")
	h.cloud.pods[identity.KeyOf(pod)].Status.Message = `Failed to pull image "attacker/sold-out"`
	h.cloud.eventsOf = func(string) ([]corev1.Event, error) {
		return []corev1.Event{{Type: corev1.EventTypeWarning, Reason: "Failed", Message: "pod default/sold-out"}}, nil
	}
	h.cloud.soldOut = true
	h.reconciles()
	h.passes(timeout / 3)
	assert.Zero(t, h.cloud.created)
	assert.Empty(t, h.events())
}

func TestPodsThatDoNotWait(t *testing.T) {
	for name, change := range map[string]func(*cci.Pod){
		"a Pod with an address":       func(pod *cci.Pod) { pod.Status.PodIP = "10.0.0.5" },
		"a Pod that runs":             func(pod *cci.Pod) { pod.Status.Phase = corev1.PodRunning },
		"a Pod that is being deleted": func(pod *cci.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: time.Now()} },
		"a Pod that waits for its images": func(pod *cci.Pod) {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			change(h.cloud.pods[identity.KeyOf(h.wait("web", ""))])
			h.reconciles()
			h.pass(2 * timeout)
			h.reconciles()
			h.assertUnlocked("CloudHasRoom")
			assert.Empty(t, h.events())
		})
	}
}

func TestOneSizeThatIsSoldOutDoesNotLockTheNode(t *testing.T) {
	h := newHarness(t)
	h.reconciles()
	h.wait("large", "", sized(large))
	h.wait("large-too", "", sized(large), of("other"))
	h.passes(2 * timeout)
	assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
	assert.Equal(t, 1, h.cloud.created, "the probe finds room")
	assert.Equal(t, "the cloud has no capacity for Pods of size 64.00_512.0",
		h.assertCondition(corev1.ConditionFalse, ReasonSizes))
	assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.sizes))
	events := h.events()
	require.Len(t, events, 2)
	assert.Contains(t, events[0], policy.SoldOut().Sentence+": size 64.00_512.0 is sold out")
	assert.Empty(t, h.evictions, "its successor would come back to the node")
}

func TestTheEndOfALock(t *testing.T) {
	lock := func(t *testing.T) (*harness, *corev1.Pod) {
		h := newHarness(t)
		pod := h.lock()
		h.events()
		return h, pod
	}
	t.Run("comes after its time", func(t *testing.T) {
		h, _ := lock(t)
		clear(h.cloud.pods)
		h.pass(firstLock - time.Second)
		h.reconciles()
		assert.Contains(t, h.assertLocked(), "a probe of size", "the cause stays in the message")
		h.pass(time.Second)
		h.reconciles()
		h.assertUnlocked("LockEnded")
		assert.Equal(t, []string{"Normal LockEnded the lock has ended; Pods may run in the cloud again"}, h.events())
		h.pass(time.Minute)
		h.reconciles()
		h.assertUnlocked("LockEnded")
	})
	t.Run("is followed by longer locks while Pods find no room", func(t *testing.T) {
		h, _ := lock(t)
		length := firstLock
		for range 7 {
			h.passes(length)
			h.assertUnlocked("LockEnded")
			h.passes(timeout - timeout/12)
			require.False(t, h.node().Spec.Unschedulable, "the node is open for the timeout, whatever the cloud reported before")
			h.passes(timeout / 6)
			h.assertLocked()
			length = min(2*length, lockTime)
			assert.Equal(t, length.String(), h.node().Annotations[policy.SoldOutLockAnnotation])
			h.pass(-timeout / 12) // The node was locked one step earlier.
		}
		assert.Equal(t, lockTime, length)
		assert.EqualValues(t, 8, testutil.ToFloat64(h.metrics.locks))
	})
	t.Run("is followed by a longer lock after a restart", func(t *testing.T) {
		h, _ := lock(t)
		h.passes(firstLock)
		h.restart()
		h.passes(timeout + timeout/6)
		h.assertLocked()
		assert.Equal(t, (2 * firstLock).String(), h.node().Annotations[policy.SoldOutLockAnnotation])
	})
	t.Run("comes when a Pod finds room, and the next lock is a first one", func(t *testing.T) {
		h, pod := lock(t)
		h.passes(timeout)
		h.place(pod)
		h.reconciles()
		h.assertUnlocked(ReasonRoomFound)
		assert.NotContains(t, h.node().Annotations, policy.SoldOutLockAnnotation)
	})
	t.Run("is forgotten when a Pod finds room while the node is open", func(t *testing.T) {
		h, pod := lock(t)
		h.passes(firstLock)
		assert.Contains(t, h.node().Annotations, policy.SoldOutLockAnnotation)
		h.place(pod)
		h.reconciles()
		h.assertUnlocked("LockEnded")
		assert.NotContains(t, h.node().Annotations, policy.SoldOutLockAnnotation)
	})
	t.Run("is forgotten when no Pod has come for as long as the longest lock", func(t *testing.T) {
		h, _ := lock(t)
		clear(h.cloud.pods)
		h.passes(firstLock)
		h.pass(lockTime - time.Second)
		h.reconciles()
		assert.Contains(t, h.node().Annotations, policy.SoldOutLockAnnotation)
		h.pass(time.Second)
		h.reconciles()
		assert.NotContains(t, h.node().Annotations, policy.SoldOutLockAnnotation)
	})
	t.Run("comes with kubectl uncordon", func(t *testing.T) {
		h, _ := lock(t)
		clear(h.cloud.pods)
		h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = false })
		h.reconciles()
		h.assertUnlocked("Uncordoned")
		assert.NotContains(t, h.node().Annotations, policy.SoldOutLockAnnotation, "the next lock is a first one")
	})
	t.Run("comes with annotations that cannot be parsed", func(t *testing.T) {
		h, _ := lock(t)
		clear(h.cloud.pods)
		h.setNode(func(node *corev1.Node) {
			node.Annotations[policy.SoldOutUntilAnnotation] = "tomorrow"
			node.Annotations[policy.SoldOutLockAnnotation] = "long"
		})
		h.reconciles()
		h.assertUnlocked("LockEnded")
		assert.Contains(t, h.log.String(), "the lock ends")
		assert.Contains(t, h.log.String(), "the next lock is a first one")
	})
	t.Run("comes after a restart too, and addresses from before are no sign of room", func(t *testing.T) {
		h, _ := lock(t)
		clear(h.cloud.pods)
		h.place(h.wait("old", ""))
		h.restart()
		h.reconciles()
		h.assertLocked()
		h.pass(firstLock)
		h.reconciles()
		h.assertUnlocked("LockEnded")
	})
	t.Run("comes although the cloud does not answer", func(t *testing.T) {
		h, _ := lock(t)
		broken := &cci.Error{Kind: cci.Transient, Message: "away"}
		h.cloud.networkErr, h.cloud.getErr, h.cloud.deleteErr, h.cloud.createErr = broken, broken, broken, broken
		h.pass(firstLock)
		_ = h.reconcile(t.Context())
		h.assertUnlocked("LockEnded")
	})
}

func TestTheLengthOfALock(t *testing.T) {
	for name, test := range map[string]struct{ first, longest, last, want time.Duration }{
		"the first":                                   {time.Minute, lockTime, 0, time.Minute},
		"the next lasts twice as long":                {time.Minute, lockTime, 4 * time.Minute, 8 * time.Minute},
		"none lasts longer than the longest":          {time.Minute, lockTime, 16 * time.Minute, lockTime},
		"all last as long as the documents say":       {lockTime, lockTime, 0, lockTime},
		"the longest limits the first":                {time.Minute, 30 * time.Second, 0, 30 * time.Second},
		"an annotation that another client wrote":     {time.Minute, lockTime, 1 << 62, lockTime},
		"a negative one that another client wrote":    {time.Minute, lockTime, -time.Hour, time.Minute},
		"a shorter configuration than that before it": {time.Minute, 2 * time.Minute, time.Hour, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(c *Config) { c.FirstLock, c.Lock = test.first, test.longest })
			assert.Equal(t, test.want, h.nextLock(test.last))
		})
	}
}

func TestALockWithoutAConditionGetsOne(t *testing.T) {
	h := newHarness(t)
	h.setNode(func(node *corev1.Node) {
		node.Spec.Unschedulable = true
		node.Annotations = map[string]string{policy.SoldOutUntilAnnotation: h.clock.Add(time.Hour).UTC().Format(time.RFC3339)}
	})
	h.reconciles()
	assert.Contains(t, h.assertLocked(), "the cloud is sold out")
}

func TestTheCordonOfAnotherClientStays(t *testing.T) {
	h := newHarness(t)
	h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = true })
	h.reconciles()
	h.cloud.soldOut, h.cloud.reason = true, "SoldOut"
	pod := h.wait("web", "SoldOut")
	h.reconciles()
	assert.Len(t, h.evictions, 1, "Pods are rescheduled while the node is unschedulable")
	h.reconciles()
	h.assertCondition(corev1.ConditionTrue, "NoRoom")
	assert.NotContains(t, h.node().Annotations, policy.SoldOutUntilAnnotation, "such a cordon has no end")
	h.place(pod)
	h.reconciles()
	h.assertCondition(corev1.ConditionFalse, "CloudHasRoom")
	assert.True(t, h.node().Spec.Unschedulable)
	assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
}

func TestWhatHappensToStrandedPods(t *testing.T) {
	annotated := func(value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations[policy.OnSoldOutAnnotation] = value }
	}
	job := func(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = "Job" }
	deleted := func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: time.Now()} }
	for name, test := range map[string]struct {
		configured policy.OnSoldOut
		changes    []func(*corev1.Pod)
		evicted    bool
		event      string
	}{
		"a Pod is evicted by default":  {policy.SoldOutReschedule, nil, true, "the Pod is evicted"},
		"a Pod waits if so configured": {policy.SoldOutWait, nil, false, "the Pod waits"},
		"a Pod's annotation lets it wait": {
			policy.SoldOutReschedule, []func(*corev1.Pod){annotated("wait")}, false, "the Pod waits",
		},
		"a Pod's annotation has it evicted": {
			policy.SoldOutWait, []func(*corev1.Pod){annotated("reschedule")}, true, "the Pod is evicted",
		},
		"an invalid annotation is reported": {
			policy.SoldOutReschedule, []func(*corev1.Pod){annotated("rescedule")}, false, "rescedule",
		},
		"the Pod of a Job waits by default": {policy.SoldOutReschedule, []func(*corev1.Pod){job}, false, "the Pod waits"},
		"the Pod of a Job can be evicted": {
			policy.SoldOutReschedule, []func(*corev1.Pod){job, annotated("reschedule")}, true, "the Pod is evicted",
		},
		"a Pod without a controller waits": {
			policy.SoldOutReschedule, []func(*corev1.Pod){bare, annotated("reschedule")}, false, "the Pod waits",
		},
		"a Pod that is being deleted is left alone": {policy.SoldOutReschedule, []func(*corev1.Pod){deleted}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.Controller.config.StrandedPods = test.configured
			h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = true })
			pod := h.wait("web", "SoldOut", test.changes...)
			h.reconciles()
			events := h.events()
			if test.event == "" {
				assert.Empty(t, events)
			} else if assert.Len(t, events, 1) {
				assert.Contains(t, events[0], test.event)
			}
			if !test.evicted {
				assert.Empty(t, h.evictions)
				return
			}
			require.Len(t, h.evictions, 1)
			assert.Equal(t, "web", h.evictions[0].Name)
			assert.Equal(t, pod.UID, *h.evictions[0].DeleteOptions.Preconditions.UID, "another Pod of the same name stays")
		})
	}
}

func TestPodsThatTheNodeDoesNotHaveAreNotEvicted(t *testing.T) {
	for name, change := range map[string]func(*harness, *corev1.Pod){
		"a Pod that is gone": func(h *harness, pod *corev1.Pod) { require.NoError(h.t, h.pods.Delete(pod)) },
		"another Pod of the same name": func(h *harness, pod *corev1.Pod) {
			pod = pod.DeepCopy()
			pod.UID = "successor"
			require.NoError(h.t, h.pods.Update(pod))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = true })
			change(h, h.wait("web", "SoldOut"))
			h.reconciles()
			assert.Empty(t, h.evictions)
			assert.Empty(t, h.events())
		})
	}
}

func TestErrorsOfAnEviction(t *testing.T) {
	resource := corev1.Resource("pods")
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"a Pod that is gone is no error":      {apierrors.NewNotFound(resource, "web"), ""},
		"another Pod of the name is no error": {apierrors.NewConflict(resource, "web", errors.New("uid")), ""},
		"an error of the API server is retried": {
			apierrors.NewInternalError(errors.New("broken")), "evicting pod default/web",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = true })
			h.wait("web", "SoldOut")
			h.evictErr = test.err
			err := h.reconcile(t.Context())
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.want)
			assert.Error(t, h.reconcile(t.Context()))
			assert.Len(t, h.evictions, 2)
		})
	}
}

func TestErrorsOfACheck(t *testing.T) {
	broken := apierrors.NewInternalError(errors.New("broken"))
	fail := func(verb string) func(*harness) {
		return func(h *harness) {
			h.client.PrependReactor(verb, "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, broken
			})
		}
	}
	for name, test := range map[string]struct {
		prepare func(*harness)
		want    string
	}{
		"the Node cannot be read":   {fail("get"), "reading node " + nodeName},
		"the Node cannot be locked": {fail("patch"), "locking node " + nodeName},
		"the Node cannot be unlocked": {func(h *harness) {
			h.setNode(func(node *corev1.Node) {
				node.Annotations = map[string]string{policy.SoldOutUntilAnnotation: "x"}
			})
			fail("patch")(h)
		}, "unlocking node " + nodeName},
		"the networks cannot be read": {func(h *harness) {
			h.cloud.networkErr = broken
		}, "reading whether the networks have addresses"},
		"the Node is not registered": {func(h *harness) {
			require.NoError(h.t, h.client.CoreV1().Nodes().Delete(h.t.Context(), nodeName, metav1.DeleteOptions{}))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.cloud.soldOut, h.cloud.reason = true, "SoldOut"
			h.reconciles()
			h.wait("web", "SoldOut")
			h.reconciles()
			h.pass(timeout)
			test.prepare(h)
			err := h.reconcile(t.Context())
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestARepeatedErrorIsLoggedOnce(t *testing.T) {
	h := newHarness(t)
	for _, text := range []string{"a", "a", "b", "a"} {
		h.logError(errors.New(text))
	}
	assert.Equal(t, 3, strings.Count(h.log.String(), "will be retried"))
}

func TestRunReconcilesUntilItsContextEnds(t *testing.T) {
	h := newHarness(t)
	config := h.config()
	config.Interval, config.Logger = time.Millisecond, slog.New(slog.DiscardHandler)
	checks := make(chan struct{}, 1000)
	config.CloudPods = func() map[identity.Key]*cci.Pod {
		checks <- struct{}{}
		return nil
	}
	c, err := New(config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	<-checks
	<-checks
	cancel()
	assert.NoError(t, <-ended)
}

func TestConfigErrorsAreReported(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "a required field is missing")
	config := newHarness(t).config()
	config.Timeout = 0
	_, err = New(config)
	assert.ErrorContains(t, err, "timeout 0s, first lock 2m0s, lock 30m0s and interval 1s must be above zero")
}

// A Pod comes right after kubectl uncordon. The controller first sees it in the check that sees the uncordoned node.
func TestASignOfAPodThatCameAfterTheLockCounts(t *testing.T) {
	h := newHarness(t, func(config *Config) {
		now := config.Now
		moments := time.Duration(0)
		config.Now = func() time.Time { // Time passes during a check too.
			moments += time.Millisecond
			return now().Add(moments)
		}
	})
	old := h.lock()
	h.place(old)
	h.setNode(func(object *corev1.Node) { object.Spec.Unschedulable = false })
	h.wait("large", "SoldOut", sized("64.00_128.0"))
	h.reconciles()
	h.assertUnlocked(ReasonUncordoned)
	h.cloud.soldOut = false
	h.pass(time.Second)
	h.reconciles()
	assert.Contains(t, h.assertCondition(corev1.ConditionFalse, ReasonSizes), "64.00_128.0")
}
