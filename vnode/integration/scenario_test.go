package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// weathers are states of the cloud. Each runs until its context ends, and leaves the cloud healthy.
var weathers = map[string]func(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud){
	"healthy":    func(ctx context.Context, _ *testing.T, _ *cloudtest.Cloud) { <-ctx.Done() },
	"slow":       lasting(ccisim.Fault{Kind: ccisim.Latency, Delay: metav1.Duration{Duration: 150 * time.Millisecond}}),
	"throttling": lasting(ccisim.Fault{Kind: ccisim.Throttle, RatePerSecond: 40, Burst: 10}),
	"failing":    disturb,
}

// storm does something while a weather rages.
func storm(t *testing.T, cloud *cloudtest.Cloud, rage func(context.Context, *testing.T, *cloudtest.Cloud), do func()) {
	ctx, calm := context.WithCancel(t.Context())
	var over sync.WaitGroup
	over.Go(func() { rage(ctx, t, cloud) })
	defer over.Wait()
	defer calm()
	do()
}

// lasting is a weather of one fault.
func lasting(fault ccisim.Fault) func(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud) {
	return func(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud) {
		added, err := cloud.AddFault(fault)
		assert.NoError(t, err)
		<-ctx.Done()
		cloud.RemoveFault(added.ID)
	}
}

// disturb does to the cloud whatever may happen to it, a few times a second.
func disturb(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud) {
	faults := []ccisim.Fault{
		{Kind: ccisim.ServerError, Status: 500}, {Kind: ccisim.ServerError, Status: 503, RetryAfterSeconds: 1}, {Kind: ccisim.Throttle},
		{Kind: ccisim.LoseAnswer, Verb: "create"}, {Kind: ccisim.LoseAnswer, Verb: "delete"}, {Kind: ccisim.HalfBody, Verb: "create"},
		{Kind: ccisim.HalfBody, Verb: "list"}, {Kind: ccisim.HalfBody, Verb: "watch"}, {Kind: ccisim.DuplicateEvents, Verb: "watch"},
		{Kind: ccisim.ServerError, Status: 500, Verb: "list"}, {Kind: ccisim.LoseAnswer, Verb: "get"},
	}
	for ctx.Err() == nil {
		fault := faults[rand.IntN(len(faults))]
		fault.Times = 1 + rand.IntN(5)
		added, err := cloud.AddFault(fault)
		assert.NoError(t, err)
		switch rand.IntN(4) {
		case 0:
			cloud.CutWatches(rand.IntN(2) == 0)
		case 1:
			cloud.Compact()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+rand.IntN(200)) * time.Millisecond):
		}
		cloud.RemoveFault(added.ID)
	}
}

// Whatever the weather, and whether or not the virtual node is restarted in the middle: in the end the cloud has what the cluster has,
// nothing was ever made twice, and no Pod failed that could have run.
func TestScenarios(t *testing.T) {
	for weather, rage := range weathers {
		for name, restarts := range map[string]bool{"": false, " with restarts": true} {
			t.Run(weather+name, func(t *testing.T) {
				t.Parallel()
				s := newScenario(t)
				s.restarts = restarts
				storm(t, s.cloud, rage, s.live)
				s.check()
			})
		}
	}
}

// What nobody documents about the service is a switch of the simulated one: a virtual node stands the strictest of the answers and the laxest.
func TestEitherAnswerOfTheService(t *testing.T) {
	t.Parallel()
	for name, policies := range map[string]ccisim.Policies{
		"the strictest": {
			Fields: ccisim.RefuseFields, EqualRequests: true, RequireNetworkAnnotations: true, Events: ccisim.EventsAbsent, NoVolumes: true,
		},
		"the laxest": {
			IgnoreLimit: true, IgnorePreconditions: true, GoneAsStatus: true, SilentConditions: true, SignedExec: true, Events: ccisim.EventsWatched,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenarioOn(t, cloudtest.New(t, func(c *ccisim.Config) { c.Policies = policies }))
			s.restarts = true
			s.live()
			s.check()
		})
	}
}

