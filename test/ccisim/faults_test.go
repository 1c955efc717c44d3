package ccisim_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func (b *env) fault(f ccisim.Fault) ccisim.Fault {
	b.t.Helper()
	added, err := b.sim.AddFault(f)
	require.NoError(b.t, err)
	return added
}

func TestRefusingFaults(t *testing.T) {
	cases := map[string]struct {
		fault      ccisim.Fault
		status     int
		code       string
		retryAfter string
		gateway    bool
	}{
		"throttled":         {ccisim.Fault{Kind: ccisim.Throttle, RetryAfterSeconds: 7}, 429, "APIG.0308", "7", true},
		"throttled for 1 s": {ccisim.Fault{Kind: ccisim.Throttle}, 429, "APIG.0308", "1", true},
		"a server error":    {ccisim.Fault{Kind: ccisim.ServerError}, 500, "", "", false},
		"a server error with a message": {
			ccisim.Fault{Kind: ccisim.ServerError, Status: 503, RetryAfterSeconds: 3, Message: "busy"}, 503, "", "3", false,
		},
		"no capacity": {
			ccisim.Fault{Kind: ccisim.ServerError, Status: 400, ErrorCode: "CCI.02.400116",
				Message: "NoAllocatedCluster"}, 400, "CCI.02.400116", "", false,
		},
		"arrears":   {ccisim.Fault{Kind: ccisim.Arrears}, 403, "CCI.01.403009", "", false},
		"no agency": {ccisim.Fault{Kind: ccisim.NoAgency}, 403, "CCI.01.403122", "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t)
			tc.fault.Verb, tc.fault.Path, tc.fault.Times = "create", "/pods$", 2
			b.fault(tc.fault)
			b.want(http.StatusOK, "GET", podsPath, nil)
			for range 2 {
				a := b.want(tc.status, "POST", podsPath, podBody("web"))
				assert.Equal(t, tc.retryAfter, a.header.Get("Retry-After"))
				if tc.gateway {
					var body map[string]string
					require.NoError(t, json.Unmarshal(a.body, &body))
					assert.Equal(t, tc.code, body["error_code"])
					assert.Contains(t, body["error_msg"], "The throttling threshold has been reached")
					continue
				}
				status, code := a.statusBody(t)
				assert.Equal(t, tc.code, code)
				assert.Equal(t, int32(tc.status), status.Code)
			}
			assert.Empty(t, b.sim.Faults(), "the fault has removed itself")
			assert.Empty(t, b.sim.PodsEver(), "a refused request has no effect")
			b.createPod("web")
		})
	}
}

func TestErrorAsWebPage(t *testing.T) {
	b := newEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.ServerError, Status: 502, HTML: true, Message: "a < b"})
	a := b.want(http.StatusBadGateway, "GET", "/apis/cci/v2/namespaces", nil)
	assert.Equal(t, "text/html", a.header.Get("Content-Type"))
	assert.Equal(t, "<html><body><h1>a &lt; b</h1></body></html>\n", string(a.body))
}

func TestRateLimit(t *testing.T) {
	b := newNamespaceEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.Throttle, RatePerSecond: 0.001, Burst: 3})
	got := map[int]int{}
	for range 10 {
		got[b.do("GET", podsPath, nil).status]++
	}
	assert.Equal(t, map[int]int{200: 3, 429: 7}, got)
	b.sim.ResetFaults()
	b.want(http.StatusOK, "GET", podsPath, nil)
}

func TestAuthenticationPrecedesFaults(t *testing.T) {
	b := newEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.ServerError})
	b.credential.SecretKey = "guessed"
	assert.Equal(t, http.StatusUnauthorized, b.do("GET", "/apis/cci/v2/namespaces", nil).status)
}

func TestLatency(t *testing.T) {
	b := newNamespaceEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.Latency, Verb: "list", Times: 1,
		Delay: metav1.Duration{Duration: 300 * time.Millisecond}})
	begin := time.Now()
	b.want(http.StatusOK, "GET", podsPath, nil)
	assert.GreaterOrEqual(t, time.Since(begin), 300*time.Millisecond)
	assert.Empty(t, b.sim.Faults())
}

func TestLostResponse(t *testing.T) {
	b := newNamespaceEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Times: 1})
	a := b.do("POST", podsPath, podBody("web"))
	require.Error(t, a.err, "there is no response")
	require.Len(t, b.sim.PodsEver(), 1, "the Pod was created")
	b.want(http.StatusConflict, "POST", podsPath, podBody("web"))
	b.untilPhase("web", "Running")
	assert.Len(t, b.sim.PodsEver(), 1)
	var lost []ccisim.RequestCount
	for _, request := range b.sim.Requests() {
		if request.Lost {
			lost = append(lost, request)
		}
	}
	assert.Equal(t, []ccisim.RequestCount{{Verb: "create", Resource: "pods", Code: 201, Lost: true, Count: 1}}, lost)
}

