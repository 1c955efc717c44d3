package soldout

import (
	"bytes"
	"context"
	"errors"
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
)

const (
	nodeName = "virtual-node-cci-0"
	timeout  = time.Minute
	lockTime = 30 * time.Minute
)

// harness is a Controller with a fake API server. Its loop does not run: tests call reconcile.
type harness struct {
	*Controller
	t        *testing.T
	client   *fake.Clientset
	pods     cache.Indexer
	recorder *record.FakeRecorder
	clock    time.Time
	log      bytes.Buffer
	// cloud and networks are what the cloud has. networkErr is the error of a read of the networks.
	cloud      map[identity.Key]*cci.Pod
	networks   []cci.Network
	networkErr error
	// evictions holds the Pods whose eviction was requested. evictErr is the response.
	evictions []*policyv1.Eviction
	evictErr  error
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{
		t: t, recorder: record.NewFakeRecorder(100), clock: time.Unix(1e9, 0), cloud: map[identity.Key]*cci.Pod{},
		networks: []cci.Network{{Status: cci.NetworkStatus{Status: cci.NetworkReady}}},
		client:   fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}),
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
	var err error
	h.Controller, err = New(h.config())
	require.NoError(t, err)
	return h
}

func (h *harness) config() Config {
	return Config{
		Node: nodeName, Timeout: timeout, Lock: lockTime, Interval: time.Second, Signs: regexp.MustCompile("(?i)sold.?out"),
		StrandedPods: policy.SoldOutReschedule,
		Cloud:        func() map[identity.Key]*cci.Pod { return h.cloud },
		Networks:     func(context.Context) ([]cci.Network, error) { return h.networks, h.networkErr },
		Events:       func(context.Context, *cci.Pod) ([]corev1.Event, error) { return nil, nil },
		Client:       h.client, Pods: corelisters.NewPodLister(h.pods), Recorder: h.recorder,
		Now: func() time.Time { return h.clock }, Logger: slog.New(slog.NewTextHandler(&h.log, nil)),
	}
}

func (h *harness) reconciles() {
	h.t.Helper()
	require.NoError(h.t, h.reconcile(h.t.Context()))
}

func (h *harness) pass(d time.Duration) { h.clock = h.clock.Add(d) }

// wait adds a Pod whose cloud Pod waits for capacity with a message of the cloud.
func (h *harness) wait(name, message string, changes ...func(*corev1.Pod)) *corev1.Pod {
	h.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID("uid-" + name),
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", Controller: new(true)}},
	}}
	for _, change := range changes {
		change(pod)
	}
	require.NoError(h.t, h.pods.Add(pod))
	h.cloud[identity.KeyOf(pod)] = &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.PodStatus{Phase: corev1.PodPending, Message: message},
	}
	return pod
}

