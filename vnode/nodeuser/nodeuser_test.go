package nodeuser

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestNames(t *testing.T) {
	user := Impersonation("virtual-node-cci-0")
	assert.Equal(t, "system:node:virtual-node-cci-0", user.UserName)
	assert.Equal(t, []string{"system:nodes"}, user.Groups)
	node, ok := NodeOf(user.UserName)
	assert.True(t, ok)
	assert.Equal(t, "virtual-node-cci-0", node)
	node, ok = NodeOf("system:serviceaccount:spillway-system:spillway-vnode")
	assert.False(t, ok)
	assert.Empty(t, node)
}

func TestLabelsThatANodeMaySet(t *testing.T) {
	for key, want := range map[string]bool{
		"type":                         true,
		"spillway.io/cluster-id":       true,
		corev1.LabelHostname:           true,
		corev1.LabelOSStable:           true,
		corev1.LabelTopologyRegion:     true,
		corev1.LabelInstanceTypeStable: true,
		// The whole domain node.kubernetes.io is the node's.
		corev1.LabelNodeExcludeBalancers:               true,
		"kubernetes.io/role":                           false,
		"node-role.kubernetes.io/agent":                false,
		"node-restriction.kubernetes.io/anything":      false,
		"team.node-restriction.kubernetes.io/anything": false,
		"example.k8s.io/anything":                      false,
		"notkubernetes.io/anything":                    true,
	} {
		assert.Equal(t, want, MaySetLabel(key), key)
	}
}

func forbidden(group, resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: resource}, "x", errors.New("no"))
}

func TestARefusalSaysWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"the right to act as the user":  {forbidden("", "users"), "to impersonate user system:node:n and group system:no"},
		"the right to act as the group": {forbidden("", "groups"), "to impersonate user system:node:n and group system:no"},
		"the Node authorizer":           {forbidden("", "nodes"), "--authorization-mode=Node,RBAC"},
		"the Node authorizer, in an error of the caller": {
			fmt.Errorf("reading node n: %w", forbidden("", "nodes")), "--authorization-mode=Node,RBAC",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Explain("n", test.err)
			assert.ErrorContains(t, got, test.want)
			assert.ErrorContains(t, got, "set identity to serviceAccount")
			assert.ErrorIs(t, got, test.err)
		})
	}
	other := apierrors.NewInternalError(errors.New("broken"))
	assert.Equal(t, error(other), Explain("n", other))
	assert.False(t, RefusesImpersonation(nil))
	assert.False(t, RefusesImpersonation(apierrors.NewNotFound(schema.GroupResource{Resource: "users"}, "x")))
}

func TestWhetherTheNodeIsRestricted(t *testing.T) {
	for name, test := range map[string]struct {
		answer     error
		restricted bool
		fails      bool
	}{
		"the Lease of another is refused": {forbidden("coordination.k8s.io", "leases"), true, false},
		"the Lease of another is allowed": {nil, false, false},
		"nothing is known after an error": {apierrors.NewInternalError(errors.New("broken")), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("create", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
				create := action.(clienttesting.CreateActionImpl)
				assert.Equal(t, []string{"All"}, create.CreateOptions.DryRun, "nothing is created")
				assert.Equal(t, corev1.NamespaceNodeLease, create.Namespace)
				return true, &coordinationv1.Lease{}, test.answer
			})
			got, err := IsRestricted(t.Context(), client.CoordinationV1(), "n")
			if test.fails {
				require.ErrorContains(t, err, "broken")
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, test.restricted, got)
		})
	}
}
