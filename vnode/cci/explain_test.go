package cci_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// inBothForms runs a test with a service whose errors have reasons, and with one whose errors have none.
func inBothForms(t *testing.T, test func(t *testing.T, form func(*ccisim.Config))) {
	t.Helper()
	for name, bare := range map[string]bool{"errors with a reason": false, "errors without a reason": true} {
		t.Run(name, func(t *testing.T) { test(t, func(c *ccisim.Config) { c.Policies.BareErrors = bare }) })
	}
}

// preconditions makes a service check the preconditions of deletions.
func preconditions(c *ccisim.Config) { c.Policies.IgnorePreconditions = false }

// noPreconditions makes a service delete whatever has the name.
func noPreconditions(c *ccisim.Config) { c.Policies.IgnorePreconditions = true }

const (
	bare404 = `{"kind":"Status","status":"Failure","message":"not found","code":404}`
	page404 = "<html><h1>404 Not Found</h1></html>"
	// notPublished is the answer of the gateway.
	notPublished = `{"error_code":"APIG.0101","error_msg":"The API does not exist or has not been published"}`
)

func listOf(token string, names ...string) string {
	var items []string
	for _, name := range names {
		items = append(items, fmt.Sprintf(`{"metadata":{"name":%q}}`, name))
	}
	return fmt.Sprintf(`{"kind":"List","metadata":{"continue":%q},"items":[%s]}`, token, strings.Join(items, ","))
}

// A 404 without a reason may come from a proxy while the Pod runs. Only a list shows whether the Pod exists.
func TestA404WithoutAReasonIsExplainedByAList(t *testing.T) {
	type answer struct {
		status int
		body   string
	}
	namespaces, pods := "/apis/cci/v2/namespaces", "/apis/cci/v2/namespaces/ns/pods"
	with, without := answer{200, listOf("", "other", "web")}, answer{200, listOf("", "other")}
	missing := answer{404, bare404}
	for name, test := range map[string]struct {
		// answers are those of each path, with the continue token if there is one. Other requests are a 404.
		answers map[string]answer
		want    cci.Kind
		// requests is the number of requests that a call costs.
		requests int32
	}{
		"the list does not contain it":            {map[string]answer{pods: without}, cci.NotFound, 2},
		"the list is empty":                       {map[string]answer{pods: {200, `{"items":null}`}}, cci.NotFound, 2},
		"the list contains it":                    {map[string]answer{pods: with}, cci.Transient, 2},
		"the namespace does not exist":            {map[string]answer{namespaces: {200, listOf("", "x")}}, cci.NotFound, 3},
		"the namespace exists and has no list":    {map[string]answer{namespaces: {200, listOf("", "ns")}}, cci.Transient, 3},
		"everything is a 404":                     {nil, cci.Transient, 3},
		"everything is a page of a proxy":         {map[string]answer{pods: {404, page404}}, cci.Transient, 3},
		"the list fails":                          {map[string]answer{pods: {503, ""}}, cci.Transient, 2},
		"the list is refused":                     {map[string]answer{pods: {403, ""}}, cci.Transient, 2},
		"the list is an answer of something else": {map[string]answer{pods: {200, `{"status":"ok"}`}}, cci.Transient, 2},
		"the list is a page of a proxy":           {map[string]answer{pods: {200, page404}}, cci.Transient, 2},
		"the list is cut":                         {map[string]answer{pods: {200, without.body[:40]}}, cci.Transient, 2},
		"the second page contains it": {
			map[string]answer{pods: {200, listOf("2", "a")}, pods + "2": with}, cci.Transient, 3,
		},
		"no page contains it": {
			map[string]answer{pods: {200, listOf("2", "a")}, pods + "2": without}, cci.NotFound, 3,
		},
		"the second page is missing": {
			map[string]answer{pods: {200, listOf("2", "a")}, pods + "2": missing}, cci.Transient, 4,
		},
		"the gateway does not know the API of Pods": {map[string]answer{pods: {404, notPublished}}, cci.NotOffered, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			client := lied(t, func(r *http.Request) (int, io.Reader) {
				requests.Add(1)
				found, ok := test.answers[strings.TrimSuffix(r.URL.Path, "/")+r.URL.Query().Get("continue")]
				if !ok {
					found = missing
				}
				return found.status, strings.NewReader(found.body)
			})
			_, err := client.GetPod(t.Context(), "ns", "web")
			assert.Equal(t, test.want, cci.KindOf(err), "%v", err)
			assert.Equal(t, test.requests, requests.Load())
			err = client.DeletePod(t.Context(), "ns", "web", cci.DeleteOptions{})
			assert.Equal(t, test.want, cci.KindOf(err), "%v", err)
		})
	}
}

