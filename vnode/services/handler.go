package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/serve"
)

// The paths that clients use.
const (
	pathServices = "/api/v1/services"
	pathSlices   = "/apis/discovery.k8s.io/v1/endpointslices"
	pathNodes    = "/api/v1/nodes"
	pathCIDRs    = "/apis/networking.k8s.io/v1/servicecidrs"
	// pathEvents is followed by a namespace and "/events".
	pathEvents = "/apis/events.k8s.io/v1/namespaces/"
)

// maxEventBody is the limit of the body of a Kubernetes Event in bytes.
const maxEventBody = 64 << 10

// caller is the Pod that has sent a request.
type caller struct {
	pod    Pod
	node   *node
	client *client
}

// handler returns the handler of all requests.
func (s *Server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, ok := s.admit(w, r)
		if !ok {
			return
		}
		var problem *apierrors.StatusError
		path := strings.TrimSuffix(r.URL.Path, "/")
		of := s.collection(from, path)
		switch {
		case of != nil && r.Method == http.MethodGet:
			problem = s.serveObjects(w, r, from, of)
		case path == pathNodes+"/"+from.pod.Node && r.Method == http.MethodGet:
			problem = s.serveNode(w, from)
		case strings.HasPrefix(path, pathEvents):
			problem = takeEvent(w, r)
		case of != nil:
			problem = apierrors.NewMethodNotSupported(schema.GroupResource{}, r.Method)
		default:
			problem = apierrors.NewNotFound(schema.GroupResource{Resource: "paths"}, path)
		}
		if problem != nil {
			s.metrics.refused.WithLabelValues(causeRequest).Inc()
			refuse(w, problem)
		}
	})
}

// collection returns the objects of a path, nil if there are none.
func (s *Server) collection(from caller, path string) *served {
	switch path {
	case pathServices:
		return s.services
	case pathSlices:
		return s.slices
	case pathNodes:
		return from.node.served
	case pathCIDRs:
		return s.cidrs
	}
	return nil
}

// admit returns the Pod that has sent a request, or answers the request.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (caller, bool) {
	var pod Pod
	err := errToken
	if keys := s.secret.Load(); keys != nil { // A connection needs its certificate, so there are keys.
		pod, err = keys.key.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
	if err != nil {
		s.metrics.refused.WithLabelValues(causeToken).Inc()
		refuse(w, apierrors.NewUnauthorized(err.Error()))
		return caller{}, false
	}
	s.mu.RLock()
	node := s.nodes[pod.Node]
	s.mu.RUnlock()
	if node == nil || !node.ready() {
		s.metrics.refused.WithLabelValues(causeElsewhere).Inc()
		refuseElsewhere(w, fmt.Sprintf("node %s does not run in this process", pod.Node))
		return caller{}, false
	}
	client, allowed := node.enter(pod)
	switch {
	case client == nil:
		s.metrics.refused.WithLabelValues(causeToken).Inc()
		refuse(w, apierrors.NewUnauthorized("the Pod of the token is not on its node, or has finished"))
	case !allowed:
		s.refuseOften(w)
	default:
		serve.Accept(r)
	}
	return caller{pod, node, client}, client != nil && allowed
}

// refuseOften answers the request of a Pod that asks too often.
func (s *Server) refuseOften(w http.ResponseWriter) {
	s.metrics.refused.WithLabelValues(causeRate).Inc()
	refuse(w, apierrors.NewTooManyRequests("this Pod asks too often", int(requestInterval.Seconds())))
}

// serveObjects answers a list or a watch. It returns an error that must be answered instead.
func (s *Server) serveObjects(w http.ResponseWriter, r *http.Request, from caller, of *served) *apierrors.StatusError {
	if !of.resources.synced() {
		s.metrics.refused.WithLabelValues(causeElsewhere).Inc()
		refuseElsewhere(w, fmt.Sprintf("the %s objects of the cluster are not known yet", of.resources.kind.name))
		return nil
	}
	q, problem := parse(r.URL.Query(), of.resources.kind)
	if problem != nil {
		return problem
	}
	isLarge := of == s.services || of == s.slices
	if isLarge && q.wantsAll() && !from.client.requests.AllowN(time.Now(), costOfAll-1) {
		s.refuseOften(w)
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), q.timeout())
	defer cancel()
	sender := s.newSender(w, r, of.resources.kind)
	view := s.scope.newView(from.pod.Namespace, &q.ListOptions)
	if !q.Watch {
		l := &list{sender, of.resources, q, view}
		if problem := l.ready(ctx); problem != nil {
			return problem
		}
		s.noteEnd(from, l.send())
		return nil
	}
	closed, ok := from.node.open(from.pod, from.client, cancel)
	if !ok {
		return apierrors.NewUnauthorized("the Pod of the token is gone")
	}
	defer closed()
	stream := &stream{sender: sender, resources: of.resources, initials: of.initials, query: q, view: view}
	if problem := stream.ready(ctx); problem != nil {
		return problem
	}
	open := s.metrics.streams.WithLabelValues(of.resources.kind.name)
	open.Inc()
	defer open.Dec()
	s.noteEnd(from, stream.run(ctx))
	return nil
}

// noteEnd notes why a response has ended before its client wanted it. A client that has gone is no reason to log.
func (s *Server) noteEnd(from caller, err error) {
	var cause string
	switch {
	case errors.Is(err, errBlocked):
		cause = causeBlocked
	case errors.Is(err, errBehind):
		cause = causeBehind
	case errors.Is(err, errLost):
		cause = causeLost
	default:
		return
	}
	s.metrics.cutOff.WithLabelValues(cause).Inc()
	s.config.Logger.Info("a stream of Services was cut off",
		logging.Pod(from.pod.Namespace, from.pod.Name, from.pod.UID), "cause", cause, "err", err)
}

// serveNode answers with the Node of the Pod.
func (s *Server) serveNode(w http.ResponseWriter, from caller) *apierrors.StatusError {
	objects, _, _ := from.node.served.resources.snapshot()
	if len(objects) == 0 {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, from.pod.Node)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(objects[0].json) // It fails if the client has gone.
	return nil
}

// takeEvent answers the Events of kube-proxy, which no client needs: one for the start of each Pod. The answer has the
// name of the Event, which its client uses in later requests.
func takeEvent(w http.ResponseWriter, r *http.Request) *apierrors.StatusError {
	namespace, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, pathEvents), "/")
	resource, name, _ := strings.Cut(rest, "/")
	code := http.StatusOK
	switch {
	case resource != "events" || strings.Contains(name, "/"):
		return apierrors.NewNotFound(schema.GroupResource{}, r.URL.Path)
	case r.Method == http.MethodPost && name == "":
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEventBody))
		if err != nil {
			return apierrors.NewBadRequest("reading the Event: " + err.Error())
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		if err != nil {
			return apierrors.NewBadRequest("decoding the Event: " + err.Error())
		}
		event, err := meta.Accessor(object)
		if err != nil {
			return apierrors.NewBadRequest("decoding the Event: " + err.Error())
		}
		name, code = event.GetName(), http.StatusCreated
	case r.Method == http.MethodPatch && name != "":
	default:
		return apierrors.NewMethodNotSupported(schema.GroupResource{Group: eventsv1.GroupName, Resource: "events"}, r.Method)
	}
	answer(w, code, &eventsv1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	})
	return nil
}
