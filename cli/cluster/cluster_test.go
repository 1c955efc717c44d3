package cluster

import (
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/meta/testrestmapper"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/policy"
)

// newReader returns a Reader of a cluster with these objects, and its client.
func newReader(t *testing.T, objects ...runtime.Object) (*Reader, *fake.Clientset) {
	t.Helper()
	configMap, err := installation.Installation{Policy: policy.DefaultConfig()}.ConfigMap()
	require.NoError(t, err)
	client := fake.NewClientset(append(objects, configMap)...)
	var owners []runtime.Object
	for _, object := range objects {
		kind := object.GetObjectKind().GroupVersionKind()
		if owner, ok := object.(metav1.ObjectMetaAccessor); ok && kind.Kind != "" {
			partial := meta.AsPartialObjectMetadata(owner.GetObjectMeta())
			partial.SetGroupVersionKind(kind)
			owners = append(owners, partial)
		}
	}
	partial := metadatafake.NewTestScheme()
	require.NoError(t, metav1.AddMetaToScheme(partial))
	reader, err := New(t.Context(), client, dynamicfake.NewSimpleDynamicClient(scheme.Scheme, objects...),
		metadatafake.NewSimpleMetadataClient(partial, owners...),
		testrestmapper.TestOnlyStaticRESTMapper(scheme.Scheme))
	require.NoError(t, err)
	return reader, client
}

func controlledBy(kind, name string, uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid, Controller: new(true)}}
}

// cart is Deployment cart with a ReplicaSet and a Pod in the cloud.
func cart() (pod *corev1.Pod, objects []runtime.Object) {
	label := map[string]string{policy.BurstLabel: "auto"}
	pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "cart-1", UID: "p", OwnerReferences: controlledBy("ReplicaSet", "cart-5d8c", "rs"),
		},
		Spec: corev1.PodSpec{NodeName: "virtual-0", Containers: []corev1.Container{{Name: "c"}}},
	}
	return pod, []runtime.Object{
		pod,
		&appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "d", Labels: label},
		},
		&appsv1.ReplicaSet{
			TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "cart-5d8c", UID: "rs",
				OwnerReferences: controlledBy("Deployment", "cart", "d"),
			},
		},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "virtual-0", Labels: policy.VirtualNodeLabels()}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "local-0"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: "shop", Annotations: map[string]string{policy.CloudLimitsAnnotation: "pods=5"},
		}},
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: policy.SwitchConfigMapNamespace, Name: policy.SwitchConfigMapName,
			},
			Data: map[string]string{policy.SwitchKey: "false"},
		},
	}
}

func TestAnInputHasWhatADecisionDependsOn(t *testing.T) {
	pod, objects := cart()
	reader, _ := newReader(t, objects...)
	in, err := reader.Input(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, policy.SwitchOff, in.Global)
	assert.Equal(t, "pods=5", in.NamespaceAnnotations[policy.CloudLimitsAnnotation])
	assert.Empty(t, in.Unknown)
	require.Len(t, in.Nodes, 1, "virtual nodes only")
	require.Len(t, in.Owners, 2)
	assert.Equal(t, "Deployment cart", in.Owners[1].String())
	assert.Equal(t, "auto", in.Owners[1].Labels[policy.BurstLabel])
	assert.Equal(t, explain.Cloud, explain.Explain(in).Place)

	pods, err := reader.Pods(t.Context(), "shop", "d")
	require.NoError(t, err)
	assert.Len(t, pods, 1)
	pods, err = reader.Pods(t.Context(), "shop", "another Deployment")
	require.NoError(t, err)
	assert.Empty(t, pods)
}

func TestThePodsInTheCloudOfAWorkload(t *testing.T) {
	_, objects := cart()
	local, moving, other := objects[0].DeepCopyObject().(*corev1.Pod), objects[0].DeepCopyObject().(*corev1.Pod),
		objects[0].DeepCopyObject().(*corev1.Pod)
	local.Name, local.UID, local.Spec.NodeName = "local", "l", "local-0"
	moving.Name, moving.UID, moving.OwnerReferences = "moving", "m", nil
	moving.Annotations = map[string]string{policy.MovingHomeAnnotation: policy.MovingHome{
		Hash: "5d8c", ReplicaSet: "cart-5d8c", ReplicaSetUID: "rs", Deployment: "cart", DeploymentUID: "d",
	}.String()}
	other.Name, other.UID, other.OwnerReferences = "other", "o", nil
	reader, client := newReader(t, append(objects, local, moving, other)...)
	require.NoError(t, client.Tracker().Add(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e"}, Reason: string(policy.ReasonMovingHome),
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "moving", UID: "m"},
		Message:        "it moves",
	}))
	names := func(uid types.UID) (found []string) {
		candidates, err := reader.InCloud(t.Context(), "shop", uid)
		require.NoError(t, err)
		for _, c := range candidates {
			found = append(found, c.Pod.Name)
			assert.Equal(t, c.Pod.Name == "other", c.Never != "", c.Pod.Name)
		}
		return found
	}
	assert.Equal(t, []string{"cart-1", "moving"}, names("d"))
	assert.Equal(t, []string{"cart-1", "moving", "other"}, names(""))
	assert.Equal(t, []string{"other"}, names("o"), "the Pod itself")
	in, err := reader.Input(t.Context(), moving)
	require.NoError(t, err)
	assert.Equal(t, &explain.HomeEvent{Reason: policy.ReasonMovingHome, Message: "it moves"}, in.Home)
}