func TestHalfBody(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web")
	b.fault(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "list", Times: 1})
	a := b.do("GET", podsPath, nil)
	assert.ErrorIs(t, a.err, io.ErrUnexpectedEOF)
	assert.NotEmpty(t, a.body)
	b.want(http.StatusOK, "GET", podsPath, nil)

	meta, _ := b.list(podsPath)
	w := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
	b.createPod("first")
	w.until("ADDED", "first")
	b.untilPhase("first", "Running")
	b.fault(ccisim.Fault{Kind: ccisim.HalfBody, Verb: "watch", Times: 1})
	b.createPod("second")
	assert.ErrorIs(t, w.ended(), io.ErrUnexpectedEOF)
	for len(w.events) > 0 {
		assert.NotEqual(t, "second", (<-w.events).Object.Metadata.Name)
	}
}

func TestDuplicateEvents(t *testing.T) {
	b := newNamespaceEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.DuplicateEvents, Path: "/namespaces/ns/pods$"})
	meta, _ := b.list(podsPath)
	w := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
	b.createPod("web")
	first, second := w.next(), w.next()
	assert.Equal(t, first, second)
	assert.Equal(t, "ADDED web", first.String())
}

func TestCutWatches(t *testing.T) {
	for name, tc := range map[string]struct {
		query string
		check func(t *testing.T, err error)
	}{
		"properly": {"", func(t *testing.T, err error) { assert.Equal(t, io.EOF, err) }},
		"abruptly": {
			"?abrupt=1", func(t *testing.T, err error) { assert.True(t, errors.Is(err, io.ErrUnexpectedEOF), "%v", err) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t)
			one, two := b.watch(podsPath+"?watch=1"), b.watch("/apis/cci/v2/namespaces?watch=1")
			assert.Equal(t, "ADDED ns", two.next().String())
			require.Equal(t, http.StatusNoContent, b.admin("POST", "/watches/cut"+tc.query, nil).status)
			tc.check(t, one.ended())
			tc.check(t, two.ended())
			meta, _ := b.list(podsPath)
			after := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
			b.createPod("web")
			assert.Equal(t, "ADDED web", after.next().String())
		})
	}
}

func TestSoldOut(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("before")
	b.untilPhase("before", "Running")
	fault := b.fault(ccisim.Fault{Kind: ccisim.SoldOut})
	b.createPod("web")
	pod := b.untilPod("web", "is unschedulable", func(pod *ccisim.Pod) bool {
		return condition(pod, corev1.PodScheduled).Status == corev1.ConditionFalse
	})
	assert.Equal(t, corev1.PodPending, pod.Status.Phase)
	assert.Equal(t, "Unschedulable", condition(pod, corev1.PodScheduled).Reason)
	assert.NotEmpty(t, condition(pod, corev1.PodScheduled).Message)
	assert.Empty(t, pod.Status.ContainerStatuses, "no container status without a node")
	assert.Equal(t, []string{"FailedScheduling"}, b.eventReasons("web"))
	assert.Equal(t, corev1.PodRunning, b.pod("before").Status.Phase)
	assert.True(t, b.sim.RemoveFault(fault.ID))
	pod = b.untilPhase("web", "Running")
	assert.Equal(t, corev1.ConditionTrue, condition(pod, corev1.PodScheduled).Status)
}

func TestIPInsufficient(t *testing.T) {
	b := newNamespaceEnv(t)
	fault := b.fault(ccisim.Fault{Kind: ccisim.IPInsufficient, Path: "/namespaces/ns/networks/net$"})
	var network ccisim.Network
	status := func() string {
		b.get("/apis/yangtse/v2/namespaces/ns/networks/net", &network)
		return network.Status.Status
	}
	b.eventually(func() bool { return status() == "IPInsufficient" }, "the network is IPInsufficient")
	b.createPod("web")
	b.eventually(func() bool { return len(b.eventReasons("web")) == 1 }, "the Pod has an event")
	assert.Equal(t, []string{"NetworkNotReady"}, b.eventReasons("web"))
	assert.Empty(t, b.pod("web").Status.Conditions)
	require.Equal(t, http.StatusNoContent, b.admin("DELETE", "/faults/"+fault.ID, nil).status)
	b.untilPhase("web", "Running")
	assert.Equal(t, "Ready", status())
}

func TestImagePullFault(t *testing.T) {
	b := newNamespaceEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.ImagePull, Path: "/pods/web$"})
	b.createPod("web")
	b.createPod("other")
	b.untilPhase("other", "Running")
	b.untilPod("web", "backs off", func(pod *ccisim.Pod) bool {
		return len(pod.Status.ContainerStatuses) == 1 &&
			pod.Status.ContainerStatuses[0].State.Waiting.Reason == "ImagePullBackOff"
	})
	b.sim.ResetFaults()
	b.untilPhase("web", "Running")
}

