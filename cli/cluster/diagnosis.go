package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/cli/doctor"
	"github.com/spillway-k8s/spillway/internal/installation"
	"github.com/spillway-k8s/spillway/policy"
)

// The objects of the chart that Diagnose reads by their names.
const (
	webhooksName      = "spillway"
	certificateSecret = "spillway-admission-tls"
	vnodeConfigMap    = "spillway-vnode"
	vnodeConfigKey    = "vnode.yaml"
	dnsNamespace      = metav1.NamespaceSystem
	dnsService        = "kube-dns" // Its name in every cluster, for compatibility.
)

// Diagnose reads what the checks of package doctor need, each object once. What the user may not read is left out, and
// the snapshot says so. It blocks for about 25 API calls, and returns an error if one fails for another reason.
func Diagnose(ctx context.Context, client kubernetes.Interface, now func() time.Time) (*doctor.Snapshot, error) {
	s := &doctor.Snapshot{Now: now(), Read: map[doctor.Part]bool{}, Unread: map[doctor.Part]string{}}
	installed, err := installation.Read(ctx, client)
	var missing installation.ErrMissing
	var answer apierrors.APIStatus
	var connection *url.Error
	switch {
	case errors.As(err, &missing):
		s.Problem = err.Error()
	case errors.As(err, &answer), errors.As(err, &connection):
		return nil, err // It names the ConfigMap.
	case err != nil:
		s.Problem, s.Malformed = err.Error(), true
	default:
		s.Installation = &installed
		if s.Policy, err = policy.New(installed.Policy); err != nil {
			s.Installation, s.Malformed = nil, true
			s.Problem = fmt.Sprintf("the section policy of the installation: %v", err)
		}
	}
	if s.Installation == nil {
		return s, context.Cause(ctx)
	}
	d := &snapshotReader{Snapshot: s, client: client, programs: installed.Namespace}
	d.readPrograms(ctx)
	d.readWebhooks(ctx)
	d.readWorkloads(ctx)
	d.readSettings(ctx)
	d.readRights(ctx)
	if len(d.failed) > 0 {
		return nil, fmt.Errorf("reading the cluster: %w", errors.Join(d.failed...))
	}
	return s, context.Cause(ctx)
}

// snapshotReader fills a snapshot.
type snapshotReader struct {
	*doctor.Snapshot
	client kubernetes.Interface
	// programs is the namespace of the programs.
	programs string
	// failed are errors that do not say that the user may not read something.
	failed []error
}

// note remembers whether a part was read. It reports whether it was.
func (d *snapshotReader) note(part doctor.Part, err error) bool {
	switch {
	case err == nil:
		d.Read[part] = d.Unread[part] == ""
	case apierrors.IsForbidden(err):
		d.Read[part], d.Unread[part] = false, "you lack the right to read it"
	default:
		d.failed = append(d.failed, fmt.Errorf("%s: %w", part, err))
	}
	return err == nil
}

// existing drops an error that says that an object does not exist: that is what the checks want to know.
func existing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (d *snapshotReader) readPrograms(ctx context.Context) {
	deployments, err := d.client.AppsV1().Deployments("").List(ctx, cached())
	if d.note(doctor.PartDeployments, err) {
		d.Deployments = pointers(deployments.Items)
	}
	sets, err := d.client.AppsV1().StatefulSets(d.programs).List(ctx, cached())
	if d.note(doctor.PartStatefulSets, err) {
		d.StatefulSets = pointers(sets.Items)
	}
	daemons, err := d.client.AppsV1().DaemonSets("").List(ctx, cached())
	if d.note(doctor.PartDaemonSets, err) {
		d.DaemonSets = pointers(daemons.Items)
	}
	// Not from a cache: a Lease that is read late looks stale.
	leases, err := d.client.CoordinationV1().Leases(d.programs).List(ctx, metav1.ListOptions{})
	if d.note(doctor.PartLeases, err) {
		d.Leases = pointers(leases.Items)
	}
}