// An answer of something else than the service must not look like an empty list: it would hide networks that exist, and
// all that a namespace contains before it is deleted.
func TestAnAnswerWithoutAListIsNoEmptyList(t *testing.T) {
	ns := "ns"
	client := lied(t, always(func() io.Reader { return strings.NewReader(`{"status":"ok"}`) }))
	for name, list := range map[string]func(context.Context) error{
		"Pods":     func(ctx context.Context) error { _, err := client.ListPods(ctx, ns, cci.ListOptions{}); return err },
		"networks": func(ctx context.Context) error { _, err := client.ListNetworks(ctx, ns); return err },
		"claims":   func(ctx context.Context) error { _, err := client.ListClaims(ctx, ns, cci.ListOptions{}); return err },
		"Events":   func(ctx context.Context) error { _, err := client.PodEvents(ctx, ns, "web", "1"); return err },
		"contents": func(ctx context.Context) error { _, err := client.NamespaceContents(ctx, ns); return err },
	} {
		t.Run(name, func(t *testing.T) {
			err := list(t.Context())
			assert.True(t, cci.IsTransient(err), "%v", err)
			assert.ErrorContains(t, err, "no list")
		})
	}
}

// A list of Pods leaves out an object that costs too much to decode. A namespace that contains one is not empty.
func TestANamespaceWithAnObjectThatIsNotDecodedIsNotEmpty(t *testing.T) {
	costly := `{"items":[{"metadata":{"finalizers":["a"` + strings.Repeat(`,"a"`, 60_000) + `]}}]}`
	client := lied(t, always(func() io.Reader { return strings.NewReader(costly) }))
	pods, err := client.ListPods(t.Context(), "ns", cci.ListOptions{})
	require.NoError(t, err)
	assert.Empty(t, pods.Items)
	_, err = client.NamespaceContents(t.Context(), "ns")
	assert.True(t, cci.IsTransient(err), "%v", err)
}

// A retry of a request does not read the list again.
func TestA404IsExplainedOnceForEachCall(t *testing.T) {
	lists := 0
	config := (&cloudtest.Cloud{URL: "https://cloud"}).Config()
	config.Tries = 5
	config.Transport = liar(func(r *http.Request) (int, io.Reader) {
		if strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/pods") {
			lists++
			return 200, strings.NewReader(listOf("", "web"))
		}
		return 404, strings.NewReader(bare404)
	})
	_, err := cloudtest.NewClient(t, config).GetPod(t.Context(), "ns", "web")
	assert.True(t, cci.IsTransient(err), "%v", err)
	assert.Equal(t, 1, lists)
}

