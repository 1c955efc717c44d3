package owners

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

// timeout is longer than any of these look-ups take.
const timeout = 30 * time.Second

// object returns the metadata of an object in namespace shop whose UID is its name. owner is its controller, if any.
func object(apiVersion, kind, name, mode string, owner ...metav1.OwnerReference) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), OwnerReferences: owner},
	}
	if mode != "" {
		o.Labels = map[string]string{policy.BurstLabel: mode}
	}
	return o
}

func reference(apiVersion, kind, name string) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(name), Controller: new(true),
	}
}

// objects returns its arguments.
func objects(list ...*metav1.PartialObjectMetadata) []*metav1.PartialObjectMetadata { return list }

func podOf(owner ...metav1.OwnerReference) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", OwnerReferences: owner}}
}

// further is a kind that is not of Kubernetes.
var further = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}

// cachedPods are Pods by their names.
type cachedPods map[string]*corev1.Pod

func (p cachedPods) Get(name cache.ObjectName) *corev1.Pod { return p[name.Name] }

func newSource(t *testing.T, client metadata.Interface, timeout time.Duration, logs io.Writer) *Source {
	t.Helper()
	leader := podOf(toStatefulSet)
	leader.Name, leader.UID, leader.Labels = "leader", "leader", map[string]string{policy.BurstLabel: "auto"}
	s, err := New(Config{
		Client: client, Pods: cachedPods{"leader": leader}, Timeout: timeout, Now: time.Now,
		Kinds:  map[schema.GroupKind]schema.GroupVersionResource{{Group: "argoproj.io", Kind: "Rollout"}: further},
		Logger: slog.New(slog.NewTextHandler(logs, nil)),
	})
	require.NoError(t, err)
	return s
}

func source(t *testing.T, objects ...*metav1.PartialObjectMetadata) (*fake.FakeMetadataClient, *Source) {
	t.Helper()
	scheme := fake.NewTestScheme()
	require.NoError(t, metav1.AddMetaToScheme(scheme))
	initial := []runtime.Object{namespace(nil)}
	for _, o := range objects {
		initial = append(initial, o)
	}
	client := fake.NewSimpleMetadataClient(scheme, initial...)
	return client, newSource(t, client, timeout, io.Discard)
}

func namespace(labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: labels},
	}
}

// run fills the caches of the source.
func run(t *testing.T, s *Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	require.Eventually(t, s.Ready, timeout, time.Millisecond)
}

var (
	toReplicaSet  = reference("apps/v1", "ReplicaSet", "web-1")
	toDeployment  = reference("apps/v1", "Deployment", "web")
	toStatefulSet = reference("apps/v1", "StatefulSet", "db")
	toJob         = reference("batch/v1", "Job", "backup-1")
	toCronJob     = reference("batch/v1", "CronJob", "backup")
	toRollout     = reference("argoproj.io/v1beta1", "Rollout", "web")
	toLeader      = reference("v1", "Pod", "leader")
)

