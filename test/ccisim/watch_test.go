package ccisim_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

// watched is one event of a watch.
type watched struct {
	Type   string
	Object struct {
		metav1.TypeMeta
		Metadata metav1.ObjectMeta
		Status   json.RawMessage
		Code     int32
		Reason   metav1.StatusReason
	}
}

func (w watched) String() string { return w.Type + " " + w.Object.Metadata.Name }

// stream is an open watch.
type stream struct {
	t      testing.TB
	events chan watched
	// end receives the error with which the stream ended, io.EOF for a proper end.
	end    chan error
	cancel context.CancelFunc
}

func (b *env) watch(target string) *stream {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	response, err := http.DefaultClient.Do(b.signed(ctx, "GET", target, nil, nil))
	require.NoError(b.t, err)
	require.Equal(b.t, http.StatusOK, response.StatusCode)
	s := &stream{t: b.t, events: make(chan watched, 10000), end: make(chan error, 1), cancel: cancel}
	b.t.Cleanup(cancel)
	go func() {
		defer response.Body.Close()
		in := bufio.NewReader(response.Body)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				if len(line) > 0 {
					err = fmt.Errorf("%w after half an event", io.ErrUnexpectedEOF)
				}
				s.end <- err
				return
			}
			var w watched
			if err := json.Unmarshal(line, &w); err != nil {
				s.end <- err
				return
			}
			s.events <- w
		}
	}()
	return s
}

func (s *stream) next() watched {
	s.t.Helper()
	select {
	case w := <-s.events:
		return w
	case err := <-s.end:
		s.end <- err
		select { // Events before the end are in the channel already.
		case w := <-s.events:
			return w
		default:
			require.FailNow(s.t, "the watch ended", "%v", err)
		}
	case <-time.After(timeout):
		require.FailNow(s.t, "the watch sends nothing")
	}
	return watched{}
}

// until reads events until one is of the type and about the name.
func (s *stream) until(kind, name string) watched {
	s.t.Helper()
	for {
		if w := s.next(); w.Type == kind && w.Object.Metadata.Name == name {
			return w
		}
	}
}

func (s *stream) ended() error {
	s.t.Helper()
	select {
	case err := <-s.end:
		return err
	case <-time.After(timeout):
		require.FailNow(s.t, "the watch does not end")
		return nil
	}
}

// list returns the metadata of a list and the names of its items.
func (b *env) list(target string) (meta metav1.ListMeta, names []string) {
	b.t.Helper()
	var out struct {
		Kind     string
		Metadata metav1.ListMeta
		Items    []struct{ Metadata metav1.ObjectMeta }
	}
	require.Equal(b.t, http.StatusOK, b.get(target, &out))
	for _, item := range out.Items {
		names = append(names, item.Metadata.Name)
	}
	return out.Metadata, names
}

func TestWatchOfPod(t *testing.T) {
	b := newNamespaceEnv(t)
	meta, names := b.list(podsPath)
	assert.Empty(t, names)
	w := b.watch(podsPath + "?watch=true&resourceVersion=" + meta.ResourceVersion)
	b.createPod("web")
	assert.Equal(t, "ADDED web", w.next().String())
	b.untilPhase("web", "Running")
	b.want(http.StatusOK, "DELETE", podsPath+"/web", nil)
	last := uint64(0)
	for {
		event := w.next()
		version, err := strconv.ParseUint(event.Object.Metadata.ResourceVersion, 10, 64)
		require.NoError(t, err)
		assert.Greater(t, version, last, "versions only increase")
		last = version
		if event.Type == "DELETED" {
			assert.NotNil(t, event.Object.Metadata.DeletionTimestamp)
			assert.Empty(t, event.Object.Metadata.Finalizers)
			break
		}
		assert.Equal(t, "MODIFIED web", event.String())
	}
}

