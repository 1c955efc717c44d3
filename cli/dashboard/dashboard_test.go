package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/cli/cost"
	"github.com/spillway-k8s/spillway/cli/dashboard/dashboardtest"
	"github.com/spillway-k8s/spillway/cli/status"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/prices"
)

const key = "secret"

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// newSource returns a source with two virtual nodes and Deployment cart: one Pod local, two in the cloud, one waiting.
func newSource(t *testing.T) *dashboardtest.Source {
	t.Helper()
	source, err := dashboardtest.New()
	require.NoError(t, err)
	source.Change(func(in *status.Input, events *[]*corev1.Event) {
		locked := dashboardtest.Node("virtual-1")
		locked.Spec.Unschedulable = true
		in.Nodes = []*corev1.Node{dashboardtest.Node("virtual-0"), locked}
		for i, node := range []string{"local-0", "virtual-0", "virtual-0", ""} {
			at := start.Add(time.Duration(i) * time.Second)
			in.Pods = append(in.Pods, dashboardtest.Pod("shop", "cart", i, node, "1", at))
		}
		*events = []*corev1.Event{
			dashboardtest.Event("Node", "", "virtual-1", "CloudSoldOut", "The cloud is sold out.", true,
				start.Add(time.Hour)),
		}
	})
	return source
}

// newTestServer returns a server whose waits are short.
func newTestServer(t *testing.T, source Source) *server {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	s := newServer(source, Config{Namespace: "shop", Key: key, Now: time.Now, Done: done})
	s.pollTime, s.sums.minPeriod = 50*time.Millisecond, time.Millisecond
	return s
}

// get sends a request as the page does.
func get(t *testing.T, s *server, path string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, path, nil)
	request.Host = "127.0.0.1:8420"
	request.Header.Set("Authorization", "Bearer "+key)
	answer := httptest.NewRecorder()
	s.handler().ServeHTTP(answer, request)
	return answer
}

func viewOf(t *testing.T, answer *httptest.ResponseRecorder) View {
	t.Helper()
	require.Equal(t, http.StatusOK, answer.Code, answer.Body.String())
	var v View
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &v))
	return v
}

func TestAViewHasWorkloadsNodesAndDecisions(t *testing.T) {
	v := viewOf(t, get(t, newTestServer(t, newSource(t)), "/v1/view"))
	assert.Equal(t, []string{"namespace shop", "shop"}, []string{v.Scope, v.Namespace})
	require.Len(t, v.Workloads, 1)
	cart := v.Workloads[0]
	assert.Equal(t, []any{"shop", "Deployment cart", 1, 2, 1},
		[]any{cart.Namespace, cart.Name, cart.Local, cart.Cloud, cart.Waiting})
	assert.Equal(t, []any{1, 2, 1, "2", "4Gi"},
		[]any{v.Total.Local, v.Total.Cloud, v.Total.Waiting, v.Total.CPU, v.Total.Memory})
	require.Len(t, v.Nodes, 2)
	assert.Equal(t, "virtual-1", v.Nodes[0].Name, "those that take no Pods come first")
	assert.Equal(t, "cordoned by a user", v.Nodes[0].State)
	assert.True(t, v.Nodes[1].Ready)
	assert.Equal(t, []Load{
		{"Pods", "2", "1000", 0}, {"CPU", "2", "100", 2}, {"Memory", "4Gi", "200Gi", 2},
	}, v.Nodes[1].Loads)

	require.Len(t, v.Decisions, 5)
	assert.Equal(t, Decision{
		At: start.Add(time.Hour), Kind: "Node", Name: "virtual-1", Reason: "CloudSoldOut",
		Text: "The cloud is sold out.", Warning: true,
	}, v.Decisions[0])
	assert.Equal(t, Decision{
		At: start.Add(3 * time.Second), Kind: "Pod", Namespace: "shop", Name: "cart-6d5f8c9b7c-00003",
		Workload: "Deployment cart", Reason: "Unschedulable", Place: explain.Waiting,
		Text: "It waits: 0/4 nodes are available: 3 Insufficient cpu, 1 node(s) were unschedulable.",
	}, v.Decisions[1])
	assert.Equal(t, "It was bound to virtual node virtual-0.", v.Decisions[2].Text)
	assert.Equal(t, "It was bound to local node local-0.", v.Decisions[4].Text)
}

