package ccisim_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func TestLogOptions(t *testing.T) {
	clock := testclock.NewFakeClock(time.Now().Truncate(time.Second))
	b := newEnv(t, func(c *ccisim.Config) { c.Clock = clock })
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces", namespaceBody("ns"))
	b.want(http.StatusCreated, "POST", "/apis/yangtse/v2/namespaces/ns/networks", networkBody("net", "subnet-1"))
	b.createPod("web", withAnnotations(behavior+"log-lines", "0"))
	b.eventually(func() bool {
		clock.Step(10 * time.Millisecond)
		return b.pod("web").Status.Phase == "Running"
	}, "the Pod runs")
	require.NoError(t, b.sim.AppendLog("ns", "web", "web", "old"))
	old := clock.Now()
	clock.Step(10 * time.Second)
	require.NoError(t, b.sim.AppendLog("ns", "web", "web", "new 1\nnew 2\n"))
	fresh := clock.Now()
	stamp := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	cases := map[string]struct {
		query string
		want  string
	}{
		"the whole log":                     {"", "old\nnew 1\nnew 2\n"},
		"the container by name":             {"container=web", "old\nnew 1\nnew 2\n"},
		"the last two":                      {"tailLines=2", "new 1\nnew 2\n"},
		"no line":                           {"tailLines=0", ""},
		"more lines than there are":         {"tailLines=9", "old\nnew 1\nnew 2\n"},
		"the last seconds":                  {"sinceSeconds=5", "new 1\nnew 2\n"},
		"the last line of the last seconds": {"sinceSeconds=5&tailLines=1", "new 2\n"},
		"five bytes":                        {"limitBytes=5", "old\nn"},
		"with timestamps":                   {"timestamps=true&tailLines=1", stamp(fresh) + " new 2\n"},
		"all with timestamps": {
			"timestamps=1", stamp(old) + " old\n" + stamp(fresh) + " new 1\n" + stamp(fresh) + " new 2\n",
		},
		"options that are false":        {"follow=false&timestamps=false&previous=false", "old\nnew 1\nnew 2\n"},
		"an unlisted option is ignored": {"sinceTime=2020-01-01T00:00:00Z", "old\nnew 1\nnew 2\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := b.want(http.StatusOK, "GET", podsPath+"/web/log?"+tc.query, nil)
			assert.Equal(t, tc.want, string(a.body))
			assert.Equal(t, "text/plain", a.header.Get("Content-Type"))
		})
	}
	assert.Equal(t, []ccisim.DroppedField{{Verb: "log", Resource: "pods/log", Namespace: "ns", Name: "web",
		Field: "query.sinceTime"}}, b.sim.DroppedFields())
	for _, query := range []string{"tailLines=-1", "limitBytes=0", "sinceSeconds=0", "tailLines=x"} {
		status, _ := b.want(http.StatusUnprocessableEntity, "GET", podsPath+"/web/log?"+query, nil).statusBody(t)
		assert.Equal(t, metav1.StatusReasonInvalid, status.Reason)
	}
	assert.Equal(t, 12, b.sim.CountRequests("log", "pods/log", http.StatusOK))
}

func TestLogErrors(t *testing.T) {
	b := newNamespaceEnv(t, func(c *ccisim.Config) { c.StartDelay = 300 * time.Millisecond })
	two := []object{
		{"name": "a", "image": "x", "resources": object{"limits": object{"cpu": "1", "memory": "1Gi"}}}, {"name": "b",
			"image": "x"},
	}
	b.createPod("two", withSpec("containers", two), withSpec("initContainers", []object{{"name": "first", "image": "x"}}))
	b.createPod("unpulled", withContainer("image", "registry/missing"))
	_, err := b.sim.AddFault(ccisim.Fault{Kind: ccisim.SoldOut, Path: "/unplaced$"})
	require.NoError(t, err)
	b.createPod("unplaced")
	b.untilPod("two", "has a node", func(pod *ccisim.Pod) bool { return pod.Spec.NodeName != "" })
	refusal := func(target string, want int) string {
		status, _ := b.want(want, "GET", target, nil).statusBody(t)
		return status.Message
	}
	assert.Equal(t, "a container name must be specified for pod two, choose one of: [a b] "+
		"or one of the init containers: [first]", refusal(podsPath+"/two/log", 400))
	assert.Equal(t, "container c is not valid for pod two", refusal(podsPath+"/two/log?container=c", 400))
	assert.Equal(t, `container "a" in pod "two" is waiting to start: PodInitializing`,
		refusal(podsPath+"/two/log?container=a", 400))
	assert.Equal(t, "pod unplaced does not have a host assigned", refusal(podsPath+"/unplaced/log", 400))
	assert.Contains(t, refusal(podsPath+"/none/log", 404), `"none" not found`)
	assert.Contains(t, refusal("/apis/cci/v2/namespaces/none/pods/two/log", 404), `"none" not found`)
	b.untilPod("unpulled", "backs off", func(pod *ccisim.Pod) bool {
		return len(pod.Status.ContainerStatuses) == 1 &&
			pod.Status.ContainerStatuses[0].State.Waiting.Reason == "ImagePullBackOff"
	})
	assert.Equal(t, `container "web" in pod "unpulled" is waiting to start: trying and failing to pull image`,
		refusal(podsPath+"/unpulled/log", 400))
	b.untilPhase("two", "Running")
	assert.Equal(t, `previous terminated container "a" in pod "two" not found`,
		refusal(podsPath+"/two/log?container=a&previous=true", 400))
	assert.Contains(t, string(b.want(200, "GET", podsPath+"/two/log?container=first", nil).body), "ended with 0")
}

