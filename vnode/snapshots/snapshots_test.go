package snapshots

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

const removal = 72 * time.Hour

var (
	mine  = identity.Owner{ClusterID: "prod", Node: "virtual"}
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// env is a Keeper that checks only when a test says so, with a clock that only a test moves.
type env struct {
	t        *testing.T
	cloud    *cloudtest.Cloud
	keeper   *Keeper
	pods     cache.SharedIndexInformer
	now      time.Time
	log      bytes.Buffer
	registry *prometheus.Registry
}

func newEnv(t *testing.T, cloud *cloudtest.Cloud, owner identity.Owner, keep int) *env {
	t.Helper()
	e := &env{t: t, cloud: cloud, now: start, registry: prometheus.NewRegistry()}
	e.pods = informers.NewSharedInformerFactory(fake.NewClientset(), 0).Core().V1().Pods().Informer()
	var err error
	e.keeper, err = New(Config{
		API: cloud.Client, Owner: owner, Namespace: cloudtest.Namespace, PullSecret: "imagepull-secret", Pods: e.pods,
		Images: func(pod *corev1.Pod) (images []string) {
			for _, c := range pod.Spec.Containers {
				images = append(images, c.Image)
			}
			return images
		},
		Keep: keep, Interval: time.Minute, Removal: removal, Renewal: 7 * 24 * time.Hour,
		Now: func() time.Time { return e.now }, Registerer: e.registry, Logger: slog.New(slog.NewTextHandler(&e.log, nil)),
	})
	require.NoError(t, err)
	return e
}

// run adds Pods of a namespace that run an image.
func (e *env) run(namespace, image string, count int) {
	e.t.Helper()
	for i := range count {
		name := fmt.Sprintf("%s-%d", image, i)
		require.NoError(e.t, e.pods.GetIndexer().Add(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		}))
	}
}

// end removes all Pods.
func (e *env) end() {
	e.t.Helper()
	require.NoError(e.t, e.pods.GetIndexer().Replace(nil, ""))
}

// settle waits until what has been deleted is gone.
func (e *env) settle() {
	e.t.Helper()
	require.Eventually(e.t, func() bool {
		return !slices.ContainsFunc(e.list(), func(s cci.ImageSnapshot) bool { return s.DeletionTimestamp != nil })
	}, cloudtest.Timeout, cloudtest.Tick)
}

// check moves the clock and checks once.
func (e *env) check(after time.Duration) {
	e.t.Helper()
	e.now = e.now.Add(after)
	require.NoError(e.t, e.keeper.check(e.t.Context()))
}

// checks checks until every snapshot is made.
func (e *env) checks(times int) {
	e.t.Helper()
	for range times {
		e.check(time.Minute)
		require.Eventually(e.t, func() bool {
			for _, snapshot := range e.list() {
				if snapshot.IsMade() {
					return false
				}
			}
			return true
		}, cloudtest.Timeout, cloudtest.Tick)
	}
}

func (e *env) list() []cci.ImageSnapshot {
	e.t.Helper()
	all, err := e.cloud.Client.ListSnapshots(e.t.Context(), cci.ListOptions{})
	require.NoError(e.t, err)
	return all
}

// images returns the images of the snapshots that exist and are not being deleted.
func (e *env) images() []string {
	e.t.Helper()
	var images []string
	for _, snapshot := range e.list() {
		if snapshot.DeletionTimestamp == nil {
			for _, image := range snapshot.Spec.Images {
				images = append(images, image.Image)
			}
		}
	}
	return images
}

func (e *env) gauge(state string) float64 {
	return testutil.ToFloat64(e.keeper.metrics.snapshots.WithLabelValues(state))
}

