package explain

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// HomeEvent is the last that the extender has said about the way of a Pod to local nodes.
type HomeEvent struct {
	Reason  policy.Reason
	Message string
}

// homeKinds are the controllers whose Pods return from the cloud, by API version.
var homeKinds = map[string]string{
	"ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "ReplicationController": "v1",
}

// NeverHome says why a Pod never returns from the cloud by the way home, whatever happens. It is empty if it may.
// Whether a Pod that may return does so depends on its workload and on local nodes: the extender decides.
func NeverHome(pod *corev1.Pod, decision policy.Decision) string {
	if _, moving := policy.MovingHomeOf(pod); moving {
		return "" // Its controller has released it.
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	switch {
	case owner == nil:
		return "it has no controller that would create its successor"
	case homeKinds[owner.Kind] == "" || homeKinds[owner.Kind] != owner.APIVersion:
		return "its controller is a " + policy.Clip(owner.Kind, maxValue) + ": Pods of Deployments, StatefulSets, " +
			"ReplicaSets and ReplicationControllers return"
	case decision.Placement == policy.PlacementCloudOnly:
		return "it may run in the cloud only: " + decision.Says().String()
	}
	return ""
}

// NeverHomeOf is NeverHome for the Pod of an Input.
func NeverHomeOf(in Input) string { return NeverHome(in.Pod, newSubject(in).decision) }

// drainBackFor is how long a request to return has an effect, as package wayhome of the extender has it.
const drainBackFor = 24 * time.Hour

// AskedToReturn returns when "kubectl spillway drain-back" asked for a Pod; ok is false if it did not. A request that
// is older than the Pod is that of another Pod. now may be zero: then no request is too old.
func AskedToReturn(pod *corev1.Pod, now time.Time) (at time.Time, ok bool) {
	at, err := time.Parse(time.RFC3339, pod.Annotations[policy.DrainBackAnnotation])
	if err != nil || at.Before(pod.CreationTimestamp.Time) || !now.IsZero() && now.Sub(at) >= drainBackFor {
		return time.Time{}, false
	}
	return at.UTC(), true
}

// homeStep says whether a Pod in the cloud returns to local nodes. ok is false for other Pods.
func (s *subject) homeStep() (step Step, ok bool) {
	if s.place != Cloud {
		return Step{}, false
	}
	return Step{"home", None, s.wayHome() + s.lastAboutHome()}, true
}

func (s *subject) wayHome() string {
	if move, moving := policy.MovingHomeOf(s.Pod); moving {
		return fmt.Sprintf("it returns since %s: it is evicted when its successor is ready on a local node",
			move.Start.UTC().Format(time.RFC3339))
	}
	if never := NeverHome(s.Pod, s.decision); never != "" {
		return "it does not return to local nodes: " + never
	}
	stopped := ""
	if s.WayHomeStopped {
		stopped = fmt.Sprintf("; %s in ConfigMap %s/%s stops all moves now", policy.WayHomeSwitch,
			policy.SwitchConfigMapNamespace, policy.SwitchConfigMapName)
	}
	if at, asked := AskedToReturn(s.Pod, s.Now); asked {
		return fmt.Sprintf("it was asked to return at %s (drain-back): the extender decides when%s",
			at.Format(time.RFC3339), stopped)
	}
	const when = "it returns when a local node has had room for a while: the extender decides when"
	returns, set, err := policy.ParseWayHome(s.values)
	switch {
	case err != nil:
		return "it does not return to local nodes: " + err.Error()
	case set && returns:
		return when + " (" + policy.WayHomeAnnotation + ")" + stopped
	case set:
		return "it does not return automatically: " + policy.WayHomeAnnotation + " is \"false\""
	default:
		return "it does not return automatically, unless the configuration of the extender says so: there is no " +
			policy.WayHomeAnnotation
	}
}

// lastAboutHome is what the extender has said last, if the Pod may return.
func (s *subject) lastAboutHome() string {
	if s.Home == nil {
		return ""
	}
	text := strings.TrimRight(policy.Clip(s.Home.Message, policy.MaxMessage), ". ")
	return fmt.Sprintf("; it said last: %s: %s", s.Home.Reason, text)
}

// sendHome returns what would move a Pod from the cloud to a local node, while another one runs.
func (s *subject) sendHome() []Change {
	if s.place != Cloud || NeverHome(s.Pod, s.decision) != "" || s.isAtLocalCap() {
		return nil
	}
	if _, moving := policy.MovingHomeOf(s.Pod); moving {
		return nil
	}
	var changes []Change
	if returns, _, err := policy.ParseWayHome(s.values); err != nil || !returns {
		changes = append(changes, s.set("let the Pods of the workload return when local nodes have room",
			policy.WayHomeAnnotation, "true"))
	}
	if _, asked := AskedToReturn(s.Pod, s.Now); !asked {
		changes = append(changes, Change{"ask once that it returns when local nodes have room", fmt.Sprintf(
			"kubectl spillway drain-back -n %s pod/%s", s.Pod.Namespace, s.Pod.Name)})
	}
	return changes
}
