package stories

import (
	"context"
	"fmt"

	"github.com/spillway-k8s/spillway/policy"
)

// switchTable has the rows of the switch table: the global switch, the local switch, and whether a Pod that fits on no
// local node bursts.
var switchTable = []struct {
	global, local string // empty: not defined
	bursts        bool
}{
	{"true", "false", true},
	{"true", "", true},
	{"true", "true", true},
	{"false", "false", false},
	{"false", "", false},
	{"false", "true", true},
	{"", "false", true},
	{"", "", true},
	{"", "true", true},
}

func playSwitches(ctx context.Context, w *World) (err error) {
	defer func() {
		if unsetErr := w.unsetSwitch(ctx); err == nil {
			err = unsetErr
		}
	}()
	for i, row := range switchTable {
		if row.global == "" {
			err = w.unsetSwitch(ctx)
		} else {
			err = w.setSwitch(ctx, row.global)
		}
		if err != nil {
			return err
		}
		if err := w.playRow(ctx, fmt.Sprintf("row-%d", i+1), row.local, row.bursts); err != nil {
			return fmt.Errorf("global %q, local %q: %w", row.global, row.local, err)
		}
	}
	return nil
}

// playRow runs a Pod that fits on no local node.
func (w *World) playRow(ctx context.Context, name, local string, bursts bool) error {
	annotation := ""
	if local != "" {
		annotation = fmt.Sprintf("annotations: {%s: %q}, ", policy.SwitchKey, local)
	}
	manifest := fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s, %slabels: {app: %s}}, `+
		`spec: {containers: [{name: main, image: nginx, resources: {requests: {cpu: "5"}}}]}}`, name, annotation, name)
	w.printf("$ kubectl apply -f - <<< '%s'", manifest)
	if _, err := w.kubectl(ctx, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	if bursts {
		return w.awaitRunning(ctx, name, 0, 1)
	}
	return w.awaitWaiting(ctx, name, 0, 1, policy.ReasonSwitchOff)
}
