package inventory

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

var testOwner = identity.Owner{ClusterID: "prod", Node: "virtual-node-cci-0"}

// scriptedWatch is what one watch does: it delivers events, takes a time and ends with an error, nil for a proper end.
type scriptedWatch struct {
	events []cci.PodEvent
	lasts  time.Duration
	err    error
	// refused: the watch does not start, but fails with err.
	refused bool
}

// scriptedCloud plays one scriptedWatch after the other, and returns the pages of a list.
type scriptedCloud struct {
	cci.API
	clock    time.Time
	watches  []scriptedWatch
	versions []string
	pages    []cci.PodList
	listErr  error
	lists    []cci.ListOptions
}

func (c *scriptedCloud) ListPods(_ context.Context, _ string, options cci.ListOptions) (*cci.PodList, error) {
	c.lists = append(c.lists, options)
	if n := len(c.lists) - 1; n < len(c.pages) {
		page := c.pages[n]
		page.Objects = len(page.Items)
		page.Items = slices.DeleteFunc(slices.Clone(page.Items), func(pod cci.Pod) bool { return !options.Keep(&pod) })
		return &page, nil
	}
	return nil, c.listErr
}

func (c *scriptedCloud) WatchPods(_ context.Context, _ string, options cci.WatchOptions) (cci.PodWatch, error) {
	c.versions = append(c.versions, options.ResourceVersion)
	next := c.watches[0]
	if len(c.watches) > 1 { // The last one repeats.
		c.watches = c.watches[1:]
	}
	if next.refused {
		return nil, next.err
	}
	return &stream{cloud: c, watch: next}, nil
}

type stream struct {
	cloud *scriptedCloud
	watch scriptedWatch
}

func (s *stream) Next() (cci.PodEvent, error) {
	if len(s.watch.events) > 0 {
		event := s.watch.events[0]
		s.watch.events = s.watch.events[1:]
		return event, nil
	}
	s.cloud.clock = s.cloud.clock.Add(s.watch.lasts)
	if s.watch.err != nil {
		return cci.PodEvent{}, s.watch.err
	}
	return cci.PodEvent{}, io.EOF
}

func (s *stream) Close() {}

// notified records one call of a handler.
type notified struct {
	name  string
	state State
}

func newScripted(t *testing.T, cloud *scriptedCloud) (*Inventory, *[]notified) {
	t.Helper()
	cloud.clock = time.Unix(1e9, 0)
	i, err := New(Config{
		API: cloud, Namespace: "n", Owner: testOwner, WatchTimeout: time.Minute, RelistInterval: 10 * time.Minute,
		MinRetryInterval: time.Nanosecond, Now: func() time.Time { return cloud.clock },
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	var changes []notified
	i.OnChange(func(key identity.Key, _ *cci.Pod, state State) { changes = append(changes, notified{key.Name, state}) })
	return i, &changes
}

// cloudPod returns a cloud Pod of the owner.
func cloudPod(name, version string) *cci.Pod {
	pod := &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("cloud-" + name), ResourceVersion: version}}
	testOwner.Mark(&pod.ObjectMeta, keyOf(name))
	return pod
}

func keyOf(name string) identity.Key {
	return identity.Key{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}
}

func TestWhenThePodsAreListedAgain(t *testing.T) {
	added := scriptedWatch{events: []cci.PodEvent{{Type: watch.Added, Pod: cloudPod("web", "9")}}}
	empty, cut := scriptedWatch{}, scriptedWatch{err: &cci.Error{Kind: cci.Transient}}
	expired := scriptedWatch{err: &cci.Error{Kind: cci.Expired}}
	// between returns watches of which only one in the middle succeeds.
	between := func(middle scriptedWatch) []scriptedWatch {
		return []scriptedWatch{cut, cut, cut, cut, middle, cut, cut, cut, cut, expired}
	}
	for name, test := range map[string]struct {
		watches []scriptedWatch
		want    string
		count   int
	}{
		"if the version has expired":          {[]scriptedWatch{expired}, causeExpired, 1},
		"if a watch is refused as expired":    {[]scriptedWatch{{refused: true, err: expired.err}}, causeExpired, 1},
		"after the interval":                  {[]scriptedWatch{{lasts: time.Minute}}, causeInterval, 11},
		"after several cut watches":           {[]scriptedWatch{cut}, causeCut, maxEmptyWatches},
		"after several empty watches":         {[]scriptedWatch{empty}, causeCut, maxEmptyWatches},
		"not after cut watches with events":   {between(added), causeExpired, 10},
		"not after watches that take a while": {between(scriptedWatch{lasts: minWatch}), causeExpired, 10},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{watches: test.watches}
			i, _ := newScripted(t, cloud)
			assert.Equal(t, test.want, i.follow(t.Context(), "1"))
			assert.Len(t, cloud.versions, test.count)
		})
	}
	t.Run("not after the context has ended", func(t *testing.T) {
		i, _ := newScripted(t, &scriptedCloud{watches: []scriptedWatch{empty}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.Empty(t, i.follow(ctx, "1"))
	})
}

func TestAWatchContinuesWhereTheLastOneEnded(t *testing.T) {
	bookmark := &cci.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "12"}}
	cloud := &scriptedCloud{watches: []scriptedWatch{
		{events: []cci.PodEvent{{Type: watch.Added, Pod: cloudPod("web", "9")}}, err: &cci.Error{Kind: cci.Transient}},
		{events: []cci.PodEvent{{Type: watch.Bookmark, Pod: bookmark}}},
		{err: &cci.Error{Kind: cci.Expired}},
	}}
	i, _ := newScripted(t, cloud)
	i.follow(t.Context(), "1")
	assert.Equal(t, []string{"1", "9", "12"}, cloud.versions)
	assert.Len(t, i.All(), 1)
}

