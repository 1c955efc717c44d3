package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/util/cert"
)

// Auth authenticates callers by a TokenReview or a client certificate, and authorizes them by a SubjectAccessReview.
// It never admits anonymous callers.
type Auth struct {
	nodeutil.Auth
	nodeName string
	clientCA *dynamiccertificates.DynamicFileCAContent
	callers  *callers
	// ran is set by Run, which ends what clientCA has started.
	ran atomic.Bool
}

// reviewTimeout is how long a TokenReview may take, with its retries.
const reviewTimeout = 10 * time.Second

// reviews sends TokenReviews with one client and everything else, such as SubjectAccessReviews, with another.
type reviews struct {
	kubernetes.Interface
	tokens kubernetes.Interface
}

// AuthenticationV1 implements kubernetes.Interface.
func (r reviews) AuthenticationV1() authenticationv1.AuthenticationV1Interface {
	return r.tokens.AuthenticationV1()
}

// NewAuth reads the CA of client certificates from clientCAFile (PEM). It fails if the file is missing or invalid. It
// sends no requests; the clients are used for TokenReviews and SubjectAccessReviews later. Any client that reaches the
// port can use up the rate limit of tokens, so no other requests may share it. Close the Auth unless Run has been
// called.
func NewAuth(tokens, access kubernetes.Interface, nodeName, clientCAFile string) (*Auth, error) {
	// The call below would leave a queue running if it failed.
	if _, err := cert.CertsFromFile(clientCAFile); err != nil {
		return nil, fmt.Errorf("reading the CA of client certificates in %s: %w", clientCAFile, err)
	}
	clientCA, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA of client certificates: %w", err)
	}
	a := &Auth{nodeName: nodeName, clientCA: clientCA, callers: newCallers()}
	a.Auth, err = nodeutil.WebhookAuth(reviews{access, tokens}, nodeName, func(c *nodeutil.WebhookAuthConfig) error {
		c.AuthnConfig.ClientCertificateCAContentProvider = clientCA
		c.AuthnConfig.TokenAccessReviewTimeout = reviewTimeout
		return nil
	})
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("setting up authentication and authorization: %w", err)
	}
	return a, nil
}

// Run reads the CA file again when it changes. It blocks until ctx ends.
func (a *Auth) Run(ctx context.Context) error {
	a.ran.Store(true)
	a.clientCA.Run(ctx, 1)
	return nil
}

// Close releases what NewAuth has created. It does nothing if Run has been called. It may be called again.
func (a *Auth) Close() {
	if !a.ran.Swap(true) {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		a.clientCA.Run(ended, 1) // Nothing else ends its queue.
	}
}

// authorize reports whether a user may make a request. attributes describes what the cluster must allow.
func (a *Auth) authorize(r *http.Request, who user.Info) (allowed bool, attributes string, err error) {
	verb, subresources := requiredAttributes(r)
	attributes = fmt.Sprintf("user=%s, verb=%s, resource=nodes, subresource(s)=%v", who.GetName(), verb, subresources)
	for _, subresource := range subresources {
		decision, _, err := a.Authorize(r.Context(), authorizer.AttributesRecord{
			User: who, Verb: verb, APIVersion: "v1", Resource: "nodes", Subresource: subresource, Name: a.nodeName,
			ResourceRequest: true, Path: r.URL.Path,
		})
		if err != nil {
			return false, attributes, fmt.Errorf("authorizing the request: %w", err)
		}
		if decision == authorizer.DecisionAllow {
			return true, attributes, nil
		}
	}
	return false, attributes, nil
}

// requiredAttributes returns the verb, and the subresources of the Node of which the caller needs one. One rule is
// stricter than in the kubelet: running a command needs the verb create even if the request is a GET that opens a
// WebSocket. Otherwise the permission to get would be the permission to run commands. Source: Kubernetes v1.36,
// pkg/kubelet/server/auth.go.
func requiredAttributes(r *http.Request) (verb string, subresources []string) {
	verb = map[string]string{
		http.MethodPost: "create", http.MethodGet: "get", http.MethodPut: "update",
		http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[r.Method]
	switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first {
	case "exec", "attach", "run", "portForward":
		return "create", []string{"proxy"}
	case "stats", "metrics":
		return verb, []string{first}
	case "pods", "runningpods":
		return verb, []string{"pods", "proxy"}
	case "healthz":
		return verb, []string{first, "proxy"}
	}
	return verb, []string{"proxy"}
}

// withAuth admits only callers that are authenticated and authorized.
func withAuth(auth *Auth, next http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end, ok := auth.callers.begin(r)
		if !ok {
			w.Header().Set("Retry-After", "1")
			refuse(w, r, http.StatusTooManyRequests, "too many tokens of this address are unknown or under review")
			return
		}
		found, known, err := auth.AuthenticateRequest(r)
		end(err == nil && known)
		if err != nil {
			logger.Info("cannot authenticate a caller of the kubelet port", "path", r.URL.Path, "err", err)
		}
		if err != nil || !known {
			refuse(w, r, http.StatusUnauthorized, "Unauthorized")
			return
		}
		allowed, attributes, err := auth.authorize(r, found.User)
		if err != nil {
			logger.Warn("cannot authorize a caller of the kubelet port", "path", r.URL.Path, "err", err)
			refuse(w, r, http.StatusInternalServerError, "Authorization error ("+attributes+")")
			return
		}
		if !allowed {
			refuse(w, r, http.StatusForbidden, "Forbidden ("+attributes+")")
			return
		}
		next.ServeHTTP(w, r)
	})
}
