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
		w.tell("$ kubectl logs %s --tail=3", pod.Name)
		text, err := w.kubectl(ctx, "", "logs", pod.Name, "--tail=3")
		if err != nil {
			return err
		}
		if strings.TrimSpace(text) == "" {
			return fmt.Errorf("kubectl logs %s printed nothing", pod.Name)
		}
		w.tell("  %s", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  "))
		return w.othersMayNotRead(ctx, pod.Name)
	}
	return fmt.Errorf("no nginx pod is in the cloud")
}

// othersMayNotRead asks the kubelet port of the virtual node directly, as nobody.
func (w *World) othersMayNotRead(ctx context.Context, pod string) error {
	status, err := w.kubeletStatus(ctx, "/containerLogs/"+w.Namespace+"/"+pod+"/nginx")
	if err != nil {
		return err
	}
	if status != 401 && status != 403 {
		return fmt.Errorf("the kubelet port gave the logs of pod %s to nobody in particular: status %d, want 401 or 403", pod, status)
	}
	w.tell("  and to a caller without credentials the kubelet port says %d", status)
	return nil
}