func TestLabels(t *testing.T) {
	replicaSet := object("apps/v1", "ReplicaSet", "web-1", "", toDeployment)
	labelled := object("apps/v1", "StatefulSet", "db", "auto")
	rollout := object("argoproj.io/v1alpha1", "Rollout", "web", "auto")
	// chain has four owners, of which each owns the one before. The last is owned by a StatefulSet.
	chain := objects(replicaSet, object("apps/v1", "Deployment", "web", "", toJob),
		object("batch/v1", "Job", "backup-1", "", toCronJob),
		object("batch/v1", "CronJob", "backup", "", toStatefulSet))
	earlier := toStatefulSet
	earlier.UID = "another"
	notController := toStatefulSet
	notController.Controller = nil
	for name, test := range map[string]struct {
		objects []*metav1.PartialObjectMetadata
		pod     *corev1.Pod
		want    string
	}{
		"of a StatefulSet": {
			objects(labelled), podOf(toStatefulSet), "auto",
		},
		"of a Deployment, through its ReplicaSet": {
			[]*metav1.PartialObjectMetadata{replicaSet, object("apps/v1", "Deployment", "web", "enforce")},
			podOf(toReplicaSet), "enforce",
		},
		"of a CronJob, through its Job": {
			[]*metav1.PartialObjectMetadata{
				object("batch/v1", "Job", "backup-1", "", toCronJob), object("batch/v1", "CronJob", "backup", "off"),
			}, podOf(toJob), "off",
		},
		"of an owner of a further kind, in any version": {
			objects(object("apps/v1", "ReplicaSet", "web-1", "", toRollout), rollout), podOf(toReplicaSet), "auto",
		},
		"of a ReplicationController": {
			[]*metav1.PartialObjectMetadata{object("v1", "ReplicationController", "rc", "auto")},
			podOf(reference("v1", "ReplicationController", "rc")), "auto",
		},
		"of a Pod that owns others, through a StatefulSet": {
			[]*metav1.PartialObjectMetadata{object("apps/v1", "StatefulSet", "db", "", toLeader)},
			podOf(toStatefulSet), "auto",
		},
		"of the fifth owner": {
			slices.Concat(chain, objects(labelled)), podOf(toReplicaSet), "auto",
		},
		"none of the sixth owner": {
			slices.Concat(chain, objects(object("apps/v1", "StatefulSet", "db", "", toRollout), rollout)),
			podOf(toReplicaSet), "",
		},
		"none of a Pod that is gone": {nil, podOf(reference("v1", "Pod", "gone")), ""},
		"of the nearest owner with a label": {
			objects(object("apps/v1", "ReplicaSet", "web-1", "auto", toDeployment),
				object("apps/v1", "Deployment", "web", "enforce")), podOf(toReplicaSet), "auto",
		},
		"a malformed label": {
			[]*metav1.PartialObjectMetadata{object("apps/v1", "StatefulSet", "db", "x")}, podOf(toStatefulSet), "x",
		},
		"none without an owner":            {nil, podOf(), ""},
		"none of an owner of another kind": {nil, podOf(reference("v1", "ConfigMap", "c")), ""},
		"none of an owner that is not the controller": {
			objects(labelled), podOf(notController), "",
		},
		"none of an owner without a label": {
			[]*metav1.PartialObjectMetadata{object("apps/v1", "StatefulSet", "db", "")}, podOf(toStatefulSet), "",
		},
		"none of an owner that is gone": {nil, podOf(toStatefulSet), ""},
		"none of a later object with the same name": {
			objects(labelled), podOf(earlier), "",
		},
		"none of owners that form a cycle": {
			[]*metav1.PartialObjectMetadata{object("batch/v1", "Job", "backup-1", "", toJob)}, podOf(toJob), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, s := source(t, test.objects...)
			for _, caches := range []string{"empty", "filled"} {
				if caches == "filled" {
					run(t, s)
				}
				workload, err := s.Workload(t.Context(), test.pod)
				require.NoError(t, err)
				assert.Equal(t, test.want, workload.Labels[policy.BurstLabel], caches)
			}
			if test.want == "" {
				return
			}
			// The caches of further kinds may be filled later.
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				client.ClearActions()
				_, err := s.Workload(t.Context(), test.pod)
				require.NoError(c, err)
				for _, action := range client.Actions() {
					assert.NotEqual(c, "get", action.GetVerb(), "with filled caches, the API server is not called")
				}
			}, timeout, time.Millisecond)
		})
	}
}

// annotated returns the object with annotations, given as keys and values.
func annotated(o *metav1.PartialObjectMetadata, pairs ...string) *metav1.PartialObjectMetadata {
	o.Annotations = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		o.Annotations[pairs[i]] = pairs[i+1]
	}
	return o
}