func TestWatchStart(t *testing.T) {
	b := newNamespaceEnv(t)
	first := b.createPod("first")
	b.untilPhase("first", "Running")
	b.createPod("second")
	b.untilPhase("second", "Running")
	t.Run("at a version: with the changes since", func(t *testing.T) {
		assert.Equal(t, "MODIFIED first", b.watch(podsPath+"?watch=1&resourceVersion="+first.ResourceVersion).next().String())
	})
	for name, query := range map[string]string{"without a version": "", "at version 0": "&resourceVersion=0"} {
		t.Run(name+": with the existing objects", func(t *testing.T) {
			w := b.watch(podsPath + "?watch=1" + query)
			assert.Equal(t, "ADDED first", w.next().String())
			assert.Equal(t, "ADDED second", w.next().String())
		})
	}
	t.Run("as a streaming list: with the existing objects and a bookmark", func(t *testing.T) {
		w := b.watch(podsPath + "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan")
		assert.Equal(t, "ADDED first", w.next().String())
		assert.Equal(t, "ADDED second", w.next().String())
		mark := w.next()
		assert.Equal(t, "BOOKMARK", mark.Type)
		assert.Equal(t, "true", mark.Object.Metadata.Annotations["k8s.io/initial-events-end"])
		b.want(http.StatusUnprocessableEntity, "GET", podsPath+"?watch=1&sendInitialEvents=true", nil)
	})
	t.Run("at a future version: with the changes after it", func(t *testing.T) {
		meta, _ := b.list(podsPath)
		now, err := strconv.Atoi(meta.ResourceVersion)
		require.NoError(t, err)
		w := b.watch(podsPath + "?watch=1&resourceVersion=" + strconv.Itoa(now+1))
		b.doAs("PATCH", podsPath+"/first", "application/merge-patch+json", `{"metadata":{"annotations":{"n":"1"}}}`)
		b.doAs("PATCH", podsPath+"/second", "application/merge-patch+json", `{"metadata":{"annotations":{"n":"1"}}}`)
		assert.Equal(t, "MODIFIED second", w.next().String())
		status, _ := b.want(http.StatusGatewayTimeout, "GET", podsPath+"?resourceVersion="+strconv.Itoa(now+1000),
			nil).statusBody(t)
		assert.Contains(t, status.Message, "Too large resource version")
	})
	b.want(http.StatusBadRequest, "GET", podsPath+"?watch=1&resourceVersion=x", nil)
	b.want(http.StatusBadRequest, "GET", podsPath+"?watch=1&timeoutSeconds=x", nil)
}

func TestWatchWithSelector(t *testing.T) {
	b := newNamespaceEnv(t)
	meta, _ := b.list(podsPath)
	w := b.watch(podsPath + "?watch=1&labelSelector=app%3Dweb&resourceVersion=" + meta.ResourceVersion)
	byName := b.watch(podsPath + "?watch=1&fieldSelector=metadata.name%3Dtwo&resourceVersion=" + meta.ResourceVersion)
	b.createPod("one", withLabels("app", "other"))
	b.createPod("two", withLabels("app", "web"))
	assert.Equal(t, "ADDED two", w.next().String())
	assert.Equal(t, "ADDED two", byName.next().String())
	b.untilPhase("one", "Running")
	b.untilPhase("two", "Running")
	relabel := func(name, value string) {
		a := b.doAs("PATCH", podsPath+"/"+name, "application/merge-patch+json", `{"metadata":{"labels":{"app":"`+value+`"}}}`)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	}
	relabel("one", "web")
	w.until("ADDED", "one")
	relabel("two", "other")
	assert.Equal(t, "DELETED two", w.until("DELETED", "two").String())
	relabel("one", "other")
	assert.Equal(t, "DELETED one", w.next().String())
	relabel("one", "web")
	b.want(http.StatusOK, "DELETE", podsPath+"/one?gracePeriodSeconds=0", nil)
	w.until("ADDED", "one")
	w.until("DELETED", "one")
}

func TestWatchOfNamespace(t *testing.T) {
	b := newNamespaceEnv(t)
	b.makeNamespace("other")
	meta, _ := b.list(podsPath)
	w := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces/other/pods", podBody("hidden"))
	b.createPod("seen")
	assert.Equal(t, "ADDED seen", w.next().String())
}

func TestBookmarks(t *testing.T) {
	b := newNamespaceEnv(t, func(c *ccisim.Config) { c.BookmarkInterval = 10 * time.Millisecond })
	meta, _ := b.list(podsPath)
	w := b.watch(podsPath + "?watch=1&allowWatchBookmarks=true&resourceVersion=" + meta.ResourceVersion)
	mark := w.next()
	assert.Equal(t, "BOOKMARK", mark.Type)
	assert.Equal(t, "Pod", mark.Object.Kind)
	pod := b.createPod("web")
	b.untilPhase("web", "Running")
	b.eventually(func() bool {
		event := w.next()
		return event.Type == "BOOKMARK" && version(t, event.Object.Metadata.ResourceVersion) > version(t, pod.ResourceVersion)
	}, "a bookmark has a newer version than the Pod")
	quiet := b.watch(podsPath + "?watch=1&timeoutSeconds=1&resourceVersion=" + meta.ResourceVersion)
	require.ErrorIs(t, quiet.ended(), io.EOF)
	for len(quiet.events) > 0 {
		assert.NotEqual(t, "BOOKMARK", quiet.next().Type, "no bookmarks were requested")
	}
}

func version(t testing.TB, text string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	return v
}

func TestWatchTimeout(t *testing.T) {
	b := newNamespaceEnv(t)
	w := b.watch(podsPath + "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")
	assert.Equal(t, "BOOKMARK", w.next().Type, "the last event is a bookmark")
	assert.ErrorIs(t, w.ended(), io.EOF)
}