func TestErrShowsAnErrorUntilAWatchStarts(t *testing.T) {
	i, _ := newScripted(t, &scriptedCloud{watches: []scriptedWatch{
		{refused: true, err: &cci.Error{Kind: cci.Denied, Message: "no permission"}},
	}})
	i.follow(t.Context(), "1")
	assert.True(t, cci.IsDenied(i.Err()))
	i.config.API.(*scriptedCloud).watches = []scriptedWatch{{err: &cci.Error{Kind: cci.Expired}}}
	i.follow(t.Context(), "1")
	assert.NoError(t, i.Err())
}

func TestAListOfSeveralPages(t *testing.T) {
	cloud := &scriptedCloud{pages: []cci.PodList{
		{Items: []cci.Pod{*cloudPod("a", "1")}, Continue: "more", ResourceVersion: "5"},
		{Items: []cci.Pod{*cloudPod("b", "2")}, ResourceVersion: "6"},
	}}
	i, _ := newScripted(t, cloud)
	version, err := i.list(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "6", version)
	assert.Len(t, i.All(), 2)
	assert.Equal(t, "more", cloud.lists[1].Continue)
	assert.Equal(t, testOwner.Selector(), cloud.lists[0].LabelSelector)
	select {
	case <-i.Synced():
	default:
		t.Error("the inventory is synced")
	}

	cloud.pages, cloud.lists = cloud.pages[:1], nil
	cloud.listErr = &cci.Error{Kind: cci.Transient}
	_, err = i.list(t.Context())
	require.ErrorContains(t, err, "listing")
	assert.Len(t, i.All(), 2, "an incomplete list changes nothing")
}

func TestAListReportsWhatHasChanged(t *testing.T) {
	cloud := &scriptedCloud{pages: []cci.PodList{{Items: []cci.Pod{
		*cloudPod("same", "1"), *cloudPod("newer", "1"), *cloudPod("again", "1"), *cloudPod("missing", "1"),
	}}}}
	i, changes := newScripted(t, cloud)
	_, err := i.list(t.Context())
	require.NoError(t, err)
	*changes, cloud.lists = nil, nil
	again := cloudPod("again", "1")
	again.UID = "another"
	foreign := cloudPod("foreign", "1")
	foreign.Annotations = nil
	cloud.pages[0].Items = []cci.Pod{
		*cloudPod("same", "1"), *cloudPod("newer", "2"), *again, *cloudPod("new", "1"), *foreign,
	}
	_, err = i.list(t.Context())
	require.NoError(t, err)
	assert.ElementsMatch(t, []notified{
		{"newer", Present}, {"again", Present}, {"new", Present}, {"missing", Missing},
	}, *changes)
	assert.Nil(t, i.Get(keyOf("missing")))
	assert.Len(t, i.All(), 4)
}

func TestAWatchReportsEveryChange(t *testing.T) {
	i, changes := newScripted(t, &scriptedCloud{})
	require.NoError(t, i.apply(cloudPod("web", "1"), Present))
	require.NoError(t, i.apply(cloudPod("web", "1"), Present))
	old := cloudPod("web", "2")
	old.UID = "older"
	require.NoError(t, i.apply(old, Gone))
	assert.NotNil(t, i.Get(keyOf("web")), "the Pod that is gone had another UID")
	require.NoError(t, i.apply(cloudPod("web", "3"), Gone))
	assert.Nil(t, i.Get(keyOf("web")))
	foreign := cloudPod("web", "4")
	foreign.Annotations = nil
	require.NoError(t, i.apply(foreign, Present))
	assert.Equal(t, []notified{{"web", Present}, {"web", Present}, {"web", Gone}, {"web", Gone}}, *changes)
}

