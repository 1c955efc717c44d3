package api

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

func TestRoutes(t *testing.T) {
	cases := map[string]struct {
		method, path, verb, label, namespace, name string
		status                                     int
	}{
		"a list":                 {"GET", podsPath, "list", "pods", "ns", "", 0},
		"a watch":                {"GET", podsPath + "?watch=1", "watch", "pods", "ns", "", 0},
		"watch=false is a list":  {"GET", podsPath + "?watch=false", "list", "pods", "ns", "", 0},
		"an object":              {"GET", podsPath + "/web", "get", "pods", "ns", "web", 0},
		"a creation":             {"POST", podsPath, "create", "pods", "ns", "", 0},
		"an update":              {"PUT", podsPath + "/web", "update", "pods", "ns", "web", 0},
		"a patch":                {"PATCH", podsPath + "/web", "patch", "pods", "ns", "web", 0},
		"a deletion":             {"DELETE", podsPath + "/web", "delete", "pods", "ns", "web", 0},
		"a log":                  {"GET", podsPath + "/web/log", "log", "pods/log", "ns", "web", 0},
		"exec with POST":         {"POST", podsPath + "/web/exec", "exec", "pods/exec", "ns", "web", 0},
		"a namespace":            {"GET", "/apis/cci/v2/namespaces/ns", "get", "namespaces", "", "ns", 0},
		"a volume":               {"GET", "/apis/cci/v2/persistentvolumes/v", "get", "persistentvolumes", "", "v", 0},
		"discovery":              {"GET", "/apis/cci/v2", "get", "", "", "", 0},
		"deletecollection":       {"DELETE", podsPath, "deletecollection", "pods", "ns", "", 405},
		"no update of namespace": {"PUT", "/apis/cci/v2/namespaces/ns", "update", "namespaces", "", "ns", 405},
		"pods/status":            {"GET", podsPath + "/web/status", "get", "pods", "ns", "web", 404},
		"an unknown resource":    {"GET", "/apis/cci/v2/namespaces/ns/jobs", "get", "", "ns", "", 404},
		"another group":          {"GET", "/apis/yangtse/v2/namespaces/ns/pods", "get", "", "ns", "", 404},
		"all namespaces":         {"GET", "/apis/cci/v2/pods", "list", "pods", "", "", 400},
		"an empty element":       {"GET", "/apis/cci/v2/namespaces//pods", "get", "", "", "", 404},
	}
	e := newEnv(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := e.server.route(httptest.NewRequest(tc.method, tc.path, nil))
			if tc.status == 0 {
				require.Nil(t, err)
			} else {
				require.NotNil(t, err)
				assert.Equal(t, tc.status, err.status)
			}
			assert.Equal(t, []string{tc.verb, tc.label, tc.namespace, tc.name}, []string{c.verb, c.label(), c.namespace, c.name})
		})
	}
}

func TestRoutesOfCCI1(t *testing.T) {
	e := newEnv(t, func(c *Config, _ *store.Config) { c.Generation = objects.CCI1 })
	for path, want := range map[string]string{
		"/api/v1/namespaces/ns/pods": "pods",
		"/api/v1/pods":               "pods",
		"/apis/networking.cci.io/v1beta1/namespaces/ns/networks":   "networks",
		"/apis/networking.cci.io/v1beta1/namespaces/ns/configmaps": "",
		"/api/v2/namespaces": "",
		"/api/v2":            "",
	} {
		c, err := e.server.route(httptest.NewRequest("GET", path, nil))
		assert.Equal(t, want, c.label(), path)
		assert.Equal(t, want == "", err != nil, path)
	}
}

func TestGatewayAnswersFirst(t *testing.T) {
	e := newEnv(t)
	_, err := e.server.cfg.Faults.Add(faults.Fault{Kind: faults.Throttle})
	require.NoError(t, err)
	cases := map[string]struct {
		token, target string
		want          int
	}{
		"without a valid token":        {"unknown", "/apis/cci/v2/namespaces", 401},
		"then faults":                  {token, "/apis/cci/v2/namespaces", 429},
		"before the path is looked up": {token, "/apis/none/v1", 429},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := e.want(tc.want, "GET", tc.target, "", headerAuthToken, tc.token)
			body := decoded[gatewayError](t, w)
			assert.Regexp(t, "^APIG", body.ErrorCode)
			assert.Equal(t, w.Header().Get("X-Request-Id"), body.RequestID)
		})
	}
	e.server.cfg.Faults.Remove("")
	e.want(404, "GET", "/apis/none/v1", "")
}