// scenario is a virtual node, its Pods and its cloud.
type scenario struct {
	t         *testing.T
	cloud     *cloudtest.Cloud
	node      *running
	namespace string
	// restarts has the virtual node restarted while it is busy.
	restarts bool
}

func newScenario(t *testing.T, changes ...func(*Config)) *scenario {
	return newScenarioOn(t, cloudtest.New(t), changes...)
}

func newScenarioOn(t *testing.T, cloud *cloudtest.Cloud, changes ...func(*Config)) *scenario {
	s := &scenario{t: t, cloud: cloud}
	s.node, s.namespace = startOn(t, s.cloud, append(changes, func(c *Config) { c.CCI.WatchTimeout.Duration = time.Second })...)
	return s
}

// restart ends the virtual node in the middle of what it does and starts it again, in a restless scenario.
func (s *scenario) restart() {
	if !s.restarts {
		return
	}
	s.node.stop(s.t)
	s.node = launch(s.t, s.node.again(s.t))
}

const (
	scenarioServices = 12
	scenarioJobs     = 8
	scenarioRounds   = 3
)

// live makes and deletes Pods for some rounds: services, of which half are made anew under their old names each time, and jobs.
func (s *scenario) live() {
	for round := range scenarioRounds {
		for i := range scenarioServices {
			if round == 0 || i%2 == 0 {
				create(s.t, s.namespace, podOn(s.node.name(), fmt.Sprintf("web-%d", i)))
			}
		}
		for i := range scenarioJobs {
			create(s.t, s.namespace, jobPodOn(s.node.name(), fmt.Sprintf("job-%d-%d", round, i)))
		}
		s.restart() // Some are made by now, some are being made.
		if round == scenarioRounds-1 {
			return
		}
		for i := 0; i < scenarioServices; i += 2 {
			name := fmt.Sprintf("web-%d", i)
			if i%4 == 0 { // Half of them not before they run.
				await(s.t, s.namespace, name, isReady)
			}
			remove(s.t, s.namespace, name)
		}
		s.restart() // Some are gone by now, some are going.
		for i := 0; i < scenarioServices; i += 2 {
			awaitGone(s.t, s.namespace, fmt.Sprintf("web-%d", i))
		}
	}
}

// check waits until everything is as it should be, and looks at what has been.
func (s *scenario) check() {
	for i := range scenarioServices {
		await(s.t, s.namespace, fmt.Sprintf("web-%d", i), isReady)
	}
	for round := range scenarioRounds {
		for i := range scenarioJobs {
			await(s.t, s.namespace, fmt.Sprintf("job-%d-%d", round, i), hasPhase(corev1.PodSucceeded))
		}
	}
	eventually(s.t, s.compare)
	s.checkPast()
}

// checkPast looks at what the cloud has ever made.
func (s *scenario) checkPast() {
	made := map[string]int{}
	for _, pod := range s.cloud.PodsEver() {
		if uid, ours := pod.Annotations[policy.CloudUIDAnnotation]; ours {
			made[uid]++
		}
	}
	for uid, times := range made {
		assert.Equal(s.t, 1, times, "cloud Pods of Pod %s", uid)
	}
	assert.Empty(s.t, s.cloud.DroppedFields())
}

// compare tells what the cloud and the cluster have that the other has not.
func (s *scenario) compare() error {
	wanted := map[identity.Key]bool{}
	pods, err := trial.Client().CoreV1().Pods(s.namespace).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		wanted[identity.KeyOf(&pods.Items[i])] = true
	}
	list, err := s.cloud.Client.ListPods(s.t.Context(), cloudtest.Namespace, cci.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		key, ours := s.node.owner().Owns(&list.Items[i])
		if _, _, known := identity.OfPod(&list.Items[i]); !known {
			continue // Of the service's own.
		}
		if !ours || !wanted[key] {
			return fmt.Errorf("the cloud has %s, the cluster has not", list.Items[i].Name)
		}
		delete(wanted, key)
	}
	if len(wanted) > 0 {
		return fmt.Errorf("the cluster has %d Pods that the cloud has not, such as %v", len(wanted), wanted)
	}
	return nil
}

