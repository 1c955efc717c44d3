package api

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// watchRequest is a parsed request for a watch.
type watchRequest struct {
	res       *objects.Resource
	selected  *selector
	version   uint64
	timeout   time.Duration
	bookmarks bool
	// initial sends the existing objects first, as ADDED. endBookmark sends a bookmark after them.
	initial, endBookmark bool
}

func (s *Server) parseWatch(c *call) (*watchRequest, *apiError) {
	query := c.r.URL.Query()
	out := &watchRequest{
		res: c.res, bookmarks: IsTrue(query.Get("allowWatchBookmarks")), timeout: s.cfg.WatchTimeout,
	}
	var refusal *apiError
	if out.selected, refusal = parseSelector(nil, c.namespace, query); refusal != nil {
		return nil, refusal
	}
	if out.version, refusal = versionParameter(query.Get("resourceVersion")); refusal != nil {
		return nil, refusal
	}
	timeout, refusal := countParameter(query.Get("timeoutSeconds"), "timeoutSeconds")
	if refusal != nil {
		return nil, refusal
	}
	if timeout > 0 {
		out.timeout = time.Duration(timeout) * time.Second
	}
	out.initial = out.version == 0
	return out, out.parseInitialEvents(c.res, query)
}

// parseInitialEvents parses sendInitialEvents, which requests a streaming list.
func (w *watchRequest) parseInitialEvents(res *objects.Resource, query url.Values) *apiError {
	text := query.Get("sendInitialEvents")
	if text == "" {
		return nil
	}
	if query.Get("resourceVersionMatch") != string(metav1.ResourceVersionMatchNotOlderThan) {
		return invalid(res, "", field.ErrorList{field.Forbidden(field.NewPath("resourceVersionMatch"),
			"sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")})
	}
	w.initial = IsTrue(text)
	w.endBookmark = w.initial && w.bookmarks
	return nil
}

// serveWatch returns a stream of changes, one JSON object per line.
func (s *Server) serveWatch(c *call) (*reply, *apiError) {
	request, refusal := s.parseWatch(c)
	if refusal != nil {
		return nil, refusal
	}
	return s.view(func(v store.View) (*reply, *apiError) {
		if refusal := checkNamespace(v, c); refusal != nil {
			return nil, refusal
		}
		oldest := v.Oldest(c.res)
		if !request.initial && request.version < oldest && s.cfg.Faults.Policies().GoneAsStatus {
			return nil, tooOld(request.version, oldest)
		}
		w := &watcher{s: s, watchRequest: request}
		if request.initial {
			w.first = takeList(v, c.res, request.selected)
			w.watch = v.Watch(c.res, v.Version())
		} else {
			w.watch = v.Watch(c.res, request.version)
		}
		header := http.Header{"Content-Type": {"application/json;stream=watch"}}
		return &reply{status: http.StatusOK, header: header, stream: w.stream}, nil
	})
}

func tooOld(requested, oldest uint64) *apiError {
	return expired("too old resource version: %d (%d)", requested, oldest)
}

// watcher is an open watch.
type watcher struct {
	*watchRequest
	s     *Server
	first *store.List
	watch *store.Watch
}

// stream sends changes until the watch times out or is cut, the client closes it, or the history is dropped.
func (w *watcher) stream(out *streamWriter) {
	end := w.s.cfg.Clock.NewTimer(w.timeout)
	defer end.Stop()
	bookmark := w.s.cfg.Clock.NewTicker(w.s.cfg.BookmarkInterval)
	defer bookmark.Stop()
	if !w.sendFirst(out) {
		return
	}
	for {
		changed, ok := w.sendChanges(out)
		if !ok {
			return
		}
		select {
		case <-changed:
		case <-bookmark.C():
			if w.bookmarks && !w.sendBookmark(out, nil) {
				return
			}
		case <-end.C():
			if w.bookmarks {
				w.sendBookmark(out, nil)
			}
			return
		case <-w.watch.Cut():
			if w.watch.CutIsAbrupt() {
				out.abort()
			}
			return
		case <-out.ctx.Done():
			return
		case <-w.s.life.Stopped():
			return
		}
	}
}

// sendFirst sends what existed when the watch began, and in any case the header.
func (w *watcher) sendFirst(out *streamWriter) bool {
	if w.first != nil {
		for _, e := range w.first.Entries {
			if !out.write(encodeEvent(watch.Added, e.Raw)) {
				return false
			}
		}
		w.first = nil
	}
	if w.endBookmark && !w.sendBookmark(out, map[string]string{metav1.InitialEventsAnnotationKey: "true"}) {
		return false
	}
	return out.flush()
}

// sendChanges sends the changes since the last call, and returns a channel that is closed at the next change. It
// returns false if the watch is over.
func (w *watcher) sendChanges(out *streamWriter) (<-chan struct{}, bool) {
	changes, changed, oldest, ok := w.watch.Next()
	if !ok {
		_, status, _ := tooOld(w.watch.Cursor(), oldest).encode("")
		out.write(encodeEvent(watch.Error, status))
		out.flush()
		return nil, false
	}
	for _, c := range changes {
		kind := w.seenAs(c)
		if kind != "" && !out.write(encodeEvent(kind, c.Raw)) {
			return nil, false
		}
	}
	return changed, len(changes) == 0 || out.flush()
}

// seenAs returns the change as the selector sees it: an object that starts to match is added, one that no longer
// matches is deleted.
func (w *watcher) seenAs(c store.Change) watch.EventType {
	if !w.selected.matchesKey(c.Key) {
		return ""
	}
	was := c.Before != nil && w.selected.matches(c.Key, c.Before)
	is := c.Kind != watch.Deleted && w.selected.matches(c.Key, c.Labels)
	switch {
	case was && is:
		return watch.Modified
	case is:
		return watch.Added
	case was:
		return watch.Deleted
	default:
		return ""
	}
}

// sendBookmark sends the version up to which all changes were sent.
func (w *watcher) sendBookmark(out *streamWriter, annotations map[string]string) bool {
	if annotations == nil {
		// Changes since the last call are sent first, so that the bookmark is true.
		if _, ok := w.sendChanges(out); !ok {
			return false
		}
	}
	object := map[string]any{
		"apiVersion": w.s.apiVersion(w.res), "kind": w.res.Kind,
		"metadata": metav1.ObjectMeta{
			ResourceVersion: strconv.FormatUint(w.watch.Cursor(), 10), Annotations: annotations,
		},
	}
	return out.write(encodeEvent(watch.Bookmark, mustEncode(object))) && out.flush()
}

func encodeEvent(kind watch.EventType, raw []byte) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"type":%q,"object":`, string(kind))
	out.Write(raw)
	out.WriteString("}\n")
	return out.Bytes()
}
