package chart

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/test/system"
)

// rules returns the rules of each role, by kind, namespace and name. The namespace of the programs is called own.
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

// trialManifest contains what the programs of trial systems may do.
const trialManifest = "../system/manifests/spillway.yaml"

// rollouts is a value of the chart: Rollouts are owners of Pods.
const rollouts = "admission.ownerKinds[0].group=argoproj.io,admission.ownerKinds[0].version=v1alpha1," +
	"admission.ownerKinds[0].resource=rollouts,admission.ownerKinds[0].kind=Rollout"

// TestTheRightsAreThoseOfTheTrialSystem checks that the programs of trial systems have what the chart gives them:
// ServiceAccounts, roles, the objects that they must not create, and the policies that restrict them. The stories,
// which run there, show that the programs need their rights and no more. With -update it writes the manifest.
func TestTheRightsAreThoseOfTheTrialSystem(t *testing.T) {
	const header = "# Generated from the chart by go test ./test/chart -run TestTheRights -update.\n"
	var documents []string
	found := map[string]bool{}
	for _, object := range objects(t, spillway,
		values("--set", "scheduler.mode=service,vnode.certificate=cluster,"+rollouts+
			",vnode.pods.services=proxy,vnode.pods.clusterDNS={10.96.0.10}",
			"--set-json", virtualNodes(system.MaxVirtualNodes))...) {
		switch kind := object.GetKind(); {
		case kind == "Secret" && slices.Contains([]string{"spillway-admission-tls", "spillway-services"}, object.GetName()):
		case slices.Contains([]string{
			"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Lease",
			"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
		}, kind):
		default:
			continue
		}
		found[object.GetKind()+" "+object.GetName()] = true
		object.SetLabels(nil)
		object.SetAnnotations(nil)
		content, err := yaml.Marshal(object.Object)
		require.NoError(t, err)
		documents = append(documents, string(content))
	}
	written := header + strings.Join(documents, "---\n")
	for _, program := range []string{system.Extender, system.Admission, "vnode", "uninstall"} {
		assert.Contains(t, found, "ServiceAccount "+system.ServiceAccount(program))
	}
	assert.Contains(t, found, "Lease spillway-vnode-"+system.VirtualNode(system.MaxVirtualNodes-1))
	if *update {
		require.NoError(t, os.WriteFile(trialManifest, []byte(written), 0o644))
	}
	kept, err := os.ReadFile(trialManifest)
	require.NoError(t, err)
	assert.Equal(t, written, string(kept), "run go test ./test/chart -run TestTheRights -update")
}

func TestUnusedFeaturesGetNoPermissions(t *testing.T) {
	without := rules(objects(t, spillway,
		values("--set", "vnode.identity=serviceAccount,vnode.pods.serviceAccountTokens=false")...,
	))["ClusterRole /spillway-vnode"]
	assert.NotContains(t, without, map[string]any{
		"apiGroups": []any{""}, "resources": []any{"serviceaccounts/token"}, "verbs": []any{"create"},
	})
	for _, rule := range without.([]any) {
		assert.NotContains(t, rule, "certificates.k8s.io")
	}
}