func TestImagesThatPodsUseAgainAndAgainGetASnapshot(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 10)
	e.run("shop", "nginx:1", 2)
	e.run("shop", "once:1", 1)
	e.checks(3)
	all := e.list()
	require.Len(t, all, 1)
	assert.Equal(t, cci.ImageSnapshotSpec{
		BuildingConfig: cci.SnapshotBuilding{Namespace: cloudtest.Namespace, TimeoutMinutes: 60}, SizeGiB: 30, TTLDays: 7,
		Images: []cci.SnapshotImage{{Image: "nginx:1"}}, Registries: []cci.SnapshotRegistry{{Server: "docker.io"}},
	}, all[0].Spec)
	owner, ok := identity.OfSnapshot(&all[0])
	assert.True(t, ok)
	assert.Equal(t, mine, owner)
	assert.InDelta(t, 1, e.gauge("available"), 0)
	assert.Equal(t, 1, e.cloud.CountRequests("create", "imagesnapshots", 0), "it is made once")
}

func TestSnapshotsAreMadeOneAfterTheOther(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI,
		func(c *ccisim.Config) { c.SnapshotDelay = time.Hour })
	e := newEnv(t, cloud, mine, 10)
	e.run("shop", "nginx:1", 2)
	e.check(0)
	e.run("shop", "redis:1", 2)
	for range 5 {
		e.check(time.Minute)
	}
	assert.Equal(t, []string{"nginx:1"}, e.images(), "the other waits until it is made")
	assert.InDelta(t, 1, e.gauge("making"), 0)
}

func TestThereAreNotMoreSnapshotsThanConfigured(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 3)
	for i := range 5 {
		for _, namespace := range []string{"shop", "bank"} {
			e.run(namespace, fmt.Sprintf("app:%d", i), 1)
		}
		e.check(time.Second) // The first is used for the longest time.
	}
	e.checks(8)
	assert.ElementsMatch(t, []string{"app:0", "app:1", "app:2"}, e.images())
}

func TestOneNamespaceGetsHalfOfTheSnapshots(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 4)
	for i := range 10 {
		e.run("greedy", fmt.Sprintf("junk:%d", i), 2)
	}
	e.checks(6)
	assert.Len(t, e.images(), 2)
	e.run("shop", "nginx:1", 2)
	e.run("greedy", "shared:1", 1)
	e.run("shop", "shared:1", 1)
	e.checks(6)
	assert.Len(t, e.images(), 4)
	assert.Subset(t, e.images(), []string{"nginx:1", "shared:1"})
}

func TestAnImageOfWhichSomeoneHasASnapshotGetsNone(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	_, err := cloud.Client.CreateSnapshot(t.Context(), &cci.ImageSnapshot{
		ObjectMeta: metav1.ObjectMeta{Name: "of-a-user"},
		Spec: cci.ImageSnapshotSpec{
			BuildingConfig: cci.SnapshotBuilding{Namespace: cloudtest.Namespace},
			Images:         []cci.SnapshotImage{{Image: "other"}, {Image: "nginx:1"}},
		},
	})
	require.NoError(t, err)
	e, second := newEnv(t, cloud, mine, 10), newEnv(t, cloud, identity.Owner{ClusterID: "prod", Node: "second"}, 10)
	for _, e := range []*env{e, second} {
		e.run("shop", "nginx:1", 2)
		e.run("shop", "redis:1", 2)
		e.checks(3)
	}
	assert.ElementsMatch(t, []string{"other", "nginx:1", "redis:1"}, e.images())
	e.end()
	second.end()
	e.check(2 * removal)
	second.check(2 * removal)
	e.check(removal)
	second.check(removal)
	assert.ElementsMatch(t, []string{"other", "nginx:1"}, e.images(), "that of others is kept")
}