func (d *snapshotReader) readWebhooks(ctx context.Context) {
	registrations := d.client.AdmissionregistrationV1()
	mutating, err := registrations.MutatingWebhookConfigurations().Get(ctx, webhooksName, metav1.GetOptions{})
	if d.note(doctor.PartWebhooks, existing(err)) && err == nil {
		d.Mutating = mutating
	}
	validating, err := registrations.ValidatingWebhookConfigurations().Get(ctx, webhooksName, metav1.GetOptions{})
	if d.note(doctor.PartWebhooks, existing(err)) && err == nil {
		d.Validating = validating
	}
	secret, err := d.client.CoreV1().Secrets(d.programs).Get(ctx, certificateSecret, metav1.GetOptions{})
	if d.note(doctor.PartCertificate, existing(err)) && err == nil {
		d.Certificate = secret.Data[corev1.TLSCertKey]
	}
}

func (d *snapshotReader) readWorkloads(ctx context.Context) {
	nodes, err := d.client.CoreV1().Nodes().List(ctx, cached())
	if d.note(doctor.PartNodes, err) {
		d.Nodes = pointers(nodes.Items)
	}
	pods, err := d.client.CoreV1().Pods("").List(ctx, cached())
	if d.note(doctor.PartPods, err) {
		d.Pods = pointers(pods.Items)
	}
	namespaces, err := d.client.CoreV1().Namespaces().List(ctx, cached())
	if d.note(doctor.PartNamespaces, err) {
		d.Namespaces = pointers(namespaces.Items)
	}
}

func (d *snapshotReader) readSettings(ctx context.Context) {
	global, err := d.client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace).
		Get(ctx, policy.SwitchConfigMapName, metav1.GetOptions{})
	if d.note(doctor.PartSwitch, existing(err)) && err == nil {
		d.Switch = global.Data
	}
	config, err := d.client.CoreV1().ConfigMaps(d.programs).Get(ctx, vnodeConfigMap, metav1.GetOptions{})
	if d.note(doctor.PartVnodeConfig, existing(err)) && err == nil {
		d.VnodeConfig = []byte(config.Data[vnodeConfigKey])
	}
	dns, err := d.client.CoreV1().Services(dnsNamespace).Get(ctx, dnsService, metav1.GetOptions{})
	if d.note(doctor.PartDNS, existing(err)) && err == nil {
		d.DNS = dns.Spec.ClusterIPs
	}
}

// mainRights are what the programs do most. docs/reference/rights.md has all rights.
func (d *snapshotReader) mainRights() []doctor.Right {
	placer, lease := "spillway-scheduler", "spillway-scheduler"
	if d.Installation.Scheduler.MarkerResource {
		placer, lease = "spillway-extender", "spillway-extender"
	}
	return []doctor.Right{
		{Account: "spillway-admission", Verb: "patch", Resource: "pods"},
		{Account: "spillway-admission", Verb: "list", Resource: "pods"},
		{Account: "spillway-admission", Verb: "list", Resource: "nodes"},
		{Account: "spillway-admission", Verb: "create", Resource: "events"},
		{Account: "spillway-admission", Verb: "update", Resource: "leases/spillway-admission", Namespace: d.programs},
		{Account: placer, Verb: "patch", Resource: "pods"},
		{Account: placer, Verb: "list", Resource: "pods"},
		{Account: placer, Verb: "list", Resource: "nodes"},
		{Account: placer, Verb: "list", Resource: "namespaces"},
		{Account: placer, Verb: "get", Resource: "leases/" + lease, Namespace: d.programs},
		{Account: "spillway-vnode", Verb: "list", Resource: "namespaces"},
	}
}

// groups are the API groups of the resources of mainRights.
var groups = map[string]string{"leases": "coordination.k8s.io"}

func (d *snapshotReader) readRights(ctx context.Context) {
	rights := d.mainRights()
	for i := range rights {
		right := &rights[i]
		resource, name, _ := strings.Cut(right.Resource, "/")
		review, err := d.client.AuthorizationV1().SubjectAccessReviews().Create(ctx,
			&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + d.programs + ":" + right.Account,
				Groups: []string{
					"system:serviceaccounts", "system:serviceaccounts:" + d.programs, "system:authenticated",
				},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: right.Namespace, Verb: right.Verb, Group: groups[resource], Resource: resource,
					Name: name,
				},
			}}, metav1.CreateOptions{})
		if !d.note(doctor.PartRights, err) {
			return
		}
		right.Allowed = review.Status.Allowed
	}
	d.Rights = rights
}