// newPrices are those of the tests: 0.3 for a vCPU and 0.1 for a GiB.
func newPrices(t *testing.T) *prices.Table {
	t.Helper()
	table, err := prices.New(prices.Config{
		Currency: "CNY", GeneralComputing: prices.Rates{CoreHour: "0.3", GiBHour: "0.1"},
	})
	require.NoError(t, err)
	return table
}

// The page and "kubectl spillway cost" must not disagree on what is paid.
func TestTheCostOfAViewIsThatOfCost(t *testing.T) {
	source := newSource(t)
	assert.Nil(t, viewOf(t, get(t, newTestServer(t, source), "/v1/view")).Cost, "there are no prices")

	source.Change(func(in *status.Input, _ *[]*corev1.Event) {
		in.Prices = newPrices(t)
		ended := dashboardtest.Pod("shop", "cart", 8, "virtual-0", "1", start)
		ended.Status.Phase = corev1.PodSucceeded
		terminating := dashboardtest.Pod("shop", "cart", 9, "virtual-0", "1", start)
		terminating.DeletionTimestamp = &metav1.Time{Time: start}
		in.Pods = append(in.Pods, ended, terminating, dashboardtest.Pod("lab", "web", 0, "virtual-0", "", start))
	})
	in := source.Status()
	paid := cost.Summarize(cost.Input{
		Policy: in.Policy, Prices: in.Prices, Pods: in.Pods, Virtual: in.Nodes, Workload: in.Workload,
	}).Total
	s := newTestServer(t, source)
	all := viewOf(t, get(t, s, "/v1/view"))
	assert.Equal(t, &Cost{"CNY", "2.0000", "1460.00"}, all.Cost, "4 Pods of 1 vCPU and 2 GiB")
	assert.Equal(t, &Cost{"CNY", paid.Hour(), paid.Month()}, all.Cost)
	assert.Equal(t, paid.PerHour, all.Total.PerHour, "exactly")
	assert.Equal(t, &Cost{"CNY", "0.5000", "365.00"}, viewOf(t, get(t, s, "/v1/view?text=lab")).Cost, "a filter selects")
	assert.Equal(t, &Cost{"CNY", "0.0000", "0.00"}, viewOf(t, get(t, s, "/v1/view?text=none")).Cost)
}

func TestAnAnswerIsBoundedAndAQuerySelects(t *testing.T) {
	source := newSource(t)
	source.Change(func(in *status.Input, events *[]*corev1.Event) {
		for i := range 1000 {
			name := fmt.Sprintf("work-%04d", i)
			in.Pods = append(in.Pods, dashboardtest.Pod("batch", name, 0, "virtual-0", "", start))
			in.Nodes = append(in.Nodes, dashboardtest.Node("node-"+name))
			*events = append(*events,
				dashboardtest.Event("Pod", "batch", name, "R", strings.Repeat("long ", 1000), false, start))
		}
	})
	s := newTestServer(t, source)
	answer := get(t, s, "/v1/view")
	assert.Less(t, answer.Body.Len(), 100_000)
	v := viewOf(t, answer)
	assert.Equal(t, []int{1001, 1001, 1, 21, 50, 60, 942, 40},
		[]int{v.All, v.Matching, v.Page, v.Pages, len(v.Workloads), len(v.Nodes), v.MoreNodes, len(v.Decisions)})
	assert.Equal(t, 1002, v.Total.Cloud, "of all pages")

	for query, want := range map[string]struct{ matching, page, shown int }{
		"page=21":               {1001, 21, 1},
		"page=99":               {1001, 21, 1},
		"page=-1":               {1001, 1, 50},
		"page=x":                {1001, 1, 50},
		"text=CART":             {1, 1, 1},
		"text=batch/":           {1000, 1, 50},
		"text=work-00&page=2":   {100, 2, 50},
		"show=waiting":          {1, 1, 1},
		"show=local":            {1, 1, 1},
		"show=cloud":            {1001, 1, 50},
		"show=waiting&text=wor": {0, 1, 0},
	} {
		t.Run(query, func(t *testing.T) {
			v := viewOf(t, get(t, s, "/v1/view?"+query))
			assert.Equal(t, []int{want.matching, want.page, want.shown}, []int{v.Matching, v.Page, len(v.Workloads)})
		})
	}
}

