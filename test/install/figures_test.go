package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/page"
)

// pluginPods are the numbers of Pods of CCE bursting (docs/sources.md), by preset.
var pluginPods = map[string]int{single: 7, highlyAvailable: 14}

const (
	single          = "single"
	highlyAvailable = "HA"
)

// footprint contains the resources that Spillway uses in the cluster.
type footprint struct {
	pods int
	// memory is the working set in MiB that the kubelets report, including pause containers.
	memory float64
}

// summary is the part of a kubelet's /stats/summary that the test uses.
type summary struct {
	Pods []struct {
		PodRef struct{ Name, Namespace string }
		Memory *struct{ WorkingSetBytes *uint64 }
	}
}

// footprint measures the running Pods without the simulator, when the kubelets have reported the memory of all of them.
func (c *cluster) footprint(t *testing.T) footprint {
	t.Helper()
	var found footprint
	c.eventually(t, "the kubelets to report the memory of all Pods", func(ctx context.Context) error {
		pods, err := c.own(ctx)
		if err != nil {
			return err
		}
		used, err := c.memory(ctx)
		if err != nil {
			return err
		}
		found = footprint{pods: len(pods)}
		for _, pod := range pods {
			if used[pod.Name] == 0 {
				return fmt.Errorf("the memory of %s is not reported", pod.Name)
			}
			found.memory += float64(used[pod.Name]) / (1 << 20)
		}
		return nil
	})
	return found
}

// memory returns the working sets of the Pods in Spillway's namespace, in bytes.
func (c *cluster) memory(ctx context.Context) (map[string]uint64, error) {
	used := map[string]uint64{}
	for _, node := range systemNodes {
		path := []string{"/api/v1/nodes", node, "proxy/stats/summary"}
		answer, err := c.Client().CoreV1().RESTClient().Get().AbsPath(path...).DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("calling the kubelet of %s: %w", node, err)
		}
		var stats summary
		if err := json.Unmarshal(answer, &stats); err != nil {
			return nil, fmt.Errorf("decoding the answer of the kubelet of %s: %w", node, err)
		}
		for _, pod := range stats.Pods {
			if pod.PodRef.Namespace == namespace && pod.Memory != nil && pod.Memory.WorkingSetBytes != nil {
				used[pod.PodRef.Name] = *pod.Memory.WorkingSetBytes
			}
		}
	}
	if len(used) == 0 {
		return nil, errors.New("the kubelets do not report any Pod yet")
	}
	return used, nil
}

// figures are the measurements of a run.
type figures struct {
	// firstBurst is the time from helm install until a Pod runs in the cloud, and ready until all of Spillway is ready, in
	// seconds.
	firstBurst, ready float64
	footprints        map[string]footprint
}

// table returns the figures for the page.
func (f figures) table() string {
	var text strings.Builder
	text.WriteString(page.Fill(fmt.Sprintf("Time from `helm install` until all of Spillway was ready: %.1f s. Until "+
		"the first "+
		"Pod ran in the (simulated) cloud: %.1f s. The nodes had the images.", f.ready, f.firstBurst)) + "\n")
	text.WriteString("| preset | Pods | memory, MiB | Pods of the CCE plug-in |\n|---|--:|--:|--:|\n")
	for _, preset := range []string{single, highlyAvailable} {
		found := f.footprints[preset]
		fmt.Fprintf(&text, "| %s | %d | %.0f | %d |\n", preset, found.pods, found.memory, pluginPods[preset])
	}
	return text.String()
}

// checkSmaller checks that a preset has fewer Pods than CCE bursting.
func (f figures) checkSmaller(t *testing.T, preset string) {
	t.Helper()
	require.Less(t, f.footprints[preset].pods, pluginPods[preset], "Pods of the preset %s", preset)
}
