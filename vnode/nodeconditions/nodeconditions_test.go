package nodeconditions

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/node"
)

// note is the result of a request some time before now.
type note struct {
	ago       time.Duration
	operation string
	err       error
}

func TestTheStateOfTheCloudNamespaceIsACondition(t *testing.T) {
	tracker := NewTracker(func() time.Time { return time.Unix(1e9, 0) })
	unusable := func() []condition {
		return slices.DeleteFunc(tracker.conditions(), func(c condition) bool { return c.kind != Unusable })
	}
	assert.Empty(t, unusable(), "it has not been checked: what an earlier process has written stays")
	tracker.NoteCloudNamespace(errors.New("the network has failed " + strings.Repeat("!", maxMessage)))
	shown := unusable()
	require.Len(t, shown, 1)
	assert.True(t, shown[0].holds)
	assert.Equal(t, "CloudNamespaceNotReady", shown[0].reason)
	assert.Len(t, shown[0].message, maxMessage)
	assert.Contains(t, shown[0].message, "the network has failed")
	tracker.NoteCloudNamespace(nil)
	shown = unusable()
	require.Len(t, shown, 1)
	assert.False(t, shown[0].holds)
	assert.Equal(t, "CloudNamespaceReady", shown[0].reason)
}

func TestTheConditionNamesWhatTheRegionLacks(t *testing.T) {
	tracker := NewTracker(time.Now)
	for operation, feature := range map[string]cci.Feature{
		"ListEvents": cci.Events, "ListClaims": cci.Volumes, "ListVolumes": cci.Volumes,
	} {
		tracker.Note(operation, &cci.Error{Kind: cci.NotOffered, Status: 404, Feature: feature})
	}
	shown := slices.DeleteFunc(tracker.conditions(), func(c condition) bool { return c.kind != Lacking })
	assert.Equal(t, []condition{
		{Lacking, true, ReasonNotOffered, "the region does not offer Events of Pods, volumes and claims"},
	}, shown)
}

