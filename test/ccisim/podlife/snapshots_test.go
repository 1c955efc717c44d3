package podlife

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const snapshotDelay = 20 * time.Second

// newSnapshotEnv also has a snapshot of the images, and the Pod that makes it.
func newSnapshotEnv(t *testing.T, change func(*objects.ImageSnapshot), images ...string) *env {
	t.Helper()
	e := newNamespaceEnv(t, func(c *Config, _ *store.Config) { c.SnapshotDelay = snapshotDelay })
	snapshot := &objects.ImageSnapshot{Status: objects.ImageSnapshotStatus{Phase: objects.SnapshotCreating}}
	snapshot.Name = "snap"
	snapshot.Spec.BuildingConfig = objects.BuildingConfig{Namespace: "ns", TimeoutMinutes: 30}
	for _, image := range images {
		snapshot.Spec.Images = append(snapshot.Spec.Images, objects.SnapshotImage{Image: image})
	}
	if change != nil {
		change(snapshot)
	}
	objects.Stamp(snapshot, e.clock.Now())
	maker := newPod(snapshot.Maker(), neverRestarts)
	objects.Stamp(maker, e.clock.Now())
	e.store.Update(func(tx store.Tx) { // In one transaction, as package api does.
		for res, obj := range map[*objects.Resource]objects.Object{objects.Snapshots: snapshot, objects.Pods: maker} {
			_, err := tx.Put(res, obj)
			require.NoError(t, err)
			e.controller.Stored(tx, res, obj)
		}
	})
	e.controller.ReconcileDue()
	return e
}

func (e *env) snapshot() *objects.ImageSnapshot {
	snapshot, _ := e.get(objects.Snapshots, "", "snap").(*objects.ImageSnapshot)
	return snapshot
}

func (e *env) maker() *objects.Pod { return e.pod(e.snapshot().Maker()) }

// steps moves the clock in many steps: a snapshot is reconciled again and again.
func (e *env) steps(d time.Duration) {
	for range 60 {
		e.step(d / 60)
	}
}

func TestASnapshotIsAvailableWhenItsPodHasPulledTheImages(t *testing.T) {
	e := newSnapshotEnv(t, nil, "registry/nginx:1")
	e.steps(snapshotDelay - 1)
	assert.Equal(t, objects.SnapshotCreating, e.snapshot().Status.Phase)
	assert.NotNil(t, e.maker())
	e.steps(snapshotDelay)
	assert.Equal(t, objects.SnapshotAvailable, e.snapshot().Status.Phase)
	assert.Len(t, e.snapshot().Status.Images, 1)
	e.step(stopDelay, finalizerDelay)
	assert.Nil(t, e.maker(), "it is no longer billed")
	e.steps(1000 * time.Hour)
	assert.NotNil(t, e.snapshot(), "it has no end")
}

func TestASnapshotEndsAfterItsDays(t *testing.T) {
	e := newSnapshotEnv(t, func(s *objects.ImageSnapshot) { s.Spec.TTLDaysAfterCreated = 2 }, "registry/nginx:1")
	e.steps(time.Minute)
	e.steps(47 * time.Hour)
	require.NotNil(t, e.snapshot())
	assert.Equal(t, objects.SnapshotAvailable, e.snapshot().Status.Phase)
	e.steps(2 * time.Hour)
	assert.Nil(t, e.snapshot())
}

func TestASnapshotFailsWithoutItsImages(t *testing.T) {
	for name, test := range map[string]struct {
		image string
		fault faults.Kind
		want  string
	}{
		"no registry has the image": {image: "registry/missing:1", want: "the images were not pulled in time"},
		"no image can be pulled":    {fault: faults.ImagePull, want: "the images were not pulled in time"},
		"there is no capacity":      {fault: faults.SoldOut, want: "the images were not pulled in time"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newSnapshotEnv(t, nil, test.image)
			if test.fault != "" {
				e.inject(faults.Fault{Kind: test.fault})
			}
			e.steps(29 * time.Minute)
			assert.Equal(t, objects.SnapshotCreating, e.snapshot().Status.Phase)
			e.steps(2 * time.Minute)
			assert.Equal(t, objects.SnapshotFailed, e.snapshot().Status.Phase)
			assert.Equal(t, test.want, e.snapshot().Status.Message)
			e.step(stopDelay, finalizerDelay)
			assert.Nil(t, e.maker())
		})
	}
}

func TestASnapshotFailsWithItsNamespace(t *testing.T) {
	e := newSnapshotEnv(t, nil, "registry/nginx:1")
	e.delete(objects.Pods, "ns", e.snapshot().Maker(), 0)
	e.steps(time.Minute)
	assert.Equal(t, objects.SnapshotFailed, e.snapshot().Status.Phase)
}

// The Pod that makes a snapshot is billed: it must end with it.
func TestADeletedSnapshotEndsItsPod(t *testing.T) {
	e := newSnapshotEnv(t, nil, "registry/nginx:1")
	e.step(scheduleDelay, startDelay)
	maker := e.snapshot().Maker()
	e.delete(objects.Snapshots, "", "snap")
	require.NotNil(t, e.snapshot())
	assert.Equal(t, []string{objects.SnapshotFinalizer}, e.snapshot().Finalizers)
	e.steps(time.Minute)
	assert.Nil(t, e.pod(maker))
	assert.Nil(t, e.snapshot())
}

func TestAPodWhoseImagesAreInASnapshotPullsNone(t *testing.T) {
	e := newSnapshotEnv(t, nil, "registry/nginx:1", "registry/other:1")
	for name, test := range map[string]struct {
		change func(*objects.Pod)
		fast   bool
	}{
		"not asked for":     {func(*objects.Pod) {}, false},
		"chosen":            {with(annotationSnapshotMatch, "true"), true},
		"named":             {with(annotationSnapshotName, "snap"), true},
		"another":           {with(annotationSnapshotName, "other"), false},
		"without the image": {func(pod *objects.Pod) { pod.Spec.Containers[0].Image = "registry/third:1" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e.steps(time.Minute) // It is available.
			e.createPod("web", with(annotationSnapshotMatch, ""), test.change)
			e.step(scheduleDelay)
			assert.Equal(t, test.fast, e.pod("web").Status.Phase == corev1.PodRunning)
			e.step(startDelay)
			assert.Equal(t, corev1.PodRunning, e.pod("web").Status.Phase)
			e.delete(objects.Pods, "ns", "web", 0)
			e.step(stopDelay, finalizerDelay)
		})
	}
}