// Two virtual nodes of a cluster give the snapshot of an image the same name.
func TestTwoVirtualNodesMakeOneSnapshotOfAnImage(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	first, second := newEnv(t, cloud, mine, 10), newEnv(t, cloud, identity.Owner{ClusterID: "prod", Node: "second"}, 10)
	first.run("shop", "nginx:1", 2)
	second.run("shop", "nginx:1", 2)
	state := second.keeper.survey(nil) // It has listed before the other one has made it.
	first.check(0)
	second.keeper.note(second.pods.GetIndexer().List()[0].(*corev1.Pod))
	second.keeper.note(second.pods.GetIndexer().List()[1].(*corev1.Pod))
	require.NoError(t, second.keeper.make(t.Context(), state))
	assert.Equal(t, []string{"nginx:1"}, first.images())
}

func TestASnapshotThatNoPodUsesIsRemoved(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 10)
	e.run("shop", "nginx:1", 2)
	e.checks(2)
	e.end()
	e.check(removal - time.Hour)
	assert.Equal(t, []string{"nginx:1"}, e.images())

	restarted := newEnv(t, e.cloud, mine, 10) // It does not know when the image was last used.
	restarted.check(0)
	restarted.check(removal - time.Minute)
	assert.Equal(t, []string{"nginx:1"}, restarted.images())
	restarted.check(time.Minute)
	assert.Empty(t, restarted.images())
	e.settle()

	e.run("shop", "nginx:1", 2)
	e.check(2 * time.Hour)
	e.checks(3)
	assert.Equal(t, []string{"nginx:1"}, e.images(), "it is made again if it is used again")
}

func TestASnapshotThatCannotBeMadeIsRemovedAndTriedLater(t *testing.T) {
	for _, phase := range []string{"Failed", "Unavailable", "SomethingElse"} {
		t.Run(phase, func(t *testing.T) {
			e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 10)
			e.run("shop", "nginx:1", 2)
			e.checks(1)
			failing := &failing{CloudAPI: e.cloud.Client, phase: phase}
			e.keeper.config.API = failing
			e.check(time.Minute)
			assert.Empty(t, e.images())
			assert.Contains(t, e.log.String(), "level=WARN")
			assert.Contains(t, e.log.String(), "no such image")
			assert.InDelta(t, 1, testutil.ToFloat64(e.keeper.metrics.failed), 0)
			failing.phase = ""
			e.settle()
			e.check(failurePause - time.Minute)
			assert.Empty(t, e.images())
			e.check(time.Minute)
			assert.Equal(t, []string{"nginx:1"}, e.images())
		})
	}
}

// failing is a cloud that cannot make any snapshot.
type failing struct {
	CloudAPI
	phase string
}

func (f *failing) ListSnapshots(ctx context.Context, options cci.ListOptions) ([]cci.ImageSnapshot, error) {
	all, err := f.CloudAPI.ListSnapshots(ctx, options)
	for i := range all {
		if f.phase != "" {
			all[i].Status = cci.ImageSnapshotStatus{Phase: f.phase, Message: "no such image"}
		}
	}
	return all, err
}

func TestARegionWithoutSnapshotsIsReportedOnce(t *testing.T) {
	for name, policies := range map[string]ccisim.Policies{
		"the gateway does not know them":    {Unpublished: []string{"imagesnapshots"}},
		"the API server does not know them": {NoSnapshots: true},
		"errors have no reason":             {NoSnapshots: true, BareErrors: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, cloudtest.NewWithNetwork(t, func(c *ccisim.Config) { c.Policies = policies }), mine, 10)
			e.run("shop", "nginx:1", 2)
			for range 3 * 60 {
				e.check(time.Minute)
			}
			assert.Equal(t, 1, bytes.Count(e.log.Bytes(), []byte("level=WARN")), e.log.String())
			assert.Contains(t, e.log.String(), "the region offers no image snapshots")
			assert.LessOrEqual(t, e.cloud.CountRequests("list", "imagesnapshots", 404), 3, "it is asked every hour")
			require.NoError(t, e.cloud.SetPolicies(ccisim.Policies{}))
			e.check(refusalPause)
			assert.Equal(t, []string{"nginx:1"}, e.images())
		})
	}
}

