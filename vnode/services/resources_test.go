package services

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// everything is the view of a Pod that sees all.
var everything = newScope([]string{AllNamespaces}, types.NamespacedName{}).newView("", &internalversion.ListOptions{})

// truth is what the cluster has.
type truth struct {
	version  uint64
	services map[string]*corev1.Service
}

// change changes, creates or deletes a Service. It returns it, and whether it was deleted.
func (c *truth) change(random *rand.Rand) (*corev1.Service, bool) {
	c.version++
	name := fmt.Sprintf("service-%d", random.IntN(8))
	version := strconv.FormatUint(c.version, 10)
	old := c.services[name]
	if old != nil && random.IntN(3) == 0 {
		gone := old.DeepCopy()
		gone.ResourceVersion = version
		delete(c.services, name)
		return gone, true
	}
	changed := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: version},
		// Sometimes a change is none for clients.
		Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.0.0.%d", random.IntN(4))},
	}
	changed.UID = types.UID("created-at-" + version)
	if old != nil {
		changed.UID = old.UID
	}
	c.services[name] = changed
	return changed.DeepCopy(), false
}

// list gives resources all that there is, as after a watch that has failed.
func (c *truth) list(t *testing.T, to *resources) {
	t.Helper()
	var all []any
	for _, service := range c.services {
		all = append(all, service.DeepCopy())
	}
	require.NoError(t, to.Replace(all, strconv.FormatUint(c.version, 10)))
}

// reader is a client that follows resources and knows no more than what it gets.
type reader struct {
	from     *resources
	at       position
	version  uint64
	services map[string]string
}

// connect goes on from the version that the reader has reached, or gets everything.
func (c *reader) connect(to *resources) {
	c.from = to
	if known, _ := to.head(); c.version > 0 && c.version <= known {
		if at, ok := to.after(c.version); ok {
			c.at = at
			return
		}
	}
	objects, version, next := to.snapshot()
	c.at, c.version, c.services = next, version, map[string]string{}
	for _, object := range objects {
		c.services[object.name] = object.fields[fieldClusterIP]
	}
}

// read reads one event. It returns false if there is none.
func (c *reader) read(t *testing.T) bool {
	t.Helper()
	var one [1]event
	n, _, _, ok := c.from.read(c.at, one[:])
	if !ok {
		c.connect(c.from)
		return true
	}
	if n == 0 {
		return false
	}
	e := one[0]
	c.at++
	switch kind, object := everything.eventOf(e); kind {
	case watch.Added, watch.Modified:
		c.services[object.name] = object.fields[fieldClusterIP]
	case watch.Deleted:
		delete(c.services, object.name)
	}
	c.version = e.version
	return true
}

// Two servers follow a cluster. Their watches fail at any time, the streams of clients are cut at any event, and go on
// at the same or at the other server. Nothing is ever lost.
func TestClientsThatAreCutOffMissNothing(t *testing.T) {
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 1))
		cluster := &truth{version: 10, services: map[string]*corev1.Service{}}
		servers := []*resources{newResources(kindService), newResources(kindService)}
		failed := make([]bool, len(servers))
		for _, server := range servers {
			cluster.list(t, server)
		}
		clients := make([]*reader, 4)
		for i := range clients {
			clients[i] = &reader{}
			clients[i].connect(servers[i%2])
		}
		for range 150 {
			service, deleted := cluster.change(random)
			for i, server := range servers {
				switch {
				case failed[i] && random.IntN(4) == 0:
					cluster.list(t, server)
					failed[i] = false
				case failed[i]:
				case random.IntN(12) == 0:
					failed[i] = true
				case deleted:
					require.NoError(t, server.Delete(service.DeepCopy()))
				default:
					require.NoError(t, server.Update(service.DeepCopy()))
				}
				if !failed[i] && random.IntN(8) == 0 {
					require.NoError(t, server.Bookmark(strconv.FormatUint(cluster.version, 10)))
				}
			}
			for _, client := range clients {
				for range random.IntN(4) {
					client.read(t)
				}
				if random.IntN(6) == 0 {
					client.connect(servers[random.IntN(2)])
				}
			}
		}
		want := map[string]string{}
		for name, service := range cluster.services {
			want[name] = service.Spec.ClusterIP
		}
		for _, server := range servers {
			cluster.list(t, server)
		}
		for _, client := range clients {
			for client.read(t) {
			}
			require.Equal(t, want, client.services, "seed %d", seed)
		}
	}
}