func TestInheritedAnnotations(t *testing.T) {
	const (
		replicas = policy.LocalReplicasAnnotation
		floor    = policy.LocalMinAnnotation
		after    = policy.BurstAfterAnnotation
	)
	deployment := func(pairs ...string) *metav1.PartialObjectMetadata {
		return annotated(object("apps/v1", "Deployment", "web", ""), pairs...)
	}
	replicaSet := func(owner *metav1.OwnerReference, pairs ...string) *metav1.PartialObjectMetadata {
		if owner == nil {
			return annotated(object("apps/v1", "ReplicaSet", "web-1", ""), pairs...)
		}
		return annotated(object("apps/v1", "ReplicaSet", "web-1", "", *owner), pairs...)
	}
	copied := func(pod *corev1.Pod) *corev1.Pod {
		pod.Annotations = map[string]string{replicas: "2", floor: "1", policy.InheritedAnnotation: replicas}
		return pod
	}
	type annotations = map[string]string
	for name, test := range map[string]struct {
		objects []*metav1.PartialObjectMetadata
		pod     *corev1.Pod
		want    annotations
		places  annotations
	}{
		"of a StatefulSet": {
			objects(annotated(object("apps/v1", "StatefulSet", "db", "auto"), floor, "1", "team", "shop")),
			podOf(toStatefulSet), annotations{floor: "1"}, annotations{floor: "StatefulSet db"},
		},
		"of a Deployment and not the copies on its ReplicaSet": {
			objects(replicaSet(&toDeployment, replicas, "1"), deployment(replicas, "3")),
			podOf(toReplicaSet), annotations{replicas: "3"}, annotations{replicas: "Deployment web"},
		},
		"not what was removed from a Deployment and its ReplicaSet still has": {
			objects(replicaSet(&toDeployment, replicas, "1"), deployment()), podOf(toReplicaSet), annotations{}, nil,
		},
		"of a ReplicaSet without a controller": {
			objects(replicaSet(nil, replicas, "1")),
			podOf(toReplicaSet), annotations{replicas: "1"}, annotations{replicas: "ReplicaSet web-1"},
		},
		"key by key of the nearest owner": {
			objects(annotated(object("batch/v1", "Job", "backup-1", "", toCronJob), floor, "1"),
				annotated(object("batch/v1", "CronJob", "backup", ""), floor, "2", after, "90s")),
			podOf(toJob), annotations{floor: "1", after: "90s"},
			annotations{floor: "Job backup-1", after: "CronJob backup"},
		},
		"of an owner beyond one with a burst label": {
			objects(object("batch/v1", "Job", "backup-1", "auto", toCronJob),
				annotated(object("batch/v1", "CronJob", "backup", ""), floor, "2")),
			podOf(toJob), annotations{floor: "2"}, annotations{floor: "CronJob backup"},
		},
		"of what owns a Pod that owns others, and not of that Pod": {
			objects(annotated(object("apps/v1", "StatefulSet", "db", "", toLeader), after, "1s")),
			podOf(toStatefulSet), annotations{after: "1s"}, annotations{after: "StatefulSet db"},
		},
		"none without an owner": {nil, copied(podOf()), annotations{}, nil},
		"the copies of a Pod whose owner is gone stay": {
			nil, copied(podOf(toStatefulSet)), annotations{replicas: "2"}, nil,
		},
		"the copies of a Pod whose Deployment is gone stay": {
			objects(replicaSet(&toDeployment, replicas, "1")), copied(podOf(toReplicaSet)),
			annotations{replicas: "2"}, nil,
		},
		"a nearer owner overrides the copies of what is gone": {
			objects(annotated(object("batch/v1", "Job", "backup-1", "", toCronJob), replicas, "5")),
			copied(podOf(toJob)), annotations{replicas: "5"}, annotations{replicas: "Job backup-1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := source(t, test.objects...)
			for _, caches := range []string{"empty", "filled"} {
				if caches == "filled" {
					run(t, s)
					cached := s.CachedWorkload(test.pod)
					assert.Equal(t, test.want, cached.Annotations)
				}
				workload, err := s.Workload(t.Context(), test.pod)
				require.NoError(t, err)
				assert.Equal(t, test.want, workload.Annotations, caches)
				assert.Equal(t, test.places, workload.Places, caches)
			}
		})
	}
}

func TestLookUpsReturnTheErrorOfTheAPIServer(t *testing.T) {
	client, s := source(t)
	client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err := s.Workload(t.Context(), podOf(toStatefulSet))
	require.EqualError(t, err, "looking up StatefulSet shop/db: connection refused")
	_, _, err = s.Namespace(t.Context(), "shop")
	require.EqualError(t, err, "looking up namespace shop: connection refused")
}

