// Package facts collects from the cluster what policy.Input needs besides the Pod: the global switch, the labels and
// annotations of namespaces (Cluster), and the kinds of the volumes of claims (Source). It reads caches, and calls the
// API server in FindClaims only. It decides nothing.
package facts

import (
	"log/slog"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Source keeps all facts up to date with watches.
type Source struct {
	*Cluster
	Volumes
	client kubernetes.Interface
}

// New returns a Source that calls changed as a Cluster does. It starts nothing.
func New(client kubernetes.Interface, changed func(), logger *slog.Logger) (*Source, error) {
	c, err := NewCluster(client, changed, logger)
	if err != nil {
		return nil, err
	}
	core, storage := c.factory.Core().V1(), c.factory.Storage().V1()
	for _, informer := range []cache.SharedIndexInformer{
		core.PersistentVolumeClaims().Informer(), core.PersistentVolumes().Informer(), storage.StorageClasses().Informer(),
	} {
		c.synced = append(c.synced, informer.HasSynced)
	}
	return &Source{Cluster: c, client: client, Volumes: NewVolumes(core.PersistentVolumeClaims().Lister(),
		core.PersistentVolumes().Lister(), storage.StorageClasses().Lister())}, nil
}
