package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

func offerChecks() []check {
	return []check{
		{name: "discovery", needs: []string{"key"}, run: discover},
		{name: "missing-objects", needs: []string{"key"}, run: readMissing},
		{name: "events", needs: []string{"key"}, run: findEvents},
		{name: "volumes", needs: []string{"key"}, run: findVolumes},
		{name: "snapshots", needs: []string{"key"}, run: findSnapshots},
		{name: "leftovers", needs: []string{"key"}, run: findLeftovers},
	}
}

// needed are the verbs of the resources that a virtual node cannot do without, by group.
func needed() map[string]map[string][]string {
	return map[string]map[string][]string{
		"cci/v2": {
			"namespaces": {"create", "get", "delete"}, "pods": {"create", "get", "list", "watch", "delete"},
			"pods/log": {"get"}, "pods/exec": {"get"},
			"configmaps": {"create", "get", "list", "update", "delete"},
			"secrets":    {"create", "get", "list", "update", "delete"},
		},
		"yangtse/v2": {"networks": {"create", "get", "list"}},
	}
}

// discover compares the lists of resources with what a virtual node needs. Events are not in them although they exist.
func discover(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	var findings []diagnosis.Finding
	var notes []string
	for _, group := range []string{"cci/v2", "yangtse/v2"} {
		body, err := d.cloud.Read(ctx, "", "/apis/"+group, nil)
		if statusOf(err) == http.StatusNotFound {
			findings = append(findings, found(CodeResourceMissing, "the group %s: %s", group, quote(err)))
			continue
		}
		if err != nil {
			return "", findings, err
		}
		var list metav1.APIResourceList
		if err := json.Unmarshal(body, &list); err != nil {
			return "", findings, fmt.Errorf("reading the resources of %s: %w", group, err)
		}
		findings = append(findings, missingVerbs(group, list)...)
		notes = append(notes, fmt.Sprintf("%s has %d resources", group, len(list.APIResources)))
	}
	return strings.Join(notes, ", "), findings, nil
}

