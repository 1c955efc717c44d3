package policy

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MovingHome is a move that has begun: what is needed to finish it or to undo it, also after a restart. It is the value
// of MovingHomeAnnotation, as JSON.
type MovingHome struct {
	// Hash is the value of the label pod-template-hash, which the Pod does not have during the move.
	Hash string `json:"hash"`
	// ReplicaSet and ReplicaSetUID are those of the ReplicaSet that has released the Pod.
	ReplicaSet    string    `json:"replicaSet"`
	ReplicaSetUID types.UID `json:"replicaSetUID"`
	// Deployment and DeploymentUID are those of its Deployment, which owns the Pod during the move.
	Deployment    string    `json:"deployment"`
	DeploymentUID types.UID `json:"deploymentUID"`
	// Start is when the move began.
	Start metav1.Time `json:"start"`
	// After is the creation of the newest Pod of the ReplicaSet at that time, by the clock of the API server. Pods that
	// are younger are successors.
	After metav1.Time `json:"after"`
}

// String returns the value of the annotation.
func (m MovingHome) String() string {
	text, err := json.Marshal(m)
	if err != nil {
		return "" // All fields are texts.
	}
	return string(text)
}

// MovingHomeOf returns the move of a Pod. ok is false if it does not move, or if its annotation is malformed: then only
// its other fields count.
func MovingHomeOf(pod *corev1.Pod) (m MovingHome, ok bool) {
	value, ok := pod.Annotations[MovingHomeAnnotation]
	if !ok {
		return MovingHome{}, false
	}
	if err := json.Unmarshal([]byte(value), &m); err != nil || m.ReplicaSetUID == "" || m.DeploymentUID == "" ||
		m.ReplicaSet == "" || m.Deployment == "" || m.Hash == "" {
		return MovingHome{}, false
	}
	return m, true
}

// ParseWayHomeSwitch reads WayHomeSwitch of the ConfigMap: whether Pods may return. Without the key they may. While it
// is malformed, none does.
func ParseWayHomeSwitch(data map[string]string) (on bool, err error) {
	switch value, ok := data[WayHomeSwitch]; {
	case !ok || value == "true":
		return true, nil
	case value == "false":
		return false, nil
	default:
		return false, fmt.Errorf("%s: invalid value %q: must be \"true\" or \"false\"", WayHomeSwitch, value)
	}
}
