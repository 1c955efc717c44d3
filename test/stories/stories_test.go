package stories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
)

// onNode returns a Pod on a node, in a phase. It is ready if it runs.
func onNode(uid, node string, phase corev1.PodPhase) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod-" + uid, UID: types.UID(uid)},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
	}
	if phase == corev1.PodRunning {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return pod
}

// deleted returns the Pod while it terminates.
func deleted(pod *corev1.Pod) *corev1.Pod {
	pod.DeletionTimestamp = new(metav1.Now())
	return pod
}

func TestStoriesHaveNamesTitlesAndPlays(t *testing.T) {
	names, titles := map[string]bool{}, map[string]bool{}
	for _, story := range slices.Concat(All(), Further(), Shares(), WayHome()) {
		assert.Regexp(t, `^[a-z]+(-[a-z]+)*$`, story.Name)
		assert.NotEmpty(t, story.Title, story.Name)
		assert.NotNil(t, story.Play, story.Name)
		assert.False(t, names[story.Name] || titles[story.Title], "%s is not unique", story.Name)
		names[story.Name], titles[story.Title] = true, true
	}
	assert.NoError(t, Shape().Validate())
}

func TestManifestsAreYAML(t *testing.T) {
	files, err := manifests.ReadDir("manifests")
	require.NoError(t, err)
	assert.Greater(t, len(files), 10)
	for _, file := range files {
		content, err := manifests.ReadFile("manifests/" + file.Name())
		require.NoError(t, err)
		for _, document := range regexp.MustCompile(`(?m)^---$`).Split(string(content), -1) {
			var object map[string]any
			assert.NoError(t, yaml.Unmarshal([]byte(document), &object), file.Name())
		}
	}
}

func TestPodsAreCounted(t *testing.T) {
	pods := []corev1.Pod{
		*onNode("1", "local-0", corev1.PodRunning), *onNode("2", "virtual-node-cci-1", corev1.PodRunning),
		*onNode("3", "virtual-node-cci-0", corev1.PodPending), *onNode("4", "", corev1.PodPending),
		*deleted(onNode("5", "local-0", corev1.PodRunning)),
	}
	got := count(pods)
	assert.Equal(t, podCounts{local: 1, cloud: 2, pending: 1, running: 2, terminating: 1}, got)
	assert.Equal(t, "1 local, 2 in the cloud, 1 without a node, 1 terminating; 2 running", got.String())
}

func TestTheWatcherRemembersTheMaximumOfLocalPods(t *testing.T) {
	watcher := newLocalWatcher()
	for _, step := range []struct {
		pod     *corev1.Pod
		deleted bool
		most    int
	}{
		{onNode("1", "", corev1.PodPending), false, 0},
		{onNode("1", "local-0", corev1.PodPending), false, 1},
		{onNode("2", "virtual-node-cci-0", corev1.PodRunning), false, 1},
		{onNode("3", "local-1", corev1.PodRunning), false, 2},
		{onNode("1", "local-0", corev1.PodSucceeded), false, 2},
		{onNode("4", "local-1", corev1.PodRunning), false, 2},
		{onNode("3", "local-1", corev1.PodRunning), true, 2},
		{deleted(onNode("4", "local-1", corev1.PodRunning)), false, 2},
		{onNode("5", "local-1", corev1.PodRunning), false, 2},
	} {
		watcher.observe(step.pod, step.deleted)
		assert.Equal(t, step.most, watcher.most(), step.pod.Name)
	}
	assert.Len(t, watcher.local, 1)
	require.NoError(t, watcher.awaitBound(t.Context(), 5))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorContains(t, watcher.awaitBound(ended, 6), "waiting for 6 bound pods: 5 are bound")
}

// newWorld returns a World with a client of the objects, a cloud at the URL, and the output.
func newWorld(url string, client *fake.Clientset) (*World, *bytes.Buffer) {
	out := &bytes.Buffer{}
	cluster := Cluster{Client: client}
	cluster.Cloud.Endpoint, cluster.Cloud.Control = url, url
	return NewWorldOn(cluster, out), out
}

