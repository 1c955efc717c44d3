package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spillway-k8s/spillway/test/system"
)

const guide = `
The trial system is up.

  export KUBECONFIG=%[1]s PATH=%[2]s:$PATH
  kubectl get nodes

Create four replicas, one of them on a local node:

  kubectl apply -f - <<EOF
  apiVersion: apps/v1
  kind: Deployment
  metadata: {name: nginx-deployment}
  spec:
    replicas: 4
    selector: {matchLabels: {app: nginx}}
    template:
      metadata:
        annotations: {AUTO_SCALE_EKS: "true", LOCAL_REPLICAS: "1"}
        labels: {app: nginx}
      spec:
        containers: [{name: nginx, image: nginx}]
  EOF
  kubectl get pods -o wide --watch

Turn the global switch off. To turn it on again, use "true":

  kubectl create configmap eks-config -n kube-system --from-literal=AUTO_SCALE_EKS=false --dry-run=client -o yaml |
    kubectl apply -f -

Logs are in %[3]s, process IDs in %[4]s.
` + "`make up`" + ` restarts processes that have ended. ` + "`make down`" + ` stops the system and removes its state.
`

func up(ctx context.Context, config system.Config) error {
	fmt.Fprintf(config.Progress, "Starting the trial system in %s\n", config.Dir)
	running, err := system.Start(ctx, config)
	if err != nil {
		return err
	}
	dir := filepath.Dir(running.Kubeconfig())
	binDir := system.KubernetesBinDir(filepath.Join(dir, "bin"), config.Shape.Kubernetes)
	_, err = fmt.Fprintf(config.Progress, guide,
		running.Kubeconfig(), binDir, filepath.Join(dir, "logs"), filepath.Join(dir, "pids"))
	return err
}

func down(ctx context.Context, dir string, out io.Writer) error {
	if err := system.Stop(ctx, dir); err != nil {
		return err
	}
	if err := system.Remove(dir); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "The trial system is down. Its logs remain in %s.\n", filepath.Join(dir, "logs"))
	return err
}
