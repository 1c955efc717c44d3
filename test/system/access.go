package system

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/policy"
)

// ProgramNamespace contains the ServiceAccounts of Spillway's programs, and their Leases.
const ProgramNamespace = "spillway-system"

// ServiceAccount returns the name of the ServiceAccount of a program: Extender, Admission or "vnode".
func ServiceAccount(program string) string { return "spillway-" + program }

// manifests contains what a program may do. Package test/chart generates spillway.yaml from the chart: it contains the
// ServiceAccounts, their roles, the Leases, and the policies that restrict the accounts.
//
//go:embed manifests/*.yaml
var manifests embed.FS

// user is a user of the API server that has a static token, as the parts of a control plane do.
type user struct{ name, group string }

const adminUser = "admin"

func (c Config) users() []user {
	users := []user{
		{adminUser, "system:masters"},
		{"system:kube-controller-manager", ""},
		{"system:kube-scheduler", ""},
		{KWOK, ""},
	}
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		users = append(users, user{name, c.Users[name]})
	}
	return users
}

// writeTokenFile writes the users of the API server, in the format of its --token-auth-file.
func (s *System) writeTokenFile() error {
	var lines strings.Builder
	for _, user := range s.config.users() {
		if s.state.Tokens[user.name] == "" {
			return fmt.Errorf("user %s: the system in %s was first started without this user: users cannot be added "+
				"until its state is removed", user.name, s.config.Dir)
		}
		fmt.Fprintf(&lines, "%s,%s,%s,%q\n", s.state.Tokens[user.name], user.name, user.name, user.group)
	}
	if err := os.WriteFile(s.data("tokens.csv"), []byte(lines.String()), 0o600); err != nil {
		return fmt.Errorf("writing the users of the API server: %w", err)
	}
	return nil
}

// writeKubeconfigs writes a kubeconfig for each user that has a static token.
func (s *System) writeKubeconfigs() error {
	for _, user := range s.config.users() {
		path := s.kubeconfig(user.name)
		if user.name == adminUser {
			path = s.Kubeconfig()
		}
		if err := s.writeKubeconfig(path, user.name, s.state.Tokens[user.name]); err != nil {
			return err
		}
	}
	return nil
}

// UserKubeconfig returns the path of the kubeconfig of one of the Users.
func (s *System) UserKubeconfig(name string) string { return s.kubeconfig(name) }

// kubeconfig returns the path of the kubeconfig of a process, or of a user of the control plane.
func (s *System) kubeconfig(name string) string {
	return s.data(strings.ReplaceAll(strings.TrimPrefix(name, "system:"), ":", "-") + ".kubeconfig")
}

func (s *System) writeKubeconfig(path, user, token string) error {
	authority, err := os.ReadFile(s.pki.certFile("ca"))
	if err != nil {
		return fmt.Errorf("reading the certificate authority: %w", err)
	}
	const name = "trial"
	config := clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			name: {Server: s.apiServerFor(user), CertificateAuthorityData: authority},
		},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user}},
		CurrentContext: name,
	}
	if err := clientcmd.WriteToFile(config, path); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// apiServerFor returns the URL of the API server for one of its users.
func (s *System) apiServerFor(user string) string {
	return cmp.Or(s.config.Routes[strings.TrimPrefix(user, "system:")], s.Endpoint(APIServer))
}

// grant creates the rights of the programs, and a kubeconfig for each with a new token of its ServiceAccount.
func (s *System) grant(ctx context.Context) error {
	if err := s.applyManifest(ctx, "access.yaml"); err != nil || s.config.Installed {
		return err
	}
	for _, file := range []string{"namespace.yaml", "spillway.yaml"} {
		if err := s.applyManifest(ctx, file); err != nil {
			return err
		}
	}
	if err := s.describeInstallation(ctx); err != nil {
		return err
	}
	for _, program := range []string{Extender, Admission, vnode, uninstall} {
		seconds := int64(lifetime / time.Second)
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
		accounts := s.client.CoreV1().ServiceAccounts(ProgramNamespace)
		issued, err := accounts.CreateToken(ctx, ServiceAccount(program), request, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("requesting a token for %s: %w", program, err)
		}
		if err := s.writeKubeconfig(s.kubeconfig(program), program, issued.Status.Token); err != nil {
			return err
		}
	}
	return nil
}

// describeInstallation creates the ConfigMap that the chart would create.
func (s *System) describeInstallation(ctx context.Context) error {
	described := installation.Installation{
		Version: "devel", Namespace: ProgramNamespace, Policy: policy.DefaultConfig(),
		Scheduler: installation.Scheduler{MarkerResource: s.config.Shape.Topology != TopologyOwnScheduler},
	}
	if s.config.Shape.Topology != TopologySidecar {
		described.Scheduler.Name = OwnScheduler
	}
	for i := range s.config.Shape.VirtualNodes {
		described.VirtualNodes = append(described.VirtualNodes, VirtualNode(i))
	}
	described.Policy.DisabledRules = s.config.DisabledRules
	described.Policy.IgnoredNodeSelectors = s.config.IgnoredNodeSelectors
	configMap, err := described.ConfigMap()
	if err != nil {
		return err
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(configMap)
	if err != nil {
		return fmt.Errorf("converting the description of the installation: %w", err)
	}
	return s.apply(ctx, &unstructured.Unstructured{Object: object})
}

// RegisterWebhooks registers the admission program's address and CA with the API server. It returns when the API server
// calls the webhook.
func (s *System) RegisterWebhooks(ctx context.Context) error {
	authority, err := os.ReadFile(s.pki.certFile("ca"))
	if err != nil {
		return fmt.Errorf("reading the certificate authority: %w", err)
	}
	listener := admissionregistrationv1.WebhookClientConfig{URL: new(s.ServiceEndpoint(Admission)), CABundle: authority}
	for _, registration := range []any{
		webhook.ValidatingRegistration(listener, ProgramNamespace, metav1.NamespaceSystem, ProgramNamespace),
		webhook.Registration(listener, metav1.NamespaceSystem, ProgramNamespace),
	} {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(registration)
		if err != nil {
			return fmt.Errorf("converting a registration of the webhook: %w", err)
		}
		if err := s.apply(ctx, &unstructured.Unstructured{Object: object}); err != nil {
			return err
		}
	}
	// The API server loads the registration with a delay. Until then it would create Pods without calling the webhook.
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "probe", Annotations: map[string]string{policy.LocalReplicasAnnotation: "1"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: "probe"}}},
	}
	pods := s.client.CoreV1().Pods(metav1.NamespaceDefault)
	return s.await(ctx, Admission, func(ctx context.Context) error {
		answer, err := pods.Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if !policy.NeedsPlacement(&answer.Spec) && answer.Spec.SchedulerName != OwnScheduler {
			return errors.New("the API server does not call the webhook yet")
		}
		return nil
	})
}

// applyManifest applies the objects of an embedded manifest. It can be called repeatedly.
func (s *System) applyManifest(ctx context.Context, file string) error {
	content, err := manifests.ReadFile("manifests/" + file)
	if err != nil {
		return fmt.Errorf("reading manifest %s: %w", file, err)
	}
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			return fmt.Errorf("reading manifest %s: %w", file, err)
		}
		if err := s.apply(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

func (s *System) apply(ctx context.Context, object *unstructured.Unstructured) error {
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	client := s.dynamic.Resource(resource).Namespace(object.GetNamespace())
	options := metav1.ApplyOptions{FieldManager: "trial", Force: true}
	if _, err := client.Apply(ctx, object.GetName(), object, options); err != nil {
		return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}
