package leadership_test

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

var resource = coordinationv1.Resource("leases")

// leaseAPI is an API server in memory that has one Lease. It assigns UIDs and resource versions, and rejects updates
// of an old version.
type leaseAPI struct {
	mu      sync.Mutex
	lease   *coordinationv1.Lease // nil while there is none
	version int
}

// client returns a client. Its requests fail while blocked is true.
func (a *leaseAPI) client(blocked *atomic.Bool) *fake.Clientset {
	client := &fake.Clientset{}
	client.AddReactor("*", "leases", func(action kubetesting.Action) (bool, runtime.Object, error) {
		if blocked.Load() {
			return true, nil, errors.New("connection refused")
		}
		lease, err := a.handle(action)
		return true, lease, err
	})
	return client
}

func (a *leaseAPI) handle(action kubetesting.Action) (*coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch action := action.(type) {
	case kubetesting.CreateActionImpl:
		lease := action.Object.(*coordinationv1.Lease)
		if a.lease != nil {
			return nil, apierrors.NewAlreadyExists(resource, lease.Name)
		}
		a.version++
		a.lease = lease.DeepCopy()
		a.lease.UID = types.UID("uid-" + strconv.Itoa(a.version))
	case kubetesting.UpdateActionImpl:
		lease := action.Object.(*coordinationv1.Lease)
		if a.lease == nil {
			return nil, apierrors.NewNotFound(resource, lease.Name)
		}
		if lease.ResourceVersion != a.lease.ResourceVersion {
			return nil, apierrors.NewConflict(resource, lease.Name, errors.New("the Lease has changed"))
		}
		a.version++
		a.lease = lease.DeepCopy()
	case kubetesting.GetActionImpl:
		if a.lease == nil {
			return nil, apierrors.NewNotFound(resource, action.Name)
		}
		return a.lease.DeepCopy(), nil
	default:
		return nil, errors.New("unexpected request " + action.GetVerb())
	}
	a.lease.ResourceVersion = strconv.Itoa(a.version)
	return a.lease.DeepCopy(), nil
}

// acquire gives the Lease to another holder, in a new term.
func (a *leaseAPI) acquire(holder string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.lease.ResourceVersion = strconv.Itoa(a.version)
	*a.lease.Spec.HolderIdentity = holder
	*a.lease.Spec.LeaseTransitions++
}

// remove deletes the Lease.
func (a *leaseAPI) remove() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lease = nil
}

func (a *leaseAPI) holder(t *testing.T) string {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.NotNil(t, a.lease)
	return *a.lease.Spec.HolderIdentity
}
