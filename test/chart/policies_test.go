package chart

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// as returns a client that acts as a ServiceAccount of the release, with the name of the Pod to which its token is
// bound. Without a name the token is bound to no Pod.
func as(t *testing.T, account, pod string) kubernetes.Interface {
	t.Helper()
	var extra map[string][]string
	if pod != "" {
		extra = map[string][]string{"authentication.kubernetes.io/pod-name": {pod}}
	}
	return asServiceAccount(t, namespace, account, extra)
}

// asServiceAccount returns a client that acts as any ServiceAccount.
func asServiceAccount(t *testing.T, namespace, name string, extra map[string][]string) kubernetes.Interface {
	t.Helper()
	config := trial.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		Extra:    extra,
	}
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// request is a request that changes nothing: the API server checks it, and does not store the result.
type request func(ctx context.Context, client kubernetes.Interface) error

var onlyChecked = []string{metav1.DryRunAll}

func patchPod(name, patch string, subresources ...string) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Patch(ctx, name, types.StrategicMergePatchType,
			[]byte(patch), metav1.PatchOptions{DryRun: onlyChecked}, subresources...)
		return err
	}
}

func deletePod(name string) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		return client.CoreV1().
			Pods(metav1.NamespaceDefault).
			Delete(ctx, name, metav1.DeleteOptions{DryRun: onlyChecked})
	}
}

func createPod(pod *corev1.Pod) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		_, err := client.CoreV1().
			Pods(metav1.NamespaceDefault).
			Create(ctx, pod, metav1.CreateOptions{DryRun: onlyChecked})
		return err
	}
}

func bindPod(name string, annotations map[string]string) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		return client.CoreV1().Pods(metav1.NamespaceDefault).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
			Target:     corev1.ObjectReference{Kind: "Node", Name: system.LocalNode(0)},
		}, metav1.CreateOptions{DryRun: onlyChecked})
	}
}

func createNode(name string) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{DryRun: onlyChecked})
		return err
	}
}

func patchNode(name, patch string, subresources ...string) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		_, err := client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(patch),
			metav1.PatchOptions{DryRun: onlyChecked}, subresources...)
		return err
	}
}

func createLease(namespace, name string) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := client.CoordinationV1().
			Leases(namespace).
			Create(ctx, lease, metav1.CreateOptions{DryRun: onlyChecked})
		return err
	}
}

// token requests a real token, because a request for a token cannot be only checked.
func token(namespace string, bound *authenticationv1.BoundObjectReference) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}
		_, err := client.CoreV1().
			ServiceAccounts(namespace).
			CreateToken(ctx, "default", request, metav1.CreateOptions{})
		return err
	}
}

// requestCertificate requests a certificate of the port of the virtual node.
func requestCertificate(t *testing.T, signer string) request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	name := &pkix.Name{CommonName: "system:node:" + system.VirtualNode(0), Organization: []string{"system:nodes"}}
	encoded, err := cert.MakeCSR(key, name, []string{system.VirtualNode(0)}, nil)
	require.NoError(t, err)
	return func(ctx context.Context, client kubernetes.Interface) error {
		request := &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				Request: encoded, SignerName: signer,
				Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
			},
		}
		_, err := client.CertificatesV1().CertificateSigningRequests().
			Create(ctx, request, metav1.CreateOptions{DryRun: onlyChecked})
		return err
	}
}

func patchWebhooks(patch string, kind types.PatchType) request {
	return func(ctx context.Context, client kubernetes.Interface) error {
		_, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().
			Patch(ctx, "spillway", kind, []byte(patch), metav1.PatchOptions{DryRun: onlyChecked})
		return err
	}
}

// The Pods on which the requests are tried: one on a local node, one on a virtual node, and one on none.
const onLocal, onVirtual, onNone = "on-local", "on-virtual", "on-none"