func TestErrorsOfFaults(t *testing.T) {
	cases := map[string]struct {
		fault      faults.Fault
		status     int
		retryAfter string
		body       string
	}{
		"throttled": {
			faults.Fault{Kind: faults.Throttle, RatePerSecond: 0.5, RetryAfterSeconds: 7}, 429, "7",
			`"error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:0.5,time:1 second"`,
		},
		"arrears":   {faults.Fault{Kind: faults.Arrears}, 403, "", `"errorCode":"CCI.01.403009"`},
		"no agency": {faults.Fault{Kind: faults.NoAgency}, 403, "", `"errorCode":"CCI.01.403122"`},
		"a server error": {
			faults.Fault{Kind: faults.ServerError}, 500, "", "the service is not able to answer: Internal Server Error",
		},
		"a chosen error": {
			faults.Fault{Kind: faults.ServerError, Status: 503, ErrorCode: "X", Message: "busy", RetryAfterSeconds: 2},
			503, "2", `"message":"busy","reason":"ServiceUnavailable","code":503,"errorCode":"X"`,
		},
		"a web page": {
			faults.Fault{Kind: faults.ServerError, Status: 502, Message: "a < b", HTML: true},
			502, "", "<html><body><h1>a &lt; b</h1></body></html>\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, body, header := refusalOf(&tc.fault).encode("id")
			assert.Equal(t, tc.status, status)
			assert.Equal(t, tc.retryAfter, header.Get("Retry-After"))
			assert.Contains(t, string(body), tc.body)
		})
	}
}

func TestLostResponse(t *testing.T) {
	e := newNamespaceEnv(t)
	_, err := e.server.cfg.Faults.Add(faults.Fault{Kind: faults.LoseAnswer, Verb: "create", Times: 1})
	require.NoError(t, err)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { e.do("POST", podsPath, podBody("web", "")) })
	e.want(http.StatusOK, "GET", podsPath+"/web", "")
	want := []RequestCount{{Verb: "create", Resource: "pods", Code: 201, Lost: true, Count: 1}}
	assert.Contains(t, e.server.cfg.Requests.Counts(), want[0])
}

func TestAPIsThatAreNotPublished(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web", "")
	require.NoError(t, e.server.cfg.Faults.SetPolicies(faults.Policies{Unpublished: []string{"pods/log", "events"}}))
	for _, target := range []string{podsPath + "/web/log?container=c", "/apis/cci/v2/namespaces/ns/events"} {
		body := e.want(http.StatusNotFound, "GET", target, "").Body.String()
		assert.Contains(t, body, `"error_code":"APIG.0101"`)
	}
	e.want(http.StatusOK, "GET", podsPath+"/web", "")
	assert.ErrorContains(t, e.server.cfg.Faults.SetPolicies(faults.Policies{Unpublished: []string{"pod"}}),
		`policies.unpublished[0]: Unsupported value: "pod"`)
}

func TestErrorsWithoutAReason(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web", "")
	for name, tc := range map[string]struct {
		status               int
		method, target, body string
		bare                 bool
	}{
		"an object that does not exist": {http.StatusNotFound, "GET", podsPath + "/none", "", true},
		"a name that is taken":          {http.StatusConflict, "POST", podsPath, podBody("web", ""), true},
		"an invalid object":             {http.StatusUnprocessableEntity, "POST", podsPath, podBody("X", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, e.server.cfg.Faults.SetPolicies(faults.Policies{}))
			assert.Contains(t, e.want(tc.status, tc.method, tc.target, tc.body).Body.String(), `"reason":`)
			require.NoError(t, e.server.cfg.Faults.SetPolicies(faults.Policies{BareErrors: true}))
			body := e.want(tc.status, tc.method, tc.target, tc.body).Body.String()
			assert.Contains(t, body, `"message":`)
			assert.Equal(t, !tc.bare, strings.Contains(body, `"reason":`), body)
			assert.Equal(t, !tc.bare, strings.Contains(body, `"details":`), body)
		})
	}
}

