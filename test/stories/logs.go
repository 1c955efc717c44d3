package stories

import (
	"context"
	"fmt"
	"strings"
)

func playLogs(ctx context.Context, w *World) error {
	if err := w.startNginx(ctx); err != nil {
		return err
	}
	pods, err := w.pods(ctx, "nginx")
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if !isVirtual(pod.Spec.NodeName) {
			continue
		}
		w.printf("$ kubectl logs %s --tail=3", pod.Name)
		text, err := w.kubectl(ctx, "", "logs", pod.Name, "--tail=3")
		if err != nil {
			return err
		}
		if strings.TrimSpace(text) == "" {
			return fmt.Errorf("kubectl logs %s printed nothing", pod.Name)
		}
		w.printf("  %s", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  "))
		return w.othersMayNotRead(ctx, pod.Name)
	}
	return fmt.Errorf("no nginx pod is in the cloud")
}

// othersMayNotRead calls the kubelet port of the virtual node directly, without credentials.
func (w *World) othersMayNotRead(ctx context.Context, pod string) error {
	status, err := w.kubeletStatus(ctx, "/containerLogs/"+w.Namespace+"/"+pod+"/nginx")
	if err != nil {
		return err
	}
	if status != 401 && status != 403 {
		return fmt.Errorf("the kubelet port returned status %d for the logs of pod %s to an anonymous client: want 401 or "+
			"403",
			status, pod)
	}
	w.printf("  a client without credentials gets status %d from the kubelet port", status)
	return nil
}
