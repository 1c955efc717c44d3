package app

import "errors"

// noteCloudNamespace keeps why the cloud namespace is not ready, and shows it on the Node.
func (a *App) noteCloudNamespace(err error) {
	a.cloudNamespaceErr.Store(&err)
	a.conditions.NoteCloudNamespace(err)
}

// Ready returns what is not ready yet, or nil once Pods are managed.
func (a *App) Ready() error {
	for _, part := range []struct {
		message string
		ready   <-chan struct{}
	}{
		{"the node is not registered", a.node.Ready()},
		{"the cloud pods are not known", a.inventory.Synced()},
		{"the pods are not known", a.pods.Ready()},
	} {
		select {
		case <-part.ready:
		default:
			var cloudNamespace error
			if noted := a.cloudNamespaceErr.Load(); noted != nil {
				cloudNamespace = *noted
			}
			return errors.Join(errors.New(part.message), cloudNamespace, a.inventory.Err())
		}
	}
	return nil
}