func TestResultsOfRequestsAreConditions(t *testing.T) {
	arrears := &cci.Error{Kind: cci.Denied, Status: 403, Code: "CCI.01.403009", Message: "arrears"}
	broken := &cci.Error{Kind: cci.Transient, Status: 503, Message: "down"}
	wrongKey := &cci.Error{Kind: cci.Denied, Status: 401, Code: "APIG.0301", Message: "verify aksk signature fail"}
	busy := &cci.Error{Kind: cci.Throttled, Status: 429, Message: "slow down"}
	missing := &cci.Error{Kind: cci.NotFound, Status: 404, Message: "no such pod"}
	noAPI := &cci.Error{Kind: cci.NotOffered, Status: 404, Code: "APIG.0101", Message: "not published"}
	noEvents := &cci.Error{Kind: cci.NotOffered, Status: 404, Feature: cci.Events}
	noVolumes := &cci.Error{Kind: cci.NotOffered, Status: 404, Feature: cci.Volumes}
	for name, test := range map[string]struct {
		notes []note
		want  []string
	}{
		"nothing has happened yet": {},
		"a request succeeds":       {notes: []note{{time.Second, "listPods", nil}}},
		"one kind of request is refused, others are not": {
			[]note{{2 * time.Second, "createPod", arrears}, {time.Second, "listPods", nil}}, []string{"CloudDenied"},
		},
		"the refused request succeeds later": {
			notes: []note{{2 * time.Second, "createPod", arrears}, {time.Second, "createPod", nil}},
		},
		"the key is rejected for everything": {
			[]note{{2 * time.Second, "createPod", wrongKey}, {time.Second, "getPod", wrongKey}}, []string{"CloudDenied"},
		},
		"a key that is valid for one operation is valid for all": {notes: []note{
			{3 * time.Second, "createPod", wrongKey}, {2 * time.Second, "getPod", wrongKey}, {time.Second, "listPods", nil},
		}},
		"an old refusal no longer counts": {notes: []note{{6 * time.Minute, "createPod", arrears}}},
		"throttled a second ago":          {[]note{{time.Second, "createPod", busy}}, []string{"CloudThrottled"}},
		"throttled two minutes ago":       {notes: []note{{2 * time.Minute, "createPod", busy}}},
		"one error does not count":        {notes: []note{{time.Second, "getPod", broken}}},
		"only errors for a minute": {
			[]note{{time.Minute, "getPod", broken}, {time.Second, "listPods", broken}}, []string{"CloudUnavailable"},
		},
		"an answer between errors, even NotFound": {notes: []note{
			{time.Minute, "getPod", broken}, {20 * time.Second, "getPod", missing}, {time.Second, "listPods", broken},
		}},
		"the endpoint has no API for Pods": {[]note{{time.Second, "listPods", noAPI}}, []string{"CloudUnusable"}},
		"the endpoint has it again": {
			notes: []note{{2 * time.Second, "listPods", noAPI}, {time.Second, "listPods", nil}},
		},
		"the region has no Events": {[]note{{time.Second, "listEvents", noEvents}}, []string{"FeaturesMissing"}},
		"the region had no Events an hour ago, and was not asked since": {
			[]note{{time.Hour, "listEvents", noEvents}, {time.Second, "listPods", nil}}, []string{"FeaturesMissing"},
		},
		"the region has Events now": {notes: []note{{time.Hour, "listEvents", noEvents}, {time.Second, "listEvents", nil}}},
		"one answer is enough for all requests of a feature": {notes: []note{
			{time.Hour, "createClaim", noVolumes}, {time.Hour, "listClaims", noVolumes}, {time.Second, "listClaims", nil},
		}},
		"an answer for one feature says nothing about another": {notes: []note{
			{time.Hour, "listEvents", noEvents}, {time.Hour, "listClaims", noVolumes}, {time.Second, "listClaims", nil},
		}, want: []string{"FeaturesMissing"}},
		"a feature is missing while the cloud is down": {notes: []note{
			{time.Minute, "listEvents", noEvents}, {50 * time.Second, "listEvents", broken}, {time.Second, "listEvents", broken},
		}, want: []string{"CloudUnavailable", "FeaturesMissing"}},
		"a canceled request does not count": {
			[]note{{time.Minute, "getPod", broken}, {time.Second, "getPod", context.Canceled}}, []string{"CloudUnavailable"},
		},
		"an error that is not the cloud's does not count": {notes: []note{{time.Minute, "getPod", errors.New("what")}}},
	} {
		t.Run(name, func(t *testing.T) {
			end := time.Unix(1e9, 0)
			now := end
			tracker := NewTracker(func() time.Time { return now })
			for _, n := range test.notes {
				now = end.Add(-n.ago)
				tracker.Note(n.operation, n.err)
			}
			now = end
			var got []string
			for _, c := range tracker.conditions() {
				assert.NotEmpty(t, c.reason)
				assert.NotEmpty(t, c.message)
				if c.holds {
					got = append(got, string(c.kind))
				}
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func TestConditionsAreWrittenWhenTheyChange(t *testing.T) {
	client := fake.NewClientset()
	tracker := NewTracker(func() time.Time { return time.Unix(1e9, 0) })
	nodes := client.CoreV1().Nodes()
	require.NoError(t, tracker.write(t.Context(), "virtual", nodes), "a Node that is not registered is no error")
	_, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "virtual"}},
		metav1.CreateOptions{})
	require.NoError(t, err)

	tracker.NoteCloudNamespace(errors.New("the network has failed"))
	require.NoError(t, tracker.write(t.Context(), "virtual", nodes))
	object, err := nodes.Get(t.Context(), "virtual", metav1.GetOptions{})
	require.NoError(t, err)
	for kind, want := range map[corev1.NodeConditionType]corev1.ConditionStatus{
		Denied: corev1.ConditionFalse, Throttled: corev1.ConditionFalse, Unavailable: corev1.ConditionFalse,
		Unusable: corev1.ConditionTrue, Lacking: corev1.ConditionFalse,
	} {
		found := node.FindCondition(object, kind)
		require.NotNil(t, found, kind)
		assert.Equal(t, want, found.Status, kind)
	}
	client.ClearActions()
	require.NoError(t, tracker.write(t.Context(), "virtual", nodes))
	for _, action := range client.Actions() {
		assert.Equal(t, "get", action.GetVerb(), "nothing has changed")
	}
}

func TestRunRetriesUntilItEnds(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "virtual"}})
	failures := make(chan struct{}, 1)
	client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case failures <- struct{}{}:
			return true, nil, errors.New("the API server is unavailable")
		default:
			return false, nil, nil
		}
	})
	tracker := NewTracker(time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- tracker.Run(ctx, "virtual", client.CoreV1().Nodes(), time.Millisecond, slog.New(slog.DiscardHandler))
	}()
	require.Eventually(t, func() bool {
		object, err := client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("nodes"), "", "virtual")
		return err == nil && node.FindCondition(object.(*corev1.Node), Unavailable) != nil
	}, cloudtest.Timeout, cloudtest.Tick)
	cancel()
	require.NoError(t, <-ended)
}
