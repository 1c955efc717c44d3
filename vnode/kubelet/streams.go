package kubelet

import (
	"fmt"
	"net/http"

	"github.com/spillway-k8s/spillway/internal/serve"
)

const (
	// maxStreams is how many logs, commands and forwarded ports may be open at once. Each has a connection to the API
	// server, one to the cloud, and some goroutines: about 200 KB.
	maxStreams = 400
	// maxNamespaceStreams and maxPodStreams are the shares of a namespace and of a Pod.
	maxNamespaceStreams, maxPodStreams = 200, 50
	// maxForwarded is how many connections one caller may forward at once.
	maxForwarded = 100
)

// streams limits the open streams.
type streams struct{ namespaces, pods *serve.Shares }

func newStreams() *streams {
	return &streams{
		namespaces: serve.NewShares(maxStreams, maxNamespaceStreams), pods: serve.NewShares(maxStreams, maxPodStreams),
	}
}

// limit answers requests beyond the limits with status 429. There is no Retry-After: a stream may last for hours.
func (s *streams) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		namespace := r.PathValue("namespace")
		pod := namespace + "/" + r.PathValue("pod")
		if !s.pods.Take(pod) {
			tooMany(w, r, "Pod "+pod, maxPodStreams)
			return
		}
		defer s.pods.Give(pod)
		if !s.namespaces.Take(namespace) {
			tooMany(w, r, "namespace "+namespace, maxNamespaceStreams)
			return
		}
		defer s.namespaces.Give(namespace)
		next.ServeHTTP(w, r)
	})
}

func tooMany(w http.ResponseWriter, r *http.Request, whose string, most int) {
	refuse(w, r, http.StatusTooManyRequests, fmt.Sprintf("too many logs, commands and forwarded ports are open: at most "+
		"%d of %s and %d of this virtual node may be: close some of them", most, whose, maxStreams))
}