func TestWhatIsLeftOverIsEndedAndWhatIsOthersIsNot(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	for _, name := range []string{"stays", "goes", "ends"} {
		create(t, ns, podOn(v.name(), name))
	}
	for _, name := range []string{"stays", "goes", "ends"} {
		await(t, ns, name, isReady)
	}
	snapshot, err := cloud.AddImageSnapshotPod(cloudtest.Namespace)
	require.NoError(t, err)
	others := map[string]identity.Owner{
		"another cluster": {ClusterID: "other", Node: v.name()}, "another node": {ClusterID: v.config.ClusterID, Node: "other"},
	}
	for name, owner := range others {
		translator, err := translate.New(translate.Config{Owner: owner, DefaultSize: "0.50_1.0"})
		require.NoError(t, err)
		pod := podOn("x", "other")
		pod.Namespace, pod.UID = ns, "0"
		result, err := translator.Pod(pod, nil)
		require.NoError(t, err)
		result.Pod.Name += "-" + owner.ClusterID
		_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, result.Pod)
		require.NoError(t, err, name)
	}

	v.stop(t)
	// While nobody looks: one is deleted by force, one gracefully.
	require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), "goes", *metav1.NewDeleteOptions(0)))
	remove(t, ns, "ends")
	v = start(t, v.again(t))

	awaitGone(t, ns, "ends")
	awaitCloudPods(t, cloud, 1+len(others)+1)
	assert.NoError(t, isReady(get(t, ns, "stays")))
	_, err = cloud.Client.GetPod(t.Context(), cloudtest.Namespace, snapshot)
	require.NoError(t, err)
	assert.Len(t, cloud.PodsEver(), 3+len(others)+1, "nothing was made a second time")
	assert.Equal(t, 1.0, v.metric(t, "spillway_vnode_pods_collected_total"))
}

// A burst is bounded by the cloud, not by the virtual node.
func TestABurstOfPods(t *testing.T) {
	const pods = 300
	cloud := cloudtest.New(t)
	// Every request counts: none may be repeated because the machine is busy.
	v, ns := startOn(t, cloud, func(c *Config) { c.CCI.RequestTimeout.Duration = time.Minute })
	lease := func() time.Time {
		lease, err := trial.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), v.name(), metav1.GetOptions{})
		require.NoError(t, err)
		return lease.Spec.RenewTime.Time
	}
	first := lease()
	begin := time.Now()
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() {
			for i := worker; i < pods; i += 10 {
				_, err := trial.Client().CoreV1().Pods(ns).Create(t.Context(), podOn(v.name(), fmt.Sprintf("p-%d", i)), metav1.CreateOptions{})
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
	created := time.Since(begin)
	eventually(t, func() error {
		if n := v.metric(t, "spillway_vnode_pods", "Running"); n != pods {
			return fmt.Errorf("%g of %d run", n, pods)
		}
		return nil
	})
	t.Logf("%d Pods: created after %s, all Running after %s", pods, created.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	assert.Equal(t, float64(pods), v.metric(t, "spillway_vnode_cloud_requests_total", "CreatePod"))
	assert.LessOrEqual(t, v.metric(t, "spillway_vnode_cloud_requests_total", "GetPod"), 0.0, "no Pod is asked for one by one")

	begin = time.Now()
	require.NoError(t, trial.Client().CoreV1().Pods(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	awaitCloudPods(t, cloud, 0)
	eventually(t, func() error {
		if n := v.metric(t, "spillway_vnode_pods"); n != 0 {
			return fmt.Errorf("%g Pods are left", n)
		}
		return nil
	})
	assert.InDelta(t, pods, v.metric(t, "spillway_vnode_cloud_requests_total", "DeletePod"), pods*0.05, "each is asked to end once")
	t.Logf("all gone after %s", time.Since(begin).Round(time.Millisecond))
	eventually(t, func() error {
		if !lease().After(first) {
			return fmt.Errorf("the Lease is still that of %s", first)
		}
		return nil
	})
}