func TestExpiredVersions(t *testing.T) {
	t.Run("a watch gets an ERROR event and the end", func(t *testing.T) {
		b := newNamespaceEnv(t)
		meta, _ := b.list(podsPath)
		b.sim.Compact()
		w := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
		event := w.next()
		assert.Equal(t, "ERROR", event.Type)
		assert.Equal(t, int32(http.StatusGone), event.Object.Code)
		assert.Equal(t, metav1.StatusReasonExpired, event.Object.Reason)
		assert.ErrorIs(t, w.ended(), io.EOF)
		fresh, _ := b.list(podsPath)
		b.createPod("web")
		assert.Equal(t, "ADDED web", b.watch(podsPath+"?watch=1&resourceVersion="+fresh.ResourceVersion).next().String())
	})
	t.Run("or status 410, under a policy", func(t *testing.T) {
		b := newNamespaceEnv(t, func(c *ccisim.Config) { c.Policies.GoneAsStatus = true })
		meta, _ := b.list(podsPath)
		b.sim.Compact()
		status, _ := b.want(http.StatusGone, "GET", podsPath+"?watch=1&resourceVersion="+meta.ResourceVersion,
			nil).statusBody(t)
		assert.Equal(t, metav1.StatusReasonExpired, status.Reason)
	})
	t.Run("history is as long as configured", func(t *testing.T) {
		b := newNamespaceEnv(t, func(c *ccisim.Config) { c.HistoryLimit = 4 })
		meta, _ := b.list(podsPath)
		for i := range 3 {
			b.createPod(fmt.Sprintf("p%d", i))
			b.untilPhase(fmt.Sprintf("p%d", i), "Running")
		}
		assert.Equal(t, "ERROR", b.watch(podsPath+"?watch=1&resourceVersion="+meta.ResourceVersion).next().Type)
	})
}

func TestPagedLists(t *testing.T) {
	b := newNamespaceEnv(t)
	for _, name := range []string{"e", "a", "c", "b", "d"} {
		b.createPod(name)
	}
	meta, names := b.list(podsPath + "?limit=2")
	assert.Equal(t, []string{"a", "b"}, names)
	assert.Equal(t, int64(3), *meta.RemainingItemCount)
	b.createPod("ab")
	second, names := b.list(podsPath + "?limit=2&continue=" + meta.Continue)
	assert.Equal(t, []string{"c", "d"}, names, "all pages are of one moment")
	assert.Equal(t, meta.ResourceVersion, second.ResourceVersion)
	third, names := b.list(podsPath + "?limit=2&continue=" + second.Continue)
	assert.Equal(t, []string{"e"}, names)
	assert.Empty(t, third.Continue)
	assert.Nil(t, third.RemainingItemCount)
	again, names := b.list(podsPath + "?limit=2&continue=" + meta.Continue)
	assert.Equal(t, []string{"c", "d"}, names, "a page can be read twice")
	assert.Equal(t, second.Continue, again.Continue)

	b.sim.Compact()
	status, _ := b.want(http.StatusGone, "GET", podsPath+"?limit=2&continue="+meta.Continue, nil).statusBody(t)
	assert.Equal(t, metav1.StatusReasonExpired, status.Reason)
	b.want(http.StatusBadRequest, "GET", podsPath+"?limit=2&continue=junk", nil)
	b.want(http.StatusBadRequest, "GET", podsPath+"?limit=-1", nil)

	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{IgnoreLimit: true}))
	whole, names := b.list(podsPath + "?limit=2")
	assert.Len(t, names, 6, "the service may ignore limit")
	assert.Empty(t, whole.Continue)
}

func TestListSelectors(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("a", withLabels("app", "web", "tier", "front"))
	b.createPod("b", withLabels("app", "web"))
	b.createPod("c")
	cases := map[string]struct {
		query string
		want  []string
		fails bool
	}{
		"by a label":             {"labelSelector=app%3Dweb", []string{"a", "b"}, false},
		"by an existing label":   {"labelSelector=tier", []string{"a"}, false},
		"by a missing label":     {"labelSelector=%21app", []string{"c"}, false},
		"by a set":               {"labelSelector=app+in+%28web%2Cother%29%2C%21tier", []string{"b"}, false},
		"by name":                {"fieldSelector=metadata.name%3Db", []string{"b"}, false},
		"by all names but one":   {"fieldSelector=metadata.name%21%3Db", []string{"a", "c"}, false},
		"by namespace":           {"fieldSelector=metadata.namespace%3Dother", nil, false},
		"by both":                {"labelSelector=app&fieldSelector=metadata.name%3Dc", nil, false},
		"by another field":       {"fieldSelector=status.phase%3DRunning", nil, true},
		"by an invalid selector": {"labelSelector=%28%28", nil, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.fails {
				b.want(http.StatusBadRequest, "GET", podsPath+"?"+tc.query, nil)
				b.want(http.StatusBadRequest, "GET", podsPath+"?watch=1&"+tc.query, nil)
				return
			}
			_, names := b.list(podsPath + "?" + tc.query)
			assert.Equal(t, tc.want, names)
		})
	}
}