func TestARequestWaitsForAChange(t *testing.T) {
	source := newSource(t)
	s := newTestServer(t, source)
	first := viewOf(t, get(t, s, "/v1/view"))
	assert.Equal(t, http.StatusNoContent, get(t, s, "/v1/view?after="+first.Version).Code)

	s.pollTime = time.Minute
	answered := make(chan *httptest.ResponseRecorder)
	go func() { answered <- get(t, s, "/v1/view?after="+first.Version) }()
	source.Change(func(*status.Input, *[]*corev1.Event) {}) // Nothing that the page shows.
	select {
	case <-answered:
		t.Fatal("answered without a change")
	case <-time.After(50 * time.Millisecond):
	}
	source.Change(func(in *status.Input, _ *[]*corev1.Event) {
		in.Pods = append(in.Pods, dashboardtest.Pod("shop", "cart", 9, "virtual-0", "1", start))
	})
	second := viewOf(t, <-answered)
	assert.NotEqual(t, first.Version, second.Version)
	assert.Equal(t, 3, second.Total.Cloud)
}

func TestARequestThatWaitsEndsWithTheCommand(t *testing.T) {
	done := make(chan struct{})
	s := newServer(newSource(t), Config{Key: key, Now: time.Now, Done: done})
	first := viewOf(t, get(t, s, "/v1/view"))
	answered := make(chan *httptest.ResponseRecorder)
	go func() { answered <- get(t, s, "/v1/view?after="+first.Version) }()
	close(done)
	assert.Equal(t, http.StatusNoContent, (<-answered).Code)
}

// A cluster in which something changes all the time must not be summed up for each change.
func TestTheSourceIsSummedUpOncePerPeriod(t *testing.T) {
	source, now := &countingSource{Source: newSource(t)}, start
	s := newServer(source, Config{Key: key, Now: func() time.Time { return now }})
	for range 10 {
		source.Change(func(*status.Input, *[]*corev1.Event) {})
		viewOf(t, get(t, s, "/v1/view"))
	}
	assert.Equal(t, 1, source.sums)
	now = now.Add(minPeriod)
	viewOf(t, get(t, s, "/v1/view"))
	viewOf(t, get(t, s, "/v1/view"))
	assert.Equal(t, 2, source.sums)
	now = now.Add(time.Hour)
	viewOf(t, get(t, s, "/v1/view"))
	assert.Equal(t, 2, source.sums, "nothing has changed")

	source.takes = func() { now = now.Add(time.Second) } // A large cluster.
	for range 20 {
		source.Change(func(*status.Input, *[]*corev1.Event) {})
		viewOf(t, get(t, s, "/v1/view"))
		now = now.Add(time.Second)
	}
	assert.Equal(t, 2+5, source.sums, "one second of five")
}

type countingSource struct {
	*dashboardtest.Source
	sums int
	// takes, if it is set, is called for each sum.
	takes func()
}

func (s *countingSource) Status() status.Input {
	s.sums++
	if s.takes != nil {
		s.takes()
	}
	return s.Source.Status()
}