func TestWhatTheUserMayNotReadIsSaid(t *testing.T) {
	pod, objects := cart()
	reader, client := newReader(t, objects...)
	for _, resource := range []string{"nodes", "namespaces"} {
		client.PrependReactor("*", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", nil)
		})
	}
	in, err := reader.Input(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"the virtual nodes (you lack the right to read it)",
		"labels and annotations of namespace shop (you lack the right to read it)",
	}, in.Unknown)
}

// Most users may not read Nodes. The installation names the virtual ones, so that no Pod in the cloud is called local.
func TestAUserWithoutTheRightToReadNodesKnowsTheVirtualOnes(t *testing.T) {
	pod, objects := cart()
	reader, client := newReader(t, objects...)
	reader.installation.VirtualNodes = []string{"virtual-node-cci-0"}
	client.PrependReactor("list", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", nil)
	})
	pod.Spec.NodeName = "virtual-node-cci-0"
	in, err := reader.Input(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, []string{"the state and the labels of the virtual nodes (you lack the right to read Nodes)"},
		in.Unknown)
	assert.Equal(t, explain.Cloud, explain.Explain(in).Place)
	pod.Spec.NodeName = ""
	answer := explain.Explain(in).Text()
	assert.Contains(t, answer, "virtual-node-cci-0: not known")
	assert.Contains(t, answer, "the cloud can run the Pod")
}

func TestOtherErrorsOfTheClusterAreErrors(t *testing.T) {
	pod, objects := cart()
	reader, client := newReader(t, objects...)
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, context.DeadlineExceeded
	})
	_, err := reader.Input(t.Context(), pod)
	assert.ErrorContains(t, err, "reading the Pods of namespace shop")
}

// A tenant can write any reference. It must not name an object that does not exist, and not loop.
func TestOwnersThatDoNotExistAreIgnored(t *testing.T) {
	pod, objects := cart()
	reader, _ := newReader(t, objects...)
	for name, reference := range map[string]metav1.OwnerReference{
		"a kind that does not exist": {
			APIVersion: "x/v1", Kind: "$(reboot)", Name: "a", UID: "1", Controller: new(true),
		},
		"a name that does not exist": {
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "b", UID: "2", Controller: new(true),
		},
		"another UID": {
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "cart-5d8c", UID: "3", Controller: new(true),
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := pod.DeepCopy()
			pod.OwnerReferences = []metav1.OwnerReference{reference}
			in, err := reader.Input(t.Context(), pod)
			require.NoError(t, err)
			assert.Empty(t, in.Owners)
		})
	}
}

