package node

import (
	"errors"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// twoClients returns the client of a node and that of the other user, for one set of objects.
func twoClients(objects ...runtime.Object) (node, account *fake.Clientset) {
	node = fake.NewClientset(objects...)
	account = fake.NewClientset()
	account.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		object, err := node.Invokes(action, &corev1.Node{})
		return true, object, err
	})
	return node, account
}

func newCompletionOf(node, account *fake.Clientset) completion {
	return newCompletion(node.CoreV1().Nodes(), account.CoreV1().Nodes(), testConfig())
}

func TestANewNodeGetsTheLabelsThatItMayNotSet(t *testing.T) {
	client, account := twoClients()
	var created *corev1.Node
	client.PrependReactor("create", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		created = action.(clienttesting.CreateAction).GetObject().(*corev1.Node).DeepCopy()
		return false, nil, nil
	})
	wanted := object(testConfig())
	got, err := newCompletionOf(client, account).Create(t.Context(), wanted, metav1.CreateOptions{})
	require.NoError(t, err)
	for key := range created.Labels {
		assert.True(t, nodeuser.MaySetLabel(key), "the node may not set label %s", key)
	}
	assert.NotEqual(t, wanted.Labels, created.Labels)
	assert.Equal(t, wanted.Labels, got.Labels)
	assert.Equal(t, object(testConfig()).Labels, wanted.Labels, "the caller's object is not changed")
	assert.Len(t, account.Actions(), 1)
}

func TestAnIncompleteNodeIsCompleted(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Node)
		writes int
	}{
		"a complete Node is not written": {func(*corev1.Node) {}, 0},
		"a Node without a label":         {func(n *corev1.Node) { delete(n.Labels, "kubernetes.io/role") }, 1},
		"a Node without a taint":         {func(n *corev1.Node) { n.Spec.Taints = nil }, 1},
		"a Node with another taint value": {func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "more", Effect: corev1.TaintEffectNoSchedule})
			n.Spec.Taints[0].Value = "other"
		}, 1},
		"a Node with another value": {func(n *corev1.Node) { n.Labels["kubernetes.io/role"] = "other" }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			existing := object(testConfig())
			existing.Labels["of-others"] = "stays"
			want := maps.Clone(existing.Labels)
			test.change(existing)
			client, account := twoClients(existing)
			got, err := newCompletionOf(client, account).Get(t.Context(), existing.Name, metav1.GetOptions{})
			require.NoError(t, err)
			assert.Equal(t, want, got.Labels)
			assert.Contains(t, got.Spec.Taints, policy.ProviderTaint())
			assert.Len(t, got.Spec.Taints, max(len(existing.Spec.Taints), 1), "the taints of others stay")
			assert.Len(t, account.Actions(), test.writes)
		})
	}
}

func TestANodeLosesTheLabelThatExcludesItFromTopologyHints(t *testing.T) {
	existing := object(testConfig())
	client, account := twoClients(existing)
	config := testConfig()
	config.TopologyHints = true
	nodes := newCompletion(client.CoreV1().Nodes(), account.CoreV1().Nodes(), config)
	got, err := nodes.Get(t.Context(), existing.Name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, labels(config), got.Labels)
}

func TestANodeThatCannotBeCompletedIsAnError(t *testing.T) {
	client, account := twoClients()
	account.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "", errors.New("no"))
	})
	_, err := newCompletionOf(client, account).Create(t.Context(), object(testConfig()), metav1.CreateOptions{})
	assert.ErrorContains(t, err, "setting the labels and taints of node virtual-node-cci-0 that only others may set")
}
