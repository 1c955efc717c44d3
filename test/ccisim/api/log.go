package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/podlife"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// logParameters are the query parameters of pods/log. The service does not know sinceTime.
var logParameters = []string{"container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "pretty", "previous",
	"sinceSeconds", "tailLines", "timestamps"}

// logOptions are the options of a request for a log. Unset numbers are -1.
type logOptions struct {
	container                           string
	follow, previous, timestamps        bool
	limitBytes, sinceSeconds, tailLines int64
}

func parseLogOptions(query url.Values) (*logOptions, field.ErrorList) {
	o := &logOptions{
		container: query.Get("container"), follow: IsTrue(query.Get("follow")),
		previous: IsTrue(query.Get("previous")), timestamps: IsTrue(query.Get("timestamps")),
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
			errs = append(errs, field.Invalid(field.NewPath(name), text,
				fmt.Sprintf("must be greater than or equal to %d", target.least)))
			continue
		}
		*target.value = n
	}
	return o, errs
}

// serveLog serves pods/log as the kubelet does.
func (s *Server) serveLog(c *call) (*reply, *apiError) {
	query := c.r.URL.Query()
	s.countIgnoredParameters(c, query, logParameters)
	options, errs := parseLogOptions(query)
	if len(errs) > 0 {
		return nil, invalid(objects.Pods, c.name, errs)
	}
	return s.view(func(v store.View) (*reply, *apiError) {
		log, refusal := s.findLog(v, c, options)
		if refusal != nil {
			return nil, refusal
		}
		return &reply{
			status: http.StatusOK, header: http.Header{"Content-Type": {"text/plain"}},
			stream: func(w *streamWriter) { s.streamLog(w, log, options) },
		}, nil
	})
}

func (s *Server) countIgnoredParameters(c *call, query url.Values, parameters []string) {
	var ignored []string
	for name := range query {
		if !slices.Contains(parameters, name) {
			ignored = append(ignored, "query."+name)
		}
	}
	s.cfg.Requests.countDropped(c.verb, c.label(), c.namespace, c.name, ignored)
}

// findLog returns the requested log, or an error that says why it does not exist.
func (s *Server) findLog(v store.View, c *call, o *logOptions) (*podlife.Log, *apiError) {
	pod, container, refusal := findContainer(v, c, o.container)
	if refusal != nil {
		return nil, refusal
	}
	current, previous := s.life.Logs(v, pod, container)
	if o.previous {
		if previous == nil {
			return nil, badRequest("", "previous terminated container %q in pod %q not found", container, pod.Name)
		}
		return previous, nil
	}
	if current != nil {
		return current, nil
	}
	status := objects.ContainerStatus(pod, container)
	if status == nil {
		return nil, badRequest("", "pod %s does not have a host assigned", pod.Name)
	}
	reason := "ContainerCreating"
	if status.State.Waiting != nil {
		reason = status.State.Waiting.Reason
	}
	if reason == podlife.ReasonPullFailed || reason == podlife.ReasonPullBackOff {
		reason = "trying and failing to pull image"
	}
	return nil, badRequest("", "container %q in pod %q is waiting to start: %s", container, pod.Name, reason)
}

// findContainer returns the Pod of a call and the name of the requested container.
func findContainer(v store.View, c *call, requested string) (*objects.Pod, string, *apiError) {
	if refusal := checkNamespace(v, c); refusal != nil {
		return nil, "", refusal
	}
	pod := v.Pod(c.namespace, c.name)
	if pod == nil {
		return nil, "", notFound(objects.Pods, c.name)
	}
	container, refusal := chooseContainer(pod, requested)
	return pod, container, refusal
}

// chooseContainer returns the requested container, or the only one if none is requested.
func chooseContainer(pod *objects.Pod, requested string) (string, *apiError) {
	var app, init []string
	for _, c := range pod.Spec.InitContainers {
		init = append(init, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		app = append(app, c.Name)
	}
	if requested == "" {
		if len(app) == 1 && len(init) == 0 {
			return app[0], nil
		}
		message := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, app)
		if len(init) > 0 {
			message += fmt.Sprintf(" or one of the init containers: %v", init)
		}
		return "", badRequest("", "%s", message)
	}
	if !slices.Contains(init, requested) && !slices.Contains(app, requested) {
		return "", badRequest("", "container %s is not valid for pod %s", requested, pod.Name)
	}
	return requested, nil
}

// streamLog writes the log, and new lines if the client follows it.
func (s *Server) streamLog(w *streamWriter, log *podlife.Log, o *logOptions) {
	lines, next, _, _ := log.Read(0)
	lines = selectLines(lines, s.cfg.Clock.Now(), o)
	left := o.limitBytes
	for {
		if !writeLines(w, lines, o.timestamps, &left) || !w.flush() || left == 0 {
			return
		}
		var changed <-chan struct{}
		var ended bool
		if lines, next, changed, ended = log.Read(next); len(lines) > 0 {
			continue
		}
		if !o.follow || ended {
			return
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			return
		case <-s.life.Stopped():
			return
		}
	}
}

// selectLines returns the lines that sinceSeconds and tailLines select.
func selectLines(lines []podlife.LogLine, now time.Time, o *logOptions) []podlife.LogLine {
	if o.sinceSeconds > 0 {
		since := now.Add(-time.Duration(o.sinceSeconds) * time.Second)
		for len(lines) > 0 && lines[0].At.Before(since) {
			lines = lines[1:]
		}
	}
	if o.tailLines >= 0 && int64(len(lines)) > o.tailLines {
		lines = lines[int64(len(lines))-o.tailLines:]
	}
	return lines
}

// writeLines writes lines until the limit is reached, and reports whether the client is still connected.
func writeLines(w *streamWriter, lines []podlife.LogLine, timestamps bool, left *int64) bool {
	var out strings.Builder
	for _, line := range lines {
		if timestamps {
			out.WriteString(line.At.UTC().Format(time.RFC3339Nano))
			out.WriteByte(' ')
		}
		out.WriteString(line.Text)
		out.WriteByte('\n')
	}
	text := out.String()
	if *left >= 0 {
		text = text[:min(int64(len(text)), *left)]
		*left -= int64(len(text))
	}
	return text == "" || w.write([]byte(text))
}