func TestNamespace(t *testing.T) {
	client, s := source(t)
	labelled := namespace(map[string]string{"team": "shop"})
	require.NoError(t, client.Tracker().Update(namespaces, labelled, ""))
	for _, caches := range []string{"empty", "filled"} {
		if caches == "filled" {
			run(t, s)
		}
		labels, _, err := s.Namespace(t.Context(), "shop")
		require.NoError(t, err)
		assert.Equal(t, "shop", labels["team"], caches)
		_, _, err = s.Namespace(t.Context(), "gone")
		require.ErrorContains(t, err, "looking up namespace gone")
	}
}

func TestInheritsMalformed(t *testing.T) {
	malformed := annotated(namespace(nil), policy.BurstAfterAnnotation, "soon")
	malformed.Name = "malformed"
	toWaiting := reference("apps/v1", "StatefulSet", "waiting")
	_, s := source(t, object("apps/v1", "StatefulSet", "db", "x"), object("batch/v1", "Job", "backup-1", "auto"),
		annotated(object("apps/v1", "StatefulSet", "waiting", ""), policy.LocalMinAnnotation, "3"), malformed)
	assert.False(t, s.InheritsMalformed(podOf(toStatefulSet)), "only the caches count")
	run(t, s)
	own := podOf(toStatefulSet)
	own.Labels = map[string]string{policy.BurstLabel: "auto"}
	contradicts := podOf(toWaiting)
	contradicts.Annotations = map[string]string{policy.LocalMaxAnnotation: "1"}
	overrides := podOf(toWaiting)
	overrides.Annotations = map[string]string{policy.LocalMinAnnotation: "1"}
	daemon := podOf(reference("apps/v1", "DaemonSet", "agent"))
	daemon.Namespace = "malformed"
	bare := podOf()
	bare.Namespace = "malformed"
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"an annotation of an owner that contradicts the Pod's": {contradicts, true},
		"not if the Pod's own overrides it":                    {overrides, false},
		"not a valid annotation":                               {podOf(toWaiting), false},
		"an annotation of the namespace":                       {bare, true},
		"not for a Pod of a DaemonSet":                         {daemon, false},
		"from an owner with a malformed label":                 {podOf(toStatefulSet), true},
		"not from an owner with a valid label":                 {podOf(toJob), false},
		"not if the Pod has a label, which overrides it":       {own, false},
		"not without an owner":                                 {podOf(), false},
		"not from an owner that the cache lacks":               {podOf(toReplicaSet), false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, s.InheritsMalformed(test.pod)) })
	}
}

func TestOnChangeReportsNamespacesUntilStop(t *testing.T) {
	client, s := source(t, object("apps/v1", "StatefulSet", "db", ""))
	run(t, s)
	changed := make(chan string, 10)
	stop, err := s.OnChange(func(namespace string) { changed <- namespace })
	require.NoError(t, err)
	statefulSets := ofKubernetes[schema.GroupKind{Group: "apps", Kind: "StatefulSet"}]
	update := func(mode string) {
		require.NoError(t, client.Tracker().Update(statefulSets, object("apps/v1", "StatefulSet", "db", mode), "shop"))
		require.Eventually(t, func() bool {
			cached := s.cached(statefulSets, "shop", "db", "")
			return cached != nil && cached.Labels[policy.BurstLabel] == mode
		}, timeout, time.Millisecond)
	}
	update("auto")
	assert.Equal(t, "shop", <-changed)
	require.NoError(t, stop())
	update("off")
	assert.Empty(t, changed)
}

