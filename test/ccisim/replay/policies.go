// Package replay takes the behavior of a simulated cloud from a transcript of the real one. "vnode doctor --create
// --record" writes it.
package replay

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

// steps are the checks of the doctor that show policies.
var steps = []string{
	"events", "volumes", "snapshots", "missing-objects", "list", "watch-expired", "exec", "exec-signed", "delete",
}

// Missing returns the checks that show policies and that a transcript does not have, such as one without --create.
func Missing(exchanges []transcript.Exchange) []string {
	return slices.DeleteFunc(slices.Clone(steps), func(step string) bool {
		return slices.ContainsFunc(exchanges, func(e transcript.Exchange) bool { return e.Step == step })
	})
}

// Policies returns the policies that a transcript shows. What it does not show has its default.
func Policies(exchanges []transcript.Exchange) faults.Policies {
	var p faults.Policies
	all := recorded(exchanges)
	switch all.lacks("events") {
	case unpublished:
		p.Unpublished = append(p.Unpublished, "events")
	case unknown:
		p.Events = faults.EventsAbsent
	}
	switch all.lacks("persistentvolumes") {
	case unpublished:
		p.Unpublished = append(p.Unpublished, "persistentvolumes", "persistentvolumeclaims")
	case unknown:
		p.NoVolumes = true
	}
	switch all.lacks("imagesnapshots") {
	case unpublished:
		p.Unpublished = append(p.Unpublished, "imagesnapshots")
	case unknown:
		p.NoSnapshots = true
	}
	for i := range exchanges {
		e := &exchanges[i]
		switch {
		case e.Service != transcript.ServiceCCI:
		case e.Step == "missing-objects" && e.Status == http.StatusNotFound:
			form := e.Shape()
			p.BareErrors = p.BareErrors || form.GatewayCode == "" && form.Reason == "" && form.Message != ""
		case e.Step == "list" && e.Query.Get("limit") == "1":
			p.IgnoreLimit = p.IgnoreLimit || items(e) > 1
		case e.Query.Get("watch") == "true":
			p.GoneAsStatus = p.GoneAsStatus || e.Status == http.StatusGone
		case strings.HasSuffix(e.Path, "/exec") && e.Query.Get("command") == "id" && e.Auth == transcript.AuthToken:
			user := strings.TrimSpace(e.Text)
			p.IgnoreSecurityContext = e.Status == http.StatusSwitchingProtocols && user != all.user()
		case strings.HasSuffix(e.Path, "/exec"):
			p.SignedExec = p.SignedExec || e.Auth == transcript.AuthSignature && e.Status == http.StatusSwitchingProtocols
		}
	}
	if wrong := all.wrongDeletion(); wrong != nil {
		p.IgnorePreconditions = wrong.Status != 0 && wrong.Status < http.StatusMultipleChoices
	}
	return p.WithDefaults()
}

// wrongDeletion returns the deletion with a UID that no object has, nil if there is none.
func (t recorded) wrongDeletion() *transcript.Exchange {
	for i := range t {
		var options struct {
			Preconditions struct {
				UID string `json:"uid"`
			} `json:"preconditions"`
		}
		if t[i].Method == http.MethodDelete && json.Unmarshal(t[i].Request, &options) == nil &&
			options.Preconditions.UID == transcript.NoUID {
			return &t[i]
		}
	}
	return nil
}

// recorded is a transcript in which exchanges are looked up.
type recorded []transcript.Exchange

// first returns the first exchange of a step with a method, nil if there is none.
func (t recorded) first(step, method string) *transcript.Exchange {
	for i := range t {
		if t[i].Step == step && t[i].Method == method {
			return &t[i]
		}
	}
	return nil
}

// user returns the user that the Pod of the doctor requests.
func (t recorded) user() string {
	created := t.first("pod", http.MethodPost)
	if created == nil {
		return ""
	}
	var pod struct {
		Spec struct {
			SecurityContext struct {
				RunAsUser json.Number `json:"runAsUser"`
			} `json:"securityContext"`
		} `json:"spec"`
	}
	_ = json.Unmarshal(created.Request, &pod) // The doctor has sent a Pod.
	return pod.Spec.SecurityContext.RunAsUser.String()
}

// How a region answers for a resource that it lacks: the gateway has not published it, or the API server does not know
// it.
const (
	unpublished = "unpublished"
	unknown     = "unknown"
)

// lacks says how the region answers for a resource that it lacks, and is empty for a resource that it has. The doctor
// has asked for it, and then for one that cannot exist.
func (t recorded) lacks(plural string) string {
	for i := 0; i+1 < len(t); i++ {
		one, next := t[i].Shape(), t[i+1].Shape()
		if !strings.HasSuffix(t[i].Path, "/"+plural) || !strings.HasSuffix(t[i+1].Path, "/spillwaydoctors") {
			continue
		}
		switch {
		case one.Status != http.StatusNotFound:
		case one.GatewayCode != "":
			return unpublished
		case one == next:
			return unknown
		}
		return ""
	}
	return ""
}

// items returns the number of objects of a list.
func items(e *transcript.Exchange) int {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	_ = json.Unmarshal(e.Answer, &list) // An answer that is no list has no items.
	return len(list.Items)
}