// The region may lack these APIs. Whatever the form of its 404, it says nothing about objects, and is no error of the
// account.
func TestAPIsThatTheRegionDoesNotOffer(t *testing.T) {
	ns := cloudtest.Namespace
	calls := map[string]struct {
		resource string
		feature  cci.Feature
		call     func(context.Context, *cci.Client) error
	}{
		"Events": {"events", cci.Events, func(ctx context.Context, c *cci.Client) error {
			_, err := c.PodEvents(ctx, ns, "web", "1")
			return err
		}},
		"a list of claims": {"persistentvolumeclaims", cci.Volumes, func(ctx context.Context, c *cci.Client) error {
			_, err := c.ListClaims(ctx, ns, cci.ListOptions{})
			return err
		}},
		"a claim": {"persistentvolumeclaims", cci.Volumes, func(ctx context.Context, c *cci.Client) error {
			_, err := c.GetClaim(ctx, ns, "data")
			return err
		}},
		"a new claim": {"persistentvolumeclaims", cci.Volumes, func(ctx context.Context, c *cci.Client) error {
			_, err := c.CreateClaim(ctx, ns, claim("data", "v"))
			return err
		}},
		"a list of volumes": {"persistentvolumes", cci.Volumes, func(ctx context.Context, c *cci.Client) error {
			_, err := c.ListVolumes(ctx, cci.ListOptions{})
			return err
		}},
		"the deletion of a volume": {"persistentvolumes", cci.Volumes, func(ctx context.Context, c *cci.Client) error {
			return c.DeleteVolume(ctx, "v", cci.DeleteOptions{})
		}},
		"a new volume": {"persistentvolumes", cci.Volumes, func(ctx context.Context, c *cci.Client) error {
			_, err := c.CreateVolume(ctx, volume("v"))
			return err
		}},
		"a list of image snapshots": {"imagesnapshots", cci.Snapshots, func(ctx context.Context, c *cci.Client) error {
			_, err := c.ListSnapshots(ctx, cci.ListOptions{})
			return err
		}},
		"a new image snapshot": {"imagesnapshots", cci.Snapshots, func(ctx context.Context, c *cci.Client) error {
			_, err := c.CreateSnapshot(ctx, snapshot("s"))
			return err
		}},
		"the deletion of an image snapshot": {"imagesnapshots", cci.Snapshots,
			func(ctx context.Context, c *cci.Client) error {
				return c.DeleteSnapshot(ctx, "s", cci.DeleteOptions{})
			}},
		"a log": {"pods/log", cci.Logs, func(ctx context.Context, c *cci.Client) error {
			_, err := c.PodLog(ctx, ns, "web", cci.LogOptions{Container: "c"})
			return err
		}},
		"a command": {"pods/exec", cci.Exec, func(ctx context.Context, c *cci.Client) error {
			return c.PodExec(ctx, ns, "web", cci.ExecOptions{Container: "c", Command: []string{"ls"}}, cci.ExecStreams{})
		}},
		"Pods": {"pods", "", func(ctx context.Context, c *cci.Client) error {
			_, err := c.GetPod(ctx, ns, "web")
			return err
		}},
	}
	for name, test := range calls {
		t.Run(name, func(t *testing.T) {
			cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) { c.Policies.Unpublished = []string{test.resource} })
			err := test.call(t.Context(), cloud.Client)
			require.True(t, cci.IsNotOffered(err), "%v", err)
			assert.ErrorContains(t, err, "APIG.0101")
			assert.True(t, cci.IsProvenNotOffered(err), "the service says so")
			assert.ErrorContains(t, err, cloud.URL)
			if test.feature == "" {
				assert.ErrorContains(t, err, "check cci.region, cci.endpoint and policy.cciVersion")
			} else {
				assert.ErrorContains(t, err, "does not offer "+string(test.feature))
			}
			var answer *cci.Error
			require.ErrorAs(t, err, &answer)
			assert.Equal(t, test.feature, answer.Feature)
		})
		if test.feature == cci.Logs || test.feature == cci.Exec || test.feature == "" {
			continue
		}
		t.Run(name+", as a page without a code", func(t *testing.T) {
			cloud := cloudtest.NewWithNetwork(t)
			cloud.Fault(t, ccisim.Fault{
				Kind: ccisim.ServerError, Status: 404, HTML: true, Message: "404 page not found", Path: test.resource,
			})
			err := test.call(t.Context(), cloud.Client)
			assert.True(t, cci.IsNotOffered(err), "%v", err)
			assert.False(t, cci.IsProvenNotOffered(err), "%v", err)
		})
	}
}

func TestTheWrongGenerationIsNotOffered(t *testing.T) {
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies.Unpublished = []string{"namespaces"} })
	for version, want := range map[policy.CCIVersion]string{
		policy.CCI2: "the API of CCI 2.0 at " + cloud.URL + " is not there",
		policy.CCI1: "the API of CCI 1.0 at " + cloud.URL + " is not there",
	} {
		_, err := cloud.In(t, version).Client.GetNamespace(t.Context(), cloudtest.Namespace)
		assert.True(t, cci.IsNotOffered(err), "%v", err)
		assert.ErrorContains(t, err, want)
	}
}
