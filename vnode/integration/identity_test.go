package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/host"
	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// asServiceAccount lets a virtual node act as its ServiceAccount, which then has the rights itself.
func asServiceAccount(c *Config) {
	c.Identity, c.Kube.Kubeconfig = config.IdentityServiceAccount, trial.UserKubeconfig(ownAccount)
}

// The users of the virtual nodes of the tests have the rights that the chart gives to the ServiceAccount: nodeAccount
// with identity node, ownAccount with identity serviceAccount. The chart restricts them to the names of a few virtual
// nodes, and the tests have many.
const (
	nodeAccount = "vnode-as-node"
	ownAccount  = "vnode-as-account"
)

// grantedNodes is the number of virtual nodes that the tests may have.
const grantedNodes = 200

// grant gives both users their rights.
func grant(ctx context.Context, client kubernetes.Interface) error {
	var users, nodes []string
	for i := range grantedNodes {
		users = append(users, nodeuser.Name(system.VirtualNode(i)))
		nodes = append(nodes, system.VirtualNode(i))
	}
	rule := func(group string, resources, names []string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, ResourceNames: names, Verbs: verbs}
	}
	namespaces := rule("", []string{"namespaces"}, nil, "list", "watch")
	globalSwitch := rule("", []string{"configmaps"}, []string{policy.SwitchConfigMapName}, "list", "watch")
	leases := rule("coordination.k8s.io", []string{"leases"}, nil, "get", "create", "update")
	for user, rules := range map[string][]rbacv1.PolicyRule{
		nodeAccount: {
			rule("", []string{"users"}, users, "impersonate"),
			rule("", []string{"groups"}, []string{nodeuser.Group}, "impersonate"),
			rule("", []string{"nodes"}, nil, "get"),
			rule("", []string{"nodes"}, nodes, "patch"),
			leases, namespaces, globalSwitch,
		},
		ownAccount: {
			rule("", []string{"nodes"}, nil, "get", "list", "watch", "create", "patch"),
			rule("", []string{"nodes/status", "pods/status"}, nil, "patch"),
			rule("", []string{"pods"}, nil, "get", "list", "watch", "delete"),
			rule("", []string{"pods/eviction", "serviceaccounts/token"}, nil, "create"),
			rule("", []string{"events"}, nil, "create", "patch"),
			rule("", []string{"configmaps", "secrets", "persistentvolumeclaims", "persistentvolumes"}, nil, "get"),
			rule("authentication.k8s.io", []string{"tokenreviews"}, nil, "create"),
			rule("authorization.k8s.io", []string{"subjectaccessreviews"}, nil, "create"),
			leases, namespaces, globalSwitch,
		},
	} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}
		if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
			return err
		}
		_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: role.ObjectMeta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	return nil
}

// stolen returns a client with the token of the virtual nodes' ServiceAccount that acts as another user.
func stolen(t *testing.T, c *Config, user rest.ImpersonationConfig) kubernetes.Interface {
	t.Helper()
	rest, err := c.Kube.REST("thief")
	require.NoError(t, err)
	rest.Impersonate = user
	client, err := kubernetes.NewForConfig(rest)
	require.NoError(t, err)
	return client
}

// attempt is a request with the stolen token of a virtual node.
type attempt func(ctx context.Context, thief kubernetes.Interface) error

func readSecret(namespace, name string) attempt {
	return func(ctx context.Context, thief kubernetes.Interface) error {
		_, err := thief.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	}
}

func readConfigMap(namespace, name string) attempt {
	return func(ctx context.Context, thief kubernetes.Interface) error {
		_, err := thief.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	}
}

// requestToken requests a token of the account of a Pod, bound to the Pod, or not bound if pod is nil.
func requestToken(namespace, account string, pod *corev1.Pod) attempt {
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
		}
	}
	return func(ctx context.Context, thief kubernetes.Interface) error {
		_, err := thief.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
		return err
	}
}

