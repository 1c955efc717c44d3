package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// execIdle is how long the stream of a command may be silent.
const execIdle = 5 * time.Minute

// Handler answers requests as the cloud of a transcript has answered them: the first request of a method, a path and a
// query gets the first answer to it, and so on. The last answer is repeated. It verifies no signatures, and a request
// that is not in the transcript gets 404. A client must use the placeholders of the transcript, such as PROJECT-ID.
// What differs in each run, such as the name of the namespace, is taken from the bodies of its requests.
func Handler(exchanges []transcript.Exchange) http.Handler {
	h := &handler{
		left: map[string][]transcript.Exchange{}, renamed: map[string]string{}, original: map[string]string{},
	}
	for _, e := range exchanges {
		key := keyOf(e.Method, e.Path, e.Query)
		h.left[key] = append(h.left[key], e)
	}
	return h
}

// handler implements http.Handler.
type handler struct {
	mu   sync.Mutex
	left map[string][]transcript.Exchange
	// renamed are the texts that a client sends in the place of those of the transcript, original is the reverse. They
	// have at most maxRenamed entries.
	renamed, original map[string]string
}

// maxRenamed is how many texts of a client may differ from those of the transcript. A run has some dozens.
const maxRenamed = 1000

// keyOf identifies requests that are answered by one sequence of answers.
func keyOf(method, path string, query url.Values) string {
	names := []string{"continue", "limit", "labelSelector", "fieldSelector", "watch", "resourceVersion"}
	if strings.HasSuffix(path, "/exec") {
		names = []string{"command"}
	}
	key := method + " " + path
	for _, name := range names {
		if values := query[name]; len(values) > 0 {
			key += " " + name + "=" + strings.Join(values, " ")
		}
	}
	return key
}

// next returns the next answer to a request, and false if the transcript has none. Commands are also told apart by how
// they are authenticated.
func (h *handler) next(r *http.Request, body []byte) (transcript.Exchange, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.nextLocked(r)
	if !ok {
		return e, false
	}
	var recorded, sent any
	if json.Unmarshal(e.Request, &recorded) == nil && json.Unmarshal(body, &sent) == nil {
		h.learnLocked(recorded, sent)
	}
	return h.renameLocked(e), true
}

func (h *handler) nextLocked(r *http.Request) (transcript.Exchange, bool) {
	segments := strings.Split(r.URL.Path, "/")
	for i, segment := range segments {
		if recorded, ok := h.original[segment]; ok {
			segments[i] = recorded
		}
	}
	key := keyOf(r.Method, strings.Join(segments, "/"), r.URL.Query())
	list := h.left[key]
	if strings.HasSuffix(r.URL.Path, "/exec") {
		auth := transcript.AuthSignature
		if r.Header.Get("X-Auth-Token") != "" {
			auth = transcript.AuthToken
		}
		i := slices.IndexFunc(list, func(e transcript.Exchange) bool { return e.Auth == auth })
		if i < 0 {
			return transcript.Exchange{}, false
		}
		return list[i], true
	}
	if len(list) == 0 {
		return transcript.Exchange{}, false
	}
	if len(list) > 1 {
		h.left[key] = list[1:]
	}
	return list[0], true
}

// learnLocked finds the texts that differ in a request of the transcript and in the same request of a client.
func (h *handler) learnLocked(recorded, sent any) {
	switch before := recorded.(type) {
	case map[string]any:
		after, _ := sent.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(before)) {
			h.learnLocked(before[key], after[key])
		}
	case []any:
		after, _ := sent.([]any)
		for i := range min(len(before), len(after)) {
			h.learnLocked(before[i], after[i])
		}
	case string:
		after, ok := sent.(string)
		if ok && after != before && after != "" && before != "" && len(h.renamed) < maxRenamed {
			h.renamed[before], h.original[after] = after, before
		}
	}
}

// renameLocked returns an answer with the texts of the client.
func (h *handler) renameLocked(e transcript.Exchange) transcript.Exchange {
	var pairs []string
	for recorded, sent := range h.renamed {
		before, errBefore := json.Marshal(recorded)
		after, errAfter := json.Marshal(sent)
		if errBefore != nil || errAfter != nil {
			continue // Texts can always be encoded.
		}
		pairs = append(pairs, string(before), string(after))
	}
	texts := strings.NewReplacer(pairs...)
	e.Answer = json.RawMessage(texts.Replace(string(e.Answer)))
	e.Stream = slices.Clone(e.Stream)
	for i := range e.Stream {
		e.Stream[i] = json.RawMessage(texts.Replace(string(e.Stream[i])))
	}
	return e
}

// maxBody is the largest body of a request.
const maxBody = 1 << 20

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "reading the body: "+err.Error(), http.StatusBadRequest)
		return
	}
	e, ok := h.next(r, body)
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, "the transcript has no %s %s\n", r.Method, r.URL.Path)
	case e.Status == 0:
		panic(http.ErrAbortHandler) // There was no answer.
	case e.Status == http.StatusSwitchingProtocols:
		serveCommand(w, r, e)
	default:
		writeAnswer(w, e)
	}
}

// writeAnswer writes an answer. Its date would be in the past.
func writeAnswer(w http.ResponseWriter, e transcript.Exchange) {
	for name, value := range e.Header {
		if name != "Date" {
			w.Header().Set(name, value)
		}
	}
	body := []byte(e.Text)
	switch {
	case e.Service != transcript.ServiceCCI && e.Status < http.StatusMultipleChoices:
		w.Header().Set("X-Subject-Token", "token") // What a transcript leaves out.
		body = []byte("{}")
	case len(e.Answer) > 0:
		body = e.Answer
	case len(e.Stream) > 0:
		for _, event := range e.Stream {
			body = append(append(body, event...), '\n')
		}
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // The client may have closed the connection.
}

// command is a command whose output is in the transcript.
type command struct{ transcript.Exchange }

// ExecInContainer implements remotecommand.Executor.
func (c command) ExecInContainer(
	_ context.Context, _, _, _ string, _ []string, _ io.Reader, out, _ io.WriteCloser, _ bool,
	_ <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	_, _ = io.WriteString(out, c.Text) // The client may have closed the connection.
	if c.Error != "" {
		return errors.New(c.Error)
	}
	return nil
}

func serveCommand(w http.ResponseWriter, r *http.Request, e transcript.Exchange) {
	r.Header.Set("Sec-WebSocket-Protocol", remotecommand.StreamProtocolV4Name)
	options := &remotecommand.Options{Stdout: true, Stderr: true}
	remotecommand.ServeExec(w, r, command{e}, "pod", "", "container", e.Query["command"], options, execIdle,
		remotecommand.DefaultStreamCreationTimeout, []string{remotecommand.StreamProtocolV4Name})
}