func TestPoliciesOfResources(t *testing.T) {
	const events, volumes = "/apis/cci/v2/namespaces/ns/events", "/apis/cci/v2/persistentvolumes"
	cases := map[string]struct {
		policies faults.Policies
		target   string
		want     int
	}{
		"events can be listed":  {faults.Policies{}, events, 200},
		"but not watched":       {faults.Policies{}, events + "?watch=1", 405},
		"events may be absent":  {faults.Policies{Events: faults.EventsAbsent}, events, 404},
		"volumes exist":         {faults.Policies{}, volumes, 200},
		"volumes may be absent": {faults.Policies{NoVolumes: true}, volumes, 404},
		"pods are always there": {faults.Policies{Events: faults.EventsAbsent, NoVolumes: true}, podsPath, 200},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newNamespaceEnv(t)
			require.NoError(t, e.server.cfg.Faults.SetPolicies(tc.policies))
			e.want(tc.want, "GET", tc.target, "")
		})
	}
}

func TestNewPodHasFieldsOfService(t *testing.T) {
	e := newNamespaceEnv(t)
	pod := e.createPod("web", `,"labels":{"sys_enterprise_project_id":"mine","app":"web"}`)
	assert.Equal(t, "0.50_1.0", pod.Annotations[annotationSize])
	assert.Equal(t, "project-1", pod.Annotations[objects.AnnotationTenant])
	assert.Equal(t, "0", pod.Labels[labelEnterprise])
	assert.Equal(t, "domain-1", pod.Labels[labelDomain])
	assert.Equal(t, "web", pod.Labels["app"])
	assert.Equal(t, []string{objects.PodFinalizer}, pod.Finalizers)
	assert.Equal(t, corev1.PodQOSGuaranteed, pod.Status.QOSClass)
	assert.Equal(t, start, pod.CreationTimestamp.UTC())
	assert.Equal(t, corev1.DNSDefault, pod.Spec.DNSPolicy)
}

func TestCreateErrors(t *testing.T) {
	cases := map[string]struct {
		target, body string
		status       int
		message      string
	}{
		"a name that exists":  {podsPath, podBody("web", ""), 409, "already exists"},
		"a missing namespace": {"/apis/cci/v2/namespaces/none/pods", podBody("x", ""), 404, `"none" not found`},
		"another namespace":   {podsPath, podBody("x", `,"namespace":"other"`), 400, "other is not ns"},
		"not JSON":            {podsPath, "{", 400, "is not a JSON object"},
		"another kind":        {podsPath, `{"apiVersion":"v1","kind":"Pod"}`, 400, "cci/v2 and Pod are right"},
		"an invalid name":     {podsPath, podBody("X", ""), 422, "metadata.name"},
		"an invalid behavior": {
			podsPath, podBody("x", `,"annotations":{"ccisim.spillway.io/exit-code":"x"}`), 400, "exit-code",
		},
		"an invalid name of a namespace": {
			"/apis/cci/v2/namespaces", `{"apiVersion":"cci/v2","kind":"Namespace","metadata":{"name":"a.b"}}`, 422, "a.b",
		},
	}
	e := newNamespaceEnv(t)
	e.createPod("web", "")
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, e.message(e.want(tc.status, "POST", tc.target, tc.body)), tc.message)
		})
	}
	e.want(http.StatusUnsupportedMediaType, "POST", podsPath, podBody("x", ""), "Content-Type", "application/yaml")
}

func TestTerminatingNamespaceAcceptsNothing(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web", `,"finalizers":[]`)
	e.want(http.StatusOK, "DELETE", "/apis/cci/v2/namespaces/ns", "")
	message := e.message(e.want(http.StatusForbidden, "POST", podsPath, podBody("late", "")))
	assert.Contains(t, message, "because it is being terminated")
}

