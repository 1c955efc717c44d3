package podcachetest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/admission/controllers/podcache"
	"github.com/spillway-k8s/spillway/admission/controllers/podcachetest"
	"github.com/spillway-k8s/spillway/internal/evaluation"
)

func TestPodsAreInTheCacheAndInTheAPI(t *testing.T) {
	waiting := podcachetest.WaitingPod()
	client, cached := podcachetest.Pods(t, waiting)
	require.NotNil(t, cached.Get(podcachetest.Web))
	assert.True(t, podcache.IsWaiting(cached.Get(podcachetest.Web)))
	_, err := client.CoreV1().Pods(waiting.Namespace).Get(t.Context(), waiting.Name, metav1.GetOptions{})
	require.NoError(t, err)

	running := podcachetest.RunningPod("local-0")
	assert.Equal(t, "local-0", running.Spec.NodeName)
	assert.False(t, podcache.IsWaiting(running))
}

func TestNodesAreVirtualNodesOfSpillwayAndOfOthers(t *testing.T) {
	nodes := podcachetest.Nodes(t, "other")
	assert.True(t, nodes.Has(podcachetest.VirtualNode))
	assert.True(t, nodes.Has("other"))
	assert.False(t, nodes.Has("local-0"))
}

func TestAPartRunsUntilItIsStopped(t *testing.T) {
	running := make(chan struct{})
	stop := podcachetest.Run(t, func(ctx context.Context) error {
		close(running)
		<-ctx.Done()
		return nil
	})
	<-running
	stop()
}

func TestFakesReturnWhatTheyAreGiven(t *testing.T) {
	want := evaluation.Result{}
	got, err := podcachetest.Evaluates(want).Evaluate(t.Context(), podcachetest.WaitingPod())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	annotations := map[string]string{"a": "b"}
	assert.Equal(t, annotations, podcachetest.Owners{Annotations: annotations}.CachedNamespace("shop"))
	assert.True(t, podcachetest.Owners{Malformed: true}.InheritsMalformed(podcachetest.WaitingPod()))
}