// A Pod was read alone and had ended. Events and lists that follow are older: it stays as it is.
func TestAPodThatHasEndedIsNotActiveAgain(t *testing.T) {
	withPhase := func(version string, phase corev1.PodPhase) *cci.Pod {
		pod := cloudPod("job", version)
		pod.Status.Phase = phase
		return pod
	}
	for name, test := range map[string]struct {
		before corev1.PodPhase
		then   func(*testing.T, *Inventory)
	}{
		"an older event": {"", func(t *testing.T, i *Inventory) {
			require.NoError(t, i.apply(withPhase("2", corev1.PodRunning), Present))
		}},
		"an older list": {"", func(t *testing.T, i *Inventory) {
			_, err := i.list(t.Context())
			require.NoError(t, err)
		}},
		"an event before and one after": {corev1.PodPending, func(t *testing.T, i *Inventory) {
			require.NoError(t, i.apply(withPhase("2", corev1.PodRunning), Present))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{pages: []cci.PodList{{Items: []cci.Pod{*withPhase("2", corev1.PodRunning)}}}}
			i, changes := newScripted(t, cloud)
			if test.before != "" {
				require.NoError(t, i.apply(withPhase("1", test.before), Present))
			}
			i.Put(withPhase("3", corev1.PodSucceeded))
			*changes = nil
			test.then(t, i)
			assert.Equal(t, corev1.PodSucceeded, i.Get(keyOf("job")).Status.Phase)
			assert.Empty(t, *changes)
			again := withPhase("4", corev1.PodRunning)
			again.UID = "another"
			require.NoError(t, i.apply(again, Present))
			assert.Equal(t, corev1.PodRunning, i.Get(keyOf("job")).Status.Phase, "another Pod of the name")
		})
	}
}

// A cloud that lies must not exhaust the memory of the virtual node.
func TestPodsThatAreTooLargeAreAnError(t *testing.T) {
	large := func(name string) cci.Pod {
		pod := cloudPod(name, strings.Repeat("1", 1<<20)) // The version is kept as it is.
		return *pod
	}
	cloud := &scriptedCloud{pages: []cci.PodList{{Items: []cci.Pod{large("a")}}}}
	i, changes := newScripted(t, cloud)
	_, err := i.list(t.Context())
	require.NoError(t, err)
	*changes = nil

	cloud.lists = nil
	version := large("b").ResourceVersion
	for n := range maxSize>>20 + 1 {
		pod := *cloudPod(fmt.Sprintf("p%d", n), "1")
		pod.ResourceVersion = version // One text for all.
		cloud.pages[0].Items = append(cloud.pages[0].Items, pod)
	}
	_, err = i.list(t.Context())
	require.EqualError(t, err, "listing: the cloud reports Pods of this node of more than 256 MiB")
	assert.Len(t, i.All(), 1, "the list changes nothing")
	assert.Empty(t, *changes)

	i.pods.size = maxSize
	require.ErrorContains(t, i.apply(cloudPod("web", "2"), Present), "more than 256 MiB")
	assert.Nil(t, i.Get(keyOf("web")))
	assert.Empty(t, *changes)
}

func TestAListWithoutEndIsAnError(t *testing.T) {
	cloud := &scriptedCloud{pages: slices.Repeat([]cci.PodList{{Continue: "more"}}, 10)}
	i, _ := newScripted(t, cloud)
	_, err := i.list(t.Context())
	require.ErrorContains(t, err, "the same continue token for two pages")
	assert.Len(t, cloud.lists, 2)
}

func TestOnlyWhatCallersNeedIsKept(t *testing.T) {
	i, _ := newScripted(t, &scriptedCloud{})
	pod := cloudPod("web", "1")
	pod.Annotations["large"] = strings.Repeat("x", 1<<18)
	pod.Annotations[cci.ExporterPortAnnotation] = "9000"
	pod.Labels = map[string]string{"app": "web"}
	require.NoError(t, i.apply(pod, Present))
	kept := i.Get(keyOf("web"))
	assert.NotContains(t, kept.Annotations, "large")
	assert.Equal(t, "9000", kept.Annotations[cci.ExporterPortAnnotation])
	assert.Empty(t, kept.Labels)
	_, owned := testOwner.Owns(kept)
	assert.True(t, owned)
	assert.Less(t, i.pods.size, 4096)
	require.NoError(t, i.apply(pod, Gone))
	assert.Zero(t, i.pods.size)
}

func TestWhatPodsReferTo(t *testing.T) {
	i, _ := newScripted(t, &scriptedCloud{})
	settings := cci.Object{Kind: cci.ConfigMapObject, Name: "settings"}
	pod := cloudPod("web", "1")
	pod.Spec.Containers = []cci.Container{{EnvFrom: []corev1.EnvFromSource{{
		ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}},
	}}}}
	assert.False(t, i.Refers(settings))
	i.Put(pod)
	assert.True(t, i.Refers(settings))
	assert.False(t, i.Refers(cci.Object{Kind: cci.SecretObject, Name: "settings"}))
	assert.Empty(t, i.Get(keyOf("web")).Spec.Containers, "the spec is not kept")
	i.Drop(keyOf("web"), pod)
	assert.False(t, i.Refers(settings))
}