func TestUpdates(t *testing.T) {
	const merge = "application/merge-patch+json"
	cases := map[string]struct {
		contentType, body string
		want              int
	}{
		"a label":                {merge, `{"metadata":{"labels":{"a":"b"}}}`, 200},
		"a strategic patch":      {strategicPatchType, `{"spec":{"containers":[{"name":"web","image":"x"}]}}`, 200},
		"a JSON patch":           {jsonPatchType, `[{"op":"add","path":"/metadata/labels/x","value":"y"}]`, 200},
		"a failed test":          {jsonPatchType, `[{"op":"test","path":"/metadata/name","value":"y"}]`, 422},
		"an immutable field":     {merge, `{"spec":{"hostname":"x"}}`, 422},
		"an old version":         {merge, `{"metadata":{"resourceVersion":"1"}}`, 409},
		"another UID":            {merge, `{"metadata":{"uid":"x"}}`, 409},
		"an unknown kind":        {"application/apply-patch+yaml", `{}`, 415},
		"an invalid patch":       {merge, `{`, 400},
		"the server's finalizer": {merge, `{"metadata":{"finalizers":null}}`, 200},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newNamespaceEnv(t)
			e.createPod("web", `,"labels":{"app":"web"}`)
			e.want(tc.want, "PATCH", podsPath+"/web", tc.body, "Content-Type", tc.contentType)
			pod := decoded[objects.Pod](t, e.want(200, "GET", podsPath+"/web", ""))
			assert.Equal(t, []string{objects.PodFinalizer}, pod.Finalizers)
		})
	}
}

func TestUpdateWithoutDifferenceMakesNoVersion(t *testing.T) {
	e := newNamespaceEnv(t)
	created := e.createPod("web", `,"labels":{"app":"web"}`)
	w := e.want(200, "PATCH", podsPath+"/web", `{"metadata":{"labels":{"app":"web"}}}`, "Content-Type", mergePatchType)
	assert.Equal(t, created.ResourceVersion, decoded[objects.Pod](t, w).ResourceVersion)
}

func TestDeleteOptions(t *testing.T) {
	cases := map[string]struct {
		query, body string
		status      int
		grace       int64
	}{
		"the grace period of the Pod": {"", "", 200, 30},
		"of the query":                {"?gracePeriodSeconds=7", "", 200, 7},
		"of the body, which wins":     {"?gracePeriodSeconds=7", `{"gracePeriodSeconds":9}`, 200, 9},
		"a negative period is 1":      {"?gracePeriodSeconds=-5", "", 200, 1},
		"an invalid period":           {"?gracePeriodSeconds=soon", "", 400, 0},
		"an invalid body":             {"", "soon", 400, 0},
		"a dry run":                   {"?dryRun=All", "", 200, 0},
		"another UID":                 {"", `{"preconditions":{"uid":"x"}}`, 409, 0},
		"another version":             {"", `{"preconditions":{"resourceVersion":"1"}}`, 409, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newNamespaceEnv(t)
			e.createPod("web", "")
			e.want(tc.status, "DELETE", podsPath+"/web"+tc.query, tc.body)
			pod := decoded[objects.Pod](t, e.want(200, "GET", podsPath+"/web", ""))
			if tc.grace == 0 {
				assert.Nil(t, pod.DeletionTimestamp)
				return
			}
			assert.Equal(t, start.Add(time.Duration(tc.grace)*time.Second), pod.DeletionTimestamp.UTC())
		})
	}
}

func TestPages(t *testing.T) {
	e := newNamespaceEnv(t)
	for _, name := range []string{"c", "a", "b"} {
		e.createPod(name, "")
	}
	type list struct {
		Metadata metav1.ListMeta
		Items    []objects.Pod
	}
	first := decoded[list](t, e.want(200, "GET", podsPath+"?limit=2", ""))
	e.createPod("aa", "")
	second := decoded[list](t, e.want(200, "GET", podsPath+"?limit=2&continue="+first.Metadata.Continue, ""))
	assert.Equal(t, []string{"a", "b", "c"}, []string{first.Items[0].Name, first.Items[1].Name, second.Items[0].Name})
	assert.Equal(t, int64(1), *first.Metadata.RemainingItemCount)
	assert.Equal(t, first.Metadata.ResourceVersion, second.Metadata.ResourceVersion)
	e.server.store.Compact()
	e.want(http.StatusGone, "GET", podsPath+"?limit=2&continue="+first.Metadata.Continue, "")
	e.want(http.StatusBadRequest, "GET", podsPath+"?continue=x", "")
	e.want(http.StatusBadRequest, "GET", podsPath+"?limit=-1", "")
	e.want(http.StatusGatewayTimeout, "GET", podsPath+"?resourceVersion=1000", "")
	e.want(http.StatusGone, "GET", podsPath+"?resourceVersionMatch=Exact&resourceVersion=1", "")
}

