package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
)

func createChecks() []check {
	checks := []check{
		{name: "namespace", needs: []string{"key"}, run: createNamespace},
		{name: "network", needs: []string{"namespace"}, run: createNetwork},
		{name: "data", needs: []string{"namespace"}, run: createData},
		{name: "list", needs: []string{"data"}, run: listPages},
		{name: "pod", needs: []string{"network", "data"}, run: createPod},
		{name: "pod-fields", run: compareFields},
		{name: "pod-events", run: readEvents},
		{name: "log", needs: []string{"pod"}, run: readLog},
		{name: "exec", needs: []string{"pod"}, run: runCommands},
		{name: "exec-signed", needs: []string{"pod"}, run: runSigned},
		{name: "services", needs: []string{"exec"}, run: tryServices},
		{name: "watch", run: watchPods},
		{name: "watch-expired", needs: []string{"namespace"}, run: watchExpired},
		{name: "delete", run: deletePod},
		{name: "sidecar", needs: []string{"network"}, run: createSidecar},
		{name: "impossible-image", needs: []string{"network"}, run: impossibleImage},
		{name: "impossible-size", needs: []string{"network"}, run: impossibleSize},
	}
	for i := range checks {
		checks[i].create = true
	}
	return checks
}

// createNamespace creates the namespace of the run, and waits until it is Active.
func createNamespace(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	d.namespaceSent = true
	created, err := d.cloud.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: d.namespace(), Labels: d.labels(), Annotations: d.annotations(),
	}})
	if err != nil {
		if cci.IsDenied(err) || cci.IsRefused(err) { // It was not created, and what the key may not see is not left behind.
			d.namespaceSent = false
		}
		return d.refusedCreation(err)
	}
	d.namespaceUID = created.UID
	phase := created.Status.Phase
	err = d.await(ctx, func() (bool, error) {
		if phase == corev1.NamespaceActive {
			return true, nil
		}
		read, err := d.cloud.GetNamespace(ctx, d.namespace())
		if err != nil {
			return false, err
		}
		phase = read.Status.Phase
		return false, nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("waiting until namespace %s is Active, it is %q: %w", d.namespace(), phase, err)
	}
	return d.namespace() + " is Active", nil, nil
}

// refusedCreation returns the finding for a refused creation. Other errors are returned as they are.
func (d *Doctor) refusedCreation(err error) (string, []diagnosis.Finding, error) {
	if refused := refusal(err); refused != nil {
		return "", []diagnosis.Finding{*refused}, nil
	}
	if statusOf(err) != 0 && !cci.IsTransient(err) && !cci.IsThrottled(err) {
		return "", []diagnosis.Finding{found(CodeCreationRefused, "%s", err)}, nil
	}
	return "", nil, err
}

// createNetwork creates the network as a virtual node does.
func createNetwork(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	c := d.config.CCI
	var last error
	err := cloudnamespace.Ensure(ctx, d.cloud, cloudnamespace.Config{
		Namespace: d.namespace(), Subnets: c.SubnetIDs, SecurityGroups: c.SecurityGroupIDs,
		ProjectID: c.ProjectID, DomainID: c.DomainID, Poll: d.options.Poll,
		Report: func(err error) {
			if err != nil && ctx.Err() == nil {
				last = err
			}
		},
	}, d.options.Logger)
	// The context of this step may be over.
	readCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.RequestTimeout.Duration)
	defer cancel()
	networks, listErr := d.cloud.ListNetworks(readCtx, d.namespace())
	if len(networks) == 0 {
		return d.refusedCreation(cmp.Or(last, err, listErr))
	}
	network := networks[0]
	because := network.Status.Reasons()
	switch {
	case network.Status.Status == cci.NetworkIPInsufficient:
		return "", []diagnosis.Finding{
			found(CodeNoFreeAddress, "network %s is IPInsufficient: %s", network.Name, because),
		}, nil
	case err == nil:
		return "the network is Ready", nil, nil
	case network.Status.Status == cci.NetworkFailed:
		return "", []diagnosis.Finding{found(CodeNetworkFailed, "network %s is Failed: %s", network.Name, because)}, nil
	case errors.Is(err, context.DeadlineExceeded):
		return "", []diagnosis.Finding{found(CodeNetworkNotReady, "network %s is %q: %s", network.Name,
			network.Status.Status, because)}, nil
	}
	return "", nil, err
}

// The objects that the Pod refers to.
const (
	dataName  = namePrefix + "data"
	otherName = namePrefix + "other"
	dataKey   = "key"
	dataText  = "spillway"
)