func TestWhyExplainsTheFirstPodsOfAWorkload(t *testing.T) {
	source := newSource(t)
	source.Change(func(in *status.Input, _ *[]*corev1.Event) {
		for i := range 300 {
			in.Pods = append(in.Pods, dashboardtest.Pod("shop", "cart", 100+i, "local-0", "1", start))
		}
	})
	answer := get(t, newTestServer(t, source), "/v1/why?namespace=shop&workload=Deployment+cart")
	require.Equal(t, http.StatusOK, answer.Code)
	assert.Less(t, answer.Body.Len(), 200_000)
	var got Why
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
	assert.Equal(t, []any{"shop", "Deployment cart", 304, maxExplained},
		[]any{got.Namespace, got.Workload, got.Total, len(got.Pods)})
	assert.Len(t, got.Pods[0].Quota.Holders, maxHolders)
	assert.Equal(t, 301, got.Pods[0].Quota.Used)
	assert.NotEmpty(t, got.Pods[0].Steps)
	assert.Equal(t, http.StatusBadRequest, get(t, newTestServer(t, source), "/v1/why?namespace=shop").Code)
}

func TestRequestsOfOthersAreRefused(t *testing.T) {
	s := newTestServer(t, newSource(t))
	for name, test := range map[string]struct {
		want                    int
		path, host, method      string
		authorization, secFetch string
	}{
		"the page":                       {want: http.StatusOK, path: "/"},
		"the page through a tunnel":      {want: http.StatusOK, path: "/", host: "localhost:9999"},
		"the page by IPv6":               {want: http.StatusOK, path: "/", host: "[::1]:8420"},
		"the page by a link":             {want: http.StatusOK, path: "/", secFetch: "cross-site"},
		"another name for this address":  {want: http.StatusMisdirectedRequest, path: "/", host: "evil.example:8420"},
		"a name that begins so":          {want: http.StatusMisdirectedRequest, path: "/", host: "127.0.0.1.evil.com"},
		"no name":                        {want: http.StatusMisdirectedRequest, path: "/v1/view", host: "-"},
		"data without the key":           {want: http.StatusUnauthorized, path: "/v1/view", authorization: "-"},
		"data with a wrong key":          {want: http.StatusUnauthorized, path: "/v1/why", authorization: "Bearer x"},
		"data for a page of another one": {want: http.StatusForbidden, path: "/v1/view", secFetch: "same-site"},
		"another method":                 {want: http.StatusMethodNotAllowed, path: "/v1/view", method: "POST"},
		"another path":                   {want: http.StatusNotFound, path: "/page/index.html"},
		"a long query": {
			want: http.StatusRequestURITooLong, path: "/v1/view?text=" + strings.Repeat("x", maxQuery),
		},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequest(cmp.Or(test.method, http.MethodGet), test.path, nil)
			request.Host = strings.TrimPrefix(cmp.Or(test.host, "127.0.0.1:8420"), "-")
			request.Header.Set("Authorization", cmp.Or(test.authorization, "Bearer "+key))
			request.Header.Set("Sec-Fetch-Site", test.secFetch)
			answer := httptest.NewRecorder()
			s.handler().ServeHTTP(answer, request)
			assert.Equal(t, test.want, answer.Code, answer.Body.String())
			assert.Contains(t, answer.Header().Get("Content-Security-Policy"), "default-src 'none'")
			assert.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
		})
	}
}

// An empty key must not be one that every client knows.
func TestAServerWithoutAKeyAnswersNothing(t *testing.T) {
	s := newTestServer(t, newSource(t))
	s.Key = ""
	request := httptest.NewRequest(http.MethodGet, "/v1/view", nil)
	request.Host = "localhost"
	request.Header.Set("Authorization", "Bearer ")
	answer := httptest.NewRecorder()
	s.handler().ServeHTTP(answer, request)
	assert.Equal(t, http.StatusUnauthorized, answer.Code)
}

func TestThePageUsesNothingButItsOwnFiles(t *testing.T) {
	s := newTestServer(t, newSource(t))
	for path, contentType := range map[string]string{
		"/": "text/html", "/page.js": "text/javascript", "/style.css": "text/css",
	} {
		answer := get(t, s, path)
		require.Equal(t, http.StatusOK, answer.Code)
		assert.Contains(t, answer.Header().Get("Content-Type"), contentType)
		for _, forbidden := range []string{
			"http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write", " style=",
			" onclick=",
		} {
			assert.NotContains(t, answer.Body.String(), forbidden, path)
		}
	}
}
