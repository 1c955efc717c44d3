package mirror

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	refresh     = time.Minute
	removeAfter = 30 * time.Second
	turbo       = "sfsturbo.csi.everest.io"
)

var owner = identity.Owner{ClusterID: "prod", Node: "virtual-node-cci-0"}

// cloudPods is the inventory of a test.
type cloudPods struct {
	pods   map[identity.Key]*cci.Pod
	refers map[cci.Object]bool
	synced chan struct{}
}

func (c *cloudPods) Get(key identity.Key) *cci.Pod { return c.pods[key] }
func (c *cloudPods) Refers(object cci.Object) bool { return c.refers[object] }
func (c *cloudPods) Synced() <-chan struct{}       { return c.synced }
func (c *cloudPods) uses(kind cci.ObjectKind, name string) {
	c.refers[cci.Object{Kind: kind, Name: name}] = true
}

// spyCloud is the simulated cloud. It counts writes, and fails those that a test wants to fail.
type spyCloud struct {
	cci.API
	calls map[string]int
	fail  map[string]error
}

func (c *spyCloud) call(operation string) error {
	c.calls[operation]++
	return c.fail[operation]
}

func (c *spyCloud) CreateData(ctx context.Context, namespace string, data *cci.Data) (*cci.Data, error) {
	if err := c.call("create"); err != nil {
		return nil, err
	}
	return c.API.CreateData(ctx, namespace, data)
}

func (c *spyCloud) UpdateData(ctx context.Context, namespace string, data *cci.Data) (*cci.Data, error) {
	if err := c.call("update"); err != nil {
		return nil, err
	}
	return c.API.UpdateData(ctx, namespace, data)
}

func (c *spyCloud) DeleteData(
	ctx context.Context, namespace string, kind cci.DataKind, name string, options cci.DeleteOptions,
) error {
	if err := c.call("delete"); err != nil {
		return err
	}
	return c.API.DeleteData(ctx, namespace, kind, name, options)
}

// harness is Mirrors whose loop does not run: tests call Ensure, reconcile and list.
type harness struct {
	*Mirrors
	t         *testing.T
	sim       *cloudtest.Cloud
	cloud     *spyCloud
	cluster   *fake.Clientset
	store     cache.Indexer
	inventory *cloudPods
	clock     time.Time
	// kubeconfig is that of all Pods, kubeconfigErr why there is none.
	kubeconfig    string
	kubeconfigErr error
	// tokens counts the tokens that were requested. Each is valid for lifetime.
	tokens   int
	lifetime time.Duration
}

func newHarness(t *testing.T, changes ...func(*ccisim.Config)) *harness {
	t.Helper()
	h := &harness{
		t: t, sim: cloudtest.NewWithNetwork(t, changes...), cluster: fake.NewClientset(),
		clock: time.Now(), lifetime: time.Hour, kubeconfig: "first",
		inventory: &cloudPods{
			pods: map[identity.Key]*cci.Pod{}, refers: map[cci.Object]bool{}, synced: make(chan struct{}),
		},
	}
	close(h.inventory.synced)
	h.cloud = &spyCloud{API: h.sim.Client, calls: map[string]int{}, fail: map[string]error{}}
	h.cluster.PrependReactor("create", "serviceaccounts", h.issueToken)
	h.restart()
	return h
}

// config returns a complete configuration.
func (h *harness) config() Config {
	h.t.Helper()
	translator, err := translate.New(translate.Config{
		Owner: owner, DefaultSize: "0.50_1.0", ClusterDNS: []string{"10.0.0.10"}, ClusterDomain: "cluster.local",
		Services: translate.ServicesConfig{ProxyImage: "proxy"},
	})
	require.NoError(h.t, err)
	return Config{
		API: h.cloud, Namespace: cloudtest.Namespace, Owner: owner, Translator: translator, Sources: h.cluster.CoreV1(),
		Pods:       informers.NewSharedInformerFactory(h.cluster, 0).Core().V1().Pods().Informer(),
		Kubeconfig: func(*corev1.Pod) ([]byte, error) { return []byte(h.kubeconfig), h.kubeconfigErr },
		Inventory:  h.inventory, Claims: true, VolumeKinds: []string{turbo},
		Limits:  Limits{ObjectsPerPod: 100, ObjectsPerNamespace: 1000, BytesPerNamespace: 1 << 20},
		Refresh: refresh, RemoveAfter: removeAfter, Relist: time.Hour,
		MinRetryInterval: time.Millisecond, MaxRetryInterval: time.Second,
		Now: func() time.Time { return h.clock }, Logger: slog.New(slog.DiscardHandler),
	}
}

// restart replaces the Mirrors by new ones, which know nothing. The Pods of the node stay.
func (h *harness) restart() {
	h.t.Helper()
	config := h.config()
	var err error
	h.Mirrors, err = New(config)
	require.NoError(h.t, err)
	var pods []any
	if h.store != nil {
		pods = h.store.List()
	}
	h.store = config.Pods.GetIndexer()
	for _, pod := range pods {
		require.NoError(h.t, h.store.Add(pod))
	}
}

// issueToken is the token API of the cluster. Only the service account "missing" does not exist. For
// "new" the Pod is not known yet.
func (h *harness) issueToken(action clienttesting.Action) (bool, runtime.Object, error) {
	create, ok := action.(clienttesting.CreateActionImpl)
	if !ok || action.GetSubresource() != "token" {
		return false, nil, nil
	}
	switch create.Name {
	case "missing":
		return true, nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), create.Name)
	case "new":
		return true, nil, apierrors.NewNotFound(corev1.Resource("pods"), "web")
	case "broken":
		return true, nil, apierrors.NewInternalError(fmt.Errorf("broken"))
	}
	request := create.Object.(*authenticationv1.TokenRequest).DeepCopy()
	assert.Equal(h.t, "Pod", request.Spec.BoundObjectRef.Kind, "a token is bound to its Pod")
	h.tokens++
	request.Status = authenticationv1.TokenRequestStatus{
		Token:               fmt.Sprintf("token-%d-for-%v", h.tokens, request.Spec.Audiences),
		ExpirationTimestamp: metav1.NewTime(h.clock.Add(h.lifetime)),
	}
	return true, request, nil
}