// createData creates what the Pod refers to, and a second ConfigMap, so that a list has two pages.
func createData(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	for _, data := range []*cci.Data{
		{Kind: cci.ConfigMap, ObjectMeta: d.meta(dataName), Text: map[string]string{dataKey: dataText}},
		{Kind: cci.ConfigMap, ObjectMeta: d.meta(otherName), Text: map[string]string{dataKey: dataText}},
		{Kind: cci.Secret, ObjectMeta: d.meta(dataName), Binary: map[string][]byte{dataKey: []byte(dataText)}},
	} {
		if _, err := d.cloud.CreateData(ctx, d.namespace(), data); err != nil {
			return d.refusedCreation(err)
		}
	}
	return "two ConfigMaps and a Secret", nil, nil
}

func (d *Doctor) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: d.labels(), Annotations: d.annotations()}
}

// listPages lists the ConfigMaps one by one, and the Pods, whose version is where the watch begins.
func listPages(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	pods, err := d.cloud.ListPods(ctx, d.namespace(), cci.ListOptions{})
	if err != nil {
		return "", nil, err
	}
	d.listVersion = pods.ResourceVersion
	pages, objects := 0, 0
	ignored := false
	err = cci.EachPage(cci.ListOptions{Limit: 1}, func(options cci.ListOptions) (string, int, error) {
		list, err := d.cloud.ListData(ctx, d.namespace(), cci.ConfigMap, options)
		if err != nil {
			return "", 0, err
		}
		pages, objects = pages+1, objects+list.Objects
		ignored = ignored || list.Objects > 1
		return list.Continue, list.Objects, nil
	})
	if err != nil {
		return "", nil, err
	}
	note := fmt.Sprintf("limit=1 gives %d ConfigMaps in %d pages", objects, pages)
	if ignored {
		return note, []diagnosis.Finding{found(CodeLimitIgnored, "%s", note)}, nil
	}
	return note, nil, nil
}

// cleanUp removes what this run and earlier runs have created, and waits until it is gone.
func cleanUp(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	var left []metav1.ObjectMeta
	if d.namespaceSent {
		mine, err := d.cloud.GetNamespace(ctx, d.namespace())
		switch { // It may exist although its creation got no answer.
		case err == nil && (mine.UID == d.namespaceUID || mine.Labels[policy.DoctorLabel] == d.options.ID):
			left = append(left, mine.ObjectMeta)
		case err != nil && !cci.IsNotFound(err):
			left = append(left, metav1.ObjectMeta{Name: d.namespace(), UID: d.namespaceUID})
		}
	}
	earlier, listErr := d.leftovers(ctx)
	left = append(left, slices.DeleteFunc(earlier, func(m metav1.ObjectMeta) bool { return m.Name == d.namespace() })...)
	var findings []diagnosis.Finding
	for _, meta := range left {
		if err := d.remove(ctx, meta); err != nil {
			findings = append(findings, found(CodeLeftBehind, "namespace %s: %s", meta.Name, quote(err)))
		}
	}
	if len(findings) > 0 || listErr != nil {
		return "", findings, listErr
	}
	return "removed: " + cmp.Or(names(left), "nothing"), nil, nil
}

// remove deletes a namespace with its Pods, and waits until it is gone. The Pods are deleted first: they cost.
func (d *Doctor) remove(ctx context.Context, meta metav1.ObjectMeta) error {
	pods, err := d.cloud.ListPods(ctx, meta.Name, cci.ListOptions{})
	if err == nil {
		for i := range pods.Items {
			// A failure is not the end: the namespace is deleted with all its contents.
			_ = d.cloud.DeletePod(ctx, meta.Name, pods.Items[i].Name, cci.DeleteOptions{
				UID: pods.Items[i].UID, GraceSeconds: new(int64),
			})
		}
	}
	if err := d.cloud.DeleteNamespace(ctx, meta.Name, cci.DeleteOptions{UID: meta.UID}); err != nil {
		switch {
		case cci.IsNotFound(err):
			return nil
		case !cci.IsConflict(err):
			return err
		}
		// Another run deletes it, or an answer was lost: only its end counts.
	}
	return d.await(ctx, func() (bool, error) {
		read, err := d.cloud.GetNamespace(ctx, meta.Name)
		gone := cci.IsNotFound(err) || statusOf(err) == http.StatusNotFound || err == nil && read.UID != meta.UID
		return gone, nil
	})
}