// createPods creates these Pods. The extender has given each a slot.
func createPods(t *testing.T, extender kubernetes.Interface) map[string]*corev1.Pod {
	t.Helper()
	created := map[string]*corev1.Pod{}
	pods := trial.Client().CoreV1().Pods(metav1.NamespaceDefault)
	for name, node := range map[string]string{
		onLocal: system.LocalNode(0), onVirtual: system.VirtualNode(0), onNone: "",
	} {
		pod, err := pods.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: map[string]string{"app": "a"}, Annotations: map[string]string{"note": "n"},
				Finalizers: []string{"spillway.example/test"},
			},
			Spec: corev1.PodSpec{
				NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "nginx"}}, SchedulerName: "none",
				TerminationGracePeriodSeconds: new(int64(0)),
			},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			onCluster(t, "kubectl", "patch", "pod", name, "--type=merge", "--patch", noFinalizer)
			onCluster(t, "kubectl", "delete", "pod", name, "--force", "--ignore-not-found")
		})
		created[name], err = extender.CoreV1().
			Pods(metav1.NamespaceDefault).
			Patch(t.Context(), name, types.MergePatchType,
				[]byte(
					`{"metadata":{"annotations":{"spillway.io/local-slot":"`+string(pod.UID)+`"}}}`,
				), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	return created
}

// policyCase is a request, and the message with which the API server refuses it. Without a message it is allowed.
type policyCase struct {
	as      kubernetes.Interface
	request request
	refused string
}

// check tries all requests. The API server applies a new policy with a delay, so refusals are awaited first.
func check(t *testing.T, cases map[string]policyCase) {
	t.Helper()
	for name, tc := range cases {
		if tc.refused == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var err error
			if !assert.Eventually(t, func() bool {
				err = tc.request(t.Context(), tc.as)
				return apierrors.IsForbidden(err)
			}, programtest.Timeout, 100*time.Millisecond) {
				t.Fatalf("want a refusal, got %v", err)
			}
			assert.ErrorContains(t, err, tc.refused)
			assert.ErrorContains(t, err, "ValidatingAdmissionPolicy", "RBAC allows the request")
		})
	}
	for name, tc := range cases {
		if tc.refused == "" {
			t.Run(name, func(t *testing.T) { assert.NoError(t, tc.request(t.Context(), tc.as)) })
		}
	}
}

// annotate returns a patch that sets an annotation, or removes it if the value is empty.
func annotate(key, value string) string {
	if value == "" {
		return `{"metadata":{"annotations":{"` + key + `":null}}}`
	}
	return `{"metadata":{"annotations":{"` + key + `":"` + value + `"}}}`
}

// Changes of a Pod that no program of Spillway makes.
const (
	otherLabel  = `{"metadata":{"labels":{"b":"b"}}}`
	noFinalizer = `{"metadata":{"finalizers":null}}`
	otherImage  = `{"spec":{"containers":[{"name":"c","image":"x"}]}}`
)