func TestHoldFinalizer(t *testing.T) {
	b := newNamespaceEnv(t)
	b.fault(ccisim.Fault{Kind: ccisim.HoldFinalizer})
	b.createPod("web")
	b.untilPhase("web", "Running")
	b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=0", nil)
	b.untilPhase("web", "Failed")
	b.createPod("later")
	b.untilPhase("later", "Running")
	b.want(http.StatusOK, "GET", podsPath+"/web", nil)
	b.sim.ResetFaults()
	b.untilGone("web")
}

func TestFaultsOverHTTP(t *testing.T) {
	b := newNamespaceEnv(t)
	bad := map[string]struct {
		body    any
		message string
	}{
		"an unknown kind":  {object{"kind": "meteor"}, `invalid value \"meteor\": must be one of agencyQuota, `},
		"an unknown field": {object{"kind": "soldOut", "colour": "red"}, "colour"},
		"an invalid path":  {object{"kind": "throttle", "path": "("}, "path"},
		"negative times":   {object{"kind": "throttle", "times": -1}, "times: invalid value -1"},
		"latency of zero":  {object{"kind": "latency"}, "delay"},
		"a status that is no error": {
			object{"kind": "serverError", "status": 200}, "status: invalid value 200: must be an error",
		},
		"a limit of a fault of the cloud": {object{"kind": "soldOut", "times": 1}, "lasts until it is removed"},
		"no JSON":                         {"x", "decoding the body"},
	}
	for name, tc := range bad {
		t.Run(name, func(t *testing.T) {
			a := b.admin("POST", "/faults", tc.body)
			assert.Equal(t, http.StatusBadRequest, a.status)
			assert.Contains(t, string(a.body), tc.message)
		})
	}
	var added ccisim.Fault
	a := b.admin("POST", "/faults", object{"kind": "latency", "delay": "1ms", "verb": "list"})
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	require.NoError(t, json.Unmarshal(a.body, &added))
	var list []ccisim.Fault
	require.NoError(t, json.Unmarshal(b.admin("GET", "/faults", nil).body, &list))
	assert.Equal(t, []ccisim.Fault{added}, list)
	assert.Equal(t, time.Millisecond, added.Delay.Duration)
	assert.Equal(t, http.StatusNoContent, b.admin("DELETE", "/faults", nil).status)
	assert.Empty(t, b.sim.Faults())
	assert.Equal(t, http.StatusNotFound, b.admin("DELETE", "/faults/"+added.ID, nil).status)

	a = b.admin("PUT", "/policies", object{"fields": "refuse"})
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	assert.Equal(t, ccisim.Policies{Fields: ccisim.RefuseFields}.WithDefaults(), b.sim.Policies())
	assert.Equal(t, http.StatusBadRequest, b.admin("PUT", "/policies", object{"fields": "keep"}).status)
	assert.Equal(t, http.StatusNotFound, b.admin("GET", "/other", nil).status)
	assert.Equal(t, http.StatusNoContent, b.admin("POST", "/history/compact", nil).status)
}

func TestRecords(t *testing.T) {
	b := newNamespaceEnv(t)
	require.Equal(t, http.StatusNoContent, b.admin("DELETE", "/requests", nil).status)
	b.createPod("web", withSpec("nodeSelector", object{"a": "b"}), withLabels("app", "web"), withAnnotations("k", "v"))
	b.want(http.StatusConflict, "POST", podsPath, podBody("web"))
	b.want(http.StatusOK, "GET", podsPath, nil)
	b.want(http.StatusOK, "GET", podsPath+"?watch=1&timeoutSeconds=1", nil)
	b.want(http.StatusNotFound, "GET", "/apis/cci/v2/namespaces/ns/jobs", nil)
	var requests []ccisim.RequestCount
	require.NoError(t, json.Unmarshal(b.admin("GET", "/requests", nil).body, &requests))
	assert.Equal(t, []ccisim.RequestCount{
		{Verb: "get", Code: 404, Count: 1},
		{Verb: "create", Resource: "pods", Code: 201, Count: 1},
		{Verb: "create", Resource: "pods", Code: 409, Count: 1},
		{Verb: "list", Resource: "pods", Code: 200, Count: 1},
		{Verb: "watch", Resource: "pods", Code: 200, Count: 1},
	}, requests)
	assert.Equal(t, 2, b.sim.CountRequests("create", "pods", 0))
	var dropped []ccisim.DroppedField
	require.NoError(t, json.Unmarshal(b.admin("GET", "/dropped-fields", nil).body, &dropped))
	assert.Equal(t, []ccisim.DroppedField{{Verb: "create", Resource: "pods", Namespace: "ns", Name: "web",
		Field: "spec.nodeSelector"}}, dropped)
	var pods []ccisim.PodRecord
	require.NoError(t, json.Unmarshal(b.admin("GET", "/pods", nil).body, &pods))
	require.Len(t, pods, 1)
	assert.Equal(t, "web", pods[0].Labels["app"])
	assert.Equal(t, "v", pods[0].Annotations["k"])
	assert.False(t, pods[0].Created.IsZero())
}