// A namespace may have a thousand workloads, and each Pod may have claims: a call for each would take minutes.
func TestManyPodsAreExplainedWithFewCalls(t *testing.T) {
	const workloads = 50
	var objects []runtime.Object
	for i := range workloads {
		pod, more := cart()
		deployment, set := more[1].(*appsv1.Deployment), more[2].(*appsv1.ReplicaSet)
		id := types.UID(strconv.Itoa(i))
		deployment.Name, deployment.UID = "cart-"+string(id), "d"+id
		set.Name, set.UID, set.OwnerReferences = deployment.Name, "rs"+id,
			controlledBy("Deployment", deployment.Name, deployment.UID)
		pod.Name, pod.UID, pod.OwnerReferences = set.Name, "p"+id, controlledBy("ReplicaSet", set.Name, set.UID)
		pod.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}
		objects = append(objects, pod, deployment, set)
	}
	for name, test := range map[string]struct {
		forbidden bool
		want      int
	}{
		// One of each kind before the rest is listed, and those of the Pod.
		"a user who may list the owners":              {false, 4},
		"a user who may read them only one after one": {true, 2 * workloads},
	} {
		t.Run(name, func(t *testing.T) {
			reader, client := newReader(t, objects...)
			owners := reader.dynamic.(*dynamicfake.FakeDynamicClient)
			listed := reader.metadata.(*metadatafake.FakeMetadataClient)
			if test.forbidden {
				listed.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", nil)
				})
			}
			client.ClearActions()
			pods, err := reader.Pods(t.Context(), "shop", "d7")
			require.NoError(t, err)
			require.Len(t, pods, 1)
			in, err := reader.Input(t.Context(), pods[0])
			require.NoError(t, err)
			require.Len(t, in.Owners, 2)
			assert.Equal(t, "Deployment cart-7", in.Owners[1].String())
			assert.Equal(t, "auto", in.Owners[1].Labels[policy.BurstLabel], "the Deployment is read as a whole")
			for _, pod := range reader.namespaces["shop"].pods {
				_, err := reader.claims(t.Context(), pod, reader.namespaces["shop"], new([]string))
				require.NoError(t, err)
			}
			assert.Len(t, owners.Actions(), test.want)
			assert.Len(t, listed.Actions(), 2)
			assert.Len(t, client.Actions(), 7, "the switch, nodes, namespace, Pods, claims, volumes and classes")
		})
	}
}

// What the user may not read of an owner is said of each of its Pods.
func TestAnOwnerThatTheUserMayNotReadIsUnknownForEachPod(t *testing.T) {
	pod, objects := cart()
	reader, _ := newReader(t, objects...)
	reader.dynamic.(*dynamicfake.FakeDynamicClient).PrependReactor("get", "replicasets",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", nil)
		})
	for range 2 {
		in, err := reader.Input(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, []string{"ReplicaSet cart-5d8c (you lack the right to read it)"}, in.Unknown)
	}
}

func TestTheKindOfAClaimedVolume(t *testing.T) {
	pod, objects := cart()
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	objects = append(objects,
		&corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"},
			Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "volume"},
		},
		&corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "volume"},
			Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: "nas.csi.everest.io"},
			}},
		})
	reader, _ := newReader(t, objects...)
	in, err := reader.Input(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"data": "nas.csi.everest.io"}, in.Claims)

	reader, client := newReader(t, objects...)
	client.PrependReactor("list", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &corev1.PersistentVolumeList{},
			apierrors.NewForbidden(corev1.Resource("persistentvolumes"), "", nil)
	})
	in, err = reader.Input(t.Context(), pod)
	require.NoError(t, err)
	assert.Empty(t, in.Claims)
	assert.Contains(t, in.Unknown[0], "the PersistentVolumes")
}

func TestTheInputOfAWorkloadThatDoesNotExist(t *testing.T) {
	reader, _ := newReader(t)
	template := map[string]any{
		"metadata": map[string]any{"labels": map[string]any{policy.BurstLabel: "enforce"}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i"}}},
	}
	for name, test := range map[string]struct {
		apiVersion, kind string
		spec             map[string]any
	}{
		"a Deployment": {"apps/v1", "Deployment", map[string]any{"template": template}},
		"a CronJob": {"batch/v1", "CronJob", map[string]any{
			"jobTemplate": map[string]any{"spec": map[string]any{"template": template}},
		}},
		"a kind of another project": {"argoproj.io/v1alpha1", "Rollout", map[string]any{"template": template}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := reader.InputOf(t.Context(), &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": test.apiVersion, "kind": test.kind, "spec": test.spec,
				"metadata": map[string]any{"namespace": "shop", "name": "cart"},
			}})
			require.NoError(t, err)
			assert.True(t, in.Manifest, "an object without UID is in a file only")
			got := explain.Explain(in)
			assert.Equal(t, policy.PlacementCloudOnly, got.Placement)
			assert.Equal(t, test.kind+" cart", got.Workload)
			assert.Equal(t, explain.NotCreated, got.Place)
		})
	}
	in, err := reader.InputOf(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"template": template},
		"metadata": map[string]any{"namespace": "shop", "name": "cart", "uid": "deployment"},
	}})
	require.NoError(t, err)
	assert.False(t, in.Manifest, "a Deployment without Pods exists")
	_, err = reader.InputOf(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "cart"},
	}})
	assert.ErrorContains(t, err, "Service cart has no Pod template")
	_, err = reader.InputOf(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "cart"}, "spec": map[string]any{
			"containers": "none",
		},
	}})
	assert.ErrorContains(t, err, "reading the Pod of Pod cart")
}