func TestARefusedSnapshotIsNotRequestedAgainAtOnce(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 10)
	e.cloud.Fault(t, ccisim.Fault{
		Kind: ccisim.ServerError, Verb: "create", Path: "/imagesnapshots$", Status: 403, Message: "quota exceeded",
	})
	e.run("shop", "nginx:1", 2)
	e.run("shop", "redis:1", 2)
	for range 3 * 60 {
		e.check(time.Minute)
	}
	assert.Equal(t, 2, e.cloud.CountRequests("create", "imagesnapshots", 403), "each image once a day")
	assert.Contains(t, e.log.String(), "quota exceeded")
}

// The users of a cluster choose the images.
func TestManyImagesDoNotTakeMemoryWithoutBound(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 10)
	e.run("shop", "nginx:1", 2)
	e.checks(2)
	e.end()
	for i := range 3 * maxImages {
		e.now = e.now.Add(time.Millisecond)
		for _, uid := range []types.UID{"1", "2", "3"} {
			e.keeper.note(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("ns-%d", uid[0]), UID: uid},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: fmt.Sprintf("junk:%d", i)}}},
			})
		}
	}
	assert.Len(t, e.keeper.uses.byImage, maxImages)
	assert.Equal(t, start.Add(2*time.Minute), e.keeper.uses.last("nginx:1"), "one that has a snapshot is not forgotten")
	for _, u := range e.keeper.uses.byImage {
		assert.LessOrEqual(t, len(u.pods), minPods)
		assert.LessOrEqual(t, len(u.namespaces), 2)
	}
	e.check(2 * removal)
	assert.LessOrEqual(t, len(e.keeper.uses.byImage), 1)
}

func TestPodsThatHaveEndedUseNothing(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 10)
	for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed} {
		e.keeper.note(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", UID: types.UID(phase)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "job:1"}}},
			Status:     corev1.PodStatus{Phase: phase},
		})
	}
	assert.Empty(t, e.keeper.uses.byImage)
}

func TestTheSecretOfTheServiceGoesToItsRegistryOnly(t *testing.T) {
	for image, want := range map[string]cci.SnapshotRegistry{
		"nginx:1":             {Server: "docker.io"},
		"library/nginx":       {Server: "docker.io"},
		"localhost/nginx":     {Server: "localhost"},
		"example.com:5000/a":  {Server: "example.com:5000"},
		"ghcr.io/a/b@sha256:": {Server: "ghcr.io"},
		"swr.cn-north-4.myhuaweicloud.com/org/app:1": {
			Server: "swr.cn-north-4.myhuaweicloud.com", PullSecret: "imagepull-secret",
		},
	} {
		k := &Keeper{config: Config{PullSecret: "imagepull-secret"}}
		server := registry(image)
		assert.Equal(t, want, cci.SnapshotRegistry{Server: server, PullSecret: k.pullSecret(server)}, image)
		k.config.PullSecret = "own"
		assert.Equal(t, "own", k.pullSecret(server))
	}
}

func TestRunChecksUntilItEnds(t *testing.T) {
	e := newEnv(t, cloudtest.NewWithNetwork(t, cloudtest.EveryAPI), mine, 10)
	e.keeper.config.Interval = time.Millisecond
	e.run("shop", "nginx:1", 2)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.keeper.Run(ctx) }()
	require.Eventually(t, func() bool { return len(e.images()) == 1 }, cloudtest.Timeout, cloudtest.Tick)
	cancel()
	require.NoError(t, <-done)
}

func TestTheKeeperNeedsItsFields(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "a required field is missing")
	e := newEnv(t, cloudtest.New(t, cloudtest.EveryAPI), mine, 1)
	config := e.keeper.config
	config.Keep, config.Registerer = 0, nil
	_, err = New(config)
	require.ErrorContains(t, err, "number 0")
}
