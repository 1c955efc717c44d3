package ccisim

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
)

// watchRequest is a watch understood.
type watchRequest struct {
	res       *resource
	chosen    *selector
	version   uint64
	timeout   time.Duration
	bookmarks bool
	// initial says that what exists comes first, as ADDED; endBookmark, that a bookmark tells where it ends.
	initial, endBookmark bool
}

func (s *Sim) parseWatch(c *call) (*watchRequest, *apiError) {
	query := c.r.URL.Query()
	out := &watchRequest{res: c.res, bookmarks: isTrue(query.Get("allowWatchBookmarks")), timeout: s.cfg.WatchTimeout}
	var refusal *apiError
	if out.chosen, refusal = parseSelector(nil, c.namespace, query); refusal != nil {
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
		out.timeout = seconds(timeout)
	}
	out.initial = out.version == 0
	return out, out.parseInitialEvents(c.res, query)
}

// parseInitialEvents reads sendInitialEvents, the streaming list.
func (w *watchRequest) parseInitialEvents(res *resource, query url.Values) *apiError {
	text := query.Get("sendInitialEvents")
	if text == "" {
		return nil
	}
	if query.Get("resourceVersionMatch") != string(metav1.ResourceVersionMatchNotOlderThan) {
		return invalid(res, "", field.ErrorList{field.Forbidden(field.NewPath("resourceVersionMatch"),
			"sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")})
	}
	w.initial = isTrue(text)
	w.endBookmark = w.initial && w.bookmarks
	return nil
}

// serveWatch answers with a stream of changes, one JSON object a line.
func (s *Sim) serveWatch(c *call) (*reply, *apiError) {
	request, refusal := s.parseWatch(c)
	if refusal != nil {
		return nil, refusal
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, refusal
	}
	t := s.store.tables[c.res]
	if !request.initial && request.version < t.compacted && s.Policies().GoneAsStatus {
		return nil, tooOld(request.version, t.compacted)
	}
	w := &watcher{s: s, watchRequest: request, cursor: request.version, cut: s.cut}
	if request.initial {
		w.first = s.takeList(c.res, request.chosen)
		w.cursor = s.store.version
	}
	return &reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json;stream=watch"}}, stream: w.stream}, nil
}

func tooOld(asked, oldest uint64) *apiError {
	return expired("too old resource version: %d (%d)", asked, oldest)
}

// watcher is one watch under way. Every change after cursor is still to be sent.
type watcher struct {
	*watchRequest
	s      *Sim
	first  *savedList
	cursor uint64
	cut    chan struct{}
}

// stream sends until the time is up, the caller goes, the watches are cut, or the history is lost.
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
		case <-w.cut:
			if w.s.cutIsAbrupt() {
				out.abort()
			}
			return
		case <-out.ctx.Done():
			return
		case <-w.s.stopped:
			return
		}
	}
}

// sendFirst sends what existed as the watch began, and the header in any case.
func (w *watcher) sendFirst(out *streamWriter) bool {
	if w.first != nil {
		for _, e := range w.first.entries {
			if !out.write(encodeEvent(watch.Added, e.raw)) {
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

// sendChanges sends what happened since, and returns what signals the next change; false when the watch is over.
func (w *watcher) sendChanges(out *streamWriter) (<-chan struct{}, bool) {
	w.s.mu.RLock()
	t := w.s.store.tables[w.res]
	changes, ok := t.since(w.cursor)
	changed, oldest, latest := t.changed, t.compacted, w.s.store.version
	w.s.mu.RUnlock()
	if !ok {
		_, status, _ := tooOld(w.cursor, oldest).encode("")
		out.write(encodeEvent(watch.Error, status))
		out.flush()
		return nil, false
	}
	for _, c := range changes {
		w.cursor = c.version
		kind := w.seenAs(c)
		if kind != "" && !out.write(encodeEvent(kind, c.raw)) {
			return nil, false
		}
	}
	// All up to latest has been sent: later looks, and bookmarks, begin there.
	w.cursor = max(w.cursor, latest)
	return changed, len(changes) == 0 || out.flush()
}

// seenAs is the change as the selector sees it: an object that begins to match is added, one that ceases to is deleted.
func (w *watcher) seenAs(c change) watch.EventType {
	if !w.chosen.matchesKey(c.key) {
		return ""
	}
	was := c.before != nil && w.chosen.matches(c.key, c.before)
	is := c.kind != watch.Deleted && w.chosen.matches(c.key, c.labels)
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

// sendBookmark tells the caller how far it has seen.
func (w *watcher) sendBookmark(out *streamWriter, annotations map[string]string) bool {
	if annotations == nil {
		// Changes between the last look and now are sent first, so that the bookmark is true.
		if _, ok := w.sendChanges(out); !ok {
			return false
		}
	}
	object := map[string]any{
		"apiVersion": w.s.apiVersion(w.res), "kind": w.res.kind,
		"metadata": metav1.ObjectMeta{ResourceVersion: strconv.FormatUint(w.cursor, 10), Annotations: annotations},
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