func TestChangedNamespace(t *testing.T) {
	labels := func(keys ...string) *metav1.PartialObjectMetadata {
		o := object("apps/v1", "StatefulSet", "db", "")
		o.Labels = map[string]string{}
		for _, key := range keys {
			o.Labels[key] = "enabled"
		}
		return o
	}
	limited := labels()
	limited.Annotations = map[string]string{policy.CloudLimitsAnnotation: "pods=1"}
	statefulSets := ofKubernetes[schema.GroupKind{Group: "apps", Kind: "StatefulSet"}]
	for name, test := range map[string]struct {
		isNamespace   bool
		before, after any
		want          string
	}{
		"a burst label is added": {before: labels(), after: labels(policy.BurstLabel), want: "shop"},
		"an alias is removed": {
			before: labels(policy.BurstLabelAlias), after: labels(), want: "shop",
		},
		"another label is added": {before: labels(), after: labels("team")},
		"nothing changes": {
			before: labels(policy.BurstLabel), after: labels(policy.BurstLabel),
		},
		"shares are added": {
			before: labels(), after: annotated(labels(), policy.LocalReplicasAnnotation, "1"), want: "shop",
		},
		"shares change": {
			before: annotated(labels(), policy.CloudMaxAnnotation, "1"),
			after:  annotated(labels(), policy.CloudMaxAnnotation, "2"), want: "shop",
		},
		"a time to wait is removed": {
			before: annotated(labels(), policy.BurstAfterAnnotation, "1s"), after: labels(), want: "shop",
		},
		"an annotation that is not inherited is added": {
			before: labels(), after: annotated(labels(), policy.CloudLimitsAnnotation, "pods=1"),
		},
		"a namespace gets shares": {
			true, labels(), annotated(labels(), policy.LocalReplicasAnnotation, "1"), "db",
		},
		"a namespace enforces":                    {true, labels(), labels(policy.NamespaceEnforceLabel), "db"},
		"a namespace gets a label without effect": {true, labels(), labels(policy.BurstLabel), ""},
		"a namespace gets limits":                 {true, labels(), limited, "db"},
		"an object of another type":               {before: "text", after: labels()},
	} {
		t.Run(name, func(t *testing.T) {
			resource := statefulSets
			if test.isNamespace {
				resource = namespaces
			}
			got, ok := changedNamespace(resource, test.before, test.after)
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.want != "", ok)
		})
	}
}

// The Deployment controller copies annotations to ReplicaSets: such a change is not one of what Pods inherit.
func TestOnlyAReplicaSetWithoutAControllerReportsAnnotations(t *testing.T) {
	free := annotated(object("apps/v1", "ReplicaSet", "web-1", ""), policy.LocalReplicasAnnotation, "1")
	owned := annotated(object("apps/v1", "ReplicaSet", "web-1", "", toDeployment), policy.LocalReplicasAnnotation, "1")
	for name, test := range map[string]struct {
		before, after *metav1.PartialObjectMetadata
		want          bool
	}{
		"with a controller":  {object("apps/v1", "ReplicaSet", "web-1", "", toDeployment), owned, false},
		"without one":        {object("apps/v1", "ReplicaSet", "web-1", ""), free, true},
		"it gets one":        {free, owned, true},
		"it loses one":       {owned, free, true},
		"it has it all time": {owned, owned.DeepCopy(), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := changedNamespace(replicaSets, test.before, test.after)
			assert.Equal(t, test.want, ok)
		})
	}
}

func TestStripKeepsLabelsOwnersAndOurAnnotations(t *testing.T) {
	o := object("apps/v1", "ReplicaSet", "web-1", "auto", toDeployment)
	want := o.DeepCopy()
	want.Annotations = map[string]string{policy.CloudLimitsAnnotation: "pods=1", policy.LocalReplicasAnnotation: "1"}
	o.Annotations = map[string]string{
		"a": "b", policy.CloudLimitsAnnotation: "pods=1", policy.LocalReplicasAnnotation: "1",
	}
	o.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}}
	got, err := strip(o)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestALookUpEndsAtItsTimeout(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // It accepts connections and never responds.
	require.NoError(t, err)
	defer silent.Close()
	client, err := metadata.NewForConfig(&rest.Config{Host: "http://" + silent.Addr().String()})
	require.NoError(t, err)
	started := time.Now()

	_, err = newSource(t, client, 100*time.Millisecond, io.Discard).Workload(t.Context(), podOf(toStatefulSet))

	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "looking up StatefulSet shop/db")
	assert.Less(t, time.Since(started), timeout/2)
}