// TestWhatThePoliciesAllow sends to a real API server what a program sends, and what it could send with the same RBAC
// if it were compromised.
func TestWhatThePoliciesAllow(t *testing.T) {
	install(t, values("--set", "scheduler.mode=service,vnode.certificate=cluster,vnode.replicas=2",
		"--set", "vnode.identity=serviceAccount", "--set-json", virtualNodes(2))...)
	admin, extender := trial.Client(), as(t, "spillway-extender", "")
	admission := as(t, "spillway-admission", "")
	bundle, err := os.ReadFile(trial.AuthorityFile())
	require.NoError(t, err)
	vnode, other := as(t, "spillway-vnode", system.VirtualNode(0)), as(t, "spillway-vnode", system.VirtualNode(1))
	pods := createPods(t, extender)
	createdNode := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: system.VirtualNode(0)}}
	_, err = vnode.CoreV1().Nodes().Create(t.Context(), createdNode, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { onCluster(t, "kubectl", "delete", "node", system.VirtualNode(0)) })
	bound := func(name string) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: name, UID: pods[name].UID}
	}
	forged := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "copy", Annotations: pods[onLocal].Annotations}, Spec: pods[onLocal].Spec,
	}
	const (
		serving    = certificatesv1.KubeletServingSignerName
		client     = certificatesv1.KubeAPIServerClientSignerName
		notItsOwn  = "a virtual node must not write other Nodes"
		slots      = "spillway.io/cloud-slot and spillway.io/moving-home must not be set, changed or removed"
		ofExtender = "the extender must not change "
		otherNote  = ofExtender + "annotations other than spillway.io/local-slot, "
		notItsNode = "not on a virtual node of the release"
		deployment = `{"apiVersion":"apps/v1","kind":"Deployment","name":"web","uid":"1"`
		running    = `{"status":{"phase":"Running"}}`
		cordon     = `{"spec":{"unschedulable":true}}`
		deadline   = `{"spec":{"activeDeadlineSeconds":1}}`
		toleration = `{"key":"virtual-kubelet.io/provider","operator":"Equal","value":"huawei","effect":"NoSchedule"}`
	)
	var tolerations strings.Builder // Each Pod has some, and none can be removed.
	for _, toleration := range pods[onNone].Spec.Tolerations {
		content, err := json.Marshal(toleration)
		require.NoError(t, err)
		tolerations.WriteString(string(content) + ",")
	}
	tolerate := func(added string) string {
		return `"spec":{"tolerations":[` + tolerations.String() + added + `]}`
	}
	creator := asServiceAccount(t, metav1.NamespaceSystem, "replicaset-controller", nil)
	// named returns a Pod on a node, or on none.
	named := func(node string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "named"},
			Spec: corev1.PodSpec{
				NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "nginx"}},
				Tolerations: []corev1.Toleration{policy.ProviderToleration()},
			},
		}
	}
	const (
		onlyScheduler = "only the scheduler binds Pods to virtual nodes"
		notLater      = "the toleration of virtual nodes must not be added to a Pod that exists"
	)
	check(t, map[string]policyCase{
		"a workload creates a Pod that tolerates virtual nodes": {creator, createPod(named("")), ""},
		"a workload creates a Pod on a local node":              {creator, createPod(named(system.LocalNode(0))), ""},
		"a workload creates a Pod on a virtual node": {
			creator, createPod(named(system.VirtualNode(0))), onlyScheduler,
		},
		"an administrator creates a Pod on a virtual node": {admin, createPod(named(system.VirtualNode(0))), ""},
		"a user adds the toleration of virtual nodes": {
			creator, patchPod(onNone, `{`+tolerate(toleration)+`}`), notLater,
		},
		"a user adds the toleration of every taint": {
			creator, patchPod(onNone, `{`+tolerate(`{"operator":"Exists"}`)+`}`), notLater,
		},
		"a user adds another toleration": {
			creator, patchPod(onNone, `{`+tolerate(`{"key":"gpu","operator":"Exists"}`)+`}`), "",
		},
		"an administrator adds the toleration of virtual nodes": {
			admin, patchPod(onNone, `{`+tolerate(toleration)+`}`), "",
		},

		"a user sets a slot":         {admin, patchPod(onLocal, annotate(policy.CloudSlotAnnotation, "x")), slots},
		"a user changes a slot":      {admin, patchPod(onLocal, annotate(policy.LocalSlotAnnotation, "x")), slots},
		"a user removes a slot":      {admin, patchPod(onLocal, annotate(policy.LocalSlotAnnotation, "")), slots},
		"a user removes all of them": {admin, patchPod(onLocal, `{"metadata":{"annotations":null}}`), slots},
		"a user sets it as a status": {
			admin,
			patchPod(onLocal, annotate(policy.CloudSlotAnnotation, "x"), "status"),
			slots,
		},
		"a user sets it by a Binding": {
			admin,
			bindPod(onNone, map[string]string{policy.CloudSlotAnnotation: "x"}),
			slots,
		},
		"admission sets a slot": { // Two policies refuse it, and the error names either.
			admission, patchPod(onLocal, annotate(policy.CloudSlotAnnotation, "x")), "must not ",
		},
		"a user changes another annotation": {admin, patchPod(onLocal, annotate("note", "x")), ""},
		"a user binds a Pod":                {admin, bindPod(onNone, nil), ""},
		"a user copies a Pod":               {admin, createPod(forged), ""},
		"a user changes a status":           {admin, patchPod(onLocal, `{"status":{"message":"x"}}`, "status"), ""},

		"the extender writes a slot": {extender, patchPod(onNone, annotate(policy.CloudSlotAnnotation, "x")), ""},
		"the extender moves a Pod out of the cloud": {
			extender, patchPod(onNone, `{"metadata":{"annotations":{"spillway.io/moving-home":"x"},`+
				`"labels":{"pod-template-hash":"a"},"ownerReferences":[`+deployment+`}]}}`), "",
		},
		"the extender moves a Pod and sets another label": {
			extender, patchPod(onNone,
				`{"metadata":{"annotations":{"spillway.io/moving-home":"x"},"labels":{"b":"b"}}}`),
			ofExtender + "labels",
		},
		"the extender gives a Pod a controller": {
			extender, patchPod(onNone, `{"metadata":{"annotations":{"spillway.io/moving-home":"x"},"ownerReferences":[`+
				deployment+`,"controller":true}]}}`), ofExtender + "the owners",
		},
		"the extender gives a Pod an owner without a move": {
			extender, patchPod(onNone, `{"metadata":{"ownerReferences":[`+deployment+`}]}}`), ofExtender + "the owners",
		},
		"a user says that a Pod moves out of the cloud": {
			admin, patchPod(onLocal, annotate(policy.MovingHomeAnnotation, "x")), slots,
		},
		"the extender requeues":            {extender, patchPod(onNone, annotate(policy.RequeueAnnotation, "x")), ""},
		"the extender removes a slot":      {extender, patchPod(onNone, annotate(policy.LocalSlotAnnotation, "")), ""},
		"the extender changes a note":      {extender, patchPod(onNone, annotate("note", "x")), otherNote},
		"the extender removes a note":      {extender, patchPod(onNone, annotate("note", "")), otherNote},
		"the extender sets a quota":        {extender, patchPod(onNone, annotate("LOCAL_REPLICAS", "9")), otherNote},
		"the extender sets a label":        {extender, patchPod(onNone, otherLabel), ofExtender + "labels"},
		"the extender removes a finalizer": {extender, patchPod(onNone, noFinalizer), ofExtender + "metadata"},
		"the extender changes an image":    {extender, patchPod(onNone, otherImage), ofExtender + "the spec"},
		"the extender adds a toleration": {
			extender, patchPod(onNone, `{`+tolerate(toleration)+`}`), "must not ",
		},
		"the extender bounds the life time": {extender, patchPod(onNone, deadline), ofExtender + "the spec"},

		"admission adds the toleration": {admission, patchPod(onNone, `{`+tolerate(toleration)+`}`), ""},
		"admission adds the toleration and the burst label": {
			admission, patchPod(onNone,
				`{"metadata":{"labels":{"virtual-kubelet.io/burst-to-cci":"auto"}},`+tolerate(toleration)+`}`), "",
		},
		"admission ranks a Pod": {
			admission, patchPod(onNone, annotate(policy.DeletionCostAnnotation, "-1000000")), "",
		},
		"admission copies an annotation of a workload": {
			admission, patchPod(onNone, `{"metadata":{"annotations":{"spillway.io/local-min":"2",`+
				`"spillway.io/inherited":"spillway.io/local-min"}}}`), "",
		},
		"admission sets shares that are no copy": {
			admission, patchPod(onNone, annotate(policy.LocalMinAnnotation, "2")), "must not change other annotations",
		},
		"admission changes what is no copy": {
			admission, patchPod(onNone, `{"metadata":{"annotations":{"example.com/a":"2",`+
				`"spillway.io/inherited":"example.com/a"}}}`), "must not change other annotations",
		},
		"admission writes its condition": {
			admission, patchPod(onNone,
				`{"status":{"conditions":[{"type":"spillway.io/LocalReplicas","status":"False"}]}}`, "status"), "",
		},
		"admission tolerates everything": {
			admission, patchPod(onNone, `{`+tolerate(`{"operator":"Exists"}`)+`}`),
			"other tolerations than that of virtual",
		},
		"admission changes an image": {
			admission, patchPod(onNone, otherImage), "spec of a Pod other than",
		},
		"admission sets another label": {
			admission, patchPod(onNone, otherLabel), "must not change other labels",
		},
		"admission changes a label": {
			admission, patchPod(onNone, `{"metadata":{"labels":{"app":"b"}}}`), "must not change other labels",
		},
		"admission ranks a Pod differently": {
			admission, patchPod(onNone, annotate(policy.DeletionCostAnnotation, "5")), "with the value -1000000",
		},
		"admission removes a finalizer": {
			admission, patchPod(onNone, noFinalizer), "other than labels and annotations",
		},
		"admission ends a Pod": {
			admission, patchPod(onNone, `{"status":{"phase":"Failed"}}`, "status"), "other than its conditions",
		},
		"admission writes another condition": {
			admission, patchPod(onNone, `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, "status"),
			"other conditions than spillway.io/LocalReplicas",
		},
		"admission sets a label with the status": {
			admission, patchPod(onNone, otherLabel, "status"), "together with the status",
		},
		"admission registers its CA": {
			admission, patchWebhooks(`{"webhooks":[{"name":"pods.spillway.io","clientConfig":{"caBundle":"`+
				base64.StdEncoding.EncodeToString(bundle)+`"}}]}`, types.StrategicMergePatchType), "",
		},
		"admission registers another address": {
			admission, patchWebhooks(
				`{"webhooks":[{"name":"pods.spillway.io","clientConfig":{"service":{"path":"/x"}}}]}`,
				types.StrategicMergePatchType), "other than the CA",
		},
		"admission registers for other objects": {
			admission, patchWebhooks(`{"webhooks":[{"name":"pods.spillway.io","namespaceSelector":null}]}`,
				types.StrategicMergePatchType), "other than the CA",
		},
		"admission removes its registration": {
			admission, patchWebhooks(`{"webhooks":[]}`, types.MergePatchType), "other than the CA",
		},
		"admission disowns its registration": {
			admission, patchWebhooks(`{"metadata":{"labels":null}}`, types.MergePatchType), "the metadata of its",
		},

		"a virtual node writes the status of its Pod": {
			vnode, patchPod(onVirtual, running, "status"), "",
		},
		"a virtual node deletes its Pod":   {vnode, deletePod(onVirtual), ""},
		"a virtual node registers itself":  {other, createNode(system.VirtualNode(1)), ""},
		"a virtual node writes its status": {vnode, patchNode(system.VirtualNode(0), running, "status"), ""},
		"a virtual node cordons itself":    {vnode, patchNode(system.VirtualNode(0), cordon), ""},
		"a virtual node creates its Lease": {
			vnode,
			createLease("kube-node-lease", system.VirtualNode(0)),
			"",
		},
		"a virtual node requests a token of its Pod":    {vnode, token(metav1.NamespaceDefault, bound(onVirtual)), ""},
		"a virtual node requests its certificate":       {vnode, requestCertificate(t, serving), ""},
		"the process that takes over writes its status": {other, patchPod(onVirtual, running, "status"), ""},
		"the process that takes over deletes its Pod":   {other, deletePod(onVirtual), ""},
		"a virtual node writes the status of a local Pod": {
			vnode, patchPod(onLocal, `{"status":{"phase":"Failed"}}`, "status"), notItsNode,
		},
		"a virtual node deletes a local Pod":   {vnode, deletePod(onLocal), notItsNode},
		"a virtual node deletes a waiting Pod": {vnode, deletePod(onNone), "the Pod is on no node"},
		"a virtual node sets a label with the status": {
			vnode, patchPod(onVirtual, otherLabel, "status"), "the metadata of a Pod",
		},
		"a virtual node writes what its Pod has cost": {
			vnode, patchPod(onVirtual, `{"metadata":{"annotations":{"spillway.io/cost":"1 CNY"}}}`, "status"), "",
		},
		"a virtual node writes another annotation": {
			vnode, patchPod(onVirtual, `{"metadata":{"annotations":{"a":"b"}}}`, "status"), "the metadata of a Pod",
		},
		"a virtual node removes a finalizer with the status": {
			vnode, patchPod(onVirtual, noFinalizer, "status"), "the metadata of a Pod",
		},
		"a virtual node registers another":           {vnode, createNode(system.VirtualNode(1)), ""},
		"a virtual node registers one of no release": {vnode, createNode(system.VirtualNode(2)), notItsOwn},
		"a virtual node cordons a local node": {
			vnode, patchNode(system.LocalNode(0), cordon), notItsOwn,
		},
		"a virtual node breaks a local node": {
			vnode, patchNode(system.LocalNode(0), `{"status":{"capacity":{"pods":"0"}}}`, "status"), notItsOwn,
		},
		"a virtual node creates the Lease of another node": {
			vnode, createLease("kube-node-lease", system.LocalNode(0)), notItsOwn,
		},
		"a virtual node requests a token without a Pod": {
			vnode, token(metav1.NamespaceDefault, nil), "not bound to a Pod and its UID",
		},
		"a virtual node requests a token for a Secret": {
			vnode, token(metav1.NamespaceDefault, &authenticationv1.BoundObjectReference{
				Kind: "Secret", APIVersion: "v1", Name: "x", UID: "x",
			}), "not bound to a Pod and its UID",
		},
		"a virtual node requests a token of the control plane": {
			vnode, token(metav1.NamespaceSystem, bound(onVirtual)),
			"Pods of namespace kube-system never run on a virtual node",
		},
		"a virtual node requests a token of Spillway": {
			vnode, token(namespace, bound(onVirtual)),
			"Pods of namespace " + namespace + " never run on a virtual node",
		},
		"a virtual node requests the certificate of a client": {
			vnode, requestCertificate(t, client), "other certificates than that of its port",
		},
	})
	t.Run("the API server finds no mistakes in the policies", noWarnings)
}

// TestWhatThePoliciesAllowTheScheduler does the same for the scheduler, which shares its ServiceAccount with the
// extender.
func TestWhatThePoliciesAllowTheScheduler(t *testing.T) {
	install(t, values()...)
	scheduler := as(t, "spillway-scheduler", "")
	createPods(t, scheduler)
	check(t, map[string]policyCase{
		"it writes a condition": {
			scheduler,
			patchPod(onNone, `{"status":{"conditions":[{"type":"PodScheduled","status":"False"}]}}`, "status"), "",
		},
		"it nominates a node": {
			scheduler,
			patchPod(onNone, `{"status":{"nominatedNodeName":"local-0"}}`, "status"),
			"",
		},
		"it binds a Pod":   {scheduler, bindPod(onNone, nil), ""},
		"it deletes a Pod": {scheduler, deletePod(onLocal), ""},
		"it writes a slot": {scheduler, patchPod(onNone, annotate(policy.LocalSlotAnnotation, "x")), ""},
		"it sets a label with the status": {
			scheduler, patchPod(onNone, otherLabel, "status"), "the extender must not change labels",
		},
		"it changes an image": {
			scheduler, patchPod(onNone, otherImage), "must not change the spec",
		},
		"it creates the Lease of the cluster's scheduler": {
			scheduler, createLease(metav1.NamespaceSystem, "kube-scheduler"), "another Lease than its own",
		},
	})
	t.Run("the API server finds no mistakes in the policies", noWarnings)
}

// noWarnings waits until the control plane has checked the types in all expressions of the policies.
func noWarnings(t *testing.T) {
	policies := trial.Client().AdmissionregistrationV1().ValidatingAdmissionPolicies()
	require.Eventually(t, func() bool {
		list, err := policies.List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=spillway"})
		if err != nil || len(list.Items) < 5 {
			return false
		}
		for _, p := range list.Items {
			if p.Status.TypeChecking == nil || p.Status.ObservedGeneration != p.Generation {
				return false
			}
			assert.Empty(t, p.Status.TypeChecking.ExpressionWarnings, p.Name)
		}
		return true
	}, programtest.Timeout, 100*time.Millisecond)
}

// TestTheAccountOfVirtualNodesOnlyLabelsNodes sends what a virtual node sends as its ServiceAccount, and what a stolen
// token could send. What it sends as the user of its node is restricted by the API server itself.
func TestTheAccountOfVirtualNodesOnlyLabelsNodes(t *testing.T) {
	install(t, values("--set-json",
		`vnode.nodes=[{"labels":{"team":"web"},"taints":[{"key":"spare","effect":"NoSchedule"}]},{}]`)...)
	own, other := system.VirtualNode(0), system.VirtualNode(1)
	for _, name := range []string{own, other} {
		_, err := trial.Client().CoreV1().Nodes().Create(t.Context(), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"type": "virtual-kubelet"}},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{policy.ProviderTaint()}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() { onCluster(t, "kubectl", "delete", "node", name) })
	}
	vnode := as(t, "spillway-vnode", own)
	const (
		labels = `{"metadata":{"labels":{"node-restriction.kubernetes.io/spillway":"x",` +
			`"kubernetes.io/role":"agent"}}}`
		onlyLabels = "a virtual node must not change its Node"
		provider   = `{"key":"virtual-kubelet.io/provider","value":"huawei","effect":"NoSchedule"}`
		spare      = `{"key":"spare","effect":"NoSchedule"}`
		foreign    = `{"key":"foreign","effect":"NoExecute"}`
	)
	taints := func(list ...string) string { return `{"spec":{"taints":[` + strings.Join(list, ",") + `]}}` }
	check(t, map[string]policyCase{
		"it sets its labels":         {vnode, patchNode(own, labels), ""},
		"it labels another":          {vnode, patchNode(other, labels), ""},
		"it removes its taints":      {vnode, patchNode(own, `{"spec":{"taints":null}}`), "must not remove a taint"},
		"it sets its taints":         {vnode, patchNode(own, taints(provider, spare)), ""},
		"it sets another taint":      {vnode, patchNode(own, taints(provider, foreign)), "nor set others"},
		"it replaces its taint":      {vnode, patchNode(own, taints(spare)), "must not remove a taint"},
		"it sets a configured label": {vnode, patchNode(own, `{"metadata":{"labels":{"team":"web"}}}`), ""},
		"it cordons its Node":        {vnode, patchNode(own, `{"spec":{"unschedulable":true}}`), onlyLabels},
		"it sets another label":      {vnode, patchNode(own, otherLabel), onlyLabels},
		"it removes a label":         {vnode, patchNode(own, `{"metadata":{"labels":{"type":null}}}`), onlyLabels},
		"it sets an annotation":      {vnode, patchNode(own, annotate("note", "x")), onlyLabels},
	})
	t.Run("the API server finds no mistakes in the policies", noWarnings)
}