func TestPermissionsOfEachServiceAccount(t *testing.T) {
	install(t, simulated()...)
	const admission, scheduler, vnode = "spillway-admission", "spillway-scheduler", "spillway-vnode"
	const (
		admissionRegistration = "admissionregistration.k8s.io"
		certificates          = "certificates.k8s.io"
		coordination          = "coordination.k8s.io"
		rbac                  = "rbac.authorization.k8s.io"
		mutating              = "mutatingwebhookconfigurations"
	)
	// access is one request. The namespace follows the resource, and may be empty.
	access := func(verb, group, resource, namespace, name string) authorizationv1.ResourceAttributes {
		resource, subresource, _ := strings.Cut(resource, "/")
		return authorizationv1.ResourceAttributes{
			Verb: verb, Group: group, Resource: resource, Subresource: subresource, Namespace: namespace, Name: name,
		}
	}
	cases := map[string]struct {
		account string
		request authorizationv1.ResourceAttributes
		want    bool
	}{
		"admission updates its certificate": {
			admission, access("update", "", "secrets", namespace, "spillway-admission-tls"), true,
		},
		"admission does not read other Secrets": {
			admission, access("get", "", "secrets", namespace, "spillway-cci-credentials"), false,
		},
		"admission does not list Secrets": {admission, access("list", "", "secrets", namespace, ""), false},
		"admission patches its registration": {
			admission, access("patch", admissionRegistration, mutating, "", "spillway"), true,
		},
		"admission does not patch other webhooks": {
			admission, access("patch", admissionRegistration, mutating, "", "other"), false,
		},
		"admission watches the global switch": {
			admission, access("watch", "", "configmaps", "kube-system", "eks-config"), true,
		},
		"admission does not watch other ConfigMaps": {
			admission, access("watch", "", "configmaps", "kube-system", "kubeadm-config"), false,
		},
		"admission does not delete Pods":     {admission, access("delete", "", "pods", "default", ""), false},
		"admission does not patch workloads": {admission, access("patch", "apps", "deployments", "default", ""), false},
		"admission updates its Lease": {
			admission, access("update", coordination, "leases", namespace, admission), true,
		},
		"admission does not update other Leases": {
			admission, access("update", coordination, "leases", namespace, scheduler), false,
		},
		"the scheduler binds Pods":              {scheduler, access("create", "", "pods/binding", "default", ""), true},
		"the extender in its Pod patches slots": {scheduler, access("patch", "", "pods", "default", ""), true},
		"the scheduler updates its own Lease": {
			scheduler, access("update", coordination, "leases", namespace, scheduler), true,
		},
		"the scheduler does not read Secrets": {scheduler, access("get", "", "secrets", namespace, ""), false},
		"the virtual node acts as the user of its node": {
			vnode, access("impersonate", "", "users", "", "system:node:virtual-node-cci-0"), true,
		},
		"and as a member of the group of nodes": {vnode, access("impersonate", "", "groups", "", "system:nodes"), true},
		"the virtual node does not act as a machine": {
			vnode, access("impersonate", "", "users", "", "system:node:local-0"), false,
		},
		"the virtual node does not act as an administrator": {
			vnode, access("impersonate", "", "groups", "", "system:masters"), false,
		},
		"the virtual node does not act as another account": {
			vnode, access("impersonate", "", "serviceaccounts", namespace, admission), false,
		},
		"the account of the virtual node reads no Secret": {
			vnode, access("get", "", "secrets", "default", "password"), false,
		},
		"the account of the virtual node reads no ConfigMap": {
			vnode, access("get", "", "configmaps", "default", "settings"), false,
		},
		"the account of the virtual node lists no Pods": {vnode, access("list", "", "pods", "", ""), false},
		"the account of the virtual node requests no tokens": {
			vnode, access("create", "", "serviceaccounts/token", "default", "default"), false,
		},
		"the account of the virtual node patches no machine": {
			vnode,
			access("patch", "", "nodes", "", "local-0"),
			false,
		},
		"the virtual node does not update Leases of others": {
			vnode, access("update", coordination, "leases", "kube-system", "kube-scheduler"), false,
		},
		"the virtual node does not delete nodes": {vnode, access("delete", "", "nodes", "", "local-0"), false},
		"the virtual node does not create Pods":  {vnode, access("create", "", "pods", "default", ""), false},
		"the virtual node does not run commands on other nodes": {
			vnode, access("create", "", "nodes/proxy", "", "local-0"), false,
		},
		"the virtual node does not approve certificates": {
			vnode, access("update", certificates, "certificatesigningrequests/approval", "", ""), false,
		},
		"admission does not grant permissions": {
			admission, access("create", rbac, "clusterrolebindings", "", ""), false,
		},
		"the scheduler does not grant permissions": {
			scheduler, access("create", rbac, "clusterrolebindings", "", ""), false,
		},
		"the virtual node does not grant permissions": {
			vnode,
			access("create", rbac, "clusterrolebindings", "", ""),
			false,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + namespace + ":" + tc.account, ResourceAttributes: &tc.request,
			}}
			answer, err := trial.Client().AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review,
				metav1.CreateOptions{})
			require.NoError(t, err)
			assert.Equal(t, tc.want, answer.Status.Allowed, answer.Status.Reason)
		})
	}
}
