package cluster

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/cli/doctor"
	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/policy"
)

const programs = "spillway-system"

// installed returns a client of a cluster with an installation and one object of each kind that is read.
func installed(t *testing.T, objects ...runtime.Object) *fake.Clientset {
	t.Helper()
	configMap, err := installation.Installation{Namespace: programs, Policy: policy.DefaultConfig()}.ConfigMap()
	require.NoError(t, err)
	named := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	client := fake.NewClientset(append(objects,
		configMap,
		&appsv1.Deployment{ObjectMeta: named("kube-system", "autoscaler")},
		&appsv1.StatefulSet{ObjectMeta: named(programs, "vnode")}, &appsv1.StatefulSet{ObjectMeta: named("shop", "db")},
		&appsv1.DaemonSet{ObjectMeta: named("kube-system", "proxy")},
		&coordinationv1.Lease{ObjectMeta: named(programs, "spillway-admission")},
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: named("", "spillway")},
		&corev1.Secret{
			ObjectMeta: named(programs, "spillway-admission-tls"), Data: map[string][]byte{"tls.crt": []byte("c")},
		},
		&corev1.Node{ObjectMeta: named("", "local-0")}, &corev1.Pod{ObjectMeta: named("shop", "cart")},
		&corev1.Namespace{ObjectMeta: named("", "shop")},
		&corev1.ConfigMap{
			ObjectMeta: named(programs, "spillway-vnode"), Data: map[string]string{"vnode.yaml": "pods: {}"},
		},
		&corev1.Service{
			ObjectMeta: named("kube-system", "kube-dns"), Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.10"}},
		},
	)...)
	client.PrependReactor("create", "subjectaccessreviews",
		func(action clienttesting.Action) (bool, runtime.Object, error) {
			review, ok := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
			require.True(t, ok)
			answer := review.DeepCopy()
			answer.Status.Allowed = review.Spec.ResourceAttributes.Resource != "leases"
			return true, answer, nil
		})
	return client
}

func at() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }

func TestADiagnosisHasWhatTheChecksNeed(t *testing.T) {
	s, err := Diagnose(t.Context(), installed(t), at)
	require.NoError(t, err)
	assert.Empty(t, s.Unread)
	assert.Equal(t, at(), s.Now)
	assert.Equal(t, programs, s.Installation.Namespace)
	assert.Equal(t, []int{1, 1, 1, 1, 1, 1, 1}, []int{
		len(s.Deployments), len(s.StatefulSets), len(s.DaemonSets), len(s.Leases), len(s.Nodes), len(s.Pods),
		len(s.Namespaces),
	})
	assert.NotNil(t, s.Mutating)
	assert.Nil(t, s.Validating, "what does not exist was read, and is not there")
	assert.Nil(t, s.Switch)
	assert.Equal(t, []any{"c", "pods: {}", []string{"10.96.0.10"}},
		[]any{string(s.Certificate), string(s.VnodeConfig), s.DNS})
	for _, right := range s.Rights {
		assert.Equal(t, right.Namespace == "", right.Allowed, right)
	}
	assert.Empty(t, doctor.Check(s).Skipped)
}

func TestADiagnosisWithoutRightsSaysWhatIsMissing(t *testing.T) {
	client := installed(t)
	client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if get, ok := action.(clienttesting.GetAction); ok && get.GetNamespace() == metav1.NamespacePublic {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", nil)
	})
	s, err := Diagnose(t.Context(), client, at)
	require.NoError(t, err)
	r := doctor.Check(s)
	assert.Empty(t, r.Checks)
	assert.Len(t, r.Findings, 13, "one for each part")
	assert.Zero(t, r.Findings.Count(diagnosis.Error), "nothing is wrong only because it cannot be read")
	assert.Contains(t, r.Text(), "the Nodes: you lack the right to read it")
	assert.Contains(t, r.Text(), "the Leases: you lack the right to read it")
}

// A pipeline must not take a cluster that answers with errors for a healthy one.
func TestADiagnosisFailsIfTheClusterAnswersWithErrors(t *testing.T) {
	client := installed(t)
	client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("etcd is slow")
	})
	_, err := Diagnose(t.Context(), client, at)
	assert.EqualError(t, err, "reading the cluster: the Nodes: etcd is slow")
}

func TestADiagnosisOfAClusterWithoutSpillway(t *testing.T) {
	s, err := Diagnose(t.Context(), fake.NewClientset(), at)
	require.NoError(t, err)
	assert.Equal(t, doctor.CodeNotInstalled, doctor.Check(s).Findings[0].Code)

	s, err = Diagnose(t.Context(), fake.NewClientset(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespacePublic, Name: installation.ConfigMapName},
	}), at)
	require.NoError(t, err)
	assert.Equal(t, doctor.CodeMalformed, doctor.Check(s).Findings[0].Code)

	client := fake.NewClientset()
	client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, &url.Error{Op: "Get", URL: "https://localhost", Err: errors.New("connection refused")}
	})
	_, err = Diagnose(t.Context(), client, at)
	assert.ErrorContains(t, err, "connection refused")
}
