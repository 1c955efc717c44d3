package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
)

// Auth decides who may ask: by the cluster's TokenReview and SubjectAccessReview, and by client certificates of one authority. It never
// lets anybody in unknown.
type Auth struct {
	nodeutil.Auth
	nodeName  string
	authority *dynamiccertificates.DynamicFileCAContent
}

// NewAuth reads the file of the authority; a missing or unusable one is an error: without it everybody could read logs.
func NewAuth(client kubernetes.Interface, nodeName, clientCAFile string) (*Auth, error) {
	authority, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the authority of client certificates: %w", err)
	}
	auth, err := nodeutil.WebhookAuth(client, nodeName, func(c *nodeutil.WebhookAuthConfig) error {
		c.AuthnConfig.ClientCertificateCAContentProvider = authority
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("setting up authentication and authorization: %w", err)
	}
	return &Auth{Auth: auth, nodeName: nodeName, authority: authority}, nil
}

// Run reads the authority's file again when it changes, until ctx ends. It blocks.
func (a *Auth) Run(ctx context.Context) error {
	a.authority.Run(ctx, 1)
	return nil
}

// permit tells whether somebody may make a request; if not, what of it the cluster would have to allow.
func (a *Auth) permit(r *http.Request, who user.Info) (permitted bool, wanted string, err error) {
	verb, subresources := neededRights(r)
	wanted = fmt.Sprintf("user=%s, verb=%s, resource=nodes, subresource(s)=%v", who.GetName(), verb, subresources)
	for _, subresource := range subresources {
		decision, _, err := a.Authorize(r.Context(), authorizer.AttributesRecord{
			User: who, Verb: verb, APIVersion: "v1", Resource: "nodes", Subresource: subresource, Name: a.nodeName,
			ResourceRequest: true, Path: r.URL.Path,
		})
		if err != nil {
			return false, wanted, fmt.Errorf("asking whether it is allowed: %w", err)
		}
		if decision == authorizer.DecisionAllow {
			return true, wanted, nil
		}
	}
	return false, wanted, nil
}

// neededRights are the verb and the subresources of the Node of which a caller needs one. Source: Kubernetes 1.36, pkg/kubelet/server/auth.go. One
// thing is stricter: a command that begins as a WebSocket is a GET, and a right to get would be one to run commands.
func neededRights(r *http.Request) (verb string, subresources []string) {
	verb = map[string]string{
		http.MethodPost: "create", http.MethodGet: "get", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[r.Method]
	switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first {
	case "exec", "attach", "run", "portForward":
		return "create", []string{"proxy"}
	case "stats", "metrics":
		return verb, []string{first}
	case "pods", "healthz":
		return verb, []string{first, "proxy"}
	}
	return verb, []string{"proxy"}
}

// withAuth lets in only who is known and permitted.
func withAuth(auth *Auth, next http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, known, err := auth.AuthenticateRequest(r)
		if err != nil {
			logger.Info("a caller of the kubelet port could not be made out", "path", r.URL.Path, "err", err)
		}
		if err != nil || !known {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		permitted, wanted, err := auth.permit(r, found.User)
		if err != nil {
			logger.Warn("a caller of the kubelet port could not be judged", "path", r.URL.Path, "err", err)
			http.Error(w, "Authorization error ("+wanted+")", http.StatusInternalServerError)
			return
		}
		if !permitted {
			http.Error(w, "Forbidden ("+wanted+")", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