func TestSelectors(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("one", `,"labels":{"app":"web"}`)
	e.createPod("two", `,"labels":{"app":"web","tier":"x"}`)
	e.createPod("three", "")
	for query, want := range map[string][]string{
		"labelSelector=app%3Dweb":                                {"one", "two"},
		"labelSelector=app,%21tier":                              {"one"},
		"fieldSelector=metadata.name%3Dthree":                    {"three"},
		"fieldSelector=metadata.namespace%3Dother":               nil,
		"labelSelector=app&fieldSelector=metadata.name%21%3Done": {"two"},
	} {
		t.Run(query, func(t *testing.T) {
			list := decoded[struct{ Items []objects.Pod }](t, e.want(200, "GET", podsPath+"?"+query, ""))
			var names []string
			for _, pod := range list.Items {
				names = append(names, pod.Name)
			}
			assert.Equal(t, want, names)
		})
	}
	e.want(http.StatusBadRequest, "GET", podsPath+"?fieldSelector=status.phase%3DRunning", "")
	e.want(http.StatusBadRequest, "GET", podsPath+"?labelSelector=%28%28", "")
}

// watch opens a watch on a listener, and returns its lines.
func (e *env) watch(target string) *bufio.Scanner {
	e.t.Helper()
	server := httptest.NewServer(e.server)
	e.t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	e.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+target, nil)
	require.NoError(e.t, err)
	r.Header.Set(headerAuthToken, token)
	response, err := http.DefaultClient.Do(r)
	require.NoError(e.t, err)
	e.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(e.t, http.StatusOK, response.StatusCode)
	return bufio.NewScanner(response.Body)
}

func TestWatchSendsBookmarksAndTimesOut(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web", "")
	lines := e.watch(podsPath + "?watch=1&allowWatchBookmarks=true&timeoutSeconds=90")
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), `{"type":"ADDED","object":{"kind":"Pod"`)
	require.Eventually(t, e.clock.HasWaiters, time.Minute, time.Millisecond)
	e.clock.Step(time.Minute)
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), `{"type":"BOOKMARK"`)
	e.clock.Step(30 * time.Second)
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), `{"type":"BOOKMARK"`)
	assert.False(t, lines.Scan(), "the watch has timed out")
	assert.NoError(t, lines.Err())
}

func TestLogOfPodWithoutNode(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web", "")
	e.step(time.Second)
	for query, want := range map[string]string{
		"":                 "pod web does not have a host assigned",
		"?container=x":     "container x is not valid for pod web",
		"?previous=true":   `previous terminated container "web" in pod "web" not found`,
		"?unknown=ignored": "pod web does not have a host assigned",
	} {
		assert.Equal(t, want, e.message(e.want(http.StatusBadRequest, "GET", podsPath+"/web/log"+query, "")))
	}
	e.want(http.StatusUnprocessableEntity, "GET", podsPath+"/web/log?tailLines=-1", "")
	e.want(http.StatusNotFound, "GET", podsPath+"/none/log", "")
	want := DroppedField{Verb: "log", Resource: "pods/log", Namespace: "ns", Name: "web", Field: "query.unknown"}
	assert.Equal(t, []DroppedField{want}, e.server.cfg.Requests.DroppedFields())
}

func TestExecErrors(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web", "")
	w := e.want(http.StatusUnauthorized, "GET", podsPath+"/web/exec?command=ls", "", headerAuthToken, "")
	assert.Contains(t, w.Body.String(), "APIG.0301")
	message := e.message(e.want(http.StatusBadRequest, "GET", podsPath+"/web/exec?command=ls&stdout=1", ""))
	assert.Equal(t, "container web of pod web is not running", message)
}

func TestImageSnapshotPod(t *testing.T) {
	e := newNamespaceEnv(t)
	name, err := e.server.AddImageSnapshotPod("ns")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(name, "cci-imagesnapshot-"))
	e.want(http.StatusOK, "GET", podsPath+"/"+name, "")
	_, err = e.server.AddImageSnapshotPod("none")
	assert.ErrorContains(t, err, "namespace none is not active")
}