func TestPreviousLog(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web", withAnnotations(behavior+"log-lines", "3"))
	b.untilPhase("web", "Running")
	require.NoError(t, b.sim.AppendLog("ns", "web", "web", "of the first run"))
	require.NoError(t, b.sim.FinishContainer("ns", "web", "web", 2))
	b.untilPod("web", "has restarted", func(pod *ccisim.Pod) bool {
		return pod.Status.ContainerStatuses[0].RestartCount == 1
	})
	previous := lines(b.want(200, "GET", podsPath+"/web/log?previous=true", nil).body)
	require.Len(t, previous, 5)
	assert.Equal(t, "ccisim: container web of ns/web runs registry/nginx:1.27 (line 3 of 3)", previous[2])
	assert.Equal(t, "of the first run", previous[3])
	assert.Equal(t, "ccisim: container web ended with 2", previous[4])
	assert.Len(t, lines(b.want(200, "GET", podsPath+"/web/log", nil).body), 3)
}

// follow requests a log with follow=true.
func (b *env) follow(query string) (*bufio.Reader, context.CancelFunc) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	b.t.Cleanup(cancel)
	response, err := http.DefaultClient.Do(b.signed(ctx, "GET", podsPath+"/web/log?follow=true&"+query, nil, nil))
	require.NoError(b.t, err)
	require.Equal(b.t, http.StatusOK, response.StatusCode)
	b.t.Cleanup(func() { _ = response.Body.Close() })
	return bufio.NewReader(response.Body), cancel
}

func TestFollowLog(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web")
	b.untilPhase("web", "Running")
	log, _ := b.follow("tailLines=0")
	limited, _ := b.follow("tailLines=0&limitBytes=12")
	left, leave := b.follow("tailLines=0")
	leave()
	_, err := left.ReadString('\n')
	require.ErrorIs(t, err, context.Canceled)
	for _, text := range []string{"one", "two", "three"} {
		require.Equal(t, http.StatusNoContent, b.admin("POST", "/namespaces/ns/pods/web/containers/web/log", text).status)
		line, err := log.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, text+"\n", line)
	}
	some, err := io.ReadAll(limited)
	require.NoError(t, err)
	assert.Equal(t, "one\ntwo\nthre", string(some))
	b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=0", nil)
	rest, err := io.ReadAll(log)
	require.NoError(t, err, "the log ends with the container")
	assert.Equal(t, "ccisim: container web ended with 137\n", string(rest))
	assert.Equal(t, http.StatusConflict, b.admin("POST", "/namespaces/ns/pods/web/containers/web/log", "late").status)
}

func TestLogIsBounded(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web", withAnnotations(behavior+"log-lines", "0"))
	b.untilPhase("web", "Running")
	log, _ := b.follow("tailLines=0")
	chunk := strings.Repeat("x\n", 900)
	for range 15 {
		require.NoError(t, b.sim.AppendLog("ns", "web", "web", chunk))
		for range 900 {
			line, err := log.ReadString('\n')
			require.NoError(t, err, "a client that follows gets lines that were dropped meanwhile")
			require.Equal(t, "x\n", line)
		}
	}
	kept := len(lines(b.want(200, "GET", podsPath+"/web/log", nil).body))
	assert.Less(t, kept, 10001)
	assert.Greater(t, kept, 4999)
}