// newPod returns a Pod of the node.
func newPod(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			NodeName: owner.Node, Containers: []corev1.Container{{Name: "main"}}, ServiceAccountName: "default",
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func configMapRef(name string, optional bool, keys ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		source := &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional,
		}
		for _, key := range keys {
			source.Items = append(source.Items, corev1.KeyToPath{Key: key, Path: key})
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name: name, VolumeSource: corev1.VolumeSource{ConfigMap: source},
		})
	}
}

func secretRef(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}},
		})
	}
}

func tokenRef(audiences ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		projected := &corev1.ProjectedVolumeSource{}
		for _, audience := range audiences {
			projected.Sources = append(projected.Sources, corev1.VolumeProjection{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, Path: "token"},
			})
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name: "token", VolumeSource: corev1.VolumeSource{Projected: projected},
		})
	}
}

func claimRef(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
}

// tokenOf makes a Pod use a token of a service account.
func tokenOf(account string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.ServiceAccountName = account
		tokenRef("")(pod)
	}
}

// proxied makes a Pod have a sidecar for Services.
func proxied(pod *corev1.Pod) {
	pod.Annotations = map[string]string{policy.ServicesAnnotation: string(policy.ServicesProxy)}
}

// put adds a Pod to the node.
func (h *harness) put(pod *corev1.Pod) *corev1.Pod {
	h.t.Helper()
	require.NoError(h.t, h.store.Add(pod))
	return pod
}

// removePod deletes a Pod from the node.
func (h *harness) removePod(pod *corev1.Pod) {
	h.t.Helper()
	require.NoError(h.t, h.store.Delete(pod))
}

// add writes objects to the cluster.
func (h *harness) add(objects ...runtime.Object) {
	h.t.Helper()
	for _, object := range objects {
		require.NoError(h.t, h.cluster.Tracker().Add(object))
	}
}

func (h *harness) addConfigMap(name string, data map[string]string) *corev1.ConfigMap {
	h.t.Helper()
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("source-" + name)}, Data: data,
	}
	h.add(object)
	return object
}

func (h *harness) updateConfigMap(object *corev1.ConfigMap) {
	h.t.Helper()
	_, err := h.cluster.CoreV1().ConfigMaps("default").Update(h.t.Context(), object, metav1.UpdateOptions{})
	require.NoError(h.t, err)
}

// ensures calls Ensure for a Pod that came later than everything before.
func (h *harness) ensures(pod *corev1.Pod) {
	h.t.Helper()
	h.pass(time.Second)
	require.NoError(h.t, h.Ensure(h.t.Context(), pod))
}

func (h *harness) ensureFails(pod *corev1.Pod) error {
	h.t.Helper()
	h.pass(time.Second)
	err := h.Ensure(h.t.Context(), pod)
	require.Error(h.t, err)
	return err
}

// reconciles reconciles a copy without an error, and returns when it is to be reconciled again.
func (h *harness) reconciles(mirror identity.Mirror) time.Duration {
	h.t.Helper()
	requeueAfter, err := h.reconcile(h.t.Context(), mirror)
	require.NoError(h.t, err)
	return requeueAfter
}

func (h *harness) lists() {
	h.t.Helper()
	h.pass(time.Second)
	require.NoError(h.t, h.list(h.t.Context()))
}

func (h *harness) pass(d time.Duration) { h.clock = h.clock.Add(d) }

func mirrorOf(kind identity.MirrorKind, name string) identity.Mirror {
	return identity.Mirror{Kind: kind, Namespace: "default", Name: name}
}

// copyOf reads a copy from the cloud, nil if there is none.
func (h *harness) copyOf(mirror identity.Mirror) *cci.Data {
	h.t.Helper()
	data, err := h.sim.Client.GetData(h.t.Context(), cloudtest.Namespace, dataKind(mirror), owner.MirrorName(mirror))
	if cci.IsNotFound(err) {
		return nil
	}
	require.NoError(h.t, err)
	return data
}

// deleteCopy deletes a copy as another client would.
func (h *harness) deleteCopy(mirror identity.Mirror) {
	h.t.Helper()
	require.NoError(h.t, h.sim.Client.DeleteData(
		h.t.Context(), cloudtest.Namespace, dataKind(mirror), owner.MirrorName(mirror), cci.DeleteOptions{}))
}

// createCopy creates an object in the cloud as another client would.
func (h *harness) createCopy(meta metav1.ObjectMeta, kind cci.DataKind, values map[string]string) {
	h.t.Helper()
	data := &cci.Data{Kind: kind, ObjectMeta: meta}
	if kind == cci.ConfigMap {
		data.Text = values
	} else {
		data.Binary, data.Type = map[string][]byte{}, corev1.SecretTypeOpaque
		for key, value := range values {
			data.Binary[key] = []byte(value)
		}
	}
	_, err := h.sim.Client.CreateData(h.t.Context(), cloudtest.Namespace, data)
	require.NoError(h.t, err)
}

// assertRefresh checks that a copy is refreshed again after about the refresh interval.
func assertRefresh(t *testing.T, requeueAfter time.Duration) {
	t.Helper()
	assert.GreaterOrEqual(t, requeueAfter, refresh*4/5)
	assert.LessOrEqual(t, requeueAfter, refresh*6/5)
}
