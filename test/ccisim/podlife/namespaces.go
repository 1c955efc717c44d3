package podlife

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	// pullSecret is the Secret that the service keeps in every namespace, with a rotating token for its registry.
	pullSecret = "imagepull-secret"

	namespaceTerminating = corev1.NamespaceTerminating
)

func (c *Controller) createPullSecret(tx store.Tx, namespace string) {
	secret := &objects.Secret{}
	secret.SetType(tx.Generation().APIVersion(objects.Secrets), objects.Secrets.Kind)
	secret.Name, secret.Namespace = pullSecret, namespace
	objects.Stamp(secret, c.now())
	secret.Type = corev1.SecretTypeDockerConfigJson
	secret.Data = map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)}
	c.put(tx, objects.Secrets, secret)
}

// reconcileNamespace empties a terminating namespace: first the Pods, then what they use, then the namespace is
// removed.
func (c *Controller) reconcileNamespace(tx store.Tx, ns *objects.Namespace) result {
	if ns.DeletionTimestamp == nil {
		return result{}
	}
	if c.deleteAll(tx, objects.Pods, ns.Name) > 0 {
		return result{}
	}
	for _, res := range []*objects.Resource{objects.ConfigMaps, objects.Secrets, objects.Events} {
		c.deleteAll(tx, res, ns.Name)
	}
	if c.deleteAll(tx, objects.Claims, ns.Name)+c.deleteAll(tx, objects.Networks, ns.Name) > 0 {
		return result{}
	}
	return result{gone: true}
}

// deleteAll starts the deletion of every object of a resource in a namespace, and returns how many still exist.
func (c *Controller) deleteAll(tx store.Tx, res *objects.Resource, namespace string) int {
	left := 0
	for _, e := range tx.Sorted(res, namespace) {
		if e.Object.GetDeletionTimestamp() != nil {
			left++
			continue
		}
		stored, err := c.Delete(tx, res, e.Object, &metav1.DeleteOptions{})
		if err != nil {
			c.cfg.Logger.Error("Deleting an object failed",
				"resource", res.Plural, "namespace", namespace, "name", e.Object.GetName(), "error", err)
		}
		if err != nil || stored != nil {
			left++
		}
	}
	return left
}