func patchNode(name, patch string) attempt {
	return func(ctx context.Context, thief kubernetes.Interface) error {
		_, err := thief.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(patch),
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
}

func listPods(selector string) attempt {
	return func(ctx context.Context, thief kubernetes.Interface) error {
		_, err := thief.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: selector})
		return err
	}
}

func patchStatus(pod *corev1.Pod) attempt {
	return func(ctx context.Context, thief kubernetes.Interface) error {
		_, err := thief.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType,
			[]byte(`{"status":{"message":"stolen"}}`),
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, "status")
		return err
	}
}

func deletePod(pod *corev1.Pod) attempt {
	return func(ctx context.Context, thief kubernetes.Interface) error {
		return thief.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name,
			metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	}
}

func evictPod(pod *corev1.Pod) attempt {
	return func(ctx context.Context, thief kubernetes.Interface) error {
		return thief.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
			DeleteOptions: &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}},
		})
	}
}

// With the token of a virtual node one can do what a kubelet of that node can do, and not more.
func TestAVirtualNodeHasTheRightsOfANode(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	ns := namespace(t)
	own, other := start(t, settings(t, cloud, nodeName(t))), start(t, settings(t, cloud, nodeName(t)))
	pods := map[string]*corev1.Pod{}
	for _, v := range []*running{own, other} {
		name := map[bool]string{true: "own", false: "other"}[v == own]
		configMap(t, ns, name, map[string]string{"key": "value"})
		secret(t, ns, name, corev1.SecretTypeOpaque, map[string]string{"key": "value"})
		_, err := trial.Client().CoreV1().ServiceAccounts(ns).Create(t.Context(),
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
		pod := podOn(v.name(), name)
		pod.Spec.ServiceAccountName = name
		local := corev1.LocalObjectReference{Name: name}
		pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local}},
		}
		create(t, ns, pod)
		pods[name] = await(t, ns, name, isReady)
	}
	secret(t, ns, "unused", corev1.SecretTypeOpaque, map[string]string{"key": "value"})

	const annotation = `{"metadata":{"annotations":{"a":"b"}}}`
	node := nodeuser.Impersonation(own.name())
	account := rest.ImpersonationConfig{}
	lease := func(name string) attempt {
		return func(ctx context.Context, thief kubernetes.Interface) error {
			_, err := thief.CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, name, types.MergePatchType,
				[]byte(`{"spec":{"holderIdentity":"thief"}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
	}
	createNode := func(ctx context.Context, thief kubernetes.Interface) error {
		_, err := thief.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "machine"}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	for name, test := range map[string]struct {
		user    rest.ImpersonationConfig
		attempt attempt
		allowed bool
	}{
		"it reads the Secret of its own Pod":              {node, readSecret(ns, "own"), true},
		"it does not read the Secret of another node":     {node, readSecret(ns, "other"), false},
		"it does not read a Secret that no Pod refers to": {node, readSecret(ns, "unused"), false},
		"it does not list Secrets": {node, func(ctx context.Context, thief kubernetes.Interface) error {
			_, err := thief.CoreV1().Secrets(ns).List(ctx, metav1.ListOptions{})
			return err
		}, false},
		"it reads the ConfigMap of its own Pod":          {node, readConfigMap(ns, "own"), true},
		"it does not read the ConfigMap of another node": {node, readConfigMap(ns, "other"), false},
		"it requests a token for its own Pod":            {node, requestToken(ns, "own", pods["own"]), true},
		"it requests no token without a Pod":             {node, requestToken(ns, "own", nil), false},
		"it requests no token for a Pod elsewhere":       {node, requestToken(ns, "other", pods["other"]), false},
		"it requests no token of another account":        {node, requestToken(ns, "other", pods["own"]), false},
		"it requests no token of an administrator": {
			node, requestToken(metav1.NamespaceSystem, "clusterrole-aggregation-controller", pods["own"]), false,
		},
		"it lists its own Pods":              {node, listPods("spec.nodeName=" + own.name()), true},
		"it does not list Pods of elsewhere": {node, listPods("spec.nodeName=" + other.name()), false},
		"it does not list all Pods":          {node, listPods(""), false},
		"it changes its own Node":            {node, patchNode(own.name(), annotation), true},
		"it does not change other Nodes":     {node, patchNode(other.name(), annotation), false},
		"it does not remove its own taints":  {node, patchNode(own.name(), `{"spec":{"taints":[]}}`), false},
		"it does not label itself": {
			node, patchNode(own.name(), `{"metadata":{"labels":{"node-restriction.kubernetes.io/a":"b"}}}`), false,
		},
		"it does not register other Nodes":    {node, createNode, false},
		"it renews its own heartbeat":         {node, lease(own.name()), true},
		"it does not renew others":            {node, lease(other.name()), false},
		"it writes the status of its own Pod": {node, patchStatus(pods["own"]), true},
		"it writes no status elsewhere":       {node, patchStatus(pods["other"]), false},
		"it deletes its own Pod":              {node, deletePod(pods["own"]), true},
		"it deletes no Pod elsewhere":         {node, deletePod(pods["other"]), false},
		"it evicts its own Pod":               {node, evictPod(pods["own"]), true},
		"it evicts no Pod elsewhere":          {node, evictPod(pods["other"]), false},

		"the account itself reads no Secret":       {account, readSecret(ns, "own"), false},
		"the account itself reads no ConfigMap":    {account, readConfigMap(ns, "own"), false},
		"the account itself requests no token":     {account, requestToken(ns, "own", pods["own"]), false},
		"the account itself lists no Pods":         {account, listPods(""), false},
		"the account itself deletes no Pod":        {account, deletePod(pods["own"]), false},
		"the account itself registers no Node":     {account, createNode, false},
		"the account itself changes no other Node": {account, patchNode("local-0", annotation), false},

		"it does not act as a machine": {nodeuser.Impersonation("local-0"), readSecret(ns, "own"), false},
		"it does not act as an administrator": {
			rest.ImpersonationConfig{UserName: "admin", Groups: []string{"system:masters"}},
			readSecret(ns, "own"), false,
		},
		"it does not join the administrators": {
			rest.ImpersonationConfig{UserName: node.UserName, Groups: []string{nodeuser.Group, "system:masters"}},
			readSecret(ns, "own"), false,
		},
		"it does not act as another account": {
			rest.ImpersonationConfig{UserName: "system:serviceaccount:kube-system:default"},
			readSecret(ns, "own"), false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.attempt(t.Context(), stolen(t, own.config, test.user))
			if test.allowed {
				assert.NoError(t, err)
				return
			}
			assert.True(t, apierrors.IsForbidden(err), "it should be forbidden, but: %v", err)
		})
	}
	restricted, err := nodeuser.IsRestricted(t.Context(), stolen(t, own.config, node).CoordinationV1(), own.name())
	require.NoError(t, err)
	assert.True(t, restricted)
	assert.NotContains(t, own.logs.String(), "NodeRestriction")
}

// A label that the Node needs, and that a node may not set on itself, is set again if another user removes it.
func TestTheLabelsOfTheNodeAreRestored(t *testing.T) {
	t.Parallel()
	v := start(t, settings(t, cloudtest.New(t), nodeName(t)))
	lacks := func(key string) func(*corev1.Node) error {
		return func(node *corev1.Node) error {
			if _, ok := node.Labels[key]; !ok {
				return fmt.Errorf("it lacks label %s", key)
			}
			return nil
		}
	}
	before := awaitNode(t, v.name(), lacks("kubernetes.io/role"))
	_, err := trial.Client().CoreV1().Nodes().Patch(t.Context(), v.name(), types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"kubernetes.io/role":null}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	after := awaitNode(t, v.name(), lacks("kubernetes.io/role"))
	assert.Equal(t, before.UID, after.UID)
	assert.Equal(t, before.Labels, after.Labels)
	assert.Equal(t, []corev1.Taint{policy.ProviderTaint()}, after.Spec.Taints)
}

// The identity can be changed while Pods run.
func TestAChangeOfTheIdentityKeepsPods(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, asServiceAccount)
	makeSources(t, ns)
	create(t, ns, referringPod(v.name(), "first"))
	await(t, ns, "first", isReady)
	v.stop(t)

	next := v.again(t)
	next.Identity, next.Kube.Kubeconfig = config.IdentityNode, trial.UserKubeconfig(nodeAccount)
	v = start(t, next)
	create(t, ns, referringPod(v.name(), "second"))
	await(t, ns, "second", isReady)
	assert.NoError(t, isReady(get(t, ns, "first")))
	v.stop(t)

	next = v.again(t)
	asServiceAccount(next)
	start(t, next)
	for _, name := range []string{"first", "second"} {
		assert.NoError(t, isReady(get(t, ns, name)))
		remove(t, ns, name)
		awaitGone(t, ns, name)
	}
	assert.Len(t, cloud.PodsEver(), 2)
}

// A virtual node that may not act as a node ends with an error that says what is missing.
func TestWithoutTheRightToActAsANodeTheProgramEnds(t *testing.T) {
	t.Parallel()
	config := settings(t, cloudtest.New(t), nodeName(t))
	config.Kube.Kubeconfig = trial.UserKubeconfig(ownAccount)
	v, err := host.New(config, hostname, newDiscard())
	require.NoError(t, err)
	err = v.Run(t.Context())
	require.ErrorContains(t, err,
		"this program's user must be allowed to impersonate user system:node:"+config.Node.Name)
	require.ErrorContains(t, err, "or set identity to serviceAccount")
}

// What virtual nodes do with the rights of a node, they can do with rights of their own: where the API server has no
// Node authorizer.
func TestWithTheRightsOfTheServiceAccount(t *testing.T) {
	t.Parallel()
	t.Run("during faults and restarts", func(t *testing.T) {
		t.Parallel()
		s := newScenario(t, asServiceAccount)
		s.restarts = true
		during(t, s.cloud, disturbances["failing"], s.live)
		s.check()
	})
	t.Run("references and logs", func(t *testing.T) {
		t.Parallel()
		cloud := cloudtest.New(t, cloudtest.EveryAPI)
		v, ns := startOn(t, cloud, asServiceAccount)
		makeSources(t, ns)
		create(t, ns, referringPod(v.name(), "web"))
		await(t, ns, "web", isReady)
		awaitLogs(t, ns, "web")
		assert.NotEmpty(t, copies(t, cloud, cci.Secret))
		remove(t, ns, "web")
		awaitGone(t, ns, "web")
	})
	t.Run("a lock while the cloud has no address", func(t *testing.T) {
		t.Parallel()
		cloud := cloudtest.New(t)
		v, ns := startOn(t, cloud, asServiceAccount, func(c *Config) { c.SoldOut.Timeout.Duration = hurry })
		cloud.Fault(t, ccisim.Fault{Kind: ccisim.IPInsufficient})
		create(t, ns, podOn(v.name(), "web"))
		locked := awaitNode(t, v.name(), hasCondition(soldOutCondition, corev1.ConditionTrue))
		assert.True(t, locked.Spec.Unschedulable)
	})
	t.Run("a Node that is deleted", func(t *testing.T) {
		t.Parallel()
		v := start(t, func() *Config {
			c := settings(t, cloudtest.New(t), nodeName(t))
			asServiceAccount(c)
			return c
		}())
		first := awaitNode(t, v.name(), func(*corev1.Node) error { return nil })
		require.NoError(t, trial.Client().CoreV1().Nodes().Delete(t.Context(), v.name(), metav1.DeleteOptions{}))
		awaitNode(t, v.name(), func(node *corev1.Node) error {
			if node.UID == first.UID || len(node.Spec.Taints) != 1 || node.Labels["kubernetes.io/role"] == "" {
				return errors.New("it is not registered again")
			}
			return nil
		})
	})
}
