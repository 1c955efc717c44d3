package chart

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// rules are those of a role, by kind, namespace and name. The namespace of the programs is called own.
func rules(list []*unstructured.Unstructured) map[string]any {
	found := map[string]any{}
	for _, object := range list {
		if kind := object.GetKind(); kind == "ClusterRole" || kind == "Role" {
			in := strings.Replace(object.GetNamespace(), "spillway-system", "own", 1)
			found[kind+" "+in+"/"+object.GetName()] = object.Object["rules"]
		}
	}
	return found
}

// TestTheRightsAreThoseOfTheTrialSystem holds that every program has what it has where all stories are played, and no more: what it needs
// is shown there.
func TestTheRightsAreThoseOfTheTrialSystem(t *testing.T) {
	given := rules(objects(t, spillway, values("--set", "scheduler.mode=service,vnode.certificate=cluster")...))
	tried := map[string]any{}
	for _, program := range []string{"extender", "admission", "vnode", "uninstall"} {
		content, err := os.ReadFile("../system/manifests/" + program + ".yaml")
		require.NoError(t, err)
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			object := &unstructured.Unstructured{}
			require.NoError(t, yaml.Unmarshal([]byte(document), &object.Object))
			for role, found := range rules([]*unstructured.Unstructured{object}) {
				tried[role] = found
			}
		}
	}
	assert.Len(t, tried, 10)
	assert.Equal(t, tried, given)
}

func TestWhatIsNotUsedIsNotAllowed(t *testing.T) {
	without := rules(objects(t, spillway, values("--set", "vnode.pods.serviceAccountTokens=false")...))["ClusterRole /spillway-vnode"]
	assert.NotContains(t, without, map[string]any{"apiGroups": []any{""}, "resources": []any{"serviceaccounts/token"}, "verbs": []any{"create"}})
	for _, rule := range without.([]any) {
		assert.NotContains(t, rule, "certificates.k8s.io")
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	install(t, simulated()...)
	const admission, scheduler, vnode = "spillway-admission", "spillway-scheduler", "spillway-vnode"
	type access = authorizationv1.ResourceAttributes
	cases := map[string]struct {
		who  string
		what access
		want bool
	}{
		"admission keeps its certificate":             {admission, access{Verb: "update", Resource: "secrets", Namespace: namespace, Name: "spillway-admission-tls"}, true},
		"admission reads no other Secret":             {admission, access{Verb: "get", Resource: "secrets", Namespace: namespace, Name: "spillway-cci-credentials"}, false},
		"admission lists no Secrets":                  {admission, access{Verb: "list", Resource: "secrets", Namespace: namespace}, false},
		"admission tells its registration":            {admission, access{Verb: "patch", Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations", Name: "spillway"}, true},
		"admission touches no other webhook":          {admission, access{Verb: "patch", Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations", Name: "other"}, false},
		"admission reads the switch":                  {admission, access{Verb: "watch", Resource: "configmaps", Namespace: "kube-system", Name: "eks-config"}, true},
		"admission reads no other ConfigMap":          {admission, access{Verb: "watch", Resource: "configmaps", Namespace: "kube-system", Name: "kubeadm-config"}, false},
		"admission deletes no Pods":                   {admission, access{Verb: "delete", Resource: "pods", Namespace: "default"}, false},
		"admission changes no workloads":              {admission, access{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "default"}, false},
		"admission holds its Lease":                   {admission, access{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: namespace, Name: admission}, true},
		"admission holds no other Lease":              {admission, access{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: namespace, Name: scheduler}, false},
		"the scheduler binds Pods":                    {scheduler, access{Verb: "create", Resource: "pods", Subresource: "binding", Namespace: "default"}, true},
		"the extender beside it writes slots":         {scheduler, access{Verb: "patch", Resource: "pods", Namespace: "default"}, true},
		"the scheduler holds a Lease of its own":      {scheduler, access{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: namespace, Name: scheduler}, true},
		"the scheduler reads no Secrets":              {scheduler, access{Verb: "get", Resource: "secrets", Namespace: namespace}, false},
		"the virtual node reads a Secret by its name": {vnode, access{Verb: "get", Resource: "secrets", Namespace: "default", Name: "password"}, true},
		"the virtual node lists no Secrets":           {vnode, access{Verb: "list", Resource: "secrets", Namespace: "default"}, false},
		"the virtual node watches no ConfigMaps":      {vnode, access{Verb: "watch", Resource: "configmaps", Namespace: "default"}, false},
		"the virtual node tends its heartbeat":        {vnode, access{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-node-lease", Name: "virtual-node-cci-0"}, true},
		"the virtual node holds no Lease of others":   {vnode, access{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-system", Name: "kube-scheduler"}, false},
		"the virtual node deletes no nodes":           {vnode, access{Verb: "delete", Resource: "nodes", Name: "local-0"}, false},
		"the virtual node makes no Pods":              {vnode, access{Verb: "create", Resource: "pods", Namespace: "default"}, false},
		"the virtual node runs no commands elsewhere": {vnode, access{Verb: "create", Resource: "nodes", Subresource: "proxy", Name: "local-0"}, false},
		"the virtual node approves no certificate":    {vnode, access{Verb: "update", Group: "certificates.k8s.io", Resource: "certificatesigningrequests", Subresource: "approval"}, false},
		"nobody of us gives rights: admission":        {admission, access{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}, false},
		"nobody of us gives rights: the scheduler":    {scheduler, access{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}, false},
		"nobody of us gives rights: the virtual node": {vnode, access{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + namespace + ":" + tc.who, ResourceAttributes: &tc.what,
			}}
			answer, err := trial.Client().AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
			require.NoError(t, err)
			assert.Equal(t, tc.want, answer.Status.Allowed, answer.Status.Reason)
		})
	}
}