// missingVerbs reports the resources and verbs that a group lacks.
func missingVerbs(group string, list metav1.APIResourceList) []diagnosis.Finding {
	offered := map[string][]string{}
	for _, resource := range list.APIResources {
		offered[resource.Name] = resource.Verbs
	}
	var missing []string
	for resource, verbs := range needed()[group] {
		for _, verb := range verbs {
			if !slices.Contains(offered[resource], verb) {
				missing = append(missing, verb+" "+resource)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return []diagnosis.Finding{found(CodeResourceMissing, "the group %s lacks: %s", group, strings.Join(missing, ", "))}
}

// nowhere is the name of objects that do not exist.
const nowhere = namePrefix + "nowhere"

// impossiblePlural is the name of a resource that no service has.
const impossiblePlural = "spillwaydoctors"

// readMissing reads objects that do not exist: what they look like is how vnode recognizes that a Pod is gone.
func readMissing(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	var notes []string
	var bare []string
	for _, object := range []struct{ name, path string }{
		{"namespace", "/apis/cci/v2/namespaces/" + nowhere},
		{"Pod", "/apis/cci/v2/namespaces/" + nowhere + "/pods/" + nowhere},
		{"path", "/apis/cci/v2/" + nowhere},
	} {
		_, err := d.cloud.Read(ctx, "", object.path, nil)
		if err != nil && statusOf(err) == 0 {
			return "", nil, err
		}
		form := d.lastShape()
		notes = append(notes, object.name+" "+form.String())
		if object.name != "path" && form.Status == http.StatusNotFound && form.Reason != string(metav1.StatusReasonNotFound) {
			bare = append(bare, object.name)
		}
	}
	note := strings.Join(notes, ", ")
	if len(bare) > 0 {
		return note, []diagnosis.Finding{
			found(CodeNoReason, "%s that does not exist: %s", strings.Join(bare, " and "), note),
		}, nil
	}
	return note, nil, nil
}

// isOffered reports whether a path is served: it is not if the answer says so, or is that of a path that cannot exist.
func (d *Doctor) isOffered(ctx context.Context, path, impossible string) (bool, error) {
	forms := map[string]transcript.Shape{}
	unknown := false
	for _, p := range []string{path, impossible} {
		_, err := d.cloud.Read(ctx, "", p, map[string][]string{"limit": {"1"}})
		if err != nil && statusOf(err) == 0 {
			return false, err
		}
		unknown = unknown || p == path && cci.IsNotOffered(err)
		forms[p] = d.lastShape()
	}
	return !unknown && (forms[path].Status != http.StatusNotFound || forms[path] != forms[impossible]), nil
}

// lastShape returns the form of the newest answer of this step.
func (d *Doctor) lastShape() transcript.Shape {
	if last := d.recorder.Last(); last != nil {
		return last.Shape()
	}
	return transcript.Shape{}
}

// find finds out whether the region has a resource of a group. If it has none, it returns a finding with the code.
func (d *Doctor) find(
	ctx context.Context, group, plural string, missing diagnosis.Code,
) (string, []diagnosis.Finding, error) {
	path := group + "/" + plural
	offered, err := d.isOffered(ctx, path, group+"/"+impossiblePlural)
	switch {
	case err != nil:
		return "", nil, err
	case offered:
		return "offered", nil, nil
	}
	return "", []diagnosis.Finding{
		found(missing, "%s is answered as an unknown path", strings.Replace(path, nowhere, "NAMESPACE", 1)),
	}, nil
}

// findEvents finds out whether the region has Events: discovery does not list them.
func findEvents(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	return d.find(ctx, "/apis/cci/v2/namespaces/"+nowhere, "events", CodeNoEvents)
}

// findVolumes finds out whether the region has PersistentVolumes.
func findVolumes(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	note, missing, err := d.find(ctx, "/apis/cci/v2", "persistentvolumes", CodeNoVolumes)
	if len(missing) > 0 && !d.config.Pods.Claims {
		return "not offered, and not used (pods.claims is false)", nil, nil
	}
	return note, missing, err
}

// findSnapshots finds out whether the region has image snapshots.
func findSnapshots(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	return d.find(ctx, "/apis/cci/v2", "imagesnapshots", CodeNoSnapshots)
}

// findLeftovers finds namespaces of earlier runs. With Options.Create they are removed at the end.
func findLeftovers(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	left, err := d.leftovers(ctx)
	switch {
	case err != nil:
		return "", nil, err
	case len(left) == 0:
		return "none", nil, nil
	case d.options.Create:
		return "of earlier runs, removed at the end: " + names(left), nil, nil
	}
	return "", []diagnosis.Finding{found(CodeLeftByEarlierRun, "namespace %s", names(left))}, nil
}

// leftovers lists the namespaces of earlier runs that are over.
func (d *Doctor) leftovers(ctx context.Context) ([]metav1.ObjectMeta, error) {
	body, err := d.cloud.Read(ctx, "", "/apis/cci/v2/namespaces", map[string][]string{
		"labelSelector": {policy.DoctorLabel},
	})
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("reading the namespaces: %w", err)
	}
	var left []metav1.ObjectMeta
	for _, item := range list.Items {
		meta := item.Metadata
		until, err := time.Parse(time.RFC3339, meta.Annotations[policy.DoctorUntilAnnotation])
		// The service may ignore the selector, and another run may be in progress.
		if err == nil && meta.Labels[policy.DoctorLabel] != "" && strings.HasPrefix(meta.Name, namePrefix) &&
			time.Now().Add(d.offset).After(until) {
			left = append(left, meta)
		}
	}
	return left, nil
}

// names lists the names of objects.
func names(list []metav1.ObjectMeta) string {
	var texts []string
	for i := range list {
		texts = append(texts, list[i].Name)
	}
	return strings.Join(texts, ", ")
}