// place gives the cloud Pod of a Pod an address.
func (h *harness) place(pod *corev1.Pod) {
	h.cloud[identity.KeyOf(pod)] = &cci.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.5"}}
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
	for name, test := range map[string]struct {
		message  string
		networks []cci.Network
		after    time.Duration
		want     string
	}{
		"at once if the cloud reports that it is sold out": {
			message: "flavor is SoldOut", want: "the cloud reports: flavor is SoldOut",
		},
		"after the timeout": {
			message: "no node", after: timeout, want: "the cloud has had no capacity for the Pod for 1m0s: no node",
		},
		"after the timeout without a message": {after: timeout, want: "the cloud has had no capacity for the Pod for 1m0s"},
		"after the timeout if the subnets have no addresses": {
			networks: []cci.Network{{
				ObjectMeta: metav1.ObjectMeta{Name: "net"}, Status: cci.NetworkStatus{Status: cci.NetworkIPInsufficient},
			}},
			after: timeout, want: "the subnets of network net have no address left",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			if test.networks != nil {
				h.networks = test.networks
			}
			h.reconciles()
			h.assertUnlocked("CloudHasRoom")
			h.wait("web", test.message)
			if test.after > 0 {
				h.reconciles()
				h.pass(test.after - time.Second)
				h.reconciles()
				h.assertUnlocked("CloudHasRoom")
				h.pass(time.Second)
			}
			h.reconciles()
			until := h.clock.Add(lockTime).UTC().Format(time.RFC3339)
			assert.Equal(t, until, h.node().Annotations[policy.SoldOutUntilAnnotation])
			assert.Equal(t, "locked until "+until+" or until kubectl uncordon: "+test.want, h.assertLocked())
			assert.EqualValues(t, 1, testutil.ToFloat64(h.locks))
			events := h.events()
			require.Len(t, events, 2)
			assert.Contains(t, events[0], "Warning CloudSoldOut locked until ")
			assert.Equal(t, "Warning CloudSoldOut The Pod is evicted to be scheduled elsewhere: "+test.want, events[1])
			h.pass(time.Minute)
			h.reconciles()
			assert.EqualValues(t, 1, testutil.ToFloat64(h.locks), "a locked node is not locked again")
			assert.Empty(t, h.events())
		})
	}
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
			change(h.cloud[identity.KeyOf(h.wait("web", ""))])
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
	small := h.wait("small", "")
	h.wait("large", "")
	h.reconciles()
	h.pass(timeout / 2)
	h.place(small)
	h.reconciles()
	h.pass(timeout / 2)
	h.reconciles()
	h.assertUnlocked("CloudHasRoom")
	events := h.events()
	require.Len(t, events, 1)
	assert.Contains(t, events[0], "The Pod waits until the cloud has capacity: the cloud has had no capacity")
	assert.Empty(t, h.evictions, "its successor would come back to the node")
}

func TestTheEndOfALock(t *testing.T) {
	lock := func(t *testing.T) (*harness, *corev1.Pod) {
		h := newHarness(t)
		pod := h.wait("web", "sold out")
		h.reconciles()
		h.assertLocked()
		h.events()
		return h, pod
	}
	t.Run("comes after its time", func(t *testing.T) {
		h, pod := lock(t)
		h.place(pod)
		h.pass(lockTime - time.Second)
		h.reconciles()
		assert.Contains(t, h.assertLocked(), "sold out", "the cause stays in the message")
		h.pass(time.Second)
		h.reconciles()
		h.assertUnlocked("LockEnded")
		assert.Equal(t, []string{"Normal LockEnded the lock has ended; Pods may run in the cloud again"}, h.events())
		h.pass(time.Minute)
		h.reconciles()
		h.assertUnlocked("LockEnded")
	})
	t.Run("is followed by another lock while Pods wait", func(t *testing.T) {
		h, pod := lock(t)
		h.cloud[identity.KeyOf(pod)].Status.Message = ""
		h.pass(lockTime)
		h.reconciles()
		h.assertUnlocked("LockEnded")
		h.reconciles()
		h.pass(timeout - time.Second)
		h.reconciles()
		h.assertUnlocked("LockEnded")
		h.pass(time.Second)
		h.reconciles()
		h.assertLocked()
		assert.EqualValues(t, 2, testutil.ToFloat64(h.locks))
	})
	t.Run("comes with kubectl uncordon", func(t *testing.T) {
		h, pod := lock(t)
		h.place(pod)
		h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = false })
		h.reconciles()
		h.assertUnlocked("Uncordoned")
	})
	t.Run("comes with an annotation that cannot be parsed", func(t *testing.T) {
		h, pod := lock(t)
		h.place(pod)
		h.setNode(func(node *corev1.Node) { node.Annotations[policy.SoldOutUntilAnnotation] = "tomorrow" })
		h.reconciles()
		h.assertUnlocked("LockEnded")
		assert.Contains(t, h.log.String(), "cannot be parsed")
	})
	t.Run("comes after a restart too", func(t *testing.T) {
		h, _ := lock(t)
		clear(h.cloud)
		var err error
		h.Controller, err = New(h.config())
		require.NoError(t, err)
		h.reconciles()
		h.assertLocked()
		h.pass(lockTime)
		h.reconciles()
		h.assertUnlocked("LockEnded")
	})
}

