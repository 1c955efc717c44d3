package cloudnamespace

import (
	"strconv"
	"time"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// WarmPool describes the addresses that a network keeps ready, so that Pods need not wait for one.
type WarmPool struct {
	// Size is the number of addresses. 0 means none.
	Size int
	// RecycleInterval is in whole hours. 0 leaves it to the service.
	RecycleInterval time.Duration
}

// annotations returns the annotations of a network with this pool.
func (w WarmPool) annotations() map[string]string {
	annotations := map[string]string{}
	if w.Size > 0 {
		annotations[cci.WarmPoolSizeAnnotation] = strconv.Itoa(w.Size)
	}
	if w.RecycleInterval > 0 {
		annotations[cci.WarmPoolRecycleAnnotation] = strconv.Itoa(int(w.RecycleInterval.Hours()))
	}
	return annotations
}

// changes returns the annotations that the network does not have yet. An empty value removes one: of a network that
// this package has created. Others may have set it on their own network.
func (w WarmPool) changes(network cci.Network) map[string]string {
	changes, wanted := map[string]string{}, w.annotations()
	for _, key := range []string{cci.WarmPoolSizeAnnotation, cci.WarmPoolRecycleAnnotation} {
		value, found := wanted[key], network.Annotations[key]
		if value != found && (value != "" || network.Name == networkName) {
			changes[key] = value
		}
	}
	return changes
}