// respond runs a cloud that returns the body for the path.
func respond(t *testing.T, path string, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, path, r.URL.Path)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestDuplicatesInTheCloudAreFound(t *testing.T) {
	pod := func(name, uid string) string {
		return fmt.Sprintf(`{"name": %q, "annotations": {%q: %q}}`, name, policy.CloudUIDAnnotation, uid)
	}
	for name, test := range map[string]struct {
		ever, want string
	}{
		"two Pods": {"[" + pod("a", "1") + "," + pod("b", "2") + "]", ""},
		"two for one Pod": {
			"[" + pod("a", "1") + "," + pod("b", "1") + "]",
			"the cloud created a and b for the Pod with UID 1: want one",
		},
		"junk": {"junk", "decoding pods of the simulator"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newWorld(respond(t, "/_sim/pods", http.StatusOK, test.ever), fake.NewClientset())
			err := w.noDuplicates(t.Context())
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestCallsOfTheSimulatorReportItsMessage(t *testing.T) {
	w, _ := newWorld(respond(t, "/_sim/faults", http.StatusBadRequest, "unknown fault"), fake.NewClientset())
	err := w.cluster.Cloud.Simulate(t.Context(), http.MethodPost, "faults", nil, nil)
	assert.EqualError(t, err, "calling the simulator at faults: 400 Bad Request: unknown fault")
}

func TestEventMessageIsThatOfThePodAndTheReason(t *testing.T) {
	pod := onNode("1", "", corev1.PodPending)
	client := fake.NewClientset(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default",
			Name:      "e",
		},
		InvolvedObject: corev1.ObjectReference{UID: "1"},
		Reason:         string(policy.ReasonSwitchOff),
		Message:        "the switch is off\n",
	})
	w, _ := newWorld("", client)
	message, err := w.eventMessage(t.Context(), pod, policy.ReasonSwitchOff)
	require.NoError(t, err)
	assert.Equal(t, "the switch is off", message)
	message, err = w.eventMessage(t.Context(), pod, policy.ReasonHostPath)
	require.NoError(t, err)
	assert.Empty(t, message)
}

func TestAwaitReportsTheLastObservation(t *testing.T) {
	w, _ := newWorld("", fake.NewClientset())
	calls := 0
	require.NoError(t, w.await(t.Context(), "the check", func(context.Context) (bool, string, error) {
		calls++
		return calls == 2, "no", nil
	}))
	ctx, cancel := context.WithCancelCause(t.Context())
	err := w.await(ctx, "the check", func(context.Context) (bool, string, error) {
		defer cancel(errors.New("interrupted"))
		return false, "3 of 4", nil
	})
	assert.EqualError(t, err, "waiting for the check: interrupted; last seen: 3 of 4")
}

// replaced returns a cloud Pod with volumes, and mounts of the first container.
func replaced(size string, mounts ...corev1.VolumeMount) corev1.Pod {
	limit := resource.MustParse(size)
	volume := corev1.Volume{Name: "log"}
	volume.EmptyDir = &corev1.EmptyDirVolumeSource{SizeLimit: &limit}
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: corev1.PodSpec{
		Volumes: []corev1.Volume{
			{Name: "kube-api-access-x"},
			volume,
		},
		Containers: []corev1.Container{{VolumeMounts: mounts}},
	}}
}

func TestReplacedVolumesAreChecked(t *testing.T) {
	token := corev1.VolumeMount{Name: "kube-api-access-x", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}
	log := corev1.VolumeMount{Name: "log", MountPath: "/tmp/log"}
	for name, test := range map[string]struct {
		pod  corev1.Pod
		want string
	}{
		"an emptyDir with its mount": {replaced("10Gi", token, log), ""},
		"another size":               {replaced("1Gi", log), "want an emptyDir of 10Gi"},
		"no mount":                   {replaced("10Gi", token), "want only /tmp/log"},
		"no volume":                  {corev1.Pod{}, "want one"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkReplaced(test.pod)
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestAddTKESchedulerCopiesTheProfile(t *testing.T) {
	configuration := &schedulerv1.KubeSchedulerConfiguration{Profiles: []schedulerv1.KubeSchedulerProfile{{
		SchedulerName: new("default-scheduler"), PercentageOfNodesToScore: new(int32(100)),
	}}}
	AddTKEScheduler(configuration)
	require.Len(t, configuration.Profiles, 2)
	assert.Equal(t, "default-scheduler", *configuration.Profiles[0].SchedulerName)
	assert.Equal(t, TKEScheduler, *configuration.Profiles[1].SchedulerName)
	assert.EqualValues(t, 100, *configuration.Profiles[1].PercentageOfNodesToScore)
}

func TestSharedNamesAreCounted(t *testing.T) {
	assert.Equal(t, 2, shared([]string{"a", "b", "cc"}, []string{"cc", "a", "ab"}))
	assert.Zero(t, shared([]string{"a"}, nil))
}

func TestTheWatcherCountsPodsThatAreReady(t *testing.T) {
	watcher := newLocalWatcher()
	watcher.note(onNode("a", "virtual-node-cci-0", corev1.PodRunning), false)
	watcher.note(onNode("b", "virtual-node-cci-0", corev1.PodRunning), false)
	watcher.fewestReadyPods = len(watcher.ready)
	watcher.observe(onNode("c", "", corev1.PodPending), false)
	assert.Equal(t, 2, watcher.fewestReady())
	assert.Equal(t, 3, watcher.mostActive())
	watcher.observe(onNode("c", "local-0", corev1.PodRunning), false)
	watcher.observe(deleted(onNode("a", "virtual-node-cci-0", corev1.PodRunning)), false)
	assert.Equal(t, 2, watcher.fewestReady(), "the successor came first")
	watcher.observe(onNode("b", "virtual-node-cci-0", corev1.PodRunning), true)
	assert.Equal(t, 1, watcher.fewestReady())
	assert.Equal(t, 3, watcher.mostActive())
}