func TestALockWithoutAConditionSaysThatNoPodWaits(t *testing.T) {
	h := newHarness(t)
	h.setNode(func(node *corev1.Node) {
		node.Spec.Unschedulable = true
		node.Annotations = map[string]string{policy.SoldOutUntilAnnotation: h.clock.Add(time.Hour).UTC().Format(time.RFC3339)}
	})
	h.reconciles()
	assert.Contains(t, h.assertLocked(), "no Pod is waiting any longer")
}

func TestTheCordonOfAnotherClientStays(t *testing.T) {
	h := newHarness(t)
	h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = true })
	pod := h.wait("web", "sold out")
	h.reconciles()
	h.assertCondition(corev1.ConditionTrue, "NoRoom")
	assert.NotContains(t, h.node().Annotations, policy.SoldOutUntilAnnotation, "such a cordon has no end")
	assert.Len(t, h.evictions, 1, "Pods are rescheduled while the node is unschedulable")
	h.place(pod)
	h.reconciles()
	h.assertCondition(corev1.ConditionFalse, "CloudHasRoom")
	assert.True(t, h.node().Spec.Unschedulable)
	assert.Zero(t, testutil.ToFloat64(h.locks))
}

func TestWhatHappensToStrandedPods(t *testing.T) {
	annotated := func(value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.OnSoldOutAnnotation: value} }
	}
	job := func(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = "Job" }
	bare := func(pod *corev1.Pod) { pod.OwnerReferences = nil }
	deleted := func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: time.Now()} }
	for name, test := range map[string]struct {
		configured policy.OnSoldOut
		changes    []func(*corev1.Pod)
		evicted    bool
		event      string
	}{
		"a Pod is evicted by default":  {policy.SoldOutReschedule, nil, true, "The Pod is evicted"},
		"a Pod waits if so configured": {policy.SoldOutWait, nil, false, "The Pod waits"},
		"a Pod's annotation lets it wait": {
			policy.SoldOutReschedule, []func(*corev1.Pod){annotated("wait")}, false, "The Pod waits",
		},
		"a Pod's annotation has it evicted": {
			policy.SoldOutWait, []func(*corev1.Pod){annotated("reschedule")}, true, "The Pod is evicted",
		},
		"an invalid annotation is reported": {
			policy.SoldOutReschedule, []func(*corev1.Pod){annotated("rescedule")}, false, "rescedule",
		},
		"the Pod of a Job waits by default": {policy.SoldOutReschedule, []func(*corev1.Pod){job}, false, "The Pod waits"},
		"the Pod of a Job can be evicted": {
			policy.SoldOutReschedule, []func(*corev1.Pod){job, annotated("reschedule")}, true, "The Pod is evicted",
		},
		"a Pod without a controller waits": {
			policy.SoldOutReschedule, []func(*corev1.Pod){bare, annotated("reschedule")}, false, "The Pod waits",
		},
		"a Pod that is being deleted is left alone": {policy.SoldOutReschedule, []func(*corev1.Pod){deleted}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.Controller.config.StrandedPods = test.configured
			pod := h.wait("web", "sold out", test.changes...)
			h.reconciles()
			h.assertLocked()
			events := h.events()[1:] // The first is that of the Node.
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
			change(h, h.wait("web", "sold out"))
			h.reconciles()
			h.assertLocked()
			assert.Empty(t, h.evictions)
			assert.Len(t, h.events(), 1, "only that of the Node")
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
			h.wait("web", "sold out")
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
			late := &cci.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}
			h.cloud[identity.Key{Namespace: "default", Name: "late"}] = late
			h.waitingPods()
			h.pass(timeout)
			h.networkErr = broken
		}, "reading whether the networks have addresses"},
		"the Node is not registered": {func(h *harness) {
			require.NoError(h.t, h.client.CoreV1().Nodes().Delete(h.t.Context(), nodeName, metav1.DeleteOptions{}))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.wait("web", "sold out")
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
	config.Cloud = func() map[identity.Key]*cci.Pod {
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
	assert.ErrorContains(t, err, "timeout 0s, lock 30m0s and interval 1s must be above zero")
}
