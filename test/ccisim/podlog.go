package ccisim

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// logParameters are the query parameters of pods/log. sinceTime is not among them.
var logParameters = []string{"container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "pretty", "previous", "sinceSeconds", "tailLines", "timestamps"}

// logOptions are what a caller wants of a log. Unset numbers are -1.
type logOptions struct {
	container                           string
	follow, previous, timestamps        bool
	limitBytes, sinceSeconds, tailLines int64
}

func parseLogOptions(query url.Values) (*logOptions, field.ErrorList) {
	o := &logOptions{
		container: query.Get("container"), follow: isTrue(query.Get("follow")),
		previous: isTrue(query.Get("previous")), timestamps: isTrue(query.Get("timestamps")),
	}
	var errs field.ErrorList
	for name, target := range map[string]struct {
		value *int64
		least int64
	}{"limitBytes": {&o.limitBytes, 1}, "sinceSeconds": {&o.sinceSeconds, 1}, "tailLines": {&o.tailLines, 0}} {
		*target.value = -1
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < target.least {
			errs = append(errs, field.Invalid(field.NewPath(name), text, fmt.Sprintf("must be greater than or equal to %d", target.least)))
			continue
		}
		*target.value = n
	}
	return o, errs
}

// serveLog answers pods/log as the kubelet does.
func (s *Sim) serveLog(c *call) (*reply, *apiError) {
	query := c.r.URL.Query()
	s.countIgnoredParameters(c, query, logParameters)
	options, errs := parseLogOptions(query)
	if len(errs) > 0 {
		return nil, invalid(pods, c.name, errs)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	stream, refusal := s.findLog(c, options)
	if refusal != nil {
		return nil, refusal
	}
	return &reply{
		status: http.StatusOK, header: http.Header{"Content-Type": {"text/plain"}},
		stream: func(w *streamWriter) { s.streamLog(w, stream, options) },
	}, nil
}

func (s *Sim) countIgnoredParameters(c *call, query url.Values, parameters []string) {
	known := names(parameters...)
	var ignored []string
	for name := range query {
		if _, ok := known[name]; !ok {
			ignored = append(ignored, "query."+name)
		}
	}
	s.records.countDropped(c.verb, c.label(), c.namespace, c.name, ignored)
}

// findLog finds the log that is asked for, or says why there is none. Holds mu for reading.
func (s *Sim) findLog(c *call, o *logOptions) (*logStream, *apiError) {
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, refusal
	}
	pod, ok := s.store.get(pods, key{c.namespace, c.name}).(*Pod)
	if !ok {
		return nil, notFound(pods, c.name)
	}
	container, refusal := chooseContainer(pod, o.container)
	if refusal != nil {
		return nil, refusal
	}
	logs := s.logs[pod.UID][container]
	if o.previous {
		if logs == nil || logs.previous == nil {
			return nil, badRequest("", "previous terminated container %q in pod %q not found", container, pod.Name)
		}
		return logs.previous, nil
	}
	if logs != nil && logs.current != nil {
		return logs.current, nil
	}
	status := containerStatus(pod, container)
	if status == nil {
		return nil, badRequest("", "pod %s does not have a host assigned", pod.Name)
	}
	reason := "ContainerCreating"
	if status.State.Waiting != nil {
		reason = status.State.Waiting.Reason
	}
	if reason == reasonPullFailed || reason == reasonPullBackOff {
		return nil, badRequest("", "container %q in pod %q is waiting to start: trying and failing to pull image", container, pod.Name)
	}
	return nil, badRequest("", "container %q in pod %q is waiting to start: %s", container, pod.Name, reason)
}

func chooseContainer(pod *Pod, asked string) (string, *apiError) {
	var app, init []string
	for _, c := range pod.Spec.InitContainers {
		init = append(init, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		app = append(app, c.Name)
	}
	if asked == "" {
		if len(app) == 1 && len(init) == 0 {
			return app[0], nil
		}
		words := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, app)
		if len(init) > 0 {
			words += fmt.Sprintf(" or one of the init containers: %v", init)
		}
		return "", badRequest("", "%s", words)
	}
	for _, name := range append(init, app...) {
		if name == asked {
			return name, nil
		}
	}
	return "", badRequest("", "container %s is not valid for pod %s", asked, pod.Name)
}

// streamLog writes what there is, and what comes when the caller follows.
func (s *Sim) streamLog(w *streamWriter, stream *logStream, o *logOptions) {
	s.mu.RLock()
	lines, next := stream.from(0)
	s.mu.RUnlock()
	lines = selectLines(lines, s.now(), o)
	left := o.limitBytes
	for {
		if !writeLines(w, lines, o.timestamps, &left) || !w.flush() || left == 0 {
			return
		}
		s.mu.RLock()
		lines, next = stream.from(next)
		changed, ended := stream.changed, stream.ended
		s.mu.RUnlock()
		if len(lines) > 0 {
			continue
		}
		if !o.follow || ended {
			return
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			return
		case <-s.stopped:
			return
		}
	}
}

func selectLines(lines []logLine, now time.Time, o *logOptions) []logLine {
	if o.sinceSeconds > 0 {
		since := now.Add(-seconds(o.sinceSeconds))
		for len(lines) > 0 && lines[0].at.Before(since) {
			lines = lines[1:]
		}
	}
	if o.tailLines >= 0 && int64(len(lines)) > o.tailLines {
		lines = lines[int64(len(lines))-o.tailLines:]
	}
	return lines
}

// writeLines writes lines until the limit is used up, and reports whether the caller is still there.
func writeLines(w *streamWriter, lines []logLine, timestamps bool, left *int64) bool {
	var out strings.Builder
	for _, line := range lines {
		if timestamps {
			out.WriteString(line.at.UTC().Format(time.RFC3339Nano))
			out.WriteByte(' ')
		}
		out.WriteString(line.text)
		out.WriteByte('\n')
	}
	text := out.String()
	if *left >= 0 {
		text = text[:min(int64(len(text)), *left)]
		*left -= int64(len(text))
	}
	return text == "" || w.write([]byte(text))
}
